/** A family's model as Hugging Face's classes would save it. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { NewTensor } from "../../engine/container/checkpoint.js";
import { writeSafetensors } from "../../engine/container/safetensors.js";
import { CONTEXT, dequantized, type FamilyModel, isFromOne, isPacked, LINEARS, type Linear, type NormName, type Shape } from "./model.js";
import { bf16Bits, f16Bits } from "./random.js";
import { vocabularyOf } from "./vocabulary.js";

const LINEAR_NAMES = {
  q: "self_attn.q_proj",
  k: "self_attn.k_proj",
  v: "self_attn.v_proj",
  o: "self_attn.o_proj",
  gate: "mlp.gate_proj",
  up: "mlp.up_proj",
  down: "mlp.down_proj",
};

/** The sub-norms as 1bitLLM's class names them. */
const NORM_NAMES: Readonly<Record<NormName, string>> = {
  attnNorm: "input_layernorm",
  attnSubNorm: "self_attn.inner_attn_ln",
  qNorm: "self_attn.q_norm",
  kNorm: "self_attn.k_norm",
  ffnNorm: "post_attention_layernorm",
  ffnSubNorm: "mlp.ffn_layernorm",
  qInputNorm: "self_attn.q_proj.norm",
  kInputNorm: "self_attn.k_proj.norm",
  vInputNorm: "self_attn.v_proj.norm",
  gateInputNorm: "mlp.gate_proj.norm",
  upInputNorm: "mlp.up_proj.norm",
  attnPostNorm: "post_attention_layernorm",
  ffnPostNorm: "post_feedforward_layernorm",
};

/** What a norm is called: before o and down of an embedding model, by what it is of. */
function normName({ innerNorms, family }: Shape, role: NormName): string {
  if (family === "gemma3" && role === "ffnNorm") return "pre_feedforward_layernorm";
  if (innerNorms && role === "attnSubNorm") return "self_attn.o_proj.norm";
  if (innerNorms && role === "ffnSubNorm") return "mlp.down_proj.norm";
  return NORM_NAMES[role];
}

/** config.json with the keys that published models of the family have. */
export function configOf(shape: Shape): object {
  const { bosId, eosId } = vocabularyOf(shape);
  const common = {
    attention_bias: false,
    bos_token_id: bosId,
    eos_token_id: eosId,
    hidden_act: "silu",
    hidden_size: shape.hidden,
    initializer_range: 0.02,
    intermediate_size: shape.ffn,
    max_position_embeddings: CONTEXT,
    num_attention_heads: shape.heads,
    num_hidden_layers: shape.layers,
    num_key_value_heads: shape.kvHeads,
    rms_norm_eps: shape.eps,
    rope_scaling: null,
    rope_theta: shape.theta,
    tie_word_embeddings: shape.tied,
    use_cache: true,
    vocab_size: shape.vocab,
  };
  if (shape.family === "bitnet") {
    return {
      ...common,
      architectures: ["BitnetForCausalLM"],
      model_type: "llama",
      input_bits: 8,
      weight_bits: 1,
      pretraining_tp: 1,
      torch_dtype: "float16",
    };
  }
  if (shape.family === "llama") {
    const { scaling } = shape;
    const ropeScaling = scaling && {
      factor: scaling.factor,
      high_freq_factor: scaling.highFreqFactor,
      low_freq_factor: scaling.lowFreqFactor,
      original_max_position_embeddings: scaling.originalContext,
      rope_type: "llama3",
    };
    return {
      ...common,
      architectures: ["LlamaForCausalLM"],
      model_type: "llama",
      head_dim: shape.headDim,
      mlp_bias: false,
      rope_scaling: ropeScaling ?? null,
      torch_dtype: "bfloat16",
      // No linear_class: the class's default, "bitlinear", whose scales are inverse.
      quantization_config: { quant_method: "bitnet", modules_to_not_convert: null },
    };
  }
  if (shape.family === "gemma3") {
    const { hidden_act, ...others } = common;
    return {
      ...others,
      architectures: [shape.innerNorms ? "Gemma3TextModel" : "Gemma3ForCausalLM"],
      model_type: "gemma3_text",
      ...{ attention_dropout: 0, attn_logit_softcapping: null, final_logit_softcapping: null, use_bidirectional_attention: false },
      head_dim: shape.headDim,
      hidden_activation: "gelu_pytorch_tanh",
      layer_types: Array.from({ length: shape.layers }, () => "full_attention"),
      query_pre_attn_scalar: shape.headDim,
      rope_local_base_freq: 10_000,
      sliding_window: 512,
      torch_dtype: "bfloat16",
    };
  }
  return {
    ...common,
    architectures: [shape.innerNorms ? "Qwen3Model" : "Qwen3ForCausalLM"],
    model_type: "qwen3",
    attention_dropout: 0,
    head_dim: shape.headDim,
    ...(shape.yarn && {
      rope_scaling: { rope_type: "yarn", factor: shape.yarn.factor, original_max_position_embeddings: shape.yarn.originalContext },
    }),
    max_window_layers: shape.layers,
    sliding_window: null,
    use_sliding_window: false,
    torch_dtype: "bfloat16",
  };
}

