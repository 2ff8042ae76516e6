import { createHash } from "node:crypto";
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { placeIn, temporaryFolder } from "./files.js";
import { hashOfContents } from "./hashes.js";
import { checkRecord, readRecord } from "./records.js";
import { failureLine, runProgram } from "./run.js";

/** Files and sources of a build. Equal sources and tools give equal bytes. A record: `schemas/build-record.v1.schema.json`. */
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

/** Written last: a failed build leaves none. */
export const BUILD_FILE = "dist/build.json";

/** Files outside the rooms that decide what is built. */
const SETTINGS = ["package.json", "package-lock.json", "tsconfig.json", "scripts/build.mjs", "scripts/bundle.mjs"];
const ROOMS = ["engine", "kernels", "hub", "server", "ai", "validation", "cli"];

/** Published files of dist/. */
export const BUILT = /^dist\/(?:bundle\/.+|kernels\/[^/]+\.wasm|(?:engine|hub|server|ai)\/.+\.d\.c?ts)$/;

const isTest = (path: string): boolean => path.includes(".test.");

/** Sources of the published files: TypeScript except tests, and the build's settings. */
export function sourceHashes(root: string): Hashes {
  const rooms = ROOMS.flatMap((room) => walk(root, room, ["node_modules", "fixtures", "golden"]));
  const paths = [
    ...rooms.filter((path) => path.endsWith(".ts") && !isTest(path)),
    ...SETTINGS.filter((path) => existsSync(join(root, path))),
  ];
  return Object.fromEntries(paths.sort().map((path) => [path, sourceHash(path, readFileSync(join(root, path)))]));
}

/** Published files that the build made. */
export function builtHashes(root: string): Hashes {
  const paths = walk(root, "dist", []).filter((path) => BUILT.test(path) && !isTest(path));
  return Object.fromEntries(paths.sort().map((path) => [path, sha256(readFileSync(join(root, path)))]));
}

/** Published files outside dist/: those that npm always packs, and those that `files` of package.json names. @param overlay see `placeIn` */
export function publishedFiles(root: string, overlay?: string): string[] {
  const { files = [] } = JSON.parse(readFileSync(placeIn(root, overlay, "package.json"), "utf8")) as { files?: string[] };
  const named = [...files.filter((path) => !/[*!]|^dist\b/.test(path)), "package.json", "README.md", "LICENSE"];
  const paths = named.flatMap((path) => {
    return [root, ...(overlay === undefined ? [] : [overlay])].flatMap((folder) => {
      const there = lstatSync(join(folder, path), { throwIfNoEntry: false });
      if (!there) return [];
      return there.isDirectory() ? walk(folder, path, ["node_modules"]) : [path];
    });
  });
  return [...new Set(paths)].filter((path) => !/(?:^|\/)(?:\.DS_Store|\.git|npm-debug\.log)$/.test(path)).sort();
}

/** SHA-256 of a source. The package's own version does not count: a release changes it, and it changes nothing that is built. */
export function sourceHash(path: string, data: Uint8Array): string {
  if (!/^package(?:-lock)?\.json$/.test(path)) return sha256(data);
  const json = JSON.parse(new TextDecoder().decode(data)) as { version?: string; packages?: Record<string, { version?: string }> };
  delete json.version;
  delete json.packages?.[""]?.version;
  return sha256(JSON.stringify(json));
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

/** Writes the record of a finished build. */
export function writeBuildRecord(root: string, tools: Readonly<Record<string, string>>): void {
  const made: BuildRecord = {
    ...{ kind: "build-record", schema_version: 1, node: process.version, tools },
    ...{ sources: sourceHashes(root), files: builtHashes(root) },
  };
  checkRecord("build-record", made, BUILD_FILE);
  writeFileSync(join(root, BUILD_FILE), `${JSON.stringify(made, undefined, 1)}\n`);
}

/** The first file, by path, that differs from its record; undefined: none. */
function firstDifference(before: Hashes, now: Hashes): { readonly path: string; readonly what: string } | undefined {
  const path = Object.keys({ ...before, ...now })
    .sort()
    .find((one) => before[one] !== now[one]);
  if (path === undefined) return undefined;
  return { path, what: now[path] === undefined ? "has been removed" : before[path] === undefined ? "has been added" : "has changed" };
}

/**
 * Why dist/ was not built from the current sources; undefined: it was. Compares hashes only.
 * @param clone the root has the sources
 */
export async function buildFault(root: string, clone: boolean): Promise<string | undefined> {
  const todo = clone ? "run npm run build" : "install the package again";
  if (!existsSync(join(root, BUILD_FILE))) return `${BUILD_FILE} does not exist: the last build failed, or there was none: ${todo}`;
  const { sources, files } = await readRecord<BuildRecord>(join(root, BUILD_FILE), "build-record");
  const source = clone ? firstDifference(sources, sourceHashes(root)) : undefined;
  const built = firstDifference(files, builtHashes(root));
  const differs = source ?? built;
  return differs && `${differs.path} ${differs.what} since the build: ${todo}`;
}

/** Builds the sources of a clone in a temporary folder, and names the first file that differs from dist/; undefined: none. */
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
    if (ended.code !== 0) return `the sources can't be built (run npm ci, then npm run build): ${failureLine(ended)}`;
    const differs = firstDifference(builtHashes(root), builtHashes(folder));
    const how = { "has been removed": "does not make", "has been added": "makes", "has changed": "changes" }[differs?.what ?? ""];
    return differs && `a new build of the sources ${how} ${differs.path}: delete dist, then run npm run build`;
  } finally {
    // The linked packages must not be removed.
    if (lstatSync(join(folder, "node_modules"), { throwIfNoEntry: false })) rmSync(join(folder, "node_modules"));
    rmSync(folder, { recursive: true, force: true });
  }
}

/** One hash for several files of a folder: see `hashOfHashes`. */
export function hashOfFiles(folder: string, names: readonly string[]): string {
  return hashOfContents(names.map((name) => [name, readFileSync(join(folder, name))]));
}

/** Hash of dist/bundle; null if there is none, as when tsc's modules run directly. */
export function bundleSha256(root: string): string | null {
  const folder = join(root, "dist/bundle");
  return existsSync(folder) ? hashOfFiles(folder, readdirSync(folder).sort()) : null;
}

/** Hash of every WebAssembly module, including those of the reference path. */
export function modulesSha256(root: string): string {
  const folder = join(root, "dist/kernels");
  const names = readdirSync(folder).filter((name) => name.endsWith(".wasm"));
  return hashOfFiles(folder, names.sort());
}

function sha256(data: string | Uint8Array): string {
  return createHash("sha256").update(data).digest("hex");
}
