import { existsSync, readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { HISTORY_FILE } from "./history.js";
import { PERF_RECORD, RESULTS } from "./stored.js";
import { type Conditions, conditionFaults, type Present } from "./validity.js";

// Records of the repository's other benchmarks (bench/), whose tables are in docs/performance.md.

/** What all of them have. The rest is the benchmark's own. */
export interface BenchConditions extends Conditions {
  readonly bench: string;
}

/** Paths of all files in bench/results that are neither performance records nor their history, from the root, with `/`: each has to be a record. */
export function benchRecordPaths(root: string): string[] {
  const folder = join(root, RESULTS);
  const paths = existsSync(folder) ? readdirSync(folder).map((name) => `${RESULTS}/${name}`) : [];
  return paths.filter((path) => !PERF_RECORD.test(path) && path !== HISTORY_FILE).sort();
}

/** Why a record is no evidence, a sentence each: machine, date and numerics as of performance records, and the benchmark that its name begins with. */
export function benchFaults(record: BenchConditions, path: string, present: Present = {}): string[] {
  const named = basename(path).match(/^[a-z]+/)?.[0];
  const other = named === record.bench ? [] : [`${path} is the record of ${record.bench}: it was renamed or swapped`];
  return [...other, ...conditionFaults(record, path, present)];
}
