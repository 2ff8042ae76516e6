/**
 * Writes a GGUF model of a named shape with random ternary weights and a vocabulary of the real size: its text is nonsense, its cost is the
 * real one. `node dist/bench/make-model.js --shape 2b4t --type i2_s --out /tmp/2b4t.gguf`
 */
import type { NewTensor } from "../engine/container/checkpoint.js";
import type { GgufEntry, GgufValueType } from "../engine/container/gguf.js";
import { writeGguf } from "../engine/container/gguf-writer.js";
import { readFlags } from "./flags.js";
import { BONSAI_SHAPES, type BonsaiType, makeBonsai } from "./make-bonsai.js";
import { f16Rows, i2s, ones, q6k, Random, ShiftedGates, tq2, vocabulary } from "./random-weights.js";

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

/**
 * Writes the model. A BitNet is `bitnet-b1.58`; llama.cpp knows the family as `bitnet`, and runs it with SiLU, at the same cost.
 * @param zeros the share of the down projections' int8 inputs that are 0, of I2_S with an F16 embedding; undefined: what random weights give, 0.67
 */
export async function makeModel(
  path: string,
  shape: Shape,
  type: WeightType,
  embedding: EmbeddingType,
  { seed = 1, zeros }: { readonly seed?: number; readonly zeros?: number } = {},
): Promise<void> {
  const { layers, hidden, heads, kvHeads, ffn, vocab, context } = shape;
  const bitnet = type === "i2_s" ? "bitnet-b1.58" : "bitnet";
  const arch = shape.llama ? "llama" : bitnet;
  const random = new Random(seed);
  const shifted = zeros === undefined ? undefined : new ShiftedGates(zeros, hidden, ffn);
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
  const linear = (name: string, rows: number, columns: number, factor = 1, edit?: ReturnType<ShiftedGates["edit"]>): NewTensor => {
    const elements = rows * columns;
    const data = type === "i2_s" ? i2s(elements, random, Math.fround(factor / Math.sqrt(columns)), edit) : tq2(elements, random);
    return { name: `${name}.weight`, shape: [rows, columns], type: type === "i2_s" ? "I2_S" : "TQ2_0", data };
  };
  const table = (name: string): NewTensor => ({
    name: `${name}.weight`,
    shape: [vocab, hidden],
    type: embedding === "f16" ? "F16" : "Q6_K",
    data: embedding === "f16" ? f16Rows(vocab, hidden, random, shifted ? ShiftedGates.columns : 0) : q6k(vocab * hidden, random),
  });
  const subNorm = (name: string, n: number): NewTensor[] => (shape.llama ? [] : [norm(name, n)]);
  const tensors: NewTensor[] = [table("token_embd")];
  const kv = (hidden / heads) * kvHeads;
  const growth = shifted ? ShiftedGates.growth : 1;
  for (let i = 0; i < layers; i++) {
    const blk = `blk.${i}`;
    tensors.push(
      norm(`${blk}.attn_norm`, hidden),
      linear(`${blk}.attn_q`, hidden, hidden),
      linear(`${blk}.attn_k`, kv, hidden),
      linear(`${blk}.attn_v`, kv, hidden),
      ...subNorm(`${blk}.attn_sub_norm`, hidden),
      linear(`${blk}.attn_output`, hidden, hidden, growth),
      norm(`${blk}.ffn_norm`, hidden),
      linear(`${blk}.ffn_gate`, ffn, hidden, 1, shifted?.edit(i)),
      linear(`${blk}.ffn_up`, ffn, hidden),
      ...subNorm(`${blk}.ffn_sub_norm`, ffn),
      linear(`${blk}.ffn_down`, hidden, ffn, growth),
    );
  }
  tensors.push(norm("output_norm", hidden));
  if (shape.llama) tensors.push(table("output"));
  await writeGguf(path, { metadata, tensors });
}

async function main(): Promise<void> {
  const { values } = readFlags(
    "node dist/bench/make-model.js --shape 2b4t [--type i2_s] [--embedding f16] [--zeros 0.8] --out model.gguf",
    {
      shape: { type: "string", default: "2b4t" },
      type: { type: "string" },
      embedding: { type: "string", default: "f16" },
      zeros: { type: "string" },
      out: { type: "string" },
    },
  );
  const [shape, bonsai] = [SHAPES[values.shape], BONSAI_SHAPES[values.shape]];
  const { embedding, out } = values;
  const type = values.type ?? (bonsai ? bonsai.types[0] : "i2_s");
  const zeros = values.zeros === undefined ? undefined : Number(values.zeros);
  // The shift is of gates before ReLU², which a LLaMA lacks.
  const shiftable = zeros === undefined || (zeros > 0 && zeros < 1 && type === "i2_s" && embedding === "f16" && !shape?.llama);
  const known = shape && (type === "i2_s" || type === "tq2_0") && (embedding === "f16" || embedding === "q6_k");
  if (out !== undefined && known && shiftable) {
    await makeModel(out, shape, type, embedding, zeros === undefined ? {} : { zeros });
  } else if (out !== undefined && zeros === undefined && bonsai?.types.includes(type as BonsaiType)) {
    await makeBonsai(out, bonsai, type as BonsaiType);
  } else {
    console.error(`usage: make-model --shape ${Object.keys(SHAPES).join("|")} --type i2_s|tq2_0 --embedding f16|q6_k --out FILE`);
    console.error(
      "       make-model … --type i2_s --embedding f16 --zeros SHARE --out FILE    (of down's inputs, for example 0.8; not of 8b)",
    );
    for (const [name, { types }] of Object.entries(BONSAI_SHAPES))
      console.error(`       make-model --shape ${name} --type ${types.join("|")} --out FILE`);
    process.exitCode = 2;
  }
}

if (process.argv[1]?.endsWith("make-model.js")) await main();
