import fc from "fast-check";
import { expect, it } from "vitest";
import { distribution, median, quantile, standardDeviation, summarize } from "./summary.js";

it("takes the middle, whatever the order, and leaves the samples as they are", () => {
  const samples = [5, 1, 100];
  expect(summarize(samples)).toEqual({ median: 5, min: 1, max: 100, samples: [5, 1, 100] });
  expect(median([4, 1, 3, 100])).toBe(3.5);
  expect(median([7])).toBe(7);
  expect(median([])).toBeNaN();
});

it("has as many samples below as above", () => {
  fc.assert(
    fc.property(fc.array(fc.integer(), { minLength: 1 }), (samples) => {
      const middle = median(samples);
      const below = samples.filter((x) => x < middle).length;
      const above = samples.filter((x) => x > middle).length;
      expect(Math.max(below, above)).toBeLessThanOrEqual(samples.length / 2);
    }),
  );
});

it("has quantiles and deviations as worked by hand", () => {
  // Place 0.95 · 3 = 2.85 from 0 of 10, 20, 30, 40: 30 + 0.85 · 10. Place 0.25 · 3: 10 + 0.75 · 10.
  expect(quantile([40, 10, 30, 20], 0.95)).toBeCloseTo(38.5, 12);
  expect(quantile([40, 10, 30, 20], 0.25)).toBe(17.5);
  expect([quantile([3, 1, 2], 0), quantile([3, 1, 2], 0.5), quantile([3, 1, 2], 1), quantile([7], 0.95)]).toEqual([1, 2, 3, 7]);
  // Mean 5; squares 9, 1, 1, 1, 0, 0, 4, 16: 32, over 7 (the usual example of a deviation of 2 over 8).
  expect(standardDeviation([2, 4, 4, 4, 5, 5, 7, 9])).toBe(Math.sqrt(32 / 7));
  expect(standardDeviation([1, 3])).toBe(Math.SQRT2);
  expect([standardDeviation([5]), quantile([], 0.5)]).toEqual([Number.NaN, Number.NaN]);
  expect(distribution("ms", [3, 1, 10, 2, 4])).toEqual({
    ...{ unit: "ms", median: 3, min: 1, max: 10, samples: [3, 1, 10, 2, 4], stddev: Math.sqrt(12.5) },
    p95: expect.closeTo(8.8, 12),
  });
});
