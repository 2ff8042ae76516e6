import { attentionScratch, cacheHeadBytes, columnBlock, type Kernels, MOST_QUERIES, ROW_GROUP } from "../compute/kernels.js";
import { KV_BLOCK, KV_SPAN, ropeAngles, ropeFrequencies } from "../numerics.js";
import { floatStride, type LayerPlan, type LinearPlan, type NetworkPlan, SPLIT_ROWS, widestRow } from "./plan.js";
import type { StepMemory } from "./step-memory.js";
import { type TableFile, tablePieceRows } from "./table-file.js";

/** Rows of a ternary layer that a thread takes at a time: few enough to share evenly, enough to be worth the counter. */
const LEAST_ROWS = 16;
const MOST_ROWS = 128;
/** Rows of the output head that a thread takes at a time: exact ones, and of a scan. */
const HEAD_ROWS = 256;
const SCAN_ROWS = 128;

/** A thread's own access to the tables in the model's files. */
export interface Tables {
  readonly embedding: TableFile;
  /** The embedding itself when tied. */
  readonly head: TableFile;
}

/** Some rows of a ternary layer, and where their outputs go in a row of outputs. */
interface LinearChunk {
  readonly weights: number;
  readonly rows: number;
  readonly kPad: number;
  readonly scales: number;
  /** bytes */
  readonly offset: number;
}

/** Layers with the same input, whose outputs lie side by side. */
interface SideBySide {
  readonly chunks: readonly LinearChunk[];
}

type LayerBlocks = Readonly<Record<"qkv" | "o" | "gateUp" | "down", SideBySide>>;

/**
 * The forward pass of one thread. Every thread runs these same lines on the same step; work is handed out in chunks from a shared counter,
 * and a barrier ends each phase. Chunks divide rows, heads or tokens and never a sum, so that neither the number of threads nor the make-up
 * of a batch can show in a result.
 */
export class Forward {
  readonly #kernels: Kernels;
  readonly #plan: NetworkPlan;
  readonly #step: StepMemory;
  readonly #tables: Tables;
  readonly #thread: number;
  readonly #frequencies: Float64Array; // [headDim/2]
  readonly #memory: WebAssembly.Memory;
  readonly #scales: Float32Array; // the whole memory as f32
  readonly #scratch: number;
  /** 1: activations in 15 bits, where the model doesn't quantise them */
  readonly #wide: number;
  readonly #hiddenStride: number;
  readonly #attentionStride: number;
  readonly #normedStride: number;
  readonly #qkvStride: number;
  readonly #rotatedStride: number;
  readonly #gateUpStride: number;
  readonly #anglesStride: number;
  readonly #blocks: readonly LayerBlocks[];
  /** A step of one row: each thread computes what belongs to the row in a slot of its own, which saves half of the barriers. */
  #alone = false;

