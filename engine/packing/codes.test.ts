/** The 2-bit encodings: each against a plain model of its format, and against each other in the files of three independent tools. */

import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { openCheckpoint } from "../container/checkpoint.js";
import { attentionOf } from "../model/attention.test.helper.js";
import { readConfig } from "../model/config.js";
import { allLinears } from "../model/layers.js";
import { type LinearSource, readWeights } from "../model/weights.js";
import { readFloats } from "./dense.js";
import { bytesOf, decode, errorOf, layer, someCodes } from "./fixtures.test.helper.js";
import { i2sScaleOffset } from "./i2s.js";
import { openPacking } from "./open.js";

/** I2_S as FORMATS tells it: element 32·g + p of a block of 128 in byte p, bits 6 − 2g; behind the codes 32 bytes with the scale. */
function packI2s(codes: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(codes.length / 4 + 32).fill(0xee, codes.length / 4);
  codes.forEach((code, e) => {
    bytes[Math.floor(e / 128) * 32 + (e % 32)]! |= code << (6 - 2 * (Math.floor(e / 32) % 4));
  });
  return bytes;
}

/** The Hugging Face form: row r + k·(rows/4) in bits 2k of packed row r. */
function packHf(codes: Uint8Array, rows: number, columns: number): Uint8Array {
  const bytes = new Uint8Array(codes.length / 4);
  codes.forEach((code, e) => {
    const row = Math.floor(e / columns);
    bytes[(row % (rows / 4)) * columns + (e % columns)]! |= code << (2 * Math.floor(row / (rows / 4)));
  });
  return bytes;
}

describe("I2_S", () => {
  test("any shape of whole blocks decodes to what was packed", () => {
    const shape = fc.tuple(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 9 }), fc.integer());
    fc.assert(
      fc.property(shape, ([fours, blocks, seed]) => {
        const [rows, columns] = [4 * fours, 32 * blocks];
        const codes = someCodes(rows * columns, seed);
        const bytes = packI2s(codes);
        expect(Buffer.compare(decode(layer("I2_S", rows, columns, bytes), bytes).codes, codes)).toBe(0);
      }),
    );
  });

  // 8640 as in bitnet_b1_58-3B: 67.5 blocks, so that every other row begins within a block.
  test.each([
    [244, 8640],
    [2, 192],
    [3, 128],
    [1, 6912],
    [4100, 256],
  ])("[%i, %i], blocks across rows and several pieces", (rows, columns) => {
    const codes = someCodes(rows * columns, columns);
    const bytes = packI2s(codes);
    const decoded = decode(layer("I2_S", rows, columns, bytes), bytes);
    expect(Buffer.compare(decoded.codes, codes)).toBe(0);
    expect(decoded.pieces > 1).toBe(rows * columns > 2 ** 20);
  });

  test.each([
    [8, 16],
    [2, 32],
    [3, 96],
  ])("[%i, %i] is no whole number of blocks", (rows, columns) => {
    const bytes = new Uint8Array((rows * columns) / 4 + 32);
    const error = errorOf(() => openPacking(layer("I2_S", rows, columns, bytes)));
    expect(error).toMatchObject({ code: "tensor", tensor: "some.layer", file: "some.file" });
  });

  test("a code 3 is refused with its byte in the file", () => {
    const [rows, columns] = [244, 8640];
    const bytes = packI2s(someCodes(rows * columns, 1));
    for (const [at, bits] of [
      [0, 0b11000000],
      [500_000, 0b00001100],
      [(rows * columns) / 4 - 1, 0b00000011],
    ] as const) {
      const bad = bytes.slice();
      bad[at]! |= bits;
      const error = errorOf(() => decode(layer("I2_S", rows, columns, bad, 10_000), bad));
      expect(error).toMatchObject({ code: "file", tensor: "some.layer", offset: 10_000 + at });
      expect(error.message).toContain(`some.file: tensor some.layer has the code 3 at byte ${10_000 + at}`);
    }
    // The tail is not codes.
    bytes.fill(0xff, (rows * columns) / 4);
    expect(() => decode(layer("I2_S", rows, columns, bytes), bytes)).not.toThrow();
  });
});

