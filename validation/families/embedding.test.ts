import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { GgufEntry } from "../../engine/container/gguf.js";
import { writeGguf } from "../../engine/container/gguf-writer.js";
import { writeSafetensors } from "../../engine/container/safetensors.js";
import { convertModel, describeModel, type LoadOptions, loadModel, type Model } from "../../engine/index.js";
import { temporaryDirectory } from "../end-to-end/derive.test.helper.js";
import { compareWeights } from "../parity/weights.js";
import { type FamilyModel, makeFamilyModel, type Shape } from "./model.js";
import { FamilyNetwork } from "./network.js";
import { vocabularyOf } from "./vocabulary.js";
import { type FamilyType, familyTensors } from "./write-gguf.js";
import { configOf, familySafetensors } from "./write-safetensors.js";

// The networks and keys of bitnet-embedding 0.6B (Qwen3's) and 270M (Gemma 3's), in small. No engine that can be run here knows them, so their vectors are
// those of the same formulas in f64, written a second time in network.ts, which other engines' logits confirm for all but the norms before single layers.

const COMMON = { vocab: 640, tied: true, eps: 1e-6, innerNorms: true, windows: [40, 40], quick: 40 };
const QWEN3: Shape = {
  ...COMMON,
  ...{ name: "bitnet-embedding", family: "qwen3", seed: 61, layers: 3, hidden: 256, heads: 4, kvHeads: 2, headDim: 128, ffn: 384 },
  theta: 1_000_000,
};
const GEMMA3: Shape = {
  ...COMMON,
  ...{ name: "bitnet-embedding-270m", family: "gemma3", seed: 62, layers: 2, hidden: 320, heads: 2, kvHeads: 1, headDim: 256, ffn: 384 },
  theta: 10_000,
};

const TEXTS = ["an orange", "Tea in the train station is not hot.", "e"];

/** The converter's keys. (microsoft/BitNet, utils/convert-bitnet-embedding-to-gguf.py) */
function metadata(shape: Shape, pooling: number): GgufEntry[] {
  const { family, layers, hidden, heads, kvHeads, headDim, ffn, vocab, theta, eps } = shape;
  const u32 = (key: string, value: number): GgufEntry => ({ key: `${family}.${key}`, type: "uint32", value });
  const f32 = (key: string, value: number): GgufEntry => ({ key: `${family}.${key}`, type: "float32", value });
  return [
    { key: "general.architecture", type: "string", value: family },
    ...[u32("block_count", layers), u32("context_length", 32_768), u32("embedding_length", hidden), u32("feed_forward_length", ffn)],
    ...[u32("attention.head_count", heads), u32("attention.head_count_kv", kvHeads), u32("vocab_size", vocab)],
    ...[u32("rope.dimension_count", headDim), u32("attention.key_length", headDim), u32("attention.value_length", headDim)],
    ...[f32("rope.freq_base", theta), f32("attention.layer_norm_rms_epsilon", eps)],
    ...[{ key: "general.file_type", type: "uint32" as const, value: 40 }, u32("pooling_type", pooling)],
    ...vocabularyOf(shape).metadata,
    { key: "tokenizer.ggml.add_eos_token", type: "bool", value: true },
  ];
}

const directory = temporaryDirectory();
afterAll(directory.remove);
let files = 0;

async function gguf(model: FamilyModel, pooling = 1, type: FamilyType = "I2_S"): Promise<string> {
  const path = join(directory.path, `model-${files++}.gguf`);
  await writeGguf(path, { metadata: metadata(model.shape, pooling), tensors: familyTensors(model, type) });
  return path;
}

