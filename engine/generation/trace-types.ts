import type { KernelCalls } from "../compute/counters.js";
import type { SamplingOptions } from "../sampling/types.js";

/** One token of an answer, and what chose it. */
export interface TraceStep {
  readonly id: number;
  /** SHA-256 (hex) of the hidden state behind the last norm, [hiddenSize] f32, little-endian: the logits are made of it alone. */
  readonly hidden: string;
}

/** What an answer was made by, with what came from the model's files and the defaults. */
export interface TraceSettings extends SamplingOptions {
  /** null: until the model ends or the context is full. */
  readonly maxTokens: number | null;
  readonly stop: readonly string[];
  /** Ascending, as are `eosIds`. */
  readonly stopIds: readonly number[];
  /** Ids that end the model's turn; none, where they were to be ignored. */
  readonly eosIds: readonly number[];
  readonly speculate: boolean;
}

/** How an answer came about, to be compared with another run. */
export interface GenerationTrace {
  readonly settings: TraceSettings;
  /** One for each of the answer's ids. The same for all threads, tiers, heads and batches, with speculation and on the reference path. */
  readonly steps: readonly TraceStep[];
  /** hₙ = SHA-256(hₙ₋₁ ‖ hiddenₙ ‖ idₙ as u32, little-endian) of the last step, hex; h₀ is 32 zero bytes. */
  readonly chain: string;
  /** Calls of each kernel on all threads, as the kernels counted them from the call to the end; what ran beside it is in them. */
  readonly kernelCalls: KernelCalls;
}