  constructor(kernels: Kernels, memory: WebAssembly.Memory, plan: NetworkPlan, step: StepMemory, tables: Tables, thread: number) {
    this.#kernels = kernels;
    this.#plan = plan;
    this.#step = step;
    this.#tables = tables;
    this.#thread = thread;
    this.#memory = memory;
    const { headDim, hiddenSize, attentionSize, kvHeads, ffnSize, ropeTheta, ropeFactors } = plan.config;
    this.#frequencies = ropeFrequencies(ropeTheta, headDim, ropeFactors);
    this.#scales = new Float32Array(memory.buffer);
    this.#scratch = plan.scratch + thread * plan.scratchBytes;
    this.#wide = plan.config.activations === "float" ? 1 : 0;
    this.#hiddenStride = floatStride(hiddenSize);
    this.#attentionStride = floatStride(attentionSize);
    this.#normedStride = floatStride(widestRow(plan.config));
    this.#qkvStride = floatStride(attentionSize + 2 * kvHeads * headDim);
    this.#rotatedStride = floatStride(attentionSize + kvHeads * headDim);
    this.#gateUpStride = floatStride(2 * ffnSize);
    this.#anglesStride = floatStride(headDim);
    this.#blocks = plan.layers.map(({ q, k, v, o, gate, up, down }) => ({
      qkv: sideBySide([q, k, v], plan),
      o: sideBySide([o], plan),
      gateUp: sideBySide([gate, up], plan),
      down: sideBySide([down], plan),
    }));
  }

  /** Computes the step in memory up to its logits. Ends behind a barrier: all logits are there. */
  run(): void {
    const plan = this.#plan;
    const { config } = plan;
    // The step is read only before its last barrier: behind that the leader may be writing the next one.
    const { rows, outputs, full } = this.#step;
    this.#alone = rows === 1;
    this.#eachRow(rows, (row, slot) => {
      this.#tables.embedding.row(this.#step.token(row), this.#x(slot));
      const angles = new Float32Array(this.#memory.buffer, plan.angles + slot * this.#anglesStride, config.headDim);
      ropeAngles(angles, this.#step.position(row), this.#frequencies);
      this.#normAndQuantize(slot, this.#x(slot), plan.layers[0]!.attnNorm, config.hiddenSize);
    });
    plan.layers.forEach((layer, index) => {
      this.#attentionBlock(layer, index, rows);
      this.#ffnBlock(layer, index, rows);
    });
    if (outputs === 0) return;
    if (plan.head.kind !== "scan") this.#exactHead(outputs);
    else if (full) this.#fileHead(outputs);
    else this.#scanHead(outputs);
  }

  /** q, k, v → RoPE → cache → attention → sub-norm → output projection → residual; then the feed-forward norm. */
  #attentionBlock(layer: LayerPlan, index: number, rows: number): void {
    const kernels = this.#kernels;
    const plan = this.#plan;
    const { heads, kvHeads, headDim, hiddenSize, attentionSize, rmsNormEps } = plan.config;
    const k = attentionSize * 4;
    const v = k + kvHeads * headDim * 4;
    const headBytes = cacheHeadBytes(plan.kv, headDim);
    const region = plan.limits.blocks * headBytes; // of one head
    const layerCache = plan.cache + index * kvHeads * region;
    const store = plan.kv === "q8" ? kernels.storeKeyValueQ8 : kernels.storeKeyValue;
    const attend = plan.kv === "q8" ? kernels.attendSpanQ8 : kernels.attendSpan;

    this.#linears(this.#blocks[index]!.qkv, plan.qkv, this.#qkvStride, rows);

    this.#eachRow(rows, (row, slot) => {
      const angles = plan.angles + slot * this.#anglesStride;
      const qkv = plan.qkv + row * this.#qkvStride;
      const rotated = plan.rotated + slot * this.#rotatedStride;
      const { qNorm, kNorm } = layer;
      const normHeads = (at: number, count: number, weight: number): void => {
        for (let end = at + count * headDim * 4; at < end; at += headDim * 4)
          kernels.rmsNorm(rotated + at, qkv + at, weight, headDim, rmsNormEps);
      };
      if (qNorm !== undefined) normHeads(0, heads, qNorm);
      if (kNorm !== undefined) normHeads(k, kvHeads, kNorm);
      kernels.rope(rotated, qNorm === undefined ? qkv : rotated, heads + kvHeads, headDim, angles);
      // A lone row's key and value are stored by every thread: the same bytes, so that each sees them without a barrier.
      const block = layerCache + this.#step.ownBlock(row, KV_BLOCK) * headBytes;
      for (let head = 0; head < kvHeads; head++) {
        const offset = head * headDim * 4;
        store(block + head * region, this.#step.position(row) % KV_BLOCK, rotated + k + offset, qkv + v + offset, headDim);
      }
    });

    const { stateBytes } = plan;
    const group = heads / kvHeads;
    const spansOf = (row: number): number => Math.ceil((this.#step.position(row) + 1) / KV_SPAN);
    /** States of `queries` heads from `head` on: [queries][spans] at `states`, `stride` bytes from head to head. */
    const attendTo = (states: number, stride: number, row: number, head: number, queries: number, span: number): void =>
      attend(
        states + span * stateBytes,
        stride,
        plan.rotated + this.#slot(row) * this.#rotatedStride + head * headDim * 4,
        queries,
        headDim,
        this.#step.table(row) + span * (KV_SPAN / KV_BLOCK) * 4,
        layerCache + Math.floor(head / group) * region,
        headBytes,
        Math.min(this.#step.position(row) + 1 - span * KV_SPAN, KV_SPAN),
        1 / Math.sqrt(headDim),
        this.#scratch,
      );
    const finish = (slot: number, head: number, states: number, spans: number): void =>
      kernels.finishSpans(plan.attention + slot * this.#attentionStride + head * headDim * 4, states, spans, stateBytes, headDim);

    const split = rows <= SPLIT_ROWS;
    // Heads that share keys are computed together, as many as still feeds all threads.
    let items = 0;
    for (let row = 0; row < rows; row++) items += kvHeads * (split ? spansOf(row) : 1);
    const queries = Math.min(group, MOST_QUERIES, items >= 4 * plan.threads ? group : 2);
    const parts = Math.ceil(group / queries); // of a group
    const mostSpans = Math.ceil(plan.limits.contextLength / KV_SPAN);
    const splitStates = (row: number, head: number): number => plan.spans + (row * heads + head) * mostSpans * stateBytes;
    const inPart = (part: number): number => Math.min(queries, group - (part % parts) * queries);
    const headOf = (part: number): number => Math.floor(part / parts) * group + (part % parts) * queries;

    if (split) {
      const counts = Array.from({ length: rows }, (_, row) => kvHeads * parts * spansOf(row));
      this.#eachPart(counts, (row, item) => {
        const part = Math.floor(item / spansOf(row));
        const head = headOf(part);
        attendTo(splitStates(row, head), mostSpans * stateBytes, row, head, inPart(part), item % spansOf(row));
      });
    } else {
      const states = this.#scratch + attentionScratch(headDim);
      this.#each(rows * kvHeads * parts, (item) => {
        const row = Math.floor(item / (kvHeads * parts));
        const part = item % (kvHeads * parts);
        const spans = spansOf(row);
        for (let span = 0; span < spans; span++) attendTo(states, spans * stateBytes, row, headOf(part), inPart(part), span);
        for (let i = 0; i < inPart(part); i++) finish(row, headOf(part) + i, states + i * spans * stateBytes, spans);
      });
    }

    this.#eachRow(rows, (row, slot) => {
      const attention = plan.attention + slot * this.#attentionStride;
      if (split) for (let head = 0; head < heads; head++) finish(slot, head, splitStates(row, head), spansOf(row));
      this.#normAndQuantize(slot, attention, layer.attnSubNorm, attentionSize);
    });

    this.#linears(this.#blocks[index]!.o, plan.delta, this.#hiddenStride, rows);

    this.#eachRow(rows, (row, slot) => {
      kernels.add(this.#x(slot), plan.delta + row * this.#hiddenStride, hiddenSize);
      this.#normAndQuantize(slot, this.#x(slot), layer.ffnNorm, hiddenSize);
    });
  }

  /** gate, up → activation(gate)·up → sub-norm → down projection → residual; then the next layer's attention norm, if there is one. */
  #ffnBlock(layer: LayerPlan, index: number, rows: number): void {
    const kernels = this.#kernels;
    const plan = this.#plan;
    const { hiddenSize, ffnSize, activation } = plan.config;
    const gated = activation === "silu" ? kernels.siluMul : kernels.reluSquaredMul;
    const nextNorm = plan.layers[index + 1]?.attnNorm;

    this.#linears(this.#blocks[index]!.gateUp, plan.gateUp, this.#gateUpStride, rows);

    this.#eachRow(rows, (row, slot) => {
      const gate = plan.gateUp + row * this.#gateUpStride;
      const product = plan.normed + slot * this.#normedStride;
      gated(product, gate, gate + ffnSize * 4, ffnSize);
      this.#normAndQuantize(slot, product, layer.ffnSubNorm, ffnSize);
    });

    this.#linears(this.#blocks[index]!.down, plan.delta, this.#hiddenStride, rows);

    this.#eachRow(rows, (row, slot) => {
      kernels.add(this.#x(slot), plan.delta + row * this.#hiddenStride, hiddenSize);
      if (nextNorm !== undefined) this.#normAndQuantize(slot, this.#x(slot), nextNorm, hiddenSize);
    });
  }

  /** Last norm of the rows that want logits, side by side: [outputs][hidden] f32. @returns where */
  #outputNorm(outputs: number): number {
    const plan = this.#plan;
    const { hiddenSize, rmsNormEps } = plan.config;
    if (this.#alone) {
      const normed = plan.normed + this.#thread * this.#normedStride;
      this.#kernels.rmsNorm(normed, this.#x(this.#thread), plan.outputNorm, hiddenSize, rmsNormEps);
      return normed;
    }
    this.#each(outputs, (i) =>
      this.#kernels.rmsNorm(plan.normed + i * hiddenSize * 4, this.#x(this.#step.output(i)), plan.outputNorm, hiddenSize, rmsNormEps),
    );
    return plan.normed;
  }

  /** All logits, from rows in memory. */
  #exactHead(outputs: number): void {
    const plan = this.#plan;
    const { hiddenSize } = plan.config;
    const x = this.#outputNorm(outputs);
    const { at, rows, rowBytes, kind } = plan.head;
    const wide = kind === "f32" ? 1 : 0;
    this.#each(Math.ceil(rows / HEAD_ROWS), (chunk) => {
      const first = chunk * HEAD_ROWS;
      const count = Math.min(HEAD_ROWS, rows - first);
      this.#kernels.head(at + first * rowBytes, count, hiddenSize, wide, x, outputs, plan.logits + first * 4, plan.logitsStride);
    });
  }

  /** All logits, from rows that are read from the file for it. */
  #fileHead(outputs: number): void {
    const plan = this.#plan;
    const { hiddenSize, vocabSize } = plan.config;
    const x = this.#outputNorm(outputs);
    const table = this.#tables.head;
    const most = tablePieceRows(hiddenSize);
    this.#each(Math.ceil(vocabSize / most), (chunk) => {
      const first = chunk * most;
      const count = Math.min(most, vocabSize - first);
      table.piece(first, count);
      const groups = Math.ceil(count / ROW_GROUP) * ROW_GROUP;
      this.#kernels.head(table.rows, groups, hiddenSize, 1, x, outputs, plan.logits + first * 4, plan.logitsStride);
    });
  }

  /** Coarse logits, from the codes in memory; `HeadSearch` makes exact ones of the best. */
  #scanHead(outputs: number): void {
    const kernels = this.#kernels;
    const plan = this.#plan;
    const { hiddenSize } = plan.config;
    const normed = this.#outputNorm(outputs);
    const prepare = (i: number, slot: number): void => {
      const out = scannedState(plan, slot);
      kernels.prepareScan(out.codes, out.meta, normed + i * hiddenSize * 4, hiddenSize, scanLevels(hiddenSize));
    };
    if (this.#alone) prepare(0, this.#thread);
    else this.#each(outputs, (i) => prepare(i, i));
    const { at, rows, rowBytes, scales } = plan.head;
    this.#each(Math.ceil(rows / SCAN_ROWS), (chunk) => {
      const first = chunk * SCAN_ROWS;
      const count = Math.min(SCAN_ROWS, rows - first);
      for (let i = 0; i < outputs; i++) {
        const { codes, meta } = scannedState(plan, this.#alone ? this.#thread : i);
        const y = plan.logits + i * plan.logitsStride + first * 4;
        kernels.scan(at + first * rowBytes, scales + first * 4, count, hiddenSize, codes, meta, y, this.#scratch);
      }
    });
  }

  #slot(row: number): number {
    return this.#alone ? this.#thread : row;
  }

  #x(slot: number): number {
    return this.#plan.x + slot * this.#hiddenStride;
  }

  /** RMSNorm of a row of `n` floats, if there is one, and its quantised form, the input of the next ternary layers. */
  #normAndQuantize(slot: number, x: number, weight: number | undefined, n: number): void {
    const plan = this.#plan;
    const block = plan.scaleBlock ?? columnBlock(plan.tier);
    let normed = x;
    if (weight !== undefined) {
      normed = plan.normed + slot * this.#normedStride;
      this.#kernels.rmsNorm(normed, x, weight, n, plan.config.rmsNormEps);
    }
    const [out, meta, kPad] = [
      plan.quantized + slot * plan.quantizedStride,
      plan.meta + slot * plan.metaStride,
      Math.ceil(n / block) * block,
    ];
    if (plan.scaleBlock === undefined) this.#kernels.quantize(out, meta, normed, n, kPad);
    else this.#kernels.quantizeGroups(out, meta, normed, n, kPad, plan.scaleBlock, this.#wide);
  }

  /** Ternary layers on the quantised rows, their outputs side by side in rows of `outStride` bytes at `out`. */
  #linears({ chunks }: SideBySide, out: number, outStride: number, columns: number): void {
    const plan = this.#plan;
    const slot = this.#slot(0);
    const { scaleBlock, quantizedStride: xStride, metaStride } = plan;
    const x = plan.quantized + slot * xStride;
    const meta = plan.meta + slot * metaStride;
    this.#each(chunks.length, (item) => {
      const { weights, rows, kPad, scales, offset } = chunks[item]!;
      const y = out + offset;
      if (scaleBlock === undefined) {
        this.#kernels.ternary(weights, rows, kPad, this.#scales[scales / 4]!, x, xStride, meta, columns, y, outStride, this.#scratch);
      } else {
        const wide = this.#wide;
        this.#kernels.ternaryGroups(weights, scales, rows, kPad, scaleBlock, wide, x, xStride, meta, metaStride, columns, y, outStride);
      }
    });
  }

  /** Hands out 0 … count − 1 to the threads; ends behind a barrier. */
  #each(count: number, work: (item: number) => void): void {
    const { control, threads } = this.#plan;
    for (let item = this.#kernels.nextChunk(control); item < count; item = this.#kernels.nextChunk(control)) work(item);
    this.#kernels.barrier(control, threads);
  }

  /** Work on single rows: shared out, behind a barrier; a lone row is every thread's, in its own slot. */
  #eachRow(rows: number, work: (row: number, slot: number) => void): void {
    if (this.#alone) work(0, this.#thread);
    else this.#each(rows, (row) => work(row, row));
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

/** Where an output's hidden state lies for the scan: codes, and what `prepareScan` says of it. */
export function scannedState(plan: NetworkPlan, slot: number): { readonly codes: number; readonly meta: number } {
  const codes = plan.scanned + slot * plan.scannedStride;
  return { codes, meta: codes + plan.scannedStride - 64 };
}

/** Levels of the scan's hidden state: a 32-bit lane sums a quarter of the products of at most 127 · levels. */
function scanLevels(hiddenSize: number): number {
  return Math.min(32767, Math.floor((2 ** 31 - 1) / (127 * Math.ceil(hiddenSize / 4))));
}

/** Splits layers that share their input into chunks that threads take one by one. */
function sideBySide(linears: readonly LinearPlan[], { threads, scaleBlock }: NetworkPlan): SideBySide {
  const total = linears.reduce((sum, linear) => sum + linear.rows, 0);
  const share = Math.ceil(total / threads / 4 / LEAST_ROWS) * LEAST_ROWS;
  const size = Math.min(Math.max(share, LEAST_ROWS), MOST_ROWS);
  const chunks: LinearChunk[] = [];
  let offset = 0;
  for (const { weights, rows, kPad, scales } of linears) {
    for (let first = 0; first < rows; first += size) {
      const count = Math.min(size, rows - first);
      const ownScales = scaleBlock === undefined ? scales : scales + first * (kPad / scaleBlock) * 4;
      chunks.push({ weights: weights + first * (kPad / 4), rows: count, kPad, scales: ownScales, offset: offset + first * 4 });
    }
    offset += rows * 4;
  }
  return { chunks };
}
