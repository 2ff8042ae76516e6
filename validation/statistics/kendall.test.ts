import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { kendallTauB } from "./kendall.js";

/** Far enough apart that neither rounding nor the tie of 1e-6 is met by chance. */
const scores = (n: number) => fc.array(fc.integer({ min: 0, max: 12 }), { minLength: n, maxLength: n });
const pairs = fc.integer({ min: 3, max: 24 }).chain((n) => fc.tuple(scores(n), scores(n)));

describe("Kendall's τ-b", () => {
  it("is that of worked examples", () => {
    expect(kendallTauB([1, 2, 3, 4], [1, 2, 3, 4])).toBe(1);
    expect(kendallTauB([1, 2, 3, 4], [4, 3, 2, 1])).toBe(-1);
    // 6 pairs. a ties items 2 and 3, b ties 1 and 2: C = 12, 13, 14, 23, 24, 34 without those two, all of one order: 4; D = 0.
    expect(kendallTauB([1, 2, 2, 3], [1, 1, 2, 3])).toBeCloseTo(4 / Math.sqrt(5 * 5), 15);
    // A joint tie (items 1 and 2) counts in both T: 10 pairs, C = 8, D = 1 (items 4 and 5), T = 1 on both sides.
    expect(kendallTauB([1, 1, 2, 3, 4], [5, 5, 6, 8, 7])).toBeCloseTo((8 - 1) / Math.sqrt(9 * 9), 15);
  });

  it("is scipy's", () => {
    const { cases } = JSON.parse(readFileSync("validation/fixtures/kendall.json", "utf8")) as {
      cases: { a: number[]; b: number[]; tau: number }[];
    };
    expect(cases.length).toBeGreaterThan(30);
    for (const { a, b, tau } of cases) expect(kendallTauB(a, b)).toBeCloseTo(tau, 13);
  });

  it("takes differences up to 1e-6 as ties and says nothing of too few items", () => {
    expect(kendallTauB([1, 1 + 1e-7, 2], [1, 2, 3])).toBeCloseTo(2 / Math.sqrt(6), 15);
    expect(kendallTauB([1, 1 + 1e-5, 2], [1, 2, 3])).toBe(1);
    expect(kendallTauB([1, 2], [1, 2])).toBeUndefined();
    expect(kendallTauB([1, 1, 1], [1, 2, 3])).toBeUndefined();
  });

  it("is symmetric, within ±1, odd, and sees nothing but the order", () => {
    fc.assert(
      fc.property(pairs, ([a, b]) => {
        const tau = kendallTauB(a, b);
        expect(kendallTauB(b, a)).toBe(tau);
        if (tau === undefined) return;
        expect(Math.abs(tau)).toBeLessThanOrEqual(1 + 1e-12);
        expect(
          kendallTauB(
            a,
            b.map((x) => -x),
          ),
        ).toBeCloseTo(-tau, 12);
        expect(
          kendallTauB(
            a.map((x) => x ** 3 + 7),
            b,
          ),
        ).toBe(tau);
        expect(kendallTauB(a, a)).toBeCloseTo(1, 12);
        expect(kendallTauB(a.toReversed(), b.toReversed())).toBe(tau);
      }),
    );
  });
});
