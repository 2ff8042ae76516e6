import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { densePacking, readFloats } from "./dense.js";
import { decode, errorOf, layer, noise, someCodes } from "./fixtures.test.helper.js";

const f = Math.fround;

/** Bytes of numbers given by their bits. */
function bytesOfBits(type: "F32" | "F16" | "BF16", bits: readonly number[]): Uint8Array {
  return new Uint8Array((type === "F32" ? Uint32Array.from(bits) : Uint16Array.from(bits)).buffer);
}

const bytesOfFloats = (values: ArrayLike<number>): Uint8Array => new Uint8Array(Float32Array.from(values).buffer);

const floats = (type: string, bytes: Uint8Array, count: number): Float32Array => {
  const out = new Float32Array(count);
  readFloats(type, bytes, out, count);
  return out;
};

describe("readFloats", () => {
  test("F16: known values", () => {
    const known: readonly (readonly [bits: number, value: number])[] = [
      [0x0000, 0],
      [0x8000, -0],
      [0x0001, 2 ** -24], // smallest subnormal
      [0x03ff, 1023 * 2 ** -24], // largest subnormal
      [0x83ff, -1023 * 2 ** -24],
      [0x0400, 2 ** -14], // smallest normal
      [0x3555, 0.333251953125],
      [0x3c00, 1],
      [0x3c01, 1 + 2 ** -10],
      [0xc000, -2],
      [0x7bff, 65504],
      [0x7c00, Infinity],
      [0xfc00, -Infinity],
      [0x7e00, NaN],
      [0x7c01, NaN],
    ];
    const bytes = bytesOfBits(
      "F16",
      known.map(([bits]) => bits),
    );
    expect([...floats("F16", bytes, known.length)]).toEqual(known.map(([, value]) => value));
  });

  test("F16: all finite values ascend with their bits, and the sign mirrors them", () => {
    const all = floats(
      "F16",
      bytesOfBits(
        "F16",
        Array.from({ length: 65536 }, (_, h) => h),
      ),
      65536,
    );
    const magnitudes = Array.from({ length: 0x7c00 }, (_, h) => h + 1); // to infinity
    expect(magnitudes.filter((h) => !(all[h]! > all[h - 1]!) || all[h + 0x8000] !== -all[h]!)).toEqual([]);
  });

  test("BF16 is the upper half of an f32, F32 itself; at any address", () => {
    fc.assert(
      fc.property(fc.float({ noNaN: true }), fc.integer({ min: 0, max: 7 }), (value, shift) => {
        const bits = new Uint32Array(Float32Array.of(value).buffer)[0]!;
        const at = new Uint8Array(16);
        at.set(bytesOfBits("F32", [bits]), shift);
        expect(floats("F32", at.subarray(shift), 1)[0]).toBe(value);
        const [short] = floats("BF16", at.subarray(shift + 2), 1);
        expect(new Uint32Array(Float32Array.of(short!).buffer)[0]).toBe(((bits >>> 16) << 16) >>> 0);
      }),
    );
  });
});

describe("weights that are ternary already", () => {
  // Bits of a positive finite number, down to the subnormals.
  const MOST = { F32: 0x7f7fffff, F16: 0x7bff, BF16: 0x7f7f } as const;
  const SIGN = { F32: 0x80000000, F16: 0x8000, BF16: 0x8000 } as const;

  test.each(["F32", "F16", "BF16"] as const)("%s: codes and scale come back exactly", (type) => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: MOST[type] }), fc.integer(), fc.integer({ min: 1, max: 40 }), (scale, seed, rows) => {
        const codes = someCodes(rows * 24, seed);
        codes[0] = 2;
        const bits = Array.from(
          codes,
          (code, i) => (code === 2 ? scale : code === 0 ? (scale | SIGN[type]) >>> 0 : i % 2 === 0 ? 0 : SIGN[type]), // zeros of both signs
        );
        const bytes = bytesOfBits(type, bits);
        const decoded = decode(layer(type, rows, 24, bytes), bytes);
        expect(Buffer.compare(decoded.codes, codes)).toBe(0);
        expect(decoded.how!.scale).toBe(floats(type, bytesOfBits(type, [scale]), 1)[0]);
      }),
    );
  });

  test("all zero: every code is 0, and the scale is the smallest there is", () => {
    const bytes = new Uint8Array(8 * 24 * 4);
    const { codes, how } = decode(layer("F32", 8, 24, bytes), bytes);
    expect(codes.every((code) => code === 1)).toBe(true);
    expect(how!.scale).toBeCloseTo(1e-5, 10);
  });
});

