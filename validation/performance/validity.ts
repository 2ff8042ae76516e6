import { NUMERICS_VERSION } from "../../engine/index.js";
import { implausible } from "../records/plausible.js";
import type { Metric, PerfRecord } from "./perf.js";

// Which measurements count as evidence, in the manner of MLPerf's rules for submissions: each rule has its limit and its reason here.

/** Least samples of a metric: a 95 % interval of rounds needs six, and one disturbed round of ten does not decide it. */
export const MIN_SAMPLES = 10;
/** Most load that others may put on a processor, as load average for each: above it the timed threads wait for each other. */
export const MAX_LOAD_PER_CORE = 0.5;
/** Most of the processors' time that a hypervisor may give to other machines: less than the differences that are to be seen. */
export const MAX_STEAL_SHARE = 0.02;
/** Most of the time in which a container's quota may stop the process: the same. */
export const MAX_THROTTLED_SHARE = 0.02;
/** Most samples of a metric that repeat an earlier one, in percent: timings of six digits meet now and then, but not that often. */
export const MAX_REPEATED_PERCENT = 10;

/** Metrics whose samples are timings; memory comes in pages, so that equal samples are usual. */
export const TIMINGS = [
  "prefill_tokens_per_second",
  "decode_tokens_per_second",
  "first_token_ms",
  "load_ms",
] as const satisfies readonly Metric[];

/** What a record is held against. */
export interface Present {
  /** The one numerics version. Default: the engine's. */
  readonly numerics?: number;
  /** ms since 1970. Default: the clock's. */
  readonly now?: number;
}

/** Where the machine and its date stand in a record: what is asked of every measurement, whichever kind it is of. */
export interface Conditions extends Partial<Pick<PerfRecord, "load_average_after" | "steal_share" | "throttled_share">> {
  readonly provenance: PerfRecord["provenance"];
  readonly load_average: number;
}

/**
 * Why a record is no evidence, one sentence for each rule that it breaks; none: it is. That its statistics follow from its samples is checked when it is
 * read (`readPerf`).
 * @param path names the record in the sentences
 */
export function validityFaults(record: PerfRecord, path: string, present: Present = {}): string[] {
  const faults = conditionFaults(record, path, present);
  const { iterations } = record.settings;
  if (iterations < MIN_SAMPLES)
    faults.push(`${path}: /settings/iterations is ${iterations}, but at least ${MIN_SAMPLES} samples are needed`);
  const again = repeatedRound(record);
  if (again) faults.push(`${path}: samples ${again[0] + 1} and ${again[1] + 1} are the same in every timing: a run was counted twice`);
  for (const metric of TIMINGS) {
    const { samples } = record.metrics[metric];
    const repeated = samples.length - new Set(samples).size;
    // One coincidence among few is none of ten percent.
    if (repeated > Math.max(1, (samples.length * MAX_REPEATED_PERCENT) / 100)) {
      const limit = `at most ${MAX_REPEATED_PERCENT} % may`;
      faults.push(`${path}: ${repeated} of ${samples.length} /metrics/${metric}/samples repeat an earlier one, but ${limit}`);
    }
  }
  return faults;
}

/** The rules on machine, numerics and what provenance claims alone. */
export function conditionFaults(
  record: Conditions,
  path: string,
  { numerics = NUMERICS_VERSION, now = Date.now() }: Present = {},
): string[] {
  const { provenance: from, load_average: before, load_average_after: after, steal_share: steal, throttled_share: throttled } = record;
  const faults: string[] = [];
  const { cores } = from.platform;
  const others = cores * MAX_LOAD_PER_CORE;
  if (before > others)
    faults.push(
      `${path}: /load_average is ${before}, but at most ${others} on ${cores} cores counts as a calm machine (${MAX_LOAD_PER_CORE} for each)`,
    );
  // Its own threads are in it.
  const most = others + (from.threads ?? cores);
  if (after === undefined) faults.push(`${path}: /load_average_after is missing: it was measured by an older version`);
  else if (after > most)
    faults.push(
      `${path}: /load_average_after is ${after}, but at most ${most} counts as a calm machine (its own threads, and ${MAX_LOAD_PER_CORE} for each core)`,
    );
  for (const [field, share, limit] of [
    ["steal_share", steal, MAX_STEAL_SHARE],
    ["throttled_share", throttled, MAX_THROTTLED_SHARE],
  ] as const)
    if (typeof share === "number" && share > limit)
      faults.push(`${path}: /${field} is ${share}, but at most ${limit} counts as a calm machine`);
  if (from.numerics_version !== numerics)
    faults.push(`${path}: /provenance/numerics_version is ${from.numerics_version}, but that of this engine is ${numerics}`);
  const misfit = implausible(from, new Date(now));
  if (misfit !== undefined) faults.push(`${path}: /${misfit}`);
  return faults;
}

/** The first two samples that are the same in every timing. */
function repeatedRound({ metrics }: PerfRecord): readonly [first: number, second: number] | undefined {
  const seen = new Map<string, number>();
  for (const [i] of metrics.decode_tokens_per_second.samples.entries()) {
    const all = TIMINGS.map((metric) => metrics[metric].samples[i]).join(" ");
    const first = seen.get(all);
    if (first !== undefined) return [first, i];
    seen.set(all, i);
  }
  return undefined;
}
