import { ROW_GROUP, SCAN_BLOCK, scanScratch } from "../compute/kernels.js";
import { LEAST_MAX, WIDE_LEVELS } from "../numerics.js";
import { floatStride, type HeadKind, type Layout, type LinearPlan, up } from "./layout.js";
import type { SharedPlan } from "./shared-plan.js";
import { type TableFile, tablePieceRows } from "./table-file.js";
import { type ForwardThread, type SideBySide, sideBySide } from "./thread.js";

/** Rows of the output head that a thread takes at a time: exact ones, and of a scan. */
const HEAD_ROWS = 256;
const SCAN_ROWS = 128;

/** The last norm and the output head in memory. */
export interface HeadPlan {
  /** [hidden] f32 */
  readonly norm: number;
  /** By which what goes into the head is rotated, [hidden] 1 or −1 f32; 0: it isn't. */
  readonly signs: number;
  /** [slots][hidden] f32: that, rotated */
  readonly rotated: number;
  readonly kind: HeadKind;
  /** Rows, rounded up to a group of 4; those past the vocabulary are zero. */
  readonly rows: number;
  readonly rowBytes: number;
  readonly at: number;
  /** Columns of codes, whole blocks; the lower bits of the rows' codes, and [rows] f32 how far they are from the rows with these; only `scan` */
  readonly kPad: number;
  readonly low: number;
  readonly fineErrors: number;
  /** Its rows as of a layer; only `ternary` */
  readonly linear: LinearPlan | undefined;
  /** [rows] f32: scale of each row's codes, and how far their upper bits are from the row (`scan`); what √Σrow² is at most, and 0 (`ternary`) */
  readonly scales: number;
  readonly errors: number;
  /** [slots] hidden states for the scan: [kPad] int16, then 64 bytes of scale and norms */
  readonly scanned: number;
  readonly scannedStride: number;
  /** [3][rows] f32, f32, u32: lower and upper bounds of logits, ids of those that can win */
  readonly bounds: number;
  /** [outputs][vocab] f32 */
  readonly logits: number;
  readonly logitsStride: number;
}

export function planHead(layout: Layout): HeadPlan {
  const { hiddenSize, vocabSize } = layout.config;
  const { head: kind } = layout.options;
  const rows = kind === "none" ? 0 : up(vocabSize, ROW_GROUP);
  const kPad = up(hiddenSize, SCAN_BLOCK);
  const rowBytes = { bf16: hiddenSize * 2, f32: hiddenSize * 4, scan: (kPad / 4) * 3, ternary: 0, none: 0 }[kind];
  const coarseBytes = isCoarse(kind) ? rows * 4 : 0;
  const fineRows = kind === "scan" ? rows : 0;
  const isRotated = kind !== "none" && layout.config.rotation?.head === true;
  const scannedStride = kPad * 2 + 64;
  const logitsStride = floatStride(rows);
  if (kind === "scan") layout.needScratch(scanScratch(kPad));
  return {
    norm: layout.floats([hiddenSize]),
    signs: isRotated ? layout.signs(hiddenSize) : 0,
    rotated: isRotated ? layout.take("activations", layout.slots * hiddenSize * 4) : 0,
    kind,
    rows,
    rowBytes,
    at: layout.take("output head", rows * rowBytes),
    kPad,
    low: layout.take("output head", fineRows * (kPad / 4)),
    fineErrors: layout.take("output head", fineRows * 4),
    linear: kind === "ternary" ? layout.linear(rows, hiddenSize, false, false) : undefined,
    scales: layout.take("output head", coarseBytes),
    errors: layout.take("output head", coarseBytes),
    scanned: layout.take("activations", (kind === "scan" ? layout.slots : 0) * scannedStride),
    scannedStride,
    bounds: layout.take("activations", 3 * coarseBytes),
    logits: layout.take("logits", layout.limits.maxOutputs * logitsStride),
    logitsStride,
  };
}

