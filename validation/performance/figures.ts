import type { Ratio } from "../statistics/ratio.js";
import { METRICS, type Metric } from "./perf.js";

/** Formats as a person reads them; SafeTensors first. */
export const FORMATS = { safetensors: "SafeTensors", gguf: "GGUF" } as const;

/** What a person reads of each metric. */
export const TITLES: Readonly<Record<Metric, string>> = {
  prefill_tokens_per_second: "prefill, tokens/s",
  decode_tokens_per_second: "decode, tokens/s",
  first_token_ms: "time to first token, ms",
  load_ms: "load, ms",
  peak_rss_bytes: "peak memory, MiB",
};

/** A figure of a metric in the unit of its title, with about four digits. */
export function figure(metric: Metric, value: number): string {
  const shown = METRICS[metric].unit === "bytes" ? value / 2 ** 20 : value;
  const whole = Math.max(1, Math.trunc(shown).toString().length);
  return shown.toFixed(Math.min(2, Math.max(0, 4 - whole)));
}

/** Said of a ratio whose interval contains 1. */
export const NO_DIFFERENCE = "no difference shown";

/** A ratio, and its interval as a person reads it. */
export function ratioCells({ ratio, low, high }: Ratio): readonly [ratio: string, interval: string] {
  return [ratio.toFixed(3), Number.isFinite(high) ? `${low.toFixed(3)} to ${high.toFixed(3)}` : "none: too few samples"];
}