/** transformers' WeightQuant, line by line in f32: scale = 1 / mean|W|.clamp(1e-5); (W·scale).round().clamp(−1, 1) / scale. */
function weightQuant(weights: Float32Array): { codes: number[]; scale: number } {
  const mean = f(weights.reduce((sum, w) => sum + Math.abs(w), 0) / weights.length);
  const scale = f(1 / Math.max(mean, f(1e-5)));
  const round = (x: number): number => {
    const down = Math.floor(x);
    const rest = x - down;
    return rest > 0.5 || (rest === 0.5 && down % 2 !== 0) ? down + 1 : down;
  };
  return { codes: Array.from(weights, (w) => Math.max(-1, Math.min(1, round(f(w * scale)))) + 1), scale: f(1 / scale) };
}

describe("master weights", () => {
  test("are ternarised as the original does it", () => {
    // On a grid, so that sums are exact in any order.
    const weight = fc.integer({ min: -1000, max: 1000 }).map((n) => n / 4096);
    fc.assert(
      fc.property(fc.array(weight, { minLength: 24, maxLength: 24 }), fc.constantFrom(1, 2 ** -20, 2 ** 10), (values, unit) => {
        const weights = Float32Array.from(values, (value) => value * unit);
        const magnitudes = new Set(values.filter((value) => value !== 0).map(Math.abs));
        fc.pre(magnitudes.size > 1);
        const bytes = bytesOfFloats(weights);
        const decoded = decode(layer("F32", 3, 8, bytes), bytes);
        const expected = weightQuant(weights);
        expect([...decoded.codes]).toEqual(expected.codes);
        expect(decoded.how!.scale).toBe(expected.scale);
      }),
    );
  });

  test("exactly half rounds to even, which is 0", () => {
    const next = f(0.5 + 2 ** -24); // the f32 above 0.5
    const below = f(0.5 - 2 ** -25);
    // Σ|w| = 8 over 8 weights: the scale is 1. 1.5 rounds to 2, which is cut to 1.
    const weights = [0.5, -0.5, 1.5, -1.5, next, -next, below, -(8 - 4 - 2 * next - below)];
    const bytes = bytesOfFloats(weights);
    const { codes, how } = decode(layer("F32", 1, 8, bytes), bytes);
    expect(how).toEqual({ scale: 1, inverse: 1 });
    expect([...codes].map((code) => code - 1)).toEqual([0, 0, 1, -1, 1, -1, 0, -1]);
  });

  test("tiny ones are measured by 1e-5", () => {
    const weights = [1e-7, -2e-7, 8e-6, -8e-6, 0, 0, 4e-6, 6e-6];
    const bytes = bytesOfFloats(weights);
    const { codes, how } = decode(layer("F32", 1, 8, bytes), bytes);
    expect([...codes].map((code) => code - 1)).toEqual([0, 0, 1, -1, 0, 0, 0, 1]);
    expect(how!.inverse).toBe(f(1 / f(1e-5)));
  });

  test("several pieces give the scale of the whole", () => {
    const [rows, columns] = [64, 3456];
    const next = noise(9);
    const weights = Float32Array.from({ length: rows * columns }, () => next() - 0.5);
    const bytes = bytesOfFloats(weights);
    const decoded = decode(layer("F32", rows, columns, bytes), bytes);
    const expected = weightQuant(weights);
    expect(decoded.pieces).toBe(4);
    expect(Math.abs(decoded.how!.scale / expected.scale - 1)).toBeLessThan(2 ** -22);
    const differing = expected.codes.filter((code, i) => code !== decoded.codes[i]).length;
    expect(differing).toBe(0);
  });

  test.each([
    ["F32", 0x7f800000],
    ["F32", 0xffc00000],
    ["F16", 0x7c00],
    ["BF16", 0x7fc0],
  ] as const)("%s %i, no finite number, is refused with the tensor and about where", (type, bits) => {
    const [rows, columns] = [300, 4096];
    const width = type === "F32" ? 4 : 2;
    const bytes = new Uint8Array(rows * columns * width);
    bytes.set(bytesOfBits(type, [bits]), 299 * columns * width);
    const source = layer(type, rows, columns, bytes);
    const error = errorOf(() => decode(source, bytes));
    expect(error).toMatchObject({ code: "file", tensor: "some.layer", file: "some.file" });
    expect(error.message).toContain("tensor some.layer contains an infinity or NaN");
    const { start } = densePacking(source).piece(densePacking(source).pieces - 1);
    expect(error.offset).toBe(4096 + start);
  });
});
