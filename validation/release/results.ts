import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { BitnetError } from "../../engine/errors.js";
import { describeModel, NUMERICS_VERSION } from "../../engine/index.js";
import {
  type AcceptanceSummary,
  artifactHashes,
  BANNER_FILE,
  CHECKS,
  type CheckReport,
  FAILURES_FILE,
  PARITY_FILE,
  SUMMARY_FILE,
} from "../acceptance/acceptance.js";
import { environmentFault } from "../acceptance/environment.js";
import { brokenSeal } from "../acceptance/seal.js";
import { missingLane, reportFault } from "../parity/recheck.js";
import { EMBEDDED_PAIR } from "../parity/sides.js";
import type { ParityReport } from "../parity/types.js";
import { bundleSha256, modulesSha256 } from "../records/build.js";
import { writeWhole } from "../records/files.js";
import type { GitState } from "../records/git.js";
import { PACKAGE_FILE } from "../records/package.js";
import { kernelSha256, type Provenance } from "../records/provenance.js";
import { readRecord, readRows } from "../records/records.js";
import { WARNINGS } from "./checklist.js";

/**
 * Copies the artifacts of an earlier `validate` to a folder, if they are complete, passed, and are from this commit, kernels, bundle and models.
 * @param dryRun the tree may have changed since the commit
 * @throws BitnetError io, file: unreadable, or not valid against their schemas; stale: names the first difference
 */
export async function takeResults(from: string, to: string, git: GitState, dryRun: boolean): Promise<AcceptanceSummary> {
  const summary = await readRecord<AcceptanceSummary>(join(from, SUMMARY_FILE), "acceptance-summary");
  const parity = await readRecord<ParityReport>(join(from, PARITY_FILE), "parity-report");
  const banner = await readRecord<{ readonly provenance: Provenance }>(join(from, BANNER_FILE), "platform-banner");
  const failures = await readRows(join(from, FAILURES_FILE), "parity-failure");
  const fault =
    sealFault(summary, artifactHashes(from)) ??
    originFault(summary, git, dryRun) ??
    modelFault(summary, parity, await embeddedHashes()) ??
    artifactFault(summary, parity, banner.provenance, failures.length) ??
    checkFault(summary, dryRun);
  if (fault !== undefined) throw new BitnetError("stale", `the results in ${from} can't be released: ${fault}: run bitnet validate again`);
  for (const name of [SUMMARY_FILE, PARITY_FILE, BANNER_FILE, FAILURES_FILE])
    await writeWhole(join(to, name), await readFile(join(from, name)));
  return summary;
}

/** @param hashes SHA-256 of the files beside the summary, by name */
export function sealFault(summary: AcceptanceSummary, hashes: Readonly<Record<string, string>>): string | undefined {
  const broken = brokenSeal(summary);
  if (broken !== undefined) return `${SUMMARY_FILE}: ${broken}`;
  const name = Object.keys({ ...summary.artifacts, ...hashes }).find((one) => summary.artifacts[one] !== hashes[one]);
  return name === undefined ? undefined : `${name} is not the file that ${SUMMARY_FILE} was sealed with`;
}

async function embeddedHashes(): Promise<string[]> {
  return Promise.all(EMBEDDED_PAIR.map(async (path) => (await describeModel(path)).sha256));
}

/** Commit, tree and hashes must be those of this clone. */
function originFault({ provenance: from, quick }: AcceptanceSummary, git: GitState, dryRun: boolean): string | undefined {
  const root = dirname(PACKAGE_FILE);
  const short = (hash: string | null | undefined): string => hash?.slice(0, 16) ?? "none";
  const same: readonly (readonly [what: string, there: string | null | undefined, here: string | null])[] = [
    ["kernels", from.kernel_sha256, kernelSha256()],
    ["modules", from.modules_sha256, modulesSha256(root)],
    ["bundle", from.bundle_sha256, bundleSha256(root)],
    ["numerics", String(from.numerics_version), String(NUMERICS_VERSION)],
  ];
  if (from.git_commit === null || !git.commit.startsWith(from.git_commit))
    return `they are from commit ${from.git_commit ?? "none"}, but this is ${git.commit.slice(0, 12)}`;
  if (from.git_dirty !== false && !dryRun) return "they are from a tree that was changed since its commit";
  const other = same.find(([, there, here]) => there !== here);
  if (other) return `they are from ${other[0]} ${short(other[1])}, but this clone has ${short(other[2])}`;
  return quick ? "they are from a quick run" : undefined;
}

