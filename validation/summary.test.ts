import fc from "fast-check";
import { expect, it } from "vitest";
import { median, summarize } from "./summary.js";

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
