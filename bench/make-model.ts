/**
 * Writes a GGUF model of a named shape with random ternary weights and a vocabulary of the real size: its text is nonsense, its cost is the
 * real one. `node dist/bench/make-model.js --shape 2b4t --type i2_s --out /tmp/2b4t.gguf`
 */
import { parseArgs } from "node:util";
import type { NewTensor } from "../engine/container/checkpoint.js";
import type { GgufEntry, GgufValueType } from "../engine/container/gguf.js";
import { writeGguf } from "../engine/container/gguf-writer.js";

/** What decides the cost of a model. */
export interface Shape {
  readonly layers: number;
  readonly hidden: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly ffn: number;
  readonly vocab: number;
  readonly context: number;
  /** A LLaMA: no sub-norms, and an output head of its own. */
  readonly llama?: true;
}

/** Published ternary models (8b: Llama3-8B-1.58), and the BitNet family's shape at other sizes. */
export const SHAPES: Readonly<Record<string, Shape>> = {
  "125m": { layers: 12, hidden: 768, heads: 12, kvHeads: 4, ffn: 2048, vocab: 128256, context: 4096 },
  "0.7b": { layers: 24, hidden: 1536, heads: 12, kvHeads: 4, ffn: 4096, vocab: 128256, context: 4096 },
  "2b4t": { layers: 30, hidden: 2560, heads: 20, kvHeads: 5, ffn: 6912, vocab: 128256, context: 4096 },
  "8b": { layers: 32, hidden: 4096, heads: 32, kvHeads: 8, ffn: 14336, vocab: 128256, context: 8192, llama: true },
};

export type WeightType = "i2_s" | "tq2_0";
export type EmbeddingType = "f16" | "q6_k";

/** xorshift32: fast, and the same file for the same seed. */
class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0 || 1;
  }

  next(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return x >>> 0;
  }
}

/** The 81 bytes of four codes 0, 1, 2: random weights have no code 3. */
const TERNARY = Uint8Array.from({ length: 256 }, (_, i) => i).filter((byte) => (byte & (byte >> 1) & 0x55) === 0);
const CHUNK = 1 << 22;

/** `units` units of `unitBytes`, a few MiB at a time, each filled by `fill`. */
async function* stream(units: number, unitBytes: number, fill: (bytes: Uint8Array) => void): AsyncGenerator<Uint8Array> {
  const perChunk = Math.max(1, Math.floor(CHUNK / unitBytes));
  for (let done = 0; done < units; done += perChunk) {
    const bytes = new Uint8Array(Math.min(perChunk, units - done) * unitBytes);
    fill(bytes);
    yield bytes;
  }
}

function fillTernary(bytes: Uint8Array, random: Random): void {
  for (let i = 0; i < bytes.length; i += 2) {
    const x = random.next();
    bytes[i] = TERNARY[(x >>> 16) % 81]!;
    bytes[i + 1] = TERNARY[(x & 0xffff) % 81]!;
  }
}

/** I2_S: the codes, then the scale and 28 bytes of nothing. */
async function* i2s(elements: number, random: Random, scale: number): AsyncGenerator<Uint8Array> {
  yield* stream(elements / 128, 32, (bytes) => fillTernary(bytes, random));
  const tail = new Uint8Array(32);
  new DataView(tail.buffer).setFloat32(0, scale, true);
  yield tail;
}

/** The f16 of 2^exponent, normal range. */
const powerOfTwoF16 = (exponent: number): number => (exponent + 15) << 10;

/** TQ2_0: blocks of 256 elements, 64 bytes of codes and an f16 scale. */
function tq2(elements: number, random: Random): AsyncGenerator<Uint8Array> {
  return stream(elements / 256, 66, (bytes) => {
    fillTernary(bytes, random);
    for (let i = 64; i < bytes.length; i += 66) {
      bytes[i] = 0;
      bytes[i + 1] = powerOfTwoF16(-6) >> 8;
    }
  });
}

