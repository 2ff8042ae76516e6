import { createHash } from "node:crypto";
import { basename, dirname, join, relative, resolve } from "node:path";
import { BitnetError, type ModelDescription } from "../../engine/index.js";
import type { KvType } from "../../engine/numerics.js";
import { PACKAGE_FILE } from "../records/package.js";
import type { Provenance } from "../records/provenance.js";
import { readRecord } from "../records/records.js";
import { type Distribution, distribution } from "../statistics/summary.js";
import type { Calm } from "./calm.js";

/** What is measured, in which unit, and whether more of it is better. */
export const METRICS = {
  prefill_tokens_per_second: { unit: "tokens/s", more: true },
  decode_tokens_per_second: { unit: "tokens/s", more: true },
  first_token_ms: { unit: "ms", more: false },
  load_ms: { unit: "ms", more: false },
  peak_rss_bytes: { unit: "bytes", more: false },
} as const;
export type Metric = keyof typeof METRICS;
export const METRIC_NAMES = Object.keys(METRICS) as Metric[];

/** How fast a model is on a machine. A record: `schemas/perf-record.v1.schema.json`. Older records have fewer figures of the machine. */
export interface PerfRecord extends Pick<Calm, "load_average">, Partial<Omit<Calm, "load_average">> {
  readonly kind: "perf-record";
  readonly provenance: Provenance;
  readonly model: {
    /** As it was given; of a model in the package, from the package's folder. */
    readonly path: string;
    /** See `modelName`. */
    readonly name: string;
    readonly format: "gguf" | "safetensors";
    readonly architecture: string;
    readonly parameters: number;
    readonly bytes: number;
    readonly quantisation: ModelDescription["quantisation"];
  };
  readonly settings: {
    readonly context_length: number;
    readonly kv: KvType;
    readonly head: "auto" | "exact" | "two-stage";
    /** Tokens of the prompt that is timed, and tokens timed one by one behind it. */
    readonly prompt_tokens: number;
    readonly decode_tokens: number;
    /** Runs before that are not counted, in each process. */
    readonly warmup: number;
    readonly iterations: number;
  };
  /** How tokens were chosen and what was computed. */
  readonly policy: {
    readonly prompts: string;
    readonly bos: boolean;
    readonly temperature: number;
    readonly repetition_penalty: number;
    readonly ignore_eos: boolean;
    readonly speculate: boolean;
    readonly fresh_process: boolean;
  };
  readonly metrics: Readonly<Record<Metric, Distribution>>;
  /** The model that was measured in turn with it, round by round. */
  readonly pair?: {
    readonly other_sha256: string;
    /** Whether this one began: it was first in rounds 1, 3, 5, …, and second in the others. */
    readonly first: boolean;
    /** See `pairSha256`. */
    readonly sha256: string;
  };
}

/** SHA-256 of the models and samples of both sides, as JSON: which records were measured together. @param first the one that began */
export function pairSha256(first: Measured, second: Measured): string {
  const of = ({ provenance: { model_sha256 }, metrics }: Measured) => [model_sha256, METRIC_NAMES.map((metric) => metrics[metric].samples)];
  return createHash("sha256")
    .update(JSON.stringify([of(first), of(second)]))
    .digest("hex");
}

type Measured = Pick<PerfRecord, "provenance" | "metrics">;

/** A path as a record shows it: a model in the package has the same one everywhere. */
export function shownPath(path: string): string {
  const inside = relative(dirname(PACKAGE_FILE), resolve(path));
  return inside.startsWith("..") || resolve(path) === inside ? path : inside.replaceAll("\\", "/");
}

/** Names that say nothing of the model: its folder's name does. */
const GENERIC = /^(?:ggml-model|model|packed|models?)?$/;

/**
 * What a model is called in files and tables, whichever format it is in: the name of its file or folder without the type of its weights, and
 * where that says nothing, the folder's around it. Letters, digits, `.`, `_` and `-`.
 */
export function modelName(path: string): string {
  for (let at = resolve(path); at !== dirname(at); at = dirname(at)) {
    const name = basename(at)
      .replace(/(?:-\d{5}-of-\d{5})?\.(?:gguf|safetensors|safetensors\.index\.json)$/, "")
      .replace(/[-._](?:i2_?s|tq[12]_?0|q\d_\w+|bf16|f16|f32|packed|gguf|safetensors)$/i, "");
    if (!GENERIC.test(name)) return name.replace(/[^\w.-]/g, "_");
  }
  return "model";
}

/** Where a model's record belongs. */
export function perfPath({ model }: PerfRecord): string {
  return join("bench/results", `perf-${model.name}-${model.format}.json`);
}

/** Relative: other tools that compute a statistic may add in another order. */
const ROUNDING = 1e-9;

/** Reads a record, and checks its statistics against its samples. @throws BitnetError file, io */
export async function readPerf(path: string): Promise<PerfRecord> {
  const record = await readRecord<PerfRecord>(path, "perf-record");
  checkStatistics(record, path);
  return record;
}

/** @throws BitnetError file: a statistic that does not follow from its samples */
export function checkStatistics(record: PerfRecord, path: string): void {
  for (const metric of METRIC_NAMES) {
    const stored = record.metrics[metric];
    const computed = distribution(stored.unit, stored.samples);
    for (const figure of ["median", "p95", "min", "max", "stddev"] as const) {
      if (Math.abs(stored[figure] - computed[figure]) <= ROUNDING * Math.abs(computed[figure])) continue;
      const what = `${stored[figure]}, but its samples give ${computed[figure]}`;
      throw new BitnetError("file", `${path}: /metrics/${metric}/${figure} is ${what}`, { file: path });
    }
    if (stored.samples.length !== record.settings.iterations) {
      throw new BitnetError(
        "file",
        `${path}: /metrics/${metric}/samples has ${stored.samples.length} entries, but /settings/iterations is ${record.settings.iterations}`,
        { file: path },
      );
    }
  }
}
