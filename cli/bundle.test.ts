import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { buildProgram } from "./program.js";

// What is published is a bundle of what the other tests run. It does the same, and finds its files, its workers and its version.

const GREEDY = ["run", "--prompt", "Once upon a time", "--temperature", "0", "--max-tokens", "40"];
const TEXT = "Lily had a small dog.";

function run(main: string, args: readonly string[]): { code: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], { encoding: "utf8", timeout: 60_000, input: "" });
  return { code: status, stdout, stderr };
}

const modules = (...args: string[]) => run("dist/cli/main.js", args);
const bundle = (...args: string[]) => run("dist/bundle/bitnet.js", args);

describe("the bundled command line", () => {
  it("writes what the modules write", () => {
    const story = bundle(...GREEDY);
    expect(story).toMatchObject({ code: 0, stdout: expect.stringMatching(/^.{60,}/s) });
    expect(story.stdout).toBe(modules(...GREEDY).stdout);
  });

  it("has every command", () => {
    for (const command of buildProgram().commands) {
      const help = bundle(command.name(), "--help");
      expect(help).toMatchObject({ code: 0, stdout: expect.stringContaining(`bitnet ${command.name()}`) });
    }
    expect(bundle("info", "--json")).toEqual(modules("info", "--json"));
    expect(bundle("tokenize", "--text", TEXT, "--json")).toEqual(modules("tokenize", "--text", TEXT, "--json"));
    expect(bundle("chat", "--threads", "1").code).toBe(0); // its input is empty
  });

  it("ends as the modules do: version, mistakes and their exit codes", () => {
    const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
    expect(bundle("--version")).toEqual({ code: 0, stdout: `${version}\n`, stderr: "" });
    for (const args of [
      ["run", "--threads", "0"],
      ["fly"],
      ["run", "--prompt", "x", "--model", "none.gguf"],
      ["info", "-m", "README.md"],
    ]) {
      const ended = bundle(...args);
      expect(ended).toEqual(modules(...args));
      expect(ended.code).toBeGreaterThan(1);
      expect(ended.stderr).toMatch(/^error: .*\n$/);
    }
  });
});

it("the published library scores as the modules do, and has the same names", async () => {
  const published: typeof import("../engine/index.js") = await import(new URL("../bundle/index.js", import.meta.url).href);
  const own = await import("../engine/index.js");
  expect(Object.keys(published).sort()).toEqual(Object.keys(own).sort());
  const [theirs, ours] = await Promise.all([published.loadModel(undefined, { threads: 2 }), own.loadModel(undefined, { threads: 2 })]);
  try {
    expect(await theirs.score(TEXT)).toEqual(await ours.score(TEXT));
  } finally {
    await Promise.all([theirs.close(), ours.close()]);
  }
  await expect(published.loadModel("none.gguf")).rejects.toBeInstanceOf(published.BitnetError);
});

it("names the packages in it, with their licences", () => {
  const licenses = readFileSync("dist/bundle/LICENSES.txt", "utf8");
  for (const name of ["commander", "@huggingface/jinja"]) expect(licenses).toMatch(new RegExp(`^${name} [\\d.]+\n\n.*Copyright`, "ms"));
});
