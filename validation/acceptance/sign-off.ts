import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, relative, resolve, sep } from "node:path";
import { BitnetError } from "../../engine/errors.js";
import { describeModel } from "../../engine/index.js";
import { type BenchConditions, benchFaults, benchRecordPaths } from "../performance/bench.js";
import { HISTORY_FILE, type HistoryRow, historyFault, readHistory } from "../performance/history.js";
import { modelName, type PerfRecord, readPerf } from "../performance/perf.js";
import { renderPerf, strangePictures } from "../performance/render.js";
import { staleReasons } from "../performance/stale.js";
import { checkStored, pairFault, perfRecordPaths, RESULTS } from "../performance/stored.js";
import { validityFaults } from "../performance/validity.js";
import { BUILD_FILE, buildFault, publishedFiles, rebuildFault, sourceHashes } from "../records/build.js";
import { CHANGELOG_FILE, changelogFault, releasedVersions } from "../records/changelog.js";
import { placeIn } from "../records/files.js";
import { gitFile, gitState, gitTracked, gitUntracked } from "../records/git.js";
import { checkRecord, RECORD_KINDS, readRecord, readRows, schemaFault } from "../records/records.js";
import { type Check, type Context, type Finding, MAX_PLACES } from "./check.js";
import { pretences, pretencesInBundle } from "./scan/pretences.js";
import { type Fault, faultText, loadTypeScript, Source } from "./scan/source.js";
import { hollowTests } from "./scan/tests.js";
import { traces } from "./scan/traces.js";

/** Parts (f) and (g) of acceptance: what was measured, and whether the house is in order. */
export const SIGN_OFF: readonly Check[] = [
  { id: "f.performance", title: "performance of both formats, fresh", run: performanceRecords },
  { id: "f.render", title: "performance page matches its records", run: render },
  { id: "g.build", title: "dist was built from these sources", run: built },
  { id: "g.sources", title: "no pretended computation in the sources", run: (context) => scanSources(context, pretences) },
  { id: "g.bundle", title: "no pretended computation in the bundle", run: scanBundle },
  { id: "g.debugging", title: "nothing left over from debugging", run: (context) => scanSources(context, traces) },
  { id: "g.tests", title: "no skipped, focused or assertion-free tests", run: (context) => scanSources(context, hollowTests) },
  { id: "g.schemas", title: "every kind of record has its schema", run: schemas },
  { id: "g.records", title: "records match their schemas", run: records },
  { id: "g.docs", title: "README and docs exist", run: docs },
  { id: "g.changelog", title: "changelog has the version", run: changelog },
  { id: "g.clean-tree", title: "clean tree", run: cleanTree },
];

const notHere = (what: string): Finding => ({ status: "SKIP", reason: `${what}: only in a clone`, ship: false });

/** Where a file is: as a release would put it there, or as it is. */
function placeOf({ root, overlay }: Context, path: string): string {
  return placeIn(root, overlay, path);
}

/** Both formats' records of the models, by the paths where they belong; undefined: there is none. */
export async function modelRecords(
  context: Pick<Context, "models" | "files" | "root" | "overlay" | "embedded">,
): Promise<{ readonly model: string; readonly path: string; readonly at: string | undefined; readonly sha256: string }[]> {
  const found = [];
  for (const model of context.models) {
    const { format, sha256 } = await describeModel(model, context.files);
    const path = `${RESULTS}/perf-${modelName(model)}-${format}.json`;
    const places = [placeOf(context as Context, path), ...(context.embedded ? [] : [resolve(path)])];
    found.push({ model, path, at: places.find((place) => existsSync(place)), sha256 });
  }
  return found;
}

/** What the check of performance says of a record. */
export function performanceFigures({ model, metrics, settings }: PerfRecord): Record<string, number> {
  return {
    [`${model.format}.decode`]: Number(metrics.decode_tokens_per_second.median.toFixed(1)),
    [`${model.format}.samples`]: settings.iterations,
  };
}

