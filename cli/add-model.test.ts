import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { THOROUGH } from "../engine/thorough.test.helper.js";
import type { ParityReport } from "../validation/parity/types.js";
import { readPerf } from "../validation/performance/perf.js";
import { readRecord } from "../validation/records/records.js";

const GGUF = "models/bitnet-stories-4m/ggml-model-i2_s.gguf";
const folder = mkdtempSync(join(tmpdir(), "bitnet-add-"));
afterAll(() => rmSync(folder, { recursive: true }));

function addModel(...args: string[]): { code: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, ["dist/bundle/bitnet.cjs", "add-model", ...args], { encoding: "utf8" });
  return { code: status, stdout, stderr };
}

// Takes seconds: CI runs it.
it.runIf(THOROUGH)("adds a model in one go: the other form, parity, both forms' speed, the tables", async () => {
  const out = join(folder, "mine");
  // What a run that was killed left behind goes: no process has this number.
  mkdirSync(join(folder, ".mine.999999999-00000000.tmp"));
  const { code, stdout, stderr } = addModel(GGUF, "--name", "mine", "--out", out, "--quick");
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout.match(/^PASS {2}\w+/gm)).toEqual(["convert", "inspect", "parity", "perf", "docs"].map((step) => `PASS  ${step}`));
  expect(readdirSync(folder)).toEqual(["mine"]);
  expect(readdirSync(out).sort()).toEqual([
    ...["PERF_COMPARISON.md", "packed", "parity_report.json", "perf-mine-gguf.json", "perf-mine-safetensors.json", "perf-mine.svg"],
  ]);
  expect(readFileSync(join(out, "packed/model.safetensors")).length).toBeGreaterThan(2 ** 20);
  const { verdict, lanes } = await readRecord<ParityReport>(join(out, "parity_report.json"), "parity-report");
  expect([verdict, ...lanes.map(({ name }) => name)]).toEqual(["PASS", "fp32-fp32", "quant-fp32"]);
  expect(lanes[0]!.sides).toMatchObject({ a: { path: GGUF }, b: { path: join(out, "packed") } });
  expect((await readPerf(join(out, "perf-mine-safetensors.json"))).model).toMatchObject({ path: join(out, "packed"), name: "mine" });
  expect(readFileSync(join(out, "PERF_COMPARISON.md"), "utf8")).toContain("## mine");

  expect(addModel(GGUF, "--out", out)).toMatchObject({ code: 2, stderr: expect.stringContaining("already exists") });
});

it("stops at the gate that fails, with its exit code, and leaves nothing", () => {
  const damaged = join(folder, "damaged.gguf");
  const bytes = readFileSync(GGUF);
  bytes.fill(0, 2228960, 2228960 + 1024); // blk.0.attn_norm.weight
  writeFileSync(damaged, bytes);
  const before = readdirSync(folder);
  const { code, stdout, stderr } = addModel(damaged, "--out", join(folder, "bad"));
  expect({ code, stderr }).toEqual({ code: 8, stderr: expect.stringMatching(/^error: .*norms: .*attn_norm[^\n]*\n$/) });
  expect(stdout.match(/^PASS/gm)).toHaveLength(1);
  expect(readdirSync(folder)).toEqual(before);
  expect(addModel(join(folder, "none"), "--out", join(folder, "bad")).code).toBe(2);
  expect(addModel(GGUF, "--name", "../x").code).toBe(2);
});
