import { spawnSync } from "node:child_process";
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { THOROUGH } from "../engine/thorough.test.helper.js";
import type { AcceptanceSummary } from "../validation/acceptance/acceptance.js";

// What `npm publish` would send, installed into an empty folder: it is all that a user has.

const folder = mkdtempSync(join(tmpdir(), "bitnet-package-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const user = join(folder, "user");

interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function run(command: string, args: readonly string[], cwd: string): Ended {
  const shell = process.platform === "win32" && command.startsWith("np"); // npm and npx are .cmd files there
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(?:BITNET_|npm_)/i.test(name)));
  return spawnSync(command, args, { cwd, shell, env, encoding: "utf8", timeout: 600_000 });
}

interface Packed {
  readonly filename: string;
  readonly files: readonly { readonly path: string }[];
}

let packed: Packed;

beforeAll(() => {
  mkdirSync(user);
  writeFileSync(join(user, "package.json"), '{ "private": true }\n');
  const made = run("npm", ["pack", "--json", "--ignore-scripts", "--loglevel=silent", "--pack-destination", folder], ".");
  expect(made.status, made.stderr).toBe(0);
  packed = (JSON.parse(made.stdout) as Packed[])[0]!;
  const installed = run("npm", ["install", "--offline", "--no-audit", "--no-fund", join(folder, basename(packed.filename))], user);
  expect(installed.status, installed.stderr).toBe(0);
});

it("has what a user needs, and nothing else", () => {
  const paths = packed.files.map(({ path }) => path);
  for (const path of [
    ...[
      "package.json",
      "README.md",
      "LICENSE",
      "CHANGELOG.md",
      "docs/batch.md",
      "docs/cli.md",
      "docs/server.md",
      "docs/release.md",
      "schemas/receipt.v1.schema.json",
    ],
    ...[
      "bitnet.cjs",
      "validation.cjs",
      "index.js",
      "index.cjs",
      "hub.js",
      "hub.cjs",
      "server.js",
      "server.cjs",
      "web.js",
      "web-chat.js",
      "web-worker.js",
      "web-store.js",
      "workerd.js",
      "worker.cjs",
      "perf.js",
      "LICENSES.txt",
    ].map((name) => `dist/bundle/${name}`),
    ...[
      "dist/engine/index.d.ts",
      "dist/engine/web.d.ts",
      "dist/engine/workerd.d.ts",
      "dist/engine/index.d.cts",
      "dist/hub/index.d.ts",
      "dist/hub/index.d.cts",
      "dist/ai/index.d.ts",
      "dist/ai/index.d.cts",
      "dist/server/index.d.ts",
      "dist/server/index.d.cts",
      "dist/kernels/plain.wasm",
      "dist/kernels/relaxed.wasm",
      "models/bitnet-stories-4m/references.json",
    ],
  ]) {
    expect(paths).toContain(path);
  }
  const allowed =
    /^(?:package\.json|README\.md|LICENSE|CHANGELOG\.md|dist\/build\.json|dist\/bundle\/[\w.-]+|dist\/kernels\/\w+\.wasm|dist\/(?:ai|engine|hub|server)\/[\w./-]+\.d\.c?ts|models\/.+|schemas\/[\w.-]+\.json|docs\/[\w-]+\.(?:md|png|svg))$/;
  expect(paths.filter((path) => !allowed.test(path) || path.includes(".test."))).toEqual([]);
  const manifest = JSON.parse(readFileSync(join(user, "node_modules/bitnet-ts/package.json"), "utf8")) as Record<string, unknown>;
  expect(manifest).not.toHaveProperty("dependencies");
  expect(manifest).toMatchObject({ repository: expect.anything(), homepage: expect.anything(), bugs: expect.anything() });
  // What npm runs where a package is installed from the registry.
  expect(Object.keys(manifest.scripts as object).filter((name) => /^(?:pre|post)?install$/.test(name))).toEqual([]);
  expect(readdirSync(join(user, "node_modules")).filter((name) => !name.startsWith("."))).toEqual(["bitnet-ts"]);
});

const installed = "node_modules/bitnet-ts/dist/bundle/bitnet.cjs";

