import { expect, test } from "vitest";
import { chooseKernels, wideGain } from "./tier.js";

test("the short test of 256 bits runs both layouts, on every Node", () => {
  const gain = wideGain(chooseKernels("relaxed", true, 0).module);
  expect(gain).toBeGreaterThan(0);
  expect(gain).toBeLessThan(Number.POSITIVE_INFINITY);
});