async function safetensors(model: FamilyModel, prefix = ""): Promise<string> {
  const path = join(directory.path, `model-${files++}.safetensors`);
  const tensors = familySafetensors(model, false).map((tensor) => ({ ...tensor, name: `${prefix}${tensor.name}` }));
  await writeSafetensors(path, { tensors, metadata: new Map([["format", "pt"]]) });
  const { json, config } = vocabularyOf(model.shape);
  const others = {
    "config.json": configOf(model.shape),
    "tokenizer.json": json,
    "tokenizer_config.json": { ...config, add_eos_token: true },
  };
  for (const [name, content] of Object.entries(others)) writeFileSync(join(directory.path, name), JSON.stringify(content));
  return path;
}

async function withModel<T>(path: string, use: (model: Model) => Promise<T>, options: LoadOptions = {}): Promise<T> {
  const model = await loadModel(path, { contextLength: 64, threads: 1, ...options });
  try {
    return await use(model);
  } finally {
    await model.close();
  }
}

/** The vector of a text whose ids these are, of its states in f64 (`FamilyNetwork.states`). */
function pooled(states: readonly ArrayLike<number>[], pooling: "mean" | "last"): number[] {
  const sum = Array.from(states[0]!, (_, k) =>
    pooling === "last" ? states.at(-1)![k]! : states.reduce((total, row) => total + row[k]!, 0),
  );
  const length = Math.hypot(...sum);
  return sum.map((value) => value / length);
}

const cosine = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  const [x, y] = [Array.from(a), Array.from(b)];
  return x.reduce((sum, value, i) => sum + value * y[i]!, 0) / Math.hypot(...x) / Math.hypot(...y);
};

/** Roundings to 8 bits that fall otherwise may move a vector by this, in cosine; seen is 2e-15. */
const NEAR = 2e-5;

