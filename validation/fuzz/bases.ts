import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { NewTensor } from "../../engine/container/checkpoint.js";
import type { GgufEntry, GgufValueType } from "../../engine/container/gguf.js";
import { writeGguf } from "../../engine/container/gguf-writer.js";
import { writeSafetensors } from "../../engine/container/safetensors.js";
import { type Shape as FamilyShape, makeFamilyModel, SHAPES } from "../families/model.js";
import { makeQwen35, writeQwen35 } from "../families/qwen35.js";
import { type FamilyType, writeFamilyGguf } from "../families/write-gguf.js";
import type { Base } from "./files.js";
import { Random } from "./random.js";
import { BYTE_LEVEL, PIECES, TEMPLATE, VOCAB, type Words } from "./words.js";

/** Ternary codes in any byte: no pair of bits is 3. */
const TERNARY = Uint8Array.from({ length: 256 }, (_, i) => i).filter((byte) => (byte & (byte >> 1) & 0x55) === 0);

const F16_SCALE = 0x2400; // 2^-6
const F16_TINY = 0x0400; // 2^-14
const BF16_SCALE = 0x3c80; // 2^-6

/** One block of each type: its elements and bytes, whether its bytes are any or ternary codes, and where its f16 scale stands. */
const BLOCKS: Readonly<Record<string, readonly [elements: number, bytes: number, codes: "any" | "ternary", scale: number]>> = {
  TQ1_0: [256, 54, "any", 52],
  TQ2_0: [256, 66, "ternary", 64],
  Q2_0: [64, 18, "ternary", 0],
  Q2_0_128: [128, 34, "ternary", 0],
  PTQ1_0: [128, 28, "any", 26],
  Q1_0: [128, 18, "any", 0],
  Q8_0: [32, 34, "any", 0],
  Q4_0: [32, 18, "any", 0],
  Q6_K: [256, 210, "any", 208],
  Q4_K: [256, 144, "any", 0],
};

const count = (shape: readonly number[]): number => shape.reduce((product, extent) => product * extent, 1);

/** Weights of a type: ternary ones for a linear layer, small ones otherwise. */
function weights(random: Random, type: string, shape: readonly number[], linear: boolean): Uint8Array {
  const elements = count(shape);
  const ternary = (length: number) => Uint8Array.from({ length }, () => random.pick(TERNARY as unknown as readonly number[]));
  if (type === "I2_S") return Buffer.concat([ternary(elements / 4), f32(2 ** -6), Buffer.alloc(28)]);
  if (type === "U8") return ternary(elements);
  const block = BLOCKS[type];
  if (block !== undefined) {
    const [perBlock, bytes, codes, scale] = block;
    const size = (elements / perBlock) * bytes;
    const out = codes === "ternary" ? ternary(size) : Uint8Array.from({ length: size }, () => random.below(256));
    const view = new DataView(out.buffer);
    for (let at = scale; at < size; at += bytes) view.setUint16(at, type === "Q6_K" ? F16_TINY : F16_SCALE, true);
    if (type === "Q4_K") for (let at = 2; at < size; at += bytes) view.setUint16(at, F16_TINY, true); // what is subtracted
    return out;
  }
  const number = () => (linear ? (random.below(3) - 1) * 2 ** -6 : (random.below(255) - 127) * 2 ** -10);
  if (type === "F32") return new Uint8Array(Float32Array.from({ length: elements }, number).buffer);
  // The upper half of an f32; of f16 numbers of either sign near 2^-6.
  if (type === "BF16") return new Uint8Array(Uint16Array.from({ length: elements }, () => f32bits(number()) >>> 16).buffer);
  const half = () => (linear ? random.pick([0, F16_SCALE, F16_SCALE | 0x8000]) : (random.below(2) << 15) | (0x1c00 + random.below(0x800)));
  return new Uint8Array(Uint16Array.from({ length: elements }, half).buffer);
}