/** Whether logits in memory are coarse, and `HeadSearch` finds the exact ones of the best. */
export function isCoarse(kind: HeadKind): boolean {
  return kind === "scan" || kind === "ternary";
}

/** What is known of a hidden state x whose codes x̂ met a coarse head. */
export interface CodedState {
  /** ‖x‖ */
  readonly norm: number;
  /** ‖x − x̂‖, or more. */
  readonly residual: number;
  /** Where x̂ and what `prepareScan` says of it are, for `refine`; only `scan` */
  readonly codes: number;
  readonly meta: number;
}

/** Rounding to whole levels, and of the f32 factors that levels are made with. */
const HALF_LEVEL = 0.505;

/** That of an output. @param x [hidden] f32 */
export function codedState(memory: WebAssembly.Memory, plan: SharedPlan, head: HeadPlan, x: number, slot: number): CodedState {
  if (head.kind === "scan") {
    const { codes, meta } = scannedState(head, slot);
    const [, norm, residual] = new Float32Array(memory.buffer, meta, 3) as unknown as [number, number, number];
    return { norm, residual, codes, meta };
  }
  const { hiddenSize } = plan.config;
  const state = new Float32Array(memory.buffer, x, hiddenSize);
  const size = plan.scaleBlock!;
  let norm = 0;
  let residual = 0;
  for (let group = 0; group < hiddenSize; group += size) {
    let most = 0;
    for (let i = group; i < group + size; i++) {
      norm += state[i]! * state[i]!;
      most = Math.max(most, Math.abs(state[i]!));
    }
    const half = Math.max(LEAST_MAX, (HALF_LEVEL / WIDE_LEVELS) * most);
    residual += size * half * half;
  }
  return { norm: Math.sqrt(norm), residual: Math.sqrt(residual), codes: 0, meta: 0 };
}

/** Where an output's hidden state lies for the scan: codes, and what `prepareScan` says of it. */
function scannedState({ scanned, scannedStride }: HeadPlan, slot: number): { readonly codes: number; readonly meta: number } {
  const codes = scanned + slot * scannedStride;
  return { codes, meta: codes + scannedStride - 64 };
}

/** Levels of the scan's hidden state: what fits into 14 bits, and a sum of products of at most 63 · levels into 32. */
export function scanLevels(hiddenSize: number): number {
  return Math.min(8191, Math.floor((2 ** 31 - 1) / (63 * hiddenSize)));
}

/** The last norm and the output head on one thread. */
export class Head {
  readonly #thread: ForwardThread;
  readonly #plan: HeadPlan;
  readonly #table: TableFile;
  readonly #chunks: SideBySide;

  /** @param table the head's exact rows in the file */
  constructor(thread: ForwardThread, plan: HeadPlan, table: TableFile) {
    this.#thread = thread;
    this.#plan = plan;
    this.#table = table;
    this.#chunks = plan.linear === undefined ? [] : sideBySide([plan.linear], thread.plan);
  }