describe.each([QWEN3, GEMMA3])("an embedding model with a norm before each ternary layer, $family", (shape) => {
  const gemma = shape.family === "gemma3";
  let made: FamilyModel;
  beforeAll(() => {
    made = makeFamilyModel(shape);
  });

  it("has the vectors of its definition: the mean for a GGUF that says so, the last token's for SafeTensors, EOS counted", async () => {
    const network = new FamilyNetwork(made, true);
    const states = new Map<string, readonly Float64Array[]>();
    for (const [path, pooling] of [
      [await gguf(made), "mean"],
      [await gguf(made, 3), "last"],
      [await safetensors(made), "last"],
      [await safetensors(made, "model."), "last"],
    ] as const) {
      await withModel(path, async (model) => {
        expect(model.pooling).toBe(pooling);
        const vectors = await model.embed(TEXTS);
        for (const [i, text] of TEXTS.entries()) {
          const ids = [...model.tokenizer.encode(text), vocabularyOf(shape).eosId];
          const key = ids.join();
          const right = states.get(key) ?? network.states(ids);
          states.set(key, right);
          expect(1 - cosine(vectors[i]!, pooled(right, pooling)), `${path} ${text}`).toBeLessThan(NEAR);
          const [withoutEos, other] = [pooled(right.slice(0, -1), pooling), pooled(right, pooling === "mean" ? "last" : "mean")];
          for (const wrong of [withoutEos, other]) expect(1 - cosine(vectors[i]!, wrong)).toBeGreaterThan(10 * NEAR);
        }
      });
    }
  });

  it("has the same bits in each form, for all tiers and threads, and on the reference path", async () => {
    const path = await gguf(made);
    const right = await withModel(path, (model) => model.embed(TEXTS));
    const dense = await withModel(await gguf(made, 1, "F32"), (model) => model.embed(TEXTS));
    expect(dense).toEqual(right);
    const masters = await withModel(await safetensors(made), (model) => model.embed(TEXTS, { pooling: "mean" }));
    expect(masters).toEqual(right);
    for (const options of [
      { tier: "plain", threads: 3, crowded: true },
      { tier: "wide", v8Flags: true },
      { tier: "relaxed", threads: 2 },
      { kv: "f32", reference: true },
    ] as LoadOptions[])
      expect(await withModel(path, (model) => model.embed(TEXTS), options), JSON.stringify(options)).toEqual(right);
  });

  it.each<Change>([
    ...(gemma ? GEMMA_MISTAKES : []),
    ["1 + w on the norms before layers", (model) => changed(model, (name, w) => (/Input|Sub/.test(name) ? w.map((x) => 1 + x) : w))],
    ["one norm shared by q, k and v", (model) => changed(model, (name, w, all) => (/^[kv]Input/.test(name) ? all.qInputNorm! : w))],
    ["one norm shared by gate and up", (model) => changed(model, (name, w, all) => (name === "upInputNorm" ? all.gateInputNorm! : w))],
    ["no norm before o", (model) => changed(model, (name, w) => (name === "attnSubNorm" ? w.map(() => 1) : w))],
    ["no norm of the block's input", (model) => changed(model, (name, w) => (name === "attnNorm" ? w.map(() => 1) : w))],
  ])("%s would be seen", async (_, change) => {
    const network = new FamilyNetwork(made, true);
    await withModel(await gguf(change(made)), async (model) => {
      const [vector] = await model.embed([TEXTS[1]!]);
      const ids = [...model.tokenizer.encode(TEXTS[1]!), vocabularyOf(shape).eosId];
      expect(1 - cosine(vector!, pooled(network.states(ids), "mean"))).toBeGreaterThan(5 * NEAR);
    });
  });

  it("writes no text, and says so", async () => {
    await withModel(await gguf(made), async (model) => {
      const refused = { code: "usage", message: expect.stringContaining("this is an embedding model, which writes no text: use embed()") };
      expect(() => model.generate("a")).toThrow(expect.objectContaining(refused));
      await expect(model.score("a b")).rejects.toMatchObject(refused);
      await expect(model.logits([1, 2])).rejects.toMatchObject(refused);
    });
  });

  it("is converted between types, from both forms, and described", async () => {
    const path = await gguf(made, 3);
    const right = await withModel(path, (model) => model.embed(TEXTS));
    for (const source of [path, await safetensors(made)]) {
      const out = join(directory.path, `converted-${files++}.gguf`);
      await convertModel(source, out, { type: "f16", embedding: "f32" });
      expect(await withModel(out, (model) => model.embed(TEXTS))).toEqual(right);
      expect((await compareWeights({ models: [source, out] })).verdict).toBe("PASS");
    }
    const wrong = await gguf(changed(made, (name, w) => (/Input|Sub/.test(name) ? w : w.map((x) => (gemma ? x - 1 : x + 1)))));
    expect((await compareWeights({ models: [await safetensors(made), wrong] })).verdict).toBe("FAIL");
    await expect(convertModel(path, join(directory.path, "packed"))).rejects.toMatchObject({
      code: "usage",
      message: expect.stringContaining("convert to GGUF"),
    });
    expect((await describeModel(path)).config).toMatchObject({
      ...{ architecture: shape.family, innerNorms: true, activations: "int8", postNorms: gemma },
    });
  });
});

type Change = [what: string, change: (model: FamilyModel) => FamilyModel];

const GEMMA_MISTAKES: readonly Change[] = [
  [
    "the weights of the norm behind attention left out",
    (model) => changed(model, (name, w) => (name === "attnPostNorm" ? w.map(() => 1) : w)),
  ],
  ["those behind the feed-forward block left out", (model) => changed(model, (name, w) => (name === "ffnPostNorm" ? w.map(() => 1) : w))],
  ["1 + w twice", (model) => changed(model, (name, w) => (/Input|Sub/.test(name) ? w : w.map((x) => 1 + x)))],
];

/** The model with other weights of norms. */
function changed(
  model: FamilyModel,
  change: (name: string, weights: Float32Array, all: Readonly<Record<string, Float32Array | undefined>>) => Float32Array,
): FamilyModel {
  const layers = model.layers.map(({ linears, norms }) => ({
    linears,
    norms: Object.fromEntries(Object.entries(norms).map(([name, weights]) => [name, change(name, weights, norms)])),
  }));
  return { ...model, layers };
}
