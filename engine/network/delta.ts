import { ROW_GROUP } from "../compute/kernels.js";
import { deltaGates } from "../delta.js";
import type { ModelConfig } from "../model/config.js";
import type { Block } from "../model/layers.js";
import { CONVOLUTION, convolved, deltaSize, headPlaces, type RecurrentConfig, stateFloats } from "../model/recurrent.js";
import { floatStride, type Layout, type LinearPlan, up } from "./layout.js";
import type { Run } from "./step-memory.js";
import { type ForwardThread, type Projection, projection, type SideBySide, sideBySide } from "./thread.js";

/** Rows of a head's state that a thread takes at a time: with 128 columns 16 KiB, which stay in the nearest cache. */
const STATE_ROWS = 32;

/** What all recurrent blocks of a network share. */
interface DeltaMemory {
  /** [rows + 1][q | k | v | gate] f32: what the projections give */
  readonly projected: number;
  readonly projectedStride: number;
  /** [rows][q | k | v] f32: behind the convolution, q and k normed */
  readonly convolved: number;
  readonly convolvedStride: number;
  /** [valueHeads][rows] of decay, take f32 */
  readonly gates: number;
  readonly gatesStride: number;
  /** [rows][valueHeads·headSize] f32: what the states give */
  readonly mixed: number;
  readonly mixedStride: number;
  /** Bytes of a sequence's state in one block: inputs of the convolution, [3][channels] f32, then at `rulesFrom` [valueHeads][headSize][headSize] f32. */
  readonly stateBytes: number;
  readonly rulesFrom: number;
}

/** A recurrent block in memory. */
export type DeltaPlan = Block<"delta", LinearPlan, number> & {
  readonly memory: DeltaMemory;
  /** [states] of `stateBytes`: those of the sequences, and snapshots of them. */
  readonly states: number;
};

/** Bytes of a sequence's state in one recurrent block. */
function blockStateBytes(recurrent: RecurrentConfig): { readonly bytes: number; readonly rulesFrom: number } {
  const { convolution, state } = stateFloats(recurrent);
  const rulesFrom = floatStride(convolution);
  return { bytes: rulesFrom + floatStride(state), rulesFrom };
}

/** Bytes of what a network's recurrent blocks remember of one sequence; 0: it has none. */
export function sequenceStateBytes({ recurrent }: ModelConfig): number {
  if (recurrent === undefined) return 0;
  return recurrent.layers.filter(Boolean).length * blockStateBytes(recurrent).bytes;
}

/** Takes what all recurrent blocks share. @returns what adds a block's own states to its weights */
export function planDelta(layout: Layout): (weights: Block<"delta", LinearPlan, number>) => DeltaPlan {
  const recurrent = layout.config.recurrent!;
  const { valueHeads } = recurrent;
  const channels = convolved(recurrent);
  const inner = deltaSize(recurrent);
  const projectedStride = floatStride(channels + inner);
  const [convolvedStride, mixedStride] = [floatStride(channels), floatStride(inner)];
  const gatesStride = 8 * layout.limits.maxRows;
  const { bytes, rulesFrom } = blockStateBytes(recurrent);
  layout.needScratch(2 * floatStride(up(valueHeads, ROW_GROUP)));
  const memory: DeltaMemory = {
    projected: layout.perRow(projectedStride),
    projectedStride,
    convolved: layout.perRow(convolvedStride),
    convolvedStride,
    gates: layout.take("activations", valueHeads * gatesStride),
    gatesStride,
    mixed: layout.perRow(mixedStride),
    mixedStride,
    stateBytes: bytes,
    rulesFrom,
  };
  return (weights) => ({ ...weights, memory, states: layout.take("recurrent states", layout.limits.states * bytes) });
}

/** One layer's Gated DeltaNet on one thread: q, k, v → convolution → norms of heads → states → norms of heads, gate → output projection. */
export class Delta {
  readonly #thread: ForwardThread;
  readonly #block: DeltaPlan;
  readonly #recurrent: RecurrentConfig;
  readonly #projection: Projection;
  readonly #out: SideBySide;
  readonly #rates: Float32Array; // [valueHeads]
  readonly #biases: Float32Array; // [valueHeads]
  /** Of a row of outputs of `deltaBeta` and `deltaAlpha`, in this thread's scratch. */
  readonly #raw: readonly [beta: Float32Array, alpha: Float32Array];
  /** Where each value head's output stands in the input of the output projection. */
  readonly #places: readonly number[];

