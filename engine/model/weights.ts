import type { Checkpoint, TensorInfo } from "../container/checkpoint.js";
import { quote } from "../container/quote.js";
import { BitnetError } from "../errors.js";
import type { ModelConfig } from "./config.js";
import { type Layer, type LinearRole, makeLayer, type NormRole, ROTATED } from "./layers.js";
import { ROPE_FACTORS } from "./rope.js";

/** A ternary layer as the file has it. */
export interface LinearSource {
  readonly tensor: TensorInfo;
  /** Output features. */
  readonly rows: number;
  /** Input features. */
  readonly columns: number;
  /** SafeTensors' separate scale, [1]; other encodings carry it or have none. */
  readonly scale: TensorInfo | undefined;
  /** The stored scale is the inverse of the scale. */
  readonly inverseScale: boolean;
  /** Of I2_S. */
  readonly layout: I2sLayout;
  /** Rows of a head of q or k that lie as pairs, `ModelConfig.rope` "norm"; undefined: rows lie as they are wanted. */
  readonly pairedRows: number | undefined;
  /** Float weights that are not ternary are masters to make ternary; else they are an error. */
  readonly masters: boolean;
}

/**
 * How I2_S lays out its codes; no file says which. block128: as the published files, and all of x86 and ARM builds that follow them. block64: ARM
 * builds' blocks of 64. rows4: four rows in a byte.
 */
export type I2sLayout = "block128" | "block64" | "rows4";
export const I2S_LAYOUTS: readonly I2sLayout[] = ["block128", "block64", "rows4"];

/** The tensors of one layer; norms are [size] floats. */
export type LayerSources = Layer<LinearSource, TensorInfo>;

/** Every tensor of a network in its role. */
export interface NetworkSources {
  /** [vocab, hidden] */
  readonly embedding: TensorInfo;
  readonly layers: readonly LayerSources[];
  /** [hidden] */
  readonly outputNorm: TensorInfo;
  /** [vocab, hidden]; undefined: the embedding */
  readonly head: TensorInfo | undefined;
}

/** What tensors are called, without `.weight` at the end; `%` stands for the layer. */
export interface TensorNames {
  readonly embedding: string;
  readonly outputNorm: string;
  readonly head: string;
  readonly layer: Readonly<Record<LinearRole | NormRole, string>>;
}

const GGUF_NAMES: TensorNames = {
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
    o: "blk.%.attn_output",
    ffnNorm: "blk.%.ffn_norm",
    gateInputNorm: "blk.%.ffn_gate_norm_in",
    upInputNorm: "blk.%.ffn_up_norm_in",
    gate: "blk.%.ffn_gate",
    up: "blk.%.ffn_up",
    ffnSubNorm: "blk.%.ffn_sub_norm",
    down: "blk.%.ffn_down",
  },
};

const HF_NAMES: TensorNames = {
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
    o: "model.layers.%.self_attn.o_proj",
    ffnNorm: "model.layers.%.post_attention_layernorm",
    gateInputNorm: "model.layers.%.mlp.gate_proj.norm",
    upInputNorm: "model.layers.%.mlp.up_proj.norm",
    gate: "model.layers.%.mlp.gate_proj",
    up: "model.layers.%.mlp.up_proj",
    ffnSubNorm: "model.layers.%.mlp.ffn_sub_norm",
    down: "model.layers.%.mlp.down_proj",
  },
};

/** BitnetForCausalLM calls the sub-norms otherwise than BitNetForCausalLM. */
const BITNET_SILU_NAMES: TensorNames = {
  ...HF_NAMES,
  layer: { ...HF_NAMES.layer, attnSubNorm: "model.layers.%.self_attn.inner_attn_ln", ffnSubNorm: "model.layers.%.mlp.ffn_layernorm" },
};

