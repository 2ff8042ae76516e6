import { describe, expect, it } from "vitest";
import { activationBytes, columnBlock, ternaryScratch } from "../engine/compute/kernels.js";
import { SELF_TEST_BYTES, selfTest } from "../engine/compute/self-test.js";
import { outputFactor, quantize } from "../engine/numerics.js";
import { Bench, bitsOf, noise, TIERS } from "./harness.test.helper.js";

/** 2B4T's 2560 and 6912, the other published models', the smallest, and one that is no multiple of the layout's block. */
const WIDTHS = [100, 256, 768, 2560, 6912, 8640, 14336, 23040];
const ROWS = 20; // whole groups, and no whole number of what is computed at once
const SCALE = Math.fround(0.0172);

type Fill = readonly [name: string, code: (i: number) => number, activation: (i: number) => number];
const random = noise(ROWS * 23040, 7);
const FILLS: readonly Fill[] = [
  ["all +1, activations all +127", () => 2, () => 1],
  ["all +1, activations all −127", () => 2, () => -1],
  ["all −1, activations all −127", () => 0, () => -1],
  ["alternating", (i) => (i % 2) * 2, (i) => (i % 2 ? 1 : -1)],
  ["random", (i) => Math.floor((random[i]! + 1) * 1.5), (i) => random[i]! * Math.abs(random[i + 1] ?? 1)],
];

/** Integer sums by a loop, then the one rounding: what every kernel must give. */
function expected(codes: Uint8Array, k: number, x: Float32Array): Float32Array {
  const { values, max } = quantize(x, k);
  return Float32Array.from({ length: ROWS }, (_, row) => {
    let sum = 0;
    for (let i = 0; i < k; i++) sum += (codes[row * k + i]! - 1) * values[i]!;
    return sum * outputFactor(SCALE, max);
  });
}

/** Packs, quantises and multiplies `columns` vectors. */
function run(bench: Bench, codes: Uint8Array, k: number, xs: readonly Float32Array[]): Float32Array[] {
  const { kernels, tier } = bench;
  const kPad = Math.ceil(k / columnBlock(tier)) * columnBlock(tier);
  const xBytes = kPad * activationBytes(tier);
  const columns = xs.length;
  const weights = bench.packedRows(codes, ROWS, k, kPad);
  const quantized = bench.take((columns + 1) * xBytes);
  const meta = bench.take((columns + 1) * 8);
  for (const [c, x] of xs.entries()) kernels.quantize(quantized + c * xBytes, meta + c * 8, bench.put(x), k, kPad);
  const y = bench.take((columns + 1) * ROWS * 4);
  kernels.ternary(weights, ROWS, kPad, SCALE, quantized, xBytes, meta, columns, y, ROWS * 4, bench.take(ternaryScratch(kPad)));
  return xs.map((_, c) => bench.f32(y + c * ROWS * 4, ROWS).slice());
}

