import { describe, expect, it } from "vitest";
import { attentionScratch, cacheHeadBytes, MOST_QUERIES } from "../engine/compute/kernels.js";
import { attend, attendQ8, KV_BLOCK, KV_SPAN, type KvType, type QuantizedVectors, quantizeHeads } from "../engine/numerics.js";
import { Bench, bitsOf, noise, TIERS } from "./harness.test.helper.js";

const HEAD_SIZES = [4, 64, 96, 100, 128, 256];
const KINDS: readonly KvType[] = ["f32", "q8"];

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
  readonly quantizedKeys: QuantizedVectors;
  readonly quantizedValues: QuantizedVectors;

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
    this.bench = new Bench(tier, (blocks + 1) * this.blockBytes + MOST_QUERIES * (spans + 1) * this.stateBytes + (1 << 16));
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
    const quantized = (): QuantizedVectors => ({ codes: new Int8Array(keys.length), scales: new Float32Array(positions) });
    this.quantizedKeys = quantized();
    this.quantizedValues = quantized();
    for (let t = 0; t < positions; t++) {
      const k = keys.subarray(t * headDim, (t + 1) * headDim);
      const v = values.subarray(t * headDim, (t + 1) * headDim);
      bench.f32(pk, headDim).set(k);
      bench.f32(pv, headDim).set(v);
      const block = this.cache + bench.u32(this.table, blocks)[Math.floor(t / KV_BLOCK)]! * this.blockBytes;
      if (kv === "f32") bench.kernels.storeKeyValue(block, t % KV_BLOCK, pk, pv, headDim);
      else bench.kernels.storeKeyValueQ8(block, t % KV_BLOCK, pk, pv, headDim);
      quantizeHeads(this.quantizedKeys, t, k, 1, headDim);
      quantizeHeads(this.quantizedValues, t, v, 1, headDim);
    }
  }

  /** What the kernels make of `queries` [n][headDim], each over positions 0 … count − 1. */
  kernels(queries: Float32Array, count: number): Float32Array[] {
    const { bench, headDim, stateBytes } = this;
    const n = queries.length / headDim;
    const q = bench.put(queries);
    const spans = Math.ceil(count / KV_SPAN);
    const attendSpan = this.kv === "f32" ? bench.kernels.attendSpan : bench.kernels.attendSpanQ8;
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
    else attendQ8(out, 0, q, 0, this.quantizedKeys, this.quantizedValues, 0, 1, count, this.headDim);
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
  describe.each(KINDS)("%s cache", (kv) => {
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

describe("attention over 8 bits", () => {
  it("sums stay in int32 for the largest heads", () => {
    for (const headDim of [512, 516, 520, 1024]) {
      const cached = new Cached("plain", "q8", headDim, new Float32Array(2 * headDim).fill(1), noise(2 * headDim, 61));
      cached.check(new Float32Array(headDim).fill(1), 2);
      // Both scores are the same, so the weights are a half each.
      const half = cached.kernels(new Float32Array(headDim).fill(-1), 2)[0]!;
      for (let d = 0; d < headDim; d++) expect(half[d]).toBeCloseTo((cached.values[d]! + cached.values[headDim + d]!) / 2, 1);
    }
  });

  it.each([64, 128])("is within quantisation's error of f32, head size %i", (headDim) => {
    const positions = 400;
    const keys = noise(positions * headDim, 71).map((v) => v * 2);
    const values = noise(positions * headDim, 72);
    const exact = new Cached("plain", "f32", headDim, keys, values);
    const quantized = new Cached("plain", "q8", headDim, keys, values);
    for (const count of [1, 7, 100, 400]) {
      const q = noise(headDim, count).map((v) => v * 2);
      const right = exact.scalar(q, count);
      const got = quantized.scalar(q, count);
      // Half a step of 1/127 on each value, and scores off by about the same share of their spread.
      let worst = 0;
      for (let d = 0; d < headDim; d++) worst = Math.max(worst, Math.abs(got[d]! - right[d]!));
      expect(worst).toBeLessThan(0.012);
      expect(worst).toBeGreaterThan(0);
    }
  });

  it("codes are round-half-even(x · 127/max|x|), scales max|x|/127", () => {
    const x = Float32Array.from([127, 0.5, 1.5, -2.5, -127, 126.4, -0.5, 3]);
    const out = { codes: new Int8Array(8), scales: new Float32Array(1) };
    quantizeHeads(out, 0, x, 1, 8);
    expect(Array.from(out.codes)).toEqual([127, 0, 2, -2, -127, 126, 0, 3]);
    expect(out.scales[0]).toBe(1);
  });
});