describe("I2_S in its other layouts", () => {
  /** ARM builds: element 16·g + p of a block of 64 in byte p, bits 6 − 2g. */
  const block64 = (codes: Uint8Array): Uint8Array => {
    const bytes = new Uint8Array(codes.length / 4 + 32).fill(0xee, codes.length / 4);
    codes.forEach((code, e) => {
      bytes[Math.floor(e / 64) * 16 + (e % 16)]! |= code << (6 - 2 * (Math.floor(e / 16) % 4));
    });
    return bytes;
  };
  /** x86 builds without ACT_PARALLEL: the codes of rows 4·G … 4·G + 3 in one byte, the first in the top bits. */
  const rows4 = (codes: Uint8Array, columns: number): Uint8Array => {
    const bytes = new Uint8Array(codes.length / 4 + 32).fill(0xee, codes.length / 4);
    codes.forEach((code, e) => {
      const row = Math.floor(e / columns);
      bytes[Math.floor(row / 4) * columns + (e % columns)]! |= code << (6 - 2 * (row % 4));
    });
    return bytes;
  };
  const PACK = { block64, rows4 } as const;
  const LAYOUTS = ["block64", "rows4"] as const;

  test.each(LAYOUTS)("%s: any shape decodes to what was packed, and to something else in the others", (layout) => {
    // [4, 32] is one block of 128 whose bytes hold four rows: the same in two layouts.
    const shape = fc.tuple(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 2, max: 9 }), fc.integer());
    fc.assert(
      fc.property(shape, ([fours, blocks, seed]) => {
        const [rows, columns] = [4 * fours, 32 * blocks];
        const codes = someCodes(rows * columns, seed);
        const bytes = PACK[layout](codes, columns);
        for (const other of ["block128", ...LAYOUTS] as const) {
          const same = Buffer.compare(decode(layer("I2_S", rows, columns, bytes, 4096, other), bytes).codes, codes) === 0;
          expect(same).toBe(other === layout);
        }
      }),
    );
  });

  // 8640 is whole blocks of 64; [3, 80] and [4100, 48] have them across rows.
  test.each([
    ["block64", 244, 8640],
    ["block64", 4, 80],
    ["block64", 4100, 272],
    ["rows4", 244, 8640],
    ["rows4", 4, 3],
    ["rows4", 4100, 272],
  ] as const)("%s [%i, %i], several pieces", (layout, rows, columns) => {
    const codes = someCodes(rows * columns, columns);
    const bytes = PACK[layout](codes, columns);
    const decoded = decode(layer("I2_S", rows, columns, bytes, 4096, layout), bytes);
    expect(Buffer.compare(decoded.codes, codes)).toBe(0);
    expect(decoded.pieces > 1).toBe(rows * columns > 2 ** 20);
    const at = (rows * columns) / 4 - 1;
    bytes[at]! |= 0b00110000;
    const error = errorOf(() => decode(layer("I2_S", rows, columns, bytes, 10_000, layout), bytes));
    expect(error).toMatchObject({ code: "file", tensor: "some.layer", offset: 10_000 + at });
    expect(error.message).toContain(`not in the layout ${layout}`);
  });

  test.each([
    ["block64", 4, 8],
    ["block64", 3, 80],
    ["rows4", 6, 64],
  ] as const)("%s can't hold [%i, %i]", (layout, rows, columns) => {
    const bytes = new Uint8Array((rows * columns) / 4 + 32);
    const error = errorOf(() => openPacking(layer("I2_S", rows, columns, bytes, 4096, layout)));
    expect(error).toMatchObject({ code: "tensor", tensor: "some.layer", file: "some.file" });
    expect(error.message).toContain(`I2_S (${layout})`);
  });
});

