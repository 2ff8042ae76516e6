import type { Kernels } from "../compute/kernels.js";
import { ropeAngles, ropeFrequencies } from "../rope.js";
import { type BlockInput, type BlockPlan, type ForwardBlock, forwardBlock, inputOf, postNormOf } from "./blocks.js";
import { Delta } from "./delta.js";
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
  readonly #frequencies: Float64Array; // [ropeSize/2]
  /** By which rows of the embedding are turned back, [hidden] f32; 0: they aren't rotated. */
  readonly #embeddingSigns: number;
  readonly #blocks: readonly ForwardBlock[];
  readonly #recurrent: readonly Delta[]; // those of the blocks
  readonly #inputs: readonly BlockInput[]; // [blocks]
  readonly #postNorms: readonly (number | undefined)[]; // [blocks]
  readonly #head: Head;

  constructor(kernels: Kernels, memory: WebAssembly.Memory, plan: NetworkPlan, step: StepMemory, tables: Tables, thread: number) {
    const { ropeSize, ropeTheta, ropeFactors, ropeScaling } = plan.config;
    const blocks = plan.layers.flatMap(({ mixer, feedForward }): BlockPlan[] => [mixer, feedForward]);
    this.#thread = new ForwardThread(kernels, memory, plan, step, thread);
    this.#embedding = tables.embedding;
    this.#frequencies = ropeFrequencies(ropeTheta, ropeSize, ropeFactors, ropeScaling);
    this.#blocks = blocks.map((block) => forwardBlock(this.#thread, block));
    this.#recurrent = this.#blocks.filter((block) => block instanceof Delta);
    this.#inputs = blocks.map(inputOf);
    this.#postNorms = blocks.map(postNormOf);
    this.#embeddingSigns = plan.embeddingSigns;
    this.#head = new Head(this.#thread, plan.head, tables.head);
  }

  /** Computes the step in memory up to its logits and states. Ends behind a barrier: all of them are there. */
  run(): void {
    const thread = this.#thread;
    // The step is read only before its last barrier: behind that the leader may be writing the next one.
    const { rows, outputs, headed, full } = thread.step;
    thread.alone = rows === 1;
    this.#copyStates();
    this.#begin(rows);
    this.#blocks.forEach((block, index) => {
      block.run(rows);
      this.#add(rows, this.#postNorms[index], this.#inputs[index + 1]);
    });
    if (outputs > 0) this.#head.run(outputs, headed, full);
  }

  /** Restores states from snapshots, and takes new ones. */
  #copyStates(): void {
    const thread = this.#thread;
    for (let index = 0; index < thread.step.copies; index++) {
      const [from, to] = thread.step.copy(index);
      thread.each(this.#recurrent.length, (block) => this.#recurrent[block]!.copyState(from, to));
    }
  }

  /** Each row's embedding, the angles of its position, and the input of the first block. */
  #begin(rows: number): void {
    const thread = this.#thread;
    const { memory, plan, step, config } = thread;
    thread.eachRow(rows, (row, slot) => {
      const x = thread.x(slot);
      this.#embedding.row(step.token(row), x);
      if (config.embeddingScale !== 1) thread.kernels.scale(x, config.hiddenSize, config.embeddingScale);
      if (this.#embeddingSigns !== 0) thread.rotateBack(x, this.#embeddingSigns, config.hiddenSize);
      const angles = new Float32Array(memory.buffer, plan.angles + slot * plan.anglesStride, config.ropeSize);
      ropeAngles(angles, step.position(row), this.#frequencies, config.ropeScaling?.attention);
      this.#prepare(slot, this.#inputs[0]!);
    });
  }

  #prepare(slot: number, { norm, signs }: BlockInput): void {
    this.#thread.blockInput(slot, norm, signs);
  }

  /** Adds what a block gave, normed if it is to be, and prepares the input of the next one, if there is one. */
  #add(rows: number, norm: number | undefined, next: BlockInput | undefined): void {
    const thread = this.#thread;
    const { hiddenSize, residualScale, rmsNormEps } = thread.config;
    thread.eachRow(rows, (row, slot) => {
      let given = thread.delta(row);
      if (norm !== undefined) {
        thread.kernels.rmsNorm(thread.normed(slot), given, norm, hiddenSize, rmsNormEps); // not in place: of a lone row all threads read it
        given = thread.normed(slot);
      }
      if (residualScale === 1) thread.kernels.add(thread.x(slot), given, hiddenSize);
      else thread.kernels.addScaled(thread.x(slot), given, hiddenSize, residualScale);
      if (next) this.#prepare(slot, next);
    });
  }
}
