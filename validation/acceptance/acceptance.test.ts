import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { describeModel } from "../../engine/index.js";
import { EMBEDDED_PAIR } from "../parity/sides.js";
import { shownPath } from "../performance/perf.js";
import { readRecord } from "../records/records.js";
import { type AcceptanceSummary, acceptanceFailure, CHECKS, SUMMARY_FILE } from "./acceptance.js";
import type { Check } from "./check.js";
import { Clone } from "./clone.test.helper.js";
import { brokenSeal } from "./seal.js";

const clone = new Clone();
beforeAll(() => clone.make());
afterAll(() => clone.remove());

const check = (id: string, run: Check["run"]): Check => ({ id, title: id, run });

it("a failure, an error and a ship criterion that was skipped are no-go; what a release needs not may be skipped", async () => {
  const summary = await clone.check([
    check("a", () => ({ status: "PASS", figures: { n: 1 } })),
    check("b", () => ({ status: "FAIL", reason: "so" })),
    check("c", () => {
      throw new Error("broke");
    }),
    check("d", () => ({ status: "SKIP", reason: "nothing here" })),
    check("e", () => ({ status: "SKIP", reason: "not needed", ship: false })),
  ]);
  for (const { seconds } of summary.checks) expect(seconds).toBeGreaterThanOrEqual(0);
  expect(summary.checks.map(({ chain: _, seconds: __, ...report }) => report)).toEqual([
    { id: "a", title: "a", ship: true, status: "PASS", figures: { n: 1 } },
    { id: "b", title: "b", ship: true, status: "FAIL", reason: "so" },
    { id: "c", title: "c", ship: true, status: "FAIL", reason: "broke" },
    { id: "d", title: "d", ship: true, status: "SKIP", reason: "nothing here" },
    { id: "e", title: "e", ship: false, status: "SKIP", reason: "not needed" },
  ]);
  expect(summary.verdict).toBe("FAIL");
  expect(acceptanceFailure(summary)).toMatchObject({ code: "acceptance", message: "3 of 5 checks failed: b, c, d (skipped)" });
  expect(await readRecord<AcceptanceSummary>(join(clone.folder, "artifacts", SUMMARY_FILE), "acceptance-summary")).toEqual(summary);
  const green = await clone.check([check("e", () => ({ status: "SKIP", reason: "not needed", ship: false }))]);
  expect([green.verdict, acceptanceFailure(green)]).toEqual(["PASS", undefined]);
});

it("seals what was checked, of which models, and what it wrote", async () => {
  const out = join(clone.folder, "artifacts");
  clone.put("../artifacts/parity_report.json", "{}");
  const summary = await clone.check([check("a", () => ({ status: "PASS" }))]);
  expect(summary.artifacts).toEqual({ "platform_banner.json": expect.stringMatching(/^\w{64}$/) });
  expect(readdirSync(out).sort()).toEqual(["acceptance_summary.json", "platform_banner.json"]); // what an earlier run has left is gone
  expect(summary.models).toEqual(
    await Promise.all(EMBEDDED_PAIR.map(async (path) => ({ path: shownPath(path), sha256: (await describeModel(path)).sha256 }))),
  );
  expect(brokenSeal(summary)).toBeUndefined();
  const broken = await clone.check([check("a", () => ({ status: "FAIL", reason: "so" }))], { models: ["none.gguf", "none.gguf"] });
  expect(broken.models).toEqual([0, 1].map(() => ({ path: expect.stringContaining("none.gguf"), sha256: null })));
  expect(brokenSeal(broken)).toBeUndefined();
});

it("has every part of acceptance, in order, each under its own name", () => {
  const ids = CHECKS.map(({ id }) => id);
  expect(new Set(ids).size).toBe(ids.length);
  expect([...new Set(ids.map((id) => id[0]))]).toEqual(["a", "b", "c", "d", "e", "f", "g"]);
});

it("docs/release.md names every check, and no other", () => {
  const page = readFileSync("docs/release.md", "utf8");
  expect(new Set(page.match(/\b[a-g]\.[a-z][a-z0-9-]{3,}\b/g))).toEqual(new Set(CHECKS.map(({ id }) => id)));
});
