import type { SamplingOptions, TokenLogprob } from "../sampling/types.js";
import type { Counters } from "./counters.js";

/** What is wanted of one row. */
export type RowOutput =
  /** Choose the next token. `index`: how many tokens of this answer were chosen before, so that the n-th draw of a seed is the n-th everywhere. `seen`: ids that penalties look at, each once; `counts`: how often the answer has each, where that matters. `ids`: one below this is chosen; left out: any that the network has a row for. `allowed`: only these are chosen, a bit each (`TokenMask`). `logprobs`: how likely the token and so many of the likeliest are is wanted too, for which all logits are computed. `trace`: its hidden state is wanted too. */
  | {
      readonly row: number;
      readonly want: "sample";
      readonly options: SamplingOptions;
      readonly index: number;
      readonly seen: Int32Array;
      readonly counts?: Int32Array;
      readonly ids?: number;
      readonly allowed?: Uint32Array;
      readonly logprobs?: number;
      readonly trace: boolean;
    }
  /** The logits themselves, [vocab] f32. */
  | { readonly row: number; readonly want: "logits" }
  /** −ln p(target). */
  | { readonly row: number; readonly want: "nll"; readonly target: number }
  /** Both of the above. */
  | { readonly row: number; readonly want: "nll+logits"; readonly target: number }
  /** The hidden state behind the last norm, [hidden] f32: no logits are computed for it. */
  | { readonly row: number; readonly want: "state" };

/**
 * One pass of the network: rows of any sequences, in any mix (prefill is one sequence with many rows, decode one row a sequence).
 * A row's key and value are stored in its sequence's cache before any row reads them; a row sees the positions up to its own.
 * Rows of one sequence stand side by side in ascending, gapless order of position, and all earlier positions are in the cache already; where layers
 * are recurrent, its state is that of the position before the first of them.
 */
export interface StepBatch {
  /** [rows] token ids */
  readonly tokens: Int32Array;
  /** [rows] position of the token in its sequence, from 0 */
  readonly positions: Int32Array;
  /** [rows] index into `tables` */
  readonly sequences: Int32Array;
  /** The blocks of each sequence's cache, in order: block i holds positions [i·blockSize, (i+1)·blockSize). */
  readonly tables: readonly Int32Array[];
  readonly outputs: readonly RowOutput[];
  /** [sequences] number of each one's recurrent state, which no other has; where the network has no such layers, left out. */
  readonly states?: Int32Array;
  /** States to copy before all else, in this order: [from, to]. At most 3 · maxRows. */
  readonly copies?: readonly (readonly [from: number, to: number])[];
}

/** One output, in the order of `StepBatch.outputs`. */
export interface StepOutput {
  /** The token chosen, where one was wanted. */
  readonly id?: number;
  /** Of that token, where they were wanted. */
  readonly logprobs?: TokenLogprob;
  /** SHA-256 (hex) of the hidden state behind the last norm that chose it, little-endian f32; where a trace was wanted. */
  readonly hidden?: string;
  readonly nll?: number;
  /** [vocab] f32, a copy */
  readonly logits?: Float32Array;
  /** [hidden] f32, a copy */
  readonly state?: Float32Array;
}

/** Maximum sizes of a batch. */
export interface StepLimits {
  /** Rows in a batch. */
  readonly maxRows: number;
  /** Outputs in a batch, but for states: there may be one of every row. */
  readonly maxOutputs: number;
  /** Positions in a block of the cache. */
  readonly blockSize: number;
  /** Blocks there are, for all sequences together; at least what one sequence of `contextLength` needs. */
  readonly blocks: number;
  /** Positions a sequence can have. */
  readonly contextLength: number;
  /** Recurrent states there are, for sequences and snapshots of them; 0: the network has no such layers. */
  readonly states: number;
}

/** Whatever runs steps: the worker pool, or the scalar reference. One step at a time; steps are not reentrant. */
export interface StepRunner {
  readonly limits: StepLimits;
  step(batch: StepBatch): Promise<StepOutput[]>;
  /** What the kernels had counted when the last step ended. */
  readonly counters: Counters;
  /** Ends the workers and frees the memory. Idempotent; a step under way rejects with a `closed` error. */
  close(): Promise<void>;
}
