import { describe, expect, it } from "vitest";
import { attentionKernels, attentionScratch, cacheHeadBytes, MOST_QUERIES } from "../engine/compute/kernels.js";
import {
  attend,
  attendCodes,
  KV_BLOCK,
  KV_SPAN,
  KV_TYPES,
  type KvType,
  newCodes,
  type QuantizedVectors,
  quantizeHeads,
} from "../engine/numerics.js";
import { Bench, bitsOf, noise, TIERS } from "./harness.test.helper.js";

const HEAD_SIZES = [4, 64, 96, 100, 128, 256];

/** Keys and values of one head over some positions, in a cache of scattered blocks and as plain arrays. */
class Cached {
  readonly bench: Bench;
  readonly table: number;
  readonly cache: number;
  readonly blockBytes: number;
  readonly stateBytes: number;
  readonly scratch: number;
  readonly states: number;
  readonly out: number;
  /** Of a cache of codes. */
  readonly #keyCodes: QuantizedVectors;
  readonly #valueCodes: QuantizedVectors;

  constructor(
    tier: (typeof TIERS)[number],
    readonly kv: KvType,
    readonly headDim: number,
    readonly keys: Float32Array,
    readonly values: Float32Array,
  ) {
    const positions = keys.length / headDim;
    const blocks = Math.ceil(positions / KV_BLOCK);
    // Another head lies beside this one in each block.
    this.blockBytes = 2 * cacheHeadBytes(kv, headDim);
    this.stateBytes = 64 * Math.ceil((16 + headDim * 4) / 64);
    const spans = Math.ceil(positions / KV_SPAN);
    this.bench = new Bench(tier, (blocks + 1) * this.blockBytes + MOST_QUERIES * (spans + 1) * this.stateBytes + (1 << 19));
    const { bench } = this;
    this.cache = bench.take((blocks + 1) * this.blockBytes);
    this.table = bench.take(4 * blocks);
    this.scratch = bench.take(attentionScratch(headDim));
    this.states = bench.take(MOST_QUERIES * spans * this.stateBytes);
    this.out = bench.take(headDim * 4);
    const [pk, pv] = [bench.take(headDim * 4), bench.take(headDim * 4)];
    // Whatever lay in the cache before must not matter: all bits set, which as f32 is NaN.
    bench.u8(this.cache, (blocks + 1) * this.blockBytes).fill(0xff);
    bench.u32(this.table, blocks).set(Array.from({ length: blocks }, (_, i) => (i * 5 + 3) % (blocks + 1)));
    const coded = kv === "f32" ? undefined : kv;
    const empty = (): QuantizedVectors => ({ codes: newCodes(coded ?? "q8", keys.length), scales: new Float32Array(positions) });
    this.#keyCodes = empty();
    this.#valueCodes = empty();
    const { store } = attentionKernels(bench.kernels, kv);
    for (let t = 0; t < positions; t++) {
      const k = keys.subarray(t * headDim, (t + 1) * headDim);
      const v = values.subarray(t * headDim, (t + 1) * headDim);
      bench.f32(pk, headDim).set(k);
      bench.f32(pv, headDim).set(v);
      const block = this.cache + bench.u32(this.table, blocks)[Math.floor(t / KV_BLOCK)]! * this.blockBytes;
      store(block, t % KV_BLOCK, pk, pv, headDim);
      if (!coded) continue;
      quantizeHeads(coded, this.#keyCodes, t, k, 1, headDim);
      quantizeHeads(coded, this.#valueCodes, t, v, 1, headDim);
    }
  }

  /** What the kernels make of `queries` [n][headDim], each over positions 0 … count − 1. */
  kernels(queries: Float32Array, count: number): Float32Array[] {
    const { bench, headDim, stateBytes } = this;
    const n = queries.length / headDim;
    const q = bench.put(queries);
    const spans = Math.ceil(count / KV_SPAN);
    const { attendSpan } = attentionKernels(bench.kernels, this.kv);
    // States of a query's spans lie together, so those of the queries of one span lie `spans` apart.
    for (let span = 0; span < spans; span++) {
      attendSpan(
        this.states + span * stateBytes,
        spans * stateBytes,
        q,
        n,
        headDim,
        this.table + (span * KV_SPAN * 4) / KV_BLOCK,
        this.cache,
        this.blockBytes,
        Math.min(count - span * KV_SPAN, KV_SPAN),
        1 / Math.sqrt(headDim),
        this.scratch,
      );
    }
    return Array.from({ length: n }, (_, i) => {
      bench.kernels.finishSpans(this.out, this.states + i * spans * stateBytes, spans, stateBytes, headDim);
      return bench.f32(this.out, headDim).slice();
    });
  }

  /** The states of what the kernels make of some of the queries that there is room for: those of the others. */
  untouched(queries: Float32Array): Uint8Array {
    const used = (queries.length / this.headDim) * this.stateBytes;
    const all = this.bench.u8(this.states, MOST_QUERIES * this.stateBytes).fill(0xa5);
    this.kernels(queries, KV_BLOCK);
    return all.subarray(used);
  }

  /** What the scalar arithmetic makes of one query. */
  scalar(q: Float32Array, count: number): Float32Array {
    const out = new Float32Array(this.headDim);
    if (this.kv === "f32") attend(out, 0, q, 0, this.keys, this.values, 0, this.headDim, count, this.headDim);
    else attendCodes(this.kv, out, 0, q, 0, this.#keyCodes, this.#valueCodes, 0, 1, count, this.headDim);
    return out;
  }

  /** Both, for several queries at once, must agree to the bit. */
  check(queries: Float32Array, count: number): void {
    this.kernels(queries, count).forEach((got, i) => {
      const right = this.scalar(queries.subarray(i * this.headDim, (i + 1) * this.headDim), count);
      expect(bitsOf(got), `query ${i}, ${count} positions`).toEqual(bitsOf(right));
    });
  }
}

describe.each(TIERS)("attention equals the scalar arithmetic bit for bit, %s", (tier) => {
  describe.each(KV_TYPES)("%s cache", (kv) => {
    it.each(HEAD_SIZES)("head size %i, over block and span ends", (headDim) => {
      const keys = noise(520 * headDim, 11).map((v) => v * 3);
      const cached = new Cached(tier, kv, headDim, keys, noise(520 * headDim, 12));
      const queries = noise(2 * headDim, 13).map((v) => v * 3);
      for (const count of [1, 2, 31, 32, 33, 64, 255, 256, 257, 300, 513, 520]) cached.check(queries, count);
    });

    it.each([1, 2, 3])("%i queries write nothing behind their states", (n) => {
      const cached = new Cached(tier, kv, 64, noise(KV_BLOCK * 64, 31), noise(KV_BLOCK * 64, 32));
      const rest = cached.untouched(noise(n * 64, 33));
      expect(rest.length).toBeGreaterThan(0);
      expect(rest.filter((byte) => byte !== 0xa5)).toEqual(new Uint8Array(0));
    });

    it("any number of positions of a span", () => {
      const headDim = 20;
      const cached = new Cached(tier, kv, headDim, noise(256 * headDim, 21), noise(256 * headDim, 22));
      for (let count = 1; count <= 256; count++) cached.check(noise(3 * headDim, count), count);
    });

    it("any number of queries", () => {
      const headDim = 100;
      const cached = new Cached(tier, kv, headDim, noise(300 * headDim, 31), noise(300 * headDim, 32));
      for (let n = 1; n <= MOST_QUERIES; n++) cached.check(noise(n * headDim, n), 300);
    });

    it("extremes: zeros, numbers too small to invert, one great score, all of the same size, huge numbers", () => {
      const headDim = 64;
      const positions = 300;
      const size = positions * headDim;
      const spike = noise(size, 41);
      spike.fill(60, 70 * headDim, 71 * headDim);
      const extremes = (seed: number): Float32Array => noise(size, seed).map((v) => (v < 0 ? -1 : 1));
      const sets: readonly (readonly [Float32Array, Float32Array])[] = [
        [new Float32Array(size), new Float32Array(size)],
        [new Float32Array(size), noise(size, 42)],
        [noise(size, 43), new Float32Array(size)],
        [noise(size, 44).map((v) => v * 1e-38), noise(size, 45).map((v) => v * 1e-38)],
        // Weights e^(s − m) · scale go down through the subnormals.
        [spike, noise(size, 46).map((v) => v * 1e-6)],
        [extremes(47), extremes(48)],
        [noise(size, 49).map((v) => v * 1e15), noise(size, 50).map((v) => v * 1e37)],
      ];
      for (const [keys, values] of sets) {
        const cached = new Cached(tier, kv, headDim, keys, values);
        for (const q of [
          noise(2 * headDim, 51),
          new Float32Array(2 * headDim),
          new Float32Array(2 * headDim).fill(1),
          noise(2 * headDim, 52).map((v) => v * 1e-38),
        ]) {
          for (const count of [1, 40, 72, 300]) cached.check(q, count);
        }
      }
    });
  });
});

/** By far how much a cache may be wrong where values and scores are of size 1: half a step of its codes on each, and what sums add. */
const CODED = [
  ["q8", 127, 0.012],
  ["k16", 32767, 1e-4],
] as const;

describe.each(CODED)("attention over codes, %s", (kv, levels, error) => {
  // Up to the largest head that a model may have; from 260 (k16) or 520 (q8) on, queries have fewer levels.
  describe.each(TIERS)("sums stay in int32 for codes that are all extreme, %s", (tier) => {
    it.each([4, 128, 252, 256, 260, 512, 516, 520, 1024, 2052, 4096])("head size %i", (headDim) => {
      const size = KV_BLOCK * headDim;
      const sign = (seed: number): Float32Array => noise(size, seed).map((v) => (v < 0 ? -1 : 1));
      const ones = new Float32Array(size).fill(1);
      const minus = new Float32Array(size).fill(-1);
      const first = minus.slice().fill(1, 0, headDim); // 1 at position 0, −1 behind it
      const queries = new Float32Array(3 * headDim).fill(1, 0, headDim).fill(-1, headDim, 2 * headDim);
      queries.set(sign(61).subarray(0, headDim), 2 * headDim);
      for (const [keys, values] of [
        [ones, ones],
        [ones, minus],
        [minus, ones],
        [first, first],
        [sign(62), sign(63)],
      ] as const) {
        const cached = new Cached(tier, kv, headDim, keys, values);
        for (const count of [1, 2, 31, 32]) cached.check(queries, count);
        // Where a key is as the query it takes all the weight from its opposites, in large heads; equal values have themselves as their mean.
        if (headDim < 128 || values === minus || keys === minus) continue;
        const [same] = cached.kernels(queries.subarray(0, headDim), 32);
        const right = keys === ones || keys === first ? values.subarray(0, headDim) : undefined;
        if (right) for (let d = 0; d < headDim; d++) expect(same![d]).toBeCloseTo(right[d]!, 3);
      }
    });
  });

  it.each([64, 128, 256, 1024])("is within quantisation's error of f32, head size %i", (headDim) => {
    const positions = 400;
    const keys = noise(positions * headDim, 71).map((v) => v * 2);
    const values = noise(positions * headDim, 72);
    const exact = new Cached("plain", "f32", headDim, keys, values);
    const quantized = new Cached("plain", kv, headDim, keys, values);
    for (const count of [1, 7, 100, 400]) {
      const q = noise(headDim, count).map((v) => v * 2);
      const right = exact.scalar(q, count);
      const got = quantized.scalar(q, count);
      let worst = 0;
      for (let d = 0; d < headDim; d++) worst = Math.max(worst, Math.abs(got[d]! - right[d]!));
      expect(worst).toBeLessThan(error);
      expect(worst).toBeGreaterThan(0);
    }
  });

  it("codes are round-half-even(x · levels/max|x|), scales max|x|/levels", () => {
    const x = Float32Array.from([levels, 0.5, 1.5, -2.5, -levels, levels - 0.6, -0.5, 3]);
    const out = { codes: newCodes(kv, 8), scales: new Float32Array(1) };
    quantizeHeads(kv, out, 0, x, 1, 8);
    expect(Array.from(out.codes)).toEqual([levels, 0, 2, -2, -levels, levels - 1, 0, 3]);
    expect(out.scales[0]).toBe(1);
  });
});
