import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  cpSync,
  type Dirent,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative, resolve, sep } from "node:path";
import { deflateSync } from "node:zlib";
import { describeModel } from "../../engine/index.js";
import { embeddedGate, PROMISE } from "../parity/gates.js";
import { readOracles } from "../parity/oracle.js";
import { EMBEDDED_PAIR } from "../parity/sides.js";
import { TEXTS } from "../parity/texts.js";
import type { LaneReport, OutputLane, Sides } from "../parity/types.js";
import { type PerfRecord, perfPath, shownPath } from "../performance/perf.js";
import { examplePair } from "../performance/perf.test.helper.js";
import { renderPerf } from "../performance/render.js";
import { perfRecordPaths } from "../performance/stored.js";
import { bundleSha256, modulesSha256, writeBuildRecord } from "../records/build.js";
import { readIndex } from "../records/git-index.js";
import { hashObject } from "../records/git-objects.js";
import { kernelSha256, type Provenance } from "../records/provenance.js";
import { writeRecord, writeRows } from "../records/records.js";
import { EXAMPLES, PROVENANCE } from "../records/records.test.helper.js";
import {
  type AcceptanceOptions,
  type AcceptanceSummary,
  artifactHashes,
  BANNER_FILE,
  CHECKS,
  type CheckReport,
  FAILURES_FILE,
  PARITY_FILE,
  runAcceptance,
  SUMMARY_FILE,
} from "./acceptance.js";
import type { Check } from "./check.js";
import { parityFigures } from "./model-checks.js";
import { sealSummary, type Unsealed } from "./seal.js";
import { performanceFigures } from "./sign-off.js";

// A clone small enough to be broken in every way, with what a release needs in it, all of it committed.

/** What a release demands to be set. */
export const ENVIRONMENT = "BITNET_DETERMINISTIC=1 BITNET_SEED=42 BITNET_NUM_THREADS=1";

/** Time of its commit, seconds. */
export const COMMIT_TIME = 1_700_000_100;

/** Builds the clone: each file of dist/ has all of the sources in it. */
const BUILD = `
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
const read = (path) => readFileSync(path, "utf8");
const code = read("engine/index.ts") + read("engine/network/feed-forward.ts");
const kernel = read("kernels/assembly/ternary.ts");
for (const folder of ["bundle", "kernels", "engine"]) mkdirSync("dist/" + folder, { recursive: true });
for (const name of ["ai.cjs", "ai.js", "bitnet.cjs", "hub.cjs", "hub.js", "index.cjs", "index.js", "perf.js", "server.cjs", "server.js", "validation.cjs", "web-chat.js", "web-store.js", "web-worker.js", "web.js", "worker.cjs", "workerd.js"]) writeFileSync("dist/bundle/" + name, code);
for (const name of ["plain", "products", "relaxed"]) writeFileSync("dist/kernels/" + name + ".wasm", kernel);
writeFileSync("dist/engine/index.d.ts", code);
if (code.includes("=;")) throw new Error("engine/index.ts: Syntax error");
writeFileSync("dist/bundle/LICENSES.txt", LICENSES);
`;

/** A lane without any difference. */
function perfectLane(name: OutputLane, sides: Sides, texts: readonly string[]): LaneReport {
  const [lane] = EXAMPLES["parity-report"].lanes;
  const perfect = { tau_median: 1, tau_p5: 1, tau_min: 1, nll_a: 2.5, nll_b: 2.5, delta_nll: 0, delta_nll_interval: [0, 0] as const };
  const figures = { ...lane!.totals.figures, ...perfect, kl: { ...lane!.totals.figures.kl, mean: 0, max: 0, p999: 0 } };
  return {
    ...{ name, sides, policy: lane!.policy, promise: PROMISE[name], thresholds: embeddedGate({ name, sides }) },
    prompts: texts.map((id) => ({ id, tokens: 10, figures, greedy: null, verdict: "PASS" })),
    totals: { tokens: 10 * texts.length, figures, delta_nll_mean: 0 },
    ...{ margins: lane!.margins, promise_margins: lane!.promise_margins, failed: [], verdict: "PASS" },
  };
}

/** Of what is built here. */
let built: Pick<Provenance, "kernel_sha256" | "modules_sha256" | "bundle_sha256"> | undefined;
let embedded: Promise<string[]> | undefined;

/** Of both formats of the embedded model. */
function embeddedHashes(): Promise<string[]> {
  embedded ??= Promise.all(EMBEDDED_PAIR.map(async (path) => (await describeModel(path)).sha256));
  return embedded;
}

/** Git sorts folders as if a slash ended their names. */
const sortedName = (entry: Dirent): string => (entry.isDirectory() ? `${entry.name}/` : entry.name);

