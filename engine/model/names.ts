/** What files call the tensors of a network. */
import type { Checkpoint } from "../container/checkpoint.js";
import type { FloatRole, LinearRole } from "./layers.js";
import type { ModelConfig } from "./model-config.js";

/** What tensors are called; `%` stands for the layer. */
export interface TensorNames {
  readonly embedding: string;
  readonly outputNorm: string;
  readonly head: string;
  readonly layer: Readonly<Record<LinearRole | FloatRole, string>>;
}

/** Names that end in `.weight`. */
function weights({ embedding, outputNorm, head, layer }: TensorNames): TensorNames {
  const whole = (name: string): string => `${name}.weight`;
  const roles = Object.entries(layer).map(([role, name]) => [role, whole(name)] as const);
  return {
    embedding: whole(embedding),
    outputNorm: whole(outputNorm),
    head: whole(head),
    layer: Object.fromEntries(roles) as TensorNames["layer"],
  };
}

const GGUF_WEIGHTS = weights({
  embedding: "token_embd",
  outputNorm: "output_norm",
  head: "output",
  layer: {
    attnNorm: "blk.%.attn_norm",
    qInputNorm: "blk.%.attn_q_norm_in",
    kInputNorm: "blk.%.attn_k_norm_in",
    vInputNorm: "blk.%.attn_v_norm_in",
    q: "blk.%.attn_q",
    k: "blk.%.attn_k",
    v: "blk.%.attn_v",
    qNorm: "blk.%.attn_q_norm",
    kNorm: "blk.%.attn_k_norm",
    attnSubNorm: "blk.%.attn_sub_norm",
    attnPostNorm: "blk.%.post_attention_norm",
    o: "blk.%.attn_output",
    ffnNorm: "blk.%.ffn_norm",
    gateInputNorm: "blk.%.ffn_gate_norm_in",
    upInputNorm: "blk.%.ffn_up_norm_in",
    gate: "blk.%.ffn_gate",
    up: "blk.%.ffn_up",
    ffnSubNorm: "blk.%.ffn_sub_norm",
    ffnPostNorm: "blk.%.post_ffw_norm",
    down: "blk.%.ffn_down",
    deltaNorm: "blk.%.attn_norm",
    deltaQkv: "blk.%.attn_qkv",
    deltaGate: "blk.%.attn_gate",
    convolution: "blk.%.ssm_conv1d",
    decayBias: "",
    decayRate: "",
    deltaBeta: "blk.%.ssm_beta",
    deltaAlpha: "blk.%.ssm_alpha",
    deltaHeadNorm: "blk.%.ssm_norm",
    deltaOut: "blk.%.ssm_out",
  },
});
const GGUF_NAMES: TensorNames = {
  ...GGUF_WEIGHTS,
  layer: { ...GGUF_WEIGHTS.layer, decayBias: "blk.%.ssm_dt.bias", decayRate: "blk.%.ssm_a" },
};

const HF_WEIGHTS = weights({
  embedding: "model.embed_tokens",
  outputNorm: "model.norm",
  head: "lm_head",
  layer: {
    attnNorm: "model.layers.%.input_layernorm",
    qInputNorm: "model.layers.%.self_attn.q_proj.norm",
    kInputNorm: "model.layers.%.self_attn.k_proj.norm",
    vInputNorm: "model.layers.%.self_attn.v_proj.norm",
    q: "model.layers.%.self_attn.q_proj",
    k: "model.layers.%.self_attn.k_proj",
    v: "model.layers.%.self_attn.v_proj",
    qNorm: "model.layers.%.self_attn.q_norm",
    kNorm: "model.layers.%.self_attn.k_norm",
    attnSubNorm: "model.layers.%.self_attn.attn_sub_norm",
    attnPostNorm: "",
    o: "model.layers.%.self_attn.o_proj",
    ffnNorm: "model.layers.%.post_attention_layernorm",
    gateInputNorm: "model.layers.%.mlp.gate_proj.norm",
    upInputNorm: "model.layers.%.mlp.up_proj.norm",
    gate: "model.layers.%.mlp.gate_proj",
    up: "model.layers.%.mlp.up_proj",
    ffnSubNorm: "model.layers.%.mlp.ffn_sub_norm",
    ffnPostNorm: "model.layers.%.post_feedforward_layernorm",
    down: "model.layers.%.mlp.down_proj",
    deltaNorm: "model.layers.%.input_layernorm",
    deltaQkv: "model.layers.%.linear_attn.in_proj_qkv",
    deltaGate: "model.layers.%.linear_attn.in_proj_z",
    convolution: "model.layers.%.linear_attn.conv1d",
    decayBias: "",
    decayRate: "",
    deltaBeta: "model.layers.%.linear_attn.in_proj_b",
    deltaAlpha: "model.layers.%.linear_attn.in_proj_a",
    deltaHeadNorm: "model.layers.%.linear_attn.norm",
    deltaOut: "model.layers.%.linear_attn.out_proj",
  },
});
const HF_NAMES: TensorNames = {
  ...HF_WEIGHTS,
  layer: { ...HF_WEIGHTS.layer, decayBias: "model.layers.%.linear_attn.dt_bias", decayRate: "model.layers.%.linear_attn.A_log" },
};

/** BitnetForCausalLM calls the sub-norms otherwise than BitNetForCausalLM. */
const BITNET_SILU_NAMES: TensorNames = {
  ...HF_NAMES,
  layer: {
    ...HF_NAMES.layer,
    attnSubNorm: "model.layers.%.self_attn.inner_attn_ln.weight",
    ffnSubNorm: "model.layers.%.mlp.ffn_layernorm.weight",
  },
};

/** What bitnet-embedding's norms before `o` and `down` are called: they are its sub-norms. */
const INNER_GGUF = { attnSubNorm: "blk.%.attn_output_norm_in.weight", ffnSubNorm: "blk.%.ffn_down_norm_in.weight" };
const INNER_HF = { attnSubNorm: "model.layers.%.self_attn.o_proj.norm.weight", ffnSubNorm: "model.layers.%.mlp.down_proj.norm.weight" };

/** Qwen3.5: what it calls the norm behind the mixer is the feed-forward block's. */
const QWEN35_GGUF = { ffnNorm: "blk.%.post_attention_norm.weight" };
/** Gemma 3: by its name that norm is behind the mixer indeed. */
const GEMMA_HF = {
  attnPostNorm: "model.layers.%.post_attention_layernorm.weight",
  ffnNorm: "model.layers.%.pre_feedforward_layernorm.weight",
};

/** What tensors of an architecture are called in a container. @param architecture as that container names it */
export function tensorNames(
  format: Checkpoint["format"],
  architecture: string,
  { innerNorms, postNorms }: Pick<ModelConfig, "innerNorms" | "postNorms">,
): TensorNames {
  const isGguf = format === "gguf";
  const names = isGguf ? GGUF_NAMES : architecture === "BitnetForCausalLM" ? BITNET_SILU_NAMES : HF_NAMES;
  return {
    ...names,
    layer: {
      ...names.layer,
      ...(isGguf && architecture === "qwen35" && QWEN35_GGUF),
      ...(!isGguf && postNorms && GEMMA_HF),
      ...(innerNorms && (isGguf ? INNER_GGUF : INNER_HF)),
    },
  };
}
