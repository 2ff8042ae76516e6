import { columnBlock, type Kernels, leastSparse, listBytes, sparseScratch, tileColumnBytes } from "../compute/kernels.js";
import type { Activation } from "../model/architectures.js";
import type { Block } from "../model/layers.js";
import { floatStride, type Layout, type LinearPlan, up } from "./layout.js";
import { type ColumnLists, type ForwardThread, inTiles, type Projection, projection, type SideBySide, sideBySide } from "./thread.js";

/** What all feed-forward blocks of a network share. */
interface FeedForwardMemory {
  /** [rows + 1][gate | up] f32 */
  readonly gateUp: number;
  readonly gateUpStride: number;
  /** Of the down projections' input, if it is mostly 0. */
  readonly lists: ColumnLists | undefined;
}

/** A feed-forward block in memory. */
export type FeedForwardPlan = Block<"feedForward", LinearPlan, number> & { readonly memory: FeedForwardMemory };

/** Takes what all feed-forward blocks share. */
export function planFeedForward(layout: Layout): (weights: Block<"feedForward", LinearPlan, number>) => FeedForwardPlan {
  const gateUpStride = floatStride(2 * layout.config.ffnSize);
  const memory: FeedForwardMemory = { gateUp: layout.perRow(gateUpStride), gateUpStride, lists: planLists(layout) };
  return (weights) => ({ ...weights, memory });
}

function planLists(layout: Layout): ColumnLists | undefined {
  const { tier } = layout.options;
  if (!layout.sparseDown) return undefined;
  const kPad = up(layout.config.ffnSize, columnBlock(tier));
  layout.needScratch(sparseScratch(tier, layout.limits.maxRows, kPad));
  const stride = listBytes(kPad);
  return { at: layout.perSlot(stride), stride };
}

/** The kernels of activation(gate) · up. */
const GATED = { relu2: "reluSquaredMul", silu: "siluMul", gelu_tanh: "geluMul" } as const satisfies Readonly<
  Record<Activation, keyof Kernels>
>;

/** One layer's feed-forward block on one thread: gate, up → activation(gate)·up → sub-norm → down projection. */
export class FeedForward {
  readonly #thread: ForwardThread;
  readonly #block: FeedForwardPlan;
  readonly #gateUp: Projection;
  readonly #down: SideBySide;
  readonly #downTiles: SideBySide;

  constructor(thread: ForwardThread, block: FeedForwardPlan) {
    this.#thread = thread;
    this.#block = block;
    this.#gateUp = projection(
      [
        [block.gate, block.gateInputNorm],
        [block.up, block.upInputNorm],
      ],
      thread.plan,
    );
    this.#down = sideBySide([block.down], thread.plan);
    this.#downTiles = inTiles(block.down, thread.plan);
  }

  /** From the block's input to what is added to the residual stream. Ends behind a barrier. */
  run(rows: number): void {
    const thread = this.#thread;
    const { kernels } = thread;
    const { memory, ffnSubNorm, down } = this.#block;
    const { ffnSize, activation } = thread.config;
    const gated = kernels[GATED[activation]];
    const { tier, quantized, quantizedStride } = thread.plan;
    const lists = down.tiles !== 0 && rows >= leastSparse(tier) ? memory.lists : undefined;

    thread.project(this.#gateUp, memory.gateUp, memory.gateUpStride, rows);
    thread.eachRow(rows, (row, slot) => {
      const gate = memory.gateUp + row * memory.gateUpStride;
      const product = thread.normed(slot);
      gated(product, gate, gate + ffnSize * 4, ffnSize);
      thread.normAndQuantize(slot, product, ffnSubNorm, ffnSize, down.signs);
      if (lists) {
        const list = lists.at + slot * lists.stride;
        kernels.listColumns!(list, quantized + slot * quantizedStride, down.kPad, tileColumnBytes(tier));
      }
    });
    if (lists) thread.sparse(this.#downTiles, lists, thread.plan.delta, thread.hiddenStride, rows);
    else thread.linears(this.#down, thread.plan.delta, thread.hiddenStride, rows);
  }
}
