import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { mkdir, readFile, rename, rm } from "node:fs/promises";
import { dirname, join, relative, resolve, sep } from "node:path";
import { BitnetError } from "../../engine/errors.js";
import {
  type AcceptanceOptions,
  type AcceptanceSummary,
  acceptanceFailure,
  BANNER_FILE,
  type CheckReport,
  FAILURES_FILE,
  isClone,
  PARITY_FILE,
  runAcceptance,
  SUMMARY_FILE,
} from "../acceptance/acceptance.js";
import { environmentFault } from "../acceptance/environment.js";
import { modelRecords, SIGN_OFF } from "../acceptance/sign-off.js";
import { EMBEDDED_PAIR } from "../parity/sides.js";
import { runPair } from "../performance/alternate.js";
import { appendRelease, HISTORY_FILE, readHistory } from "../performance/history.js";
import { type PerfRecord, perfPath, readPerf } from "../performance/perf.js";
import { PERF_PAGE, PICTURE, renderPerf } from "../performance/render.js";
import { staleReasons } from "../performance/stale.js";
import { perfRecordPaths, storedFaults } from "../performance/stored.js";
import { CHANGELOG_FILE, releaseChangelog } from "../records/changelog.js";
import { ioFailure, placeIn, removeStale, staleOf, temporaryPath, writeWhole } from "../records/files.js";
import { type GitState, gitFile, gitState } from "../records/git.js";
import { PACKAGE_FILE } from "../records/package.js";
import { writeRecord } from "../records/records.js";
import { checklist, handCommands, openCriteria, WARNINGS } from "./checklist.js";
import { buildOf, LICENSES_FILE, packageDigest, textOf } from "./contents.js";
import { type NpmPackage, type PackNpm, packNpm } from "./npm.js";
import { MANIFEST_FILE, packArtifacts, releaseNames, SUMS_FILE, sums } from "./pack.js";
import { type PlacedFile, placeFiles } from "./place.js";
import { takeResults } from "./results.js";
import { lockedLibraries, sbom } from "./sbom.js";
import type { Sign } from "./signature.js";
import { statement } from "./statement.js";
import { type ArchiveFile, digestOf } from "./tar.js";
import { digestsOf, type Files, unpackPackage } from "./unpack.js";
import { verifyRelease } from "./verify.js";
import { checkVersion, committed } from "./version.js";

export interface ReleaseOptions
  extends Pick<
    AcceptanceOptions,
    "cliArgs" | "seed" | "deterministic" | "environment" | "date" | "kernels" | "onBanner" | "onCheck" | "checks"
  > {
  /** X.Y.Z */
  readonly version: string;
  /** Changes nothing of the tree. */
  readonly dryRun: boolean;
  /** The release's folder; one that is there already is replaced, if it is one. */
  readonly out: string;
  /** Folder with the artifacts of `bitnet validate`, to be packed instead of a new run's. */
  readonly results?: string | undefined;
  /** Measure performance again even if it is not stale. */
  readonly perf?: boolean | undefined;
  /** Default: `packNpm`. */
  readonly pack?: PackNpm;
  /** Signs the statement. */
  readonly sign?: Sign | undefined;
  /** Default: this package's. */
  readonly root?: string;
  readonly signal?: AbortSignal | undefined;
  readonly onMeasure?: (done: number, total: number) => void;
}

/** What has been prepared. */
export interface Release {
  readonly tag: string;
  readonly out: string;
  /** In `out`. */
  readonly files: readonly string[];
  /** Of the tree, that were changed, or with `dryRun` would be. */
  readonly tree: readonly string[];
  readonly commands: readonly string[];
  readonly summary: AcceptanceSummary;
  /** Why it is not ready: in a dry run, a changed tree or no deterministic environment. undefined: it is. */
  readonly noGo: string | undefined;
}

/** Of the folder: what goes into the tree. */
const TREE = "tree";
/** Samples of each format, as those of `bitnet perf`. */
const ITERATIONS = 20;

/**
 * Prepares a release: performance where it is stale, acceptance, changelog and version, archive, bill of materials and checklist. All is made
 * in a folder with a temporary name; when every check has passed, the tree's files are replaced, each whole, and the folder gets its name.
 * When something fails, the tree is as it was.
 * @throws BitnetError usage: not a clone, a bad version; acceptance: a check failed; file, stale: results that are not of this tree
 */
