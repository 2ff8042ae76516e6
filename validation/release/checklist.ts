import type { AcceptanceSummary, CheckReport } from "../acceptance/acceptance.js";
import { PROMISE } from "../parity/gates.js";

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

/** Ship criteria that are not met. @param without a check to ignore */
export function openCriteria({ checks, verdict }: AcceptanceSummary, without?: string): string[] {
  const counted = checks.filter(({ id }) => id !== without);
  return [...(verdict === "PASS" ? [] : ["acceptance"]), ...SHIP.filter((box) => !isMet(box, counted)).map(({ text }) => text)];
}

/** What a release comes with, and what it stands on. */
export interface ChecklistFacts {
  readonly version: string;
  readonly tag: string;
  readonly summary: AcceptanceSummary;
  readonly artifacts: readonly { readonly path: string; readonly bytes: number; readonly sha256: string }[];
  readonly commands: readonly string[];
}

/** The checklist of a release. A box is ticked where a result says so, and never else; what a person has to do stays open. */
export function checklist({ version, tag, summary, artifacts, commands }: ChecklistFacts): string {
  const { checks, provenance: from, verdict } = summary;
  const tick = (ticked: boolean, text: string): string => `- [${ticked ? "x" : " "}] ${text}`;
  return [
    `# Release checklist, v${version}`,
    "",
    `Written by \`bitnet release prepare\` from acceptance_summary.json: commit ${from.git_commit ?? "none"}, ${from.date}, Node ${from.node},`,
    `${from.platform.os} ${from.platform.arch}, kernels ${from.kernel_sha256.slice(0, 16)}, model ${from.model_hash ?? "none"}. Boxes are ticked from results.`,
    "",
    "## Ship criteria",
    "",
    tick(verdict === "PASS", "Acceptance: `ALL ACCEPTANCE TESTS PASSED`"),
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
    "Attach these to the release, with `SHA256SUMS`:",
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