function f32(value: number): Uint8Array {
  return new Uint8Array(Float32Array.of(value).buffer);
}

function f32bits(value: number): number {
  return new DataView(f32(value).buffer).getUint32(0, true);
}

/** A network so small that a step takes a millisecond. */
interface Shape {
  readonly hidden: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly ffn: number;
}

const SMALL: Shape = { hidden: 64, layers: 2, heads: 2, kvHeads: 1, ffn: 96 };
/** TQ1_0, TQ2_0 and Q6_K have rows of 256. */
const WIDE: Shape = { hidden: 256, layers: 1, heads: 4, kvHeads: 1, ffn: 256 };
const BLOCKY: Shape = { hidden: 128, layers: 1, heads: 2, kvHeads: 1, ffn: 256 };

const CONTEXT = 64;
/** The family's own parts; names are GGUF's and Hugging Face's. */
interface Family {
  readonly gguf: string;
  readonly hf: string;
  readonly subNorms?: boolean;
  readonly qkNorms?: boolean;
  readonly untied?: boolean;
  readonly ropeFactors?: boolean;
  readonly yarn?: boolean;
  readonly words: Words;
}

const BITNET: Family = { gguf: "bitnet-b1.58", hf: "BitNetForCausalLM", subNorms: true, words: BYTE_LEVEL };
const BITNET_25: Family = { ...BITNET, gguf: "bitnet-25" };
const LLAMA: Family = { gguf: "llama", hf: "LlamaForCausalLM", untied: true, ropeFactors: true, words: BYTE_LEVEL };
const LLAMA_2: Family = { gguf: "llama", hf: "LlamaForCausalLM", words: PIECES };
const QWEN3: Family = { gguf: "qwen3", hf: "Qwen3ForCausalLM", qkNorms: true, yarn: true, words: BYTE_LEVEL };

/** The tensors of a network, by GGUF's names or by Hugging Face's. */
function tensorsOf(format: "gguf" | "hf", family: Family, shape: Shape, linearType: string, tableType: string): NewTensor[] {
  const { hidden, layers, heads, kvHeads, ffn } = shape;
  const headDim = hidden / heads;
  const random = new Random(1, hidden);
  const tensors: NewTensor[] = [];
  const normType = format === "gguf" ? "F32" : tableType;
  const one = normType === "F32" ? f32(1) : Uint8Array.of(0x80, 0x3f); // bf16
  const norm = (name: string, n: number) =>
    tensors.push({ name: `${name}.weight`, shape: [n], type: normType, data: Buffer.concat(Array.from({ length: n }, () => one)) });
  const table = (name: string) => {
    const extents = [VOCAB, hidden];
    tensors.push({ name: `${name}.weight`, shape: extents, type: tableType, data: weights(random, tableType, extents, false) });
  };
  const linear = (name: string, rows: number, columns: number) => {
    const extents = linearType === "U8" ? [rows / 4, columns] : [rows, columns];
    tensors.push({ name: `${name}.weight`, shape: extents, type: linearType, data: weights(random, linearType, extents, true) });
    if (linearType === "U8")
      tensors.push({ name: `${name}.weight_scale`, shape: [1], type: "BF16", data: new Uint8Array(Uint16Array.of(BF16_SCALE).buffer) });
  };
  const hf = format === "hf";
  table(hf ? "model.embed_tokens" : "token_embd");
  for (let i = 0; i < layers; i++) {
    const at = hf ? `model.layers.${i}.` : `blk.${i}.`;
    const name = (gguf: string, theirs: string) => at + (hf ? theirs : gguf);
    norm(name("attn_norm", "input_layernorm"), hidden);
    linear(name("attn_q", "self_attn.q_proj"), hidden, hidden);
    linear(name("attn_k", "self_attn.k_proj"), kvHeads * headDim, hidden);
    linear(name("attn_v", "self_attn.v_proj"), kvHeads * headDim, hidden);
    if (family.qkNorms) norm(name("attn_q_norm", "self_attn.q_norm"), headDim);
    if (family.qkNorms) norm(name("attn_k_norm", "self_attn.k_norm"), headDim);
    if (family.subNorms) norm(name("attn_sub_norm", "self_attn.attn_sub_norm"), hidden);
    linear(name("attn_output", "self_attn.o_proj"), hidden, hidden);
    norm(name("ffn_norm", "post_attention_layernorm"), hidden);
    linear(name("ffn_gate", "mlp.gate_proj"), ffn, hidden);
    linear(name("ffn_up", "mlp.up_proj"), ffn, hidden);
    if (family.subNorms) norm(name("ffn_sub_norm", "mlp.ffn_sub_norm"), ffn);
    linear(name("ffn_down", "mlp.down_proj"), hidden, ffn);
  }
  norm(hf ? "model.norm" : "output_norm", hidden);
  if (family.untied) table(hf ? "lm_head" : "output");
  if (family.ropeFactors && !hf) {
    const factors = Float32Array.from({ length: headDim / 2 }, (_, i) => 1 + i / 4);
    tensors.push({ name: "rope_freqs.weight", shape: [headDim / 2], type: "F32", data: new Uint8Array(factors.buffer) });
  }
  return tensors;
}

