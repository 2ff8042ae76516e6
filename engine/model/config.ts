import type { Checkpoint, MetadataValue } from "../container/checkpoint.js";
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
    throw new BitnetError(
      "unsupported",
      `${path}: a ${name} file without a byte-level vocabulary may be one of the older models that use SiLU, and ${name}.hidden_activation doesn't say`,
      { file: path },
    );
  }
  const scaling = value("rope.scaling.type");
  if (scaling !== undefined && scaling !== "none") {
    throw new BitnetError("unsupported", `${path}: ${name}.rope.scaling.type is ${quote(scaling)}, and only unscaled RoPE is known here`, {
      file: path,
    });
  }
  for (const key of ["rope.dimension_count", "attention.key_length", "attention.value_length"]) {
    const length = value(key);
    if (length !== undefined && length !== headDim) {
      throw new BitnetError(
        "unsupported",
        `${path}: ${name}.${key} is ${quote(length)}, and only the head size (${headDim}) is known here`,
        { file: path },
      );
    }
  }
  const embedding = checkpoint.tensors.get("token_embd.weight");
  return {
    architecture: name,
    layers: number("block_count"),
    hiddenSize,
    heads,
    kvHeads: value("attention.head_count_kv") === undefined ? heads : number("attention.head_count_kv"),
    headDim,
    ffnSize: number("feed_forward_length"),
    vocabSize: value("vocab_size") === undefined && embedding ? embedding.shape[0]! : number("vocab_size"),
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
  const path = `${checkpoint.path}: config.json`;
  const text = await checkpoint.sidecar("config.json");
  if (text === undefined)
    throw new BitnetError("file", `${checkpoint.path}: no config.json beside the SafeTensors file`, { file: checkpoint.path });
  const json = parseObject(text, path);
  const number = (key: string): number => positive(json[key], key, path);
  const flag = (key: string): boolean => {
    if (typeof json[key] !== "boolean")
      throw new BitnetError("file", `${path}: ${key} must be true or false, and is ${quote(json[key])}`, { file: path });
    return json[key];
  };
  const name = Array.isArray(json.architectures) ? (json.architectures as unknown[])[0] : undefined;
  const architecture = known(HF_ARCHITECTURES, name, "architectures[0]", path);
  if (json.rope_scaling != null)
    throw new BitnetError("unsupported", `${path}: rope_scaling is ${quote(json.rope_scaling)}, and only unscaled RoPE is known here`, {
      file: path,
    });
  if (json.attention_bias === true)
    throw new BitnetError("unsupported", `${path}: attention_bias is true, and layers with bias are not known here`, { file: path });
  const heads = number("num_attention_heads");
  const hiddenSize = number("hidden_size");
  const headDim = hiddenSize / heads;
  if (json.head_dim != null && json.head_dim !== headDim) {
    throw new BitnetError(
      "unsupported",
      `${path}: head_dim is ${quote(json.head_dim)}, and only hidden_size / num_attention_heads (${headDim}) is known here`,
      { file: path },
    );
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
    activation: known(ACTIVATIONS, json.hidden_act, "hidden_act", path),
    subNorms: architecture.subNorms,
    rope: architecture.rope,
    tiedHead: flag("tie_word_embeddings"),
    packing: json.quantization_config == null ? undefined : hfPacking(json.quantization_config, path),
  };
}

/** Missing keys mean what the Hugging Face class `BitNetQuantConfig` defaults to: bitlinear, offline. */
function hfPacking(value: unknown, path: string): HfPacking {
  const refuse = (key: string, got: unknown): never => {
    throw new BitnetError("unsupported", `${path}: quantization_config.${key} is ${quote(got)}, which is not known here`, { file: path });
  };
  if (typeof value !== "object" || value === null || Array.isArray(value)) return refuse("quant_method", value);
  const json = value as Readonly<Record<string, unknown>>;
  if (json.quant_method !== "bitnet") refuse("quant_method", json.quant_method);
  const linear = json.linear_class ?? "bitlinear";
  const mode = json.quantization_mode ?? "offline";
  if (linear !== "bitlinear" && linear !== "autobitlinear") return refuse("linear_class", linear);
  if (mode !== "online" && mode !== "offline") return refuse("quantization_mode", mode);
  if (json.use_rms_norm != null && json.use_rms_norm !== false) refuse("use_rms_norm", json.use_rms_norm);
  const left = json.modules_to_not_convert;
  if (left != null && !(Array.isArray(left) && left.every((module) => module === "lm_head"))) refuse("modules_to_not_convert", left);
  return { mode, inverseScale: linear === "bitlinear" };
}

/** What the kernels need of the sizes. */
function checkShape(config: ModelConfig, file: string): void {
  const { hiddenSize, heads, kvHeads, headDim, ffnSize } = config;
  const refuse = (what: string): never => {
    throw new BitnetError("unsupported", `${file}: ${what}`, { file });
  };
  for (const [name, size] of Object.entries({
    layers: config.layers,
    heads,
    kvHeads,
    ffnSize,
    vocabSize: config.vocabSize,
    contextLength: config.contextLength,
  })) {
    if (!Number.isInteger(size)) refuse(`${name} is ${size}, which is no whole number`);
  }
  if (!Number.isInteger(headDim) || headDim % 4 !== 0)
    refuse(`hidden size ${hiddenSize} over ${heads} heads gives heads of ${headDim}; a multiple of 4 is needed`);
  if (heads % kvHeads !== 0) refuse(`${heads} heads can't share ${kvHeads} key-value heads evenly`);
  if (hiddenSize % 8 !== 0 || ffnSize % 8 !== 0)
    refuse(`hidden size ${hiddenSize} and feed-forward size ${ffnSize} must be multiples of 8`);
}

function known<T>(table: ReadonlyMap<string, T>, name: unknown, key: string, path: string): T {
  const entry = typeof name === "string" ? table.get(name) : undefined;
  if (entry === undefined) {
    throw new BitnetError("unsupported", `${path}: ${key} is ${quote(name)}; known are ${[...table.keys()].join(", ")}`, { file: path });
  }
  return entry;
}

function positive(value: unknown, key: string, path: string): number {
  if (typeof value !== "number" || !(value > 0) || !Number.isFinite(value)) {
    throw new BitnetError("file", `${path}: ${key} must be a positive number, and is ${quote(value)}`, { file: path });
  }
  return value;
}

function parseObject(text: string, path: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new BitnetError("file", `${path} is not JSON`, { file: path }, { cause });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new BitnetError("file", `${path} is not a JSON object`, { file: path });
  return value as Readonly<Record<string, unknown>>;
}

/** A value of the file, for an error: one line, not too long. */
function quote(value: unknown): string {
  if (value === undefined) return "missing";
  const text = typeof value === "bigint" ? String(value) : (JSON.stringify(value) ?? String(value));
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
}
