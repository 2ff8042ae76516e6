import { readFileSync } from "node:fs";
import { arch, availableParallelism, cpus, version as kernelVersion, platform, release, totalmem } from "node:os";
import { dirname, join } from "node:path";
import { NUMERICS_VERSION } from "../../engine/index.js";
import { bundleSha256, hashOfFiles, modulesSha256 } from "./build.js";
import { gitState } from "./git.js";
import { KERNEL_FILES } from "./hashes.js";
import type { Origin } from "./origin.js";
import { PACKAGE_FILE } from "./package.js";

/** Where a record comes from: part of every record. Fields as in `schemas/provenance.v1.schema.json`. */
export interface Provenance extends Origin {
  /** Short id of HEAD; null outside of a clone. */
  readonly git_commit: string | null;
  /** Whether a tracked file differs from HEAD; null where that can't be told. */
  readonly git_dirty: boolean | null;
  /** See `modulesSha256`. Missing in older records. */
  readonly modules_sha256?: string;
  /** See `bundleSha256`. */
  readonly bundle_sha256?: string | null;
  readonly cli_args: readonly string[];
  readonly wsl2: boolean;
  readonly platform: {
    readonly os: string;
    readonly release: string;
    readonly arch: string;
    readonly cpu: string;
    readonly cores: number;
    readonly memory_bytes: number;
  };
  readonly node: string;
  readonly v8: string;
  /** BITNET_DETERMINISTIC=1 */
  readonly deterministic: boolean;
}

/** What only the caller knows. */
export interface ProvenanceOptions {
  /** What was run; without it the fields that need it are null. */
  readonly model?: {
    readonly sha256: string;
    readonly tokenizerSha256: string;
    /** null: nothing was computed. */
    readonly tier: string | null;
    readonly threads: number | null;
  };
  readonly cliArgs: readonly string[];
  readonly seed: number | null;
  readonly deterministic: boolean;
  readonly date: Date;
  /** The clone whose commit is named. Default: this package's folder. */
  readonly root?: string;
}

/** Digits of a commit's short id. */
const SHORT_ID = 12;

/** Gathers the provenance of a record that is about to be written. Reads the working tree of a clone, to tell whether it was changed. */
export async function provenance(options: ProvenanceOptions): Promise<Provenance> {
  const { model, cliArgs, seed, deterministic, date, root = dirname(PACKAGE_FILE) } = options;
  const git = gitState(root);
  return {
    schema_version: 1,
    git_commit: git?.commit.slice(0, SHORT_ID) ?? null,
    git_dirty: git?.changed ? git.changed.length > 0 : null,
    model_hash: model?.sha256.slice(0, 16) ?? null,
    model_sha256: model?.sha256 ?? null,
    tokenizer_sha256: model?.tokenizerSha256 ?? null,
    kernel_sha256: kernelSha256(),
    modules_sha256: modulesSha256(dirname(PACKAGE_FILE)),
    bundle_sha256: bundleSha256(dirname(PACKAGE_FILE)),
    cli_args: cliArgs,
    wsl2: isWsl(platform(), `${release()} ${kernelVersion()}`),
    platform: {
      os: platform(),
      release: release(),
      arch: arch(),
      cpu: cpus()[0]?.model.trim() ?? "",
      cores: availableParallelism(),
      memory_bytes: totalmem(),
    },
    node: process.version,
    v8: process.versions.v8,
    kernel_tier: model?.tier ?? null,
    threads: model?.threads ?? null,
    seed,
    deterministic,
    numerics_version: NUMERICS_VERSION,
    package_version: packageVersion(),
    date: date.toISOString(),
  };
}

/** Whether a kernel is that of the Windows Subsystem for Linux. */
export function isWsl(os: string, kernel: string): boolean {
  return os === "linux" && /microsoft/i.test(kernel);
}

/** Of this package. */
export function packageVersion(): string {
  return (JSON.parse(readFileSync(PACKAGE_FILE, "utf8")) as { version: string }).version;
}

/** SHA-256 of the lines `sha256  name` of the kernels' modules: one value, whichever tier is chosen. Performance depends on these alone. */
export function kernelSha256(): string {
  return hashOfFiles(join(dirname(PACKAGE_FILE), "dist/kernels"), KERNEL_FILES);
}
