import type { Rate } from "./growth-report.js";
import type { Machine } from "./machine.js";

/** Speed at a share of zeros. */
export interface ZerosPoint {
  /** The share of the down projections' products that prefill left out, 0 … 1, as the kernels counted. */
  readonly skipped: number;
  /** Tokens per second of a whole prompt. */
  readonly prefill: Rate;
  /** Tokens per second, one by one. */
  readonly decode: Rate;
}

/** How speed changes with the share of inputs that are 0. Plain data. */
export interface ZerosReport {
  readonly machine: Machine;
  readonly shape: string;
  readonly tier: string;
  readonly threads: number;
  readonly rounds: number;
  /** Tokens of the prompt, and tokens written. */
  readonly tokens: { readonly prefill: number; readonly decode: number };
  /** Further flags of `bitnet bench`. */
  readonly flags: readonly string[];
  readonly points: readonly ZerosPoint[];
}

/** The figures as Markdown. */
export function zerosTable({ machine: on, shape, tier, threads, rounds, tokens, flags, points }: ZerosReport): string {
  const rate = ({ median, min, max }: Rate): string => `${median.toFixed(1)} (${min.toFixed(1)}–${max.toFixed(1)})`;
  const times = (kind: "prefill" | "decode", { [kind]: { median } }: ZerosPoint): string =>
    `${(median / points[0]![kind].median).toFixed(2)} ×`;
  const given = flags.length > 0 ? `, ${flags.join(" ")}` : "";
  return [
    `${on.cpu}, ${on.cores} cores, Node ${on.node}, ${on.date}; shape ${shape}, ${tier} kernels, ${threads} threads${given}. Tokens per second, medians of ${rounds} alternating rounds; minimum and maximum in brackets.`,
    "",
    `| zeros left out | prefill of ${tokens.prefill} | to the first | decode of ${tokens.decode} | to the first |`,
    "|---:|---:|---:|---:|---:|",
    ...points.map((point) => {
      const cells = [rate(point.prefill), times("prefill", point), rate(point.decode), times("decode", point)];
      return `| ${(point.skipped * 100).toFixed(0)} % | ${cells.join(" | ")} |`;
    }),
  ].join("\n");
}