/** Makes a folder equal to another one again, by what differs: to remove and to copy all of it takes several times as long. */
function restore(from: string, to: string): void {
  const isThere = new Set(readdirSync(from));
  for (const name of readdirSync(to)) if (!isThere.has(name)) rmSync(join(to, name), { recursive: true });
  for (const name of isThere) {
    const [right, now] = [join(from, name), join(to, name)];
    const [wanted, found] = [lstatSync(right), lstatSync(now, { throwIfNoEntry: false })];
    if (found?.mode === wanted.mode) {
      if (wanted.isDirectory()) {
        restore(right, now);
        continue;
      }
      if (wanted.isSymbolicLink() ? readlinkSync(now) === readlinkSync(right) : readFileSync(now).equals(readFileSync(right))) continue;
    }
    rmSync(now, { recursive: true, force: true });
    cpSync(right, now, { recursive: true });
  }
}

/** A clone, in a folder that `remove` takes away. */
export class Clone {
  readonly folder = mkdtempSync(join(tmpdir(), "bitnet-clone-"));
  readonly root = join(this.folder, "clone");
  /** As it was first made. */
  readonly #copy = join(this.folder, "copy");
  /** Id of its commit. */
  commit = "";

  /** Whole, with performance records that say they are of the present kernels. */
  async make(): Promise<void> {
    if (existsSync(this.#copy)) return restore(this.#copy, this.root);
    this.put(".gitignore", "dist/\nnode_modules/\n*.tgz\n");
    mkdirSync(join(this.root, "node_modules"));
    symlinkSync(resolve("node_modules/typescript"), join(this.root, "node_modules/typescript"), "junction");
    this.put("a.txt", "3\n");
    this.put("engine/index.ts", "export const one = 1;\n");
    this.put("engine/network/feed-forward.ts", "export const activation = 'relu2';\n");
    this.put("kernels/assembly/ternary.ts", "const SCALE = 127;\n");
    this.put("scripts/build.mjs", BUILD.replace("LICENSES)", `${JSON.stringify(readFileSync("dist/bundle/LICENSES.txt", "utf8"))})`));
    this.put("CHANGELOG.md", "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- Wings.\n\n## [0.1.0] - 2026-11-22\n\n### Added\n\n- All.\n");
    for (const path of ["package.json", "package-lock.json", "LICENSE"]) cpSync(path, join(this.root, path));
    this.put("README.md", "# Short\n");
    for (const name of ["cli", "formats", "library", "numerics", "performance", "release"]) this.put(`docs/${name}.md`, "# Short\n");
    const [safetensors, gguf] = await embeddedHashes();
    const records = [
      ...examplePair({
        ...{ name: "bitnet-stories-4m", seed: 1, kernels: kernelSha256() },
        ...{ paths: EMBEDDED_PAIR.map(shownPath), hashes: [safetensors!, gguf!] },
      }),
      ...examplePair({ name: "2b4t-random", seed: 2, kernels: kernelSha256() }),
    ];
    for (const record of records) await writeRecord(join(this.root, perfPath(record)), "perf-record", record);
    for (const [path, text] of renderPerf(records)) this.put(path, text);
    this.build();
    this.#commit();
    cpSync(this.root, this.#copy, { recursive: true });
  }

  /** Builds it, as `npm run build` does: a build that fails leaves no record. */
  build(): void {
    rmSync(join(this.root, "dist/build.json"), { force: true });
    const { status } = spawnSync(process.execPath, ["scripts/build.mjs"], { cwd: this.root });
    if (status === 0) writeBuildRecord(this.root, {});
  }

  /** Commits all but dist, as gitformat-index (version 2) and gitformat-loose have it. */
  #commit(): void {
    const entries = readdirSync(this.root, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    const paths = entries.map(({ parentPath, name }) => relative(this.root, join(parentPath, name)).split(sep).join("/"));
    const parts = paths
      .filter((path) => !path.startsWith("dist/"))
      .sort()
      .map((path) => {
        const entry = Buffer.alloc((62 + path.length + 8) & ~7); // its times are 0, so that files are always looked into
        entry.writeUInt32BE(0o100644, 24);
        entry.write(hashObject("blob", readFileSync(join(this.root, path))), 40, "hex");
        entry.writeUInt16BE(path.length, 60);
        entry.write(path, 62);
        return entry;
      });
    const head = Buffer.from("DIRC\0\0\0\x02\0\0\0\0", "latin1");
    head.writeUInt32BE(parts.length, 8);
    const body = Buffer.concat([head, ...parts]);
    const index = Buffer.concat([body, createHash("sha1").update(body).digest()]);
    this.put(".git/index", index);
    const who = `A <a@example.org> ${COMMIT_TIME} +0000`;
    const commit = `tree ${readIndex(index)!.tree()}\nauthor ${who}\ncommitter ${who}\n\nAll\n`;
    this.commit = this.#object("commit", Buffer.from(commit));
    this.#tree("");
    this.put(".git/HEAD", "ref: refs/heads/main\n");
    this.put(".git/refs/heads/main", `${this.commit}\n`);
  }

  #object(type: string, data: Uint8Array): string {
    const object = Buffer.concat([Buffer.from(`${type} ${data.length}\0`), data]);
    const id = createHash("sha1").update(object).digest("hex");
    this.put(`.git/objects/${id.slice(0, 2)}/${id.slice(2)}`, deflateSync(object));
    return id;
  }

  /** The objects of a folder (`a/b/`), which are those that the index names. */
  #tree(folder: string): string {
    const entries = readdirSync(join(this.root, folder), { withFileTypes: true }).filter(
      ({ name }) => ![".git", "dist", "node_modules"].includes(name),
    );
    const sorted = entries.toSorted((a, b) => (sortedName(a) < sortedName(b) ? -1 : 1));
    const parts = sorted.flatMap((entry) => {
      const path = `${folder}${entry.name}`;
      const id = entry.isDirectory() ? this.#tree(`${path}/`) : this.#object("blob", readFileSync(join(this.root, path)));
      return [Buffer.from(`${entry.isDirectory() ? "40000" : "100644"} ${entry.name}\0`), Buffer.from(id, "hex")];
    });
    return this.#object("tree", Buffer.concat(parts));
  }

  put(path: string, data: string | Uint8Array): void {
    mkdirSync(dirname(join(this.root, path)), { recursive: true });
    writeFileSync(join(this.root, path), data);
  }

  read(path: string): string {
    return readFileSync(join(this.root, path), "utf8");
  }

  /** Puts another text instead of what is in a file. */
  edit(path: string, from: string | RegExp, to: string): void {
    const text = this.read(path);
    const edited = text.replace(from, to);
    if (edited === text) throw new Error(`${path} has no ${from}`);
    this.put(path, edited);
  }

  /** Runs some of the checks on it. */
  check(checks: readonly Check[], more: Partial<AcceptanceOptions> = {}): Promise<AcceptanceSummary> {
    const out = join(this.folder, "artifacts");
    return runAcceptance({ cliArgs: [], seed: 42, deterministic: false, date: new Date(0), root: this.root, out, checks, ...more });
  }

  /** Artifacts of a validation that passed, in a folder. */
  async results(folder: string, from: Partial<Provenance> = {}): Promise<void> {
    built ??= { kernel_sha256: kernelSha256(), modules_sha256: modulesSha256("."), bundle_sha256: bundleSha256(".") };
    const provenance: Provenance = {
      ...PROVENANCE,
      schema_version: 1,
      git_commit: this.commit.slice(0, 12),
      deterministic: true,
      ...built,
      ...from,
    };
    const sha256 = await embeddedHashes();
    const models = EMBEDDED_PAIR.map((path, i) => ({ path: shownPath(path), sha256: sha256[i]! }));
    const side = (i: number, kernels: string) => ({ ...models[i]!, format: i === 0 ? "safetensors" : "gguf", kernels });
    const texts = TEXTS.map(({ id }) => id);
    const lanes = [
      perfectLane("fp32-fp32", { a: side(0, "reference"), b: side(1, "reference") }, texts),
      perfectLane("quant-fp32", { a: side(0, "reference"), b: side(1, "kernels") }, texts),
      ...readOracles().oracles.map(({ record, against, answers }) =>
        perfectLane(
          "oracle",
          { a: record, b: side(1, against) },
          answers.map(({ id }) => id),
        ),
      ),
    ];
    const weights = {
      ...{ sides: { a: side(0, "none"), b: side(1, "none") }, exact: true },
      ...{ compared: 1, equal: 1, numbers: 8, changed: [], verdict: "PASS" as const },
    };
    await writeRecord(join(folder, PARITY_FILE), "parity-report", {
      ...EXAMPLES["parity-report"],
      provenance,
      weights,
      lanes,
      skipped: [],
    });
    const records = perfRecordPaths(this.root).map((path) => JSON.parse(this.read(path)) as PerfRecord);
    const figures: Record<string, NonNullable<CheckReport["figures"]>> = {
      ...parityFigures({ kind: "parity-report", provenance, lanes, weights, skipped: [], verdict: "PASS" }),
      "d.environment": { environment: ENVIRONMENT, deterministic: true, seed: provenance.seed, threads: 1 },
      "f.performance": Object.assign({}, ...records.filter(({ model }) => model.path.startsWith("models/")).map(performanceFigures)),
      "g.build": { built_again: true },
      "g.clean-tree": { commit: provenance.git_commit, changed: 0 },
    };
    await writeRecord(join(folder, BANNER_FILE), "platform-banner", { ...EXAMPLES["platform-banner"], provenance });
    await writeRows(join(folder, FAILURES_FILE), "parity-failure", []);
    await this.seal(folder, {
      ...{ kind: "acceptance-summary", provenance, quick: false, models, artifacts: artifactHashes(folder), verdict: "PASS" },
      checks: CHECKS.map(({ id, title }) => ({
        id,
        title,
        ship: true,
        status: "PASS" as const,
        ...(figures[id] && { figures: figures[id] }),
      })),
    });
  }

  /** Seals results, as a run does. */
  async seal(folder: string, summary: Unsealed): Promise<void> {
    await writeRecord(join(folder, SUMMARY_FILE), "acceptance-summary", sealSummary(summary));
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
