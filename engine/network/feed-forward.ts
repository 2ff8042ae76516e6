import type { Kernels } from "../compute/kernels.js";
import type { Activation } from "../model/architectures.js";
import type { Block } from "../model/layers.js";
import { floatStride, type Layout, type LinearPlan } from "./layout.js";
import { type ForwardThread, type Projection, projection, type SideBySide, sideBySide } from "./thread.js";

/** What all feed-forward blocks of a network share. */
interface FeedForwardMemory {
  /** [rows + 1][gate | up] f32 */
  readonly gateUp: number;
  readonly gateUpStride: number;
}

/** A feed-forward block in memory. */
export type FeedForwardPlan = Block<"feedForward", LinearPlan, number> & { readonly memory: FeedForwardMemory };

/** Takes what all feed-forward blocks share. */
export function planFeedForward(layout: Layout): (weights: Block<"feedForward", LinearPlan, number>) => FeedForwardPlan {
  const gateUpStride = floatStride(2 * layout.config.ffnSize);
  const memory: FeedForwardMemory = { gateUp: layout.perRow(gateUpStride), gateUpStride };
  return (weights) => ({ ...weights, memory });
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

    thread.project(this.#gateUp, memory.gateUp, memory.gateUpStride, rows);
    thread.eachRow(rows, (row, slot) => {
      const gate = memory.gateUp + row * memory.gateUpStride;
      const product = thread.normed(slot);
      gated(product, gate, gate + ffnSize * 4, ffnSize);
      thread.normAndQuantize(slot, product, ffnSubNorm, ffnSize, down.signs);
    });
    thread.linears(this.#down, thread.plan.delta, thread.hiddenStride, rows);
  }
}
