import type { GenerationTimings, Model } from "../../engine/index.js";

/**
 * Reads a prompt and writes `tokens` tokens, the likeliest each time, whatever they are; its timings. One token a pass, whatever the default
 * is: random weights repeat themselves, so guesses would come true too often.
 */
export async function timeOnce(
  model: Model,
  prompt: readonly number[],
  tokens: number,
  signal: AbortSignal | undefined,
): Promise<GenerationTimings> {
  const options = { temperature: 0, repetitionPenalty: 1, maxTokens: tokens, ignoreEos: true, speculate: false };
  const { timings } = await model.generate(prompt, { ...options, ...(signal && { signal }) }).result();
  signal?.throwIfAborted();
  return timings;
}

/** Token ids of a seed, never the same twice: a linear congruential generator (Numerical Recipes). */
export class RandomIds {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  take(count: number, vocabSize: number): number[] {
    return Array.from({ length: count }, () => {
      this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0;
      return Math.floor((this.#state / 2 ** 32) * vocabSize);
    });
  }
}
