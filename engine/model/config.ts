import type { Checkpoint, MetadataValue } from "../container/checkpoint.js";
import { show } from "../container/quote.js";
import { type JsonObject, readJsonSidecar } from "../container/sidecar.js";
import { StringList } from "../container/string-list.js";
import { BitnetError } from "../errors.js";
import {
  ACTIVATIONS_NAMES,
  type Activation,
  type Activations,
  type Architecture,
  BITNET_EMBEDDINGS,
  GGUF_ARCHITECTURES,
  HF_ARCHITECTURES,
  known,
  type StatedActivation,
} from "./architectures.js";
import { GEMMA_HEAD, ggufGemma, hfGemma } from "./gemma.js";
import type { ModelConfig } from "./model-config.js";
import { hfPacking, requireNoMlx } from "./quantization.js";
import { checkRecurrent, ggufRecurrent } from "./recurrent.js";
import { countOf, positive, refuse } from "./refusal.js";
import { checkSections, ggufRopeScaling, hfRope, readLongFactors, readRopeFactors } from "./rope.js";
import { ggufRotation } from "./rotation.js";

export { ACTIVATION_NAMES, ACTIVATIONS_NAMES, type Activation, type Activations } from "./architectures.js";
export type { ModelConfig } from "./model-config.js";
export type { HfPacking } from "./quantization.js";

/** Names that files give to the activation functions. */
const ACTIVATIONS: ReadonlyMap<string, Activation> = new Map([
  ["relu2", "relu2"],
  ["relu_squared", "relu2"],
  ["silu", "silu"],
  ["swish", "silu"], // PyTorch's SiLU under its other name, for transformers too
]);
/** The same of Gemma. */
const GEMMA_ACTIVATIONS: ReadonlyMap<string, Activation> = new Map([
  ["gelu_pytorch_tanh", "gelu_tanh"],
  ["gelu_tanh", "gelu_tanh"],
]);

/** What the user states about a model whose file doesn't. */
export interface ConfigOptions {
  /** The activation function, where the file names none. */
  readonly activation?: StatedActivation | undefined;
  /**
   * What ternary layers multiply, where the file can't say (`llama` GGUF files, LlamaForCausalLM without `quantization_config`): inputs in 8 bits
   * (the default: BitNet's way) or as they are (TriLM).
   */
  readonly activations?: Activations | undefined;
}

/**
 * The hyper-parameters of an open model.
 * @throws BitnetError unsupported or file, naming the key; usage: an option that contradicts the file
 */
export async function readConfig(checkpoint: Checkpoint, options: ConfigOptions = {}): Promise<ModelConfig> {
  const config = await (checkpoint.format === "gguf" ? fromGguf(checkpoint, options) : fromHuggingFace(checkpoint, options));
  checkShape(config, checkpoint.path);
  return config;
}

/** The activation that the file states, else the one the user states, else undefined. */
function activationOf(
  said: unknown,
  key: string,
  { activation }: ConfigOptions,
  path: string,
  names = ACTIVATIONS,
): Activation | undefined {
  if (said === undefined) return activation;
  const inFile = known(names, said, key, path);
  if (activation === undefined || activation === inFile) return inFile;
  throw new BitnetError("usage", `${path}: the option activation is ${activation}, but ${key} is ${show(said)}; leave the option out`, {
    file: path,
  });
}

/**
 * What ternary layers multiply. @param fixedBy what says it; undefined: nothing does, if there are models of both kinds
 * @throws BitnetError usage: the user says otherwise
 */
function activationsOf(
  { activations, activationsVary }: Architecture,
  fixedBy: string | undefined,
  asked: Activations | undefined,
  path: string,
): Pick<ModelConfig, "activations" | "activationsAssumed"> {
  if (asked !== undefined && !ACTIVATIONS_NAMES.includes(asked))
    throw new BitnetError("usage", `activations must be one of ${ACTIVATIONS_NAMES.join(", ")}, not ${show(asked)}`);
  const isFixed = fixedBy !== undefined || !activationsVary;
  if (isFixed && asked !== undefined && asked !== activations) {
    const why = `${fixedBy ?? "its architecture"} requires ${activations === "int8" ? "8 bits" : "unquantised activations"}`;
    throw new BitnetError("usage", `${path}: the option activations is ${asked}, but ${why}; leave the option out`, { file: path });
  }
  return { activations: asked ?? activations, activationsAssumed: !isFixed && asked === undefined };
}

