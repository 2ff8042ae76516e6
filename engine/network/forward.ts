import type { Kernels } from "../compute/kernels.js";
import { KV_BLOCK, KV_SPAN, ropeAngles, ropeFrequencies } from "../numerics.js";
import { floatStride, type LayerPlan, type LinearPlan, type NetworkPlan, SPLIT_ROWS } from "./plan.js";
import type { StepMemory } from "./step-memory.js";

/** Rows of a ternary layer that a thread takes at a time: few enough to share evenly, enough to be worth the counter. */
const LEAST_ROWS = 16;
const MOST_ROWS = 128;
/** Rows of the output head that a thread takes at a time. */
const HEAD_ROWS = 256;

/**
 * The forward pass of one thread. Every thread runs these same lines on the same step; work is handed out in chunks from a shared counter,
 * and a barrier ends each phase. Chunks divide rows, heads or tokens and never a sum, so that neither the number of threads nor the make-up
 * of a batch can show in a result.
 */
export class Forward {
  readonly #kernels: Kernels;
  readonly #plan: NetworkPlan;
  readonly #step: StepMemory;
  readonly #memory: WebAssembly.Memory;
  readonly #frequencies: Float64Array; // [headDim/2]
  readonly #scales: Float32Array; // the whole memory as f32
  readonly #thread: number;
  readonly #ternaryScratch: number;
  readonly #attentionScratch: number;
  readonly #hiddenStride: number;
  readonly #normedStride: number;
  readonly #qkvStride: number;
  readonly #gateUpStride: number;
  readonly #anglesStride: number;

  constructor(kernels: Kernels, memory: WebAssembly.Memory, plan: NetworkPlan, step: StepMemory, thread: number) {
    this.#kernels = kernels;
    this.#plan = plan;
    this.#step = step;
    this.#thread = thread;
    this.#memory = memory;
    const { headDim, hiddenSize, kvHeads, ffnSize, ropeTheta } = plan.config;
    this.#frequencies = ropeFrequencies(ropeTheta, headDim);
    this.#scales = new Float32Array(memory.buffer);
    const scratch = plan.scratch + thread * plan.scratchBytes;
    this.#attentionScratch = scratch;
    this.#ternaryScratch = scratch + 2 * plan.stateBytes + KV_BLOCK * 4;
    this.#hiddenStride = floatStride(hiddenSize);
    this.#normedStride = floatStride(Math.max(hiddenSize, ffnSize));
    this.#qkvStride = floatStride(hiddenSize + 2 * kvHeads * headDim);
    this.#gateUpStride = floatStride(2 * ffnSize);
    this.#anglesStride = floatStride(headDim);
  }

  /** Computes the step in memory up to its logits. Ends behind a barrier: all logits are there. */
  run(): void {
    const kernels = this.#kernels;
    const plan = this.#plan;
    const { config } = plan;
    // The step is read only before its last barrier: behind that the leader may be writing the next one.
    const { rows, outputs } = this.#step;
    this.#eachRow((row) => {
      kernels.embed(
        this.#x(row),
        plan.embedding.at + this.#step.token(row) * plan.embedding.rowBytes,
        config.hiddenSize,
        plan.embedding.wide ? 1 : 0,
      );
      const angles = new Float32Array(this.#memory.buffer, plan.angles + row * this.#anglesStride, config.headDim);
      ropeAngles(angles, this.#step.position(row), this.#frequencies);
      this.#normAndQuantize(row, this.#x(row), plan.layers[0]!.attnNorm, config.hiddenSize);
    });
    plan.layers.forEach((layer, index) => {
      this.#attentionBlock(layer, index, rows);
      this.#ffnBlock(layer, rows, plan.layers[index + 1]?.attnNorm);
    });
    if (outputs > 0) this.#head(outputs);
  }

  /** q, k, v → RoPE → cache → attention → sub-norm → output projection → residual; then the feed-forward norm. */
  #attentionBlock(layer: LayerPlan, index: number, rows: number): void {
    const kernels = this.#kernels;
    const plan = this.#plan;
    const { heads, kvHeads, headDim, hiddenSize } = plan.config;
    const k = hiddenSize * 4;
    const v = k + kvHeads * headDim * 4;
    const headBytes = 2 * headDim * KV_BLOCK * 4;
    const layerCache = plan.cache + index * kvHeads * headBytes;

