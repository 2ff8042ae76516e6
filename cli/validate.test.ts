import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { THOROUGH } from "../engine/thorough.test.helper.js";
import type { AcceptanceSummary } from "../validation/acceptance/acceptance.js";
import { rewriteGguf } from "../validation/end-to-end/rewrite.test.helper.js";
import { bitnetHere } from "./here.test.helper.js";
import { checkLine } from "./validate.js";

const GGUF = "models/bitnet-stories-4m/ggml-model-i2_s.gguf";
const PACKED = "models/bitnet-stories-4m/packed";
const folder = mkdtempSync(join(tmpdir(), "bitnet-validate-"));
afterAll(() => rmSync(folder, { recursive: true }));

function bitnet(args: readonly string[], env: NodeJS.ProcessEnv = {}): { code: number | null; stdout: string; stderr: string } {
  const clean = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^BITNET_/.test(name)));
  const options = { env: { ...clean, NO_COLOR: "1", ...env }, timeout: 600_000, maxBuffer: 2 ** 26, encoding: "utf8" } as const;
  const { status, stdout, stderr } = spawnSync(process.execPath, ["dist/bundle/bitnet.cjs", ...args], options);
  return { code: status, stdout, stderr };
}

// Takes seconds, since it builds anew and scans all sources, too: CI runs it.
it.runIf(THOROUGH)(
  "a model that is not its other form's twin is a no-go: exit code 1, which checks failed, and in which environment",
  async () => {
    const noBos = await rewriteGguf(
      GGUF,
      join(folder, "bos.gguf"),
      () => undefined,
      (entries) => [...entries, { key: "tokenizer.ggml.add_bos_token", type: "bool", value: false }],
    );
    const environment = { BITNET_DETERMINISTIC: "1", BITNET_SEED: "7", BITNET_NUM_THREADS: "2" };
    const out = join(folder, "artifacts");
    const args = ["validate", "--quick", "--model-a", PACKED, "--model-b", noBos, "--out", out];
    const forms = ["junit.xml", "run.sarif", "summary.md"].map((name) => join(folder, name)) as [string, string, string];
    args.push("--junit", forms[0], "--sarif", forms[1], "--summary", forms[2]);
    writeFileSync(forms[2], "an earlier step\n");
    const { code, stdout, stderr } = bitnet([...args, "--json"], { ...environment, GITHUB_STEP_SUMMARY: forms[2] });
    const failed = "b.round-trip, c.weights, c.fp32-fp32, c.quant-fp32";
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringMatching(new RegExp(`^error: \\d of 24 checks failed: ${failed}[^\n]*\n$`)),
    });
    const summary = JSON.parse(stdout) as AcceptanceSummary;
    expect(JSON.parse(readFileSync(join(out, "acceptance_summary.json"), "utf8"))).toEqual(summary);
    expect(summary).toMatchObject({
      verdict: "FAIL",
      quick: true,
      provenance: { deterministic: true, seed: 7, cli_args: [...args, "--json"] },
    });
    const finding = (id: string) => summary.checks.find((check) => check.id === id)!;
    for (const id of ["a.introspection", "a.weights", "d.logits", "e.receipt"]) expect(finding(id), id).toMatchObject({ status: "PASS" });
    expect(finding("c.fp32-fp32").reason).toContain("different tokens");
    expect(finding("d.environment").figures).toEqual({
      environment: "BITNET_DETERMINISTIC=1 BITNET_SEED=7 BITNET_NUM_THREADS=2",
      ...{ deterministic: true, seed: 7, threads: 2 },
    });
    expect(finding("b.stored-ids")).toMatchObject({ status: "SKIP", ship: false, reason: expect.stringContaining("embedded") });
    expect(JSON.parse(readFileSync(join(out, "platform_banner.json"), "utf8"))).toMatchObject({ kind: "platform-banner" });
    const [junit, sarif, markdown] = forms.map((path) => readFileSync(path, "utf8")) as [string, string, string];
    expect(junit).toMatch(/^<\?xml .*\n<testsuites name="bitnet validate" tests="24" failures="\d" /);
    const { results } = (JSON.parse(sarif) as { runs: [{ results: { ruleId: string; message: { text: string } }[] }] }).runs[0];
    expect([...new Set(results.map(({ ruleId }) => ruleId))].join(", ")).toMatch(new RegExp(`^${failed}`));
    expect(results.find(({ ruleId }) => ruleId === "c.fp32-fp32")!.message.text).toContain("different tokens");
    expect(readFileSync(join(out, "report.html"), "utf8")).toMatch(/^<!DOCTYPE html>.*FAIL: \d of 24 checks failed.*<\/html>\n$/s);
    expect(Object.keys(summary.artifacts)).not.toContain("report.html");
    expect(markdown).toMatch(/^an earlier step\n\n## bitnet validate: FAIL\n/);
  },
);

