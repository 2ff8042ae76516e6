import { readFileSync } from "node:fs";
import { join } from "node:path";

/** A change by its lines, as a survivor is printed. */
interface Named {
  readonly file: string;
  readonly before: string;
  readonly after: string;
}

/** A change that no test can notice, and why. */
export interface Equivalent extends Named {
  readonly reason: string;
}

/** A change that these test files of dist/ notice. */
export interface Fixed extends Named {
  readonly tests: readonly string[];
}

function read<T>(root: string, name: string): T[] {
  return JSON.parse(readFileSync(join(root, "bench/mutate", name), "utf8")) as T[];
}

export const readFixed = (root: string): Fixed[] => read(root, "fixed.json");

/** Reasons by what names a change. */
export function readEquivalents(root: string): Map<string, string> {
  return new Map(
    read<Equivalent>(root, "equivalent.json").map(({ file, before, after, reason }) => [JSON.stringify([file, before, after]), reason]),
  );
}