function metadataOf(family: Family, { hidden, layers, heads, kvHeads, ffn }: Shape): GgufEntry[] {
  const number = (key: string, value: number, type: GgufValueType = "uint32"): GgufEntry => ({ key: `${family.gguf}.${key}`, type, value });
  const text = (key: string, value: string): GgufEntry => ({ key, type: "string", value });
  return [
    text("general.architecture", family.gguf),
    number("block_count", layers),
    number("context_length", CONTEXT),
    number("embedding_length", hidden),
    number("feed_forward_length", ffn),
    number("attention.head_count", heads),
    number("attention.head_count_kv", kvHeads),
    number("rope.freq_base", 10000, "float32"),
    number("rope.dimension_count", hidden / heads),
    ...(family.yarn
      ? [
          text(`${family.gguf}.rope.scaling.type`, "yarn"),
          number("rope.scaling.factor", 4, "float32"),
          number("rope.scaling.original_context_length", 8),
        ]
      : []),
    number("attention.layer_norm_rms_epsilon", 1e-5, "float32"),
    number("vocab_size", VOCAB),
    ...family.words.metadata,
    number("unused", 2 ** 40, "uint64"),
    text("tokenizer.chat_template", TEMPLATE),
  ];
}

/** The files beside SafeTensors. */
function sidecarsOf(
  family: Family,
  { hidden, layers, heads, kvHeads, ffn }: Shape,
  quantization: object | undefined,
): Record<string, object> {
  const { bos, eos, bosId, eosId, added } = family.words;
  return {
    "config.json": {
      architectures: [family.hf],
      hidden_act: family.subNorms ? "relu2" : "silu",
      hidden_size: hidden,
      intermediate_size: ffn,
      max_position_embeddings: CONTEXT,
      num_attention_heads: heads,
      num_hidden_layers: layers,
      num_key_value_heads: kvHeads,
      rms_norm_eps: 1e-5,
      rope_theta: 10000,
      rope_scaling: family.ropeFactors
        ? { rope_type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 32 }
        : family.yarn
          ? { rope_type: "yarn", factor: 4, original_max_position_embeddings: 8, beta_fast: 32, attention_factor: null }
          : null,
      tie_word_embeddings: !family.untied,
      vocab_size: VOCAB,
      eos_token_id: [eosId],
      quantization_config: quantization,
    },
    "generation_config.json": {
      eos_token_id: [eosId, bosId],
      do_sample: true,
      temperature: 0.6,
      top_p: 0.9,
      top_k: 40,
    },
    "special_tokens_map.json": { bos_token: bos, eos_token: { content: eos, lstrip: false } },
    "tokenizer_config.json": {
      added_tokens_decoder: Object.fromEntries(added.map(({ id, ...token }) => [id, token])),
      bos_token: bos,
      eos_token: eos,
      chat_template: TEMPLATE,
      clean_up_tokenization_spaces: true,
    },
    "tokenizer.json": family.words.json,
  };
}