/** What bitnet-embedding's norms before `o` and `down` are called: they are its sub-norms. */
const INNER_GGUF_NAMES: TensorNames = {
  ...GGUF_NAMES,
  layer: { ...GGUF_NAMES.layer, attnSubNorm: "blk.%.attn_output_norm_in", ffnSubNorm: "blk.%.ffn_down_norm_in" },
};
const INNER_HF_NAMES: TensorNames = {
  ...HF_NAMES,
  layer: { ...HF_NAMES.layer, attnSubNorm: "model.layers.%.self_attn.o_proj.norm", ffnSubNorm: "model.layers.%.mlp.down_proj.norm" },
};

/** What tensors of an architecture are called in a container. @param architecture as that container names it */
export function tensorNames(format: Checkpoint["format"], architecture: string, innerNorms = false): TensorNames {
  if (format === "gguf") return innerNorms ? INNER_GGUF_NAMES : GGUF_NAMES;
  if (innerNorms) return INNER_HF_NAMES;
  return architecture === "BitnetForCausalLM" ? BITNET_SILU_NAMES : HF_NAMES;
}

/** What the user says about weights whose file doesn't. */
export interface WeightOptions {
  /** The layout of I2_S tensors; default block128. */
  readonly i2sLayout?: I2sLayout | undefined;
  /** @internal divide by the scales that are to be multiplied by, and the other way round: to find out which is right */
  readonly invertScales?: boolean;
}

/** The frequencies of RoPE, which follow from the configuration: old versions of Hugging Face's library stored them in each layer. */
const FREQUENCIES = /(?:^|\.)rotary_emb\.inv_freq$|^blk\.\d+\.attn_rot_embd(?:\.weight)?$/;

/** Other buffers of such checkpoints that are no weights: RoPE's angles, and what a masked score is. */
const BUFFERS = /(?:^|\.)rotary_emb\.(?:cos|sin)_cached$|(?:^|\.)(?:self_attn|attention|attn)\.masked_bias$/;

/** Whether a tensor holds the frequencies of RoPE, by its name. */
export function isFrequencies(name: string): boolean {
  return FREQUENCIES.test(name);
}

/** Whether a tensor is one that readers of the model pass over, by its name. */
export function isPassedOver(name: string): boolean {
  return isFrequencies(name) || BUFFERS.test(name);
}

/** Types that hold plain numbers. */
const FLOATS = ["F32", "F16", "BF16"];
/** What embeddings and output heads come in. */
const TABLES = [...FLOATS, "Q8_0", "Q6_K", "Q4_K", "Q4_0", "Q2_0", "Q2_0_128", "PQ2_0", "PTQ1_0", "Q1_0"];
/** What types mean that are supported only if config.json states them. */
const ODD_TYPES: ReadonlyMap<string, string> = new Map([
  ["U32", ", as MLX packs weights"],
  ["U8", ", as packed weights are, but config.json doesn't state that they are packed (quantization_config, quantization_mode offline)"],
]);
/** GGUF's ternary encodings, and its binary one. */
const TERNARY = ["I2_S", "TQ1_0", "TQ2_0", "Q2_0", "Q2_0_128", "PQ2_0", "PTQ1_0", "Q1_0"];

/**
 * Finds each tensor of the network and checks its shape and type; a tensor that has no role is an error too, since leaving it out would
 * change the model.
 * @throws BitnetError tensor, naming it
 */