/** A release validates the two forms of the embedded model. @param own their hashes, in order */
export function modelFault(
  { models }: AcceptanceSummary,
  { lanes, weights }: ParityReport,
  own: readonly (string | undefined)[],
): string | undefined {
  const other = models.find(({ sha256 }, i) => sha256 === null || sha256 !== own[i]);
  if (other) return `they are from the model ${other.path}, not the embedded one`;
  const sides = lanes.flatMap(({ name, sides: { a, b } }) => (name === "oracle" ? [b] : [a, b]));
  if (weights) sides.push(weights.sides.a, weights.sides.b);
  const strange = sides.find(({ sha256 }) => !own.includes(sha256));
  return strange && `${PARITY_FILE} is from the model ${strange.path ?? strange.kernels}, not the embedded one`;
}

/** The files must be from one run, and say that it passed. */
export function artifactFault(summary: AcceptanceSummary, parity: ParityReport, banner: Provenance, failures: number): string | undefined {
  for (const [name, from] of [
    [PARITY_FILE, parity.provenance],
    [BANNER_FILE, banner],
  ] as const) {
    const other = OF_A_RUN.find((field) => JSON.stringify(from[field]) !== JSON.stringify(summary.provenance[field]));
    if (other !== undefined) return `${name} and ${SUMMARY_FILE} are from different runs: ${other} differs`;
  }
  const lane = missingLane(parity);
  if (lane !== undefined) return `${PARITY_FILE} has no PASS for lane ${lane}`;
  if (parity.verdict !== "PASS") return `the verdict of ${PARITY_FILE} is ${parity.verdict}`;
  const fault = reportFault(parity);
  if (fault !== undefined) return `${PARITY_FILE}: ${fault}`;
  return failures > 0 ? `${FAILURES_FILE} lists failures (${failures})` : undefined;
}

/** What is the same in all files of a run; model, tier and threads are those of a file. */
const OF_A_RUN = [
  ...([
    "schema_version",
    "git_commit",
    "git_dirty",
    "kernel_sha256",
    "modules_sha256",
    "bundle_sha256",
    "cli_args",
    "wsl2",
    "platform",
  ] as const),
  ...(["node", "v8", "seed", "deterministic", "numerics_version", "package_version", "date"] as const),
];

/** The code fixes the list of checks, and none is skipped for the embedded model in a clone. A dry run checks some itself, or only warns. */
function checkFault(summary: AcceptanceSummary, dryRun: boolean): string | undefined {
  return listFault(summary) ?? outcomeFault(summary, dryRun ? WARNINGS : []);
}

/** Where the list of checks is not that of this code; undefined: nowhere. */
export function listFault({ checks }: AcceptanceSummary): string | undefined {
  for (let i = 0; i < Math.max(CHECKS.length, checks.length); i++) {
    const [own, there] = [CHECKS[i], checks[i]];
    if (own?.id !== there?.id) return `check ${i + 1} is ${there?.id ?? "missing"}, but should be ${own?.id ?? "none"}`;
  }
  return undefined;
}

/** A check that did not pass, or the environment that it ran in. @param skippable checks that may be skipped */
export function outcomeFault(
  { checks, verdict, provenance: from }: AcceptanceSummary,
  skippable: readonly string[] = [],
): string | undefined {
  const skipped = ({ id, status }: CheckReport): boolean => status === "SKIP" && skippable.includes(id);
  const open = checks.find((check) => check.status !== "PASS" && !skipped(check));
  if (open) return `${open.id} did not pass (${open.status}${open.reason === undefined ? "" : `: ${open.reason}`})`;
  if (verdict !== "PASS") return `their verdict is ${verdict}`;
  const environment = checks.find(({ id }) => id === "d.environment");
  if (!environment || skipped(environment)) return undefined;
  const { figures = {} } = environment;
  const unset = environmentFault(String(figures.environment));
  if (unset !== undefined) return `d.environment: ${unset}`;
  return from.deterministic && figures.deterministic && figures.seed === from.seed
    ? undefined
    : "d.environment does not match the provenance";
}
