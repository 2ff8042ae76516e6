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
import { parityFigures } from "../acceptance/model-checks.js";
import { brokenSeal } from "../acceptance/seal.js";
import { embeddedFault, missingLane, reportFault } from "../parity/recheck.js";
import { EMBEDDED_PAIR } from "../parity/sides.js";
import type { ParityReport } from "../parity/types.js";
import { canonicalJson } from "../receipts/receipt.js";
import { bundleSha256, modulesSha256 } from "../records/build.js";
import { readWhole, writeWhole } from "../records/files.js";
import type { GitState } from "../records/git.js";
import { PACKAGE_FILE } from "../records/package.js";
import { kernelSha256, type Provenance } from "../records/provenance.js";
import { MAX_RECORD_BYTES, readRecord, readRows } from "../records/records.js";
import { WARNINGS } from "./checklist.js";

/**
 * Copies the artifacts of an earlier `validate` to a folder, if they are complete, passed, and are from this commit, kernels, bundle and models.
 * @param dryRun the tree may have changed since the commit
 * @throws BitnetError io, file: unreadable, or not valid against their schemas; stale: names the first difference
 */
export async function takeResults(from: string, to: string, git: GitState, dryRun: boolean): Promise<AcceptanceSummary> {
  // Copied first: what is checked is what is packed.
  for (const name of [SUMMARY_FILE, PARITY_FILE, BANNER_FILE, FAILURES_FILE])
    await writeWhole(join(to, name), await readWhole(join(from, name), MAX_RECORD_BYTES));
  const at = (name: string): string => join(to, name);
  const summary = await readRecord<AcceptanceSummary>(at(SUMMARY_FILE), "acceptance-summary");
  const parity = await readRecord<ParityReport>(at(PARITY_FILE), "parity-report");
  const banner = await readRecord<{ readonly provenance: Provenance }>(at(BANNER_FILE), "platform-banner");
  const failures = await readRows(at(FAILURES_FILE), "parity-failure");
  const fault =
    sealFault(summary, artifactHashes(to)) ??
    originFault(summary, git, dryRun) ??
    modelFault(summary, parity, await embeddedHashes()) ??
    artifactFault(summary, parity, banner.provenance, failures.length) ??
    codeFault(summary, parity) ??
    outcomeFault(summary, dryRun ? WARNINGS : []) ??
    runFault(summary, git.time);
  if (fault !== undefined) throw new BitnetError("stale", `the results in ${from} can't be released: ${fault}: run bitnet validate again`);
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
function originFault({ provenance: from }: AcceptanceSummary, git: GitState, dryRun: boolean): string | undefined {
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
  return undefined;
}

/** A release validates the two forms of the embedded model, each in its place. @param own their hashes, in order */
export function modelFault(
  { models }: AcceptanceSummary,
  { lanes, weights }: ParityReport,
  own: readonly (string | undefined)[],
): string | undefined {
  const other = models.find(({ sha256 }, i) => sha256 === null || sha256 !== own[i]);
  if (other) return `they are from the model ${other.path}, not the embedded one`;
  if (own[0] === own[1]) return "both of their models are the same file";
  const sides = lanes.flatMap(({ name, sides: { a, b } }) => [...(name === "oracle" ? [] : [[a, 0] as const]), [b, 1] as const]);
  if (weights) sides.push([weights.sides.a, 0], [weights.sides.b, 1]);
  const [strange] = sides.find(([side, i]) => side.sha256 !== own[i]) ?? [];
  if (strange) return `${PARITY_FILE} is from the model ${strange.path ?? strange.kernels}, not the embedded one`;
  const wrong = lanes.find(({ name, sides: { a, b } }) => KERNELS[name] !== undefined && KERNELS[name] !== `${a.kernels}, ${b.kernels}`);
  return wrong && `lane ${wrong.name} of ${PARITY_FILE} compares ${wrong.sides.a.kernels} with ${wrong.sides.b.kernels}`;
}

/** What a lane compares. */
const KERNELS: Readonly<Record<string, string>> = { "fp32-fp32": "reference, reference", "quant-fp32": "reference, kernels" };

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
  const own = parityFigures(parity);
  const differs = summary.checks.find(({ id, figures }) => own[id] && canonicalJson(own[id]) !== canonicalJson(figures ?? {}));
  if (differs) return `the figures of ${differs.id} are not those of ${PARITY_FILE}`;
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

/** Where checks, texts and gates are not those of this code; undefined: nowhere. */
export function codeFault(summary: AcceptanceSummary, parity: ParityReport): string | undefined {
  const fault = embeddedFault(parity);
  return listFault(summary) ?? (fault && `${PARITY_FILE}: ${fault}`);
}

/** Where a run can't have been as it says; undefined: nowhere. @param time of the commit, seconds */
export function runFault({ provenance: from, quick }: AcceptanceSummary, time: number): string | undefined {
  const reduced = from.cli_args.find((arg) => /^--(?:quick|model-)/.test(arg));
  if (quick || reduced !== undefined) return "they are from a quick run, or from other models";
  // Clocks of two machines may differ, but not by days.
  return Date.parse(from.date) / 1000 + DAY < time ? `they are of ${from.date}, and so older than their commit` : undefined;
}

const DAY = 86_400;

/** Where the list of checks is not that of this code; undefined: nowhere. */
function listFault({ checks }: AcceptanceSummary): string | undefined {
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
  const done = (id: string): CheckReport["figures"] => {
    const check = checks.find((one) => one.id === id);
    return check && !skipped(check) ? (check.figures ?? {}) : undefined;
  };
  const [environment, build, tree] = [done("d.environment"), done("g.build"), done("g.clean-tree")];
  if (build && build.built_again !== true) return "g.build has not built the sources again";
  if (tree && (tree.changed !== 0 || tree.commit !== from.git_commit)) return `g.clean-tree is not of commit ${from.git_commit}`;
  if (!environment) return undefined;
  const unset = environmentFault(String(environment.environment));
  if (unset !== undefined) return `d.environment: ${unset}`;
  return from.deterministic && environment.seed === from.seed ? undefined : "d.environment does not match the provenance";
}
