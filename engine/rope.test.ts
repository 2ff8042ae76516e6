import { expect, it } from "vitest";
import { type RopeScaling, ropeAngles, ropeFrequencies, yarnAttention } from "./rope.js";

const yarn = (factor: number, originalContext: number, fast = 32, slow = 1, truncate = true): RopeScaling => ({
  type: "yarn",
  factor,
  attention: 1,
  ramp: { originalContext, fast, slow, truncate },
});

/** Computed in f64 by Python, of YaRN's formula as transformers states it. */
const FREQUENCIES: readonly [string, number, number, RopeScaling, Readonly<Record<number, number>>][] = [
  [
    "Bonsai 8B's: a ramp from pair 20 to 37",
    1e6,
    128,
    yarn(4, 16384),
    {
      0: 1,
      19: 0.016548170999431816,
      23: 0.006054706545107663,
      24: 0.004631046207449934,
      30: 0.000860547176327363,
      39: 5.516835172711474e-5,
      40: 4.445698525097307e-5,
      63: 3.102344401879299e-7,
    },
  ],
  [
    "other turns",
    1e4,
    32,
    yarn(8, 64, 16, 2),
    { 0: 1, 1: 0.398325105343164, 2: 0.13176156917368248, 3: 0.022228492625486533, 15: 2.2228492625486534e-5 },
  ],
  [
    "a ramp that ends between two pairs",
    1e4,
    32,
    yarn(8, 64, 16, 2, false),
    { 0: 1, 1: 0.38834222232582033, 2: 0.120533993843296, 3: 0.022228492625486533, 15: 2.2228492625486534e-5 },
  ],
  ["a context too short for a ramp", 5e5, 64, yarn(2.5, 5), { 0: 1, 1: 0.26544049507843537, 15: 0.0008524478147647861 }],
];

it.each(FREQUENCIES)("YaRN's frequencies: %s", (_, theta, headDim, scaling, right) => {
  const frequencies = ropeFrequencies(theta, headDim, undefined, scaling);
  expect(frequencies).toHaveLength(headDim / 2);
  for (const [pair, frequency] of Object.entries(right)) expect(Math.abs(frequencies[Number(pair)]! / frequency - 1)).toBeLessThan(1e-13);
});

it("linear scaling divides all of them, factors of their own come first", () => {
  const factors = [1, 2, 3, 4];
  const [plain, own] = [ropeFrequencies(1e4, 8, undefined), ropeFrequencies(1e4, 8, factors)];
  const linear: RopeScaling = { type: "linear", factor: 4, attention: 1, ramp: undefined };
  expect(ropeFrequencies(1e4, 8, undefined, linear)).toEqual(plain.map((frequency) => frequency / 4));
  expect(ropeFrequencies(1e4, 8, factors, linear)).toEqual(own.map((frequency) => frequency / 4));
  const [first, , , last] = ropeFrequencies(1e4, 8, factors, yarn(4, 4096));
  expect([first, last]).toEqual([own[0], own[3]! / 4]);
});

it("YaRN's attention factor is 0.1 ln(factor) + 1, and multiplies cosines and sines", () => {
  expect(yarnAttention(4)).toBeCloseTo(1.138629436111989, 14);
  expect(yarnAttention(2.5)).toBeCloseTo(1.0916290731874154, 14);
  expect(yarnAttention(1)).toBe(1);
  expect(yarnAttention(4, 0.7) / yarnAttention(4, 0.4)).toBeCloseTo(1.0394038191422568, 14);
  const frequencies = ropeFrequencies(1e4, 8, undefined);
  const [plain, scaled] = [new Float32Array(8), new Float32Array(8)];
  ropeAngles(plain, 7, frequencies);
  ropeAngles(scaled, 7, frequencies, 1.5);
  for (let i = 0; i < 8; i++) expect(scaled[i]! / plain[i]!).toBeCloseTo(1.5, 6);
});