/** A value that may be a list with one for each layer. @throws BitnetError unsupported: they differ */
function sameForAll(value: MetadataValue | undefined, key: string, path: string): MetadataValue | undefined {
  if (typeof value !== "object" || value instanceof StringList) return value;
  const [first] = value;
  for (const other of value) if (other !== first) return refuse(path, `${key} is ${show(value)}, but layers that differ are not supported`);
  return first ?? value;
}

/** Keys by which other networks share an architecture's name, with the values that change nothing. */
const NEUTRAL: Readonly<Record<string, (value: MetadataValue) => boolean>> = {
  "attention.causal": (value) => value === true,
  expert_count: (value) => value === 0,
  attn_logit_softcapping: (value) => value === 0,
  final_logit_softcapping: (value) => value === 0,
};

const UNSCALED = { embeddingScale: 1, residualScale: 1, logitScale: 1 };

/** MiniCPM's factors; where the file says none, those that llama.cpp takes. */
function ggufScales(number: (key: string, fallback: number) => number, layers: number, hiddenSize: number): typeof UNSCALED {
  return {
    embeddingScale: Math.fround(number("embedding_scale", 12)),
    residualScale: Math.fround(number("residual_scale", 1.4 / Math.sqrt(layers))),
    logitScale: Math.fround(number("logit_scale", hiddenSize / 256)),
  };
}

/** Gemma's factor, and the others' that have none of their own. */
function rootScale({ rootScaled }: Architecture, hiddenSize: number): typeof UNSCALED {
  return rootScaled ? { ...UNSCALED, embeddingScale: Math.fround(Math.sqrt(hiddenSize)) } : UNSCALED;
}

