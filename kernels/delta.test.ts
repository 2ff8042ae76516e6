import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { convolve, deltaRule, l2Norm } from "../engine/delta.js";
import { rotate, rotateBack } from "../engine/hadamard.js";
import { sigmoidMul } from "../engine/numerics.js";
import { rope, ropeAngles, ropeFrequencies } from "../engine/rope.js";
import { Bench, bitsOf, noise, TIERS } from "./harness.test.helper.js";

describe.each(TIERS)("kernels of recurrent and rotated layers equal the scalar arithmetic bit for bit, %s", (tier) => {
  it("convolution, from the beginning and going on, in pieces of any length", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 6 }),
        fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 4 }),
        (blocks, pieces) => {
          const channels = 4 * blocks;
          const total = channels + 8; // the block is a part of the rows
          const bench = new Bench(tier, 1 << 18);
          const rows = pieces.reduce((sum, length) => sum + length, 0);
          const [x, weights] = [noise(rows * total, rows).map((v) => 8 * v), noise(4 * total, blocks)];
          const before = new Float32Array(3 * channels);
          const right = Array.from({ length: rows }, (_, row) => {
            const out = new Float32Array(channels);
            convolve(out, x.subarray(row * total + 4, row * total + 4 + channels), before, weights.subarray(16, 16 + 4 * channels));
            return bitsOf(out);
          });
          const [px, pw, out] = [bench.put(x), bench.put(weights), bench.take(rows * total * 4)];
          const state = bench.put(noise(3 * total, 5)); // what is in it first belongs to another sequence
          let row = 0;
          for (const length of pieces) {
            const at = row * total * 4 + 16;
            bench.kernels.convolve(
              out + at,
              total * 4,
              px + at,
              total * 4,
              length,
              state + 16,
              total * 4,
              row === 0 ? 1 : 0,
              pw + 64,
              channels,
            );
            row += length;
          }
          expect(right.map((_, i) => bitsOf(bench.f32(out + i * total * 4 + 16, channels)))).toEqual(right);
          for (let tap = 0; tap < 3; tap++)
            expect(bitsOf(bench.f32(state + tap * total * 4 + 16, channels))).toEqual(
              bitsOf(before.subarray(tap * channels, (tap + 1) * channels)),
            );
        },
      ),
    );
  });

  it.each([8, 16, 64, 128])("the delta rule, heads of %i", (n) => {
    const bench = new Bench(tier, 1 << 20);
    const rows = 7;
    const qkv = noise(rows * 3 * n, n);
    const gates = Float32Array.from({ length: 2 * rows }, (_, i) =>
      i % 2 === 0 ? 0.9 + 0.1 * noise(1, i)[0]! : Math.abs(noise(1, i)[0]!),
    );
    const state = new Float32Array(n * n);
    const right = new Float32Array(rows * n);
    for (let row = 0; row < rows; row++) {
      const at = row * 3 * n;
      deltaRule(right, row * n, state, 0, qkv, { q: at, k: at + n, v: at + 2 * n }, gates[2 * row]!, gates[2 * row + 1]!, n);
    }
    const [px, pg, out, ps] = [bench.put(qkv), bench.put(gates), bench.take(rows * n * 4), bench.put(noise(n * n, 3))];
    // In two pieces of time and of rows, in another order.
    for (const [first, count] of [
      [0, 3],
      [3, 4],
    ] as const) {
      for (const from of [n / 2, 0]) {
        const q = px + first * 3 * n * 4;
        const v = q + (2 * n + from) * 4;
        const to = out + (first * n + from) * 4;
        const fresh = first === 0 ? 1 : 0;
        bench.kernels.deltaRule(
          ...([
            to,
            n * 4,
            ps + from * n * 4,
            n / 2,
            n,
            fresh,
            q,
            q + n * 4,
            v,
            3 * n * 4,
            pg + first * 8,
            count,
            1 / Math.sqrt(n),
          ] as const),
        );
      }
    }
    expect(bitsOf(bench.f32(out, rows * n))).toEqual(bitsOf(right));
    expect(bitsOf(bench.f32(ps, n * n))).toEqual(bitsOf(state));
  });

  it("norms of heads, gates, and RoPE of a part of each head", () => {
    for (const n of [8, 24, 128, 256]) {
      const bench = new Bench(tier, 1 << 16);
      const [x, gate] = [noise(n, n), noise(n, n + 1).map((v) => 100 * v)];
      const [px, pg] = [bench.put(x), bench.put(gate)];
      bench.kernels.sigmoidMul(px, pg, n);
      sigmoidMul(x, gate, n);
      bench.kernels.l2Norm(px, n, 1e-6);
      l2Norm(x, 0, n, 1e-6);
      const angles = new Float32Array(n / 2 - ((n / 2) % 4));
      ropeAngles(angles, 77, ropeFrequencies(1e7, angles.length, undefined));
      bench.kernels.rope(px, px, 1, n, angles.length, bench.put(angles));
      rope(x, 0, 1, n, angles);
      expect(bitsOf(bench.f32(px, n))).toEqual(bitsOf(x));
    }
  });

  it.each([4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096])("the rotation, blocks of %i, and back", (block) => {
    const n = 3 * block;
    const bench = new Bench(tier, 1 << 18);
    const x = noise(n, block);
    const signs = Int8Array.from(noise(n, block + 1), (v) => (v < 0 ? -1 : 1));
    const factor = 1 / Math.sqrt(block);
    const [px, ps, out] = [bench.put(x), bench.put(signs), bench.take(n * 4)];
    bench.kernels.rotate(out, px, ps, n, block, factor, 0);
    const turned = rotate(x, signs, block);
    expect(bitsOf(bench.f32(out, n))).toEqual(bitsOf(turned));
    bench.kernels.rotate(out, out, ps, n, block, factor, 1);
    const back = rotateBack(turned, signs, block);
    expect(bitsOf(bench.f32(out, n))).toEqual(bitsOf(back));
    for (const [i, value] of back.entries()) expect(Math.abs(value - x[i]!)).toBeLessThan(2e-6);
  });
});

describe("the scalar arithmetic itself", () => {
  it("the rotation is its definition: H[r][c] = (−1)^popcount(r & c) / √B of x times the signs", () => {
    const x = noise(32, 4);
    const signs = Int8Array.from(noise(32, 9), (v) => (v < 0 ? -1 : 1));
    const turned = rotate(x, signs, 16);
    const bits = (n: number): number => n.toString(2).replaceAll("0", "").length;
    for (let i = 0; i < 32; i++) {
      let sum = 0;
      for (let c = 0; c < 16; c++) {
        const at = i - (i % 16) + c;
        sum += ((-1) ** bits((i % 16) & c) * x[at]! * signs[at]!) / 4;
      }
      expect(Math.abs(turned[i]! - sum)).toBeLessThan(1e-6);
    }
  });
});