it("npx bitnet runs, and refuses what only a clone can do", () => {
  const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
  expect(run("npx", ["--offline", "--loglevel=error", "bitnet", "--version"], user)).toMatchObject({ status: 0, stdout: `${version}\n` });
  const prepared = run(process.execPath, [installed, "release", "prepare", "--version", "1.0.0"], user);
  expect(prepared).toMatchObject({ status: 2, stderr: expect.stringContaining("prepare releases in a clone") });
});

// Takes seven seconds: CI runs it.
it.runIf(THOROUGH)("validates itself: green, and it says what only a clone could tell", () => {
  const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
  const { status, stdout, stderr } = run(process.execPath, [installed, "validate", "--quick"], user);
  expect(stderr).toBe("");
  expect(stdout).toMatch(/\nALL ACCEPTANCE TESTS PASSED\n$/);
  expect(status).toBe(0);
  const summary = JSON.parse(readFileSync(join(user, "artifacts/acceptance_summary.json"), "utf8")) as AcceptanceSummary;
  expect(summary).toMatchObject({
    verdict: "PASS",
    quick: true,
    provenance: { git_commit: null, git_dirty: null, package_version: version },
  });
  const skipped = summary.checks.filter((check) => check.status === "SKIP");
  expect(skipped.map(({ id }) => id)).toEqual([
    "f.performance",
    "f.render",
    "g.sources",
    "g.bundle",
    "g.debugging",
    "g.tests",
    "g.clean-tree",
  ]);
  expect(summary.checks.filter((check) => check.status === "PASS")).toHaveLength(summary.checks.length - skipped.length);
});

const REQUIRED = `const { loadModel, BitnetError } = require("bitnet-ts");
const { findModel } = require("bitnet-ts/hub");
const { createHandler } = require("bitnet-ts/server");
const { languageModel } = require("bitnet-ts/ai");
const unknown = () => { try { findModel("o/n", { cache: "none" }); } catch (error) { return error instanceof BitnetError && error.code; } };
(async () => {
  const model = await loadModel(undefined, { threads: 1 });
  const { ids } = await model.generate("Once upon a time", { maxTokens: 8, temperature: 0 }).result();
  const ask = createHandler(new Map([["stories", model]]));
  const request = { prompt: "Once upon a time", max_tokens: 8, temperature: 0 };
  const post = { method: "POST", headers: { "content-type": "application/json" } };
  const answer = await ask(new Request("http://localhost/v1/completions", { ...post, body: JSON.stringify(request) }));
  const { usage } = await answer.json();
  const prompt = [{ role: "user", content: [{ type: "text", text: "Hi" }] }];
  const { finishReason } = await languageModel(model).doGenerate({ prompt, maxOutputTokens: 4 });
  await model.close();
  const wrong = await loadModel("none.gguf").catch((error) => error);
  console.log(JSON.stringify([ids.length, usage.completion_tokens, finishReason.raw, wrong instanceof BitnetError && wrong.code, unknown()]));
})();
`;

it("npm refuses to pack a tree that is not built, or has changed since it was built", () => {
  const tree = join(folder, "tree");
  const prepack = (): Ended => run(process.execPath, ["scripts/prepack.mjs"], tree);
  for (const path of ["package.json", "scripts/prepack.mjs"]) cpSync(path, join(tree, path));
  expect(prepack()).toMatchObject({ status: 1, stderr: "bitnet: not packed: dist is not built: run npm run build\n" });
  const { sources } = JSON.parse(readFileSync("dist/build.json", "utf8")) as { readonly sources: Readonly<Record<string, string>> };
  for (const path of [...Object.keys(sources), "dist", "schemas"]) cpSync(path, join(tree, path), { recursive: true });
  symlinkSync(resolve("node_modules"), join(tree, "node_modules"), "junction");
  expect(prepack()).toMatchObject({ status: 0, stdout: "", stderr: "" });
  writeFileSync(join(tree, "dist/bundle/worker.cjs"), "1;\n");
  expect(prepack()).toMatchObject({ status: 1, stderr: expect.stringContaining("dist/bundle/worker.cjs has changed since the build") });
  rmSync(join(tree, "dist/build.json"));
  expect(prepack()).toMatchObject({ status: 1, stderr: expect.stringContaining("dist/build.json does not exist") });
});

