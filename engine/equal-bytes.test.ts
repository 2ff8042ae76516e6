import { expect, it } from "vitest";

it("arrays of numbers are equal as before: by their type and every number", () => {
  const some = Float32Array.of(1, 0, Number.NaN);
  expect(some).toEqual(Float32Array.of(1, 0, Number.NaN));
  expect({ some, list: [some.subarray(1)] }).toEqual({ some: some.slice(), list: [Float32Array.of(0, Number.NaN)] });
  for (const other of [
    Float32Array.of(1, -0, Number.NaN),
    Float32Array.of(1, 0),
    Float64Array.of(1, 0, Number.NaN),
    new Uint8Array(some.buffer),
  ])
    expect({ some }).not.toEqual({ some: other });
});
