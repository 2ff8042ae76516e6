import fc from "fast-check";

/** CI runs every case of tests that are slow because they have many similar ones; a developer's run takes some of each kind. */
export const THOROUGH = Boolean(process.env.CI);

/** All in CI; else those at the indices given; negative ones count from the end. */
export function some<T>(cases: readonly T[], ...indices: readonly number[]): readonly T[] {
  return THOROUGH ? cases : indices.map((index) => cases.at(index)!);
}

// Before every test file (vitest.config.mjs): properties that don't say how often they are tried.
fc.configureGlobal({ numRuns: THOROUGH ? 100 : 40 });
