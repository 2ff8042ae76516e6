import type { Kernels } from "../compute/kernels.js";
import { ropeAngles, ropeFrequencies } from "../rope.js";
import { type BlockPlan, type ForwardBlock, forwardBlock, inputNorm } from "./blocks.js";
import { Head } from "./head.js";
import type { NetworkPlan } from "./plan.js";
import type { StepMemory } from "./step-memory.js";
import type { TableFile } from "./table-file.js";
import { ForwardThread } from "./thread.js";

/** A thread's own access to the tables in the model's files. */
export interface Tables {
  readonly embedding: TableFile;
  /** The embedding itself when tied. */
  readonly head: TableFile;
}

/** The forward pass of one thread: embedding → blocks, each behind its norm and added to the residual stream → head. */
export class Forward {
  readonly #thread: ForwardThread;
  readonly #embedding: TableFile;
  readonly #frequencies: Float64Array; // [headDim/2]
  readonly #blocks: readonly ForwardBlock[];
  readonly #norms: readonly number[]; // of the blocks' inputs, [blocks] of [hidden] f32
  readonly #head: Head;

  constructor(kernels: Kernels, memory: WebAssembly.Memory, plan: NetworkPlan, step: StepMemory, tables: Tables, thread: number) {
    const { headDim, ropeTheta, ropeFactors, ropeScaling } = plan.config;
    const blocks = plan.layers.flatMap(({ mixer, feedForward }): BlockPlan[] => [mixer, feedForward]);
    this.#thread = new ForwardThread(kernels, memory, plan, step, thread);
    this.#embedding = tables.embedding;
    this.#frequencies = ropeFrequencies(ropeTheta, headDim, ropeFactors, ropeScaling);
    this.#blocks = blocks.map((block) => forwardBlock(this.#thread, block));
    this.#norms = blocks.map(inputNorm);
    this.#head = new Head(this.#thread, plan.head, tables.head);
  }

  /** Computes the step in memory up to its logits and states. Ends behind a barrier: all of them are there. */
  run(): void {
    const thread = this.#thread;
    // The step is read only before its last barrier: behind that the leader may be writing the next one.
    const { rows, outputs, headed, full } = thread.step;
    thread.alone = rows === 1;
    this.#begin(rows);
    this.#blocks.forEach((block, index) => {
      block.run(rows);
      this.#add(rows, this.#norms[index + 1]);
    });
    if (outputs > 0) this.#head.run(outputs, headed, full);
  }

  /** Each row's embedding, the angles of its position, and the input of the first block. */
  #begin(rows: number): void {
    const thread = this.#thread;
    const { memory, plan, step, config } = thread;
    thread.eachRow(rows, (row, slot) => {
      this.#embedding.row(step.token(row), thread.x(slot));
      const angles = new Float32Array(memory.buffer, plan.angles + slot * plan.anglesStride, config.headDim);
      ropeAngles(angles, step.position(row), this.#frequencies, config.ropeScaling?.attention);
      thread.blockInput(slot, this.#norms[0]!);
    });
  }

  /** Adds what a block gave, and prepares the input of the next one, if there is one. */
  #add(rows: number, nextNorm: number | undefined): void {
    const thread = this.#thread;
    const { hiddenSize } = thread.config;
    thread.eachRow(rows, (row, slot) => {
      thread.kernels.add(thread.x(slot), thread.delta(row), hiddenSize);
      if (nextNorm !== undefined) thread.blockInput(slot, nextNorm);
    });
  }
}
