import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { CheckReport } from "./acceptance.js";
import { Clone } from "./clone.test.helper.js";
import { SIGN_OFF } from "./sign-off.js";

// Every gate passes on a clone in order, and fails when what it guards against is there.

const clone = new Clone();
afterAll(() => clone.remove());
const GGUF = "bench/results/perf-bitnet-stories-4m-gguf.json";

async function only(id: string, release = false): Promise<CheckReport> {
  const summary = await clone.check(
    SIGN_OFF.filter((check) => check.id === id),
    { release },
  );
  return summary.checks[0]!;
}

describe("a clone in order", () => {
  beforeAll(() => clone.make());

  it("passes every gate, in a release too", async () => {
    const { checks, verdict } = await clone.check(SIGN_OFF, { release: true });
    expect(checks.filter(({ status }) => status !== "PASS")).toEqual([]);
    expect(verdict).toBe("PASS");
  });
});

// The words are put together here, so that a scan of this repository's own sources does not stop at its test.
const word = (...parts: readonly string[]): string => parts.join("");

describe("a gate closes on", () => {
  const causes: readonly (readonly [cause: string, id: string, said: RegExp, breakIt: () => void])[] = [
    [
      "a pretended path in the sources",
      "g.sources",
      /engine\/bad\.ts:2 pretends/,
      () => clone.put("engine/bad.ts", `\nexport function ${word("mo", "ck")}Logits() {}\n`),
    ],
    [
      "one in the bundle",
      "g.bundle",
      /dist\/bundle\/worker\.cjs:\d+ pretends/,
      () => clone.put("dist/bundle/worker.cjs", `${clone.read("dist/bundle/worker.cjs")}\nconst ${word("simul", "ated")} = 1;\n`),
    ],
    [
      "a bundle that is not there",
      "g.bundle",
      /dist\/bundle\/index\.js does not exist/,
      () => rmSync(join(clone.root, "dist/bundle/index.js")),
    ],
    ["a print", "g.debugging", /engine\/bad\.ts:1 prints/, () => clone.put("engine/bad.ts", `${word("con", "sole")}.log(1);\n`)],
    ["a breakpoint", "g.debugging", /cli\/bad\.ts:2 a breakpoint/, () => clone.put("cli/bad.ts", `\n  ${word("debug", "ger")};\n`)],
    [
      "a test that leaves others out",
      "g.debugging",
      /cli\/x\.test\.ts:1 runs only some of the tests/,
      () => clone.put("cli/x.test.ts", `it.${word("on", "ly")}("x", () => {});\n`),
    ],
    ["something to be done", "g.debugging", /scripts\/x\.mjs:1/, () => clone.put("scripts/x.mjs", `// ${word("TO", "DO")}: more\n`)],
    [
      "a missing record",
      "f.performance",
      /^bench\/results\/perf-bitnet-stories-4m-gguf\.json does not exist/,
      () => rmSync(join(clone.root, GGUF)),
    ],
    [
      "a record of other kernels",
      "f.performance",
      /perf-bitnet-stories-4m-gguf\.json is stale: it was measured with the kernels 0123456789abcdef/,
      () => clone.edit(GGUF, /"kernel_sha256": "\w{16}/, '"kernel_sha256": "0123456789abcdef'),
    ],
    [
      "a record of another model",
      "f.performance",
      /is stale: it was measured with the model 0123456789abcdef.* measure again with bitnet perf/,
      () => clone.edit(GGUF, /("model_(?:hash|sha256)": ")\w{16}(\w*",\s+"model_sha256": ")\w{16}/, "$10123456789abcdef$20123456789abcdef"),
    ],
    ["a record without provenance", "g.records", /provenance/, () => clone.edit(GGUF, '"provenance"', '"origin"')],
    ["an edited record", "g.records", /\/metrics\/\w+\/median is /, () => clone.edit(GGUF, /"median": \d/, '"median": 9')],
    [
      "an edited page",
      "f.render",
      /docs\/PERF_COMPARISON\.md does not match the records/,
      () => clone.edit("docs/PERF_COMPARISON.md", "4.2", "4.3"),
    ],
    ["a picture that is not there", "f.render", /\.svg does not match/, () => rmSync(join(clone.root, "docs/perf-bitnet-stories-4m.svg"))],
    ["a page that is not there", "g.docs", /docs\/release\.md: missing/, () => rmSync(join(clone.root, "docs/release.md"))],
    ["an empty page", "g.docs", /README\.md: missing or empty/, () => clone.put("README.md", "")],
    ["a link that leads nowhere", "g.docs", /none\.md in docs\/cli\.md/, () => clone.put("docs/cli.md", "[x](none.md)\n")],
    [
      "a version without changes",
      "g.changelog",
      /no section "## \[9\.9\.9\]/,
      () => clone.edit("package.json", /"version": "[^"]*"/, '"version": "9.9.9"'),
    ],
    ["a changelog that is not there", "g.changelog", /CHANGELOG\.md does not exist/, () => rmSync(join(clone.root, "CHANGELOG.md"))],
    ["a changed file", "g.clean-tree", /changed since the commit: a\.txt/, () => clone.put("a.txt", "4\n")],
  ];
  it.each(causes)("%s", async (_, id, said, breakIt) => {
    await clone.make();
    breakIt();
    expect(await only(id, true)).toMatchObject({ id, status: "FAIL", reason: expect.stringMatching(said) });
  });

  it("and outside of a release a changed file is a warning", async () => {
    await clone.make();
    clone.put("a.txt", "4\n");
    expect(await only("g.clean-tree")).toMatchObject({ status: "SKIP", ship: false, reason: expect.stringContaining("a.txt") });
  });
});

it("what is installed has no sources to look at, says so, and needs none", async () => {
  await clone.make();
  for (const path of ["engine", ".git", "bench"]) rmSync(join(clone.root, path), { recursive: true });
  const { checks, verdict } = await clone.check(SIGN_OFF);
  const skipped = checks.filter(({ status }) => status === "SKIP");
  expect(skipped.map(({ id }) => id)).toEqual(["f.performance", "f.render", "g.sources", "g.debugging", "g.clean-tree"]);
  for (const { ship, reason } of skipped)
    expect({ ship, reason }).toEqual({ ship: false, reason: expect.stringContaining("only in a clone") });
  expect(verdict).toBe("PASS");
});

it("an artifact of this run that is not of its schema is found", async () => {
  await clone.make();
  mkdirSync(join(clone.folder, "artifacts"), { recursive: true });
  writeFileSync(join(clone.folder, "artifacts/parity_report.json"), "{}\n");
  expect(await only("g.records")).toMatchObject({ status: "FAIL", reason: expect.stringContaining("parity_report.json") });
});
