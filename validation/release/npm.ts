import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { copyFile, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { BitnetError } from "../../engine/errors.js";
import { BUILD_FILE, builtHashes, publishedFiles } from "../records/build.js";
import { placeIn, temporaryFolder } from "../records/files.js";
import { type Ended, failureLine, runProgram } from "../records/run.js";

/** The package, as npm publishes it. */
export interface NpmPackage {
  /** name-version.tgz */
  readonly file: string;
  readonly data: Uint8Array;
}

/** Packs a package: injected by tests, for which npm is slow. */
export type PackNpm = (root: string, overlay: string, version: string, signal: AbortSignal | undefined) => Promise<NpmPackage>;

/** The digest of a package as in npm registries: `sha512-` and base64. */
export function integrity(data: Uint8Array): string {
  return `sha512-${createHash("sha512").update(data).digest("base64")}`;
}

/**
 * Packs the files to be published, installs the package in an empty folder, and runs and validates it there.
 * @param overlay files that replace those in `root`
 * @throws BitnetError acceptance: it can't be packed or installed, or does not run; io: npm is not installed
 */
export const packNpm: PackNpm = async (root, overlay, version, signal) => {
  const folder = await temporaryFolder("bitnet-npm");
  const must = (what: string, ended: Ended): string => {
    if (ended.code !== 0) throw new BitnetError("acceptance", `the npm package ${what}: ${failureLine(ended)}`);
    return ended.stdout;
  };
  try {
    const [source, user] = [join(folder, "source"), join(folder, "user")];
    for (const path of new Set([...Object.keys(builtHashes(root)), BUILD_FILE, ...publishedFiles(root, overlay)])) {
      await mkdir(dirname(join(source, path)), { recursive: true });
      await copyFile(placeIn(root, overlay, path), join(source, path));
    }
    const [npm, first, shell] = findNpm();
    // None of this needs scripts or the network.
    const quiet = ["--ignore-scripts", "--offline", "--no-audit", "--no-fund", "--no-update-notifier"];
    const packed = await runProgram(npm, [...first, "pack", "--json", ...quiet], { cwd: source, shell, signal });
    const [made] = JSON.parse(must("can't be packed", packed)) as readonly { readonly filename: string }[];
    const file = join(source, basename(made?.filename ?? ""));
    await mkdir(user);
    await writeFile(join(user, "package.json"), '{ "private": true }\n');
    must("can't be installed", await runProgram(npm, [...first, "install", ...quiet, file], { cwd: user, shell, signal }));
    const bitnet = (...args: string[]): Promise<Ended> =>
      runProgram(process.execPath, [join(user, "node_modules/bitnet-ts/dist/bundle/bitnet.cjs"), ...args], { cwd: user, signal });
    const says = must("does not run", await bitnet("--version")).trim();
    if (says !== version) throw new BitnetError("acceptance", `the npm package has version ${says} instead of ${version}`);
    must("does not pass validate --quick after its installation", await bitnet("validate", "--quick"));
    return { file: basename(file), data: await readFile(file) };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
};

/** How to run npm: command, first arguments, and whether a shell is needed. */
function findNpm(): readonly [command: string, first: readonly string[], shell: boolean] {
  const node = dirname(process.execPath);
  const places = [
    process.env.npm_execpath ?? "",
    join(node, "node_modules/npm/bin/npm-cli.js"),
    join(node, "../lib/node_modules/npm/bin/npm-cli.js"),
  ];
  const script = places.find((path) => basename(path) === "npm-cli.js" && existsSync(path));
  // On Windows npm is a .cmd file, which only a shell can start.
  return script ? [process.execPath, [script], false] : ["npm", [], process.platform === "win32"];
}
