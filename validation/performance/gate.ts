import { BitnetError } from "../../engine/errors.js";
import { METRIC_NAMES, METRICS, type Metric, type PerfRecord } from "./perf.js";

/** A metric beside its stored value. */
export interface Comparison {
  readonly metric: Metric;
  /** Medians. */
  readonly before: number;
  readonly now: number;
  /** How much worse, in percent of the stored value; negative: better. */
  readonly worse: number;
}

/** Every metric of two records. @throws BitnetError usage: they are not of one model, machine and setting */
export function comparePerf(record: PerfRecord, baseline: PerfRecord, path: string): Comparison[] {
  const facts = ({ provenance: from, model, settings }: PerfRecord): Record<string, unknown> => ({
    "model hash": from.model_sha256,
    format: model.format,
    os: from.platform.os,
    architecture: from.platform.arch,
    processor: from.platform.cpu,
    cores: from.platform.cores,
    "kernel tier": from.kernel_tier,
    threads: from.threads,
    "context length": settings.context_length,
    "KV cache": settings.kv,
    "output head": settings.head,
    "prompt tokens": settings.prompt_tokens,
    "generated tokens": settings.decode_tokens,
  });
  const [now, before] = [facts(record), facts(baseline)];
  const other = Object.keys(now).filter((name) => now[name] !== before[name]);
  if (other.length > 0) {
    const list = other.map((name) => `${name} ${String(before[name])} there, ${String(now[name])} here`).join("; ");
    throw new BitnetError("usage", `--baseline ${path} can't be compared, it was measured under other conditions: ${list}`);
  }
  return METRIC_NAMES.map((metric) => {
    const [was, is] = [baseline.metrics[metric].median, record.metrics[metric].median];
    return { metric, before: was, now: is, worse: ((METRICS[metric].more ? was - is : is - was) / was) * 100 };
  });
}

/** @throws BitnetError regression, if a metric is worse than before by more than `tolerance` percent */
export function requireNoRegression(comparisons: readonly Comparison[], tolerance: number, path: string): void {
  const bad = comparisons.filter(({ worse }) => worse > tolerance);
  if (bad.length === 0) return;
  const list = bad.map(({ metric, before, now, worse }) => `${metric} ${before} → ${now}, ${worse.toFixed(1)} % worse`).join("; ");
  throw new BitnetError("regression", `worse than ${path} by more than ${tolerance} %: ${list}; nothing was stored`);
}

/** @throws BitnetError memory, if a sample's peak is above `limit` bytes */
export function requireMemory({ metrics }: PerfRecord, limit: number): void {
  const { max } = metrics.peak_rss_bytes;
  if (max <= limit) return;
  const mib = (bytes: number): string => (bytes / 2 ** 20).toFixed(1);
  throw new BitnetError("memory", `peak memory was ${mib(max)} MiB, above --max-rss ${mib(limit)} MiB; nothing was stored`);
}