  /**
   * The last norm of the step's outputs, and logits of the first `headed` of them. Ends behind a barrier.
   * @param full all logits exactly, even if those in memory are coarse
   */
  run(outputs: number, headed: number, full: boolean): void {
    const normed = this.#norm(outputs);
    if (headed === 0) return;
    const x = this.#plan.signs === 0 ? normed : this.#rotate(normed, headed);
    if (!isCoarse(this.#plan.kind)) this.#exact(x, headed);
    else if (full) this.#fromFile(x, headed);
    else if (this.#plan.kind === "scan") this.#scan(x, headed);
    else this.#project(x, headed);
  }

  /** Last norm of the outputs' rows, side by side: [outputs][hidden] f32. @returns where */
  #norm(outputs: number): number {
    const thread = this.#thread;
    const { hiddenSize, rmsNormEps } = thread.config;
    const { norm } = this.#plan;
    if (thread.alone) {
      const normed = thread.normed(thread.thread);
      thread.kernels.rmsNorm(normed, thread.x(thread.thread), norm, hiddenSize, rmsNormEps);
      return normed;
    }
    const { normed } = thread.plan;
    thread.each(outputs, (i) =>
      thread.kernels.rmsNorm(normed + i * hiddenSize * 4, thread.x(thread.step.output(i)), norm, hiddenSize, rmsNormEps),
    );
    return normed;
  }

  /** Rotates states for a head that is stored for it. @returns where, [outputs][hidden] f32 */
  #rotate(normed: number, outputs: number): number {
    const thread = this.#thread;
    const { hiddenSize } = thread.config;
    const { signs, rotated } = this.#plan;
    const rotate = (i: number, slot: number): void =>
      thread.rotate(rotated + slot * hiddenSize * 4, normed + i * hiddenSize * 4, signs, hiddenSize);
    if (thread.alone) {
      rotate(0, thread.thread);
      return rotated + thread.thread * hiddenSize * 4;
    }
    thread.each(outputs, (i) => rotate(i, i));
    return rotated;
  }

  /** All logits, from rows in memory. */
  #exact(x: number, outputs: number): void {
    const thread = this.#thread;
    const { at, rows, rowBytes, kind, logits, logitsStride } = this.#plan;
    const wide = kind === "f32" ? 1 : 0;
    thread.each(Math.ceil(rows / HEAD_ROWS), (chunk) => {
      const first = chunk * HEAD_ROWS;
      const count = Math.min(HEAD_ROWS, rows - first);
      thread.kernels.head(at + first * rowBytes, count, thread.config.hiddenSize, wide, x, outputs, logits + first * 4, logitsStride);
    });
  }

  /** All logits, from rows that are read from the file for it. */
  #fromFile(x: number, outputs: number): void {
    const thread = this.#thread;
    const table = this.#table;
    const { hiddenSize, vocabSize } = thread.config;
    const { logits, logitsStride } = this.#plan;
    const most = tablePieceRows(hiddenSize);
    thread.each(Math.ceil(vocabSize / most), (chunk) => {
      const first = chunk * most;
      const count = Math.min(most, vocabSize - first);
      table.piece(first, count);
      const groups = up(count, ROW_GROUP);
      thread.kernels.head(table.rows, groups, hiddenSize, 1, x, outputs, logits + first * 4, logitsStride);
    });
  }

  /** Coarse logits of a ternary table: a layer, whose input is the states. */
  #project(x: number, outputs: number): void {
    const thread = this.#thread;
    const { hiddenSize } = thread.config;
    const { logits, logitsStride } = this.#plan;
    thread.eachRow(outputs, (i, slot) => thread.normAndQuantize(slot, x + i * hiddenSize * 4, undefined, hiddenSize));
    thread.linears(this.#chunks, logits, logitsStride, outputs);
  }

  /** Coarse logits, from the codes in memory. */
  #scan(x: number, outputs: number): void {
    const thread = this.#thread;
    const { kernels } = thread;
    const { hiddenSize } = thread.config;
    const plan = this.#plan;
    const prepare = (i: number, slot: number): void => {
      const out = scannedState(plan, slot);
      kernels.prepareScan(out.codes, out.meta, x + i * hiddenSize * 4, hiddenSize, scanLevels(hiddenSize));
    };
    if (thread.alone) prepare(0, thread.thread);
    else thread.each(outputs, (i) => prepare(i, i));
    const { at, rows, rowBytes, kPad, scales, scannedStride: stride, logits, logitsStride } = plan;
    const { codes, meta } = scannedState(plan, thread.slot(0));
    thread.each(Math.ceil(rows / SCAN_ROWS), (chunk) => {
      const first = chunk * SCAN_ROWS;
      const count = Math.min(SCAN_ROWS, rows - first);
      const y = logits + first * 4;
      const { scratch } = thread;
      kernels.scan(at + first * rowBytes, scales + first * 4, count, kPad, codes, stride, meta, outputs, y, logitsStride, scratch);
    });
  }
}