type Write = (directory: string) => Promise<string>;

function gguf(family: Family, shape: Shape, linearType: string, tableType: string): Write {
  return async (directory) => {
    const tensors = tensorsOf("gguf", family, shape, linearType, tableType);
    await writeGguf(join(directory, "model.gguf"), { metadata: metadataOf(family, shape), tensors });
    return "model.gguf";
  };
}

/** Two parts of one model; the first has the metadata. */
function splitGguf(family: Family, shape: Shape, linearType: string, tableType: string): Write {
  return async (directory) => {
    const tensors = tensorsOf("gguf", family, shape, linearType, tableType);
    for (const part of [0, 1]) {
      const own: GgufEntry[] = [
        { key: "split.no", type: "uint16", value: part },
        { key: "split.count", type: "uint16", value: 2 },
        { key: "split.tensors.count", type: "int32", value: tensors.length },
      ];
      const metadata = part === 0 ? [...metadataOf(family, shape), ...own] : own;
      const path = join(directory, `model-0000${part + 1}-of-00002.gguf`);
      await writeGguf(path, { metadata, tensors: tensors.filter((_, i) => i % 2 === part) });
    }
    return "";
  };
}

function safetensors(family: Family, shape: Shape, linearType: string, tableType: string, quantization?: object, shards = 1): Write {
  return async (directory) => {
    const tensors = tensorsOf("hf", family, shape, linearType, tableType);
    for (const [name, json] of Object.entries(sidecarsOf(family, shape, quantization)))
      writeFileSync(join(directory, name), JSON.stringify(json));
    if (shards === 1) {
      await writeSafetensors(join(directory, "model.safetensors"), { tensors, metadata: new Map([["format", "pt"]]) });
      return "";
    }
    const weight_map: Record<string, string> = {};
    for (let shard = 0; shard < shards; shard++) {
      const name = `model-${shard + 1}.safetensors`;
      const part = tensors.filter((_, i) => i % shards === shard);
      for (const tensor of part) weight_map[tensor.name] = name;
      await writeSafetensors(join(directory, name), { tensors: part });
    }
    writeFileSync(join(directory, "model.safetensors.index.json"), JSON.stringify({ metadata: { total_size: 1 }, weight_map }));
    return "";
  };
}

const RECURRENT = {
  family: "qwen35" as const,
  ...{ name: "recurrent", seed: 1, layers: 2, hidden: 128, heads: 2, kvHeads: 1, headDim: 64, ropeSize: 16, ffn: 128, vocab: 640 },
  ...{ theta: 10_000, eps: 1e-6, keyHeads: 1, valueHeads: 2, stateSize: 64, interval: 2, windows: [1], quick: 1 },
};

/** One recurrent layer and one with attention; rotated if its type is PrismML's. */
function recurrent(type: FamilyType, tied: boolean): Write {
  return async (directory) => {
    const rotation = type.startsWith("P") ? { rotation: { block: 64, grouped: true } } : {};
    await writeQwen35(
      join(directory, "model.gguf"),
      makeQwen35({ ...RECURRENT, tied, group: type === "Q2_0" ? 64 : 128, ...rotation }),
      type,
    );
    return "model.gguf";
  };
}

/** A family's small model with other sizes than the tests'. */
function small(name: string, type: FamilyType, more: Partial<FamilyShape> = {}): Write {
  return async (directory) => {
    const shape = SHAPES.find((one) => one.name === name)!;
    await writeFamilyGguf(join(directory, "model.gguf"), makeFamilyModel({ ...shape, layers: 1, windows: [1], ...more }), type);
    return "model.gguf";
  };
}

