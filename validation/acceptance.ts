import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { BitnetError } from "../engine/errors.js";
import type { FileOptions } from "../engine/index.js";
import { type PlatformBanner, platformBanner } from "./banner.js";
import { MODEL_CHECKS } from "./model-checks.js";
import { PACKAGE_FILE } from "./package.js";
import { EMBEDDED_PAIR, type KernelOptions } from "./parity-sides.js";
import type { ParityReport } from "./parity-types.js";
import { type Provenance, type ProvenanceOptions, provenance } from "./provenance.js";
import { checkRecord, writeRecord } from "./records.js";
import { SIGN_OFF } from "./sign-off.js";

export type Status = "PASS" | "FAIL" | "SKIP";

/** What came of a check. */
export interface Finding {
  readonly status: Status;
  /** Why it failed or was skipped; of one that passed, what should be known all the same. */
  readonly reason?: string;
  readonly figures?: Readonly<Record<string, number | string | boolean | null>>;
  /** false: a release may go out without it. */
  readonly ship?: false;
}

/** One thing to be checked. What a check throws is a failure. */
export interface Check {
  /** Begins with its part of acceptance, a to g. */
  readonly id: string;
  readonly title: string;
  run(context: Context): Promise<Finding> | Finding;
}

/** What checks stand on, and what they leave for each other. */
export interface Context {
  /** The package's folder: a clone, or where it was installed. */
  readonly root: string;
  /** Whether it has the sources and the goldens. */
  readonly clone: boolean;
  /** Files that take the place of those in `root`: what a release is about to put there. */
  readonly overlay: string | undefined;
  readonly release: boolean;
  readonly quick: boolean;
  /** The reference side first. */
  readonly models: readonly [a: string, b: string];
  /** Of the package, for which there are stored references. */
  readonly embedded: boolean;
  readonly files: FileOptions;
  readonly kernels: KernelOptions;
  /** Folder of the artifacts. */
  readonly out: string;
  readonly record: Omit<ProvenanceOptions, "model">;
  readonly signal: AbortSignal | undefined;
  /** What was last run: for the provenance. */
  ran?: NonNullable<ProvenanceOptions["model"]>;
  /** All lanes, measured once. */
  parity?: Promise<ParityReport>;
}

/** All checks and what came of them. A record: `schemas/acceptance-summary.v1.schema.json`. */
export interface AcceptanceSummary {
  readonly kind: "acceptance-summary";
  readonly provenance: Provenance;
  readonly quick: boolean;
  readonly checks: readonly CheckReport[];
  /** A ship criterion that was skipped is a failure. */
  readonly verdict: "PASS" | "FAIL";
}

export interface CheckReport extends Omit<Finding, "ship"> {
  readonly id: string;
  readonly title: string;
  readonly ship: boolean;
}

export interface AcceptanceOptions extends Omit<ProvenanceOptions, "model"> {
  /** Two forms of a model; default: the embedded model's. */
  readonly models?: readonly [a: string, b: string] | undefined;
  readonly quick?: boolean | undefined;
  readonly files?: FileOptions | undefined;
  readonly kernels?: KernelOptions | undefined;
  /** Folder that the artifacts are written to. */
  readonly out: string;
  /** Default: this package's. */
  readonly root?: string;
  readonly overlay?: string;
  /** A release demands more: a clean tree. */
  readonly release?: boolean;
  /** Default: all. */
  readonly checks?: readonly Check[];
  readonly signal?: AbortSignal | undefined;
  readonly onBanner?: (banner: PlatformBanner) => void | Promise<void>;
  readonly onCheck?: (report: CheckReport, progress: { readonly done: number; readonly total: number }) => void | Promise<void>;
}

/** The checks in their order. */
export const CHECKS: readonly Check[] = [...MODEL_CHECKS, ...SIGN_OFF];

/** What its name says, in the folder of artifacts. */
export const SUMMARY_FILE = "acceptance_summary.json";
export const BANNER_FILE = "platform_banner.json";
export const PARITY_FILE = "parity_report.json";

/** Runs the checks and writes the artifacts. A failed check is no error here: `acceptanceFailure` makes it one. @throws BitnetError io */
export async function runAcceptance(options: AcceptanceOptions): Promise<AcceptanceSummary> {
  const { cliArgs, seed, deterministic, date, signal, out, root = dirname(PACKAGE_FILE), checks = CHECKS } = options;
  const record = { cliArgs, seed, deterministic, date };
  const banner = await platformBanner(record);
  await writeRecord(join(out, BANNER_FILE), "platform-banner", banner);
  await options.onBanner?.(banner);
  const context: Context = {
    root,
    clone: isClone(root),
    overlay: options.overlay,
    release: options.release ?? false,
    quick: options.quick ?? false,
    models: options.models ?? EMBEDDED_PAIR,
    embedded: options.models === undefined,
    files: options.files ?? {},
    kernels: options.kernels ?? {},
    out,
    record,
    signal,
  };
  const reports: CheckReport[] = [];
  for (const check of checks) {
    const { ship = true, ...finding } = await find(check, context);
    signal?.throwIfAborted();
    const report: CheckReport = { id: check.id, title: check.title, ship, ...finding };
    reports.push(report);
    await options.onCheck?.(report, { done: reports.length, total: checks.length });
  }
  const summary: AcceptanceSummary = {
    kind: "acceptance-summary",
    provenance: await provenance({ ...record, ...(context.ran && { model: context.ran }) }),
    quick: context.quick,
    checks: reports,
    verdict: reports.some(isFailure) ? "FAIL" : "PASS",
  };
  checkRecord("acceptance-summary", summary, SUMMARY_FILE);
  await writeRecord(join(out, SUMMARY_FILE), "acceptance-summary", summary);
  return summary;
}

/** Whether a folder has the project's sources, and not only what is published of it. */
export function isClone(root: string): boolean {
  return existsSync(join(root, "engine/index.ts"));
}

async function find(check: Check, context: Context): Promise<Finding> {
  try {
    return await check.run(context);
  } catch (error) {
    context.signal?.throwIfAborted();
    return { status: "FAIL", reason: error instanceof Error ? error.message : String(error) };
  }
}

function isFailure({ status, ship }: CheckReport): boolean {
  return status === "FAIL" || (status === "SKIP" && ship);
}

/** What a no-go is as an error; undefined: go. */
export function acceptanceFailure({ checks }: AcceptanceSummary): BitnetError | undefined {
  const failed = checks.filter(isFailure);
  if (failed.length === 0) return undefined;
  const list = failed.map(({ id, status }) => (status === "SKIP" ? `${id} (skipped)` : id)).join(", ");
  return new BitnetError("acceptance", `${failed.length} of ${checks.length} checks failed: ${list}`);
}
