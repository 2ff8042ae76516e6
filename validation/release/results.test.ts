import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type AcceptanceSummary, artifactHashes, type CheckReport, PARITY_FILE, SUMMARY_FILE } from "../acceptance/acceptance.js";
import { Clone, COMMIT_TIME, ENVIRONMENT } from "../acceptance/clone.test.helper.js";
import { parityFigures } from "../acceptance/model-checks.js";
import type { LaneReport, ParityReport } from "../parity/types.js";
import type { GitState } from "../records/git.js";
import { writeRows } from "../records/records.js";
import { EXAMPLES } from "../records/records.test.helper.js";
import { takeResults } from "./results.js";

const clone = new Clone();
const folder = mkdtempSync(join(tmpdir(), "bitnet-results-"));
beforeAll(() => clone.make());
afterAll(() => {
  clone.remove();
  rmSync(folder, { recursive: true });
});

const read = <T>(name: string): T => JSON.parse(readFileSync(join(folder, name), "utf8")) as T;
const write = (name: string, value: object): void => writeFileSync(join(folder, name), JSON.stringify(value));

function take(dryRun = false): Promise<AcceptanceSummary> {
  const git: GitState = { commit: clone.commit, time: COMMIT_TIME, branch: "main", changed: [] };
  return takeResults(folder, join(folder, "taken"), git, dryRun);
}

/** Results that were edited and then sealed again. */
async function resealed(edit: (summary: AcceptanceSummary) => Partial<AcceptanceSummary>): Promise<void> {
  const summary = read<AcceptanceSummary>(SUMMARY_FILE);
  const edited = { ...summary, artifacts: artifactHashes(folder), ...edit(summary) };
  await clone.seal(folder, { ...edited, checks: edited.checks.map(({ chain: _, ...check }) => check) });
}

/** Another report of parity, sealed in. @param seen the summary has its figures */
async function lanes(edit: (lane: LaneReport) => LaneReport | LaneReport[], seen = false): Promise<void> {
  const report = read<ParityReport>(PARITY_FILE);
  const edited = { ...report, lanes: report.lanes.flatMap(edit) };
  write(PARITY_FILE, edited);
  const shown = parityFigures(edited);
  await resealed(({ checks }) =>
    seen ? { checks: checks.map((one) => ({ ...one, ...(shown[one.id] && { figures: shown[one.id]! }) })) } : {},
  );
}

/** A lane with its first text alone. */
function fewer(lane: LaneReport): LaneReport {
  return { ...lane, prompts: lane.prompts.slice(0, 1), totals: { ...lane.totals, tokens: lane.prompts[0]!.tokens } };
}

/** Other figures of a check. */
const figures = (id: string, other: CheckReport["figures"] & object): Promise<void> =>
  resealed(({ checks }) => ({ checks: checks.map((one) => (one.id === id ? { ...one, figures: other } : one)) }));

const provenance =
  (edit: Partial<AcceptanceSummary["provenance"]>) =>
  (summary: AcceptanceSummary): Partial<AcceptanceSummary> => ({ provenance: { ...summary.provenance, ...edit } });

it("takes what a validation of this commit left", async () => {
  await clone.results(folder);
  expect(await take()).toMatchObject({ verdict: "PASS" });
  expect(readFileSync(join(folder, "taken", SUMMARY_FILE))).toEqual(readFileSync(join(folder, SUMMARY_FILE)));
});