it("can be required", () => {
  writeFileSync(join(user, "required.cjs"), REQUIRED);
  expect(run(process.execPath, ["required.cjs"], user)).toMatchObject({
    status: 0,
    stdout: '[8,8,"length","usage","usage"]\n',
    stderr: "",
  });
});

it("an uncaught error shows short lines", () => {
  writeFileSync(join(user, "uncaught.mjs"), 'import { loadModel } from "bitnet-ts";\nawait loadModel("none.gguf");\n');
  const { status, stderr } = run(process.execPath, ["uncaught.mjs"], user);
  expect(status).toBe(1);
  expect(stderr).toContain("BitnetError: none.gguf: no such file or directory");
  expect(stderr).toMatch(/\n {4}at .*loadModel.*index\.js:\d{3,}/); // a line of the bundle, with a name
  expect(Math.max(...stderr.split("\n").map((line) => line.length))).toBeLessThan(500);
});

it("its files gone, as after bundling, it says in one sentence what to do", () => {
  const bundled = join(user, "bundled");
  mkdirSync(bundled);
  const library = join(user, "node_modules/bitnet-ts/dist/bundle");
  for (const name of ["index.js", "index.cjs"]) copyFileSync(join(library, name), join(bundled, name.replace(/\.js$/, ".mjs")));
  const caught = "(error) => console.log(error.name, error.message)";
  const model = JSON.stringify(join(user, "node_modules/bitnet-ts/models/bitnet-stories-4m/ggml-model-i2_s.gguf"));
  for (const [what, path] of [
    ["its embedded model", ""],
    ["its worker", model],
  ]) {
    const sentence = `BitnetError bitnet-ts can't find ${what}: it was bundled without its other files; mark the package "bitnet-ts" as external (esbuild: --external:bitnet-ts), so that it is loaded from node_modules\n`;
    writeFileSync(join(bundled, "main.mjs"), `import { loadModel } from "./index.mjs";\nloadModel(${path}).catch(${caught});\n`);
    writeFileSync(join(bundled, "main.cjs"), `require("./index.cjs").loadModel(${path}).catch(${caught});\n`);
    for (const main of ["main.mjs", "main.cjs"])
      expect(run(process.execPath, [main], bundled)).toMatchObject({ status: 0, stdout: sentence, stderr: "" });
  }
});

// A user's program may have neither Node's declarations nor the DOM's, and may check ours.
const CONSUMER = `declare const console: { log(text: string): void };
import { BitnetError, type GenerationResult, loadModel, type Model } from "bitnet-ts";
import { CATALOGUE, list, type Listing, pull, type StoredModel } from "bitnet-ts/hub";
const known: string = CATALOGUE[0]!.name;
const there: Listing = await list({ cache: "none" });
const get: (name: string) => Promise<StoredModel> = (name) => pull(name, { onProgress: ({ done, total }) => console.log(String(done / total)) });
if (there.models.length > 0) await get(known);
const model: Model = await loadModel(undefined, { threads: 1 });
const result: GenerationResult = await model.generate("Once upon a time", { maxTokens: 8, temperature: 0 }).result();
await model.close();
const wrong: unknown = await loadModel("none.gguf").catch((error: unknown) => error);
console.log(JSON.stringify([result.ids.length, wrong instanceof BitnetError && wrong.code]));
`;

// Takes seconds: CI runs it.
it.runIf(THOROUGH)("a consumer in TypeScript is checked against its types, and runs as ESM", () => {
  writeFileSync(join(user, "consumer.mts"), CONSUMER);
  writeFileSync(join(user, "misuse.mts"), 'import { loadModel } from "bitnet-ts";\nawait loadModel(undefined, { threads: "two" });\n');
  const compilerOptions = { strict: true, module: "nodenext", target: "es2022", lib: ["es2022"], types: [] };
  writeFileSync(join(user, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["consumer.mts", "misuse.mts"] }));
  const checked = run(process.execPath, [resolve("node_modules/typescript/bin/tsc"), "-p", "."], user);
  expect(checked.stdout).toMatch(/^misuse\.mts\(2,\d+\): error TS2322[^\n]*\n$/); // that, and nothing else
  expect(run(process.execPath, ["consumer.mjs"], user)).toMatchObject({ status: 0, stdout: '[8,"usage"]\n', stderr: "" });
});
