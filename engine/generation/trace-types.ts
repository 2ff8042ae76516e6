import type { KernelCalls } from "../compute/counters.js";
import type { SamplingOptions } from "../sampling/types.js";

/** One token of an answer, and the state it was chosen from. */
export interface TraceStep {
  readonly id: number;
  /** SHA-256 (hex) of the hidden state after the last norm, [hiddenSize] f32, little-endian: the logits depend on nothing else. */
  readonly hidden: string;
}

/** Settings of an answer, including defaults and values from the model's files. */
export interface TraceSettings extends SamplingOptions {
  /** null: until the model ends or the context is full. */
  readonly maxTokens: number | null;
  readonly stop: readonly string[];
  /** Ascending, as are `eosIds`. */
  readonly stopIds: readonly number[];
  /** Ids that end an answer; none if they were ignored. */
  readonly eosIds: readonly number[];
  readonly speculate: boolean;
}

/** How an answer was computed, for comparison with another run. */
export interface GenerationTrace {
  readonly settings: TraceSettings;
  /** One for each of the answer's ids. The same for all threads, tiers, heads and batches, with speculation and on the reference path. */
  readonly steps: readonly TraceStep[];
  /** hₙ = SHA-256(hₙ₋₁ ‖ hiddenₙ ‖ idₙ as u32, little-endian) of the last step, hex; h₀ is 32 zero bytes. */
  readonly chain: string;
  /** Calls of each kernel on all threads, as the kernels counted them from the call to the end, including work for other answers. */
  readonly kernelCalls: KernelCalls;
}
