import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
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
  return spawnSync(command, args, { cwd, shell, env, encoding: "utf8", timeout: 110_000 });
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
    ...["package.json", "README.md", "LICENSE", "CHANGELOG.md", "docs/cli.md", "docs/release.md", "schemas/receipt.v1.schema.json"],
    ...["bitnet.cjs", "validation.cjs", "index.js", "worker.cjs", "perf.js", "LICENSES.txt"].map((name) => `dist/bundle/${name}`),
    ...["dist/engine/index.d.ts", "dist/kernels/plain.wasm", "dist/kernels/relaxed.wasm", "models/bitnet-stories-4m/references.json"],
  ]) {
    expect(paths).toContain(path);
  }
  const allowed =
    /^(?:package\.json|README\.md|LICENSE|CHANGELOG\.md|dist\/bundle\/[\w.]+|dist\/kernels\/\w+\.wasm|dist\/engine\/[\w./-]+\.d\.ts|models\/.+|schemas\/[\w.-]+\.json|docs\/[\w-]+\.(?:md|svg))$/;
  expect(paths.filter((path) => !allowed.test(path) || path.includes(".test."))).toEqual([]);
  expect(JSON.parse(readFileSync(join(user, "node_modules/bitnet-ts/package.json"), "utf8"))).not.toHaveProperty("dependencies");
  expect(readdirSync(join(user, "node_modules")).filter((name) => !name.startsWith("."))).toEqual(["bitnet-ts"]);
});

it("npx bitnet runs, and validates itself: green, and it says what only a clone could tell", () => {
  const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
  expect(run("npx", ["--offline", "--loglevel=error", "bitnet", "--version"], user)).toMatchObject({ status: 0, stdout: `${version}\n` });
  const { status, stdout, stderr } = run("npx", ["--offline", "--loglevel=error", "bitnet", "validate", "--quick"], user);
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
  expect(skipped.map(({ id }) => id)).toEqual(["f.performance", "f.render", "g.sources", "g.debugging", "g.clean-tree"]);
  expect(summary.checks.filter((check) => check.status === "PASS")).toHaveLength(summary.checks.length - skipped.length);
  const prepared = run("npx", ["--offline", "--loglevel=error", "bitnet", "release", "prepare", "--version", "1.0.0"], user);
  expect(prepared).toMatchObject({ status: 2, stderr: expect.stringContaining("a release is prepared in a clone") });
});

const CONSUMER = `import { BitnetError, type GenerationResult, loadModel, type Model } from "bitnet-ts";
const model: Model = await loadModel(undefined, { threads: 1 });
const result: GenerationResult = await model.generate("Once upon a time", { maxTokens: 8, temperature: 0 }).result();
await model.close();
const wrong: unknown = await loadModel("none.gguf").catch((error: unknown) => error);
console.log(JSON.stringify([result.ids.length, wrong instanceof BitnetError && wrong.code]));
`;

it("a consumer in TypeScript is checked against its types, and runs as ESM", () => {
  writeFileSync(join(user, "consumer.mts"), CONSUMER);
  writeFileSync(join(user, "misuse.mts"), 'import { loadModel } from "bitnet-ts";\nawait loadModel(undefined, { threads: "two" });\n');
  const types = ["--types", "node", "--typeRoots", resolve("node_modules/@types")];
  const options = ["--strict", "--module", "nodenext", "--target", "es2023", ...types];
  const checked = run(process.execPath, [resolve("node_modules/typescript/bin/tsc"), ...options, "consumer.mts", "misuse.mts"], user);
  expect(checked.stdout).toMatch(/^misuse\.mts\(2,\d+\): error TS2322[^\n]*\n$/); // that, and nothing else
  expect(run(process.execPath, ["consumer.mjs"], user)).toMatchObject({ status: 0, stdout: '[8,"usage"]\n', stderr: "" });
});