async function fromGguf(checkpoint: Checkpoint, options: ConfigOptions): Promise<ModelConfig> {
  const { metadata, path } = checkpoint;
  const name = metadata.get("general.architecture");
  if (typeof name !== "string") throw new BitnetError("file", `${path}: the metadata has no general.architecture`, { file: path });
  const generator = known(GGUF_ARCHITECTURES, name, "general.architecture", path);
  const architecture =
    (name === "qwen3" || name === "gemma3") && checkpoint.tensors.has("blk.0.attn_q_norm_in.weight")
      ? { ...generator, ...BITNET_EMBEDDINGS[name] }
      : generator;
  const value = (key: string): MetadataValue | undefined => sameForAll(metadata.get(`${name}.${key}`), `${name}.${key}`, path);
  const number = (key: string, fallback?: MetadataValue): number => positive(value(key) ?? fallback, `${name}.${key}`, path);
  for (const [key, isNeutral] of Object.entries(NEUTRAL)) {
    const said = value(key);
    if (said !== undefined && !isNeutral(said))
      refuse(path, `${name}.${key} is ${show(said)}, which changes what is computed and is not supported`);
  }
  const heads = number("attention.head_count");
  const hiddenSize = number("embedding_length");
  const headDim = headSize(number("attention.key_length", hiddenSize / heads), hiddenSize, heads, path);

  const activation = architecture.postNorms
    ? activationOf(
        value("hidden_activation") ?? architecture.activation,
        `the activation function of ${name}`,
        options,
        path,
        GEMMA_ACTIVATIONS,
      )
    : activationOf(value("hidden_activation"), `${name}.hidden_activation`, options, path);
  if (activation === undefined && name === "bitnet-b1.58" && metadata.get("tokenizer.ggml.model") !== "gpt2") {
    refuse(
      path,
      `a ${name} file without a byte-level vocabulary may be one of the older models that use SiLU, and it has no ${name}.hidden_activation; set the activation function (activation, --activation silu or relu2)`,
    );
  }
  const rotatesPart = architecture.partialRope === true;
  for (const key of [...(rotatesPart ? [] : ["rope.dimension_count"]), "attention.value_length"]) {
    const length = value(key);
    if (length !== undefined && length !== headDim) {
      refuse(path, `${name}.${key} is ${show(length)}, but only the head size (${headDim}) is supported`);
    }
  }
  const ropeSize = rotatesPart
    ? partOfHead(number("rope.dimension_count", headDim), headDim, `${name}.rope.dimension_count`, path)
    : headDim;
  // Blocks at the end that guess further tokens: of the architectures that have them, they are no part of the network.
  const extraLayers = countOf(value("nextn_predict_layers") ?? 0, `${name}.nextn_predict_layers`, path);
  if (extraLayers > 0 && !architecture.recurrent)
    refuse(path, `${name}.nextn_predict_layers is ${extraLayers}, which changes what is computed and is not supported`);
  const blocks = number("block_count");
  if (extraLayers >= blocks)
    refuse(path, `${name}.nextn_predict_layers is ${extraLayers}, which leaves none of the ${blocks} blocks for the network`);
  const layers = blocks - extraLayers;
  // Each block has tensors; what is listed for each block below has a bound so.
  if (layers > checkpoint.tensors.size)
    throw new BitnetError("file", `${path}: ${name}.block_count is ${blocks}, but the file has only ${checkpoint.tensors.size} tensors`, {
      file: path,
    });
  if (architecture.recurrent) checkSections(metadata, name, ropeSize, path);
  const recurrent = architecture.recurrent ? ggufRecurrent(metadata, name, layers, path) : undefined;
  const trained = number("context_length");
  const ropeTheta = number("rope.freq_base", architecture.ropeTheta);
  const original = (): number => number("rope.scaling.original_context_length", trained);
  const long = architecture.scaled ? await readLongFactors(checkpoint, ropeSize, original, trained) : undefined;
  const window = architecture.postNorms ? ggufGemma(checkpoint, name, { headDim, hiddenSize, layers, ropeTheta }) : undefined;
  const contextLength = Math.min(long?.contextLength ?? trained, window ?? trained);
  const config: ModelConfig = {
    architecture: name,
    layers,
    hiddenSize,
    heads,
    kvHeads: number("attention.head_count_kv", heads),
    headDim,
    attentionSize: heads * headDim,
    ffnSize: number("feed_forward_length"),
    vocabSize: number("vocab_size", checkpoint.tensors.get("token_embd.weight")?.shape[0]),
    contextLength,
    window: contextLength < trained ? window : undefined,
    ropeTheta,
    ropeSize,
    ropeFactors: long?.ropeFactors ?? (await readRopeFactors(checkpoint, ropeSize)),
    ropeScaling: ggufRopeScaling(value, name, ropeTheta, trained, long !== undefined, path),
    rmsNormEps: number("attention.layer_norm_rms_epsilon"),
    activation: activation ?? architecture.activation,
    subNorms: architecture.subNorms,
    innerNorms: architecture.innerNorms ?? false,
    qkNorms: architecture.qkNorms,
    postNorms: architecture.postNorms ?? false,
    normsFromOne: false, // the converter adds 1
    ...(architecture.scaled ? ggufScales(number, layers, hiddenSize) : rootScale(architecture, hiddenSize)),
    attentionGates: architecture.attentionGates ?? false,
    recurrent,
    extraLayers,
    rotation: undefined,
    rope: architecture.rope,
    ...activationsOf(architecture, undefined, options.activations, path),
    masters: architecture.masters,
    tiedHead: !checkpoint.tensors.has("output.weight"),
    packing: undefined,
  };
  return { ...config, rotation: ggufRotation(checkpoint, config) };
}

