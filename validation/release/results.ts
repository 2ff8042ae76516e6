import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { BitnetError } from "../../engine/errors.js";
import { describeModel, NUMERICS_VERSION } from "../../engine/index.js";
import {
  type AcceptanceSummary,
  artifactHashes,
  BANNER_FILE,
  CHECKS,
  FAILURES_FILE,
  PARITY_FILE,
  SUMMARY_FILE,
} from "../acceptance/acceptance.js";
import { brokenSeal } from "../acceptance/seal.js";
import { EMBEDDED_PAIR } from "../parity/sides.js";
import { LANES, type LaneName, type ParityReport } from "../parity/types.js";
import { bundleSha256, modulesSha256 } from "../records/build.js";
import { writeWhole } from "../records/files.js";
import type { GitState } from "../records/git.js";
import { PACKAGE_FILE } from "../records/package.js";
import { kernelSha256, type Provenance } from "../records/provenance.js";
import { readRecord, readRows } from "../records/records.js";

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
    (await modelFault(summary, parity)) ??
    artifactFault(summary, parity, banner.provenance, failures.length) ??
    checkFault(summary, dryRun);
  if (fault !== undefined) throw new BitnetError("stale", `the results in ${from} can't be released: ${fault}: run bitnet validate again`);
  for (const name of [SUMMARY_FILE, PARITY_FILE, BANNER_FILE, FAILURES_FILE])
    await writeWhole(join(to, name), await readFile(join(from, name)));
  return summary;
}

function sealFault(summary: AcceptanceSummary, hashes: Readonly<Record<string, string>>): string | undefined {
  const broken = brokenSeal(summary);
  if (broken !== undefined) return `${SUMMARY_FILE}: ${broken}`;
  const name = Object.keys({ ...summary.artifacts, ...hashes }).find((one) => summary.artifacts[one] !== hashes[one]);
  return name === undefined ? undefined : `${name} is not the file that ${SUMMARY_FILE} was sealed with`;
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

/** A release validates the two forms of the embedded model. */
async function modelFault({ models }: AcceptanceSummary, { lanes, weights }: ParityReport): Promise<string | undefined> {
  const own: string[] = [];
  for (const path of EMBEDDED_PAIR) own.push((await describeModel(path)).sha256);
  const other = models.find(({ sha256 }, i) => sha256 !== own[i]);
  if (other) return `they are from the model ${other.path}, not the embedded one`;
  const sides = lanes.flatMap(({ name, sides: { a, b } }) => (name === "oracle" ? [b] : [a, b]));
  if (weights) sides.push(weights.sides.a, weights.sides.b);
  const strange = sides.find(({ sha256 }) => !own.includes(sha256));
  return strange && `${PARITY_FILE} is from the model ${strange.path ?? strange.kernels}, not the embedded one`;
}

/** The files must be from one run, and say that it passed. */
function artifactFault(summary: AcceptanceSummary, parity: ParityReport, banner: Provenance, failures: number): string | undefined {
  const { date, git_commit } = summary.provenance;
  for (const [name, from] of [
    [PARITY_FILE, parity.provenance],
    [BANNER_FILE, banner],
  ] as const) {
    if (from.date !== date || from.git_commit !== git_commit) return `${name} and ${SUMMARY_FILE} are from different runs`;
  }
  const passed = (name: LaneName): boolean =>
    name === "weights" ? parity.weights?.verdict === "PASS" : parity.lanes.some((one) => one.name === name && one.verdict === "PASS");
  const lane = LANES.find((name) => !passed(name));
  if (parity.verdict !== "PASS" || lane !== undefined || parity.lanes.some(({ verdict }) => verdict !== "PASS"))
    return lane === undefined ? `the verdict of ${PARITY_FILE} is ${parity.verdict}` : `${PARITY_FILE} has no PASS for lane ${lane}`;
  return failures > 0 ? `${FAILURES_FILE} lists failures (${failures})` : undefined;
}

/** The code fixes the list of checks, and none is skipped for the embedded model in a clone. A dry run checks the clean tree itself. */
function checkFault({ checks, verdict }: AcceptanceSummary, dryRun: boolean): string | undefined {
  for (let i = 0; i < Math.max(CHECKS.length, checks.length); i++) {
    const [own, there] = [CHECKS[i], checks[i]];
    if (own?.id !== there?.id) return `check ${i + 1} is ${there?.id ?? "missing"}, but should be ${own?.id ?? "none"}`;
  }
  const open = checks.find(({ id, status }) => status !== "PASS" && !(dryRun && id === "g.clean-tree" && status === "SKIP"));
  if (open) return `${open.id} did not pass (${open.status}${open.reason === undefined ? "" : `: ${open.reason}`})`;
  return verdict === "PASS" ? undefined : "their verdict is FAIL";
}
