import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import type { Scratch } from "./scratch.js";

/** What the tests run. */
export interface Baseline {
  /** Of all modules but the test files. */
  readonly modules: string;
  /** The fastest first. */
  readonly tests: readonly TestFile[];
}

export interface TestFile {
  /** From the root: dist/….test.js */
  readonly path: string;
  readonly sha256: string;
  readonly seconds: number;
  /** The longest time without news: of a test, or of what comes before and after them. */
  readonly longest: number;
  /** Of the modules it runs, by path from the root: parts [start, end) of their text that it does not run. */
  readonly unrun: Readonly<Record<string, readonly (readonly [number, number])[]>>;
}

const BASELINE_FILE = "dist/mutate/baseline.json";

/**
 * Tests of other things than the engine and its kernels; of what a change in dist/ alone must break: hashes of files, the bundle; and the fuzz test,
 * which limits what its child processes may use.
 */
const OTHERS =
  /^dist\/(?:cli|bench|validation\/(?:acceptance|release|performance|records|statistics|fuzz))\/|^dist\/(?:engine\/imports|kernels\/emitted)\.test/;

/** What the tests in question load. */
const MODULES = /^dist\/(?:engine|kernels|validation\/(?!acceptance|release|performance|fuzz))\//;

const sha256 = (data: string | Uint8Array): string => createHash("sha256").update(data).digest("hex");

/** Files of a folder, by path from the root. */
export function walk(root: string, folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath, entry.name)).split(sep).join("/"))
    .sort();
}

/** What the tests run, measured once as long as nothing changes. @throws Error if a test fails */
export async function baseline(root: string, makeScratch: () => Scratch, say: (text: string) => void): Promise<Baseline> {
  const modules = sha256(
    walk(root, "dist")
      .filter((path) => /\.(?:js|wasm)$/.test(path) && MODULES.test(path) && !path.endsWith(".test.js"))
      .map((path) => `${path} ${sha256(readFileSync(join(root, path)))}\n`)
      .join(""),
  );
  const at = join(root, BASELINE_FILE);
  const stored = existsSync(at) ? (JSON.parse(readFileSync(at, "utf8")) as Baseline) : undefined;
  const files = walk(root, "dist").filter((path) => path.endsWith(".test.js") && !OTHERS.test(path));
  const hashes = new Map(files.map((path) => [path, sha256(readFileSync(join(root, path)))]));
  const known = (stored?.modules === modules ? stored.tests : []).filter(({ path, sha256 }) => hashes.get(path) === sha256);
  const rest = files.filter((path) => !known.some((test) => test.path === path));
  if (rest.length === 0 && known.length === stored!.tests.length) return stored!;
  if (rest.length > 0) say(`running ${rest.length} test files once, to see what they run`);
  const measured = rest.length > 0 ? await measure(makeScratch(), rest) : [];
  const tests = [...known, ...measured.map((test) => ({ ...test, sha256: hashes.get(test.path)! }))].sort((a, b) => a.seconds - b.seconds);
  mkdirSync(dirname(at), { recursive: true });
  writeFileSync(at, JSON.stringify({ modules, tests }));
  return { modules, tests };
}

interface Coverage {
  readonly result: readonly {
    readonly url: string;
    readonly functions: readonly { readonly ranges: readonly { startOffset: number; endOffset: number; count: number }[] }[];
  }[];
}

