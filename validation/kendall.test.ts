import { describe, expect, it } from "vitest";
import { kendallTauB, median } from "./kendall.js";

describe("Kendall's τ-b", () => {
  it("is that of worked examples", () => {
    expect(kendallTauB([1, 2, 3, 4], [1, 2, 3, 4])).toBe(1);
    expect(kendallTauB([1, 2, 3, 4], [4, 3, 2, 1])).toBe(-1);
    // scipy.stats.kendalltau's documented example.
    expect(kendallTauB([12, 2, 1, 12, 2], [1, 4, 7, 1, 0])).toBeCloseTo(-0.47140452079103173, 15);
  });

  it("takes differences up to 1e-6 as ties and says nothing of too few items", () => {
    expect(kendallTauB([1, 1 + 1e-7, 2], [1, 2, 3])).toBeCloseTo(2 / Math.sqrt(6), 15);
    expect(kendallTauB([1, 2], [1, 2])).toBeUndefined();
    expect(kendallTauB([1, 1, 1], [1, 2, 3])).toBeUndefined();
  });
});

it("takes the median", () => {
  expect(median([3, 1, 2])).toBe(2);
  expect(median([4, 1, 2, 3])).toBe(2.5);
  expect(median([])).toBeNaN();
});