export async function prepareRelease(options: ReleaseOptions): Promise<Release> {
  const { version, signal, root = dirname(PACKAGE_FILE) } = options;
  const out = resolve(options.out);
  const git = stateOf(root);
  checkVersion(root, version);
  const unset = options.dryRun ? undefined : environmentFault(options.environment ?? "");
  if (unset !== undefined) throw new BitnetError("acceptance", unset);
  if (existsSync(out) && !isRelease(out))
    throw new BitnetError("usage", `${options.out} already exists and is not a release: choose another folder (--out)`);
  const staging = temporaryPath(out);
  const overlay = join(staging, TREE);
  const names = releaseNames(version);
  try {
    await mkdir(overlay, { recursive: true }).catch((error: unknown) => {
      throw ioFailure("write", overlay, error);
    });
    const own = new Set([...(await embeddedRecords(root, overlay)).map(({ path }) => path), names.checklist]);
    for (const earlier of [out, ...(await staleOf(out))]) await takeOver(join(earlier, TREE), root, overlay, own);
    await removeStale(out);
    // Temporary files of a killed run would make the tree dirty.
    if (!options.dryRun) for (const { path } of overlayFiles(root, overlay)) await removeStale(join(root, path));
    await versionFiles(root, overlay, version, new Date(git.time * 1000).toISOString().slice(0, 10), options.dryRun);
    await performance(options, root, overlay);
    await history(root, overlay, version);
    const results = join(staging, "results");
    let summary: AcceptanceSummary;
    let warned: CheckReport | undefined;
    if (options.results === undefined) summary = await accept(options, root, overlay, results);
    else {
      summary = await takeResults(options.results, results, git, options.dryRun);
      // What was recorded says nothing of the tree as it is now.
      const now = await accept({ ...options, checks: SIGN_OFF }, root, overlay, join(staging, "sign-off"));
      pass(now);
      warned = now.checks.find(isWarning);
    }
    pass(summary);
    const open = openCriteria(summary);
    if (open.length > 0 && !(options.dryRun && openCriteria(summary, WARNINGS).length === 0))
      throw new BitnetError("acceptance", `ship criteria are not met: ${open.join("; ")}`);
    // A dry run may be of a changed tree; it says so.
    const warning = summary.checks.find(isWarning) ?? warned;
    signal?.throwIfAborted();

    const at = (path: string): string => placeIn(root, overlay, path);
    const pages = [...renderPerf(await perfRecords(root, overlay), readHistory(readFileSync(at(HISTORY_FILE), "utf8"))).keys()];
    const npm = await (options.pack ?? packNpm)(root, overlay, version, signal);
    const contents = await unpackPackage(npm.data, npm.file);
    const bom = sbomOf(contents, await readFile(at("package-lock.json"), "utf8"), version, git.time, npm);
    const packed: ArchiveFile[] = [
      ...(await archiveFiles([...perfRecordPaths(root, overlay), HISTORY_FILE, ...pages, CHANGELOG_FILE, "docs/release.md"], at)),
      ...(await archiveFiles([SUMMARY_FILE, PARITY_FILE, FAILURES_FILE, BANNER_FILE], (path) => join(results, path))),
      { path: names.sbom, data: bom },
    ];
    const { archive, manifest } = await packArtifacts(packed, summary, version, packageDigest(npm, contents), git.time);
    const made: ArchiveFile[] = [
      { path: names.archive, data: archive },
      { path: npm.file, data: npm.data },
      { path: names.sbom, data: bom },
      { path: MANIFEST_FILE, data: manifest },
    ];
    const tag = `v${version}`;
    const tree = [...changes(root, overlay).map(({ path }) => path), names.checklist];
    // What an earlier run has put there belongs to the commit, too.
    const put = overlayFiles(root, overlay).map(({ path }) => path);
    const add = [...put.filter((path) => path !== names.checklist), names.checklist];
    const commands = handCommands({ tag, add, push: git.branch !== null, publish: publishPath(root, join(out, npm.file)) });
    const digests = made.map(({ path, data }) => digestOf(path, data));
    const text = Buffer.from(checklist({ version, tag, summary, artifacts: digests, commands }));
    made.push({ path: names.checklist, data: text });
    await writeWhole(join(overlay, names.checklist), text);
    const says = statement({
      ...{ version, npm: { path: npm.file, data: npm.data }, files: made.filter(({ path }) => path !== npm.file) },
      ...{ contents, build: buildOf(contents), summary, commit: git.commit },
      lockSha256: digestOf("", await readFile(at("package-lock.json"))).sha256,
      tree: overlayFiles(root, overlay).map(({ path, after }) => digestOf(path, after)),
    });
    made.push({ path: names.statement, data: says });
    const signature = await options.sign?.(says);
    if (signature) made.push({ path: names[signature.kind], data: signature.data });
    made.push({ path: SUMS_FILE, data: Buffer.from(sums(made.map(({ path, data }) => digestOf(path, data)))) });
    for (const { path, data } of made) await writeWhole(join(staging, path), data);
    for (const name of ["results", "sign-off"]) await rm(join(staging, name), { recursive: true, force: true });
    // What a receiver would refuse must not go out.
    if (!warning) await verifyRelease(staging);
    await swap(staging, out);
    if (!options.dryRun) await putInto(root, join(out, TREE), out);
    const noGo = warning && `${warning.id}: ${warning.reason}`;
    return { tag, out, files: made.map(({ path }) => path), tree, commands, summary, noGo };
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

/** The bill of materials of a package. */
function sbomOf(contents: Files, lock: string, version: string, time: number, npm: NpmPackage): Uint8Array {
  const { description = "", license = "" } = JSON.parse(textOf(contents, "package.json")) as { description?: string; license?: string };
  const libraries = lockedLibraries(textOf(contents, LICENSES_FILE), lock);
  const sha512 = createHash("sha512").update(npm.data).digest("hex");
  return sbom({ version, time, description, license, sha512, files: digestsOf(contents), libraries });
}

/** In a dry run only. */
function isWarning({ id, status }: CheckReport): boolean {
  return WARNINGS.includes(id) && status !== "PASS";
}

/** A path for a command that runs in `root`. */
function publishPath(root: string, path: string): string {
  const inside = relative(root, path).split(sep).join("/");
  const shown = inside.startsWith("..") ? path : `./${inside}`;
  return /^[\w./@:\\-]+$/.test(shown) ? shown : JSON.stringify(shown);
}

function stateOf(root: string): GitState {
  const git = isClone(root) ? gitState(root) : undefined;
  if (git) return git;
  throw new BitnetError("usage", `${root} is not a clone with a commit: prepare releases in a clone`);
}

/**
 * package.json, package-lock.json and the changelog as the release has them: made of the commit's, so that nothing else in the tree goes out with them.
 * A dry run takes what was changed in the tree, which makes it no go.
 */
async function versionFiles(root: string, overlay: string, version: string, date: string, dryRun: boolean): Promise<void> {
  const raised = (text: string): string => {
    const json = JSON.parse(text) as { version: string; packages?: Record<string, { version?: string }> };
    json.version = version;
    if (json.packages?.[""]) json.packages[""].version = version;
    return `${JSON.stringify(json, undefined, 2)}\n`;
  };
  const release = {
    [CHANGELOG_FILE]: (text: string) => releaseChangelog(text, version, date),
    "package.json": raised,
    "package-lock.json": raised,
  };
  for (const [path, change] of Object.entries(release)) {
    const [head, here] = [committed(root, path), readFileSync(join(root, path), "utf8")];
    const edited = dryRun && here !== head && here !== change(head);
    await writeWhole(join(overlay, path), change(edited ? here : head));
  }
}

function embeddedRecords(root: string, overlay: string): ReturnType<typeof modelRecords> {
  return modelRecords({ models: EMBEDDED_PAIR, files: {}, root, overlay, embedded: true });
}

/** Measures both formats where a record is missing, stale or not valid, or if asked, and renders the page. */
async function performance(options: ReleaseOptions, root: string, overlay: string): Promise<void> {
  const { cliArgs, seed, deterministic, date, kernels = {}, signal, onMeasure } = options;
  const faults = await embeddedFaults(root, overlay);
  if (faults.length === 0 && !options.perf) return;
  if (options.results !== undefined)
    throw new BitnetError(
      "stale",
      `${faults[0] ?? "performance is to be measured again (--perf)"}, so recorded results can't be packed: measure with bitnet perf compare --record`,
    );
  const [a, b] = EMBEDDED_PAIR;
  const pair = await runPair({ cliArgs, seed: seed ?? 0, deterministic, date, iterations: ITERATIONS, signal, onProgress: onMeasure }, [
    { model: a, load: kernels },
    { model: b, load: kernels },
  ]);
  for (const record of pair) await writeRecord(join(overlay, perfPath(record)), "perf-record", record);
  const [fault] = await embeddedFaults(root, overlay);
  if (fault !== undefined) throw new BitnetError("acceptance", `the new measurement is not valid: ${fault}`);
}

/** Adds the release to the history of HEAD, and renders the page and its pictures. */
async function history(root: string, overlay: string, version: string): Promise<void> {
  const before = gitFile(root, HISTORY_FILE)?.toString("utf8") ?? "";
  readHistory(before); // what is wrong must not be continued
  const records = await perfRecords(root, overlay);
  const text = appendRelease(before, version, records);
  await writeWhole(join(overlay, HISTORY_FILE), text);
  for (const [path, page] of renderPerf(records, readHistory(text))) {
    // What is committed as it should be is no part of the release's changes.
    if (gitFile(root, path)?.toString("utf8") !== page) await writeWhole(join(overlay, path), page);
  }
}

/** What is wrong with the embedded model's records, as they are in the tree or the overlay. */
async function embeddedFaults(root: string, overlay: string): Promise<string[]> {
  const records = new Map<string, PerfRecord>();
  const faults: string[] = [];
  for (const { path, at } of await embeddedRecords(root, overlay)) {
    if (at === undefined) {
      faults.push(`${path} does not exist`);
      continue;
    }
    const record = await readPerf(at);
    faults.push(...(await staleReasons(record)).map((reason) => `${path} is stale: ${reason}`));
    records.set(path, record);
  }
  return [...faults, ...storedFaults(records)];
}

async function perfRecords(root: string, overlay: string): Promise<PerfRecord[]> {
  return Promise.all(perfRecordPaths(root, overlay).map((path) => readPerf(placeIn(root, overlay, path))));
}

/** Acceptance, whole. */
async function accept(options: ReleaseOptions, root: string, overlay: string, out: string): Promise<AcceptanceSummary> {
  const { cliArgs, seed, deterministic, environment, date, kernels, signal, onBanner, onCheck, checks } = options;
  return runAcceptance({
    ...{ cliArgs, seed, deterministic, environment, date, kernels, signal, root, overlay, out, release: !options.dryRun },
    ...(onBanner && { onBanner }),
    ...(onCheck && { onCheck }),
    ...(checks && { checks }),
  });
}

/** @throws BitnetError acceptance: it is a no-go */
function pass(summary: AcceptanceSummary): void {
  const failure = acceptanceFailure(summary);
  if (failure) throw failure;
}

async function archiveFiles(paths: readonly string[], at: (path: string) => string): Promise<ArchiveFile[]> {
  return Promise.all(
    paths.map(async (path) => ({
      path,
      data: await readFile(at(path)).catch((error: unknown) => {
        throw ioFailure("read", at(path), error);
      }),
    })),
  );
}

/** A file of an overlay, and what the tree has in its place; null: nothing. */
interface OverlayFile extends PlacedFile {
  readonly before: Buffer | null;
  readonly after: Buffer;
}

function overlayFiles(root: string, overlay: string): OverlayFile[] {
  if (!existsSync(overlay)) return [];
  const entries = readdirSync(overlay, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = entries.map((entry) => relative(overlay, join(entry.parentPath, entry.name)).split(sep).join("/")).sort();
  return paths.map((path) => ({
    path,
    before: statSync(join(root, path), { throwIfNoEntry: false })?.isFile() ? readFileSync(join(root, path)) : null,
    after: readFileSync(join(overlay, path)),
  }));
}

/** Those that are not as in the tree. */
function changes(root: string, overlay: string): OverlayFile[] {
  return overlayFiles(root, overlay).filter(({ before, after }) => !before?.equals(after));
}

/**
 * Performance that an earlier run, perhaps one that was killed, has measured and put into the tree is this release's own, and so is its checklist: the
 * check of a clean tree goes by the overlay. Nothing else in such a folder counts: anybody could have put it there.
 * @param records paths of the performance records that a release measures, and of the checklist
 */
async function takeOver(earlier: string, root: string, overlay: string, records: ReadonlySet<string>): Promise<void> {
  for (const { path, before, after } of overlayFiles(root, earlier)) {
    const own = records.has(path) || path === PERF_PAGE || PICTURE.test(path);
    if (own && before?.equals(after)) await writeWhole(join(overlay, path), after);
  }
}

/** Whether a folder is a release, and nothing else: it may be replaced then. */
function isRelease(folder: string): boolean {
  const list = join(folder, SUMS_FILE);
  if (!statSync(list, { throwIfNoEntry: false })?.isFile()) return false;
  const named = [...readFileSync(list, "utf8").matchAll(/^[0-9a-f]{64} {2}(.+)$/gm)].map(([, name]) => name!);
  return (
    named.some((name) => /^bitnet-ts-v.+-artifacts\.tar\.gz$/.test(name)) &&
    readdirSync(folder).every((name) => [SUMS_FILE, TREE, ...named].includes(name))
  );
}

/** Puts the overlay's files into the tree. If that fails, the tree is restored and the release removed. */
async function putInto(root: string, overlay: string, out: string): Promise<void> {
  try {
    await placeFiles(root, changes(root, overlay));
  } catch (error) {
    await rm(out, { recursive: true, force: true }).catch(() => undefined); // the first error is reported
    throw error;
  }
}

/** Gives a folder its name; an earlier release of that name goes away. It keeps what goes into the tree: see `takeOver`. */
async function swap(staging: string, out: string): Promise<void> {
  const old = temporaryPath(out);
  try {
    if (existsSync(out)) await rename(out, old);
    await rename(staging, out);
  } catch (error) {
    throw ioFailure("write", out, error);
  }
  await rm(old, { recursive: true, force: true });
}
