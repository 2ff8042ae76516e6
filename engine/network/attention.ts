import { attentionKernels, attentionScratch, cacheHeadBytes, type Kernels, MOST_QUERIES } from "../compute/kernels.js";
import type { Block } from "../model/layers.js";
import { KV_BLOCK, KV_SPAN } from "../numerics.js";
import { floatStride, type Layout, type LinearPlan } from "./layout.js";
import { type ForwardThread, type Projection, projection, type SideBySide, sideBySide } from "./thread.js";

/** A batch of at most this many rows has its attention divided by spans too, so that a lone token at long context still feeds all threads. */
const SPLIT_ROWS = 4;

/** What all attention blocks of a network share. */
interface AttentionMemory {
  /** [rows + 1][q | k | v] f32; of gated attention each head's gate stands behind its q */
  readonly qkv: number;
  readonly qkvStride: number;
  /** [slots][q | k] f32: rotated */
  readonly rotated: number;
  readonly rotatedStride: number;
  /** [slots][heads·headDim] f32: what attention gives */
  readonly mixed: number;
  readonly mixedStride: number;
  /** [SPLIT_ROWS][heads][spans] states of attention, f32 */
  readonly states: number;
  readonly stateBytes: number;
  /** Spans of the longest context. */
  readonly spans: number;
}

/** An attention block in memory. */
export type AttentionPlan = Block<"attention", LinearPlan, number> & {
  readonly memory: AttentionMemory;
  /** Keys and values: [kvHeads][blocks] of `cacheHeadBytes`, so that what one head reads lies together. */
  readonly cache: number;
};

/** Takes what all attention blocks share. @returns what adds a block's own cache to its weights */
export function planAttention(layout: Layout): (weights: Block<"attention", LinearPlan, number>) => AttentionPlan {
  const { heads, kvHeads, headDim, attentionSize } = layout.config;
  const kvSize = kvHeads * headDim;
  const stateBytes = floatStride(4 + headDim);
  const spans = Math.ceil(layout.limits.contextLength / KV_SPAN);
  const qSize = layout.config.attentionGates ? 2 * attentionSize : attentionSize;
  const qkvStride = floatStride(qSize + 2 * kvSize);
  const rotatedStride = floatStride(attentionSize + kvSize);
  const mixedStride = floatStride(attentionSize);
  const memory: AttentionMemory = {
    qkv: layout.perRow(qkvStride),
    qkvStride,
    rotated: layout.perSlot(rotatedStride),
    rotatedStride,
    mixed: layout.perSlot(mixedStride),
    mixedStride,
    states: layout.take("activations", SPLIT_ROWS * heads * spans * stateBytes),
    stateBytes,
    spans,
  };
  layout.needScratch(attentionScratch(headDim) + MOST_QUERIES * spans * stateBytes);
  const cacheBytes = kvHeads * layout.limits.blocks * cacheHeadBytes(layout.options.kv, headDim);
  return (weights) => ({ ...weights, memory, cache: layout.take("KV cache", cacheBytes) });
}

/** One layer's attention on one thread: q, k, v → norms of heads → RoPE → cache → attention → gate or sub-norm → output projection. */
export class Attention {
  readonly #thread: ForwardThread;
  readonly #block: AttentionPlan;
  readonly #qkv: Projection;
  readonly #o: SideBySide;
  /** The kernels of this cache. */
  readonly #store: Kernels["storeKeyValue"];
  readonly #attendSpan: Kernels["attendSpan"];
  /** Of a head's share of a cache block, bytes. */
  readonly #headBytes: number;
  /** Of one head's cache, bytes. */
  readonly #regionBytes: number;
  /** Query heads that share a head of keys and values. */
  readonly #group: number;

