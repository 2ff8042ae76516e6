import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { dot8, expF32, geluMul, reluSquaredMul, rmsNorm, siluMul } from "../engine/numerics.js";
import { rope, ropeAngles, ropeFrequencies } from "../engine/rope.js";
import { Bench, bitsOf, noise, TIERS } from "./harness.test.helper.js";

const HEAD_SIZES = [64, 96, 100, 128, 256];

describe.each(TIERS)("float kernels equal the scalar arithmetic bit for bit, %s", (tier) => {
  it("RMSNorm, residual, relu²·up, SiLU, GELU", () => {
    for (const n of [8, 64, 256, 768, 2560, 6912]) {
      const bench = new Bench(tier, 1 << 20);
      const x = noise(n, n);
      const y = noise(n, n + 1);
      const [px, py, out] = [bench.put(x), bench.put(y), bench.take(n * 4)];
      const right = new Float32Array(n);
      rmsNorm(right, x, y, 1e-5);
      bench.kernels.rmsNorm(out, px, py, n, 1e-5);
      expect(bitsOf(bench.f32(out, n))).toEqual(bitsOf(right));
      bench.kernels.add(px, py, n);
      expect(bitsOf(bench.f32(px, n))).toEqual(bitsOf(x.map((v, i) => v + y[i]!)));
      const gate = x.slice();
      reluSquaredMul(gate, y, n);
      bench.f32(px, n).set(x);
      bench.kernels.reluSquaredMul(out, px, py, n);
      expect(bitsOf(bench.f32(out, n))).toEqual(bitsOf(gate));
      const wide = x.map((v) => v * 100); // over both ends of the sigmoid
      bench.f32(px, n).set(wide);
      siluMul(wide, y, n);
      bench.kernels.siluMul(out, px, py, n);
      expect(bitsOf(bench.f32(out, n))).toEqual(bitsOf(wide));
      const around = x.map((v) => v * 8);
      bench.f32(px, n).set(around);
      geluMul(around, y, n);
      bench.kernels.geluMul(out, px, py, n);
      expect(bitsOf(bench.f32(out, n))).toEqual(bitsOf(around));
    }
  });

  it("SiLU rounds after each operation, as where one rounding less is seen", () => {
    // Found by a search: two for each step of the exponential from the third on; of the first two none of 30 million shows it.
    const gates = [-10.02359390258789, -10.042244911193848, -11.322553634643555, -2.5377166271209717, -7.215178966522217];
    gates.push(-7.8522467613220215, -2.291329860687256, -8.067262649536133, -5.1087470054626465, -6.572439193725586, 1, -1);
    const wanted = Float32Array.from([gates, gates].flat().slice(0, 16));
    const one = new Float32Array(16).fill(1);
    const bench = new Bench(tier, 1 << 16);
    const [gate, up, out] = [bench.put(wanted), bench.put(one), bench.take(64)];
    bench.kernels.siluMul(out, gate, up, 16);
    siluMul(wanted, one, 16);
    expect(bitsOf(bench.f32(out, 16))).toEqual(bitsOf(wanted));
  });

  it.each(HEAD_SIZES)("RoPE, head size %i", (headDim) => {
    const bench = new Bench(tier, 1 << 20);
    const angles = new Float32Array(headDim);
    ropeAngles(angles, 4095, ropeFrequencies(500000, headDim, undefined));
    const x = noise(3 * headDim, headDim);
    const [px, pa, out] = [bench.put(x), bench.put(angles), bench.take(x.length * 4)];
    bench.kernels.rope(out, px, 3, headDim, headDim, pa);
    rope(x, 0, 3, headDim, angles);
    expect(bitsOf(bench.f32(out, x.length))).toEqual(bitsOf(x));
  });

  it("output head, bf16 and f32", () => {
    for (const n of [8, 72, 256, 2560]) {
      const rows = 8;
      const columns = 3;
      const bench = new Bench(tier, 1 << 20);
      const table = noise(rows * n, n);
      const x = noise(columns * n, n + 1);
      for (const wide of [1, 0]) {
        // bf16: the values cut to their high halves, which the packed row then holds exactly.
        const words = new Uint32Array(table.slice().buffer);
        const exact = wide ? table : new Float32Array(words.map((w) => w & 0xffff0000).buffer);
        const rowBytes = wide ? n * 4 : n * 2;
        const at = bench.take(rows * rowBytes);
        const row = bench.take(n * 4);
        for (let r = 0; r < rows; r++) {
          const values = exact.subarray(r * n, (r + 1) * n);
          if (wide) bench.f32(at + r * rowBytes, n).set(values);
          else {
            bench.f32(row, n).set(values);
            bench.kernels.packBf16(at + r * rowBytes, row, n);
          }
        }
        const y = bench.take(columns * rows * 4);
        bench.kernels.head(at, rows, n, wide, bench.put(x), columns, y, rows * 4);
        const right = Float32Array.from({ length: columns * rows }, (_, i) => dot8(x, Math.floor(i / rows) * n, exact, (i % rows) * n, n));
        expect(bitsOf(bench.f32(y, columns * rows))).toEqual(bitsOf(right));
      }
    }
  });
});

