/** How a token is chosen from its logits. Fields that are left out do nothing. */
export interface SamplingOptions {
  /** 0: greedy, the highest logit (ties: lowest id). Otherwise logits are divided by it. */
  readonly temperature: number;
  /** Keep the k highest; 0: all. */
  readonly topK: number;
  /** Keep the smallest set of highest probabilities that reaches this sum; 1: all. */
  readonly topP: number;
  /** Keep those of at least this share of the highest probability; 0: all. */
  readonly minP: number;
  /** Divide positive logits of tokens seen before by it, multiply negative ones; 1: off. */
  readonly repetitionPenalty: number;
  /** Seed of the random numbers, an integer in 0 … 2^53 − 1. */
  readonly seed: number;
}
