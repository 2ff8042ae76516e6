// What a change must pass besides tests and lint, as a person would ask for it, through the built command line: go or no-go of `bitnet validate`;
// a dry run of the release, which must leave the tree alone, and is verified; its archive and the npm package, packed twice, the same to the byte.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const work = mkdtempSync(join(realpathSync(tmpdir()), "bitnet-gates-"));
/** The next version: a release must be newer than the current one. */
const version = JSON.parse(readFileSync(join(root, "package.json"), "utf8")).version.replace(/\d+$/, (patch) => Number(patch) + 1);
const environment = { ...process.env, BITNET_DETERMINISTIC: "1", BITNET_SEED: "42", BITNET_NUM_THREADS: "1" };

function run(command, args, more = {}) {
  console.log(`\n$ ${[command, ...args].join(" ")}`);
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: "inherit", ...more });
  if (error || status !== 0) throw new Error(`${command} ${args[0]} ended with ${error?.message ?? status}`);
}

const bitnet = (...args) => run(process.execPath, ["dist/bundle/bitnet.cjs", ...args], { env: environment });

function npmPack(folder) {
  mkdirSync(folder);
  // On Windows npm is a .cmd file, which only a shell can start.
  run("npm", ["pack", "--silent", "--ignore-scripts", "--pack-destination", folder], { shell: process.platform === "win32" });
}

function sameBytes(what, one, other) {
  const hash = (path) => createHash("sha256").update(readFileSync(path)).digest("hex");
  const [a, b] = [hash(one), hash(other)];
  if (a !== b) throw new Error(`${what}: packed twice, and not the same: ${a} and ${b}`);
  console.log(`${what}: packed twice, the same: ${a}`);
}

/** What a dry run must not change. */
function treeHash() {
  const hash = createHash("sha256");
  const files = ["package.json", "package-lock.json", "CHANGELOG.md"];
  for (const folder of ["docs", "bench/results"]) files.push(...readdirSync(join(root, folder)).map((name) => `${folder}/${name}`));
  for (const path of files.sort()) hash.update(`${path}\0`).update(readFileSync(join(root, path)));
  return hash.digest("hex");
}

try {
  const recorded = join(work, "recorded");
  bitnet("validate", "--out", recorded);
  const [, unreleased = ""] = readFileSync(join(root, "CHANGELOG.md"), "utf8").split(/^## .*$/m);
  if (unreleased.trim() === "") console.log("\nCHANGELOG.md has nothing unreleased, as right after a release: the dry run is skipped");
  else tryRelease(recorded);
  const folders = ["npm-once", "npm-again"].map((name) => join(work, name));
  for (const folder of folders) npmPack(folder);
  sameBytes("the npm package", ...folders.map((folder) => join(folder, readdirSync(folder)[0])));
  console.log("\nall gates passed");
} catch (error) {
  console.error(`\ngates: ${error.message}`);
  process.exitCode = 1;
} finally {
  rmSync(work, { recursive: true, force: true });
}

function tryRelease(recorded) {
  const before = treeHash();
  const archives = ["once", "again"].map((name) => {
    bitnet("release", "prepare", "--version", version, "--dry-run", "--results", recorded, "--out", join(work, name));
    return join(work, name, `bitnet-ts-v${version}-artifacts.tar.gz`);
  });
  sameBytes("the release's archive", ...archives);
  const whole = join(work, "whole");
  bitnet("release", "prepare", "--version", version, "--dry-run", "--out", whole);
  // A dry run of a changed tree is none that may be received.
  const open = readFileSync(join(whole, `RELEASE_CHECKLIST_v${version}.md`), "utf8").match(/^- \[ \] [a-g]\..*$/m);
  if (open) console.log(`\nnot verified, because the tree is not ready for a release: ${open[0]}`);
  else for (const path of [whole, archives[0]]) bitnet("release", "verify", path);
  if (treeHash() !== before) throw new Error("a dry run changed the tree");
}
