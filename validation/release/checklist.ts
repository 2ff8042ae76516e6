import type { AcceptanceSummary, CheckReport } from "../acceptance/acceptance.js";
import { PROMISE } from "../parity/gates.js";
import { releaseNames } from "./pack.js";
import type { FileDigest } from "./tar.js";

/** A line of the checklist, and the checks that decide it. */
interface Box {
  readonly text: string;
  readonly decides: (id: string) => boolean;
}

const starts =
  (...prefixes: readonly string[]) =>
  (id: string) =>
    prefixes.some((prefix) => id.startsWith(prefix));
const figures = (lane: "fp32-fp32" | "quant-fp32"): string => `τ-b ≥ ${PROMISE[lane].tau_median}, |ΔNLL| ≤ ${PROMISE[lane].delta_nll}`;

const SHIP: readonly Box[] = [
  { text: `Format parity, FP32↔FP32: ${figures("fp32-fp32")}`, decides: starts("c.fp32-fp32") },
  { text: `Format parity, Quant↔FP32: ${figures("quant-fp32")}`, decides: starts("c.quant-fp32") },
  { text: "Performance records of SafeTensors and GGUF, with provenance", decides: starts("f.performance") },
  { text: "docs/PERF_COMPARISON.md is rendered from them", decides: starts("f.render") },
  { text: "Sign-off: all integrity checks pass", decides: starts("g.") },
];

/** Met if at least one check decides it and all that do have passed. */
function isMet({ decides }: Box, checks: readonly CheckReport[]): boolean {
  const of = checks.filter(({ id }) => decides(id));
  return of.length > 0 && of.every(({ status }) => status === "PASS");
}

/** Checks of the models, which the other boxes do not name. */
const MODELS = starts("a.", "b.", "d.", "e.");

/** The verdict, and no check of the models that a validation without a release may skip. */
function isAccepted({ checks, verdict }: Pick<AcceptanceSummary, "checks" | "verdict">): boolean {
  return verdict === "PASS" && checks.every(({ id, status }) => !MODELS(id) || status === "PASS");
}

/** Checks that only warn in a dry run. */
export const WARNINGS: readonly string[] = ["d.environment", "g.clean-tree"];

/** Ship criteria that are not met. @param without checks to ignore */
export function openCriteria({ checks, verdict }: AcceptanceSummary, without: readonly string[] = []): string[] {
  const counted = checks.filter(({ id }) => !without.includes(id));
  return [
    ...(isAccepted({ checks: counted, verdict }) ? [] : ["acceptance"]),
    ...SHIP.filter((box) => !isMet(box, counted)).map(({ text }) => text),
  ];
}

/** What a release comes with, and what it stands on. */
export interface ChecklistFacts {
  readonly version: string;
  readonly tag: string;
  readonly summary: AcceptanceSummary;
  readonly artifacts: readonly FileDigest[];
  readonly commands: readonly string[];
}

/** What a person does with the tree and the package when the checklist has been reviewed. */
export interface CommandFacts {
  readonly tag: string;
  /** Files to add. */
  readonly add: readonly string[];
  /** Whether there is a branch to push. */
  readonly push: boolean;
  /** Path of the npm package, quoted where a shell needs it. */
  readonly publish: string;
}

/** The commands by hand, in their order. */
export function handCommands({ tag, add, push, publish }: CommandFacts): string[] {
  return [
    `git add ${add.join(" ")}`,
    `git commit -m "Release ${tag}"`,
    `git tag -a ${tag} -m "Dual-format validation: audited & gated"`,
    ...(push ? ["git push", "git push --tags"] : []),
    // The package that was checked, not the state of the tree at that time.
    `npm publish ${publish}`,
  ];
}

/** The commands of a checklist: its unticked lines of code. */
export function listedCommands(text: string): string[] {
  return [...text.matchAll(/^- \[ \] `(.*)`$/gm)].map(([, command]) => command!);
}

/** The facts that such commands were made from; undefined: they were made in another way. @param file name of the npm package */
export function commandFacts(commands: readonly string[], tag: string, file: string): CommandFacts | undefined {
  const [, add = ""] = commands[0]?.match(/^git add ([\w./ -]+)$/) ?? [];
  const [, publish = ""] = commands.at(-1)?.match(/^npm publish ("(?:[^"$`\\]|\\\\)+"|[\w./@:\\-]+)$/) ?? [];
  const facts: CommandFacts = { tag, add: add.split(" "), push: commands.includes("git push"), publish };
  const named =
    publish
      .replaceAll('"', "")
      .split(/[\\/]+/)
      .at(-1) === file;
  return named && handCommands(facts).join("\n") === commands.join("\n") ? facts : undefined;
}

/** The checklist of a release. A box is ticked where a result says so, and never else; what a person has to do stays open. */
export function checklist({ version, tag, summary, artifacts, commands }: ChecklistFacts): string {
  const { checks, provenance: from } = summary;
  const tick = (ticked: boolean, text: string): string => `- [${ticked ? "x" : " "}] ${text}`;
  const { statement } = releaseNames(version);
  return [
    `# Release checklist, v${version}`,
    "",
    `Written by \`bitnet release prepare\` from acceptance_summary.json: commit ${from.git_commit ?? "none"}, ${from.date}, Node ${from.node},`,
    `${from.platform.os} ${from.platform.arch}, kernels ${from.kernel_sha256.slice(0, 16)}, model ${from.model_hash ?? "none"}. Boxes are ticked from results.`,
    "",
    "## Ship criteria",
    "",
    tick(isAccepted(summary), "Acceptance: `ALL ACCEPTANCE TESTS PASSED`"),
    ...SHIP.map((box) => tick(isMet(box, checks), box.text)),
    "",
    "## Checks",
    "",
    ...checks.map(({ id, title, status, reason }) =>
      tick(status === "PASS", `${id}: ${title}${status === "PASS" ? "" : ` (${status}: ${reason})`}`),
    ),
    "",
    "## Artifacts",
    "",
    `Attach these to the release, with \`SHA256SUMS\`, \`${statement}\` and its signature:`,
    "",
    "| file | bytes | SHA-256 |",
    "|---|---:|---|",
    ...artifacts.map(({ path, bytes, sha256 }) => `| \`${path}\` | ${bytes} | \`${sha256}\` |`),
    "",
    "## By hand",
    "",
    "Nothing below has been done.",
    "",
    ...commands.map((command) => tick(false, `\`${command}\``)),
    tick(false, `A release of ${tag}, with the artifacts, and a link to docs/release.md`),
    "",
  ].join("\n");
}
