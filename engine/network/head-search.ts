import { type Kernels, ROW_GROUP } from "../compute/kernels.js";
import type { ModelConfig } from "../model/config.js";
import type { CodedState, HeadPlan } from "./head.js";
import type { TableFile } from "./table-file.js";

/** Changes the logits of some tokens in place before the best are sought: of no token may a smaller logit become the larger one. */
export type Adjust = (logits: Float32Array) => void;

/** What the search needs of a `NetworkPlan`. */
interface Searched {
  readonly config: Pick<ModelConfig, "vocabSize" | "hiddenSize">;
  readonly head: Pick<HeadPlan, "kind" | "rows" | "kPad" | "low" | "scales" | "errors" | "fineErrors" | "bounds">;
}

/** Relative error of one f32 operation. */
const UNIT = 2 ** -24;
/** Norms and bounds are computed in f32; they lose less than this. */
const NORM_SLACK = 1.001;
/** Squares below the range of f32 vanish; no published weight is near. */
const TINY = 1e-15;

/**
 * The exact logits of all tokens that can be among the best, from a scan's coarse ones.
 *
 * With e a row, ê its codes, x the hidden state and x̂ its codes, |e·x − ê·x̂| ≤ ‖e − ê‖·‖x‖ + ‖ê‖·‖x − x̂‖ (Cauchy–Schwarz), plus the
 * rounding of both f32 sums, at most (n/8 + 40)·2^-24·‖e‖·‖x‖ in all, of a ternary head, whose groups are summed too, (n/4 + 40)·2^-24·‖e‖·‖x‖.
 * So each logit has a lower and an upper bound. A row whose upper bound is below `count` lower bounds can't be among the `count` best. The scan's
 * ê is refined by the lower bits of the codes: first of the `count` rows with the best lower bounds, which rise by that and rule out most rows, then
 * of those that are left. The `count` rows with the best lower bounds are then read and computed as the exact head does. All others whose upper
 * bound isn't below the least of these exact logits are computed, too.
 */
export class HeadSearch {
  readonly #kernels: Kernels;
  readonly #plan: Searched;
  readonly #table: TableFile;
  readonly #memory: WebAssembly.Memory;
  readonly #lower: Float32Array; // [vocab] bounds of the search under way
  readonly #upper: Float32Array; // [vocab]
  readonly #found: Uint32Array; // [vocab] ids that can win
  readonly #result: Float32Array; // [vocab] what `best` returns
  readonly #scratch: number;

  /** @param scratch 64 bytes of this thread's own */
  constructor(kernels: Kernels, memory: WebAssembly.Memory, plan: Searched, table: TableFile, scratch: number) {
    const { vocabSize } = plan.config;
    const { rows, errors, bounds } = plan.head;
    this.#kernels = kernels;
    this.#plan = plan;
    this.#table = table;
    this.#memory = memory;
    this.#lower = new Float32Array(memory.buffer, bounds, vocabSize);
    this.#upper = new Float32Array(memory.buffer, bounds + rows * 4, vocabSize);
    this.#found = new Uint32Array(memory.buffer, bounds + rows * 8, rows);
    this.#result = new Float32Array(vocabSize);
    this.#scratch = scratch;
    // Nothing is known of the rows that fill up the last group, so they are never the reason to leave out another.
    new Float32Array(memory.buffer, errors, rows).fill(3e38, vocabSize);
  }

  /** The rows that the last search computed exactly, ascending; undefined: none, and all logits are NaN. */
  computed: readonly number[] | undefined;

