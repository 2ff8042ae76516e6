import type { ModelDescription } from "../engine/index.js";
import type { Summary } from "../validation/statistics/summary.js";
import { printable } from "./failure.js";

/** One thing to measure, in the manner of llama-bench. */
export interface BenchTest {
  /** `pp512`; `tg64`, `tg64@d2048` */
  readonly name: string;
  /** Tokens in the cache before the first that is timed. */
  readonly depth: number;
  /** Tokens timed. */
  readonly tokens: number;
  /** Prefill: computed as one prompt. Otherwise decode: one by one. */
  readonly prefill: boolean;
}

/** A test and its tokens per second. */
export interface BenchResult extends BenchTest {
  readonly tokensPerSecond: Summary;
  /** Of prefill where zeros are looked for: the share of products left out, 0 … 1. */
  readonly skipped?: number;
}

/** All tests at one number of threads. */
export interface BenchRun {
  readonly threads: number;
  readonly tier: string;
  readonly why: string;
  readonly loadMs: number;
  readonly tests: readonly BenchResult[];
}

/** What was measured, and under which conditions. Plain data. */
export interface BenchReport {
  readonly version: string;
  readonly date: string;
  readonly node: string;
  readonly system: { readonly platform: string; readonly arch: string; readonly cpu: string; readonly cores: number };
  readonly model: Pick<ModelDescription, "path" | "name" | "architecture" | "parameters" | "fileSize" | "sha256" | "quantisation">;
  /** Engine flags as they were given. */
  readonly settings: Readonly<Record<string, unknown>>;
  readonly contextLength: number;
  readonly repetitions: number;
  readonly runs: readonly BenchRun[];
  /** Tests that the context is too short for. */
  readonly leftOut: readonly { readonly test: string; readonly why: string }[];
}

/** A report for a person at a terminal. */
export function benchTable(report: BenchReport): string {
  const [head, ...rows] = cells(report);
  const widths = head!.map((_, column) => Math.max(...[head!, ...rows].map((row) => row[column]!.length)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)))
      .join("  ")
      .trimEnd();
  return `${[...facts(report), "", line(head!), ...rows.map(line)].join("\n")}\n`;
}

/** A report as Markdown. */
export function benchMarkdown(report: BenchReport): string {
  const [head, ...rows] = cells(report);
  const line = (row: readonly string[]): string => `| ${row.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  const rule = `|---|${head!
    .slice(1)
    .map(() => "---:|")
    .join("")}`;
  return `${[...facts(report).map((fact) => `- ${fact}`), "", line(head!), rule, ...rows.map(line)].join("\n")}\n`;
}

/** What was measured, and under which conditions; one line each. */
function facts({ version, date, node, system, model, settings, contextLength, repetitions, runs }: BenchReport): string[] {
  const size = model.parameters < 1e9 ? `${(model.parameters / 1e6).toFixed(1)} million` : `${(model.parameters / 1e9).toFixed(2)} billion`;
  const given = Object.entries(settings).map(([flag, value]) => `--${flag} ${String(value)}`);
  const tiers = new Set(runs.map(({ tier, why }) => `${tier} (${why})`));
  return [
    `model: ${model.path}, ${size} parameters, ${(model.fileSize / 1e6).toFixed(1)} MB, ${model.quantisation.linears}, embedding ${model.quantisation.embedding}`,
    `kernels: ${[...tiers].join(", ")}; context ${contextLength}${given.length > 0 ? `; ${given.join(" ")}` : ""}`,
    `bitnet-ts ${version}, Node ${node}, ${system.platform} ${system.arch}, ${system.cpu}, ${system.cores} cores, ${date.slice(0, 10)}`,
    `tokens per second, median of ${repetitions}`,
  ].map(printable);
}

/** The header, then a row a test. */
function cells({ runs }: BenchReport): string[][] {
  const any = runs.some(({ tests }) => tests.some(({ skipped }) => skipped !== undefined));
  return [
    ["test", "threads", "tokens/s", "min", "max", ...(any ? ["zeros left out"] : [])],
    ...runs.flatMap(({ threads, tests }) =>
      tests.map(({ name, tokensPerSecond: { median, min, max }, skipped }) => [
        ...[name, String(threads), rate(median), rate(min), rate(max)],
        ...(any ? [skipped === undefined ? "" : `${(skipped * 100).toFixed(0)} %`] : []),
      ]),
    ),
  ];
}

function rate(perSecond: number): string {
  return perSecond.toFixed(perSecond < 100 ? 2 : 1);
}