    this.#linears([layer.q, layer.k, layer.v], plan.qkv, this.#qkvStride, rows);

    this.#eachRow((row) => {
      const angles = plan.angles + row * this.#anglesStride;
      const qkv = plan.qkv + row * this.#qkvStride;
      kernels.rope(qkv, heads, headDim, angles);
      kernels.rope(qkv + k, kvHeads, headDim, angles);
      const block = layerCache + this.#step.ownBlock(row, KV_BLOCK) * plan.cacheBlockBytes;
      for (let head = 0; head < kvHeads; head++) {
        const offset = head * headDim * 4;
        kernels.storeKeyValue(block + head * headBytes, this.#step.position(row) % KV_BLOCK, qkv + k + offset, qkv + v + offset, headDim);
      }
    });

    const attend = (state: number, row: number, head: number, span: number): void => {
      const kvHead = Math.floor((head * kvHeads) / heads);
      const seen = Math.min(this.#step.position(row) + 1 - span * KV_SPAN, KV_SPAN);
      kernels.attendSpan(
        state,
        plan.stateBytes,
        plan.qkv + row * this.#qkvStride + head * headDim * 4,
        1,
        headDim,
        this.#step.table(row) + span * (KV_SPAN / KV_BLOCK) * 4,
        layerCache + kvHead * headBytes,
        plan.cacheBlockBytes,
        seen,
        1 / Math.sqrt(headDim),
        this.#attentionScratch + 2 * plan.stateBytes,
      );
    };
    const spansOf = (row: number): number => Math.ceil((this.#step.position(row) + 1) / KV_SPAN);
    const split = rows <= SPLIT_ROWS;
    const stateOf = (row: number, head: number, span: number): number =>
      plan.spans + ((row * heads + head) * Math.ceil(plan.limits.contextLength / KV_SPAN) + span) * plan.stateBytes;

    if (split) {
      const counts = Array.from({ length: rows }, (_, row) => heads * spansOf(row));
      this.#eachPart(counts, (row, item) => {
        const spans = spansOf(row);
        const head = Math.floor(item / spans);
        attend(stateOf(row, head, item % spans), row, head, item % spans);
      });
    } else {
      this.#each(rows * heads, (item) => {
        const row = Math.floor(item / heads);
        const head = item % heads;
        const spans = spansOf(row);
        const state = stateOf(0, this.#thread, 0); // a region of this thread's own
        for (let span = 0; span < spans; span++) attend(state + span * plan.stateBytes, row, head, span);
        kernels.finishSpans(plan.attention + row * this.#hiddenStride + head * headDim * 4, state, spans, plan.stateBytes, headDim);
      });
    }

    this.#eachRow((row) => {
      const attention = plan.attention + row * this.#hiddenStride;
      if (split) {
        for (let head = 0; head < heads; head++) {
          kernels.finishSpans(attention + head * headDim * 4, stateOf(row, head, 0), spansOf(row), plan.stateBytes, headDim);
        }
      }
      this.#normAndQuantize(row, attention, layer.attnSubNorm, hiddenSize);
    });

    this.#linears([layer.o], plan.delta, this.#hiddenStride, rows);

    this.#eachRow((row) => {
      kernels.add(this.#x(row), plan.delta + row * this.#hiddenStride, hiddenSize);
      this.#normAndQuantize(row, this.#x(row), layer.ffnNorm, hiddenSize);
    });
  }

  /** gate, up → relu(gate)²·up → sub-norm → down projection → residual; then the next layer's attention norm, if there is one. */
  #ffnBlock(layer: LayerPlan, rows: number, nextNorm: number | undefined): void {
    const kernels = this.#kernels;
    const plan = this.#plan;
    const { hiddenSize, ffnSize } = plan.config;

    this.#linears([layer.gate, layer.up], plan.gateUp, this.#gateUpStride, rows);

    this.#eachRow((row) => {
      const gate = plan.gateUp + row * this.#gateUpStride;
      kernels.reluSquaredMul(gate, gate + ffnSize * 4, ffnSize);
      this.#normAndQuantize(row, gate, layer.ffnSubNorm, ffnSize);
    });

    this.#linears([layer.down], plan.delta, this.#hiddenStride, rows);

    this.#eachRow((row) => {
      kernels.add(this.#x(row), plan.delta + row * this.#hiddenStride, hiddenSize);
      if (nextNorm !== undefined) this.#normAndQuantize(row, this.#x(row), nextNorm, hiddenSize);
    });
  }

  /** Last norm and logits of the rows that want them. */
  #head(outputs: number): void {
    const kernels = this.#kernels;
    const plan = this.#plan;
    const { hiddenSize, rmsNormEps } = plan.config;
    const stride = hiddenSize * 4; // the head's columns lie close: [outputs][hidden]
    this.#each(outputs, (i) =>
      kernels.rmsNorm(plan.normed + i * stride, this.#x(this.#step.output(i)), plan.outputNorm, hiddenSize, rmsNormEps),
    );
    const { at, rows, rowBytes, wide } = plan.head;
    this.#each(Math.ceil(rows / HEAD_ROWS), (chunk) => {
      const first = chunk * HEAD_ROWS;
      const count = Math.min(HEAD_ROWS, rows - first);
      kernels.head(
        at + first * rowBytes,
        count,
        hiddenSize,
        wide ? 1 : 0,
        plan.normed,
        outputs,
        plan.logits + first * 4,
        plan.logitsStride,
      );
    });
  }

  #x(row: number): number {
    return this.#plan.x + row * this.#hiddenStride;
  }

  /** RMSNorm of a row of `n` floats and its quantised form, the input of the next ternary layers. */
  #normAndQuantize(row: number, x: number, weight: number, n: number): void {
    const plan = this.#plan;
    const normed = plan.normed + row * this.#normedStride;
    this.#kernels.rmsNorm(normed, x, weight, n, plan.config.rmsNormEps);
    this.#kernels.quantize(plan.quantized + row * plan.quantizedStride, plan.meta + row * 8, normed, n, Math.ceil(n / 64) * 64);
  }

  /** Ternary layers on the quantised rows, their outputs side by side in rows of `outStride` bytes at `out`. */
  #linears(linears: readonly LinearPlan[], out: number, outStride: number, columns: number): void {
    const plan = this.#plan;
    const total = linears.reduce((sum, linear) => sum + linear.rows, 0);
    const share = Math.ceil(total / plan.threads / 4 / LEAST_ROWS) * LEAST_ROWS;
    const size = Math.min(Math.max(share, LEAST_ROWS), MOST_ROWS);
    let offset = 0;
    const offsets = linears.map((linear) => {
      const at = offset;
      offset += linear.rows * 4;
      return at;
    });
    this.#eachPart(
      linears.map((linear) => Math.ceil(linear.rows / size)),
      (index, chunk) => {
        const { weights, rows, kPad, scale } = linears[index]!;
        const first = chunk * size;
        this.#kernels.ternary(
          weights + first * (kPad / 4),
          Math.min(size, rows - first),
          kPad,
          this.#scales[scale / 4]!,
          plan.quantized,
          plan.quantizedStride,
          plan.meta,
          columns,
          out + offsets[index]! + first * 4,
          outStride,
          this.#ternaryScratch,
        );
      },
    );
  }

  /** Hands out 0 … count − 1 to the threads; ends behind a barrier. */
  #each(count: number, work: (item: number) => void): void {
    const { control, threads } = this.#plan;
    for (let item = this.#kernels.nextChunk(control); item < count; item = this.#kernels.nextChunk(control)) work(item);
    this.#kernels.barrier(control, threads);
  }

  #eachRow(work: (row: number) => void): void {
    this.#each(this.#step.rows, work);
  }

  /** Hands out the items of several parts, `counts[part]` of each, as one sequence. */
  #eachPart(counts: readonly number[], work: (part: number, item: number) => void): void {
    this.#each(
      counts.reduce((sum, count) => sum + count, 0),
      (item) => {
        let part = 0;
        while (item >= counts[part]!) item -= counts[part++]!;
        work(part, item);
      },
    );
  }
}
