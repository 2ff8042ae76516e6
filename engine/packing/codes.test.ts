/** The 2-bit encodings: each against a plain model of its format, and against each other in the files of three independent tools. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { openCheckpoint } from "../container/checkpoint.js";
import { readConfig } from "../model/config.js";
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
  expect(error.message).toContain(`has ${length} bytes where ${type} [256, 256] takes`);
});

describe("one model, packed by three tools", () => {
  const ROLES = ["q", "k", "v", "o", "gate", "up", "down"] as const;

  async function linears(path: string): Promise<LinearSource[]> {
    const checkpoint = await openCheckpoint(path);
    const { layers } = readWeights(checkpoint, await readConfig(checkpoint));
    await checkpoint.close();
    return layers.flatMap((layer) => ROLES.map((role) => layer[role]));
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
