/** The program of every worker thread: loads the network into memory, then computes steps. */

import { memoryLeft } from "#host/limits.js";
import { ArenaPlan, allocate } from "../compute/arena.js";
import { COUNTER_BYTES, type Counters, readCounters } from "../compute/counters.js";
import { sha256Hex } from "../compute/digest.js";
import { instantiate, type Kernels, type Tier } from "../compute/kernels.js";
import type { WorkerRole } from "../compute/messages.js";
import type { RowOutput, StepBatch, StepLimits, StepOutput } from "../compute/step.js";
import { chooseKernels } from "../compute/tier.js";
import { type Answer, serveWorker } from "../compute/worker.js";
import type { FileStamp } from "../host/files.js";
import type { ModelConfig } from "../model/config.js";
import type { NetworkSources } from "../model/weights.js";
import { Forward, type Tables } from "../network/forward.js";
import { codedState, isCoarse } from "../network/head.js";
import { HeadSearch } from "../network/head-search.js";
import type { HeadKind } from "../network/layout.js";
import { type LoadNeeds, load, loadNeeds } from "../network/load.js";
import { type NetworkPlan, planNetwork } from "../network/plan.js";
import { loadReference } from "../network/reference-load.js";
import { ReferenceRun } from "../network/reference-run.js";
import { Operation, StepMemory } from "../network/step-memory.js";
import { ModelFiles, TableFile } from "../network/table-file.js";
import { type KvType, SCALE_GROUP } from "../numerics.js";
import { isQuantized } from "../packing/quantized.js";
import { allowedIds, isAllowed, masked } from "../sampling/mask.js";
import { adjusting, bestNeeded, logNll, logprobsOf, sampleToken } from "../sampling/sampler.js";

/** How the output head is kept; see `LoadOptions`. */
export type HeadOption = "auto" | "exact" | "two-stage";

/** What the leader is asked to load. */
export interface LoadRequest {
  readonly config: ModelConfig;
  readonly sources: NetworkSources;
  /** State of each file when its header was read. */
  readonly stamps: ReadonlyMap<string, FileStamp>;
  readonly contextLength: number;
  /** As of `PlanOptions`. */
  readonly cacheTokens: number | undefined;
  readonly tier: Tier | "auto";
  /** May set process-wide V8 flags. */
  readonly setFlags: boolean;
  readonly head: HeadOption;
  readonly kv: KvType;
  /** As of `StepLimits`. */
  readonly states: number;
  /** Set: the scalar path, without kernels. */
  readonly reference: { readonly activationQuant: boolean } | undefined;
  /** First address of the memory plan; tests put it beyond 2 GiB. */
  readonly firstAddress: number | undefined;
}

/** What the leader answers. */
export interface Loaded {
  readonly limits: StepLimits;
  readonly tier: Tier | "none";
  readonly why: string;
  readonly memoryBytes: number;
  /** What loading counted. */
  readonly counters: Counters;
}

/** What the leader answers to a step. */
export interface Computed {
  readonly outputs: StepOutput[];
  /** What was counted so far. */
  readonly counters: Counters;
}

/** Computes batches; what is asked of an output is read before the next batch. */
interface Engine {
  /** From which rows are read while it computes; undefined: all is in memory. */
  readonly files?: ModelFiles;
  compute(batch: StepBatch): void;
  /** Of an output of the batch. */
  logits(index: number, output: RowOutput): Logits;
  /** An output's hidden state behind the last norm, of which logits are made, [hidden] f32. */
  hidden(index: number): Float32Array;
  /** What was counted so far, on all threads. */
  counters(): Counters;
}

/** Logits, [vocab] f32. */
interface Logits {
  readonly all: Float32Array;
  /** Ascending: only these can be chosen, and the others are −Infinity. Left out: all can. */
  readonly among?: readonly number[] | undefined;
}

/** What the leader sends to the followers. */
interface Start {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly plan: NetworkPlan;
  readonly sources: NetworkSources;
  readonly stamps: ReadonlyMap<string, FileStamp>;
}

/** Rows that are computed one by one rather than all coarsely: a scan of a large vocabulary costs as much as some hundred reads. */
const MOST_ROWS = 256;

/** Progress events come at most this often, ms. */
const PROGRESS_INTERVAL = 50;