const edits: readonly (readonly [what: string, said: RegExp, edit: () => void | Promise<void>])[] = [
  // As they were sealed.
  [
    "a check that was taken out",
    /the chain breaks at check a\.weights/,
    () => {
      const { checks, ...rest } = read<AcceptanceSummary>(SUMMARY_FILE);
      write(SUMMARY_FILE, { ...rest, checks: checks.slice(1) });
    },
  ],
  [
    "checks that were cut off",
    /removed from the end/,
    () => {
      const { checks, ...rest } = read<AcceptanceSummary>(SUMMARY_FILE);
      write(SUMMARY_FILE, { ...rest, checks: checks.slice(0, -3) });
    },
  ],
  [
    "a ship criterion set to SKIP",
    /the chain breaks at check c\.oracle/,
    () => {
      const { checks, ...rest } = read<AcceptanceSummary>(SUMMARY_FILE);
      const skipped = { status: "SKIP", ship: false, reason: "so" };
      write(SUMMARY_FILE, { ...rest, checks: checks.map((one) => (one.id === "c.oracle" ? { ...one, ...skipped } : one)) });
    },
  ],
  [
    "another commit",
    /\/provenance, \/quick or \/models was edited/,
    () => {
      const summary = read<AcceptanceSummary>(SUMMARY_FILE);
      write(SUMMARY_FILE, { ...summary, ...provenance({ git_commit: "9f9dc76cc7ce" })(summary) });
    },
  ],
  [
    "a verdict of parity",
    /parity_report\.json is not the file that acceptance_summary\.json was sealed with/,
    () => {
      write(PARITY_FILE, { ...read<ParityReport>(PARITY_FILE), verdict: "FAIL" });
    },
  ],
  [
    "rows of failures",
    /parity_failures\.jsonl is not the file/,
    () => writeRows(join(folder, "parity_failures.jsonl"), "parity-failure", [EXAMPLES["parity-failure"]]),
  ],
  // Sealed again.
  ["a check less", /check 1 is a\.weights, but should be a\.introspection/, () => resealed(({ checks }) => ({ checks: checks.slice(1) }))],
  [
    "a check less at the end",
    /check \d+ is missing, but should be g\.clean-tree/,
    () => resealed(({ checks }) => ({ checks: checks.slice(0, -1) })),
  ],
  [
    "a check more",
    /check \d+ is a\.introspection, but should be none/,
    () => resealed(({ checks }) => ({ checks: [...checks, checks[0]!] })),
  ],
  [
    "a ship criterion that is none",
    /c\.oracle did not pass \(SKIP: so\)/,
    () =>
      resealed(({ checks }) => ({
        checks: checks.map((one) => (one.id === "c.oracle" ? { ...one, status: "SKIP", ship: false, reason: "so" } : one)),
      })),
  ],
  [
    "a failed check and a verdict of PASS",
    /d\.logits did not pass \(FAIL: no\)/,
    () =>
      resealed(({ checks }) => ({ checks: checks.map((one) => (one.id === "d.logits" ? { ...one, status: "FAIL", reason: "no" } : one)) })),
  ],
  ["a verdict of FAIL", /their verdict is FAIL/, () => resealed(() => ({ verdict: "FAIL" }))],
  [
    "another pair of models",
    /they are from the model other, not the embedded one/,
    () => resealed(({ models }) => ({ models: [models[0]!, { path: "other", sha256: "0".repeat(64) }] })),
  ],
  ["the pair the other way round", /they are from the model/, () => resealed(({ models }) => ({ models: models.toReversed() }))],
  ["of another commit", /they are from commit 9f9dc76cc7ce/, () => resealed(provenance({ git_commit: "9f9dc76cc7ce" }))],
  ["of no clone", /they are from commit none/, () => resealed(provenance({ git_commit: null }))],
  ["of a changed tree", /from a tree that was changed/, () => resealed(provenance({ git_dirty: true }))],
  ["of a tree of which nothing is known", /from a tree that was changed/, () => resealed(provenance({ git_dirty: null }))],
  ["other kernels", /they are from kernels 0{16}, but this clone has/, () => resealed(provenance({ kernel_sha256: "0".repeat(64) }))],
  ["other modules", /they are from modules 0{16}/, () => resealed(provenance({ modules_sha256: "0".repeat(64) }))],
  ["another bundle", /they are from bundle 0{16}/, () => resealed(provenance({ bundle_sha256: "0".repeat(64) }))],
  [
    "a bundle that isn't named",
    /they are from bundle none/,
    () => resealed(({ provenance: { bundle_sha256: _, ...rest } }) => ({ provenance: rest })),
  ],
  ["other numerics", /they are from numerics 99/, () => resealed(provenance({ numerics_version: 99 }))],
  ["a quick run", /they are from a quick run/, () => resealed(() => ({ quick: true }))],
  [
    "parity that failed",
    /the verdict of parity_report\.json is FAIL/,
    () => {
      write(PARITY_FILE, { ...read<ParityReport>(PARITY_FILE), verdict: "FAIL" });
      return resealed(() => ({}));
    },
  ],
  [
    "a lane that failed",
    /parity_report\.json has no PASS for lane quant-fp32/,
    () => {
      const report = read<ParityReport>(PARITY_FILE);
      write(PARITY_FILE, {
        ...report,
        lanes: report.lanes.map((lane) => (lane.name === "quant-fp32" ? { ...lane, verdict: "FAIL" } : lane)),
      });
      return resealed(() => ({}));
    },
  ],
  [
    "no lane of weights",
    /no PASS for lane weights/,
    () => {
      const report = read<ParityReport>(PARITY_FILE);
      write(PARITY_FILE, { ...report, weights: undefined });
      return resealed(() => ({}));
    },
  ],
  [
    "a lane less",
    /no PASS for lane oracle/,
    () => {
      const report = read<ParityReport>(PARITY_FILE);
      write(PARITY_FILE, { ...report, lanes: report.lanes.filter(({ name }) => name !== "oracle") });
      return resealed(() => ({}));
    },
  ],
  [
    "parity of another model",
    /parity_report\.json is from the model other/,
    () => {
      const report = read<ParityReport>(PARITY_FILE);
      const [lane, ...rest] = report.lanes;
      const b = { ...lane!.sides.b, path: "other", sha256: "0".repeat(64) };
      write(PARITY_FILE, { ...report, lanes: [{ ...lane, sides: { ...lane!.sides, b } }, ...rest] });
      return resealed(() => ({}));
    },
  ],
  [
    "failures and no verdict of it",
    /parity_failures\.jsonl lists failures \(1\)/,
    async () => {
      await writeRows(join(folder, "parity_failures.jsonl"), "parity-failure", [EXAMPLES["parity-failure"]]);
      await resealed(() => ({}));
    },
  ],
  [
    "both lanes of one file",
    /parity_report\.json is from the model .*gguf, not the embedded one/,
    () => lanes((lane) => (lane.name === "fp32-fp32" ? { ...lane, sides: { a: { ...lane.sides.b }, b: lane.sides.b } } : lane)),
  ],
  [
    "float32 in place of the kernels",
    /lane quant-fp32 of parity_report\.json compares reference with reference/,
    () =>
      lanes((lane) =>
        lane.name === "quant-fp32" ? { ...lane, sides: { ...lane.sides, b: { ...lane.sides.b, kernels: "reference" } } } : lane,
      ),
  ],
  [
    "fewer texts",
    /lane fp32-fp32 has other texts than a whole run/,
    () => lanes((lane) => (lane.name === "fp32-fp32" ? fewer(lane) : lane)),
  ],
  [
    "a wider gate",
    /lane quant-fp32 has another gate than the embedded model/,
    () => lanes((lane) => (lane.name === "quant-fp32" ? { ...lane, thresholds: { ...lane.thresholds, kl_max: 9 } } : lane), true),
  ],
  ["an oracle less", /lane hf-packed is missing/, () => lanes((lane) => (lane.sides.a.kernels === "hf-packed" ? [] : lane), true)],
  [
    "stored outputs of something else",
    /lane hf-packed is from other stored outputs/,
    () =>
      lanes((lane) =>
        lane.sides.a.kernels === "hf-packed" ? { ...lane, sides: { ...lane.sides, a: { ...lane.sides.a, sha256: "0".repeat(64) } } } : lane,
      ),
  ],
  [
    "figures that fail",
    /parity_report\.json: lane fp32-fp32 \(reference\): prompt-1 has the verdict PASS, but its figures say FAIL/,
    () =>
      lanes((lane) =>
        lane.name === "fp32-fp32"
          ? { ...lane, prompts: lane.prompts.map((one) => ({ ...one, figures: { ...one.figures, tau_median: 0.5 } })) }
          : lane,
      ),
  ],
  [
    "better figures than those of the report",
    /the figures of c\.quant-fp32 are not those of parity_report\.json/,
    () =>
      resealed(({ checks }) => ({
        checks: checks.map((one) => (one.id === "c.quant-fp32" ? { ...one, figures: { ...one.figures, tau: 1.5 } } : one)),
      })),
  ],
  ["sources that were not built again", /g\.build has not built the sources again/, () => figures("g.build", { built_again: false })],
  ["a tree of another commit", /g\.clean-tree is not of commit/, () => figures("g.clean-tree", { commit: "0".repeat(12), changed: 0 })],
  [
    "a tree with changes",
    /g\.clean-tree is not of commit/,
    () => figures("g.clean-tree", { commit: clone.commit.slice(0, 12), changed: 1 }),
  ],
  [
    "no deterministic environment",
    /d\.environment: the deterministic environment is not set \(BITNET_NUM_THREADS\): run export/,
    () => figures("d.environment", { environment: "BITNET_DETERMINISTIC=1 BITNET_SEED=42", seed: 42 }),
  ],
  [
    "an environment of another seed",
    /d\.environment does not match the provenance/,
    () => figures("d.environment", { environment: ENVIRONMENT, seed: 7 }),
  ],
  [
    "a quick run by another name",
    /they are from a quick run, or from other models/,
    async () => {
      await clone.results(folder, { cli_args: ["validate", "--quick"] });
    },
  ],
  [
    "a run before its commit",
    /they are of 2023-01-02T03:04:05\.678Z, and so older than their commit/,
    () => clone.results(folder, { date: "2023-01-02T03:04:05.678Z" }),
  ],
  [
    "parity of another run",
    /parity_report\.json and acceptance_summary\.json are from different runs/,
    () => {
      const report = read<ParityReport>(PARITY_FILE);
      write(PARITY_FILE, { ...report, provenance: { ...report.provenance, date: "2026-11-22T03:04:05.679Z" } });
      return resealed(() => ({}));
    },
  ],
];
it.each(edits)("refuses %s, and says so", async (_, said, edit) => {
  await clone.results(folder);
  await edit();
  await expect(take()).rejects.toMatchObject({ code: "stale", message: expect.stringMatching(said) });
});

it("a dry run takes those of a changed tree", async () => {
  await clone.results(folder, { git_dirty: true });
  await resealed(({ checks }) => ({
    checks: checks.map((one) => (one.id === "g.clean-tree" ? { ...one, status: "SKIP", ship: false, reason: "changed" } : one)),
  }));
  expect(await take(true)).toMatchObject({ verdict: "PASS" });
  await expect(take()).rejects.toMatchObject({ code: "stale" });
});
