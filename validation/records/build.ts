import { createHash } from "node:crypto";
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { temporaryFolder } from "./files.js";
import { checkRecord, readRecord } from "./records.js";
import { failureLine, runProgram } from "./run.js";

/** What the build made, and of what. Equal sources and tools give equal bytes. A record: `schemas/build-record.v1.schema.json`. */
export interface BuildRecord {
  readonly kind: "build-record";
  readonly schema_version: 1;
  readonly node: string;
  /** Versions of the packages that compile and bundle. */
  readonly tools: Readonly<Record<string, string>>;
  /** See `sourceHashes`. */
  readonly sources: Hashes;
  /** See `builtHashes`. */
  readonly files: Hashes;
}

/** SHA-256, 64 hex, by path from the root, sorted. */
export type Hashes = Readonly<Record<string, string>>;

/** The last thing that a build writes: one that failed leaves none. */
export const BUILD_FILE = "dist/build.json";

/** Files that decide what is built, beside those of the rooms. */
const SETTINGS = ["package.json", "package-lock.json", "tsconfig.json", "scripts/build.mjs", "scripts/bundle.mjs"];
const ROOMS = ["engine", "kernels", "validation", "cli"];

/** What is published of dist/. */
const BUILT = /^dist\/(?:bundle\/.+|kernels\/[^/]+\.wasm|engine\/.+\.d\.c?ts)$/;

const isTest = (path: string): boolean => path.includes(".test.");

/** The sources of what is published: TypeScript that is no test, and what says how to build it. */
export function sourceHashes(root: string): Hashes {
  const rooms = ROOMS.flatMap((room) => walk(root, room, ["node_modules", "fixtures", "golden"]));
  const paths = [
    ...rooms.filter((path) => path.endsWith(".ts") && !isTest(path)),
    ...SETTINGS.filter((path) => existsSync(join(root, path))),
  ];
  return Object.fromEntries(paths.sort().map((path) => [path, sha256(sourceData(root, path))]));
}

/** What the build has made of it. */
export function builtHashes(root: string): Hashes {
  const paths = walk(root, "dist", []).filter((path) => BUILT.test(path) && !isTest(path));
  return Object.fromEntries(paths.sort().map((path) => [path, sha256(readFileSync(join(root, path)))]));
}

/** What is published as it lies in the tree, beside dist/: what npm takes by itself, and what `files` of package.json names. */
export function publishedFiles(root: string): string[] {
  const { files = [] } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { files?: string[] };
  const named = [...files.filter((path) => !/[*!]|^dist\b/.test(path)), "package.json", "README.md", "LICENSE"];
  const paths = named.flatMap((path) => {
    const there = lstatSync(join(root, path), { throwIfNoEntry: false });
    if (!there) return [];
    return there.isDirectory() ? walk(root, path, ["node_modules"]) : [path];
  });
  return [...new Set(paths)].filter((path) => !/(?:^|\/)(?:\.DS_Store|\.git|npm-debug\.log)$/.test(path)).sort();
}

/** The package's own version does not count: a release changes it, and nothing that is built. */
function sourceData(root: string, path: string): string | Buffer {
  const data = readFileSync(join(root, path));
  if (!/^package(?:-lock)?\.json$/.test(path)) return data;
  const json = JSON.parse(data.toString("utf8")) as { version?: string; packages?: Record<string, { version?: string }> };
  delete json.version;
  delete json.packages?.[""]?.version;
  return JSON.stringify(json);
}

/** Paths of the files in a folder, from the root, with `/`. */
function walk(root: string, folder: string, without: readonly string[]): string[] {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory()) return without.includes(entry.name) ? [] : walk(root, path, without);
    return entry.isFile() || entry.isSymbolicLink() ? [path] : [];
  });
}

