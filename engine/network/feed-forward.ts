import { columnBlock, type Kernels, listBytes, sparseScratch, tileColumnBytes } from "../compute/kernels.js";
import type { Activation } from "../model/architectures.js";
import type { Block } from "../model/layers.js";
import { floatStride, type Layout, type LinearPlan, up } from "./layout.js";
import { type ColumnLists, type ForwardThread, type Projection, projection, type SideBySide, sideBySide } from "./thread.js";

/** What all feed-forward blocks of a network share. */
interface FeedForwardMemory {
  /** [rows + 1][gate | up] f32 */
  readonly gateUp: number;
  readonly gateUpStride: number;
  /** Of the down projection's input, if it is mostly 0. */
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

/** After relu² most of the down projection's input is 0, in eight bits: its columns are listed, which the plain tier has no product for. */
function planLists(layout: Layout): ColumnLists | undefined {
  const { config, options, limits } = layout;
  if (config.activation !== "relu2" || options.scaleBlock !== undefined || options.tier === "plain") return undefined;
  layout.needScratch(sparseScratch(limits.maxRows));
  const stride = listBytes(up(config.ffnSize, columnBlock(options.tier)));
  return { at: layout.perSlot(stride), stride };
}

/** Rows from which on it pays to turn the weights into columns. */
const LEAST_LISTED = 12;

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
  }

  /** From the block's input to what is added to the residual stream. Ends behind a barrier. */
  run(rows: number): void {
    const thread = this.#thread;
    const { kernels } = thread;
    const { memory, ffnSubNorm, down } = this.#block;
    const { ffnSize, activation } = thread.config;
    const gated = kernels[GATED[activation]];
    const { tier, quantized, quantizedStride } = thread.plan;
    const lists = rows >= LEAST_LISTED && down.signs === 0 ? memory.lists : undefined; // a rotation leaves no zeros

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
    thread.linears(this.#down, thread.plan.delta, thread.hiddenStride, rows, lists);
  }
}
