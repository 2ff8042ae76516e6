import type { Checkpoint, MetadataValue } from "../container/checkpoint.js";
import { show } from "../container/quote.js";
import { isObject, readJsonSidecar } from "../container/sidecar.js";
import { BitnetError } from "../errors.js";

/** A network's hyper-parameters, from either container, every one of them said by the file or fixed by the architecture table. */
export interface ModelConfig {
  /** As the file names it: `bitnet-b1.58`, `bitnet-25`, `BitNetForCausalLM`. */
  readonly architecture: string;
  readonly layers: number;
  /** heads · headDim */
  readonly hiddenSize: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly ffnSize: number;
  readonly vocabSize: number;
  /** Positions the model was made for. */
  readonly contextLength: number;
  readonly ropeTheta: number;
  readonly rmsNormEps: number;
  readonly activation: Activation;
  /** RMSNorm before the output and the down projection. */
  readonly subNorms: boolean;
  /** Pairs of rotated dimensions: `neox` i and i + d/2. */
  readonly rope: "neox";
  /** The output head is the embedding. */
  readonly tiedHead: boolean;
  /** How the ternary layers of a SafeTensors model are stored; undefined where each tensor's type says it (GGUF, plain floats). */
  readonly packing: HfPacking | undefined;
}

/** relu2: relu(gate)² · up */
export type Activation = "relu2";

/** `quantization_config` of a Hugging Face BitNet model. */
export interface HfPacking {
  /** online: master weights, ternarised at load; offline: 2-bit codes. */
  readonly mode: "online" | "offline";
  /** Whether `weight_scale` is the inverse of the scale (`linear_class: "bitlinear"`) or the scale (`"autobitlinear"`). */
  readonly inverseScale: boolean;
}

/** What an architecture's name fixes, so that no file needs to say it. */
interface Architecture {
  readonly activation: Activation;
  readonly subNorms: boolean;
  readonly rope: "neox";
}

const BITNET_2B4T: Architecture = { activation: "relu2", subNorms: true, rope: "neox" };

/** By `general.architecture` of a GGUF. */
const GGUF_ARCHITECTURES: ReadonlyMap<string, Architecture> = new Map([
  ["bitnet-b1.58", BITNET_2B4T],
  ["bitnet-25", BITNET_2B4T],
]);

/** By `architectures[0]` of a config.json. */
const HF_ARCHITECTURES: ReadonlyMap<string, Architecture> = new Map([["BitNetForCausalLM", BITNET_2B4T]]);

/** Names that files give to the activation functions. */
const ACTIVATIONS: ReadonlyMap<string, Activation> = new Map([
  ["relu2", "relu2"],
  ["relu_squared", "relu2"],
]);

/** The hyper-parameters of an open model. @throws BitnetError unsupported or file, naming the key */
export async function readConfig(checkpoint: Checkpoint): Promise<ModelConfig> {
  const config = checkpoint.format === "gguf" ? fromGguf(checkpoint) : await fromHuggingFace(checkpoint);
  checkShape(config, checkpoint.path);
  return config;
}

