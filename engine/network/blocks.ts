/**
 * The kinds of block that a layer can be made of, each a file: what memory it needs, and its forward pass. A new kind is a file and a line in each
 * list here, its parts in `model/layers.ts`, and its scalar twin, which `reference.ts` calls.
 */
import { type Block, makeLayer } from "../model/layers.js";
import { Attention, type AttentionPlan, planAttention } from "./attention.js";
import { Delta, type DeltaPlan, planDelta } from "./delta.js";
import { FeedForward, type FeedForwardPlan, planFeedForward } from "./feed-forward.js";
import type { Layout, LinearPlan } from "./layout.js";
import type { ForwardThread } from "./thread.js";

export type BlockPlan = AttentionPlan | DeltaPlan | FeedForwardPlan;

/** A layer in memory; floats are f32. */
export interface LayerPlan {
  readonly mixer: AttentionPlan | DeltaPlan;
  readonly feedForward: FeedForwardPlan;
}

/** Takes the memory of all layers. */
export function planLayers(layout: Layout): LayerPlan[] {
  const { config } = layout;
  const attention = planAttention(layout);
  const delta = config.recurrent && planDelta(layout);
  const feedForward = planFeedForward(layout);
  const planMixer = (mixer: Block<"attention", LinearPlan, number> | Block<"delta", LinearPlan, number>) =>
    mixer.kind === "delta" ? delta!(mixer) : attention(mixer);
  return Array.from({ length: config.layers }, (_, index) => {
    const parts = makeLayer(
      config,
      index,
      (role, rows, columns) => {
        const rotated = config.rotation?.linears[index]?.has(role) ?? false;
        return layout.linear(rows, columns, rotated, role === "down" && layout.sparseDown);
      },
      (_, shape) => layout.floats(shape),
    );
    return { mixer: planMixer(parts.mixer), feedForward: feedForward(parts.feedForward) };
  });
}

/** A block on one thread. */
export interface ForwardBlock {
  /** From the rows that `ForwardThread.blockInput` made to `SharedPlan.delta`. Ends behind a barrier. */
  run(rows: number): void;
}

export function forwardBlock(thread: ForwardThread, block: BlockPlan): ForwardBlock {
  switch (block.kind) {
    case "attention":
      return new Attention(thread, block);
    case "delta":
      return new Delta(thread, block);
    case "feedForward":
      return new FeedForward(thread, block);
  }
}

/** The norm of what a block gives, [hidden] f32; undefined: it is added as it is. */
export function postNormOf(block: BlockPlan): number | undefined {
  switch (block.kind) {
    case "attention":
      return block.attnPostNorm;
    case "delta":
      return undefined;
    case "feedForward":
      return block.ffnPostNorm;
  }
}

/** How a block's input is made of the residual stream. */
export interface BlockInput {
  /** [hidden] f32 */
  readonly norm: number;
  /** As of `LinearPlan`. */
  readonly signs: number;
}

export function inputOf(block: BlockPlan): BlockInput {
  switch (block.kind) {
    case "attention":
      return { norm: block.attnNorm, signs: block.q.signs };
    case "delta":
      return { norm: block.deltaNorm, signs: block.deltaQkv.signs };
    case "feedForward":
      return { norm: block.ffnNorm, signs: block.gate.signs };
  }
}