describe("the scalar arithmetic itself", () => {
  it("expF32 is within 2e-7 of e^x, exactly 1 at 0, and 0 where f32 ends", () => {
    expect(expF32(0)).toBe(1);
    expect(expF32(Number.NEGATIVE_INFINITY)).toBe(0);
    fc.assert(
      fc.property(fc.float({ min: -87, max: 0, noNaN: true }), (x) => {
        expect(Math.abs(expF32(x) / Math.exp(x) - 1)).toBeLessThan(2e-7);
      }),
      { numRuns: 5000 },
    );
  });

  // By numpy's float32, operation by operation; at these numbers one rounding less in a step of the polynomial gives another bit.
  it.each([
    [-9.399487495422363, 8.276647713501006e-5],
    [-3.78056263923645, 0.02280985563993454],
    [-7.269656181335449, 0.0006963513442315161],
    [-2.397083282470703, 0.09098294377326965],
    [-0.3364700973033905, 0.714287281036377],
    [-5.933751583099365, 0.002648527268320322],
    [-0.3942035138607025, 0.6742168664932251],
    [-4.626908779144287, 0.009784960187971592],
    [-6.542938232421875, 0.0014402504311874509],
    [-1.0732883214950562, 0.34188246726989746],
    [-2.599245071411133, 0.0743296667933464],
    [-2.3194057941436768, 0.0983320027589798],
    [-5.213055610656738, 0.005445010028779507],
    [-3.1960251331329346, 0.0409245491027832],
    [-0.45199820399284363, 0.6363552808761597],
  ])("expF32(%d) is rounded after each operation", (x, exact) => {
    expect(expF32(x)).toBe(exact);
  });

  it("SiLU is within 5e-7 of gate / (1 + e^−gate)", () => {
    fc.assert(
      fc.property(fc.float({ min: -80, max: 1e6, noNaN: true }), (x) => {
        const gate = new Float32Array([x]);
        siluMul(gate, new Float32Array([1]), 1);
        expect(Math.abs(gate[0]! - x / (1 + Math.exp(-x)))).toBeLessThanOrEqual(5e-7 * Math.abs(x / (1 + Math.exp(-x))) + 1e-44);
      }),
      { numRuns: 5000 },
    );
  });

  it("GELU is within 4e-7 of its argument of ½x(1 + tanh(√(2/π)(x + 0.044715·x³)))", () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.float({ min: -12, max: 12, noNaN: true }), fc.float({ min: Math.fround(-1e30), max: Math.fround(1e30), noNaN: true })),
        (x) => {
          const gate = new Float32Array([x]);
          geluMul(gate, new Float32Array([1]), 1);
          const exact = 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
          expect(Math.abs(gate[0]! - exact)).toBeLessThanOrEqual(4e-7 * Math.abs(x) + 1e-44);
        },
      ),
      { numRuns: 5000 },
    );
  });

  it.each([64, 128])("RoPE angles are float64's to the last bit of f32, up to position 4096, head size %i", (headDim) => {
    const angles = new Float32Array(headDim);
    const half = headDim / 2;
    const frequencies = ropeFrequencies(500000, headDim, undefined);
    for (let position = 0; position <= 4096; position += position < 64 ? 1 : 37) {
      ropeAngles(angles, position, frequencies);
      for (let i = 0; i < half; i++) {
        const angle = position * 500000 ** ((-2 * i) / headDim);
        // The f64 angle itself is only known to 1e-12 or so; 1e-7 is an ulp of f32 near 1.
        expect(Math.abs(angles[i]! - Math.cos(angle))).toBeLessThan(6e-8);
        expect(Math.abs(angles[half + i]! - Math.sin(angle))).toBeLessThan(6e-8);
      }
    }
  });
});
