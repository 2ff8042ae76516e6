// Builds everything into dist/: TypeScript by tsc, the AssemblyScript kernels, one wasm module a tier, then the bundle that is published; last,
// the record of files and sources, dist/build.json. With --published it makes only the published files, without benchmarks and record:
// `bitnet validate` compares dist/ with them.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const require = createRequire(import.meta.url);

/** The bin script of an installed package, run with this very node: no shell, no PATH, the same on every system. */
function run(script, args) {
  const { status } = spawnSync(process.execPath, [script, ...args], { cwd: root, stdio: ["ignore", "inherit", "inherit"] });
  if (status !== 0) process.exit(status ?? 1);
}

const published = process.argv.includes("--published");
// A failed build leaves no record.
rmSync(join(root, "dist/build.json"), { force: true });

const bin = (pkg, path) => join(dirname(require.resolve(`${pkg}/package.json`)), path);

run(bin("typescript", "bin/tsc"), ["-p", "tsconfig.json"]);

/** tsc leaves what it made of a source that is gone; a deleted test would run on. */
function removeStale(directory) {
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory() && entry.name !== "bundle") removeStale(path);
    const [, source] = relative(join(root, "dist"), path).match(/^(.*)\.(?:js|js\.map|d\.c?ts)$/) ?? [];
    if (source !== undefined && !existsSync(join(root, `${source}.ts`))) rmSync(path);
  }
}
removeStale(join(root, "dist"));

// Each tier is the same source: `ASC_FEATURE_RELAXED_SIMD` chooses at compile time. The benchmarks have kernels of their own.
const tiers = { plain: [], relaxed: ["--enable", "relaxed-simd"] };
for (const room of published ? ["kernels"] : ["kernels", "bench"]) {
  mkdirSync(join(root, "dist", room), { recursive: true });
  for (const [tier, flags] of Object.entries(tiers)) {
    run(bin("assemblyscript", "bin/asc.js"), [
      `${room}/assembly/index.ts`,
      ...["--outFile", `dist/${room}/${tier}.wasm`, "--textFile", `dist/${room}/${tier}.wat`],
      ...["-O3", "--noAssert", "--runtime", "stub", "--importMemory", "--enable", "simd", "--enable", "threads"],
      // The module declares the most a wasm32 memory can be; the arena's plan sets the real size.
      ...["--sharedMemory", "--maximumMemory", "65536"],
      ...flags,
    ]);
  }
}

// What the reference path multiplies floats with is no tier.
run(bin("assemblyscript", "bin/asc.js"), [
  "kernels/assembly/products.ts",
  ...["--outFile", "dist/kernels/products.wasm", "--textFile", "dist/kernels/products.wat", "-O3", "--noAssert", "--runtime", "stub"],
  ...["--enable", "simd"],
]);

run("scripts/bundle.mjs", []);

if (!published) {
  const { writeBuildRecord } = await import("../dist/validation/records/build.js");
  const versionOf = (name) => JSON.parse(readFileSync(join(root, "node_modules", name, "package.json"), "utf8")).version;
  const tools = ["typescript", "assemblyscript", "binaryen", "rolldown"].map((name) => [name, versionOf(name)]);
  writeBuildRecord(root, Object.fromEntries(tools));
}
