import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { BitnetError } from "../../engine/errors.js";
import { describeModel, type FileOptions } from "../../engine/index.js";
import { failuresPath } from "../parity/parity.js";
import { EMBEDDED_PAIR, type KernelOptions } from "../parity/sides.js";
import { shownPath } from "../performance/perf.js";
import { type PlatformBanner, platformBanner } from "../records/banner.js";
import { PACKAGE_FILE } from "../records/package.js";
import { type ProvenanceOptions, provenance } from "../records/provenance.js";
import { writeRecord } from "../records/records.js";
import type { Check, Context, Finding } from "./check.js";
import { MODEL_CHECKS } from "./model-checks.js";
import { type AcceptanceSummary, type CheckReport, isFailure, sealSummary } from "./seal.js";
import { SIGN_OFF } from "./sign-off.js";

export type { AcceptanceSummary, CheckReport };

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
  /** A release demands more: a clean tree and the deterministic environment. */
  readonly release?: boolean;
  /** See `deterministicEnvironment`. */
  readonly environment?: string | undefined;
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
/** Made from the artifacts, for a person: it is none of them. */
export const REPORT_FILE = "report.html";
export const BANNER_FILE = "platform_banner.json";
export const PARITY_FILE = "parity_report.json";
export const FAILURES_FILE = failuresPath(PARITY_FILE);

/** Runs the checks and writes the artifacts. A failed check is not an error here: `acceptanceFailure` makes it one. @throws BitnetError io */
export async function runAcceptance(options: AcceptanceOptions): Promise<AcceptanceSummary> {
  const { cliArgs, seed, deterministic, date, signal, out, root = dirname(PACKAGE_FILE), checks = CHECKS } = options;
  const record = { cliArgs, seed, deterministic, date, root };
  // Files of an earlier run must not be mistaken for this one's.
  for (const name of [SUMMARY_FILE, REPORT_FILE, ...ARTIFACTS]) await rm(join(out, name), { force: true }).catch(() => undefined); // writing it will report the error
  const banner = await platformBanner(record);
  await writeRecord(join(out, BANNER_FILE), "platform-banner", banner);
  await options.onBanner?.(banner);
  const context: Context = {
    root,
    clone: isClone(root),
    overlay: options.overlay,
    release: options.release ?? false,
    environment: options.environment ?? "",
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
    const begun = performance.now();
    const { ship = true, ...finding } = await find(check, context);
    signal?.throwIfAborted();
    const seconds = Math.round(performance.now() - begun) / 1000;
    const report: CheckReport = { id: check.id, title: check.title, ship, ...finding, seconds };
    reports.push(report);
    await options.onCheck?.(report, { done: reports.length, total: checks.length });
  }
  const models = await Promise.all(
    context.models.map(async (path) => ({
      path: shownPath(path),
      sha256: await describeModel(path, context.files).then(
        ({ sha256 }) => sha256,
        () => null,
      ),
    })),
  );
  const summary = sealSummary({
    kind: "acceptance-summary",
    provenance: await provenance({ ...record, ...(context.ran && { model: context.ran }) }),
    quick: context.quick,
    models,
    checks: reports,
    artifacts: artifactHashes(out),
    verdict: reports.some(isFailure) ? "FAIL" : "PASS",
  });
  await writeRecord(join(out, SUMMARY_FILE), "acceptance-summary", summary);
  return summary;
}

/** Files that a run writes next to its summary. */
export const ARTIFACTS = [BANNER_FILE, PARITY_FILE, FAILURES_FILE];

/** SHA-256 of those that are in a folder, by name. */
export function artifactHashes(folder: string): Record<string, string> {
  const there = ARTIFACTS.filter((name) => existsSync(join(folder, name)));
  return Object.fromEntries(
    there.map((name) => [
      name,
      createHash("sha256")
        .update(readFileSync(join(folder, name)))
        .digest("hex"),
    ]),
  );
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

/** What a no-go is as an error; undefined: go. */
export function acceptanceFailure({ checks }: AcceptanceSummary): BitnetError | undefined {
  const failed = checks.filter(isFailure);
  if (failed.length === 0) return undefined;
  const list = failed.map(({ id, status }) => (status === "SKIP" ? `${id} (skipped)` : id)).join(", ");
  return new BitnetError("acceptance", `${failed.length} of ${checks.length} checks failed: ${list}`);
}
