import { describe, expect, it } from "vitest";
import type { ModelConfig } from "../model/config.js";
import { PLAIN } from "../model/plain.test.helper.js";
import { KV_BLOCK, KV_TYPES, type KvType } from "../numerics.js";
import { Reference, ReferenceCache, type ReferenceWeights } from "./reference.js";
import type { ReferenceLinear } from "./reference-linear.js";
import { ReferenceRun } from "./reference-run.js";

const config: ModelConfig = {
  architecture: "test",
  layers: 2,
  hiddenSize: 32,
  heads: 4,
  kvHeads: 2,
  headDim: 8,
  attentionSize: 32,
  ffnSize: 48,
  vocabSize: 40,
  contextLength: 256,
  ropeTheta: 10000,
  ropeSize: 8,
  ...PLAIN,
  rmsNormEps: 1e-5,
  activation: "relu2",
  subNorms: true,
  rope: "neox",
  activations: "int8",
  activationsAssumed: false,
  masters: true,
  tiedHead: true,
  packing: undefined,
};

/** Weights of a fixed seed. */
function weights(): ReferenceWeights {
  let state = 7;
  const random = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  };
  const linear = (rows: number, columns: number): ReferenceLinear => ({
    rows,
    columns,
    weights: Int8Array.from({ length: rows * columns }, () => Math.round(random() * 1.2)),
    scales: Float32Array.of(0.3),
    group: undefined,
    signs: undefined,
  });
  const { hiddenSize, ffnSize, kvHeads, headDim, vocabSize } = config;
  const ones = (n: number): Float32Array => new Float32Array(n).fill(1);
  const embedding = Float32Array.from({ length: vocabSize * hiddenSize }, random);
  return {
    embedding,
    head: embedding,
    outputNorm: ones(hiddenSize),
    layers: Array.from({ length: config.layers }, () => ({
      mixer: {
        kind: "attention",
        attnNorm: ones(hiddenSize),
        ...{ qInputNorm: undefined, kInputNorm: undefined, vInputNorm: undefined },
        q: linear(hiddenSize, hiddenSize),
        k: linear(kvHeads * headDim, hiddenSize),
        v: linear(kvHeads * headDim, hiddenSize),
        qNorm: undefined,
        kNorm: undefined,
        attnSubNorm: ones(hiddenSize),
        attnPostNorm: undefined,
        o: linear(hiddenSize, hiddenSize),
      },
      feedForward: {
        kind: "feedForward",
        ffnNorm: ones(hiddenSize),
        ...{ gateInputNorm: undefined, upInputNorm: undefined },
        gate: linear(ffnSize, hiddenSize),
        up: linear(ffnSize, hiddenSize),
        ffnSubNorm: ones(ffnSize),
        ffnPostNorm: undefined,
        down: linear(hiddenSize, ffnSize),
      },
    })),
  };
}

const tokens = Array.from({ length: 3 * KV_BLOCK + 5 }, (_, i) => (i * 7 + 3) % config.vocabSize);

/** Logits after each token, fed alone into a cache that has room for all. */
function oneByOne(kv: KvType): Float32Array[] {
  const reference = new Reference(config, weights(), true);
  const cache = new ReferenceCache(config, tokens.length, kv);
  return tokens.map((token, position) => reference.logits(reference.outputNorm(reference.forward([{ token, position, cache }])))[0]!);
}

describe("the reference's cache", () => {
  it.each(KV_TYPES)("%s: batches and a growing cache give the same bits", (kv) => {
    const right = oneByOne(kv);
    const run = new ReferenceRun(config, weights(), true, 256, kv);
    const rows = run.limits.maxRows;
    for (let first = 0; first < tokens.length; first += rows) {
      const batch = tokens.slice(first, first + rows);
      const blocks = Math.ceil((first + batch.length) / KV_BLOCK);
      run.compute({
        tokens: Int32Array.from(batch),
        positions: Int32Array.from(batch, (_, i) => first + i),
        sequences: Int32Array.from(batch, () => 0),
        tables: [Int32Array.from({ length: blocks }, (_, i) => i + 5)],
        outputs: batch.map((_, row) => ({ row, want: "logits" as const })),
      });
      for (let i = 0; i < batch.length; i++) expect(run.logits(i)).toEqual(right[first + i]!);
    }
  });

  it.each([
    ["k16", 0.01],
    ["q8", 0.05],
  ] as const)("%s is near f32, and not the same", (kv, most) => {
    const exact = oneByOne("f32");
    const quantized = oneByOne(kv);
    let error = 0;
    let size = 0;
    exact.forEach((logits, t) => {
      logits.forEach((x, i) => {
        error += (x - quantized[t]![i]!) ** 2;
        size += x ** 2;
      });
    });
    const relative = Math.sqrt(error / size);
    expect(relative).toBeGreaterThan(0);
    expect(relative).toBeLessThan(most);
  });
});