  constructor(thread: ForwardThread, block: DeltaPlan) {
    const { buffer } = thread.memory;
    const { recurrent, rotation } = thread.config;
    const { valueHeads } = recurrent!;
    this.#thread = thread;
    this.#block = block;
    this.#recurrent = recurrent!;
    this.#projection = projection(
      [
        [block.deltaQkv, undefined],
        [block.deltaGate, undefined],
      ],
      thread.plan,
    );
    this.#out = sideBySide([block.deltaOut], thread.plan);
    this.#rates = new Float32Array(buffer, block.decayRate, valueHeads);
    this.#biases = new Float32Array(buffer, block.decayBias, valueHeads);
    const padded = up(valueHeads, ROW_GROUP);
    this.#raw = [new Float32Array(buffer, thread.scratch, padded), new Float32Array(buffer, thread.scratch + floatStride(padded), padded)];
    this.#places = headPlaces(recurrent!, rotation?.grouped ?? false);
  }

  /** From the block's input to what is added to the residual stream. Ends behind a barrier. */
  run(rows: number): void {
    const thread = this.#thread;
    const { memory, deltaHeadNorm, deltaOut } = this.#block;
    const { keyHeads, valueHeads, headSize } = this.#recurrent;
    const { rmsNormEps } = thread.config;
    const { kernels } = thread;

    thread.project(this.#projection, memory.projected, memory.projectedStride, rows);

    const { runs } = thread.step;
    const blocks = 2 * keyHeads + valueHeads; // of headSize channels
    thread.eachPart([rows, runs * blocks], (part, item) => {
      if (part === 0) this.#gate(item);
      else this.#convolve(thread.step.run(Math.floor(item / blocks)), item % blocks);
    });

    const pieces = Math.ceil(headSize / STATE_ROWS);
    thread.each(runs * valueHeads * pieces, (item) => {
      const head = Math.floor(item / pieces) % valueHeads;
      this.#remember(thread.step.run(Math.floor(item / (pieces * valueHeads))), head, (item % pieces) * STATE_ROWS);
    });

    const size = headSize * 4;
    thread.eachRow(rows, (row, slot) => {
      const mixed = memory.mixed + row * memory.mixedStride;
      const gates = memory.projected + row * memory.projectedStride + convolved(this.#recurrent) * 4;
      const normed = thread.normed(slot);
      for (const [head, place] of this.#places.entries()) {
        const out = normed + place * size;
        kernels.rmsNorm(out, mixed + head * size, deltaHeadNorm, headSize, rmsNormEps);
        kernels.siluMul(out, gates + head * size, out, headSize);
      }
      thread.normAndQuantize(slot, normed, undefined, valueHeads * headSize, deltaOut.signs);
    });
    thread.linears(this.#out, thread.plan.delta, thread.hiddenStride, rows);
  }

  /** Copies a sequence's state. @param from, to its numbers */
  copyState(from: number, to: number): void {
    const { states, memory } = this.#block;
    const { stateBytes } = memory;
    new Uint8Array(this.#thread.memory.buffer).copyWithin(
      states + to * stateBytes,
      states + from * stateBytes,
      states + (from + 1) * stateBytes,
    );
  }

  /** A row's decays and takes. */
  #gate(row: number): void {
    const thread = this.#thread;
    const { memory, deltaBeta, deltaAlpha } = this.#block;
    const { valueHeads } = this.#recurrent;
    const { hiddenSize } = thread.config;
    const x = thread.normed(thread.slot(row));
    const [beta, alpha] = this.#raw;
    for (const [table, out] of [
      [deltaBeta, beta],
      [deltaAlpha, alpha],
    ] as const)
      thread.kernels.head(table, out.length, hiddenSize, 1, x, 1, out.byteOffset, 0);
    const gates = new Float32Array(thread.memory.buffer, memory.gates, (valueHeads * memory.gatesStride) / 4);
    for (let head = 0; head < valueHeads; head++)
      gates.set(deltaGates(alpha[head]!, beta[head]!, this.#biases[head]!, this.#rates[head]!), head * (memory.gatesStride / 4) + 2 * row);
  }

  /** A block of channels, a head of queries, keys or values, of all rows of a sequence. */
  #convolve({ first, rows, state, fresh }: Run, block: number): void {
    const { kernels, config } = this.#thread;
    const { memory, states, convolution } = this.#block;
    const { keyHeads, headSize } = this.#recurrent;
    const { projectedStride, convolvedStride } = memory;
    const at = block * headSize * 4;
    const out = memory.convolved + first * convolvedStride + at;
    const x = memory.projected + first * projectedStride + at;
    const before = states + state * memory.stateBytes + at;
    const beforeStride = convolved(this.#recurrent) * 4;
    const weights = convolution + CONVOLUTION * at;
    kernels.convolve(out, convolvedStride, x, projectedStride, rows, before, beforeStride, fresh ? 1 : 0, weights, headSize);
    if (block >= 2 * keyHeads) return; // values have no norm
    for (let row = 0; row < rows; row++) kernels.l2Norm(out + row * convolvedStride, headSize, config.rmsNormEps);
  }

  /** Some rows of a value head's state, over all rows of a sequence. */
  #remember({ first, rows, state, fresh }: Run, head: number, from: number): void {
    const { memory, states } = this.#block;
    const { keyHeads, headSize } = this.#recurrent;
    const { convolvedStride, mixedStride } = memory;
    const q = memory.convolved + first * convolvedStride + (head % keyHeads) * headSize * 4;
    this.#thread.kernels.deltaRule(
      memory.mixed + first * mixedStride + (head * headSize + from) * 4,
      mixedStride,
      states + state * memory.stateBytes + memory.rulesFrom + (head * headSize + from) * headSize * 4,
      Math.min(STATE_ROWS, headSize - from),
      headSize,
      fresh ? 1 : 0,
      q,
      q + keyHeads * headSize * 4,
      memory.convolved + first * convolvedStride + ((2 * keyHeads + head) * headSize + from) * 4,
      convolvedStride,
      memory.gates + head * memory.gatesStride + first * 8,
      rows,
      1 / Math.sqrt(headSize),
    );
  }
}