serveWorker(() => {
  let engine: Engine | undefined;
  return {
    lead({ kind, payload }, role, send, tell): Answer {
      if (kind === "load") {
        const request = payload as LoadRequest;
        const { loaded, ready } = request.reference
          ? leadReference(request, request.reference.activationQuant)
          : leadKernels(request, role, send, tell);
        engine = ready;
        return { value: { ...loaded, counters: ready.counters() } satisfies Loaded };
      }
      const batch = payload as StepBatch;
      const from = engine!;
      const work = (): StepOutput[] => {
        from.compute(batch);
        return batch.outputs.map((output, i) => answer(output, from, i));
      };
      const outputs = from.files ? from.files.checked(work) : work();
      const arrays = outputs.flatMap(({ logits, state }) => [logits ?? [], state ?? []].flat());
      return {
        value: { outputs, counters: from.counters() } satisfies Computed,
        transfer: arrays.map(({ buffer }) => buffer as ArrayBuffer),
      };
    },

    follow(message, role) {
      const { module, memory, plan, sources, stamps } = message as Start;
      const kernels = instantiate(module, memory, plan.tier, plan.counters + role.thread * COUNTER_BYTES);
      const needs = loadNeeds(sources);
      const files = new ModelFiles(memory, stamps);
      if (files.checked(() => load(kernels, memory, plan, sources, needs, files.read, role.thread, () => {})) !== "loaded") {
        files.close();
        return;
      }
      const step = new StepMemory(memory, plan);
      const forward = new Forward(kernels, memory, plan, step, tablesOf(kernels, plan, sources, files, role.thread), role.thread);
      try {
        for (;;) {
          kernels.barrier(plan.control, plan.threads);
          if (step.operation === Operation.exit) return;
          forward.run();
        }
      } finally {
        files.check();
      }
    },
  };
});

function answer(output: RowOutput, from: Engine, index: number): StepOutput {
  if (output.want === "state") return { state: from.hidden(index).slice() };
  const { all: logits, among } = from.logits(index, output);
  switch (output.want) {
    case "sample": {
      const { options, seen, counts, ids, allowed, logprobs } = output;
      const scores = logits.subarray(0, ids);
      const [few, masking] = allowed && among ? [among.filter((id) => isAllowed(allowed, id)), undefined] : [among, allowed];
      const id = sampleToken(masking ? masked(scores, masking) : scores, options, output.index, seen, counts, few);
      return {
        id,
        ...(logprobs !== undefined && { logprobs: logprobsOf(logits, id, logprobs, ids) }),
        ...(output.trace && { hidden: sha256Hex(from.hidden(index)) }),
      };
    }
    case "nll":
      return { nll: logNll(logits, output.target) };
    case "logits":
      return { logits: logits.slice() };
    case "nll+logits":
      return { nll: logNll(logits, output.target), logits: logits.slice() };
  }
}

function leadKernels(
  request: LoadRequest,
  role: WorkerRole,
  send: (message: Start) => void,
  tell: (value: unknown) => void,
): { loaded: Omit<Loaded, "counters">; ready: Engine } {
  const { config, sources, stamps, contextLength, cacheTokens, kv, states } = request;
  const needs = loadNeeds(sources);
  const weightBytes = needs.packings.reduce((sum, { source }) => sum + (source.rows * source.columns) / 4, 0);
  const chosen = chooseKernels(request.tier, request.setFlags, weightBytes);
  const bytes = loadBytes(needs, sources);
  let told = 0;
  const onBytes = (done: number): void => {
    const now = performance.now();
    if (now - told < PROGRESS_INTERVAL) return;
    told = now;
    tell({ done: Math.min(done, bytes), total: bytes });
  };
  let head = headKind(request.head, config, sources, needs);
  let scaleBlock = config.activations === "float" ? SCALE_GROUP : undefined;
  for (;;) {
    const plan = planNetwork(new ArenaPlan(request.firstAddress, memoryLeft()), config, {
      tier: chosen.tier,
      kv,
      scaleBlock,
      head,
      threads: role.threads,
      contextLength,
      cacheTokens,
      states,
      stagingBytes: needs.stagingBytes,
      statPieces: needs.statPieces,
    });
    const memory = allocate(plan.pages);
    const kernels = instantiate(chosen.module, memory, plan.tier, plan.counters);
    send({ module: chosen.module, memory, plan, sources, stamps });
    const files = new ModelFiles(memory, stamps);
    const outcome = files.checked(() => load(kernels, memory, plan, sources, needs, files.read, role.thread, onBytes));
    if (outcome !== "loaded") {
      files.close();
      if (outcome === "f32 head") head = "f32";
      else scaleBlock = SCALE_GROUP;
      continue;
    }
    tell({ done: bytes, total: bytes });
    const loaded = { limits: plan.limits, tier: plan.tier, why: chosen.why, memoryBytes: plan.pages * 65536 };
    files.check(sources.embedding, sources.head ?? sources.embedding); // opens those from which rows are read later
    const tables = tablesOf(kernels, plan, sources, files, role.thread);
    return { loaded, ready: kernelEngine(kernels, memory, plan, tables, files) };
  }
}

/** Numbers in an output head from which a scan of codes is worth it: a smaller one is quickly multiplied as it is. */
const WORTH_SCAN = 2 ** 24;