describe("ternary block types", () => {
  /** An f16 scale of 1 + i/1024: its bits. */
  const scaleBits = (i: number): number => 0x3c00 + (i % 1000);
  const scaleOf = (i: number): number => 1 + (i % 1000) / 1024;

  interface Form {
    readonly elements: number;
    readonly bytes: number;
    readonly scale: number;
    /** Puts a group's codes into the bytes of its block. */
    pack(codes: Uint8Array, block: Uint8Array): void;
  }

  const q2 = (elements: number): Form => ({
    elements,
    bytes: 2 + elements / 4,
    scale: 0,
    pack: (codes, block) => {
      codes.forEach((code, j) => {
        block[2 + Math.floor(j / 4)]! |= code << (2 * (j % 4));
      });
    },
  });

  /** @param runs of a block: bytes, and digits in each; the scale stands behind them, or before */
  const ptq1 = (runs: readonly (readonly [bytes: number, digits: number])[], scale = 26): Form => ({
    elements: 128,
    bytes: 28,
    scale,
    pack: (codes, block) => {
      let byte = scale === 0 ? 2 : 0;
      let first = 0;
      for (const [count, digits] of runs) {
        for (let m = 0; m < count; m++) {
          let number = 0;
          for (let n = 0; n < 5; n++) number = 3 * number + (n < digits ? codes[first + n * count + m]! : 0);
          block[byte++] = Math.floor((number * 256 + 242) / 243);
        }
        first += count * digits;
      }
    },
  });

  const FORMS: Readonly<Record<string, Form>> = {
    Q2_0: q2(64),
    Q2_0_128: q2(128),
    // Element 32·g + m of each half in byte m of its 32, bits 2g.
    TQ2_0: {
      elements: 256,
      bytes: 66,
      scale: 64,
      pack: (codes, block) => {
        codes.forEach((code, e) => {
          block[32 * Math.floor(e / 128) + (e % 32)]! |= code << (2 * (Math.floor(e / 32) % 4));
        });
      },
    },
    PTQ1_0: ptq1([
      [16, 5],
      [8, 5],
      [2, 4],
    ]),
    // Five digits of base 3 make a number below 243, which is kept as the fraction of 243 in 256, rounded up; the last four bytes hold four.
    TQ1_0: {
      elements: 256,
      bytes: 54,
      scale: 52,
      pack: (codes, block) => {
        for (let byte = 0; byte < 52; byte++) {
          const [first, step, digits] = byte < 32 ? [byte, 32, 5] : byte < 48 ? [160 + byte - 32, 16, 5] : [240 + byte - 48, 4, 4];
          let number = 0;
          for (let n = 0; n < 5; n++) number = 3 * number + (n < digits ? codes[first + n * step]! : 0);
          block[byte] = Math.ceil((number * 256) / 243);
        }
      },
    },
  };
  const TYPES = Object.keys(FORMS);

  function pack({ elements, bytes, scale, pack }: Form, codes: Uint8Array): Uint8Array {
    const packed = new Uint8Array((codes.length / elements) * bytes);
    for (let i = 0; i < codes.length / elements; i++) {
      const block = packed.subarray(i * bytes, (i + 1) * bytes);
      pack(codes.subarray(i * elements, (i + 1) * elements), block);
      block.set([scaleBits(i) & 255, scaleBits(i) >> 8], scale);
    }
    return packed;
  }

  test.each([
    ["runs of 16 and 8 swapped", [8, 16, 2], 26],
    ["one run, as of TQ1_0's larger ones", [24, 2], 26],
    ["the scale first", [16, 8, 2], 0],
  ] as const)("another reading of PTQ1_0 has other codes: %s", (_, runs, scale) => {
    const codes = someCodes(128, 7);
    const form = ptq1(
      runs.map((bytes) => [bytes, bytes === 2 ? 4 : 5]),
      scale,
    );
    const bytes = pack(form, codes);
    const decoded = decode(layer("PTQ1_0", 1, 128, bytes), bytes).codes;
    expect(decoded.reduce((wrong, code, i) => wrong + (code === codes[i] ? 0 : 1), 0)).toBeGreaterThan(30);
  });

  test.each(TYPES)("%s: codes and scales of any shape of whole blocks, over several pieces", (type) => {
    const form = FORMS[type]!;
    for (const [rows, groups, seed] of [
      [1, 1, 1],
      [3, 5, 2],
      [1700, 4, 3],
    ] as const) {
      const columns = groups * form.elements;
      const codes = someCodes(rows * columns, seed);
      const bytes = pack(form, codes);
      const source = layer(type, rows, columns, bytes);
      const decoded = decode(source, bytes);
      expect(Buffer.compare(decoded.codes, codes)).toBe(0);
      const packing = openPacking(source);
      expect(packing.scaleBlock).toBe(form.elements);
      const scales: number[] = [];
      for (let i = 0; i < packing.pieces; i++) {
        const { start, length, rows: held } = packing.piece(i);
        const out = new Float32Array(held.length * groups);
        packing.scales!(i, bytes.subarray(start, start + length), out);
        scales.push(...out);
      }
      expect(scales).toEqual(Array.from({ length: rows * groups }, (_, i) => scaleOf(i)));
    }
  });

  test("Q1_0: bits, which are −1 and +1, and zeros where the scale is 0", () => {
    const bits = Array.from({ length: 256 }, (_, j) => (j * j + (j >> 3)) % 2);
    const bytes = new Uint8Array(36);
    bits.forEach((bit, j) => {
      bytes[18 * (j >> 7) + 2 + ((j & 127) >> 3)]! |= bit << (j & 7);
    });
    bytes.set([0, 0x3c]);
    expect([...decode(layer("Q1_0", 1, 256, bytes), bytes).codes]).toEqual([
      ...bits.slice(0, 128).map((bit) => 2 * bit),
      ...new Array<number>(128).fill(1),
    ]);
  });

  test.each(TYPES)("%s: a group whose scale is 0 is zeros, whatever its codes are", (type) => {
    const form = FORMS[type]!;
    const columns = 2 * form.elements;
    const codes = someCodes(columns, 7);
    for (const sign of [0, 0x80]) {
      const bytes = pack(form, codes);
      bytes.fill(0xff, form.bytes, 2 * form.bytes);
      bytes.set([0, sign], form.bytes + form.scale);
      const right = codes.slice().fill(1, form.elements);
      expect(Buffer.compare(decode(layer(type, 1, columns, bytes), bytes).codes, right)).toBe(0);
    }
  });

  test.each([
    ["TQ1_0", 0x7c00],
    ["TQ2_0", 0x7e00],
    ["Q2_0", 0xbc00],
    ["Q2_0_128", 0xfc00],
    ["TQ2_0", 0x8001],
  ] as const)("%s: the scale %i is refused with its byte in the file", (type, bits) => {
    const form = FORMS[type]!;
    const [rows, groups] = [1700, 4];
    const source = layer(type, rows, groups * form.elements, new Uint8Array(rows * groups * form.bytes), 10_000);
    const bytes = pack(form, new Uint8Array(rows * groups * form.elements));
    const at = (rows * groups - 2) * form.bytes + form.scale;
    bytes.set([bits & 255, bits >> 8], at);
    const packing = openPacking(source);
    const last = packing.pieces - 1;
    const { start, length, rows: held } = packing.piece(last);
    const error = errorOf(() => packing.scales!(last, bytes.subarray(start, start + length), new Float32Array(held.length * groups)));
    expect(error).toMatchObject({ code: "file", tensor: "some.layer", offset: 10_000 + at });
    expect(error.message).toContain(`at byte ${10_000 + at}`);
  });

  test.each(["TQ2_0", "Q2_0", "Q2_0_128"])("%s: a code 3 is refused with its byte in the file", (type) => {
    const form = FORMS[type]!;
    const [rows, groups] = [1700, 4];
    const bytes = pack(form, new Uint8Array(rows * groups * form.elements));
    const at = (rows * groups - 1) * form.bytes + (form.scale === 0 ? 7 : 5);
    bytes[at] = 0b00110000;
    const error = errorOf(() => decode(layer(type, rows, groups * form.elements, bytes, 10_000), bytes));
    expect(error).toMatchObject({ code: "file", tensor: "some.layer", offset: 10_000 + at });
  });

  test.each(TYPES)("%s: rows that are no whole blocks, and a wrong number of bytes", (type) => {
    const form = FORMS[type]!;
    const bytes = new Uint8Array(4 * form.bytes);
    const half = errorOf(() => openPacking(layer(type, 8, form.elements / 2, bytes)));
    expect(half.message).toContain(`${type} requires a multiple of ${form.elements}`);
    const short = errorOf(() => openPacking(layer(type, 4, form.elements, bytes.subarray(1))));
    expect(short.message).toContain(`has ${bytes.length - 1} bytes, but ${type} [4, ${form.elements}] requires ${bytes.length}`);
  });
});

