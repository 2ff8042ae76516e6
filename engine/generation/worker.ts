/** The program of every worker thread: loads the network into memory, then computes steps. */
import { ArenaPlan, allocate } from "../compute/arena.js";
import { chooseKernels, instantiate, type Kernels, selfTest, type Tier } from "../compute/kernels.js";
import type { WorkerRole } from "../compute/messages.js";
import type { RowOutput, StepBatch, StepLimits, StepOutput } from "../compute/step.js";
import { type Answer, serveWorker } from "../compute/worker.js";
import { BitnetError } from "../errors.js";
import type { ModelConfig } from "../model/config.js";
import type { NetworkSources } from "../model/weights.js";
import { Forward } from "../network/forward.js";
import { type LoadNeeds, load, loadNeeds } from "../network/load.js";
import { type NetworkPlan, planNetwork } from "../network/plan.js";
import { loadReference } from "../network/reference-load.js";
import { ReferenceRun } from "../network/reference-run.js";
import { Operation, StepMemory } from "../network/step-memory.js";
import { logNll, sampleToken } from "../sampling/sampler.js";

/** What the leader is asked to load. */
export interface LoadRequest {
  readonly config: ModelConfig;
  readonly sources: NetworkSources;
  readonly contextLength: number;
  readonly tier: Tier | "auto";
  /** May set process-wide V8 flags. */
  readonly setFlags: boolean;
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
}

/** Computes batches; `logits` of an output are read before the next batch. */
interface Engine {
  compute(batch: StepBatch): void;
  logits(output: number): Float32Array;
}

/** What the leader sends to the followers. */
interface Start {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly plan: NetworkPlan;
  readonly sources: NetworkSources;
}

/** Progress events come at most this often, ms. */
const PROGRESS_INTERVAL = 50;

let engine: Engine | undefined;

serveWorker({
  lead({ kind, payload }, role, send, tell): Answer {
    if (kind === "load") {
      const request = payload as LoadRequest;
      const { loaded, ready } = request.reference
        ? leadReference(request, request.reference.activationQuant)
        : leadKernels(request, role, send, tell);
      engine = ready;
      return { value: loaded };
    }
    const batch = payload as StepBatch;
    engine!.compute(batch);
    const outputs = batch.outputs.map((output, i) => answer(output, engine!.logits(i)));
    return { value: outputs, transfer: outputs.flatMap(({ logits }) => (logits ? [logits.buffer as ArrayBuffer] : [])) };
  },

  follow(message, role) {
    const { module, memory, plan, sources } = message as Start;
    const kernels = instantiate(module, memory);
    const needs = loadNeeds(sources);
    if (!load(kernels, memory, plan, sources, needs, role.thread, () => {})) return;
    const step = new StepMemory(memory, plan);
    const forward = new Forward(kernels, memory, plan, step, role.thread);
    for (;;) {
      kernels.barrier(plan.control, plan.threads);
      if (step.operation === Operation.exit) return;
      forward.run();
    }
  },
});

function answer(output: RowOutput, logits: Float32Array): StepOutput {
  switch (output.want) {
    case "sample":
      return { id: sampleToken(logits, output.options, output.index, output.seen) };
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
): { loaded: Loaded; ready: Engine } {
  const { config, sources, contextLength, tier, setFlags } = request;
  const needs = loadNeeds(sources);
  let chosen = chooseKernels(tier, setFlags);
  const bytes = loadBytes(needs, sources);
  let told = 0;
  const onBytes = (done: number): void => {
    const now = performance.now();
    if (now - told < PROGRESS_INTERVAL) return;
    told = now;
    tell({ done: Math.min(done, bytes), total: bytes });
  };
  // bf16 tables first: they are half as large, and all published models' embeddings fit them.
  for (let wideTables = false; ; ) {
    const plan = planNetwork(new ArenaPlan(request.firstAddress), config, {
      tier: chosen.tier,
      threads: role.threads,
      contextLength,
      wideTables,
      stagingBytes: needs.stagingBytes,
      statPieces: needs.statPieces,
    });
    const memory = allocate(plan.pages);
    const kernels = instantiate(chosen.module, memory);
    const wrong = selfTest(kernels, chosen.tier, memory, plan.selfTest);
    if (wrong !== undefined) {
      if (chosen.tier === "plain" || tier !== "auto")
        throw new BitnetError("internal", `the ${chosen.tier} kernels compute wrongly on this machine: ${wrong}`);
      chosen = { ...chooseKernels("plain", false), why: `the ${chosen.tier} kernels failed their self-test: ${wrong}` };
      continue;
    }
    send({ module: chosen.module, memory, plan, sources });
    if (!load(kernels, memory, plan, sources, needs, role.thread, onBytes)) {
      wideTables = true;
      continue;
    }
    tell({ done: bytes, total: bytes });
    const loaded = { limits: plan.limits, tier: chosen.tier, why: chosen.why, memoryBytes: plan.pages * 65536 };
    return { loaded, ready: kernelEngine(kernels, memory, plan) };
  }
}

function kernelEngine(kernels: Kernels, memory: WebAssembly.Memory, plan: NetworkPlan): Engine {
  const step = new StepMemory(memory, plan);
  const forward = new Forward(kernels, memory, plan, step, 0);
  return {
    compute(batch) {
      step.write(batch);
      step.operation = Operation.step;
      kernels.barrier(plan.control, plan.threads);
      forward.run();
    },
    logits: (output) => new Float32Array(memory.buffer, plan.logits + output * plan.logitsStride, plan.config.vocabSize),
  };
}

function leadReference(request: LoadRequest, activationQuant: boolean): { loaded: Loaded; ready: Engine } {
  const { config, sources, contextLength } = request;
  const run = new ReferenceRun(config, loadReference(sources), activationQuant, contextLength);
  return { loaded: { limits: run.limits, tier: "none", why: "scalar TypeScript, asked for", memoryBytes: 0 }, ready: run };
}

function loadBytes(needs: LoadNeeds, sources: NetworkSources): number {
  const tables = sources.embedding.byteLength + (sources.head?.byteLength ?? 0);
  return needs.packings.reduce((sum, packing) => sum + packing.source.tensor.byteLength, tables);
}
