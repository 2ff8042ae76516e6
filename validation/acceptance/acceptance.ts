import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { BitnetError } from "../../engine/errors.js";
import type { FileOptions } from "../../engine/index.js";
import { EMBEDDED_PAIR, type KernelOptions } from "../parity/sides.js";
import { type PlatformBanner, platformBanner } from "../records/banner.js";
import { PACKAGE_FILE } from "../records/package.js";
import { type Provenance, type ProvenanceOptions, provenance } from "../records/provenance.js";
import { checkRecord, writeRecord } from "../records/records.js";
import type { Check, Context, Finding } from "./check.js";
import { MODEL_CHECKS } from "./model-checks.js";
import { SIGN_OFF } from "./sign-off.js";

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

/** Runs the checks and writes the artifacts. A failed check is not an error here: `acceptanceFailure` makes it one. @throws BitnetError io */
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
