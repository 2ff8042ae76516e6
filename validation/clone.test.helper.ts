import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import {
  type AcceptanceOptions,
  type AcceptanceSummary,
  BANNER_FILE,
  type Check,
  PARITY_FILE,
  runAcceptance,
  SUMMARY_FILE,
} from "./acceptance.js";
import { failuresPath } from "./parity.js";
import { type PerfRecord, perfPath } from "./perf.js";
import { renderPerf } from "./perf-render.js";
import { kernelSha256, type Provenance } from "./provenance.js";
import { readRecord, writeRecord, writeRows } from "./records.js";
import { EXAMPLES, PROVENANCE } from "./records.test.helper.js";
import { perfRecordPaths } from "./sign-off.js";

// A clone small enough to be broken in every way: the repository that git itself wrote (fixtures/git.json), with what a release needs in it.

const fixture = JSON.parse(readFileSync("validation/fixtures/git.json", "utf8")) as Record<string, string>;
const TRACKED = { "a/b/one.txt": "one\n", "a-b/two.txt": "two\n", "a.txt": "3\n", "naïve.txt": "é", "run.sh": "run\n" };

/** Id and time of its commit. */
export const COMMIT = { id: "e6592539f8237baafb32b0caf64b21972881efd5", time: 1_700_000_100 };

/** A clone, in a folder that `remove` takes away. */
export class Clone {
  readonly folder = mkdtempSync(join(tmpdir(), "bitnet-clone-"));
  readonly root = join(this.folder, "clone");

  /** Whole, with performance records that say they are of the present kernels. */
  async make(): Promise<void> {
    rmSync(this.root, { recursive: true, force: true });
    this.put(".git/HEAD", "ref: refs/heads/main\n");
    this.put(".git/packed-refs", fixture.packedRefs!);
    this.put(".git/index", Buffer.from(fixture.index4!, "base64"));
    for (const end of ["pack", "idx"]) this.put(`.git/objects/pack/${fixture.name}.${end}`, Buffer.from(fixture[end]!, "base64"));
    for (const [path, text] of Object.entries(TRACKED)) this.put(path, text);
    symlinkSync("a.txt", join(this.root, "link"));
    this.put("engine/index.ts", "export const one = 1;\n");
    this.put("CHANGELOG.md", "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- Wings.\n\n## [0.1.0] - 2026-11-22\n\n### Added\n\n- All.\n");
    for (const path of ["package.json", "package-lock.json", "LICENSE", "dist/bundle", "README.md", "docs", ...perfRecordPaths(".")]) {
      cpSync(path, join(this.root, path), { recursive: true });
    }
    this.put("README.md", "# Short\n");
    for (const name of ["cli", "formats", "library", "numerics", "performance", "release"]) this.put(`docs/${name}.md`, "# Short\n");
    const records: PerfRecord[] = [];
    for (const path of perfRecordPaths(".")) {
      const record = await readRecord<PerfRecord>(path, "perf-record");
      const fresh = { ...record, provenance: { ...record.provenance, kernel_sha256: kernelSha256() } };
      records.push(fresh);
      await writeRecord(join(this.root, perfPath(fresh)), "perf-record", fresh);
    }
    for (const [path, text] of renderPerf(records)) this.put(path, text);
  }

  put(path: string, data: string | Uint8Array): void {
    mkdirSync(dirname(join(this.root, path)), { recursive: true });
    writeFileSync(join(this.root, path), data);
  }

  read(path: string): string {
    return readFileSync(join(this.root, path), "utf8");
  }

  /** Puts another text in place of what is in a file. */
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
    const provenance = { ...PROVENANCE, git_commit: COMMIT.id.slice(0, 12), kernel_sha256: kernelSha256(), ...from };
    const checks = [{ id: "c.fp32-fp32", title: "parity", ship: true, status: "PASS" }];
    const passed = { kind: "acceptance-summary", provenance, quick: false, checks, verdict: "PASS" };
    await writeRecord(join(folder, SUMMARY_FILE), "acceptance-summary", passed);
    await writeRecord(join(folder, PARITY_FILE), "parity-report", { ...EXAMPLES["parity-report"], provenance });
    await writeRecord(join(folder, BANNER_FILE), "platform-banner", { ...EXAMPLES["platform-banner"], provenance });
    await writeRows(failuresPath(join(folder, PARITY_FILE)), "parity-failure", []);
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