export function readWeights(checkpoint: Checkpoint, config: ModelConfig, options: WeightOptions = {}): NetworkSources {
  const { invertScales = false } = options;
  const names = tensorNames(checkpoint.format, config.architecture, config.innerNorms);
  const used = new Set<string>();
  // bitnet-embedding's are those of the network alone, without that of the class that has a head.
  const isBare = checkpoint.format === "safetensors" && config.innerNorms && !checkpoint.tensors.has(`${names.embedding}.weight`);

  const find = (role: string, shape: readonly number[], types: readonly string[]): TensorInfo => {
    const name = isBare ? role.replace(/^model\./, "") : role;
    const tensor = checkpoint.tensors.get(name);
    if (tensor === undefined) {
      const packed = checkpoint.tensors.has(name.replace(/weight$/, "qweight"))
        ? ", but there is a qweight, as in GPTQ and AWQ models, which are not supported"
        : "";
      throw new BitnetError("tensor", `${checkpoint.path}: tensor ${name} is missing${packed}`, { file: checkpoint.path, tensor: name });
    }
    const refuse = (what: string): never => {
      throw new BitnetError("tensor", `${tensor.file}: tensor ${name} ${what}`, { file: tensor.file, tensor: name, offset: tensor.offset });
    };
    if (!types.includes(tensor.type)) refuse(`is ${tensor.type}${ODD_TYPES.get(tensor.type) ?? ""}; supported are ${types.join(", ")}`);
    const isOne = shape.length === 1 && shape[0] === 1 && tensor.shape.every((n) => n === 1); // one value is one value: [], [1], [1, 1]
    if (!isOne && (tensor.shape.length !== shape.length || tensor.shape.some((n, i) => n !== shape[i]))) {
      refuse(`has the shape [${tensor.shape.join(", ")}], but the configuration requires [${shape.join(", ")}]`);
    }
    used.add(name);
    return tensor;
  };

  const norm = (name: string, size: number): TensorInfo => find(`${name}.weight`, [size], FLOATS);

  const linear = (name: string, rows: number, columns: number, pairedRows: number | undefined): LinearSource => {
    const layout = options.i2sLayout ?? "block128";
    const plain = { rows, columns, scale: undefined, inverseScale: invertScales, layout, pairedRows, masters: config.masters };
    if (checkpoint.format === "gguf") return { ...plain, tensor: find(`${name}.weight`, [rows, columns], [...TERNARY, ...FLOATS]) };
    if (config.packing?.mode !== "offline") return { ...plain, tensor: find(`${name}.weight`, [rows, columns], FLOATS) };
    return {
      ...plain,
      tensor: find(`${name}.weight`, [rows / 4, columns], ["U8"]),
      scale: find(`${name}.weight_scale`, [1], FLOATS),
      inverseScale: config.packing.inverseScale !== invertScales,
    };
  };

  const { hiddenSize, vocabSize } = config;
  const paired = config.rope === "norm" ? config.headDim : undefined;
  const layers: LayerSources[] = [];
  // One by one: a count that the file doesn't hold fails at the first layer it lacks.
  for (let layer = 0; layer < config.layers; layer++) {
    const name = (role: LinearRole | NormRole): string => names.layer[role].replace("%", String(layer));
    layers.push(
      makeLayer(
        config,
        (role, rows, columns) => linear(name(role), rows, columns, ROTATED.has(role) ? paired : undefined),
        (role, size) => norm(name(role), size),
      ),
    );
  }
  const sources: NetworkSources = {
    embedding: find(`${names.embedding}.weight`, [vocabSize, hiddenSize], TABLES),
    layers,
    outputNorm: norm(names.outputNorm, hiddenSize),
    head: config.tiedHead ? undefined : find(`${names.head}.weight`, [vocabSize, hiddenSize], TABLES),
  };
  // Tied SafeTensors may repeat the embedding as lm_head; the configuration says that it isn't used.
  if (config.tiedHead) used.add(`${names.head}.weight`);
  if (config.ropeFactors) used.add(ROPE_FACTORS); // read with the configuration
  for (const [name, tensor] of checkpoint.tensors) {
    // A tensor without a number changes nothing.
    if (!used.has(name) && !isPassedOver(name) && tensor.byteLength > 0) {
      throw new BitnetError(
        "tensor",
        `${tensor.file}: tensor ${quote(name)} is unknown in the architecture ${config.architecture}, so the model is of another kind than it states`,
        {
          file: tensor.file,
          tensor: name,
          offset: tensor.offset,
        },
      );
    }
  }
  return sources;
}