function fromGguf(checkpoint: Checkpoint): ModelConfig {
  const { metadata, path } = checkpoint;
  const name = metadata.get("general.architecture");
  if (typeof name !== "string") throw new BitnetError("file", `${path}: metadata has no general.architecture`, { file: path });
  const architecture = known(GGUF_ARCHITECTURES, name, "general.architecture", path);
  const value = (key: string): MetadataValue | undefined => metadata.get(`${name}.${key}`);
  const number = (key: string): number => positive(value(key), `${name}.${key}`, path);
  const heads = number("attention.head_count");
  const hiddenSize = number("embedding_length");
  const headDim = hiddenSize / heads;

  const said = value("hidden_activation");
  if (said === undefined && name === "bitnet-b1.58" && metadata.get("tokenizer.ggml.model") !== "gpt2") {
    refuse(
      path,
      `a ${name} file without a byte-level vocabulary may be one of the older models that use SiLU, and ${name}.hidden_activation doesn't say`,
    );
  }
  // Some converters write that RoPE is scaled by 1.
  const unscaled: Readonly<Record<string, readonly unknown[]>> = {
    "rope.scaling.type": ["none", "linear"],
    "rope.scaling.factor": [1],
    "rope.scale_linear": [1],
  };
  for (const [key, allowed] of Object.entries(unscaled)) {
    const scaling = value(key);
    if (scaling !== undefined && !allowed.includes(scaling)) {
      refuse(path, `${name}.${key} is ${show(scaling)}, and only unscaled RoPE is known here`);
    }
  }
  for (const key of ["rope.dimension_count", "attention.key_length", "attention.value_length"]) {
    const length = value(key);
    if (length !== undefined && length !== headDim) {
      refuse(path, `${name}.${key} is ${show(length)}, and only the head size (${headDim}) is known here`);
    }
  }
  const embedding = checkpoint.tensors.get("token_embd.weight");
  return {
    architecture: name,
    layers: number("block_count"),
    hiddenSize,
    heads,
    kvHeads: positive(value("attention.head_count_kv") ?? heads, `${name}.attention.head_count_kv`, path),
    headDim,
    ffnSize: number("feed_forward_length"),
    vocabSize: positive(value("vocab_size") ?? embedding?.shape[0], `${name}.vocab_size`, path),
    contextLength: number("context_length"),
    ropeTheta: number("rope.freq_base"),
    rmsNormEps: number("attention.layer_norm_rms_epsilon"),
    activation: said === undefined ? architecture.activation : known(ACTIVATIONS, said, `${name}.hidden_activation`, path),
    subNorms: architecture.subNorms,
    rope: architecture.rope,
    tiedHead: !checkpoint.tensors.has("output.weight"),
    packing: undefined,
  };
}

async function fromHuggingFace(checkpoint: Checkpoint): Promise<ModelConfig> {
  const { path } = checkpoint;
  const inFile = (key: string): string => `config.json: ${key}`;
  const json = await readJsonSidecar(checkpoint, "config.json", "file");
  if (json === undefined) {
    throw new BitnetError("file", `${path}: there is no config.json beside the SafeTensors file`, { file: path });
  }
  const number = (key: string): number => positive(json[key], inFile(key), path);
  const flag = (key: string): boolean => {
    if (typeof json[key] !== "boolean")
      throw new BitnetError("file", `${path}: ${inFile(key)} must be true or false, and is ${show(json[key])}`, { file: path });
    return json[key];
  };
  const name = Array.isArray(json.architectures) ? (json.architectures as unknown[])[0] : undefined;
  const architecture = known(HF_ARCHITECTURES, name, inFile("architectures[0]"), path);
  if (json.rope_scaling != null)
    refuse(path, `config.json: rope_scaling is ${show(json.rope_scaling)}, and only unscaled RoPE is known here`);
  if (json.rope_parameters != null)
    refuse(path, `config.json: rope_parameters is ${show(json.rope_parameters)}, and only rope_theta is known here`);
  if (json.attention_bias != null && json.attention_bias !== false) {
    refuse(path, `config.json: attention_bias is ${show(json.attention_bias)}, and layers with bias are not known here`);
  }
  const heads = number("num_attention_heads");
  const hiddenSize = number("hidden_size");
  const headDim = hiddenSize / heads;
  if (json.head_dim != null && json.head_dim !== headDim) {
    refuse(path, `config.json: head_dim is ${show(json.head_dim)}, and only hidden_size / num_attention_heads (${headDim}) is known here`);
  }
  return {
    architecture: String(name),
    layers: number("num_hidden_layers"),
    hiddenSize,
    heads,
    kvHeads: number("num_key_value_heads"),
    headDim,
    ffnSize: number("intermediate_size"),
    vocabSize: number("vocab_size"),
    contextLength: number("max_position_embeddings"),
    ropeTheta: number("rope_theta"),
    rmsNormEps: number("rms_norm_eps"),
    activation: known(ACTIVATIONS, json.hidden_act, inFile("hidden_act"), path),
    subNorms: architecture.subNorms,
    rope: architecture.rope,
    tiedHead: flag("tie_word_embeddings"),
    packing: json.quantization_config == null ? undefined : hfPacking(json.quantization_config, path),
  };
}