/** F16 numbers that bf16 holds too, as published embeddings are: of either sign, magnitudes 2^-8 … 2^-5. */
function f16(elements: number, random: Random): AsyncGenerator<Uint8Array> {
  return stream(elements, 2, (bytes) => {
    for (let i = 0; i < bytes.length; i += 2) {
      const x = random.next();
      const bits = ((x & 1) << 15) | (powerOfTwoF16(-8 + ((x >>> 1) & 3)) | (((x >>> 3) & 127) << 3));
      bytes[i] = bits & 255;
      bytes[i + 1] = bits >> 8;
    }
  });
}

/** Q6_K: blocks of 256 elements in 210 bytes, 192 of 6-bit numbers, 16 scales, an f16. */
function q6k(elements: number, random: Random): AsyncGenerator<Uint8Array> {
  return stream(elements / 256, 210, (bytes) => {
    for (let i = 0; i < bytes.length; i += 210) {
      for (let j = 0; j < 192; j += 4) new DataView(bytes.buffer, i + j, 4).setUint32(0, random.next());
      for (let j = 192; j < 208; j++) bytes[i + j] = 1 + (random.next() % 15);
      bytes[i + 208] = 0;
      bytes[i + 209] = powerOfTwoF16(-14) >> 8;
    }
  });
}

/** GPT-2's spelling of a byte as a character. */
function spell(byte: number): string {
  const plain = (b: number): boolean => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  if (plain(byte)) return String.fromCharCode(byte);
  let rank = 0;
  for (let b = 0; b < byte; b++) if (!plain(b)) rank++;
  return String.fromCharCode(256 + rank);
}

/** Specials at the end of the vocabulary, in LLaMA-3's order. */
const SPECIALS = 256;

/** A byte-level BPE vocabulary of any size: all bytes, then words that grow a letter at a time, each with the merge that makes it. */
function vocabulary(size: number): GgufEntry[] {
  const tokens = Array.from({ length: 256 }, (_, byte) => spell(byte));
  const merges: string[] = [];
  const letters = [..."etaoinshrdlcumwfgypbvkjxqz"];
  // Words with a leading space first, as real vocabularies have most of.
  let stems = [spell(32), ...letters];
  while (tokens.length < size - SPECIALS) {
    const grown: string[] = [];
    for (const stem of stems) {
      for (const letter of letters) {
        if (tokens.length === size - SPECIALS) break;
        tokens.push(stem + letter);
        merges.push(`${stem} ${letter}`);
        grown.push(stem + letter);
      }
    }
    stems = grown;
  }
  const first = tokens.length;
  tokens.push("<|begin_of_text|>", "<|end_of_text|>");
  for (let i = tokens.length; i < size; i++) tokens.push(i === first + 9 ? "<|eot_id|>" : `<|reserved_special_token_${i - first}|>`);
  const text = (key: string, value: string): GgufEntry => ({ key, type: "string", value });
  return [
    text("tokenizer.ggml.model", "gpt2"),
    text("tokenizer.ggml.pre", "llama-bpe"),
    { key: "tokenizer.ggml.tokens", type: "array", elementType: "string", value: tokens },
    { key: "tokenizer.ggml.token_type", type: "array", elementType: "int32", value: tokens.map((_, id) => (id >= first ? 3 : 1)) },
    { key: "tokenizer.ggml.merges", type: "array", elementType: "string", value: merges },
    { key: "tokenizer.ggml.bos_token_id", type: "uint32", value: first },
    { key: "tokenizer.ggml.eos_token_id", type: "uint32", value: first + 1 },
  ];
}

/** f32 ones: a norm that changes nothing. */
function ones(n: number): Uint8Array {
  return new Uint8Array(new Float32Array(n).fill(1).buffer);
}

