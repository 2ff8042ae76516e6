import { BitnetError } from "../../engine/errors.js";
import type { PerfRecord } from "./perf.js";
import { type MetricRatio, metricRatios, worseBy } from "./ratios.js";
import { MIN_SAMPLES } from "./validity.js";

/**
 * Every metric of a record (a) and of its baseline (b), which were measured apart.
 * @throws BitnetError usage: they are not of one model, machine and setting, or have too few samples for a test
 */
export function comparePerf(record: PerfRecord, baseline: PerfRecord, path: string): MetricRatio[] {
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
  return metricRatios(record.metrics, baseline.metrics, "apart");
}

/** Before anything is measured. @throws BitnetError usage: there are too few samples for a test */
export function requireSamples(iterations: number, baseline: PerfRecord, path: string): void {
  const few = [
    ...(baseline.settings.iterations < MIN_SAMPLES ? [`${path} has ${baseline.settings.iterations} samples`] : []),
    ...(iterations < MIN_SAMPLES ? [`--iterations is ${iterations}`] : []),
  ];
  if (few.length > 0) throw new BitnetError("usage", `--baseline needs at least ${MIN_SAMPLES} samples on both sides: ${few.join(", ")}`);
}

/**
 * A metric is worse if the whole 95 % interval of its ratio lies beyond the tolerance.
 * @param tolerance how much worse is of no practical matter, in percent
 * @throws BitnetError regression
 */
export function requireNoRegression(ratios: readonly MetricRatio[], tolerance: number, path: string): void {
  const bad = ratios.filter((ratio) => worseBy(ratio)[0] > tolerance);
  if (bad.length === 0) return;
  const percent = (one: MetricRatio): string =>
    worseBy(one)
      .map((value) => value.toFixed(1))
      .join(" to ");
  const list = bad.map((one) => `${one.metric} ${one.b} → ${one.a}, ${percent(one)} % worse`).join("; ");
  throw new BitnetError("regression", `worse than ${path} by more than ${tolerance} %: ${list}; nothing was stored`);
}

/** @throws BitnetError memory, if a sample's peak is above `limit` bytes */
export function requireMemory({ metrics }: PerfRecord, limit: number): void {
  const { max } = metrics.peak_rss_bytes;
  if (max <= limit) return;
  const mib = (bytes: number): string => (bytes / 2 ** 20).toFixed(1);
  throw new BitnetError("memory", `peak memory was ${mib(max)} MiB, above --max-rss ${mib(limit)} MiB; nothing was stored`);
}
