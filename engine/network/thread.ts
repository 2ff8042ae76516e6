import { columnBlock, type Kernels, tileRows } from "../compute/kernels.js";
import type { ModelConfig } from "../model/config.js";
import { floatStride, type LinearPlan } from "./layout.js";
import type { SharedPlan } from "./shared-plan.js";
import type { StepMemory } from "./step-memory.js";

/** Rows of a ternary layer that a thread takes at a time: few enough to share evenly, enough to be worth the counter. */
const LEAST_ROWS = 16;
const MOST_ROWS = 128;

/** Some rows of a ternary layer, and where their outputs go in a row of outputs. */
interface LinearChunk {
  readonly weights: number;
  readonly rows: number;
  readonly kPad: number;
  readonly scales: number;
  /** bytes */
  readonly offset: number;
}

/** Ternary layers with the same input, whose outputs lie side by side, in pieces that threads take one by one. */
export type SideBySide = readonly LinearChunk[];

/** [slots] lists of the columns that rows need, `stride` bytes each. */
export interface ColumnLists {
  readonly at: number;
  readonly stride: number;
}

/** Layers with the same input: all together, or each with the norm of its input, [hidden] f32. */
export type Projection = readonly { readonly chunks: SideBySide; readonly norm: number | undefined }[];

/**
 * One thread's part in a step: its kernels, and how it shares the work with the others. All threads run the same lines on the same step; work
 * is handed out in chunks from a shared counter, and a barrier ends each phase. Chunks divide rows, heads or tokens and never a sum, so that
 * neither the number of threads nor the make-up of a batch can show in a result.
 */
export class ForwardThread {
  readonly kernels: Kernels;
  readonly memory: WebAssembly.Memory;
  readonly plan: SharedPlan;
  readonly config: ModelConfig;
  readonly step: StepMemory;
  readonly thread: number;
  /** This thread's own scratch. */
  readonly scratch: number;
  readonly hiddenStride: number;
  /** A step of one row: each thread computes what belongs to the row in a slot of its own, which saves half of the barriers. */
  alone = false;
  readonly #scales: Float32Array; // the whole memory as f32
  /** 1: activations in 15 bits, where the model doesn't quantise them */
  readonly #wide: number;

  constructor(kernels: Kernels, memory: WebAssembly.Memory, plan: SharedPlan, step: StepMemory, thread: number) {
    this.kernels = kernels;
    this.memory = memory;
    this.plan = plan;
    this.config = plan.config;
    this.step = step;
    this.thread = thread;
    this.scratch = plan.scratch + thread * plan.scratchBytes;
    this.hiddenStride = floatStride(plan.config.hiddenSize);
    this.#scales = new Float32Array(memory.buffer);
    this.#wide = plan.config.activations === "float" ? 1 : 0;
  }

  slot(row: number): number {
    return this.alone ? this.thread : row;
  }

  /** A row of the residual stream, [hidden] f32. */
  x(slot: number): number {
    return this.plan.x + slot * this.hiddenStride;
  }

  /** What a block adds to the residual stream of a row, [hidden] f32. */
  delta(row: number): number {
    return this.plan.delta + row * this.hiddenStride;
  }

  /** The output of a norm, up to the widest row of floats. */
  normed(slot: number): number {
    return this.plan.normed + slot * this.plan.normedStride;
  }

  /** A block's normed input, where each of its layers norms it again, [hidden] f32. */
  inner(slot: number): number {
    return this.plan.inner + slot * this.hiddenStride;
  }

  /** RMSNorm of a row of the residual stream, and its quantised form; where layers have norms of their own, the first alone. */
  blockInput(slot: number, weight: number, signs: number): void {
    const { hiddenSize, innerNorms, rmsNormEps } = this.config;
    if (innerNorms) this.kernels.rmsNorm(this.inner(slot), this.x(slot), weight, hiddenSize, rmsNormEps);
    else this.normAndQuantize(slot, this.x(slot), weight, hiddenSize, signs);
  }

  /**
   * Layers with the same input, their outputs side by side in rows of `outStride` bytes at `out`: at once, or one by one where each norms the
   * input by itself.
   */
  project(layers: Projection, out: number, outStride: number, rows: number): void {
    for (const { chunks, norm } of layers) {
      if (norm !== undefined) this.eachRow(rows, (_, slot) => this.normAndQuantize(slot, this.inner(slot), norm, this.config.hiddenSize));
      this.linears(chunks, out, outStride, rows);
    }
  }

  /** H(signs ⊙ x), [n] f32; see `Rotation`. */
  rotate(out: number, x: number, signs: number, n: number): void {
    const { blockSize } = this.config.rotation!;
    this.kernels.rotate(out, x, signs, n, blockSize, 1 / Math.sqrt(blockSize), 0);
  }

  /** signs ⊙ H x in place, which undoes it. */
  rotateBack(x: number, signs: number, n: number): void {
    const { blockSize } = this.config.rotation!;
    this.kernels.rotate(x, x, signs, n, blockSize, 1 / Math.sqrt(blockSize), 1);
  }

