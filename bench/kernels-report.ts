import type { Tier } from "../engine/compute/kernels.js";
import type { Machine } from "./machine.js";

/** What is measured beside the kernels, one thread. */
export interface Limits {
  /** GB/s */
  readonly read: number;
  /** GMAC/s of the tier's dot instruction. */
  readonly dot: number;
  /** GMAC/s of f32 multiplications and additions. */
  readonly f32: number;
}

/** One kernel in one tier, its data in the caches or too large for them. */
export interface KernelResult {
  readonly kernel: string;
  readonly tier: Tier;
  readonly data: "cached" | "streamed";
  readonly microseconds: number;
  /** Multiply-adds and bytes per nanosecond; 0 where they don't apply. */
  readonly gmacs: number;
  readonly gbytes: number;
  /** Of the read bandwidth; of streamed data alone. */
  readonly ofRead: number | undefined;
  /**
   * Share of the multipliers' peak rate, measured in this run by a loop that only multiplies numbers in registers (`dots`, for f32
   * `multiplyAdds`). Loads, unpacking and additions come on top in a kernel, so none reaches 1.
   */
  readonly ofMultipliers: number | undefined;
  /** How many times as fast as the scalar arithmetic. */
  readonly timesScalar: number | undefined;
}

export interface KernelReport {
  readonly machine: Machine;
  readonly tiers: Readonly<Record<string, Limits>>;
  readonly results: readonly KernelResult[];
}

/** A report for a person: columns of Markdown, readable as they are. */
export function kernelsTable({ machine: on, tiers, results }: KernelReport): string {
  const percent = (share: number | undefined): string => (share === undefined ? "" : `${(share * 100).toFixed(0)} %`);
  const number = (value: number | undefined, digits: number): string => (value === undefined || value === 0 ? "" : value.toFixed(digits));
  const rows = results.map((r) => [
    ...[r.kernel, r.tier, r.data, number(r.microseconds, 1), number(r.gmacs, 1), number(r.gbytes, 1)],
    ...[percent(r.ofRead), percent(r.ofMultipliers), number(r.timesScalar, 1)],
  ]);
  const head = ["kernel", "tier", "data", "µs", "GMAC/s", "GB/s", "of bandwidth", "of multipliers", "× scalar"];
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]!.length)));
  const line = (row: readonly string[]): string =>
    `| ${row.map((cell, i) => (i < 3 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join(" | ")} |`;
  const rule = `|${widths.map((width, i) => (i < 3 ? "-".repeat(width + 2) : `${"-".repeat(width + 1)}:`)).join("|")}|`;
  const limits = Object.entries(tiers).map(
    ([tier, { read, dot, f32 }]) =>
      `${tier} reads ${read.toFixed(1)} GB/s and multiplies ${dot.toFixed(0)} GMAC/s of integers or ${f32.toFixed(0)} of f32`,
  );
  return [
    `${on.cpu}, Node ${on.node}, ${on.date}. Limits of one thread: ${limits.join("; ")}.`,
    "",
    ...[line(head), rule, ...rows.map(line)],
  ].join("\n");
}