it("what can't be done is a usage error, before anything is written", async () => {
  for (const [args, said] of [
    [["validate", "--model-a", PACKED], "give both --model-a and --model-b"],
    [["release", "prepare"], "--version <X.Y.Z>"],
    [["release", "prepare", "--version", "1.0"], "--version must have the form 1.2.3, not 1.0"],
    [["release", "prepare", "--version", "01.0.0"], "--version must have the form"],
    [["validate", "x"], "too many arguments"],
    [["validate", "--junit", join(folder, "none", "x.xml")], `--junit: the folder ${join(folder, "none")} does not exist`],
    [["validate", "--sarif", join(folder, "x"), "--summary", join(folder, "x")], "is already the file of --sarif: choose another path"],
    [["validate", "--summary", join(folder, "none", "parity_report.json")], "is already the file of an artifact"],
  ] as const) {
    const refused = await bitnetHere(...args, "--out", join(folder, "none"));
    expect(refused).toEqual({ code: 2, stdout: "", stderr: expect.stringContaining(said) });
  }
  const page = await bitnetHere("validate", "--html", folder, "--out", join(folder, "none"));
  expect(page).toEqual({ code: 1, stdout: "", stderr: expect.stringContaining("--html: ") });
  expect(existsSync(join(folder, "none"))).toBe(false);
});

it("shows a check in rows that fit, and what a file says without its control characters", () => {
  const figures = Object.fromEntries(Array.from({ length: 12 }, (_, i) => [`figure_${i}`, i / 1000]));
  const lines = checkLine({ id: "c.x", title: "parity", status: "PASS", ship: true, figures }).trimEnd().split("\n");
  expect(lines[0]).toBe("PASS  c.x              parity");
  expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(120);
  expect(lines.slice(1).join(", ")).toContain("figure_0 0,");
  expect(lines.slice(1).join(", ")).toContain("figure_11 0.01100");
  expect(checkLine({ id: "c.x", title: "y", status: "SKIP", ship: true, reason: "\u001b[2J" })).toBe(
    "SKIP  c.x              y\n      \\x1b[2J (required for a release: no-go)\n",
  );
});

/** Where a test reaches each exit code through the command line: its file, and what is in it. */
const REACHED: Readonly<Record<number, readonly [file: string, text: string]>> = {
  0: ["cli/main.test.ts", "toEqual({ code: 0, stderr"],
  1: ["cli/validate.test.ts", "exit code 1, which checks failed"],
  2: ["cli/main.test.ts", '[join(folder, "none.gguf"), 2]'],
  3: ["cli/main.test.ts", "[lacking, 3]"],
  4: ["cli/main.test.ts", "[bare, 4]"],
  5: ["validation/parity/parity.test.ts", "toMatchObject({ code: 5 })"],
  6: ["validation/parity/parity.test.ts", "toMatchObject({ code: 6,"],
  7: ["validation/parity/parity.test.ts", "toMatchObject({ code: 7,"],
  8: ["cli/main.test.ts", "toEqual({ code: 8,"],
  9: ["cli/perf.test.ts", "expect(slower.code).toBe(9)"],
  10: ["cli/perf.test.ts", "expect(larger.code).toBe(10)"],
  11: ["cli/main.test.ts", "[truncated, 11]"],
  12: ["validation/receipts/receipt.test.ts", "toEqual({ code: 12,"],
  13: ["cli/pull.test.ts", "expect(refused.status).toBe(13)"],
  14: ["cli/main.test.ts", "toEqual({ code: 14,"],
  130: ["cli/main.test.ts", "expect(code).toBe(130)"],
};

describe("exit codes", () => {
  it("each of docs/cli.md is reached by a test that starts the command line", () => {
    const page = readFileSync("docs/cli.md", "utf8").split("## Errors and exit codes")[1]!;
    expect([...page.matchAll(/^\| (\d+) \|/gm)].map(([, code]) => Number(code))).toEqual(Object.keys(REACHED).map(Number));
    for (const [file, text] of Object.values(REACHED)) {
      const test = readFileSync(file, "utf8");
      expect(test.includes(text), `${file}: ${text}`).toBe(true);
      expect(test).toContain("spawnSync(process.execPath"); // a process of its own
    }
  });
});