const offline = (linear_class: string) => ({ quant_method: "bitnet", linear_class, quantization_mode: "offline" });

/** Sound models of every format and encoding that the engine reads. */
const MODELS: Readonly<Record<string, Write>> = {
  "gguf i2_s": gguf(BITNET, SMALL, "I2_S", "F16"),
  "gguf f16": gguf(BITNET_25, SMALL, "F16", "F32"),
  "gguf tq1_0": gguf(BITNET, WIDE, "TQ1_0", "Q6_K"),
  "gguf tq2_0": gguf(BITNET_25, WIDE, "TQ2_0", "Q8_0"),
  "gguf llama tq1_0": gguf(LLAMA, WIDE, "TQ1_0", "Q4_K"),
  "gguf llama i2_s in two parts": splitGguf(LLAMA, SMALL, "I2_S", "Q4_0"),
  "gguf qwen3 q2_0": gguf(QWEN3, BLOCKY, "Q2_0", "Q2_0"),
  "gguf qwen3 q2_0_128": gguf(QWEN3, BLOCKY, "Q2_0_128", "F16"),
  "gguf qwen3 ptq1_0": gguf(QWEN3, BLOCKY, "PTQ1_0", "PTQ1_0"),
  "gguf qwen3 q1_0": gguf(QWEN3, BLOCKY, "Q1_0", "Q1_0"),
  "gguf qwen35 q2_0": recurrent("Q2_0", false),
  "gguf qwen35 ptq1_0, rotated": recurrent("PTQ1_0", true),
  "gguf qwen35 pq2_0, rotated": recurrent("PQ2_0", false),
  "gguf minicpm tq2_0": small("minicpm", "TQ2_0"),
  "gguf embedding i2_s": small("qwen3", "I2_S", { innerNorms: true }),
  "gguf gemma3 tq2_0": small("gemma3", "TQ2_0", { hidden: 256, heads: 1 }),
  "gguf gemma3 embedding i2_s": small("gemma3", "I2_S", { innerNorms: true, hidden: 128, heads: 1, headDim: 64, ffn: 128 }),
  "gguf llama with pieces": gguf(LLAMA_2, SMALL, "I2_S", "F16"),
  "safetensors with pieces": safetensors(LLAMA_2, SMALL, "U8", "BF16", offline("bitlinear")),
  "safetensors packed": safetensors(BITNET, SMALL, "U8", "BF16", offline("autobitlinear")),
  "safetensors online in shards": safetensors(
    BITNET,
    SMALL,
    "BF16",
    "BF16",
    { ...offline("autobitlinear"), quantization_mode: "online" },
    2,
  ),
  "safetensors llama packed": safetensors(LLAMA, SMALL, "U8", "BF16", offline("bitlinear")),
  "safetensors f32": safetensors(BITNET, SMALL, "F32", "F32"),
};

/** A real one: larger, and trained. */
const EMBEDDED = "models/bitnet-stories-4m/ggml-model-i2_s.gguf";

/** Writes all models, and reads them back as bytes. `directory` need not exist, and is empty afterwards. */
export async function makeBases(directory: string): Promise<Base[]> {
  const bases: Base[] = [
    { name: "embedded model", open: "model.gguf", contents: new Map([["model.gguf", new Uint8Array(readFileSync(EMBEDDED))]]) },
  ];
  for (const [name, write] of Object.entries(MODELS)) {
    mkdirSync(directory, { recursive: true });
    const open = await write(directory);
    const contents = new Map(
      readdirSync(directory)
        .sort()
        .map((file) => [file, new Uint8Array(readFileSync(join(directory, file)))]),
    );
    bases.push({ name, open, contents });
    rmSync(directory, { recursive: true });
  }
  return bases;
}