async function fromHuggingFace(checkpoint: Checkpoint, options: ConfigOptions): Promise<ModelConfig> {
  const { path } = checkpoint;
  const inFile = (key: string): string => `config.json: ${key}`;
  const json = await readJsonSidecar(checkpoint, "config.json", "file");
  if (json === undefined) {
    if ((await checkpoint.sidecar("adapter_config.json")) !== undefined)
      refuse(path, "is an adapter (LoRA), not a model; merge it into its base model first (merge_and_unload, then save_pretrained)");
    throw new BitnetError("file", `${path}: there is no config.json beside the SafeTensors file`, { file: path });
  }
  const number = (key: string, fallback?: number): number => positive(json[key] ?? fallback, inFile(key), path);
  // The classes' default, which newer versions of the library leave out when they save.
  const flag = (key: string): boolean => {
    if (typeof (json[key] ?? false) !== "boolean")
      throw new BitnetError("file", `${path}: ${inFile(key)} must be true or false, not ${show(json[key])}`, { file: path });
    return json[key] === true;
  };
  requireNoMlx(json, path);
  if ((await checkpoint.sidecar("hadamard.json")) !== undefined)
    refuse(path, "hadamard.json beside the weights says that they are rotated, as in Bonsai 2, which is supported only as GGUF; get that");
  const name = Array.isArray(json.architectures) ? (json.architectures as unknown[])[0] : undefined;
  const architecture = hasInnerNorms(checkpoint)
    ? BITNET_EMBEDDINGS[isGemma(json, name) ? "gemma3" : "qwen3"]
    : known(HF_ARCHITECTURES, name, inFile("architectures[0]"), path);
  for (const key of ["attention_bias", "mlp_bias"])
    if (flag(key)) refuse(path, `config.json: ${key} is true, but layers with bias are not supported`);
  if (flag("use_sliding_window")) refuse(path, "config.json: use_sliding_window is true, but sliding-window attention is not supported");
  const heads = number("num_attention_heads");
  const hiddenSize = number("hidden_size");
  const unsaid = architecture.postNorms ? GEMMA_HEAD : hiddenSize / heads;
  const headDim = headSize(json.head_dim == null ? unsaid : number("head_dim"), hiddenSize, heads, path);
  const trained = number("max_position_embeddings");
  const layers = number("num_hidden_layers");
  const gemma = architecture.postNorms ? hfGemma(json, headDim, layers, path) : undefined;
  const contextLength = Math.min(trained, gemma?.window ?? trained);
  for (const layerType of !gemma && Array.isArray(json.layer_types) ? (json.layer_types as unknown[]) : [])
    if (layerType !== "full_attention")
      refuse(path, `config.json: layer_types has ${show(layerType)}, but only full_attention is supported`);
  if (flag("rope_interleaved"))
    refuse(path, "config.json: rope_interleaved is true, but only RoPE over the halves of each head is supported");
  const rope = hfRope(gemma?.json ?? json, { headDim, contextLength: trained, ropeTheta: architecture.ropeTheta }, path);
  const packing = json.quantization_config == null ? undefined : hfPacking(json.quantization_config, layers, path);
  return {
    architecture: String(name),
    layers,
    hiddenSize,
    heads,
    kvHeads: number("num_key_value_heads", heads),
    headDim,
    attentionSize: heads * headDim,
    ffnSize: number("intermediate_size"),
    vocabSize: number("vocab_size"),
    contextLength,
    window: contextLength < trained ? gemma?.window : undefined,
    ropeSize: headDim,
    ...rope,
    rmsNormEps: number("rms_norm_eps"),
    activation: gemma
      ? activationOf(json.hidden_activation ?? architecture.activation, inFile("hidden_activation"), options, path, GEMMA_ACTIVATIONS)!
      : (activationOf(json.hidden_act, inFile("hidden_act"), options, path) ?? known(ACTIVATIONS, undefined, inFile("hidden_act"), path)),
    subNorms: architecture.subNorms,
    innerNorms: architecture.innerNorms ?? false,
    qkNorms: architecture.qkNorms,
    postNorms: architecture.postNorms ?? false,
    normsFromOne: architecture.postNorms ?? false, // those with such norms are Gemma
    ...rootScale(architecture, hiddenSize),
    attentionGates: false,
    recurrent: undefined,
    extraLayers: 0,
    rotation: undefined,
    rope: "neox",
    ...activationsOf(architecture, packing && "quantization_config in config.json", options.activations, path),
    masters: architecture.masters || packing?.mode === "online",
    // A model with norms in layers has no use for a head; Gemma's is tied where it isn't said.
    tiedHead: architecture.innerNorms === true || (gemma !== undefined && json.tie_word_embeddings == null) || flag("tie_word_embeddings"),
    packing,
  };
}

