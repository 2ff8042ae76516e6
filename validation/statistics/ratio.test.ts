import { readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, it } from "vitest";
import { normals } from "./normals.test.helper.js";
import { pairedRatio, type Ratio, showsDifference, unpairedRatio } from "./ratio.js";

interface Case {
  readonly a: number[];
  readonly b: number[];
  readonly c: number[];
  /** Ratio and interval. */
  readonly paired: number[];
  readonly unpaired: number[];
}

const { cases } = JSON.parse(readFileSync("validation/fixtures/ratios.json", "utf8")) as { cases: Case[] };

it.each(cases.map((one) => [one.a.length, one] as const))("is scipy's, for %i rounds", (_, { a, b, c, paired, unpaired }) => {
  const close = ([ratio, low, high]: number[]): Ratio => ({
    ...{ ratio: expect.closeTo(ratio!, 12), low: expect.closeTo(low!, 9), high: expect.closeTo(high!, 9) },
  });
  expect(pairedRatio(a, b)).toEqual(close(paired));
  expect(unpairedRatio(a, c)).toEqual(close(unpaired));
});

const samples = (length: number): fc.Arbitrary<number[]> =>
  fc.array(fc.double({ min: 0.5, max: 2, noNaN: true }), { minLength: length, maxLength: length });

it("is the inverse if the sides change places, and goes with the unit", () => {
  fc.assert(
    fc.property(samples(8), samples(8), (a, b) => {
      for (const of of [pairedRatio, unpairedRatio]) {
        const [there, back] = [of(a, b), of(b, a)];
        const doubled = a.map((value) => 2 * value);
        expect(there.low * back.high).toBeCloseTo(1, 9);
        expect(there.ratio * back.ratio).toBeCloseTo(1, 9);
        expect(of(doubled, b).ratio).toBeCloseTo(2 * there.ratio, 9);
        expect(there.low).toBeLessThanOrEqual(there.ratio);
        expect(there.high).toBeGreaterThanOrEqual(there.ratio);
      }
    }),
    { numRuns: 50 },
  );
});

it("shows no difference where the interval holds 1, and needs six rounds for an interval", () => {
  const rounds = [1.1, 1.2, 1.15, 1.05, 1.12, 1.3];
  const ones = rounds.map(() => 1);
  expect(pairedRatio(rounds, ones)).toMatchObject({ low: expect.closeTo(1.05, 12), high: expect.closeTo(1.3, 12) });
  expect(showsDifference(pairedRatio(rounds, ones))).toBe(true);
  expect(showsDifference(pairedRatio(ones, rounds))).toBe(true);
  expect(showsDifference(pairedRatio([...rounds.slice(1), 0.9], ones))).toBe(false);
  expect(pairedRatio(rounds.slice(1), ones)).toMatchObject({ low: 0, high: Number.POSITIVE_INFINITY });
});

it("holds the true ratio in 95 % of experiments, exactly counted or approximated", () => {
  for (const [rounds, of] of [
    [10, pairedRatio],
    [60, pairedRatio],
    [10, unpairedRatio],
    [60, unpairedRatio],
  ] as const) {
    let held = 0;
    for (let seed = 0; seed < 400; seed++) {
      const noise = normals(seed, 2 * rounds).map((value) => Math.exp(0.1 * value));
      const { low, high } = of(
        noise.slice(rounds).map((value) => 1.2 * value),
        noise.slice(0, rounds),
      );
      if (low <= 1.2 && high >= 1.2) held++;
    }
    // Four standard errors about 95 %; few rounds have only some possible levels, of which the next above is taken.
    expect(held / 400, `${of.name} ${rounds}`).toBeGreaterThan(0.9);
    expect(held / 400, `${of.name} ${rounds}`).toBeLessThan(0.99);
  }
});
