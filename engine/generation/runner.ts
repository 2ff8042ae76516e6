import { defaultThreads, usefulThreads } from "../compute/cpus.js";
import { TIERS, type Tier } from "../compute/kernels.js";
import { WorkerPool } from "../compute/pool.js";
import type { StepBatch, StepOutput, StepRunner } from "../compute/step.js";
import { PATH } from "../container/path.js";
import { type FileStamp, packageFile } from "../container/source.js";
import { BitnetError } from "../errors.js";
import { ACTIVATION_NAMES, ACTIVATIONS_NAMES, type ConfigOptions, MAX_POSITIONS, type ModelConfig } from "../model/config.js";
import { I2S_LAYOUTS, type NetworkSources, type WeightOptions } from "../model/weights.js";
import type { KvType } from "../numerics.js";
import {
  ANYTHING,
  CALLBACK,
  checkArgument,
  LIVE_SIGNAL,
  oneOf,
  type Rules,
  reasonOf,
  type Signal,
  TRUE_OR_FALSE,
  throwIfAborted,
  wholeNumber,
} from "../options.js";
import type { HeadOption, Loaded, LoadRequest } from "./worker.js";

/** What a model's files can't say, or don't. */
export interface FileOptions extends ConfigOptions, WeightOptions {
  /** A tokenizer in place of the model's own: a tokenizer.json, or a directory with one and the files that go with it. */
  readonly tokenizer?: string | undefined;
}

/** How to load a model. */
export interface LoadOptions extends FileOptions {
  /**
   * Worker threads; default: as many as this process may run at once (its CPU affinity, and the CPU quota of its cgroup rounded down), at most
   * 16. Of more than can run at once only so many are started. They never change a result.
   */
  readonly threads?: number;
  /** Positions of the longest sequence, and of the KV cache that all sequences share; default: the model's own, at most 4096. */
  readonly contextLength?: number;
  /**
   * Which kernels: `plain` SIMD, `relaxed` SIMD, `wide` (for 256-bit code, Node 24 and newer); default `auto`, the fastest that works here.
   * The results are the same to the bit.
   */
  readonly tier?: Tier | "auto";
  /** Lets `auto` set process-wide V8 flags that this Node needs for a faster tier. Default false: a library asks first. */
  readonly v8Flags?: boolean;
  /**
   * The output head: `exact` keeps its rows in 16 bits or better; `two-stage` keeps 8-bit codes, finds with them the few tokens that can be
   * chosen and computes those from the rows in the file (all rows, if no `topK` says how many can be chosen, or for likelihoods). Default
   * `auto`: two-stage where the head is large. The results are the same to the bit.
   */
  readonly head?: HeadOption;
  /** Keys and values of past tokens: as they are (`f32`, the default), or in 8 bits (`q8`): a quarter of the memory, other logits. */
  readonly kv?: KvType;
  /** Compute in scalar TypeScript, without kernels: slow, and the same to the bit. */
  readonly reference?: boolean;
  /** With `reference`: false computes in f32 throughout, without quantising activations. Default true. */
  readonly activationQuant?: boolean;
  /** Bytes loaded so far, and of how many. */
  readonly onProgress?: (progress: { readonly done: number; readonly total: number }) => void;
  /** Aborts the load; nothing is left behind. */
  readonly signal?: Signal;
  /** @internal first address in the linear memory; a test puts the model beyond 2 GiB */
  readonly firstAddress?: number;
  /** @internal starts all the threads asked for, also those that can't run at once; for tests on machines with few CPUs */
  readonly crowded?: boolean;
}

/** A runner that has loaded a model, and what it runs on. */
export interface RunningKernels {
  readonly runner: StepRunner;
  readonly tier: Tier | "none";
  readonly why: string;
  readonly threads: number;
  readonly activationQuant: boolean;
}

/** The context if nobody says: more costs memory that few texts need. */
const DEFAULT_CONTEXT = 4096;
/** More threads than any machine gives; a typing error, not a wish. */
const MOST_THREADS = 256;

