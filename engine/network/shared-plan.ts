import { COUNTER_BYTES } from "../compute/counters.js";
import { activationBytes, GROUPS_SCRATCH, type Tier, ternaryScratch } from "../compute/kernels.js";
import type { StepLimits } from "../compute/step.js";
import type { ModelConfig } from "../model/config.js";
import type { KvType } from "../numerics.js";
import { floatStride, type Layout, up } from "./layout.js";
import { stepWords } from "./step-memory.js";

/** The memory that all blocks share, and how large a step can be. Plain data: it is posted to the workers. */
export interface SharedPlan {
  readonly config: ModelConfig;
  readonly tier: Tier;
  readonly kv: KvType;
  /** Columns that share a scale; undefined: a ternary layer has one. */
  readonly scaleBlock: number | undefined;
  readonly threads: number;
  readonly limits: StepLimits;

  /** The barrier's block. */
  readonly control: number;
  /** [threads] of COUNTER_BYTES: how often each thread called which kernel */
  readonly counters: number;
  /** The step under way, u32; see `StepMemory`. */
  readonly step: number;

  // A slot is a row of a batch, or a thread's own copy of a lone row.
  /** [slots][hidden] f32: the residual stream */
  readonly x: number;
  /** [rows + 1][hidden] f32: what a block adds to it */
  readonly delta: number;
  /** [slots][widest] f32: output of a norm */
  readonly normed: number;
  readonly normedStride: number;
  /** [slots][hidden] f32: a block's normed input, where each of its layers norms it again */
  readonly inner: number;
  /** [slots + 1][kPad] quantised activations; with `scaleBlock`, [kPad/scaleBlock][slots + 1][scaleBlock] */
  readonly quantized: number;
  readonly quantizedStride: number;
  /** [slots + 1] of 8 bytes: sum and maximum of each; with `scaleBlock`, [kPad/scaleBlock][slots + 1]: sum and scale of each group */
  readonly meta: number;
  readonly metaStride: number;
  /** With `scaleBlock`, bytes from group to group of `quantized` and `meta`. */
  readonly quantizedGroup: number;
  readonly metaGroup: number;
  /** [slots][ropeSize] f32: cosines, sines of each row's position */
  readonly angles: number;
  readonly anglesStride: number;
  /** [threads] of `scratchBytes`, each thread's own */
  readonly scratch: number;
  readonly scratchBytes: number;
}

/** Takes the shared memory, when all blocks have taken theirs and so said what they need of it. */
export function planShared(layout: Layout): SharedPlan {
  const { config, options, limits, slots } = layout;
  const { tier, kv, scaleBlock, threads } = options;
  const kPad = layout.widestPadded;
  layout.needScratch(ternaryScratch(kPad));
  if (scaleBlock !== undefined) layout.needScratch(GROUPS_SCRATCH);
  if (config.rotation) layout.needScratch(floatStride(layout.widest)); // a rotated row
  const { scratchBytes } = layout;
  const normedStride = floatStride(layout.widest);
  const quantizedStride = (scaleBlock ?? kPad) * activationBytes(tier, config.activations);
  const metaStride = 8;
  // As many more as `perRow` has. A cache line between groups, so that those of one row don't all compete for the same place in the caches.
  const quantizedGroup = up((slots + 1) * quantizedStride, 64) + 64;
  const metaGroup = (slots + 1) * metaStride;
  const groups = scaleBlock === undefined ? 1 : kPad / scaleBlock;
  const anglesStride = floatStride(config.ropeSize);
  return {
    config,
    tier,
    kv,
    scaleBlock,
    threads,
    limits,
    control: layout.take("control", 256),
    counters: layout.take("control", threads * COUNTER_BYTES),
    step: layout.take("step", 4 * stepWords(limits).end),
    x: layout.perSlot(floatStride(config.hiddenSize)),
    delta: layout.perRow(floatStride(config.hiddenSize)),
    normed: layout.perSlot(normedStride),
    normedStride,
    inner: config.innerNorms ? layout.perSlot(floatStride(config.hiddenSize)) : 0,
    quantized: layout.take("activations", groups * quantizedGroup),
    quantizedStride,
    meta: layout.take("activations", groups * metaGroup),
    metaStride,
    quantizedGroup,
    metaGroup,
    angles: layout.perSlot(anglesStride),
    anglesStride,
    scratch: layout.take("scratch", threads * scratchBytes),
    scratchBytes,
  };
}
