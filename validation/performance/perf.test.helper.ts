import { createHash } from "node:crypto";
import { EXAMPLES } from "../records/records.test.helper.js";
import { normals } from "../statistics/normals.test.helper.js";
import { distribution } from "../statistics/summary.js";
import { METRIC_NAMES, METRICS, type Metric, type PerfRecord, pairSha256 } from "./perf.js";

// Records of both formats of a model, as one calm run would give them: valid in every way, with samples from a generator.

/** Medians of such samples. */
const USUAL: Readonly<Record<Metric, number>> = {
  prefill_tokens_per_second: 8000,
  decode_tokens_per_second: 1200,
  first_token_ms: 64,
  load_ms: 100,
  peak_rss_bytes: 9e7,
};

const ARCHITECTURES = ["BitNetForCausalLM", "bitnet-b1.58"] as const;

export interface ExampleOptions {
  readonly name: string;
  /** Of the samples. */
  readonly seed: number;
  readonly kernels?: string;
  /** SafeTensors, then GGUF. */
  readonly paths?: readonly string[];
  readonly hashes?: readonly string[];
  readonly samples?: number;
  /** How much more of everything SafeTensors has. */
  readonly ratio?: number;
  /** Standard deviation of the samples' logarithms. */
  readonly noise?: number;
}

/** The records of SafeTensors and of GGUF. */
export function examplePair(options: ExampleOptions): readonly [safetensors: PerfRecord, gguf: PerfRecord] {
  return paired(exampleRecord(options, 0), exampleRecord(options, 1));
}

function exampleRecord(options: ExampleOptions, side: 0 | 1): PerfRecord {
  const { name, seed, kernels, samples = 20, ratio = 1, noise = 0.03 } = options;
  const example = EXAMPLES["perf-record"] as unknown as PerfRecord;
  const format = side === 0 ? "safetensors" : "gguf";
  const sha256 = options.hashes?.[side] ?? createHash("sha256").update(`${name} ${format}`).digest("hex");
  const of = (metric: Metric, i: number): number[] =>
    normals(1000 * seed + 100 * side + i, samples).map((value) =>
      Number((USUAL[metric] * (side === 0 ? ratio : 1) * Math.exp(noise * value)).toFixed(metric === "peak_rss_bytes" ? 0 : 3)),
    );
  const metrics = METRIC_NAMES.map((metric, i) => [metric, distribution(METRICS[metric].unit, of(metric, i))]);
  return {
    ...example,
    ...{ load_average: 0.1, load_average_after: 1.9, steal_share: 0.001, throttled_share: null },
    provenance: {
      ...example.provenance,
      ...{ model_sha256: sha256, model_hash: sha256.slice(0, 16) },
      ...(kernels !== undefined && { kernel_sha256: kernels }),
    },
    model: { ...example.model, name, format, architecture: ARCHITECTURES[side], path: options.paths?.[side] ?? `${name}-${format}` },
    settings: { ...example.settings, iterations: samples },
    metrics: Object.fromEntries(metrics) as PerfRecord["metrics"],
  };
}

/** Two records as those of one run. */
export function paired(a: PerfRecord, b: PerfRecord): readonly [PerfRecord, PerfRecord] {
  const sha256 = pairSha256(a, b);
  return [
    { ...a, pair: { other_sha256: b.provenance.model_sha256!, first: true, sha256 } },
    { ...b, pair: { other_sha256: a.provenance.model_sha256!, first: false, sha256 } },
  ];
}