/** Whether a model with norms in its layers is Gemma 3, by what config.json calls it. */
function isGemma({ model_type }: JsonObject, name: unknown): boolean {
  return [name, model_type].some((said) => typeof said === "string" && /^gemma3/i.test(said));
}

/** Whether SafeTensors are bitnet-embedding's, whose classes go by Qwen3's or Gemma 3's names. Saved as a part of another class, their names begin with `model.`. */
export function hasInnerNorms({ format, tensors }: Checkpoint): boolean {
  return format === "safetensors" && ["", "model."].some((prefix) => tensors.has(`${prefix}layers.0.self_attn.q_proj.norm.weight`));
}

/** Dimensions of a head that are rotated: whole vectors, in pairs. */
function partOfHead(size: number, headDim: number, key: string, path: string): number {
  if (Number.isInteger(size) && size % 4 === 0 && size <= headDim) return size;
  return refuse(path, `${key} is ${size}, but a multiple of 4 up to the head size (${headDim}) is required`);
}

/** Heads of known models have 64 to 256. */
const MAX_HEAD_SIZE = 4096;

function headSize(headDim: number, hiddenSize: number, heads: number, path: string): number {
  if (Number.isInteger(headDim) && headDim % 4 === 0 && headDim <= MAX_HEAD_SIZE) return headDim;
  return refuse(
    path,
    `hidden size ${hiddenSize} over ${heads} heads gives heads of ${headDim} dimensions, but a multiple of 4 up to ${MAX_HEAD_SIZE} is required`,
  );
}

/** Larger than any extent of a network that 32-bit addresses reach; products of two are exact. */
const MAX_SIZE = 2 ** 24;
/** Beyond it the sines and cosines of RoPE are not exact (engine/math.ts). Models made for more can be used up to here. */
export const MAX_POSITIONS = 1_000_000;

/** What the kernels need of the sizes. */
function checkShape(config: ModelConfig, file: string): void {
  const { hiddenSize, heads, kvHeads, headDim, attentionSize, ffnSize, ropeTheta, rmsNormEps } = config;
  for (const [name, size] of Object.entries({
    layers: config.layers,
    hiddenSize,
    heads,
    kvHeads,
    attentionSize,
    ffnSize,
    vocabSize: config.vocabSize,
    contextLength: config.contextLength,
  })) {
    if (!Number.isInteger(size)) refuse(file, `${name} is ${size}, which is not a whole number`);
    if (size > MAX_SIZE) refuse(file, `${name} is ${size}, but at most ${MAX_SIZE} is supported`);
  }
  // Below 1, angles would grow without bounds along the head.
  if (ropeTheta < 1) refuse(file, `ropeTheta is ${ropeTheta}, but at least 1 is required`);
  if (rmsNormEps >= 1 || Math.fround(rmsNormEps) === 0)
    refuse(file, `rmsNormEps is ${rmsNormEps}, but a small number above 0 in f32 is required`);
  if (config.recurrent) checkRecurrent(config.recurrent, file);
  if (config.qkNorms && headDim % 8 !== 0) refuse(file, `heads with norms have ${headDim} dimensions, but a multiple of 8 is required`);
  if (heads % kvHeads !== 0) refuse(file, `${heads} heads can't share ${kvHeads} key-value heads evenly`);
  if (hiddenSize % 8 !== 0 || ffnSize % 8 !== 0 || attentionSize % 8 !== 0)
    refuse(file, `hidden size ${hiddenSize}, feed-forward size ${ffnSize} and all heads' size ${attentionSize} must be multiples of 8`);
}