/** Writes the model. A BitNet is `bitnet-b1.58`; llama.cpp knows the family as `bitnet`, and runs it with SiLU, at the same cost. */
export async function makeModel(path: string, shape: Shape, type: WeightType, embedding: EmbeddingType, seed = 1): Promise<void> {
  const { layers, hidden, heads, kvHeads, ffn, vocab, context } = shape;
  const bitnet = type === "i2_s" ? "bitnet-b1.58" : "bitnet";
  const arch = shape.llama ? "llama" : bitnet;
  const random = new Random(seed);
  const number = (key: string, value: number, as: GgufValueType = "uint32"): GgufEntry => ({ key: `${arch}.${key}`, type: as, value });
  const metadata: GgufEntry[] = [
    { key: "general.architecture", type: "string", value: arch },
    { key: "general.name", type: "string", value: "random ternary weights" },
    number("block_count", layers),
    number("context_length", context),
    number("embedding_length", hidden),
    number("feed_forward_length", ffn),
    number("attention.head_count", heads),
    number("attention.head_count_kv", kvHeads),
    number("rope.freq_base", 500000, "float32"),
    number("rope.dimension_count", hidden / heads),
    number("attention.layer_norm_rms_epsilon", 1e-5, "float32"),
    number("vocab_size", vocab),
    { key: "general.file_type", type: "uint32", value: type === "i2_s" ? 40 : 37 },
    ...vocabulary(vocab),
  ];
  const norm = (name: string, n: number): NewTensor => ({ name: `${name}.weight`, shape: [n], type: "F32", data: ones(n) });
  const linear = (name: string, rows: number, columns: number): NewTensor => {
    const elements = rows * columns;
    const data = type === "i2_s" ? i2s(elements, random, Math.fround(1 / Math.sqrt(columns))) : tq2(elements, random);
    return { name: `${name}.weight`, shape: [rows, columns], type: type === "i2_s" ? "I2_S" : "TQ2_0", data };
  };
  const table = (name: string): NewTensor => ({
    name: `${name}.weight`,
    shape: [vocab, hidden],
    type: embedding === "f16" ? "F16" : "Q6_K",
    data: embedding === "f16" ? f16(vocab * hidden, random) : q6k(vocab * hidden, random),
  });
  const subNorm = (name: string, n: number): NewTensor[] => (shape.llama ? [] : [norm(name, n)]);
  const tensors: NewTensor[] = [table("token_embd")];
  const kv = (hidden / heads) * kvHeads;
  for (let i = 0; i < layers; i++) {
    const blk = `blk.${i}`;
    tensors.push(
      norm(`${blk}.attn_norm`, hidden),
      linear(`${blk}.attn_q`, hidden, hidden),
      linear(`${blk}.attn_k`, kv, hidden),
      linear(`${blk}.attn_v`, kv, hidden),
      ...subNorm(`${blk}.attn_sub_norm`, hidden),
      linear(`${blk}.attn_output`, hidden, hidden),
      norm(`${blk}.ffn_norm`, hidden),
      linear(`${blk}.ffn_gate`, ffn, hidden),
      linear(`${blk}.ffn_up`, ffn, hidden),
      ...subNorm(`${blk}.ffn_sub_norm`, ffn),
      linear(`${blk}.ffn_down`, hidden, ffn),
    );
  }
  tensors.push(norm("output_norm", hidden));
  if (shape.llama) tensors.push(table("output"));
  await writeGguf(path, { metadata, tensors });
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      shape: { type: "string", default: "2b4t" },
      type: { type: "string", default: "i2_s" },
      embedding: { type: "string", default: "f16" },
      out: { type: "string" },
    },
  });
  const shape = SHAPES[values.shape];
  const { type, embedding, out } = values;
  if (!shape || (type !== "i2_s" && type !== "tq2_0") || (embedding !== "f16" && embedding !== "q6_k") || out === undefined) {
    console.error(`usage: make-model --shape ${Object.keys(SHAPES).join("|")} --type i2_s|tq2_0 --embedding f16|q6_k --out FILE`);
    process.exitCode = 2;
    return;
  }
  await makeModel(out, shape, type, embedding);
}

if (process.argv[1]?.endsWith("make-model.js")) await main();
