import { packageFile } from "#host/files.js";
import { whyOneThread } from "#host/limits.js";
import { PATH } from "#host/paths.js";
import { defaultThreads, usefulThreads } from "../compute/cpus.js";
import { TIERS, type Tier } from "../compute/kernels.js";
import { WorkerPool } from "../compute/pool.js";
import type { StepBatch, StepRunner } from "../compute/step.js";
import { BitnetError } from "../errors.js";
import type { FileStamp } from "../host/files.js";
import { ACTIVATION_NAMES, ACTIVATIONS_NAMES, type ConfigOptions, MAX_POSITIONS, type ModelConfig } from "../model/config.js";
import { I2S_LAYOUTS, type NetworkSources, type WeightOptions } from "../model/weights.js";
import { sequenceStateBytes } from "../network/delta.js";
import { MAX_OUTPUTS } from "../network/layout.js";
import { DEFAULT_KV, KV_TYPES, type KvType } from "../numerics.js";
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
import type { Computed, HeadOption, Loaded, LoadRequest } from "./worker.js";

/** What a model's files can't state, or don't. */
export interface FileOptions extends ConfigOptions, WeightOptions {
  /** A tokenizer to use instead of the model's own: a tokenizer.json, or a directory with one and the files that go with it. */
  readonly tokenizer?: string | undefined;
}

/** How to load a model. */
export interface LoadOptions extends FileOptions {
  /**
   * Worker threads; default: as many as this process may run at once (its CPU affinity, and the CPU quota of its cgroup rounded down), at most
   * 16. Threads that could only wait for a processor are not started. They never change a result.
   */
  readonly threads?: number;
  /** Maximum length of a sequence in tokens; default: the model's own, at most 4096. */
  readonly contextLength?: number;
  /** Size in tokens of the KV cache that all sequences share, at least `contextLength`; default: `contextLength`. */
  readonly cacheTokens?: number;
  /**
   * Kernels: `plain` SIMD, `relaxed` SIMD, or `wide` (for 256-bit code, Node 24 and newer); default `auto`, the fastest that works here.
   * Results are bit-identical.
   */
  readonly tier?: Tier | "auto";
  /** Lets `auto` set process-wide V8 flags that this Node needs for a faster tier. Default false. */
  readonly v8Flags?: boolean;
  /**
   * The output head: `exact` keeps its rows in 16 bits or more; `two-stage` keeps codes, or those of a ternary table, uses them to find
   * the few tokens that can be chosen, and computes those from the rows in the file (all rows without `topK`, and for likelihoods). Default
   * `auto`: two-stage if the head is large. Results are bit-identical.
   */
  readonly head?: HeadOption;
  /**
   * Type of the KV cache: `f32` (default), `k16` with 16 bits and half of the memory, or `q8` with 8 bits and a quarter of it. Both change the
   * logits slightly, `k16` less.
   */
  readonly kv?: KvType;
  /**
   * Of a model with recurrent layers (Qwen3.5, Bonsai 2): how many states of sequences are kept, 18 to 49 MiB each. Sequences that are being
   * computed, finished ones that a conversation may go on from, and snapshots of their beginnings share them. Default: what fits into 256 MiB, 2 to 32.
   */
  readonly states?: number;
  /** How many answers, scores and embeddings are computed at once, at most 32; default 32. The others wait. */
  readonly maxRunning?: number;
  /** How many may wait; more are refused with the error `busy`. Default: no limit. */
  readonly maxWaiting?: number;
  /** Compute in scalar TypeScript, without kernels: slow, same bits. */
  readonly reference?: boolean;
  /** With `reference`: false computes in f32 throughout, with unquantised activations. Default true. */
  readonly activationQuant?: boolean;
  /** Bytes loaded so far, and in total. */
  readonly onProgress?: (progress: { readonly done: number; readonly total: number }) => void;
  /** Aborts the load; everything is freed. */
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
  /** Of linear memory; 0 on the scalar path. */
  readonly memoryBytes: number;
  readonly threads: number;
  readonly activationQuant: boolean;
}

