import { existsSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { readEquivalents, readFixed } from "./lists.js";
import { mutantsOf } from "./mutants.js";
import { moduleOf } from "./trial.js";

/** The lists name changes by their lines: an edit of such a line must change the list, too. */
function isMade(file: string, before: string, after: string): boolean {
  return mutantsOf(file, readFileSync(moduleOf(file), "utf8")).some((one) => one.before === before && one.after === after);
}

it("every change of the fixed set is one that is made, and its tests are there", () => {
  const set = readFixed(".");
  expect(set.length).toBeGreaterThanOrEqual(12);
  expect(set.filter(({ file, before, after }) => !isMade(file, before, after))).toEqual([]);
  expect(set.flatMap(({ tests }) => tests).filter((path) => !existsSync(path))).toEqual([]);
  expect(set.filter(({ tests }) => tests.length === 0)).toEqual([]);
});

it("every change that is listed as changing nothing is one that is made, and says why", () => {
  const all = [...readEquivalents(".")];
  expect(all.filter(([id]) => !isMade(...(JSON.parse(id) as [string, string, string])))).toEqual([]);
  expect(all.filter(([, reason]) => reason.length < 10)).toEqual([]);
});
