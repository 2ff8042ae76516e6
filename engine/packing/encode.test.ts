import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { readFloats } from "./dense.js";
import { decode, layer, noise, someCodes } from "./fixtures.test.helper.js";
import { encodeFloats, halfOf, isExactIn } from "./float-encode.js";
import { openPacking } from "./open.js";
import { encodeQ6, encodeQ8 } from "./table-encode.js";
import { encodeBlocks, encodeDense, encodeHf, encodeI2s, i2sTail, SCALED_BLOCKS } from "./ternary-encode.js";

const decodeFloats = (type: string, bytes: Uint8Array, count: number): Float32Array => {
  const out = new Float32Array(count);
  readFloats(type, bytes, out, count);
  return out;
};

describe("plain floats", () => {
  it.each(["F16", "BF16"])("%s: every number of the type stays what it is", (type) => {
    const bytes = new Uint8Array(new Uint16Array(65536).map((_, i) => i).buffer);
    const values = decodeFloats(type, bytes, 65536);
    const again = encodeFloats(type, values);
    const after = decodeFloats(type, again, 65536);
    const changed = Array.from({ length: 65536 }, (_, i) => i).filter((i) =>
      Number.isNaN(values[i]!) ? !Number.isNaN(after[i]!) : (again[2 * i]! | (again[2 * i + 1]! << 8)) !== i,
    );
    expect(changed).toEqual([]);
  });

  it.each(["F16", "BF16"])("%s: any other becomes the nearest, the even one of two", (type) => {
    const neighbours = (bits: number): [Float32Array, Uint16Array] => {
      const near = Uint16Array.of(bits - 1, bits, bits + 1);
      return [decodeFloats(type, new Uint8Array(near.buffer), 3), near];
    };
    fc.assert(
      fc.property(
        fc.float({ noNaN: true, noDefaultInfinity: true, min: -60000, max: 60000 }),
        fc.integer({ min: -149, max: 15 }),
        (f, e) => {
          const x = Math.fround(Math.fround(f / 60000) * 2 ** e);
          const bytes = encodeFloats(type, Float32Array.of(Math.abs(x)));
          const [around, near] = neighbours(bytes[0]! | (bytes[1]! << 8));
          const away = (i: number): number => (near[i]! > 0x7fff ? Number.POSITIVE_INFINITY : Math.abs(around[i]! - Math.abs(x)));
          for (const other of [0, 2]) {
            expect(away(1)).toBeLessThanOrEqual(away(other));
            if (away(1) === away(other)) expect(near[1]! % 2).toBe(0);
          }
          expect(encodeFloats(type, Float32Array.of(-Math.abs(x)))[1]!).toBe(bytes[1]! | 0x80);
        },
      ),
      { numRuns: 2000 },
    );
  });

  it("what is exact is known", () => {
    const odd = fc.tuple(fc.double({ noNaN: true, min: -2, max: 2 }), fc.integer({ min: -160, max: 17 }), fc.integer({ min: 1, max: 24 }));
    fc.assert(
      fc.property(odd, ([f, e, digits]) => {
        const x = Float32Array.of(Number(Math.fround(f).toPrecision(3)) === 0 ? 0 : (Math.round(f * 2 ** digits) / 2 ** digits) * 2 ** e);
        for (const type of ["F16", "BF16"]) expect(isExactIn(type, x)).toBe(decodeFloats(type, encodeFloats(type, x), 1)[0] === x[0]);
        expect(isExactIn("F32", x)).toBe(true);
      }),
      { numRuns: 2000 },
    );
    for (const x of [65504, 2 ** -24, 2 ** -14, 1.5 * 2 ** -23]) expect(isExactIn("F16", Float32Array.of(x, -x, 0, -0))).toBe(true);
    for (const x of [65505, 65536, 2 ** -25, 1.5 * 2 ** -24]) expect(isExactIn("F16", Float32Array.of(1, x))).toBe(false);
  });

  it("f16 ends where it ends", () => {
    expect(halfOf(65504)).toBe(0x7bff);
    expect(halfOf(65519.9)).toBe(0x7bff);
    expect(halfOf(65520)).toBe(0x7c00);
    expect(halfOf(2 ** -25)).toBe(0);
    expect(halfOf(2 ** -25 * 1.001)).toBe(1);
    expect(halfOf(Number.NaN) & 0x7fff).toBeGreaterThan(0x7c00);
  });
});

