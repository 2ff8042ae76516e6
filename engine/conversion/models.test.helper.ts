/** Small models of random weights, in the families' shapes, with the tokenizer of the fixtures. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { NewTensor } from "../container/checkpoint.js";
import { writeSafetensors } from "../container/safetensors.js";
import { tensorNames } from "../model/names.js";
import { noise, someCodes } from "../packing/fixtures.test.helper.js";
import { encodeFloats } from "../packing/float-encode.js";
import { encodeDense, encodeHf } from "../packing/ternary-encode.js";

const TOKENIZER = "validation/fixtures/safetensors-bf16";

/** Of the fixtures' 4,080 tokens these stay, bytes and the first merges; then their 16 special ones. */
const PLAIN_TOKENS = 320;
const SPECIAL_FROM = 4080;

/** The fixtures' tokenizer with fewer tokens, so that a test takes little time. */
function writeTokenizer(directory: string): void {
  const read = (name: string) => JSON.parse(readFileSync(join(TOKENIZER, name), "utf8"));
  const write = (name: string, value: unknown): void => writeFileSync(join(directory, name), JSON.stringify(value));
  const moved = (id: number): number => id - SPECIAL_FROM + PLAIN_TOKENS;
  const tokenizer = read("tokenizer.json");
  const { model } = tokenizer;
  model.vocab = Object.fromEntries(Object.entries<number>(model.vocab).filter(([, id]) => id < PLAIN_TOKENS));
  model.merges.length = PLAIN_TOKENS - 256;
  for (const token of tokenizer.added_tokens) token.id = moved(token.id);
  const bos = Object.values<{ ids: number[] }>(tokenizer.post_processor.processors[1].special_tokens)[0]!;
  bos.ids = bos.ids.map(moved);
  write("tokenizer.json", tokenizer);
  const config = read("tokenizer_config.json");
  const decoder = Object.entries<object>(config.added_tokens_decoder);
  write("tokenizer_config.json", {
    ...config,
    added_tokens_decoder: Object.fromEntries(decoder.map(([id, token]) => [moved(Number(id)), token])),
  });
  const generation = read("generation_config.json");
  write("generation_config.json", {
    ...generation,
    bos_token_id: moved(generation.bos_token_id),
    eos_token_id: generation.eos_token_id.map(moved),
  });
}

/** A directory for a test, and what removes it. */
export function temporaryDirectory(): { path: string; remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), "bitnet-convert-"));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** What a small model is like; the rest is the same for all. */
export interface SmallModel {
  readonly architecture: string;
  readonly activation?: "relu2" | "silu";
  readonly subNorms?: boolean;
  readonly qkNorms?: boolean;
  readonly headDim?: number;
  readonly ffn?: number;
  readonly tied?: boolean;
  /** Linear layers in packed codes, or written out. */
  readonly form?: "packed" | "F32" | "BF16";
  /** Written out: rows in so many runs, each with a scale of its own; default 1. */
  readonly shards?: number;
  readonly config?: Readonly<Record<string, unknown>>;
}

const HIDDEN = 256;
const HEADS = 4;
const KV_HEADS = 2;
export const VOCAB = PLAIN_TOKENS + 16;

/** Writes a model of two layers into a directory. */
export async function writeSmallModel(directory: string, model: SmallModel): Promise<string> {
  const { architecture, activation = "silu", headDim = 64, ffn = 512, tied = true, form = "packed" } = model;
  const attention = HEADS * headDim;
  const names = tensorNames("safetensors", architecture, { innerNorms: false, postNorms: false });
  const tensors: NewTensor[] = [];
  let seed = 1;
  const floats = (name: string, shape: readonly number[], middle: number, spread: number): void => {
    const next = noise(seed++);
    const count = shape.reduce((product, extent) => product * extent, 1);
    // Multiples of 2^-10: bf16's are exact in f16 too.
    const values = Float32Array.from({ length: count }, () => Math.round((middle + (next() - 0.5) * spread) * 1024) / 1024);
    tensors.push({ name, shape, type: "BF16", data: encodeFloats("BF16", values) });
  };
  const linear = (name: string, rows: number, columns: number): void => {
    const codes = someCodes(rows * columns, seed);
    const scale = Float32Array.of((64 + (seed++ % 64)) * 2 ** -12); // exact in bf16 and f16
    if (form === "packed") {
      tensors.push({ name, shape: [rows / 4, columns], type: "U8", data: encodeHf(codes, columns, 0, rows / 4) });
      tensors.push({ name: `${name}_scale`, shape: [1], type: "BF16", data: encodeFloats("BF16", scale) });
    } else {
      const shard = (row: number): number => Math.floor((row * (model.shards ?? 1)) / rows);
      const scales = Float32Array.from({ length: rows }, (_, row) => scale[0]! * (1 + shard(row) / 8));
      tensors.push({
        name,
        shape: [rows, columns],
        type: form,
        data: encodeDense(form, codes, columns, scales, columns),
      });
    }
  };
  floats(names.embedding, [VOCAB, HIDDEN], 0, 0.25); // so small that logits of tied models are not all but certain
  if (!tied) floats(names.head, [VOCAB, HIDDEN], 0, 1);
  floats(names.outputNorm, [HIDDEN], 1, 0.5);
  for (const index of ["0", "1"]) {
    const name = (role: keyof typeof names.layer): string => names.layer[role].replace("%", index);
    floats(name("attnNorm"), [HIDDEN], 1, 0.5);
    linear(name("q"), attention, HIDDEN);
    linear(name("k"), KV_HEADS * headDim, HIDDEN);
    linear(name("v"), KV_HEADS * headDim, HIDDEN);
    linear(name("o"), HIDDEN, attention);
    floats(name("ffnNorm"), [HIDDEN], 1, 0.5);
    linear(name("gate"), ffn, HIDDEN);
    linear(name("up"), ffn, HIDDEN);
    linear(name("down"), HIDDEN, ffn);
    if (model.subNorms) {
      floats(name("attnSubNorm"), [attention], 1, 0.5);
      floats(name("ffnSubNorm"), [ffn], 1, 0.5);
    }
    if (model.qkNorms) {
      floats(name("qNorm"), [headDim], 1, 0.5);
      floats(name("kNorm"), [headDim], 1, 0.5);
    }
  }
  await writeSafetensors(join(directory, "model.safetensors"), { tensors });
  writeTokenizer(directory);
  const config = {
    architectures: [architecture],
    ...{ hidden_act: activation, hidden_size: HIDDEN, intermediate_size: ffn, max_position_embeddings: 512, num_attention_heads: HEADS },
    ...{ num_hidden_layers: 2, num_key_value_heads: KV_HEADS, rms_norm_eps: 1e-6, rope_theta: 10000, tie_word_embeddings: tied },
    ...(attention !== HIDDEN && { head_dim: headDim }),
    vocab_size: VOCAB,
    ...(form === "packed" && {
      quantization_config: { quant_method: "bitnet", linear_class: "autobitlinear", quantization_mode: "offline" },
    }),
    ...model.config,
  };
  writeFileSync(join(directory, "config.json"), JSON.stringify(config));
  return directory;
}