describe("Hugging Face's packed form", () => {
  test("any shape decodes to what was packed", () => {
    const shape = fc.tuple(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 70 }), fc.integer());
    fc.assert(
      fc.property(shape, ([fours, columns, seed]) => {
        const codes = someCodes(4 * fours * columns, seed);
        const bytes = packHf(codes, 4 * fours, columns);
        expect(Buffer.compare(decode(layer("U8", 4 * fours, columns, bytes), bytes).codes, codes)).toBe(0);
      }),
    );
  });

  test("several pieces, and a code 3 in the last", () => {
    const [rows, columns] = [1024, 2560];
    const codes = someCodes(rows * columns, 5);
    const bytes = packHf(codes, rows, columns);
    const decoded = decode(layer("U8", rows, columns, bytes), bytes);
    expect(decoded.pieces).toBe(3);
    expect(Buffer.compare(decoded.codes, codes)).toBe(0);
    const at = 255 * columns + 17;
    bytes[at]! |= 0b00110000;
    const error = errorOf(() => decode(layer("U8", rows, columns, bytes), bytes));
    expect(error).toMatchObject({ code: "file", tensor: "some.layer", offset: 4096 + at });
  });
});

test.each([
  ["I2_S", 256 * 64],
  ["U8", 256 * 64 + 32],
  ["F16", 256 * 256],
] as const)("%s of the wrong number of bytes is refused", (type, length) => {
  const error = errorOf(() => openPacking(layer(type, 256, 256, new Uint8Array(length))));
  expect(error).toMatchObject({ code: "tensor", tensor: "some.layer" });
  expect(error.message).toContain(`has ${length} bytes, but ${type} [256, 256] requires`);
});

