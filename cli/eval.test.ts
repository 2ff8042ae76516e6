import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { THOROUGH } from "../engine/thorough.test.helper.js";
import { bitnetHere } from "./here.test.helper.js";

const folder = mkdtempSync(join(tmpdir(), "bitnet-eval-"));
afterAll(() => rmSync(folder, { recursive: true }));

function bitnet(...args: readonly string[]): { code: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, ["dist/bundle/bitnet.cjs", "eval", ...args], { encoding: "utf8" });
  return { code: status, stdout, stderr };
}

// Processes that are killed take seconds: CI runs it.
it.runIf(THOROUGH)("killed in its midst it goes on where it was, and comes to the same", async () => {
  const [whole, killed] = [join(folder, "whole"), join(folder, "killed")];
  const { code, stdout, stderr } = bitnet("--out", whole);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout).toMatch(/^acc +0\.8750 ± 0\.0482\nacc_norm +0\.8958 ± 0\.0446\n48 items\nresults: .*whole.results\.jsonl\n$/);
  const child = spawn(process.execPath, ["dist/bundle/bitnet.cjs", "eval", "--out", killed], { stdio: "ignore" });
  const results = join(killed, "results.jsonl");
  // As soon as there are some results, and long before there are all.
  while (child.exitCode === null && !(existsSync(results) && readFileSync(results, "utf8").split("\n").length > 5))
    await new Promise((resolve) => setTimeout(resolve, 5));
  child.kill("SIGKILL");
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  expect(bitnet("--out", killed)).toMatchObject({ code: 0, stderr: "" });
  expect(readFileSync(results)).toEqual(readFileSync(join(whole, "results.jsonl")));
});

it("measures a text, and says what is wrong before it loads anything", async () => {
  const text = join(folder, "text.txt");
  writeFileSync(text, "The dog ran home. ".repeat(20));
  expect(bitnet("--text", text, "--window", "64").stdout).toMatch(
    /^perplexity +\d+\.\d{4} ± \d+\.\d{4}\nmean NLL +\d\.\d{6} ± 0\.\d{4} nats a token\nbits per byte +\d\.\d{4}\n\d+ tokens, 360 bytes; windows of 64 tokens, 32 apart\n$/,
  );
  for (const [args, said] of [
    [["--text", text, "--tasks", text], "give one of --text and --tasks, not both"],
    [["--tasks", text], "line 1 is not JSON"],
    [["--stride", "5"], "--stride requires --text"],
    [["--receipts"], "--receipts requires --out"],
    [["--text", join(folder, "none")], "none"],
  ] as const)
    expect(await bitnetHere("eval", ...args)).toEqual({ code: 2, stdout: "", stderr: expect.stringContaining(said) });
});