/** Missing keys mean what the Hugging Face class `BitNetQuantConfig` defaults to: bitlinear, offline. */
function hfPacking(json: unknown, path: string): HfPacking {
  const odd = (key: string, got: unknown): never =>
    refuse(path, `config.json: quantization_config.${key} is ${show(got)}, which is not known here`);
  if (!isObject(json)) return odd("quant_method", undefined);
  if (json.quant_method !== "bitnet") odd("quant_method", json.quant_method);
  const linear = json.linear_class ?? "bitlinear";
  const mode = json.quantization_mode ?? "offline";
  if (linear !== "bitlinear" && linear !== "autobitlinear") return odd("linear_class", linear);
  if (mode !== "online" && mode !== "offline") return odd("quantization_mode", mode);
  if (json.use_rms_norm != null && json.use_rms_norm !== false) odd("use_rms_norm", json.use_rms_norm);
  const left = json.modules_to_not_convert;
  if (left != null && !(Array.isArray(left) && left.every((module) => module === "lm_head"))) odd("modules_to_not_convert", left);
  return { mode, inverseScale: linear === "bitlinear" };
}

/** Larger than any extent of a network that 32-bit addresses reach; products of two are exact. */
const MAX_SIZE = 2 ** 24;
/** Beyond it the sines and cosines of RoPE are not exact (engine/math.ts). */
const MAX_POSITIONS = 1_000_000;

/** What the kernels need of the sizes. */
function checkShape(config: ModelConfig, file: string): void {
  const { hiddenSize, heads, kvHeads, headDim, ffnSize, ropeTheta, rmsNormEps } = config;
  for (const [name, size] of Object.entries({
    layers: config.layers,
    hiddenSize,
    heads,
    kvHeads,
    ffnSize,
    vocabSize: config.vocabSize,
    contextLength: config.contextLength,
  })) {
    if (!Number.isInteger(size)) refuse(file, `${name} is ${size}, which is no whole number`);
    const most = name === "contextLength" ? MAX_POSITIONS : MAX_SIZE;
    if (size > most) refuse(file, `${name} is ${size}, and at most ${most} is possible here`);
  }
  // Below 1, angles would grow without bounds along the head.
  if (ropeTheta < 1) refuse(file, `ropeTheta is ${ropeTheta}, and at least 1 is needed`);
  if (rmsNormEps >= 1 || Math.fround(rmsNormEps) === 0)
    refuse(file, `rmsNormEps is ${rmsNormEps}, which is no small number above 0 in f32`);
  if (!Number.isInteger(headDim) || headDim % 4 !== 0)
    refuse(file, `hidden size ${hiddenSize} over ${heads} heads gives heads of ${headDim}; a multiple of 4 is needed`);
  if (heads % kvHeads !== 0) refuse(file, `${heads} heads can't share ${kvHeads} key-value heads evenly`);
  if (hiddenSize % 8 !== 0 || ffnSize % 8 !== 0)
    refuse(file, `hidden size ${hiddenSize} and feed-forward size ${ffnSize} must be multiples of 8`);
}

function known<T>(table: ReadonlyMap<string, T>, name: unknown, key: string, path: string): T {
  const entry = typeof name === "string" ? table.get(name) : undefined;
  if (entry === undefined) {
    return refuse(path, `${key} is ${show(name)}; known are ${[...table.keys()].join(", ")}`);
  }
  return entry;
}

function positive(value: unknown, key: string, path: string): number {
  if (typeof value !== "number" || !(value > 0) || !Number.isFinite(value)) {
    throw new BitnetError("file", `${path}: ${key} must be a positive number, and is ${show(value)}`, { file: path });
  }
  return value;
}

/** A sound file that says something this engine doesn't do. */
function refuse(file: string, what: string): never {
  throw new BitnetError("unsupported", `${file}: ${what}`, { file });
}