describe("one layer, packed by llama.cpp's quantiser", () => {
  test.each([
    ["TQ1_0", "tq1_0"],
    ["TQ2_0", "tq2_0"],
  ])("%s: the codes of the I2_S file, its scale rounded to f16 in every group", async (type, name) => {
    const checkpoint = await openCheckpoint("validation/fixtures/gguf/ggml-model-i2_s.gguf");
    const { k } = attentionOf(readWeights(checkpoint, await readConfig(checkpoint)).layers[0]!);
    await checkpoint.close();
    const i2s = bytesOf(k.tensor);
    const bytes = new Uint8Array(readFileSync(`validation/fixtures/gguf/blk.0.attn_k.${name}.bin`));
    const source = layer(type, k.rows, k.columns, bytes);
    expect(Buffer.compare(decode(source, bytes).codes, decode(k, i2s).codes)).toBe(0);
    const scales = new Float32Array(k.rows);
    openPacking(source).scales!(0, bytes, scales);
    const scale = new DataView(i2s.buffer).getFloat32(i2s.length - 32, true);
    for (const group of scales) expect(Math.abs(group / scale - 1)).toBeLessThanOrEqual(2 ** -11);
  });
});

describe("one model, packed by three tools", () => {
  async function linears(path: string): Promise<LinearSource[]> {
    const checkpoint = await openCheckpoint(path);
    const { layers } = readWeights(checkpoint, await readConfig(checkpoint));
    await checkpoint.close();
    return allLinears(layers);
  }

  const one = (type: string, bytes: Uint8Array): number => {
    const out = new Float32Array(1);
    readFloats(type, bytes, out, 1);
    return out[0]!;
  };

  test("codes are equal, scales related as the tools define them", async () => {
    const masters = await linears("validation/fixtures/safetensors-bf16"); // trained weights, ternarised by us
    const quantized = await linears("validation/fixtures/gguf/ggml-model-i2_s.gguf"); // llama-quantize
    const packed = await linears("models/bitnet-stories-4m/packed"); // Hugging Face's packing
    const converted = await linears("models/bitnet-stories-4m/ggml-model-i2_s.gguf"); // the official converter, from `packed`
    expect(masters.length).toBe(28);
    for (const [i, master] of masters.entries()) {
      const n = master.rows * master.columns;
      const bytes = bytesOf(master.tensor);
      const ours = decode(master, bytes);
      const i2s = bytesOf(quantized[i]!.tensor);
      const i2sConverted = bytesOf(converted[i]!.tensor);
      const others = [decode(quantized[i]!, i2s), decode(packed[i]!, bytesOf(packed[i]!.tensor)), decode(converted[i]!, i2sConverted)];
      for (const other of others) expect(Buffer.compare(other.codes, ours.codes)).toBe(0);

      const weights = new Float32Array(n);
      readFloats("BF16", bytes, weights, n);
      const mean = weights.reduce((sum, w) => sum + Math.abs(w), 0) / n;
      const at = i2sScaleOffset(master.rows, master.columns);
      const stored = one("BF16", bytesOf(packed[i]!.scale!));
      expect(Math.abs(ours.how!.scale / mean - 1)).toBeLessThan(2 ** -22);
      expect(Math.abs(one("F32", i2s.subarray(at)) / mean - 1)).toBeLessThan(1e-6);
      expect(Math.abs(stored / mean - 1)).toBeLessThanOrEqual(2 ** -8); // bf16 keeps 8 bits
      expect(one("F32", i2sConverted.subarray(at))).toBe(stored);
    }
  });
});
