import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { bootstrapMean } from "./bootstrap.js";
import { divergence, klDivergence } from "./divergence.js";

interface Case {
  /** [positions][tokens] logits */
  readonly a: number[][];
  readonly b: number[][];
  /** [positions] */
  readonly following: number[];
  readonly kl: number[];
  readonly mean: number;
  readonly mean_error: number;
  readonly p999: number;
  readonly max: number;
  readonly same_top: number;
  readonly same_top_error: number;
  readonly delta_p_rms: number;
  readonly delta_p_rms_error: number;
  /** With the same random numbers; and scipy's own, of other ones. */
  readonly interval: [number, number];
  readonly scipy_interval: [number, number];
}

const { cases } = JSON.parse(readFileSync("validation/fixtures/divergence.json", "utf8")) as { cases: Case[] };

const nllOf = (row: readonly number[], id: number): number => Math.log(row.reduce((sum, x) => sum + Math.exp(x - row[id]!), 0));
const top = (row: readonly number[]): number => row.indexOf(Math.max(...row));

describe.each(cases.map((one, i) => [i, one] as const))("figures of case %i", (_, of) => {
  const [nllA, nllB] = [of.a, of.b].map((rows) => rows.map((row, t) => nllOf(row, of.following[t]!))) as [number[], number[]];

  it("are numpy's and scipy's", () => {
    const kl = of.a.map((row, t) => klDivergence(row, of.b[t]!));
    for (const [t, value] of kl.entries()) expect(value).toBeCloseTo(of.kl[t]!, 14);
    const figures = divergence({ kl, same: of.a.map((row, t) => top(row) === top(of.b[t]!)), nllA, nllB });
    expect(figures).toEqual({
      ...{ positions: of.a.length, mean: expect.closeTo(of.mean, 14), meanError: expect.closeTo(of.mean_error, 14) },
      ...{ p999: expect.closeTo(of.p999, 13), max: expect.closeTo(of.max, 13) },
      ...{ sameTop: of.same_top, sameTopError: expect.closeTo(of.same_top_error, 14) },
      ...{ deltaPRms: expect.closeTo(of.delta_p_rms, 14), deltaPRmsError: expect.closeTo(of.delta_p_rms_error, 14) },
    });
  });

  it("have an interval: numpy's of the same random numbers, and scipy's of others but for chance", () => {
    const [low, high] = bootstrapMean(nllB.map((b, t) => b - nllA[t]!));
    expect(low).toBeCloseTo(of.interval[0], 13);
    expect(high).toBeCloseTo(of.interval[1], 13);
    const width = of.scipy_interval[1] - of.scipy_interval[0];
    expect(Math.abs(low - of.scipy_interval[0])).toBeLessThan(width / 8);
    expect(Math.abs(high - of.scipy_interval[1])).toBeLessThan(width / 8);
  });
});

const logits = fc.array(fc.double({ min: -50, max: 50, noNaN: true }), { minLength: 2, maxLength: 20 });

describe("a divergence", () => {
  it("is 0 of equal logits or of shifted ones, and never negative", () => {
    fc.assert(
      fc.property(logits, fc.double({ min: -9, max: 9, noNaN: true }), (a, shift) => {
        expect(klDivergence(a, a)).toBe(0);
        const shifted = klDivergence(
          a,
          a.map((x) => x + shift),
        );
        expect(shifted).toBeGreaterThanOrEqual(0);
        expect(shifted).toBeLessThan(1e-12);
        expect(klDivergence(a, a.toReversed())).toBeGreaterThanOrEqual(0);
      }),
    );
  });

  it("is that of a worked example", () => {
    // p = (1/2, 1/2), q = (1/4, 3/4): ½ ln 2 + ½ ln ⅔.
    expect(klDivergence([0, 0], [0, Math.log(3)])).toBeCloseTo(0.5 * Math.log(2) + 0.5 * Math.log(2 / 3), 15);
  });

  it("takes tokens that no side can choose, and is no number where one is none", () => {
    expect(klDivergence([0, 1, Number.NEGATIVE_INFINITY], [0, 1, Number.NEGATIVE_INFINITY])).toBe(0);
    expect(klDivergence([0, 1], [0, Number.NEGATIVE_INFINITY])).toBe(Number.POSITIVE_INFINITY);
    expect(klDivergence([0, Number.NaN], [0, 1])).toBeNaN();
    expect(klDivergence([0, 1], [0, Number.NaN])).toBeNaN();
  });
});

it("an interval is one number if all values are, and none of no values", () => {
  expect(bootstrapMean([3, 3, 3])).toEqual([3, 3]);
  expect(bootstrapMean([])).toEqual([Number.NaN, Number.NaN]);
  expect(bootstrapMean([1, Number.NaN])).toEqual([Number.NaN, Number.NaN]);
  const once = bootstrapMean([1, 2, 3, 4]);
  expect(bootstrapMean([1, 2, 3, 4])).toEqual(once);
  expect(once[0]).toBeLessThan(2.5);
  expect(once[1]).toBeGreaterThan(2.5);
});