export const FILE_OPTIONS: Rules<FileOptions> = {
  tokenizer: PATH,
  activation: oneOf(ACTIVATION_NAMES),
  activations: oneOf(ACTIVATIONS_NAMES),
  i2sLayout: oneOf(I2S_LAYOUTS),
  invertScales: { ...TRUE_OR_FALSE, internal: true },
};

export const LOAD_OPTIONS: Rules<LoadOptions> = {
  threads: wholeNumber(1, MOST_THREADS),
  contextLength: ANYTHING, // the model says how long it may be: see `startRunner`
  tier: oneOf(["auto", ...TIERS]),
  v8Flags: TRUE_OR_FALSE,
  head: oneOf(["auto", "exact", "two-stage"]),
  kv: oneOf(["f32", "q8"]),
  reference: TRUE_OR_FALSE,
  activationQuant: TRUE_OR_FALSE,
  ...FILE_OPTIONS,
  onProgress: CALLBACK,
  signal: LIVE_SIGNAL,
  firstAddress: { ...ANYTHING, internal: true },
  crowded: { ...TRUE_OR_FALSE, internal: true },
};

/** A network that can be loaded: its header has been read. @internal not in the published types */
export interface NetworkHeader {
  readonly config: ModelConfig;
  readonly sources: NetworkSources;
  /** What state each file was in then; without, a file is as it should be when it is opened for its weights. */
  readonly stamps?: ReadonlyMap<string, FileStamp>;
}

/** The number of threads that compute. */
export function threadsOf({ threads, crowded = false }: { readonly threads?: number; readonly crowded?: boolean }): number {
  if (threads === undefined) return defaultThreads();
  return crowded ? threads : usefulThreads(threads);
}

/**
 * Starts the workers, and has them load the network when its header is there: both take their time. The options have been read.
 * @throws BitnetError, what `header` rejects with, or the signal's reason; no worker is left running
 * @internal not in the published types
 */
export async function startRunner(header: Promise<NetworkHeader>, options: LoadOptions): Promise<RunningKernels> {
  const { reference = false, activationQuant = true, tier = "auto", head = "auto", kv = "f32", signal } = options;
  const threads = reference ? 1 : threadsOf(options);
  if (!activationQuant && !reference) {
    throw new BitnetError("usage", "activations can be left unquantised only on the reference path: add reference (--reference)");
  }
  throwIfAborted(signal);
  let stopped: { readonly by: unknown } | undefined;
  const stop = (by: unknown): void => {
    stopped ??= { by };
    void pool.close();
  };
  const pool = new WorkerPool(
    packageFile("its worker", () => new URL("./worker.js", import.meta.url)),
    threads,
    (event) => {
      try {
        options.onProgress?.(event as { done: number; total: number });
      } catch (error) {
        stop(error);
      }
    },
  );
  const abort = (): void => stop(reasonOf(signal));
  signal?.addEventListener("abort", abort);
  try {
    const { config, sources, stamps = new Map() } = await header;
    const { contextLength = Math.min(config.contextLength, DEFAULT_CONTEXT) } = options;
    checkArgument("contextLength", contextLength, wholeNumber(1, Math.min(config.contextLength, MAX_POSITIONS)));
    const request: LoadRequest = {
      config,
      sources,
      stamps,
      contextLength,
      tier,
      setFlags: options.v8Flags ?? false,
      head,
      kv,
      reference: reference ? { activationQuant } : undefined,
      firstAddress: options.firstAddress,
    };
    const loaded = await pool.request<Loaded>("load", request);
    const runner: StepRunner = {
      limits: loaded.limits,
      step: (batch: StepBatch) => pool.request<StepOutput[]>("step", batch),
      counters: () => pool.request<number[]>("counters", undefined),
      close: () => pool.close(),
    };
    if (stopped) throw stopped.by; // in the same breath as the answer came
    return { runner, tier: loaded.tier, why: loaded.why, threads, activationQuant };
  } catch (error) {
    await pool.close();
    throw stopped ? stopped.by : error;
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}
