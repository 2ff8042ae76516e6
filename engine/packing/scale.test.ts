import { describe, expect, test } from "vitest";
import type { TensorInfo } from "../container/checkpoint.js";
import { errorOf, layer } from "./fixtures.test.helper.js";
import { storedScale } from "./scale.js";

/** The scale of an I2_S layer [4, 32] whose tail begins with this number. */
function i2s(scale: number): number {
  const bytes = new Uint8Array(64).fill(0xaa);
  new DataView(bytes.buffer).setFloat32(32, scale, true);
  return storedScale(layer("I2_S", 4, 32, bytes), (_, start, length) => bytes.subarray(start, start + length));
}

/** The scale of a packed layer whose scale tensor has these bf16 bits. */
function huggingFace(bits: number, inverseScale: boolean): number {
  const source = layer("U8", 4, 32, new Uint8Array(32));
  const scale: TensorInfo = { name: "some.layer_scale", shape: [1], type: "BF16", file: "other.file", offset: 0, byteLength: 2 };
  return storedScale({ ...source, scale, inverseScale }, (tensor) => {
    expect(tensor).toBe(scale);
    return Uint8Array.of(bits & 255, bits >> 8);
  });
}

describe("the scale in the file", () => {
  test("I2_S: the first four bytes behind the codes", () => {
    expect(i2s(Math.fround(0.0172))).toBe(Math.fround(0.0172));
  });

  test("Hugging Face: the value, or its inverse in f32", () => {
    expect(huggingFace(0x4268, false)).toBe(58);
    expect(huggingFace(0x4268, true)).toBe(Math.fround(1 / 58));
  });

  test.each([0, -0, -0.01, Number.NaN, Infinity, -Infinity])("I2_S: %d is none", (value) => {
    const error = errorOf(() => i2s(value));
    expect(error).toMatchObject({ code: "file", file: "some.file", tensor: "some.layer" });
    expect(error.message).toContain("some.file: the scale of tensor some.layer is");
  });

  test.each([
    [0x0000, true],
    [0x0000, false],
    [0xbf80, true],
    [0xbf80, false],
    [0x7f80, false], // Infinity
    [0x7f80, true],
    [0x7fc0, true], // NaN
    [0x0001, true], // its inverse is no f32
  ])("Hugging Face: bits %i, inverse %s, is none", (bits, inverse) => {
    expect(errorOf(() => huggingFace(bits, inverse))).toMatchObject({ code: "file", file: "other.file", tensor: "some.layer_scale" });
  });
});
