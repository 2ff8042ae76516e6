import type { Checkpoint, TensorInfo } from "../container/checkpoint.js";
import { quote } from "../container/quote.js";
import { BitnetError } from "../errors.js";
import type { ModelConfig } from "./config.js";
import { type FloatRole, type Layer, type LinearRole, makeLayer, ROTATED } from "./layers.js";
import { tensorNames } from "./names.js";
import { LONG_FACTORS, ROPE_FACTORS } from "./rope.js";

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

/** The tensors of one layer. */
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

/** Matrices among what is kept in f32, which files may have quantised. */
const MATRICES = /\.ssm_(?:alpha|beta)\.weight$/;

/** Whether a tensor of two axes is no ternary layer and no table, by its name. */
export function isFloatMatrix(name: string): boolean {
  return MATRICES.test(name) || /\.ssm_conv1d\.weight$/.test(name);
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
  const names = tensorNames(checkpoint.format, config.architecture, config);
  const used = new Set<string>();
  // bitnet-embedding's are those of the network alone, without that of the class that has a head; so are Gemma3TextModel's.
  const isBare = checkpoint.format === "safetensors" && (config.innerNorms || config.postNorms) && !checkpoint.tensors.has(names.embedding);

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

  const floats = (name: string, shape: readonly number[]): TensorInfo => find(name, shape, MATRICES.test(name) ? TABLES : FLOATS);

  const linear = (name: string, rows: number, columns: number, pairedRows: number | undefined): LinearSource => {
    const layout = options.i2sLayout ?? "block128";
    const plain = { rows, columns, scale: undefined, inverseScale: invertScales, layout, pairedRows, masters: config.masters };
    if (checkpoint.format === "gguf") return { ...plain, tensor: find(name, [rows, columns], [...TERNARY, ...FLOATS]) };
    if (config.packing?.mode !== "offline") return { ...plain, tensor: find(name, [rows, columns], FLOATS) };
    return {
      ...plain,
      tensor: find(name, [rows / 4, columns], ["U8"]),
      scale: find(`${name}_scale`, [1], FLOATS),
      inverseScale: config.packing.inverseScale !== invertScales,
    };
  };

  const { hiddenSize, vocabSize } = config;
  const paired = config.rope === "norm" ? config.headDim : undefined;
  const layers: LayerSources[] = [];
  // One by one: a count that the file doesn't hold fails at the first layer it lacks.
  for (let layer = 0; layer < config.layers; layer++) {
    const name = (role: LinearRole | FloatRole): string => names.layer[role].replace("%", String(layer));
    layers.push(
      makeLayer(
        config,
        layer,
        (role, rows, columns) => linear(name(role), rows, columns, ROTATED.has(role) ? paired : undefined),
        (role, shape) => floats(name(role), shape),
      ),
    );
  }
  const sources: NetworkSources = {
    embedding: find(names.embedding, [vocabSize, hiddenSize], TABLES),
    layers,
    outputNorm: floats(names.outputNorm, [hiddenSize]),
    head: config.tiedHead ? undefined : find(names.head, [vocabSize, hiddenSize], TABLES),
  };
  // Tied SafeTensors may repeat the embedding as lm_head; the configuration says that it isn't used.
  if (config.tiedHead) used.add(names.head);
  if (config.ropeFactors) for (const name of [ROPE_FACTORS, ...Object.values(LONG_FACTORS)]) used.add(name); // read with the configuration
  if (config.extraLayers > 0) {
    const isExtra = (block: number): boolean => block >= config.layers && block < config.layers + config.extraLayers;
    for (const name of checkpoint.tensors.keys()) if (isExtra(Number(/^blk\.(\d+)\./.exec(name)?.[1]))) used.add(name);
  }
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
