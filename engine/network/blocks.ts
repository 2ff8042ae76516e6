/**
 * The kinds of block that a layer can be made of, each a file: what memory it needs, and its forward pass. A new kind is a file and a line in each
 * list here, its parts in `model/layers.ts`, and its scalar twin, which `reference.ts` calls.
 */
import { makeLayer } from "../model/layers.js";
import { Attention, type AttentionPlan, planAttention } from "./attention.js";
import { FeedForward, type FeedForwardPlan, planFeedForward } from "./feed-forward.js";
import type { Layout } from "./layout.js";
import type { ForwardThread } from "./thread.js";

export type BlockPlan = AttentionPlan | FeedForwardPlan;

/** A layer in memory; norms are [size] f32. */
export interface LayerPlan {
  readonly mixer: AttentionPlan;
  readonly feedForward: FeedForwardPlan;
}

/** Takes the memory of all layers. */
export function planLayers(layout: Layout): LayerPlan[] {
  const attention = planAttention(layout);
  const feedForward = planFeedForward(layout);
  return Array.from({ length: layout.config.layers }, () => {
    const parts = makeLayer(
      layout.config,
      (_, rows, columns) => layout.linear(rows, columns),
      (_, size) => layout.norm(size),
    );
    return { mixer: attention(parts.mixer), feedForward: feedForward(parts.feedForward) };
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
    case "feedForward":
      return new FeedForward(thread, block);
  }
}

/** The norm that a block's input goes through, [hidden] f32. */
export function inputNorm(block: BlockPlan): number {
  return block.kind === "feedForward" ? block.ffnNorm : block.attnNorm;
}
