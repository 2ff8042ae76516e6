import { expect, it } from "vitest";
import { PROVENANCE } from "../records/records.test.helper.js";
import { type AcceptanceSummary, brokenSeal, sealSummary } from "./seal.js";

const check = (id: string) => ({ id, title: id, ship: true, status: "PASS" as const, figures: { n: 1 } });
const summary = sealSummary({
  ...{ kind: "acceptance-summary", provenance: { ...PROVENANCE, schema_version: 1 }, quick: false, models: [{ path: "a", sha256: null }] },
  ...{ checks: [check("a.one"), check("b.two"), check("c.three")], artifacts: { "x.json": "0" }, verdict: "PASS" },
});

it("a seal holds as long as nothing is edited", () => {
  expect(brokenSeal(summary)).toBeUndefined();
  expect(brokenSeal(JSON.parse(JSON.stringify(summary)) as AcceptanceSummary)).toBeUndefined();
  expect(new Set([summary.head, ...summary.checks.map(({ chain }) => chain), summary.seal]).size).toBe(5);
});

it("any edit breaks it, and the first place is named", () => {
  const [one, two, three] = summary.checks as [
    AcceptanceSummary["checks"][0],
    AcceptanceSummary["checks"][0],
    AcceptanceSummary["checks"][0],
  ];
  const edits: readonly (readonly [Partial<AcceptanceSummary>, string])[] = [
    [{ provenance: { ...summary.provenance, git_commit: "9f9dc76cc7ce" } }, "/provenance, "],
    [{ provenance: { ...summary.provenance, numerics_version: 2 } }, "/provenance, "],
    [{ quick: true }, "/provenance, "],
    [{ models: [{ path: "b", sha256: null }] }, "/provenance, "],
    [{ checks: [one, { ...two, status: "SKIP", ship: false, reason: "so" }, three] }, "at check b.two"],
    [{ checks: [one, { ...two, figures: { n: 2 } }, three] }, "at check b.two"],
    [{ checks: [one, { ...two, title: "other" }, three] }, "at check b.two"],
    [{ checks: [one, three] }, "at check c.three"],
    [{ checks: [two, one, three] }, "at check b.two"],
    [{ checks: [one, one, two, three] }, "at check a.one"],
    [{ checks: [one, two] }, "removed from the end"],
    [{ checks: [] }, "removed from the end"],
    [{ artifacts: {} }, "/artifacts"],
    [{ verdict: "FAIL" }, "/artifacts or /verdict"],
    [{ seal: "0".repeat(64) }, "/artifacts or /verdict"],
  ];
  for (const [edit, said] of edits) expect(brokenSeal({ ...summary, ...edit }), JSON.stringify(edit)).toContain(said);
});