describe.each(TIERS)("ternary product, %s", (tier) => {
  it.each(WIDTHS)("K = %i: sums and results equal the scalar loop's, bit for bit, alone and in batches", (k) => {
    for (const [name, code, activation] of FILLS) {
      const codes = Uint8Array.from({ length: ROWS * k }, (_, i) => code(i));
      const x = Float32Array.from({ length: k }, (_, i) => activation(i));
      const other = Float32Array.from({ length: k }, (_, i) => activation(k - i));
      // Every size up to the first that is no small batch.
      const batches = [[x], [x, other]];
      for (let n = 3; n <= 9; n++) batches.push(Array.from({ length: n }, (_, c) => (c % 3 === 1 ? x : other)));
      for (const xs of batches) {
        const got = run(new Bench(tier, 3 << 20), codes, k, xs);
        for (const [c, y] of got.entries()) {
          expect(bitsOf(y), `${name}, column ${c} of ${xs.length}`).toEqual(bitsOf(expected(codes, k, xs[c]!)));
        }
      }
    }
  });

  it("takes all of int8, though quantising stops at −127: batches of −128 do not overflow", () => {
    const k = 23040;
    const most = 9;
    const bench = new Bench(tier, 3 << 20);
    const weights = bench.packedRows(new Uint8Array(ROWS * k).fill(2), ROWS, k, k);
    const xBytes = k * activationBytes(tier);
    const x = bench.take((most + 1) * xBytes);
    const meta = bench.take((most + 1) * 8);
    const y = bench.take((most + 1) * ROWS * 4);
    const scratch = bench.take(ternaryScratch(k));
    const values = (most + 1) * k;
    const activations =
      activationBytes(tier) === 2 ? new Int16Array(bench.memory.buffer, x, values) : new Int8Array(bench.memory.buffer, x, values);
    for (const value of [-128, 127]) {
      activations.fill(value);
      for (let c = 0; c <= most; c++) {
        new Int32Array(bench.memory.buffer, meta + c * 8, 1)[0] = k * value;
        bench.f32(meta + c * 8 + 4, 1)[0] = 127;
      }
      for (let columns = 1; columns <= most; columns++) {
        bench.f32(y, most * ROWS).fill(0);
        bench.kernels.ternary(weights, ROWS, k, 1, x, xBytes, meta, columns, y, ROWS * 4, scratch);
        expect(bench.f32(y, columns * ROWS), `${columns} of ${value}`).toEqual(new Float32Array(columns * ROWS).fill(k * value));
      }
    }
  });

  it("is right where the sums of neighbours just fit into 16 bits, and where they just don't", () => {
    const k = 8640;
    const kPad = Math.ceil(k / 128) * 128;
    const columns = 10; // a batch that is unpacked
    const bench = new Bench(tier, 3 << 20);
    const weights = bench.packedRows(new Uint8Array(ROWS * k).fill(2), ROWS, k, kPad);
    const xBytes = kPad * activationBytes(tier);
    const [x, meta, y] = [bench.take(columns * xBytes), bench.take(columns * 8), bench.take(columns * ROWS * 4)];
    const scratch = bench.take(ternaryScratch(kPad));
    const values = columns * kPad;
    const activations =
      activationBytes(tier) === 2 ? new Int16Array(bench.memory.buffer, x, values) : new Int8Array(bench.memory.buffer, x, values);
    const sums = new Int32Array(bench.memory.buffer, meta, columns * 2);
    for (const pair of [0, 7, 8, 15]) {
      for (const sign of [1, -1]) {
        for (const total of [16383, 16384, 16385, 40000]) {
          activations.fill(0);
          let left = total;
          for (let step = 0; left > 0; step += 32) {
            for (const i of [2 * pair, 2 * pair + 1]) {
              const magnitude = Math.min(left, 127);
              activations[3 * kPad + step + i] = sign * magnitude;
              left -= magnitude;
            }
          }
          sums.fill(0);
          sums[2 * 3] = sign * total;
          for (let c = 0; c < columns; c++) bench.f32(meta + c * 8 + 4, 1)[0] = 127;
          bench.kernels.ternary(weights, ROWS, kPad, 1, x, xBytes, meta, columns, y, ROWS * 4, scratch);
          const right = Float32Array.from({ length: columns * ROWS }, (_, i) => (Math.floor(i / ROWS) === 3 ? sign * total : 0));
          expect(bench.f32(y, columns * ROWS), `${sign * total} in pair ${pair}`).toEqual(right);
        }
      }
    }
  });

  it("works beyond 2 GiB", () => {
    const k = 256;
    const codes = Uint8Array.from({ length: ROWS * k }, (_, i) => i % 3);
    const x = noise(k, 3);
    const far = new Bench(tier, 1 << 20, 2 ** 31 + 4096);
    expect(run(far, codes, k, [x, x, x]).map(bitsOf)).toEqual(run(new Bench(tier, 1 << 20), codes, k, [x, x, x]).map(bitsOf));
    expect(run(far, codes, k, [x]).map(bitsOf)).toEqual([bitsOf(expected(codes, k, x))]);
  });

  it("quantises as the scalar rule does, half to even and clamped", () => {
    const bench = new Bench(tier, 1 << 20);
    // 127 / 127 = 1 exactly, so that the halves stay halves.
    const x = Float32Array.from([127, -127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5, -126.5, 0, 3e-38]);
    const out = bench.take(256);
    const meta = bench.take(8);
    for (const vector of [x, x.map((v) => v * 1e-9), noise(12, 5), new Float32Array(12)]) {
      bench.u8(out, 256).fill(0xff);
      bench.kernels.quantize(out, meta, bench.put(vector), 12, 64);
      const wide = tier === "plain";
      const got = Array.from(wide ? new Int16Array(bench.memory.buffer, out, 64) : new Int8Array(bench.memory.buffer, out, 64));
      const right = quantize(vector, 12);
      expect(got).toEqual([...right.values, ...new Array<number>(52).fill(0)]);
      expect(new Int32Array(bench.memory.buffer, meta, 1)[0]).toBe(right.sum);
      expect(bench.f32(meta + 4, 1)[0]).toBe(right.max);
    }
  });

  it("passes its self-test, which sees one wrong bit of a result", () => {
    const bench = new Bench(tier, SELF_TEST_BYTES + 64);
    const at = bench.take(SELF_TEST_BYTES);
    expect(selfTest(bench.kernels, tier, bench.memory, at)).toBeUndefined();
    const broken = {
      ...bench.kernels,
      ternary: (...args: Parameters<typeof bench.kernels.ternary>) => {
        bench.kernels.ternary(...args);
        bench.u8(args[8] + 4, 1)[0]! ^= 1;
      },
    };
    expect(selfTest(broken, tier, bench.memory, at)).toMatch(/ternary product/);
  });
});
