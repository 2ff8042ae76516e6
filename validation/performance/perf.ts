import { fork } from "node:child_process";
import { once } from "node:events";
import { loadavg } from "node:os";
import { basename, dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { BitnetError, type ErrorCode, type LoadOptions, type ModelDescription, openTokenizer } from "../../engine/index.js";
import { PACKAGE_FILE } from "../records/package.js";
import { type Provenance, type ProvenanceOptions, provenance, tokenizerSha256 } from "../records/provenance.js";
import { checkRecord, readRecord } from "../records/records.js";
import { type Distribution, distribution } from "../statistics/summary.js";

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

/** How fast a model is on a machine. A record: `schemas/perf-record.v1.schema.json`. */
export interface PerfRecord {
  readonly kind: "perf-record";
  readonly provenance: Provenance;
  /** Processes that wanted to run in the minute before it began; 0 on Windows, which does not say. */
  readonly load_average: number;
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
    readonly kv: "f32" | "q8";
    readonly head: "auto" | "exact" | "two-stage";
    /** Tokens of the prompt that is timed, and tokens timed one by one behind it. */
    readonly prompt_tokens: number;
    readonly decode_tokens: number;
    /** Runs before that are not counted, in each process. */
    readonly warmup: number;
    readonly iterations: number;
  };
  readonly policy: typeof POLICY;
  readonly metrics: Readonly<Record<Metric, Distribution>>;
}

/** How tokens were chosen and what was computed. */
const POLICY = {
  prompts: "random ids of the seed, other ones each time",
  bos: false,
  temperature: 0,
  repetition_penalty: 1,
  ignore_eos: true,
  speculate: false,
  fresh_process: true,
};

/** What is asked for. */
export interface PerfOptions extends Omit<ProvenanceOptions, "model" | "seed"> {
  /** Default: the embedded model. */
  readonly model?: string;
  readonly load: Pick<
    LoadOptions,
    "threads" | "contextLength" | "tier" | "head" | "kv" | "tokenizer" | "activation" | "activations" | "i2sLayout"
  >;
  readonly seed: number;
  /** At least 2. */
  readonly iterations: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
}

/** What the measuring process is told. */
export interface PerfJob {
  readonly path: string | undefined;
  readonly options: PerfOptions["load"];
  readonly seed: number;
  /** Says what the model is, too. */
  readonly describe: boolean;
}

/** What it answers. */
export interface PerfAnswer {
  readonly sample?: Readonly<Record<Metric, number>>;
  readonly description?: ModelDescription;
  readonly settings?: Pick<PerfRecord["settings"], "context_length" | "prompt_tokens" | "decode_tokens">;
  readonly error?: { readonly code: string; readonly message: string };
}

/** Measures a model: each sample in a process of its own, which loads it, runs once to warm up and once for the figures. @throws BitnetError */
export async function runPerf(options: PerfOptions): Promise<PerfRecord> {
  const { model: path, load, seed, iterations, signal, onProgress } = options;
  const loadAverage = Number(loadavg()[0]!.toFixed(2));
  const answers: PerfAnswer[] = [];
  for (let i = 0; i < iterations; i++) {
    answers.push(await measureOnce({ path, options: load, seed: seed + i, describe: i === 0 }, signal));
    onProgress?.(i + 1, iterations);
  }
  const { description, settings } = answers[0] as Required<PerfAnswer>;
  const { tokenizer } = await openTokenizer(path, load.tokenizer === undefined ? {} : { tokenizer: load.tokenizer });
  const { sha256, kernels, threads, format, architecture, parameters, fileSize, quantisation } = description;
  const of = (metric: Metric) =>
    distribution(
      METRICS[metric].unit,
      answers.map(({ sample }) => sample![metric]),
    );
  const record: PerfRecord = {
    kind: "perf-record",
    provenance: await provenance({
      ...options,
      model: { sha256, tokenizerSha256: tokenizerSha256(tokenizer), tier: kernels.tier, threads },
    }),
    load_average: loadAverage,
    model: {
      ...{ path: shownPath(path ?? description.path), name: modelName(path ?? description.path) },
      ...{ format, architecture, parameters, bytes: fileSize, quantisation },
    },
    settings: {
      context_length: settings.context_length,
      kv: load.kv ?? "f32",
      head: load.head ?? "auto",
      prompt_tokens: settings.prompt_tokens,
      decode_tokens: settings.decode_tokens,
      warmup: 1,
      iterations,
    },
    policy: POLICY,
    metrics: Object.fromEntries(METRIC_NAMES.map((metric) => [metric, of(metric)])) as unknown as PerfRecord["metrics"],
  };
  checkRecord("perf-record", record, "the record of this measurement");
  return record;
}

async function measureOnce(job: PerfJob, signal: AbortSignal | undefined): Promise<PerfAnswer> {
  signal?.throwIfAborted();
  const child = fork(fileURLToPath(new URL("./program.js", import.meta.url)), [], { execArgv: [] });
  const abort = () => child.kill("SIGKILL");
  signal?.addEventListener("abort", abort);
  try {
    const ended = once(child, "exit");
    const failed = ended.then(([code, by]): PerfAnswer => {
      signal?.throwIfAborted();
      const how = String(by ?? code);
      return { error: { code: "internal", message: `the measuring process ended (${how}) before it had a result` } };
    });
    const answered = once(child, "message").then(([answer]) => answer as PerfAnswer);
    child.send(job, () => {}); // if it can't be sent, the process has ended
    const answer = await Promise.race([answered, failed]);
    if (answer.error) throw new BitnetError(answer.error.code as ErrorCode, answer.error.message);
    await ended; // the next one shall have the machine to itself
    return answer;
  } finally {
    signal?.removeEventListener("abort", abort);
    child.kill("SIGKILL");
  }
}

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