  /**
   * RMSNorm of a row of `n` floats, if there is one, and its quantised form, the input of the next ternary layers.
   * @param signs by which it is rotated, as of `LinearPlan`; 0: it isn't
   */
  normAndQuantize(slot: number, x: number, weight: number | undefined, n: number, signs = 0): void {
    const { plan } = this;
    const block = plan.scaleBlock ?? columnBlock(plan.tier);
    let normed = x;
    if (weight !== undefined) {
      normed = this.normed(slot);
      this.kernels.rmsNorm(normed, x, weight, n, plan.config.rmsNormEps);
    }
    if (signs !== 0) {
      this.rotate(this.scratch, normed, signs, n);
      normed = this.scratch;
    }
    const [out, meta, kPad] = [
      plan.quantized + slot * plan.quantizedStride,
      plan.meta + slot * plan.metaStride,
      Math.ceil(n / block) * block,
    ];
    if (plan.scaleBlock === undefined) this.kernels.quantize(out, meta, normed, n, kPad);
    else this.kernels.quantizeGroups(out, plan.quantizedGroup, meta, plan.metaGroup, normed, n, kPad, plan.scaleBlock, this.#wide);
  }

  /** Ternary layers on the quantised rows, their outputs side by side in rows of `outStride` bytes at `out`. */
  linears(chunks: SideBySide, out: number, outStride: number, rows: number): void {
    const { plan } = this;
    const slot = this.slot(0);
    const { scaleBlock, quantizedStride: xStride, quantizedGroup: xGroup, metaStride, metaGroup } = plan;
    const x = plan.quantized + slot * xStride;
    const meta = plan.meta + slot * metaStride;
    this.each(chunks.length, (item) => {
      const chunk = chunks[item]!;
      const { weights, kPad, scales } = chunk;
      const y = out + chunk.offset;
      if (scaleBlock === undefined) {
        const scale = this.#scales[scales / 4]!;
        this.kernels.ternary(weights, chunk.rows, kPad, scale, x, xStride, meta, rows, y, outStride, this.scratch);
      } else {
        const wide = this.#wide;
        const { scratch } = this;
        this.kernels.ternaryGroups(
          weights,
          scales,
          chunk.rows,
          kPad,
          scaleBlock,
          wide,
          x,
          xGroup,
          meta,
          metaGroup,
          rows,
          y,
          outStride,
          scratch,
        );
      }
    });
  }

  /** As `linears`, of tiles and the lists of the rows. */
  sparse(chunks: SideBySide, lists: ColumnLists, out: number, outStride: number, rows: number): void {
    const slot = this.slot(0);
    const meta = this.plan.meta + slot * this.plan.metaStride;
    const list = lists.at + slot * lists.stride;
    this.each(chunks.length, (item) => {
      const { weights, rows: count, kPad, scales, offset } = chunks[item]!;
      const scale = this.#scales[scales / 4]!;
      this.kernels.ternarySparse!(weights, count, kPad, scale, meta, rows, out + offset, outStride, this.scratch, list, lists.stride);
    });
  }

  /** Hands out 0 … count − 1 to the threads; ends behind a barrier. */
  each(count: number, work: (item: number) => void): void {
    const { control, threads } = this.plan;
    for (let item = this.kernels.nextChunk(control); item < count; item = this.kernels.nextChunk(control)) work(item);
    this.kernels.barrier(control, threads);
  }

  /** Work on single rows: shared out, behind a barrier; a lone row is every thread's, in its own slot. */
  eachRow(rows: number, work: (row: number, slot: number) => void): void {
    if (this.alone) work(0, this.thread);
    else this.each(rows, (row) => work(row, row));
  }

  /** Hands out the items of several parts, `counts[part]` of each, as one sequence. */
  eachPart(counts: readonly number[], work: (part: number, item: number) => void): void {
    this.each(
      counts.reduce((sum, count) => sum + count, 0),
      (item) => {
        let part = 0;
        while (item >= counts[part]!) item -= counts[part++]!;
        work(part, item);
      },
    );
  }
}

/** Layers that share their input, with the norms that each has of it. */
export function projection(linears: readonly (readonly [LinearPlan, norm: number | undefined])[], plan: SharedPlan): Projection {
  if (linears.every(([, norm]) => norm === undefined)) {
    return [
      {
        chunks: sideBySide(
          linears.map(([linear]) => linear),
          plan,
        ),
        norm: undefined,
      },
    ];
  }
  let before = 0; // bytes of a row of outputs
  return linears.map(([linear, norm]) => {
    const chunks = sideBySide([linear], plan, before);
    before += linear.rows * 4;
    return { chunks, norm };
  });
}

/** Splits layers that share their input into chunks that threads take one by one. @param first byte in a row of outputs */
export function sideBySide(linears: readonly LinearPlan[], { threads, scaleBlock }: SharedPlan, first = 0): SideBySide {
  const total = linears.reduce((sum, linear) => sum + linear.rows, 0);
  const share = Math.ceil(total / threads / 4 / LEAST_ROWS) * LEAST_ROWS;
  const size = Math.min(Math.max(share, LEAST_ROWS), MOST_ROWS);
  const chunks: LinearChunk[] = [];
  let offset = first;
  for (const { weights, rows, kPad, scales } of linears) {
    for (let row = 0; row < rows; row += size) {
      const count = Math.min(size, rows - row);
      const ownScales = scaleBlock === undefined ? scales : scales + row * (kPad / scaleBlock) * 4;
      chunks.push({ weights: weights + row * (kPad / 4), rows: count, kPad, scales: ownScales, offset: offset + row * 4 });
    }
    offset += rows * 4;
  }
  return chunks;
}

/** Splits a layer's tiles, if it has any, into chunks that threads take one by one: single ones, so that they are shared as evenly as can be. */
export function inTiles({ tiles, rows, kPad, scales }: LinearPlan, { tier }: SharedPlan): SideBySide {
  if (tiles === 0) return [];
  const size = tileRows(tier);
  return Array.from({ length: Math.ceil(rows / size) }, (_, tile): LinearChunk => {
    const row = tile * size;
    return { weights: tiles + row * (kPad / 4), rows: Math.min(size, rows - row), kPad, scales, offset: row * 4 };
  });
}