function half(values: Float32Array, bits: (x: number) => number): Uint8Array {
  const out = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i++) out[i] = bits(values[i]!);
  return new Uint8Array(out.buffer);
}

/** U8 [rows / 4, columns]: row r + k·(rows / 4) in bits 2k and 2k + 1 of packed row r. */
function pack({ rows, columns, codes }: Linear): Uint8Array {
  const quarter = (rows / 4) * columns;
  const out = new Uint8Array(quarter);
  for (let i = 0; i < codes.length; i++) out[i % quarter]! |= (codes[i]! + 1) << (2 * Math.floor(i / quarter));
  return out;
}

/** A norm's weights as the file has them. */
function storedNorm(shape: Shape, name: NormName | "outputNorm", weights: Float32Array): Float32Array {
  return isFromOne(shape) && !/Input|Sub/.test(name) ? weights.map((weight) => weight - 1) : weights;
}

/** The model's tensors: packed ones where the family's are (`packed` says otherwise), else floats in the family's type. */
export function familySafetensors(model: FamilyModel, packed = isPacked(model.shape)): NewTensor[] {
  const { shape } = model;
  const [type, bits] = shape.family === "bitnet" ? (["F16", f16Bits] as const) : (["BF16", bf16Bits] as const);
  const floats = (name: string, tensorShape: readonly number[], values: Float32Array): NewTensor => ({
    name: `${name}.weight`,
    shape: tensorShape,
    type,
    data: half(values, bits),
  });
  // bitnet-embedding's are those of the network without a head.
  const root = shape.innerNorms ? "" : "model.";
  const tensors: NewTensor[] = [floats(`${root}embed_tokens`, [shape.vocab, shape.hidden], model.embedding.values)];
  for (const [index, layer] of model.layers.entries()) {
    const at = `${root}layers.${index}`;
    for (const [norm, values] of Object.entries(layer.norms))
      tensors.push(floats(`${at}.${normName(shape, norm as NormName)}`, [values.length], storedNorm(shape, norm as NormName, values)));
    for (const role of LINEARS) {
      const linear = layer.linears[role];
      const name = `${at}.${LINEAR_NAMES[role]}`;
      const { rows, columns, scales } = linear;
      if (packed) {
        const scale = half(Float32Array.of(1 / scales[0]!), bf16Bits);
        tensors.push({ name: `${name}.weight`, shape: [rows / 4, columns], type: "U8", data: pack(linear) });
        tensors.push({ name: `${name}.weight_scale`, shape: [1], type: "BF16", data: scale });
      } else tensors.push(floats(name, [rows, columns], dequantized(linear)));
    }
  }
  tensors.push(floats(`${root}norm`, [shape.hidden], storedNorm(shape, "outputNorm", model.outputNorm)));
  if (!shape.tied) tensors.push(floats("lm_head", [shape.vocab, shape.hidden], model.head.values));
  return tensors;
}

/** Writes a directory with weights, configuration and tokenizer. */
export async function writeFamilySafetensors(directory: string, model: FamilyModel): Promise<string> {
  mkdirSync(directory, { recursive: true });
  const weights = { tensors: familySafetensors(model), metadata: new Map([["format", "pt"]]) };
  await writeSafetensors(join(directory, "model.safetensors"), weights);
  const { json, config } = vocabularyOf(model.shape);
  const files = { "config.json": configOf(model.shape), "tokenizer.json": json, "tokenizer_config.json": config };
  for (const [name, content] of Object.entries(files)) writeFileSync(join(directory, name), JSON.stringify(content, undefined, 2));
  return directory;
}
