import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { compare, figuresOf, greedyOf, greedyVerdict, positionTau, together, topIds } from "./figures.js";
import { parityTexts, TEXTS, textsOfLines } from "./texts.js";

describe("the highest logits", () => {
  it("are those of a sort, ties by the lower id", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: -9, max: 9 }), { minLength: 1, maxLength: 60 }),
        fc.integer({ min: 1, max: 20 }),
        (values, k) => {
          const sorted = values.map((value, id) => ({ value, id })).sort((x, y) => y.value - x.value || x.id - y.id);
          expect(topIds(Float32Array.from(values), k)).toEqual(sorted.slice(0, k).map(({ id }) => id));
        },
      ),
    );
  });

  it("are never numbers that are none", () => {
    expect(topIds(Float32Array.of(Number.NaN, 1, Number.NaN, 3), 3)).toEqual([3, 1]);
  });
});

describe("a position", () => {
  it("is compared over the union of both sides' top k", () => {
    const a = Float32Array.of(9, 8, 1, 2, 3);
    const b = Float32Array.of(8, 1, 9, 2, 3);
    // Top 2: {0, 1} and {2, 0}. Of (9, 8, 1) and (8, 1, 9): pair 01 concordant, 02 and 12 discordant.
    expect(positionTau(a, b, 2)).toBeCloseTo(-1 / 3, 15);
    expect(positionTau(a, b, 1)).toBeUndefined(); // two items
    expect(positionTau(a, a, 3)).toBe(1);
  });

  it("informs of nothing if a number is not finite", () => {
    expect(positionTau(Float32Array.of(1, 2, 3), Float32Array.of(1, Number.POSITIVE_INFINITY, 3), 3)).toBeUndefined();
    expect(positionTau(Float32Array.of(1, 2, 3), Float32Array.of(Number.NaN, Number.NaN, Number.NaN), 3)).toBeUndefined();
  });
});

describe("figures", () => {
  const row = (...values: number[]) => Float32Array.from(values);

  it("are medians over informative positions and means over tokens, in which each token weighs the same", () => {
    const a = { logits: [row(1, 2, 3), row(1, 2, 3), row(1, 1, 1)], nll: [1, 2] };
    const b = { logits: [row(1, 2, 3), row(3, 2, 1), row(1, 2, 3)], nll: [1.5, 2.5] };
    const one = compare(a, b, 3);
    expect(figuresOf(one)).toMatchObject({
      ...{ tau_median: 0, tau_p5: -0.9, tau_min: -1, informative: 2, uninformative: 1 },
      ...{ nll_a: 1.5, nll_b: 2, delta_nll: 0.5, delta_nll_interval: [0.5, 0.5] },
      // Position 0 is the same, and (3, 2, 1) is (1, 2, 3) turned round; the last position predicts nothing.
      kl: {
        positions: 2,
        max: expect.closeTo((2 * (Math.E ** 2 - 1)) / (Math.E ** 2 + Math.E + 1), 12),
        same_top: 0.5,
        same_top_error: 0.5,
      },
    });
    const other = compare({ logits: [row(1, 2, 3)], nll: [7] }, { logits: [row(1, 2, 3)], nll: [7] }, 3);
    expect(figuresOf(together([one, other]))).toMatchObject({ tau_median: 1, informative: 3, nll_a: 10 / 3, nll_b: 11 / 3 });
  });

  it("have the 5th percentile, linear between neighbours", () => {
    const taus = Array.from({ length: 101 }, (_, i) => (100 - i) / 100);
    expect(figuresOf({ taus, uninformative: 0, nllA: [0], nllB: [0], kl: [0], same: [true] })).toMatchObject({
      tau_p5: 0.05,
      tau_min: 0,
      tau_median: 0.5,
    });
  });

  it("are null where they are no numbers: JSON has none such", () => {
    const figures = figuresOf({ taus: [], uninformative: 2, nllA: [1], nllB: [Number.NaN], kl: [Number.NaN], same: [false] });
    expect(figures).toEqual({
      ...{ tau_median: null, tau_p5: null, tau_min: null, informative: 0, uninformative: 2 },
      ...{ nll_a: 1, nll_b: null, delta_nll: null, delta_nll_interval: null },
      kl: {
        ...{ positions: 1, mean: null, mean_error: null, p999: null, max: null, same_top: 0, same_top_error: null },
        ...{ delta_p_rms: null, delta_p_rms_error: null },
      },
    });
  });
});

it("tells a greedy text that is the same, parts at a tie, or differs", () => {
  const logits = [Float32Array.of(0, 5, 1), Float32Array.of(3, 2.99, 0)];
  expect(greedyVerdict(greedyOf([1, 0], logits, 0.02))).toBe("same");
  const tie = greedyOf([1, 1], logits, 0.02);
  expect(tie).toMatchObject({ parts_at: 1, chosen: 0 });
  expect(greedyVerdict(tie)).toBe("tie");
  expect(greedyVerdict(greedyOf([1, 2], logits, 0.02))).toBe("differs");
  expect(greedyVerdict(greedyOf([0], [Float32Array.of(Number.NaN, Number.NaN)], 0.02))).toBe("differs");
});

it("takes prompts from lines", () => {
  expect(textsOfLines("One day\r\n\n  \n Two\n")).toEqual([
    { id: "line-1", text: "One day", continued: true },
    { id: "line-4", text: " Two", continued: true },
  ]);
  const [all, quick, large] = [parityTexts(false, 2e9), parityTexts(true, 4e6), parityTexts(true, 2e9)];
  expect(all).toBe(TEXTS);
  expect(quick.length).toBeLessThan(all.length);
  expect(quick.some(({ continued }) => !continued)).toBe(true);
  expect(large.length).toBeGreaterThan(2);
  expect(large.every(({ continued }) => continued)).toBe(true);
});