  constructor(thread: ForwardThread, block: AttentionPlan) {
    const { heads, kvHeads, headDim } = thread.config;
    this.#thread = thread;
    this.#block = block;
    this.#qkv = projection(
      [
        [block.q, block.qInputNorm],
        [block.k, block.kInputNorm],
        [block.v, block.vInputNorm],
      ],
      thread.plan,
    );
    this.#o = sideBySide([block.o], thread.plan);
    const { store, attendSpan } = attentionKernels(thread.kernels, thread.plan.kv);
    this.#store = store;
    this.#attendSpan = attendSpan;
    this.#headBytes = cacheHeadBytes(thread.plan.kv, headDim);
    this.#regionBytes = thread.plan.limits.blocks * this.#headBytes;
    this.#group = heads / kvHeads;
  }

  /** From the block's input to what is added to the residual stream. Ends behind a barrier. */
  run(rows: number): void {
    const thread = this.#thread;
    const { memory, attnSubNorm, o } = this.#block;
    const { heads, kvHeads, attentionSize, attentionGates } = thread.config;
    const { stateBytes } = memory;

    thread.project(this.#qkv, memory.qkv, memory.qkvStride, rows);
    thread.eachRow(rows, (row, slot) => this.#rotateAndStore(row, slot));

    const split = rows <= SPLIT_ROWS;
    // Heads that share keys are computed together, as many as still feeds all threads.
    let items = 0;
    for (let row = 0; row < rows; row++) items += kvHeads * (split ? this.#spansOf(row) : 1);
    const group = this.#group;
    const queries = Math.min(group, MOST_QUERIES, items >= 4 * thread.plan.threads ? group : 2);
    const parts = Math.ceil(group / queries); // of a group
    const splitStates = (row: number, head: number): number => memory.states + (row * heads + head) * memory.spans * stateBytes;
    const inPart = (part: number): number => Math.min(queries, group - (part % parts) * queries);
    const headOf = (part: number): number => Math.floor(part / parts) * group + (part % parts) * queries;

    if (split) {
      const counts = Array.from({ length: rows }, (_, row) => kvHeads * parts * this.#spansOf(row));
      thread.eachPart(counts, (row, item) => {
        const spans = this.#spansOf(row);
        const part = Math.floor(item / spans);
        const head = headOf(part);
        this.#attend(splitStates(row, head), memory.spans * stateBytes, row, head, inPart(part), item % spans);
      });
    } else {
      const states = thread.scratch + attentionScratch(thread.config.headDim);
      // Head by head: the next row finds most of the head's keys and values in the processor's caches.
      thread.each(rows * kvHeads * parts, (item) => {
        const row = item % rows;
        const part = Math.floor(item / rows);
        const spans = this.#spansOf(row);
        for (let span = 0; span < spans; span++) this.#attend(states, spans * stateBytes, row, headOf(part), inPart(part), span);
        for (let i = 0; i < inPart(part); i++) this.#finish(row, headOf(part) + i, states + i * spans * stateBytes, spans);
      });
    }

    thread.eachRow(rows, (row, slot) => {
      if (split) for (let head = 0; head < heads; head++) this.#finish(slot, head, splitStates(row, head), this.#spansOf(row));
      const mixed = memory.mixed + slot * memory.mixedStride;
      if (attentionGates) this.#gate(mixed, row);
      thread.normAndQuantize(slot, mixed, attnSubNorm, attentionSize, o.signs);
    });
    thread.linears(this.#o, thread.plan.delta, thread.hiddenStride, rows);
  }

  /** Norms and rotates a row's queries and key; puts its key and value into the cache. */
  #rotateAndStore(row: number, slot: number): void {
    const { kernels, plan, step, config } = this.#thread;
    const { memory, cache, qNorm, kNorm } = this.#block;
    const { heads, kvHeads, headDim, attentionSize, attentionGates, ropeSize } = config;
    const size = headDim * 4;
    const qSize = attentionGates ? 2 * size : size; // from head to head
    const qkv = memory.qkv + row * memory.qkvStride;
    const rotated = memory.rotated + slot * memory.rotatedStride;
    const k = attentionSize * 4; // where keys begin among what is rotated
    const v = qkv + heads * qSize + kvHeads * size;
    if (qNorm !== undefined) this.#normHeads(rotated, qkv, qSize, heads, qNorm);
    if (kNorm !== undefined) this.#normHeads(rotated + k, qkv + heads * qSize, size, kvHeads, kNorm);
    kernels.rope(rotated, qNorm === undefined ? qkv : rotated, heads + kvHeads, headDim, ropeSize, plan.angles + slot * plan.anglesStride);
    // A lone row's key and value are stored by every thread: the same bytes, so that each sees them without a barrier.
    const block = cache + step.ownBlock(row, KV_BLOCK) * this.#headBytes;
    for (let head = 0; head < kvHeads; head++) {
      const offset = head * size;
      this.#store(block + head * this.#regionBytes, step.position(row) % KV_BLOCK, rotated + k + offset, v + offset, headDim);
    }
  }

  /** @param stride bytes from head to head of `x` */
  #normHeads(out: number, x: number, stride: number, count: number, weight: number): void {
    const { kernels, config } = this.#thread;
    const { headDim, rmsNormEps } = config;
    for (let head = 0; head < count; head++) kernels.rmsNorm(out + head * headDim * 4, x + head * stride, weight, headDim, rmsNormEps);
  }

  /** Multiplies what attention gave, [heads, headDim] f32, by σ of the gates. */
  #gate(mixed: number, row: number): void {
    const { kernels, config } = this.#thread;
    const { memory } = this.#block;
    const size = config.headDim * 4;
    const gates = memory.qkv + row * memory.qkvStride + size;
    for (let head = 0; head < config.heads; head++) kernels.sigmoidMul(mixed + head * size, gates + head * 2 * size, config.headDim);
  }

  /** Spans that a row sees. */
  #spansOf(row: number): number {
    return Math.ceil((this.#thread.step.position(row) + 1) / KV_SPAN);
  }

  /** States of `queries` heads from `head` on: [queries][spans] at `states`, `stride` bytes from head to head. */
  #attend(states: number, stride: number, row: number, head: number, queries: number, span: number): void {
    const thread = this.#thread;
    const { step } = thread;
    const { memory, cache } = this.#block;
    const { headDim } = thread.config;
    this.#attendSpan(
      states + span * memory.stateBytes,
      stride,
      memory.rotated + thread.slot(row) * memory.rotatedStride + head * headDim * 4,
      queries,
      headDim,
      step.table(row) + span * (KV_SPAN / KV_BLOCK) * 4,
      cache + Math.floor(head / this.#group) * this.#regionBytes,
      this.#headBytes,
      Math.min(step.position(row) + 1 - span * KV_SPAN, KV_SPAN),
      1 / Math.sqrt(headDim),
      thread.scratch,
    );
  }

  /** Merges a head's spans in their order. */
  #finish(slot: number, head: number, states: number, spans: number): void {
    const { memory } = this.#block;
    const { headDim } = this.#thread.config;
    const out = memory.mixed + slot * memory.mixedStride + head * headDim * 4;
    this.#thread.kernels.finishSpans(out, states, spans, memory.stateBytes, headDim);
  }
}
