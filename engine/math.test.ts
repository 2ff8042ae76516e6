import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { exp64, log64, pow64, sinCos64 } from "./math.js";

/** Relative distance; for subnormals, where a relative one means nothing, in their own spacing. */
function relative(actual: number, expected: number): number {
  if (Object.is(actual, expected) || actual === expected) return 0;
  const distance = Math.abs(actual - expected);
  return Math.abs(expected) < 2.3e-308 ? (distance / 5e-324) * 1e-16 : distance / Math.abs(expected);
}

const runs = { numRuns: 20_000, seed: 1 };
const double = (min: number, max: number) => fc.double({ min, max, noNaN: true });

describe("exp64", () => {
  test("is Math.exp within 1e-15", () => {
    fc.assert(
      fc.property(fc.oneof(double(-745, 709.78), double(-40, 1)), (x) => relative(exp64(x), Math.exp(x)) < 1e-15),
      runs,
    );
  });
  test("has the ends right", () => {
    expect(exp64(0)).toBe(1);
    expect(exp64(-0)).toBe(1);
    expect(relative(exp64(1), Math.E)).toBeLessThan(4.5e-16);
    expect(exp64(710)).toBe(Infinity);
    expect(exp64(Infinity)).toBe(Infinity);
    expect(exp64(-Infinity)).toBe(0);
    expect(exp64(-746)).toBe(0);
    expect(exp64(-745)).toBe(5e-324);
    expect(exp64(709.782712893384)).toBeGreaterThan(1.797693134862e308);
    expect(exp64(709.782712893384)).toBeLessThan(Infinity);
    expect(exp64(NaN)).toBeNaN();
  });
});

describe("log64", () => {
  test("is Math.log within 1e-15", () => {
    fc.assert(
      fc.property(fc.oneof(double(0, Number.MAX_VALUE), double(0.5, 2), double(1, 1e6)), (x) => relative(log64(x), Math.log(x)) < 1e-15),
      runs,
    );
  });
  test("has the ends right", () => {
    expect(log64(1)).toBe(0);
    expect(log64(2)).toBe(Math.LN2);
    expect(relative(log64(5e-324), Math.log(5e-324))).toBeLessThan(1e-15);
    expect(log64(0)).toBe(-Infinity);
    expect(log64(Infinity)).toBe(Infinity);
    expect(log64(-1)).toBeNaN();
    expect(log64(NaN)).toBeNaN();
  });
});

describe("sinCos64", () => {
  const out = new Float64Array(2); // [sin, cos]
  test("is Math.sin and Math.cos within 1e-15 up to 1e5", () => {
    fc.assert(
      fc.property(fc.oneof(double(-1e5, 1e5), double(-10, 10)), (x) => {
        sinCos64(x, out);
        return Math.abs(out[0]! - Math.sin(x)) < 1e-15 && Math.abs(out[1]! - Math.cos(x)) < 1e-15;
      }),
      runs,
    );
  });
  test("holds near the multiples of π/2, where the reduction cancels", () => {
    for (let n = -60_000; n <= 60_000; n += 7) {
      const x = n * (Math.PI / 2);
      sinCos64(x, out);
      expect(Math.abs(out[0]! - Math.sin(x))).toBeLessThan(1e-15);
      expect(Math.abs(out[1]! - Math.cos(x))).toBeLessThan(1e-15);
    }
  });
  test("has the ends right", () => {
    sinCos64(0, out);
    expect([...out]).toEqual([0, 1]);
    sinCos64(Infinity, out);
    expect([...out]).toEqual([NaN, NaN]);
  });
});

describe("pow64", () => {
  test("is Math.pow within 1e-14 over the range of rotary frequencies", () => {
    fc.assert(
      fc.property(double(1, 1e8), double(-1, 1), (base, exponent) => relative(pow64(base, exponent), base ** exponent) < 1e-14),
      runs,
    );
    for (const theta of [10000, 500000]) {
      for (let i = 0; i < 64; i++) expect(relative(pow64(theta, -i / 64), theta ** (-i / 64))).toBeLessThan(1e-14);
    }
  });
  test("has the ends right", () => {
    expect(pow64(7, 0)).toBe(1);
    expect(pow64(0, 1)).toBeNaN();
    expect(pow64(-2, 2)).toBeNaN();
  });
});

test("no bit depends on the engine: fixed values", () => {
  // Hashes of the results' bits; a difference here means that receipts of other machines can't be replayed.
  const out = new Float64Array(2);
  const values: number[] = [];
  for (let i = 1; i <= 2000; i++) {
    sinCos64(i * 37.7, out);
    values.push(exp64(-i / 50), log64(i / 7), pow64(500000, -i / 2000), out[0]!, out[1]!);
  }
  let hash = 0x811c9dc5;
  for (const byte of new Uint8Array(new Float64Array(values).buffer)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  expect(hash).toBe(0x85d5476a);
});
