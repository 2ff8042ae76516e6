import { describe, expect, it } from "vitest";
import { readFloats } from "../../engine/packing/dense.js";
import { noise } from "../../engine/packing/fixtures.test.helper.js";
import { halfOf } from "../../engine/packing/float-encode.js";
import { encodeQ6, encodeQ8 } from "../../engine/packing/table-encode.js";
import { Comparison, implausible, nearest, type Relation } from "./rounding.js";

const COLUMNS = 256;
const ROWS = 16;

/** Numbers with few large ones, as tables have; `power` 1: evenly spread. */
function numbers(power: number, scale = 1, seed = 1): Float32Array {
  const next = noise(seed);
  return Float32Array.from({ length: ROWS * COLUMNS }, () => {
    const x = 2 * next() - 1;
    return scale * Math.sign(x) * Math.abs(x) ** power;
  });
}

/** ggml's Q4_0, as its formula says it: d = the number of largest magnitude / −8. */
function encodeQ4(values: Float32Array): Uint8Array {
  const bytes = new Uint8Array((values.length / 32) * 18);
  for (let block = 0; block < values.length / 32; block++) {
    const x = values.subarray(32 * block, 32 * block + 32);
    const d = x.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0) / -8;
    const half = halfOf(d);
    bytes[18 * block] = half & 255;
    bytes[18 * block + 1] = half >> 8;
    const code = (value: number): number => (d === 0 ? 8 : Math.min(15, Math.floor(value / d + 8.5)));
    for (let p = 0; p < 16; p++) bytes[18 * block + 2 + p] = code(x[p]!) | (code(x[p + 16]!) << 4);
  }
  return bytes;
}

/** Numbers as a type holds them, as f32. */
function as(type: string, values: Float32Array): Float32Array {
  const encode = { Q8_0: encodeQ8, Q6_K: encodeQ6, Q4_0: encodeQ4 }[type];
  if (!encode) return nearest(type, values);
  const out = new Float32Array(values.length);
  readFloats(type, encode(values), out, values.length);
  return out;
}

function compare(types: readonly [string, string], a: Float32Array, b: Float32Array): Relation {
  const comparison = new Comparison(types, COLUMNS);
  const half = a.length / 2; // in two stretches
  comparison.add(a.subarray(0, half), b.subarray(0, half), 0);
  comparison.add(a.subarray(half), b.subarray(half), ROWS / 2);
  return comparison.result();
}

const PLAIN = ["F32", "F16", "BF16"];
const TABLES = [...PLAIN, "Q8_0", "Q6_K", "Q4_0"];

describe("two forms of the same numbers", () => {
  it.each([1, 3, 9])("pass in every pair of types, each rounded from the original or one from the other; spread %d", (power) => {
    for (const scale of [1, 2 ** -9, 2 ** -17]) {
      const original = numbers(power, scale);
      for (const a of TABLES) {
        const ofA = as(a, original);
        for (const b of TABLES) {
          const label = `${a} ${b}, up to ${scale}`;
          // To find scales again in codes doesn't always give the same: bytes of one type are copied.
          expect(compare([a, b], ofA, a === b ? ofA : as(b, ofA)), `made from another: ${label}`).toMatchObject({ passed: true });
          // A table of numbers that f16 can't hold is in no file.
          if (scale < 2 ** -9) continue;
          expect(compare([a, b], ofA, as(b, original)), `of one original: ${label}`).toMatchObject({ passed: true });
        }
      }
    }
  });

  it("are equal where the wider type was made from the narrower", () => {
    for (const narrow of ["F16", "BF16"]) {
      const values = as(narrow, numbers(2));
      expect(compare([narrow, "F32"], values, values)).toEqual({
        ...{ count: ROWS * COLUMNS, changed: 0, first: undefined, largest: 0, finding: "equal", passed: true },
      });
    }
  });
});

describe("other numbers", () => {
  const values = numbers(2);
  const changedAt = (at: number, factor: number, of = values): Float32Array => of.map((x, i) => (i === at ? x * factor : x));
  const at = 9 * COLUMNS + 17; // in the second stretch

  it("of one type fail by whatever they differ", () => {
    for (const type of TABLES) {
      const a = as(type, values);
      const b = a.slice();
      b[at] = Math.fround(b[at]! * (1 + 2 ** -20)) || 1e-9;
      expect(compare([type, type], a, b), type).toMatchObject({ passed: false, changed: 1, first: { row: 9, column: 17 } });
    }
  });

  it("fail where one differs by less than the rounding, and the others are equal", () => {
    for (const narrow of ["F16", "BF16"]) {
      const a = as(narrow, values);
      for (const factor of [1.0001, 1 + 2 ** -20, 1.01]) {
        expect(compare([narrow, "F32"], a, changedAt(at, factor, a))).toMatchObject({ passed: false, first: { row: 9, column: 17 } });
        expect(compare(["F32", narrow], changedAt(at, factor, a), a)).toMatchObject({ passed: false });
      }
    }
  });

  it("fail where all differ by one factor, or by too little", () => {
    const next = noise(3);
    for (const narrow of ["F16", "BF16"]) {
      const a = as(narrow, values);
      expect(
        compare(
          [narrow, "F32"],
          a,
          a.map((x) => x * 1.0001),
        ).finding,
      ).toMatch(/one factor, 1 \+ 0.000100/);
      const little = a.map((x) => x * (1 + (next() - 0.5) * 2 ** -14));
      expect(compare([narrow, "F32"], a, little).finding).toMatch(/too small for rounding/);
      expect(
        compare(
          [narrow, "F32"],
          a,
          a.map((x) => x * 1.01),
        ).finding,
      ).toMatch(/larger than the rounding/);
    }
  });

  it("fail in block types where one is off by more than a step, or two rows are swapped", () => {
    for (const type of ["Q8_0", "Q6_K", "Q4_0"]) {
      const b = as(type, values);
      const off = b.slice();
      off[at] = off[at]! + (type === "Q8_0" ? 0.02 : 0.3);
      expect(compare(["BF16", type], as("BF16", values), off), type).toMatchObject({ passed: false, first: { row: 9, column: 17 } });
      const swapped = b.slice();
      swapped.copyWithin(2 * COLUMNS, 5 * COLUMNS, 6 * COLUMNS);
      expect(compare(["BF16", type], as("BF16", values), swapped), type).toMatchObject({ passed: false, first: { row: 2 } });
    }
  });

  it("fail where one is no number, or of a type whose rounding isn't known", () => {
    for (const type of TABLES) {
      expect(compare(["F32", type], values, changedAt(at, Number.NaN, as(type, values))), type).toMatchObject({ passed: false });
    }
    expect(compare(["F32", "Q5_1"], values, changedAt(at, 1.01))).toMatchObject({
      passed: false,
      finding: expect.stringContaining("Q5_1"),
    });
  });
});

it("a rounding is told from what is none only where enough numbers were rounded", () => {
  const few = { equalNormals: 0, changedNormals: 11, least: 1e-4, most: 1e-4 };
  expect(implausible(few, 2 ** -8)).toBeUndefined();
  expect(implausible({ ...few, changedNormals: 12 }, 2 ** -8)).toMatch(/one factor/);
  expect(implausible({ ...few, equalNormals: 12 }, 2 ** -8)).toMatch(/same to the bit/);
});