async function performanceRecords(context: Context): Promise<Finding> {
  const found = await modelRecords(context);
  if (!context.clone && found.every(({ at }) => at === undefined)) return notHere(RESULTS);
  const figures: Record<string, number> = {};
  const wrong: string[] = [];
  const there: (readonly [path: string, record: PerfRecord])[] = [];
  for (const { model, path, at, sha256 } of found) {
    if (at === undefined) {
      wrong.push(`${path} does not exist`);
      continue;
    }
    const record = await readPerf(at);
    const reasons = await staleReasons(record);
    if (record.provenance.model_sha256 !== sha256) reasons.push(`it belongs to another model than ${model}`);
    wrong.push(...reasons.map((reason) => `${path} is stale: ${reason}`), ...validityFaults(record, path));
    there.push([path, record]);
    Object.assign(figures, performanceFigures(record));
  }
  const [a, b] = there;
  const apart = a && b && pairFault(a, b);
  if (apart !== undefined) wrong.push(apart);
  // Records of other models go out with a release, too.
  if (context.clone) {
    const { records, faults } = await checkStored(context.root, context.overlay);
    wrong.push(...faults);
    figures.records = records.size;
  }
  const lost = context.clone ? historyOf(context).fault : undefined;
  if (lost !== undefined) return { status: "FAIL", reason: `${lost}: restore the file from a commit`, figures };
  const faults = [...new Set(wrong)];
  if (faults.length > 0)
    return {
      status: "FAIL",
      reason: `${faults.join("; ")}: measure again with bitnet perf compare --record, then bitnet perf render`,
      figures,
    };
  return { status: "PASS", figures };
}

/** The history of performance in a clone, and what is wrong with it. @throws BitnetError file: a row was edited */
function historyOf(context: Context): { readonly rows: readonly HistoryRow[]; readonly fault: string | undefined } {
  const read = (path: string): string => (existsSync(placeOf(context, path)) ? readFileSync(placeOf(context, path), "utf8") : "");
  const text = read(HISTORY_FILE);
  const fault = historyFault(text, releasedVersions(read(CHANGELOG_FILE)), gitFile(context.root, HISTORY_FILE)?.toString("utf8"));
  return { rows: readHistory(text), fault };
}

async function render(context: Context): Promise<Finding> {
  const paths = perfRecordPaths(context.root, context.overlay);
  if (paths.length === 0 && !context.clone) return notHere(RESULTS);
  const stored: PerfRecord[] = [];
  for (const path of paths) stored.push(await readPerf(placeOf(context, path)));
  const pages = renderPerf(stored, historyOf(context).rows);
  const rendered = [...pages];
  const other = rendered.filter(([path, text]) => {
    const at = placeOf(context, path);
    return !existsSync(at) || readFileSync(at, "utf8") !== text;
  });
  if (other.length > 0)
    return { status: "FAIL", reason: `${other.map(([path]) => path).join(", ")} does not match the records: run bitnet perf render` };
  const strange = strangePictures(context.root, pages);
  if (strange.length > 0) return { status: "FAIL", reason: `${strange.join(", ")}: there are no records of this model` };
  return { status: "PASS", figures: { records: paths.length, files: rendered.length } };
}

/** Rooms whose sources are scanned. */
const ROOMS = ["engine", "kernels", "hub", "server", "ai", "validation", "cli", "bench", "scripts"];

/** The sources of each run's clone, parsed once. */
const parsed = new WeakMap<Context, ReadonlyMap<string, Source>>();

/** The sources of a clone, by path from its root. */
function sources(context: Context): ReadonlyMap<string, Source> {
  const known = parsed.get(context);
  if (known) return known;
  const { root } = context;
  const typescript = loadTypeScript(root);
  const found = new Map<string, Source>();
  for (const room of ROOMS) {
    const folder = join(root, room);
    if (!existsSync(folder)) continue;
    for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
      const at = join(entry.parentPath, entry.name);
      const path = relative(root, at).split(sep).join("/");
      if (!entry.isFile() || !/\.(?:ts|mjs)$/.test(entry.name) || /(?:^|\/)(?:node_modules|golden|fixtures)\//.test(path)) continue;
      found.set(path, new Source(typescript, path, readFileSync(at, "utf8")));
    }
  }
  parsed.set(context, found);
  return found;
}