/** Writes the record of a build that has ended. */
export function writeBuildRecord(root: string, tools: Readonly<Record<string, string>>): void {
  const made: BuildRecord = {
    ...{ kind: "build-record", schema_version: 1, node: process.version, tools },
    ...{ sources: sourceHashes(root), files: builtHashes(root) },
  };
  checkRecord("build-record", made, BUILD_FILE);
  writeFileSync(join(root, BUILD_FILE), `${JSON.stringify(made, undefined, 1)}\n`);
}

/** What became of a file since it was recorded, the first one by path; undefined: all are as they were. */
function firstDifference(before: Hashes, now: Hashes): { readonly path: string; readonly what: string } | undefined {
  const path = Object.keys({ ...before, ...now })
    .sort()
    .find((one) => before[one] !== now[one]);
  if (path === undefined) return undefined;
  return { path, what: now[path] === undefined ? "is gone" : before[path] === undefined ? "is new" : "was changed" };
}

/**
 * Why dist/ is not what the build made, or not of the sources as they are; undefined: it is. By hashes alone.
 * @param clone the root has the sources
 */
export async function buildFault(root: string, clone: boolean): Promise<string | undefined> {
  const todo = clone ? "npm run build" : "install the package again";
  if (!existsSync(join(root, BUILD_FILE))) return `there is no ${BUILD_FILE}: the last build failed, or there was none: ${todo}`;
  const { sources, files } = await readRecord<BuildRecord>(join(root, BUILD_FILE), "build-record");
  const source = clone ? firstDifference(sources, sourceHashes(root)) : undefined;
  const built = firstDifference(files, builtHashes(root));
  const differs = source ?? built;
  return differs && `${differs.path} ${differs.what} since the build: ${todo}`;
}

/** Builds the sources of a clone in a temporary folder, and says what comes out other than dist/ is; undefined: nothing. */
export async function rebuildFault(root: string, signal: AbortSignal | undefined): Promise<string | undefined> {
  const folder = await temporaryFolder("bitnet-build");
  try {
    for (const path of Object.keys(sourceHashes(root))) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), readFileSync(join(root, path)));
    }
    const packages = join(root, "node_modules");
    if (existsSync(packages)) symlinkSync(realpathSync(packages), join(folder, "node_modules"), "junction");
    const ended = await runProgram(process.execPath, [join(folder, "scripts/build.mjs"), "--published"], { cwd: folder, signal });
    if (ended.code !== 0) return `the sources can't be built (npm ci, npm run build): ${failureLine(ended)}`;
    const differs = firstDifference(builtHashes(root), builtHashes(folder));
    const how = { "is gone": "gives no", "is new": "gives", "was changed": "gives another" }[differs?.what ?? ""];
    return differs && `a new build of the sources ${how} ${differs.path}: delete dist, then npm run build`;
  } finally {
    // The packages are not this folder's own.
    if (lstatSync(join(folder, "node_modules"), { throwIfNoEntry: false })) rmSync(join(folder, "node_modules"));
    rmSync(folder, { recursive: true, force: true });
  }
}

/** SHA-256 of the lines `sha256  name` of some files of a folder: one value for all. */
export function hashOfFiles(folder: string, names: readonly string[]): string {
  return sha256(names.map((name) => `${sha256(readFileSync(join(folder, name)))}  ${name}\n`).join(""));
}

/** Of dist/bundle; null where there is none: tsc's modules run as they are. */
export function bundleSha256(root: string): string | null {
  const folder = join(root, "dist/bundle");
  return existsSync(folder) ? hashOfFiles(folder, readdirSync(folder).sort()) : null;
}

/** Of every WebAssembly module, those of the reference path too. */
export function modulesSha256(root: string): string {
  const folder = join(root, "dist/kernels");
  const names = readdirSync(folder).filter((name) => name.endsWith(".wasm"));
  return hashOfFiles(folder, names.sort());
}

function sha256(data: string | Uint8Array): string {
  return createHash("sha256").update(data).digest("hex");
}
