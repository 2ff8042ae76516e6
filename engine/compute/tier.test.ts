import { expect, it } from "vitest";
import { chooseKernels, gainOf, tiersHere } from "./tier.js";

const pairs = [
  ["relaxed", "wide", 1],
  ["wide", "vnni", 16],
] as const;

it.each(pairs.filter(([, fast]) => tiersHere().includes(fast)))("the short test of %s and %s runs both", (slow, fast, columns) => {
  const gain = gainOf(chooseKernels(fast, true, 0).module, slow, fast, columns, 1, 50);
  expect(gain).toBeGreaterThan(0);
  expect(gain).toBeLessThan(Number.POSITIVE_INFINITY);
});

// Later ones add rightly.
it.runIf(Number(process.versions.node.split(".")[0]) < 22)("the vnni tier is refused where V8 adds wrongly", () => {
  expect(() => chooseKernels("vnni", true, 0)).toThrow(/the vnni tier requires Node 22 or newer/);
});
