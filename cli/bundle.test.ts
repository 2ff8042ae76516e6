import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { bitnetHere } from "./here.test.helper.js";
import { buildProgram } from "./program.js";

// What is published is a bundle of what the other tests run. It does the same, and finds its files, its workers and its version.

const GREEDY = ["run", "--prompt", "Once upon a time", "--temperature", "0", "--max-tokens", "40"];
const TEXT = "Lily had a small dog.";

function run(main: string, args: readonly string[], input = ""): { code: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], { encoding: "utf8", timeout: 600_000, input });
  return { code: status, stdout, stderr };
}

const bundle = (...args: string[]) => run("dist/bundle/bitnet.cjs", args);

describe("the bundled command line", () => {
  it("writes what the modules write", () => {
    const story = bundle(...GREEDY);
    expect(story).toMatchObject({ code: 0, stdout: expect.stringMatching(/^.{60,}/s) });
    expect(story.stdout).toBe(run("dist/cli/main.js", GREEDY).stdout);
  });

  it("has every command", async () => {
    const help = bundle("--help").stdout;
    for (const command of buildProgram().commands) expect(help).toMatch(new RegExp(`^ {2}${command.name()}\\b`, "m"));
    for (const command of ["run", "parity"]) expect(bundle(command, "--help")).toEqual(await bitnetHere(command, "--help"));
    expect(bundle("info", "--json")).toEqual(await bitnetHere("info", "--json"));
    expect(bundle("tokenize", "--text", TEXT, "--json")).toEqual(await bitnetHere("tokenize", "--text", TEXT, "--json"));
    expect(bundle("chat", "--threads", "1").code).toBe(0); // its input is empty
    const chat = ["tokenize", "--chat", "-", "--json", "--tokenizer", "models/bitnet-stories-4m/packed"];
    const rendered = run("dist/bundle/bitnet.cjs", chat, '[{"role":"user","content":"Hi"}]');
    expect(rendered).toMatchObject({ code: 0, stdout: expect.stringContaining('"<|begin_of_text|>User: Hi<|eot_id|>Assistant: "') });
  });

  it("ends as the modules do: version, mistakes and their exit codes", async () => {
    const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
    expect(bundle("--version")).toEqual({ code: 0, stdout: `${version}\n`, stderr: "" });
    for (const args of [
      ["run", "--threads", "0"],
      ["fly"],
      ["run", "--prompt", "x", "--model", "none.gguf"],
      ["info", "-m", "README.md"],
    ]) {
      const ended = bundle(...args);
      expect(ended).toEqual(await bitnetHere(...args));
      expect(ended.code).toBeGreaterThan(1);
      expect(ended.stderr).toMatch(/^error: .*\n$/);
    }
  });
});

/** Runs outside of the test's own modules, and prints what it saw. */
const BY_NAME = `
  import * as published from "bitnet-ts";
  const model = await published.loadModel(undefined, { threads: 2 });
  const score = await model.score("${TEXT}");
  const chat = await model.chatTemplate.render([{ role: "user", content: "Hi" }]);
  await model.close();
  const refused = await published.loadModel("none.gguf").catch((error) => error instanceof published.BitnetError && error.code);
  console.log(JSON.stringify({ names: Object.keys(published).sort(), score, refused, chat }));
`;

it("the published library, imported by its name, has the names of the modules and gives their results", async () => {
  const own = await import("../engine/index.js");
  const model = await own.loadModel(undefined, { threads: 2 });
  const score = await model.score(TEXT).finally(() => model.close());
  const chat = await model.chatTemplate?.render([{ role: "user", content: "Hi" }]);
  const { status, stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", BY_NAME], { encoding: "utf8" });
  expect(status, stderr).toBe(0);
  expect(JSON.parse(stdout)).toEqual({ names: Object.keys(own).sort(), score, refused: "usage", chat });
});

it("names the packages in it, with their licences", () => {
  const licenses = readFileSync("dist/bundle/LICENSES.txt", "utf8");
  for (const name of ["commander"]) expect(licenses).toMatch(new RegExp(`^${name} [\\d.]+\n\n.*Copyright`, "ms"));
});