async function measure(scratch: Scratch, files: readonly string[]): Promise<Omit<TestFile, "sha256">[]> {
  const folder = join(scratch.root, "dist/coverage");
  mkdirSync(folder);
  const report = join(folder, "report.json");
  const ran = await scratch.run(files, {
    ...{ isolate: true, bail: false, silentMs: () => 3_600_000, args: ["--reporter=json", `--outputFile=${report}`] },
    env: { MUTATE_COVER: "1", NODE_V8_COVERAGE: folder },
  });
  if (!existsSync(report)) throw new Error(`the tests could not be run:\n${ran.output}`);
  const { testResults } = JSON.parse(readFileSync(report, "utf8")) as {
    testResults: readonly {
      readonly name: string;
      readonly status: string;
      readonly assertionResults: readonly { readonly duration?: number }[];
    }[];
  };
  const failed = testResults.filter(({ status }) => status !== "passed").map(({ name }) => relative(scratch.root, name));
  if (failed.length > 0) throw new Error(`tests fail before anything is changed: ${failed.join(", ")}\n${ran.output}`);

  const names = readdirSync(folder);
  const tests: Omit<TestFile, "sha256">[] = [];
  for (const name of names) {
    const [, pid] = name.match(/^file-(\d+)\.json$/) ?? [];
    if (pid === undefined) continue;
    const { path: test, seconds } = JSON.parse(readFileSync(join(folder, name), "utf8")) as { path: string; seconds: number };
    const own = names.filter((one) => one.startsWith(`coverage-${pid}-`)).map((one) => join(folder, one));
    const children = join(folder, `children-${pid}`);
    const others = readdirSync(children).map((one) => join(children, one));
    const unrun = readCoverage(scratch.root, [...own, ...others]);
    rmSync(children, { recursive: true });
    const { assertionResults } = testResults.find((one) => one.name === test)!;
    const durations = assertionResults.map(({ duration = 0 }) => duration / 1000);
    const longest = Math.max(...durations, seconds - durations.reduce((sum, one) => sum + one, 0));
    tests.push({ path: relative(scratch.root, test).split(sep).join("/"), seconds, longest, unrun });
  }
  if (tests.length !== files.length) throw new Error(`${files.length} test files, but what ${tests.length} of them run is known`);
  return tests;
}

/** Parts of the engine's modules that no process ran. */
function readCoverage(root: string, paths: readonly string[]): Record<string, [number, number][]> {
  const unrun: Record<string, [number, number][]> = {};
  for (const path of paths) {
    const { result } = JSON.parse(readFileSync(path, "utf8")) as Coverage;
    for (const { url, functions } of result) {
      if (!url.startsWith("file:")) continue;
      const module = relative(root, fileURLToPath(url)).split(sep).join("/");
      if (!/^dist\/engine\/.*(?<!\.test)\.js$/.test(module)) continue;
      const here = gaps(functions.flatMap(({ ranges }) => ranges));
      const before = unrun[module];
      unrun[module] = before ? intersect(before, here) : here;
    }
  }
  return unrun;
}

/** What a process did not run of a module: of nested ranges the innermost counts. */
function gaps(ranges: readonly { startOffset: number; endOffset: number; count: number }[]): [number, number][] {
  const edges = [...new Set(ranges.flatMap(({ startOffset, endOffset }) => [startOffset, endOffset]))].sort((a, b) => a - b);
  const sorted = ranges.toSorted((a, b) => b.endOffset - b.startOffset - (a.endOffset - a.startOffset));
  const counts = new Float64Array(Math.max(0, edges.length - 1));
  const place = new Map(edges.map((edge, i) => [edge, i]));
  for (const { startOffset, endOffset, count } of sorted) counts.fill(count, place.get(startOffset), place.get(endOffset));
  const found: [number, number][] = [];
  for (const [i, count] of counts.entries()) {
    if (count > 0) continue;
    const last = found.at(-1);
    if (last && last[1] === edges[i]) last[1] = edges[i + 1]!;
    else found.push([edges[i]!, edges[i + 1]!]);
  }
  return found;
}

function intersect(a: readonly (readonly [number, number])[], b: readonly (readonly [number, number])[]): [number, number][] {
  return a.flatMap(([from, to]) =>
    b.flatMap(([start, end]): [number, number][] =>
      Math.max(from, start) < Math.min(to, end) ? [[Math.max(from, start), Math.min(to, end)]] : [],
    ),
  );
}

/** Test files that run a place of a module, the fastest first. */
export function testsOf({ tests }: Baseline, module: string, offset: number): TestFile[] {
  return tests.filter(({ unrun }) => unrun[module] !== undefined && !unrun[module].some(([from, to]) => from <= offset && offset < to));
}