/** The default context length: more costs memory that few texts need. */
const DEFAULT_CONTEXT = 4096;
/** Far more tokens than a cache of 4 GiB has of a useful model; the reference path has no other limit. */
const MOST_CACHE_TOKENS = 2 ** 24;
/** More than can run at once, each with a conversation to go on from and snapshots of it. */
const MOST_STATES = 256;
/** The default number of states: a few for small models, so that conversations go on, and not much memory for large ones. */
const STATES_BYTES = 256 * 2 ** 20;
const LEAST_STATES = 2;
const USUAL_STATES = 32;
/** More threads than any machine has: a typing error. */
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
  cacheTokens: ANYTHING, // at least the context length: see `startRunner`
  tier: oneOf(["auto", ...TIERS]),
  v8Flags: TRUE_OR_FALSE,
  head: oneOf(["auto", "exact", "two-stage"]),
  kv: oneOf(KV_TYPES),
  states: wholeNumber(1, MOST_STATES),
  maxRunning: wholeNumber(1, MAX_OUTPUTS),
  maxWaiting: wholeNumber(0, Number.MAX_SAFE_INTEGER),
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

/** States to make room for; 0: the network has no recurrent layers. */
function statesOf(config: ModelConfig, asked: number | undefined): number {
  const bytes = sequenceStateBytes(config);
  if (bytes === 0) return 0;
  return asked ?? Math.min(Math.max(Math.floor(STATES_BYTES / bytes), LEAST_STATES), USUAL_STATES);
}

/** The number of threads that compute. */
export function threadsOf({ threads, crowded = false }: { readonly threads?: number; readonly crowded?: boolean }): number {
  if (threads === undefined) return defaultThreads();
  return crowded ? threads : usefulThreads(threads);
}

/** Why these kernels, and why no more than one thread where the host allows none. */
export function withThreads(why: string): string {
  const threads = whyOneThread();
  return threads === undefined ? why : `${why}; ${threads}`;
}

/**
 * Starts the workers, and has them load the network when its header is there: both take their time. The options have been read.
 * @throws BitnetError, what `header` rejects with, or the signal's reason; no worker is left running
 * @internal not in the published types
 */
export async function startRunner(header: Promise<NetworkHeader>, options: LoadOptions): Promise<RunningKernels> {
  const { reference = false, activationQuant = true, tier = "auto", head = "auto", kv = DEFAULT_KV, signal } = options;
  const threads = reference ? 1 : threadsOf(options);
  if (!activationQuant && !reference) {
    throw new BitnetError("usage", "unquantised activations (activationQuant) require the reference path: set reference (--reference)");
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
    if (options.cacheTokens !== undefined) {
      const { holds } = wholeNumber(contextLength, MOST_CACHE_TOKENS);
      const wanted = `a whole number from ${contextLength}, the context length (contextLength, --ctx), to ${MOST_CACHE_TOKENS}`;
      checkArgument("cacheTokens", options.cacheTokens, { wanted, holds });
    }
    const request: LoadRequest = {
      config,
      sources,
      stamps,
      contextLength,
      cacheTokens: options.cacheTokens,
      tier,
      setFlags: options.v8Flags ?? false,
      head,
      kv,
      states: statesOf(config, options.states),
      reference: reference ? { activationQuant } : undefined,
      firstAddress: options.firstAddress,
    };
    const loaded = await pool.request<Loaded>("load", request, [...stamps.keys()]);
    let { counters } = loaded;
    const runner: StepRunner = {
      limits: loaded.limits,
      step: async (batch: StepBatch) => {
        const computed = await pool.request<Computed>("step", batch);
        counters = computed.counters;
        return computed.outputs;
      },
      get counters() {
        return counters;
      },
      close: () => pool.close(),
    };
    if (stopped) throw stopped.by; // in the same breath as the answer came
    return { runner, tier: loaded.tier, why: withThreads(loaded.why), memoryBytes: loaded.memoryBytes, threads, activationQuant };
  } catch (error) {
    await pool.close();
    throw stopped ? stopped.by : error;
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}
