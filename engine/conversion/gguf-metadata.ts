import { openSource } from "#host/files.js";
import type { Checkpoint } from "../container/checkpoint.js";
import { type GgufEntry, readGguf } from "../container/gguf.js";
import { BitnetError } from "../errors.js";
import type { ModelConfig } from "../model/config.js";
import { YARN_FAST, YARN_SLOW, yarnAttention } from "../rope.js";

/** `general.file_type` by the type of the ternary layers (llama.cpp's llama_ftype, and bitnet.cpp's; of PrismML's types, whose numbers are not known, the number of the tensor type). */
const FILE_TYPES: Readonly<Record<string, number>> = { F32: 0, F16: 1, TQ1_0: 36, TQ2_0: 37, I2_S: 40, PQ2_0: 142, PTQ1_0: 143 };

/** ggml's GGML_QNT_VERSION, which stands in quantised files. */
const QUANTISATION_VERSION = 2;

/** llama.cpp's LLAMA_POOLING_TYPE_LAST: what bitnet-embedding's SafeTensors are documented to use. */
const LAST_TOKEN = 3;

const u32 = (key: string, value: number): GgufEntry => ({ key, type: "uint32", value });
const f32 = (key: string, value: number): GgufEntry => ({ key, type: "float32", value: Math.fround(value) });
const text = (key: string, value: string): GgufEntry => ({ key, type: "string", value });

const FILE_TYPE = "general.file_type";
const VERSION = "general.quantization_version";

/** What says how a file's tensors are stored. */
function storage(type: string): GgufEntry[] {
  const fileType = u32(FILE_TYPE, FILE_TYPES[type]!);
  return type === "F32" || type === "F16" ? [fileType] : [fileType, u32(VERSION, QUANTISATION_VERSION)];
}

/** The activation function is always said, so that no engine need guess it. */
const activation = (architecture: string, config: ModelConfig): GgufEntry => text(`${architecture}.hidden_activation`, config.activation);

/**
 * What YaRN's own attention is to be multiplied by, f32, so that readers get the wanted product. Where no f32 gives it to the bit, the nearest.
 */
function attentionFactor(wanted: number, own: number): number {
  const near = Math.fround(wanted / own);
  const step = near * 2 ** -23;
  const exact = [near, Math.fround(near - step), Math.fround(near + step)].find((value) => Math.fround(value * own) === wanted);
  return exact ?? near;
}

/** Linear scaling or YaRN under llama.cpp's keys. @throws BitnetError unsupported: it has none for them */
function ropeScaling(key: (rest: string) => string, { ropeScaling: scaling }: ModelConfig, file: string): GgufEntry[] {
  if (scaling === undefined) return [];
  const { type, factor, attention, ramp } = scaling;
  for (const [name, value, known] of [
    ["beta_fast", ramp?.fast, YARN_FAST],
    ["beta_slow", ramp?.slow, YARN_SLOW],
    ["truncate", ramp?.truncate, true],
  ] as const) {
    if (ramp === undefined || value === known) continue;
    throw new BitnetError(
      "unsupported",
      `${file}: yarn with ${name} ${value} can't be stored in GGUF: other engines assume ${known} for this architecture, so they would compute a different model`,
      { file },
    );
  }
  const own = ramp === undefined ? 1 : yarnAttention(factor);
  return [
    text(key("rope.scaling.type"), type),
    f32(key("rope.scaling.factor"), factor),
    ...(ramp ? [u32(key("rope.scaling.original_context_length"), ramp.originalContext)] : []),
    ...(attention === Math.fround(own) ? [] : [f32(key("rope.scaling.attn_factor"), attentionFactor(attention, own))]),
  ];
}

/** Hyper-parameters under llama.cpp's keys. @param file that the model comes from @throws BitnetError unsupported: GGUF has no keys for its RoPE */
export function ggufMetadata(architecture: string, name: string, type: string, config: ModelConfig, file: string): GgufEntry[] {
  const key = (rest: string): string => `${architecture}.${rest}`;
  const { heads, headDim, hiddenSize } = config;
  const ownHeadSize = heads * headDim === hiddenSize ? [] : ["attention.key_length", "attention.value_length"];
  return [
    text("general.architecture", architecture),
    text("general.type", "model"),
    text("general.name", name),
    ...storage(type),
    u32(key("block_count"), config.layers),
    u32(key("context_length"), config.contextLength),
    u32(key("embedding_length"), hiddenSize),
    u32(key("feed_forward_length"), config.ffnSize),
    u32(key("attention.head_count"), heads),
    u32(key("attention.head_count_kv"), config.kvHeads),
    ...ownHeadSize.map((rest) => u32(key(rest), headDim)),
    f32(key("attention.layer_norm_rms_epsilon"), config.rmsNormEps),
    u32(key("rope.dimension_count"), headDim),
    f32(key("rope.freq_base"), config.ropeTheta),
    ...ropeScaling(key, config, file),
    u32(key("vocab_size"), config.vocabSize),
    ...(config.innerNorms ? [u32(key("pooling_type"), LAST_TOKEN)] : []),
    activation(architecture, config),
  ];
}

/**
 * A GGUF's own metadata, with what changes: how tensors are stored, and that the activation function is stated.
 * @param tokenizer replaces its own; undefined: its own stays
 */
export async function changedMetadata(
  checkpoint: Checkpoint,
  type: string,
  config: ModelConfig,
  tokenizer: readonly GgufEntry[] | undefined,
): Promise<GgufEntry[]> {
  const source = await openSource(checkpoint.files[0]!);
  try {
    const blocks = `${config.architecture}.block_count`;
    const changed = new Map([...storage(type), activation(config.architecture, config)].map((entry) => [entry.key, entry]));
    const extra = `${config.architecture}.nextn_predict_layers`; // they are not written
    if (config.extraLayers > 0) changed.set(blocks, u32(blocks, config.layers));
    const kept: GgufEntry[] = [];
    for (const entry of (await readGguf(source)).entries) {
      const { key } = entry;
      if (
        key === extra ||
        key.startsWith("split.") ||
        (key === VERSION && !changed.has(key)) ||
        (tokenizer && key.startsWith("tokenizer."))
      )
        continue;
      kept.push(changed.get(key) ?? entry);
      changed.delete(key);
    }
    return [...kept, ...(tokenizer ?? []), ...changed.values()];
  } finally {
    await source.close();
  }
}
