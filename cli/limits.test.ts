import { spawnSync } from "node:child_process";
import { existsSync, lstatSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeAtomic } from "#host/files.js";
import { replayRow } from "../validation/parity/replay.js";
import { verifyReceipt } from "../validation/receipts/verify.js";
import { writeWhole } from "../validation/records/files.js";
import { perfRender } from "./perf-render.js";
import { readBytes, readFlagFile, requireOutput } from "./terminal.js";
import { tokenize } from "./tokenize.js";

// What the system gives less of than usual, and files that are none.

const MAIN = "dist/bundle/bitnet.cjs";
const folder = mkdtempSync(join(tmpdir(), "bitnet-limits-"));
afterAll(() => rmSync(folder, { recursive: true }));
const at = (name: string): string => join(folder, name);

/** The command under other conditions. */
function run(command: string, ...args: string[]): { code: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: "utf8", timeout: 600_000 });
  return { code: status, stdout, stderr };
}

const node = (flags: readonly string[], ...args: string[]) => run(process.execPath, ...flags, MAIN, ...args);

describe("Node", () => {
  it("without WebAssembly: one sentence", () => {
    const line = "error: Node has no WebAssembly here (--jitless turns it off), but the kernels require it: start Node without that flag";
    for (const args of [["run", "--prompt", "x", "-n", "1"], ["info"]]) {
      const { code, stdout, stderr } = node(["--jitless"], ...args);
      expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
      expect(stderr.trim().split("\n").at(-1)).toBe(line);
    }
  });

  // Other processors have nothing that could be forbidden.
  it.runIf(process.arch === "x64")("without SIMD: one sentence", () => {
    const flags = ["--no-enable-sse4-1", "--no-enable-ssse3", "--no-enable-sse3", "--no-enable-avx"];
    const { code, stderr } = node(flags, "run", "--prompt", "x", "-n", "1");
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(/^error: WebAssembly has no SIMD here, [^\n]*\n$/) });
  });

  it("prints nothing of its own, whatever the tier", () => {
    for (const tier of ["relaxed", "wide"]) {
      const { code, stderr } = node([], "info", "--tier", tier);
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    }
  });
});

// `ulimit` is the shell's, and only Linux limits addresses by it.
describe.runIf(process.platform === "linux")("limits of the system", () => {
  it("few addresses: it runs, or is exit code 10 with the limit and what to do", () => {
    const { code, stdout, stderr } = run(
      "sh",
      "-c",
      `ulimit -v 8000000; exec "${process.execPath}" ${MAIN} run --prompt Once -n 2 --threads 2`,
    );
    // Node 24 and newer see the limit and have V8 reserve less.
    if (code === 0) expect(stdout).not.toBe("");
    else {
      expect({ code, stdout }).toEqual({ code: 10, stdout: "" });
      expect(stderr).toMatch(
        /^error: the system refused \d+ MiB of memory: the address space of this process is limited to 7812 MiB \(ulimit -v\), [^\n]*16 GB[^\n]*\n$/,
      );
    }
  });
});

// Windows has no pipes in folders.
describe.runIf(process.platform !== "win32")("what is no file", () => {
  beforeAll(() => {
    expect(spawnSync("mkfifo", [at("pipe")]).status).toBe(0);
    symlinkSync(at("pipe"), at("link"));
    symlinkSync("circle", at("circle"));
    mkdirSync(at("folder"));
    writeFileSync(at("large"), "");
    truncateSync(at("large"), 2 ** 26 + 1); // takes no space on the disk
  });

  it("is never waited for: a pipe, a device, a directory, a circle of links, what is too large, what is not there", async () => {
    for (const [name, code, message] of [
      [at("pipe"), "io", "is a pipe, not a regular file"],
      [at("link"), "io", "is a pipe, not a regular file"],
      ["/dev/zero", "io", "is a device, not a regular file"],
      [at("folder"), "io", "is a directory"],
      [at("circle"), "io", "in a circle"],
      [at("large"), "file", "67108864"],
      [at("none"), "io", "no such file"],
    ] as const) {
      const error = { name: "BitnetError", code, message: expect.stringContaining(message) };
      await expect(verifyReceipt(name, { load: {} }), name).rejects.toMatchObject(code === "file" ? { ...error, code: "receipt" } : error);
      await expect(replayRow(name, 1), name).rejects.toMatchObject(error);
      await expect(perfRender([name], {}), name).rejects.toMatchObject(error);
      const ofFlag = { ...error, code: code === "file" ? "usage" : code };
      await expect(tokenize({ chat: name, special: true }), name).rejects.toMatchObject(ofFlag);
      await expect(readFlagFile(name, "--prompts"), name).rejects.toMatchObject(ofFlag);
    }
    await expect(readBytes(at("pipe"), "--file")).rejects.toThrow(/^--file: [^\n]*pipe, not a regular file; to read a pipe, use -$/);
  });

  it("is never replaced by an output", async () => {
    for (const [name, message] of [
      [at("pipe"), "is a pipe, not a regular file"],
      [at("link"), "is a pipe, not a regular file"],
      [at("folder"), "is a directory, but a file is needed"],
      ["/dev/null", "is a device, not a regular file"],
    ] as const) {
      const before = lstatSync(name).ino;
      const error = { code: "io", message: expect.stringContaining(message) };
      for (const flag of ["--receipt", "--out"]) await expect(requireOutput(flag, name), name).rejects.toMatchObject(error);
      if (name.startsWith("/dev")) continue; // should it fail, the machine must not pay
      await expect(writeWhole(name, "x"), name).rejects.toMatchObject(error);
      await expect(
        writeAtomic(name, async () => {}),
        name,
      ).rejects.toMatchObject(error);
      expect(lstatSync(name).ino, name).toBe(before);
    }
  });

  // A device of Linux.
  it.runIf(existsSync("/dev/full"))("is a full disk: one sentence", () => {
    const { code, stderr } = run("sh", "-c", `exec "${process.execPath}" ${MAIN} --help >/dev/full`);
    expect({ code, stderr }).toEqual({ code: 1, stderr: "error: can't write to standard output: no space left on the device\n" });
  });

  it("standard input without an end", () => {
    const { code, stderr } = run("sh", "-c", `exec "${process.execPath}" ${MAIN} tokenize --file - </dev/zero`);
    expect({ code, stderr }).toEqual({
      code: 2,
      stderr: expect.stringMatching(/^error: standard input has more than 67108864 bytes[^\n]*\n$/),
    });
  });
});