describe("ternary codes come back", () => {
  const rows = 12;
  const columns = 512;
  const codes = someCodes(rows * columns, 5);
  codes.fill(1, 256, 512); // a block of zeros
  const scale = Math.fround(0.0371);
  const scales = (block: number): Float32Array => new Float32Array(codes.length / block).fill(scale);
  const half = decodeFloats("F16", encodeFloats("F16", Float32Array.of(scale)), 1)[0]!;

  it("from I2_S, in a stretch that ends within a row", () => {
    const bytes = [encodeI2s(codes.subarray(0, 1280)), encodeI2s(codes.subarray(1280)), i2sTail(scale)];
    expect(decode(layer("I2_S", rows, columns, Buffer.concat(bytes)), Buffer.concat(bytes)).codes).toEqual(codes);
    expect(new DataView(bytes[2]!.buffer).getFloat32(0, true)).toBe(scale);
    expect(bytes[2]!.subarray(4).every((byte) => byte === 0)).toBe(true);
  });

  it("from Hugging Face's packed form, in pieces", () => {
    const bytes = Buffer.concat([encodeHf(codes, columns, 0, 2), encodeHf(codes, columns, 2, 1)]);
    expect(decode(layer("U8", rows, columns, bytes), bytes).codes).toEqual(codes);
  });

  it.each([...SCALED_BLOCKS])("from %s, each block of %i with its scale, 0 where all codes are", (type, block) => {
    const bytes = encodeBlocks(type, codes, scales(block));
    const source = layer(type, rows, columns, bytes);
    expect(decode(source, bytes).codes).toEqual(codes);
    const found = new Float32Array((rows * columns) / block);
    openPacking(source).scales!(0, bytes, found);
    expect([...found]).toEqual(Array.from(found, (_, i) => (Math.floor((i * block) / 256) === 1 ? 0 : half)));
  });

  it.each(["F32", "F16"])("from %s, with the scale", (type) => {
    const bytes = encodeDense(type, codes, columns, scales(columns), columns);
    const found = decode(layer(type, rows, columns, bytes), bytes);
    expect(found.codes).toEqual(codes);
    expect(found.how?.scale).toBe(type === "F32" ? scale : half);
  });

  it("and groups keep scales of their own", () => {
    const own = Float32Array.from({ length: codes.length / 256 }, (_, i) => 2 ** -i);
    const values = decodeFloats("F32", encodeDense("F32", codes, columns, own, 256), codes.length);
    values.forEach((value, i) => void expect(value + 0).toBe((codes[i]! - 1) * own[i >> 8]! + 0));
  });
});

/** Numbers as an embedding has them, here and there 0. */
const table = (count: number, seed: number): Float32Array => {
  const next = noise(seed);
  return Float32Array.from({ length: count }, () => (next() < 0.02 ? 0 : (next() + next() + next() - 1.5) * 0.2));
};

const rms = (values: Float32Array, other: Float32Array): number =>
  Math.sqrt(values.reduce((sum, x, i) => sum + (x - other[i]!) ** 2, 0) / values.length);

describe("tables", () => {
  it("Q8_0 is off by at most half a unit", () => {
    const values = table(3200, 1);
    values.fill(0, 32, 64);
    const after = decodeFloats("Q8_0", encodeQ8(values), values.length);
    for (let block = 0; block < values.length; block += 32) {
      const most = Math.max(...values.subarray(block, block + 32).map(Math.abs));
      for (let i = block; i < block + 32; i++) expect(Math.abs(after[i]! - values[i]!)).toBeLessThanOrEqual((most / 127) * 0.56);
    }
  });

  it("Q6_K's search gives the same bytes everywhere", () => {
    // Multiples of a thirtieth: the only numbers met that each way of the search is the best for, now and then.
    let state = 1;
    const next = (): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state / 2 ** 32;
    };
    const values = Float32Array.from({ length: 256_000 }, () => (Math.round(30 * next()) / 30) * (next() < 0.9 ? 1 : -1));
    expect(createHash("sha256").update(encodeQ6(values)).digest("hex")).toBe(
      "10631cd1b79bf5d4d530b7bb61eeeac97225621fddc6208857c35ce10a72387b",
    );
  });

  it("Q6_K is nearer than plain rounding in units of each group's largest number", () => {
    const values = table(25600, 2);
    const plain = values.map((x, i) => {
      const most = Math.max(...values.subarray(i & ~15, (i & ~15) + 16).map(Math.abs));
      return (Math.round((x / most) * 31) * most) / 31;
    });
    const after = decodeFloats("Q6_K", encodeQ6(values), values.length);
    expect(rms(values, after)).toBeLessThan(rms(values, plain));
    expect(rms(values, after)).toBeGreaterThan(0);
  });

  it("numbers that are of these types already come back", () => {
    const values = decodeFloats("Q6_K", encodeQ6(table(2560, 3)), 2560);
    expect(rms(values, decodeFloats("Q6_K", encodeQ6(values), 2560))).toBeLessThan(1e-4);
    const zeros = new Float32Array(256);
    expect(decodeFloats("Q6_K", encodeQ6(zeros), 256)).toEqual(zeros);
    expect(decodeFloats("Q8_0", encodeQ8(zeros), 256)).toEqual(zeros);
  });
});
