import type { FileOptions } from "../../engine/index.js";
import type { KernelOptions } from "../parity/sides.js";
import type { ParityReport } from "../parity/types.js";
import type { ProvenanceOptions } from "../records/provenance.js";

export type Status = "PASS" | "FAIL" | "SKIP";

/** Where a fault is. */
export interface Place {
  /** From the package's folder, or as it was given. */
  readonly path?: string;
  /** From 1. */
  readonly line?: number;
  /** What it is called inside of the file: a tensor, a prompt. */
  readonly name?: string;
  readonly what: string;
}

/** A run of a model whose logits were hashed. */
export interface Run {
  readonly tier: string;
  readonly threads: number;
  /** SHA-256. */
  readonly logits: string;
}

/** What came of a check. */
export interface Finding {
  readonly status: Status;
  /** Why it failed or was skipped; of one that passed, what should be known all the same. */
  readonly reason?: string;
  readonly figures?: Readonly<Record<string, number | string | boolean | null>>;
  /** Of the check of determinism. */
  readonly runs?: readonly Run[];
  /** Where it failed; at most `MAX_PLACES`. */
  readonly places?: readonly Place[];
  /** false: a release may go out without it. */
  readonly ship?: false;
}

/** More say nothing new, and a report must stay readable. */
export const MAX_PLACES = 100;

/** One thing to be checked. What a check throws is a failure. */
export interface Check {
  /** Begins with its part of acceptance, a to g. */
  readonly id: string;
  readonly title: string;
  run(context: Context): Promise<Finding> | Finding;
}

/** What checks stand on, and what they leave for each other. */
export interface Context {
  /** The package's folder: a clone, or where it was installed. */
  readonly root: string;
  /** Whether it has the sources and the goldens. */
  readonly clone: boolean;
  /** Files that take the place of those in `root`: what a release is about to put there. */
  readonly overlay: string | undefined;
  readonly release: boolean;
  /** See `deterministicEnvironment`. */
  readonly environment: string;
  readonly quick: boolean;
  /** The reference side first. */
  readonly models: readonly [a: string, b: string];
  /** Of the package, for which there are stored references. */
  readonly embedded: boolean;
  readonly files: FileOptions;
  readonly kernels: KernelOptions;
  /** Folder of the artifacts. */
  readonly out: string;
  readonly record: Omit<ProvenanceOptions, "model">;
  readonly signal: AbortSignal | undefined;
  /** What was last run: for the provenance. */
  ran?: NonNullable<ProvenanceOptions["model"]>;
  /** All lanes, measured once. */
  parity?: Promise<ParityReport>;
}