function scanSources(context: Context, scan: (source: Source, all: ReadonlyMap<string, Source>) => Fault[]): Finding {
  if (!context.clone) return notHere("the source");
  const all = sources(context);
  const found = [...all.values()].flatMap((source) => scan(source, all));
  return found.length > 0 ? faults(found) : { status: "PASS", figures: { files: all.size } };
}

function faults(found: readonly Fault[]): Finding {
  return { status: "FAIL", reason: faultText(found), places: found.slice(0, MAX_PLACES) };
}

/** Builds a clone again, except in a quick run: dist/ and its record might both have been edited. */
async function built({ root, clone, quick, signal }: Context): Promise<Finding> {
  const fault = await buildFault(root, clone);
  if (fault !== undefined) return { status: "FAIL", reason: fault };
  const figures = { built_again: clone && !quick };
  if (!clone) return { status: "PASS", reason: `files match ${BUILD_FILE}; only a clone can be built again`, figures };
  if (quick) return { status: "PASS", reason: `files and sources match ${BUILD_FILE}; --quick does not build again`, figures };
  const other = await rebuildFault(root, signal);
  return other === undefined ? { status: "PASS", figures } : { status: "FAIL", reason: other, figures };
}

/** What must be in dist/bundle. */
const BUNDLE = [
  "ai.cjs",
  "ai.js",
  "bitnet.cjs",
  "hub.cjs",
  "hub.js",
  "index.cjs",
  "index.js",
  "perf.js",
  "server.cjs",
  "server.js",
  "validation.cjs",
  "web-chat.js",
  "web-store.js",
  "web-worker.js",
  "web.js",
  "worker.cjs",
  "workerd.js",
];

/** Those that hold nothing but the engine. */
const ENGINE: Readonly<Record<string, "node" | "web">> = {
  "index.cjs": "node",
  "index.js": "node",
  "web-chat.js": "web",
  "web-store.js": "web",
  "web-worker.js": "web",
  "web.js": "web",
  "worker.cjs": "node",
  "workerd.js": "web",
};

function scanBundle({ root, clone }: Context): Finding {
  const missing = BUNDLE.find((name) => !existsSync(join(root, "dist/bundle", name)));
  if (missing !== undefined) return { status: "FAIL", reason: `dist/bundle/${missing} does not exist: run npm run build` };
  if (!clone) return notHere("the parser");
  const typescript = loadTypeScript(root);
  const found: Fault[] = [];
  let bytes = 0;
  for (const name of BUNDLE) {
    const text = readFileSync(join(root, "dist/bundle", name), "utf8");
    bytes += text.length;
    found.push(...pretencesInBundle(new Source(typescript, `dist/bundle/${name}`, text), ENGINE[name]));
  }
  return found.length > 0 ? faults(found) : { status: "PASS", figures: { files: BUNDLE.length, bytes } };
}

/** Each is sound, compiles, and refuses an empty record. */
function schemas(): Finding {
  const fault = schemaFault();
  if (fault !== undefined) return { status: "FAIL", reason: fault };
  for (const kind of RECORD_KINDS) {
    try {
      checkRecord(kind, {}, kind);
    } catch (error) {
      if (error instanceof BitnetError && error.code === "file") continue;
      throw error;
    }
    return { status: "FAIL", reason: `schemas/${kind}.v1.schema.json accepts an empty record` };
  }
  return { status: "PASS", figures: { schemas: RECORD_KINDS.length } };
}