  /**
   * @param coarse [vocab] f32 from the scan
   * @param x the hidden state, [hidden] f32
   * @param state what is known of it
   * @param count how many of the best are wanted, at least 1
   * @param ids only tokens below it are sought
   * @param isAllowed which of them are; undefined: all. There must be `count` of them
   * @returns [vocab] f32: exact logits, −Infinity where a token can't be among the `count` best; overwritten by the next call
   */
  best(
    coarse: Float32Array,
    x: number,
    state: CodedState,
    count: number,
    adjust: Adjust | undefined,
    ids = this.#plan.config.vocabSize,
    isAllowed?: (id: number) => boolean,
  ): Float32Array {
    const { vocabSize, hiddenSize } = this.#plan.config;
    const { norm, residual } = state;
    const result = this.#result;
    // Not finite, in f32: the exact logits aren't either, and the sampler says so.
    if (!Number.isFinite(Math.fround(norm))) {
      this.computed = undefined;
      return result.fill(Number.NaN);
    }
    const kernels = this.#kernels;
    const { kind, rows, kPad, low, scales, errors, fineErrors } = this.#plan.head;
    const perError = norm * NORM_SLACK;
    // Of a ternary head that is ‖e‖; else ‖e‖ and ‖ê‖ are at most √n times the largest number, 127.5 scales.
    const [perNorm, additions] = kind === "ternary" ? [1, hiddenSize / 4] : [127.5 * Math.sqrt(hiddenSize), hiddenSize / 8];
    const perScale = perNorm * (residual * NORM_SLACK + (additions + 40) * UNIT * norm * NORM_SLACK);
    const lower = this.#lower;
    const upper = this.#upper;
    let least = kernels.bounds(
      lower.byteOffset,
      upper.byteOffset,
      coarse.byteOffset,
      scales,
      errors,
      rows,
      perError,
      perScale,
      perError * TINY,
    );
    adjust?.(lower);
    adjust?.(upper);
    if (isAllowed) {
      for (let id = 0; id < ids; id++) if (!isAllowed(id)) upper[id] = lower[id] = Number.NEGATIVE_INFINITY;
    }
    if (adjust || isAllowed || count > 1 || ids < vocabSize) least = kthLargest(lower.subarray(0, ids), count);
    const foundIn = (values: Float32Array): Uint32Array => {
      const found = this.#found.subarray(0, kernels.atLeast(this.#found.byteOffset, values.byteOffset, rows, least));
      const beyond = found.findIndex((id) => id >= ids);
      return beyond < 0 ? found : found.subarray(0, beyond);
    };
    const refine = (found: Uint32Array): void => {
      kernels.refine(
        lower.byteOffset,
        upper.byteOffset,
        found.byteOffset,
        found.length,
        low,
        scales,
        fineErrors,
        state.codes,
        state.meta,
        kPad,
        coarse.byteOffset,
        perError,
        perScale,
        perError * TINY,
      );
      if (adjust) for (const values of [lower, upper]) this.#adjusted(adjust, values, found);
      least = kthLargest(
        Float32Array.from(found, (id) => lower[id]!),
        count,
      );
    };
    if (kind === "scan") refine(foundIn(lower));
    const found = foundIn(upper);
    if (kind === "scan" && found.length > count) refine(found);
    result.fill(Number.NEGATIVE_INFINITY);
    const best: number[] = []; // `count`, and any that tie
    const others: number[] = [];
    for (const id of found) (lower[id]! >= least ? best : others).push(id);
    this.#compute(best, x);
    const logits = adjust ? result.slice() : result;
    adjust?.(logits);
    const worst = best.length < count ? Number.NEGATIVE_INFINITY : best.reduce((least, id) => Math.min(least, logits[id]!), Infinity);
    const rest = others.filter((id) => !(upper[id]! < worst));
    this.#compute(rest, x);
    this.computed = [...best, ...rest].sort((a, b) => a - b);
    return result;
  }

  /** Adjusts some values in place, and no others. */
  #adjusted(adjust: Adjust, values: Float32Array, ids: Uint32Array): void {
    const all = this.#result; // what it holds is not needed any more, or not yet
    for (const id of ids) all[id] = values[id]!;
    adjust(all);
    for (const id of ids) values[id] = all[id]!;
  }

  /**
   * The exact logits of some tokens, without a scan.
   * @param tokens ascending
   * @param x the hidden state, [hidden] f32
   * @returns [vocab] f32: −Infinity for the others; overwritten by the next call
   */
  exactly(tokens: readonly number[], x: number): Float32Array {
    this.#result.fill(Number.NEGATIVE_INFINITY);
    this.#compute(tokens, x);
    this.computed = tokens;
    return this.#result;
  }

  /** Exact logits of rows, as the exact head computes them. */
  #compute(ids: readonly number[], x: number): void {
    const { hiddenSize } = this.#plan.config;
    const { rows } = this.#table;
    const logits = new Float32Array(this.#memory.buffer, this.#scratch, ROW_GROUP);
    for (let first = 0; first < ids.length; first += ROW_GROUP) {
      const group = ids.slice(first, first + ROW_GROUP);
      for (const [i, id] of group.entries()) this.#table.row(id, rows + i * hiddenSize * 4);
      this.#kernels.head(rows, ROW_GROUP, hiddenSize, 1, x, 1, this.#scratch, 16);
      for (const [i, id] of group.entries()) this.#result[id] = logits[i]!;
    }
  }
}

/** The count-th largest of finite numbers. */
function kthLargest(values: Float32Array, count: number): number {
  if (count === 1) {
    let most = Number.NEGATIVE_INFINITY;
    for (let i = 0; i < values.length; i++) if (values[i]! > most) most = values[i]!;
    return most;
  }
  // The best so far, ascending: few enter once it is full of good ones.
  const best = new Float32Array(count).fill(Number.NEGATIVE_INFINITY);
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (!(value > best[0]!)) continue;
    let at = 0;
    while (at + 1 < count && best[at + 1]! < value) {
      best[at] = best[at + 1]!;
      at++;
    }
    best[at] = value;
  }
  return best[0]!;
}