/** bf16 rows first: they are half as large as f32, and all published models' embeddings fit them, but for quantised ones. */
function headKind(option: HeadOption, config: ModelConfig, sources: NetworkSources, needs: LoadNeeds): HeadKind {
  const { vocabSize, hiddenSize, innerNorms, activations } = config;
  if (innerNorms) return "none";
  const possible = hiddenSize % 16 === 0; // whole blocks of the scan; the exact head gives the same tokens
  const wanted = option === "two-stage" || (option === "auto" && vocabSize * hiddenSize >= WORTH_SCAN);
  // States in 8 bits would be too coarse.
  if (wanted && needs.head && activations === "float") return "ternary";
  if (possible && wanted) return "scan";
  return isQuantized((sources.head ?? sources.embedding).type) ? "f32" : "bf16";
}

function tablesOf(kernels: Kernels, plan: NetworkPlan, sources: NetworkSources, files: ModelFiles, thread: number): Tables {
  const table = (tensor: NetworkSources["embedding"]): TableFile =>
    new TableFile(kernels, files.read, tensor, plan.staging + thread * plan.stagingBytes);
  const embedding = table(sources.embedding);
  return { embedding, head: sources.head ? table(sources.head) : embedding };
}

function kernelEngine(kernels: Kernels, memory: WebAssembly.Memory, plan: NetworkPlan, tables: Tables, files: ModelFiles): Engine {
  const step = new StepMemory(memory, plan);
  const forward = new Forward(kernels, memory, plan, step, tables, 0);
  const coarse = isCoarse(plan.head.kind);
  const search = coarse ? new HeadSearch(kernels, memory, plan, tables.head, plan.scratch) : undefined;
  const stateOf = (output: number): number => plan.normed + output * plan.config.hiddenSize * 4;
  // What the head multiplies.
  const headInput = (output: number): number =>
    plan.head.signs === 0 ? stateOf(output) : plan.head.rotated + output * plan.config.hiddenSize * 4;
  const all = (output: number): Float32Array =>
    new Float32Array(memory.buffer, plan.head.logits + output * plan.head.logitsStride, plan.config.vocabSize);
  let places: readonly number[] = [];
  /** Of each output whose allowed tokens are few, these: their logits alone are computed, in rows of the table. */
  let few: readonly (readonly number[] | undefined)[] = [];
  return {
    files,
    compute(batch) {
      few = batch.outputs.map((output) =>
        coarse && output.want === "sample" && output.allowed && output.logprobs === undefined
          ? allowedIds(output.allowed, MOST_ROWS)
          : undefined,
      );
      const fewSuffice = (output: RowOutput, index: number): boolean =>
        output.want === "state" ||
        few[index] !== undefined ||
        (output.want === "sample" && output.logprobs === undefined && bestNeeded(output.options) !== undefined);
      // The head turns what it multiplies: states of a rotated one pass through it.
      const isHeaded = (output: RowOutput, index: number): boolean =>
        output.want !== "state" && (few[index] === undefined || plan.head.signs !== 0);
      places = step.write(batch, !coarse || !batch.outputs.every(fewSuffice), isHeaded);
      step.operation = Operation.step;
      kernels.barrier(plan.control, plan.threads);
      forward.run();
    },
    logits(index, output) {
      const place = places[index]!;
      const allowed = few[index];
      if (search !== undefined && allowed !== undefined) return { all: search.exactly(allowed, headInput(place)), among: allowed };
      if (step.full || search === undefined || output.want !== "sample") return { all: all(place) };
      const { options, seen, counts, ids, allowed: mask } = output;
      const x = headInput(place);
      const best = search.best(
        all(place),
        x,
        codedState(memory, plan, plan.head, x, place),
        bestNeeded(options)!,
        adjusting(options, seen, counts),
        ids,
        mask && ((id) => isAllowed(mask, id)),
      );
      return { all: best, among: search.computed };
    },
    hidden: (index) => new Float32Array(memory.buffer, stateOf(places[index]!), plan.config.hiddenSize),
    counters: () => readCounters(memory, plan.counters, plan.threads, plan.config.ffnSize),
  };
}

function leadReference(request: LoadRequest, activationQuant: boolean): { loaded: Omit<Loaded, "counters">; ready: Engine } {
  const { config, sources, stamps, contextLength, cacheTokens, kv, states } = request;
  const run = new ReferenceRun(config, loadReference(sources, config, stamps), activationQuant, contextLength, kv, states, cacheTokens);
  const ready: Engine = {
    compute: (batch) => run.compute(batch),
    logits: (index) => ({ all: run.logits(index) }),
    hidden: (index) => run.hidden(index),
    counters: () => run.counters(),
  };
  return { loaded: { limits: run.limits, tier: "none", why: "scalar TypeScript, requested", memoryBytes: 0 }, ready };
}

function loadBytes(needs: LoadNeeds, sources: NetworkSources): number {
  const head = (sources.head ?? sources.embedding).byteLength;
  return needs.packings.reduce((sum, packing) => sum + packing.source.tensor.byteLength, head);
}