/** What is stored and what this run has written, read back through the schemas. */
async function records({ root, out }: Context): Promise<Finding> {
  let files = 0;
  for (const path of perfRecordPaths(root)) {
    await readPerf(join(root, path));
    files++;
  }
  const faults: string[] = [];
  for (const path of benchRecordPaths(root)) {
    faults.push(...benchFaults(await readRecord<BenchConditions>(join(root, path), "bench-record"), path));
    files++;
  }
  if (faults.length > 0) return { status: "FAIL", reason: `${faults.join("; ")}: measure again (docs/performance.md)` };
  for (const [name, kind] of [
    ["platform_banner.json", "platform-banner"],
    ["parity_report.json", "parity-report"],
  ] as const) {
    if (!existsSync(join(out, name))) continue;
    await readRecord(join(out, name), kind);
    files++;
  }
  const rows = join(out, "parity_failures.jsonl");
  if (existsSync(rows)) {
    await readRows(rows, "parity-failure");
    files++;
  }
  return { status: "PASS", figures: { files } };
}

/** Pages that a user and a releaser need; those in a published package, and those of a clone. */
const PAGES = [
  "README.md",
  "LICENSE",
  ...["cli", "formats", "library", "numerics", "performance", "release", "PERF_COMPARISON"].map((name) => `docs/${name}.md`),
];

function docs(context: Context): Finding {
  const missing = PAGES.filter((path) => {
    const at = placeOf(context, path);
    return !existsSync(at) || statSync(at).size === 0;
  });
  if (missing.length > 0) return { status: "FAIL", reason: `${missing.join(", ")}: missing or empty` };
  const dead = context.clone ? PAGES.flatMap((path) => deadLinks(context, path)) : [];
  if (dead.length > 0) return { status: "FAIL", reason: `broken links: ${dead.join("; ")}` };
  return { status: "PASS", figures: { pages: PAGES.length } };
}

/** Links of a page to files that are not there. */
function deadLinks(context: Context, path: string): string[] {
  if (!path.endsWith(".md")) return [];
  const links = [...readFileSync(placeOf(context, path), "utf8").matchAll(/\]\((?!\w+:|#)([^)#\s]+)/g)].map(([, to]) => to!);
  return links.filter((to) => !existsSync(placeOf(context, join(dirname(path), to)))).map((to) => `${to} in ${path}`);
}

function changelog(context: Context): Finding {
  const at = placeOf(context, CHANGELOG_FILE);
  if (!existsSync(at)) return { status: "FAIL", reason: `${CHANGELOG_FILE} does not exist` };
  const { version } = JSON.parse(readFileSync(placeOf(context, "package.json"), "utf8")) as { version: string };
  const fault = changelogFault(readFileSync(at, "utf8"), version);
  return fault === undefined ? { status: "PASS", figures: { version } } : { status: "FAIL", reason: fault };
}

function cleanTree(context: Context): Finding {
  if (!context.clone) return notHere("git's folder");
  const ship = context.release ? {} : { ship: false as const };
  const state = gitState(context.root);
  const untracked = gitUntracked(context.root);
  if (!state?.changed || !untracked)
    return {
      status: "SKIP",
      reason:
        "the .git folder is missing, or it has what is not read here: a split or sparse index, unmerged files, or files marked skip-worktree",
      ...ship,
    };
  // Everything built or published must be in the commit, even if git ignores it.
  const tracked = gitTracked(context.root);
  const shipped = [...Object.keys(sourceHashes(context.root)), ...publishedFiles(context.root)].filter((path) => !tracked?.has(path));
  const files = [...state.changed, ...new Set([...untracked, ...shipped])];
  // Files that an interrupted release has already written do not count as changes.
  const changed = files.filter((path) => {
    const put = context.overlay === undefined ? undefined : join(context.overlay, path);
    return (
      put === undefined ||
      !existsSync(put) ||
      !existsSync(join(context.root, path)) ||
      !readFileSync(put).equals(readFileSync(join(context.root, path)))
    );
  });
  const figures = { commit: state.commit.slice(0, 12), changed: changed.length };
  if (changed.length === 0) return { status: "PASS", figures };
  const named = changed.slice(0, 5).map((path) => (state.changed!.includes(path) ? path : `${path} (not tracked)`));
  const list = `${named.join(", ")}${changed.length > 5 ? ", …" : ""}`;
  if (context.release) return { status: "FAIL", reason: `changed since the commit: ${list}`, figures };
  return { status: "SKIP", reason: `changed since the commit: ${list} (this blocks a release)`, figures, ...ship };
}
