/** The engine's own parts on this one thread, so that a test can change one of them. */
import { ArenaPlan, allocate } from "../../engine/compute/arena.js";
import { instantiate, type Kernels, type Tier } from "../../engine/compute/kernels.js";
import { chooseKernels } from "../../engine/compute/tier.js";
import { openCheckpoint } from "../../engine/container/checkpoint.js";
import { readConfig } from "../../engine/model/config.js";
import { readWeights } from "../../engine/model/weights.js";
import { Forward } from "../../engine/network/forward.js";
import { load, loadNeeds } from "../../engine/network/load.js";
import { type NetworkPlan, planNetwork } from "../../engine/network/plan.js";
import { StepMemory } from "../../engine/network/step-memory.js";
import { ModelFiles, TableFile } from "../../engine/network/table-file.js";
import { SCALE_GROUP } from "../../engine/numerics.js";

/** What a test may change. */
export interface Changes {
  readonly tier?: Tier;
  /** Columns that share a scale. */
  readonly scaleBlock?: number;
  /** Another module instead of the tier's. */
  readonly module?: WebAssembly.Module;
  /** Other kernels instead of the module's. */
  readonly kernels?: (kernels: Kernels, plan: NetworkPlan, memory: WebAssembly.Memory) => Partial<Kernels>;
  /** After loading. */
  readonly memory?: (memory: WebAssembly.Memory, plan: NetworkPlan) => void;
}

/** Logits of every position, [ids] of [vocab] f32. */
export async function logitsInProcess(path: string, ids: readonly number[], changes: Changes = {}): Promise<Float32Array[]> {
  const checkpoint = await openCheckpoint(path);
  const config = await readConfig(checkpoint);
  const sources = readWeights(checkpoint, config);
  await checkpoint.close();
  const needs = loadNeeds(sources);
  const chosen = chooseKernels(changes.tier ?? "relaxed", true, 0);
  const scaleBlock = changes.scaleBlock ?? (config.activations === "float" ? SCALE_GROUP : undefined);
  const plan = planNetwork(new ArenaPlan(), config, {
    tier: chosen.tier,
    threads: 1,
    contextLength: Math.max(ids.length, 32),
    states: config.recurrent ? 1 : 0,
    kv: "f32",
    scaleBlock,
    head: "bf16",
    stagingBytes: needs.stagingBytes,
    statPieces: needs.statPieces,
  });
  const memory = allocate(plan.pages);
  const original = instantiate(changes.module ?? chosen.module, memory, plan.tier, plan.counters);
  const files = new ModelFiles(memory);
  const outcome = load(original, memory, plan, sources, needs, files.read, 0, () => {});
  if (outcome !== "loaded") {
    files.close();
    if (changes.scaleBlock !== undefined || outcome !== "scale groups") throw new Error(`not for this helper: ${outcome}`);
    return logitsInProcess(path, ids, { ...changes, scaleBlock: SCALE_GROUP });
  }
  changes.memory?.(memory, plan);
  const step = new StepMemory(memory, plan);
  const embedding = new TableFile(original, files.read, sources.embedding, plan.staging);
  const tables = { embedding, head: embedding };
  const forward = new Forward({ ...original, ...changes.kernels?.(original, plan, memory) }, memory, plan, step, tables, 0);
  const table = Int32Array.from({ length: plan.limits.blocks }, (_, i) => i);
  const logits: Float32Array[] = [];
  for (let first = 0; first < ids.length; first += plan.limits.maxOutputs) {
    const tokens = Int32Array.from(ids.slice(first, first + plan.limits.maxOutputs));
    step.write(
      {
        tokens,
        positions: tokens.map((_, i) => first + i),
        sequences: new Int32Array(tokens.length),
        tables: [table],
        outputs: Array.from(tokens, (_, row) => ({ row, want: "logits" as const })),
      },
      true,
    );
    forward.run();
    for (let i = 0; i < tokens.length; i++) {
      logits.push(new Float32Array(memory.buffer, plan.head.logits + i * plan.head.logitsStride, config.vocabSize).slice());
    }
  }
  files.close();
  return logits;
}
