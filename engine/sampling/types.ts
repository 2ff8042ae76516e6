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
  /** Subtract it from the logits of tokens that the answer already has, -2 to 2; 0: off, as by default. */
  readonly presencePenalty?: number;
  /** Subtract it once for each time that the answer already has a token, -2 to 2; 0: off, as by default. */
  readonly frequencyPenalty?: number;
  /** Token ids, and what is added to their logits, -100 to 100. -100 excludes a token, 100 all others. */
  readonly logitBias?: Readonly<Record<number, number>>;
  /** Seed of the random numbers, an integer in 0 … 2^53 − 1. */
  readonly seed: number;
}

/** The natural logarithm of a token's probability. */
export interface LogProbability {
  readonly id: number;
  readonly logprob: number;
}

/** How likely a token was where it was chosen, by the model's own logits: before masks, biases, penalties and temperature. */
export interface TokenLogprob extends LogProbability {
  /** The likeliest tokens there, as many as were asked for: the likeliest first, ties by lower id. The chosen one may be among them. */
  readonly top: readonly LogProbability[];
}
