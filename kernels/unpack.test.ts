import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { LinearSource } from "../engine/model/weights.js";
import { floatBytes, readFloats } from "../engine/packing/dense.js";
import { openPacking } from "../engine/packing/open.js";
import { Bench, bitsOf, TIERS } from "./harness.test.helper.js";

/** The 2-bit fields of these bytes, none of them 3. */
const ternaryBytes = (n: number): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ minLength: n, maxLength: n }).map((bytes) => bytes.map((byte) => byte & ~(byte & (byte >> 1) & 0x55)));

function source(type: string, rows: number, columns: number, byteLength: number): LinearSource {
  const tensor = { name: "w", shape: [rows, columns], type, file: "made up", offset: 0, byteLength };
  return { tensor, rows, columns, scale: undefined, inverseScale: false, layout: "block128", pairedRows: undefined, masters: true };
}

describe.each(TIERS)("the kernels decode as engine/packing does, %s", (tier) => {
  const bench = new Bench(tier, 1 << 20);
  const { kernels } = bench;
  const input = bench.take(1 << 16);
  const output = bench.take(1 << 18);

  it("I2_S, and sees a code 3", () => {
    const [rows, columns] = [8, 192];
    const packing = openPacking(source("I2_S", rows, columns, (rows * columns) / 4 + 32));
    fc.assert(
      fc.property(ternaryBytes((rows * columns) / 4), fc.nat(), (bytes, at) => {
        const codes = new Uint8Array(rows * columns);
        packing.decode(0, bytes, codes, columns, undefined);
        bench.u8(input, bytes.length).set(bytes);
        expect(kernels.unpackI2s(output, input, bytes.length / 32)).toBe(0);
        expect(bench.u8(output, codes.length).slice()).toEqual(codes);
        bench.u8(input, bytes.length)[at % bytes.length]! |= 3 << (2 * (at % 4));
        expect(kernels.unpackI2s(output, input, bytes.length / 32)).not.toBe(0);
      }),
    );
  });

  const zeros = fc.array(fc.boolean(), { minLength: 6, maxLength: 6 });
  it.each([
    ["TQ1_0", 256, 54],
    ["TQ2_0", 256, 66],
    ["Q2_0", 64, 18],
    ["Q2_0_128", 128, 34],
    ["PTQ1_0", 128, 28],
    ["Q1_0", 128, 18],
  ] as const)("%s, with blocks whose scale is 0", (type, elements, blockBytes) => {
    const [rows, columns] = [2, 3 * elements];
    const packing = openPacking(source(type, rows, columns, 6 * blockBytes));
    const scaleAt = type.includes("TQ") ? blockBytes - 2 : 0;
    const unpack = (): number => {
      if (type === "TQ1_0") return kernels.unpackTq1(output, input, 6);
      if (type === "PTQ1_0") return kernels.unpackPtq1(output, input, 6);
      if (type === "Q1_0") return kernels.unpackQ1(output, input, 6);
      return type === "TQ2_0" ? kernels.unpackTq2(output, input, 6) : kernels.unpackQ2(output, input, 6, elements);
    };
    fc.assert(
      fc.property(ternaryBytes(6 * blockBytes), zeros, fc.nat(), (bytes, empty, at) => {
        empty.forEach((zero, i) => {
          bytes.set(zero ? [0, 0x80] : [0, 0x3c], i * blockBytes + scaleAt);
        });
        const codes = new Uint8Array(rows * columns);
        packing.decode(0, bytes, codes, columns, undefined);
        bench.u8(input, bytes.length).set(bytes);
        bench.u8(output, codes.length).fill(9);
        expect(unpack()).toBe(0);
        expect(bench.u8(output, codes.length).slice()).toEqual(codes);
        const block = empty.indexOf(false);
        if (/1_0$/.test(type) || block < 0) return; // those have no code 3
        const inCodes = block * blockBytes + (scaleAt === 0 ? 2 : 0) + (at % (elements / 4));
        bench.u8(input + inCodes, 1)[0]! |= 3 << (2 * (at % 4));
        expect(unpack()).not.toBe(0);
      }),
    );
  });

  const { repackI2s } = kernels;
  const direct = repackI2s && it; // the plain tier has no such kernel
  direct?.("I2_S straight into the layout, and sees a code 3", () => {
    const [rows, columns] = [8, 384];
    const bytesOfRow = columns / 4;
    const [got, packed] = [bench.take(rows * bytesOfRow), bench.take(rows * bytesOfRow)];
    fc.assert(
      fc.property(ternaryBytes(rows * bytesOfRow), fc.nat(), (bytes, at) => {
        bench.u8(input, bytes.length).set(bytes);
        kernels.unpackI2s(output, input, bytes.length / 32);
        for (let row = 0; row < rows; row++) {
          const group = Math.floor(row / 4) * columns;
          kernels.packRow(packed + group, row % 4, output + row * columns, columns);
          expect(repackI2s!(got + group, row % 4, input + row * bytesOfRow, columns)).toBe(0);
        }
        expect(bench.u8(got, bytes.length).slice()).toEqual(bench.u8(packed, bytes.length).slice());
        bench.u8(input, bytesOfRow)[at % bytesOfRow]! |= 3 << (2 * (at % 4));
        expect(repackI2s!(got, 0, input, columns)).not.toBe(0);
      }),
    );
  });

  it("packed U8, and sees a code 3", () => {
    const [rows, columns] = [8, 64];
    const packing = openPacking(source("U8", rows, columns, (rows * columns) / 4));
    fc.assert(
      fc.property(ternaryBytes((rows * columns) / 4), fc.nat(), (bytes, at) => {
        const codes = new Uint8Array(rows * columns);
        packing.decode(0, bytes, codes, columns, undefined);
        bench.u8(input, bytes.length).set(bytes);
        for (let row = 0; row < rows; row++) {
          expect(kernels.unpackHf(output + row * columns, input + (row % 2) * columns, columns, Math.floor(row / 2))).toBe(0);
        }
        expect(bench.u8(output, codes.length).slice()).toEqual(codes);
        const k = at % 4;
        bench.u8(input, bytes.length)[at % columns]! |= 3 << (2 * k);
        expect(kernels.unpackHf(output, input, columns, k)).not.toBe(0);
      }),
    );
  });

  it("floats: every f16, and f32 and bf16 of all kinds, to the bit; says what is infinite or no bf16", () => {
    const every = Uint16Array.from({ length: 65536 }, (_, i) => i);
    for (const [number, type] of ["F32", "F16", "BF16"].entries()) {
      const n = type === "F32" ? every.length / 2 : every.length;
      for (let first = 0; first < n; first += 4096) {
        const bytes = new Uint8Array(every.buffer).slice((first * every.byteLength) / n, ((first + 4096) * every.byteLength) / n);
        const right = new Float32Array(4096);
        readFloats(type, bytes, right, right.length);
        bench.u8(input, bytes.length).set(bytes);
        const found = kernels.widen(output, input, right.length, number);
        const got = bench.u32(output, right.length);
        // Infinities and NaNs are only reported: what was written is not used.
        const words = bitsOf(right);
        expect(right.findIndex((value, i) => Number.isFinite(value) && got[i] !== words[i])).toBe(-1);
        expect(found & 1).toBe(right.every((value) => Number.isFinite(value)) ? 0 : 1);
        if (!(found & 1)) expect(found & 2).toBe(words.every((word) => (word & 0xffff) === 0) ? 0 : 2);
      }
    }
  });

  it.each([
    ["Q8_0", 3, 32, [0]],
    ["Q4_0", 4, 32, [0]],
    ["Q6_K", 5, 256, [208]],
    ["Q4_K", 6, 256, [0, 2]],
    ["Q2_0", 7, 64, [0]],
    ["Q2_0_128", 8, 128, [0]],
    ["PTQ1_0", 9, 128, [26]],
    ["Q1_0", 10, 128, [0]],
  ] as const)("%s: any blocks, to the bit; says what is infinite or no bf16", (type, number, elements, scales) => {
    const size = floatBytes(type, elements);
    const count = 6;
    let seen = 0;
    fc.assert(
      fc.property(fc.uint8Array({ minLength: size * count, maxLength: size * count }), fc.boolean(), (bytes, sparse) => {
        // Half the time scales of few bits, whose products may all be bf16.
        for (let b = 0; b < count; b++) {
          if (sparse) bytes.fill(0, b * size, (b + 1) * size);
          for (const scale of scales) {
            bytes[b * size + scale + 1]! &= 0xbf;
            if (sparse) bytes[b * size + scale + 1] = 0x3c;
          }
        }
        const right = new Float32Array(count * elements);
        readFloats(type, bytes, right, right.length);
        bench.u8(input, bytes.length).set(bytes);
        const found = kernels.widen(output, input, right.length, number);
        const words = bitsOf(right);
        expect(bench.u32(output, right.length).slice()).toEqual(words);
        expect(found).toBe(words.every((word) => (word & 0xffff) === 0) ? 0 : 2);
        seen |= 1 << found;
        for (const scale of scales) {
          bench.u8(input, bytes.length).set(bytes);
          bench.u8(input, bytes.length)[(count - 1) * size + scale + 1]! |= 0x7c;
          expect(kernels.widen(output, input, right.length, number) & 1).toBe(1);
        }
      }),
      { numRuns: 40 },
    );
    expect(seen).toBe(0b101);
  });
});
