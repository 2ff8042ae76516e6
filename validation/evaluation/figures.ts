import { exp64, log64 } from "../../engine/math.js";
import { standardDeviation } from "../statistics/summary.js";

/** What likelihoods of a text come to. */
export interface TextFigures {
  /** Tokens scored. */
  readonly tokens: number;
  /** Bytes of the text that these tokens spell. */
  readonly bytes: number;
  /** −ln p, mean over the tokens, and the standard error of that mean, as if tokens were independent. */
  readonly mean_nll: number;
  readonly mean_nll_error: number | null;
  /** e^mean_nll, and its error by the derivative: perplexity · mean_nll_error. llama.cpp's tool prints the same two. */
  readonly perplexity: number;
  readonly perplexity_error: number | null;
  /** Σ −log₂ p over the bytes: comparable between tokenizers. */
  readonly bits_per_byte: number;
}

/** @param nll −ln p of each scored token, nats */
export function textFigures(nll: readonly number[], bytes: number): TextFigures {
  const sum = nll.reduce((total, value) => total + value, 0);
  const mean = sum / nll.length;
  const error = nll.length > 1 ? standardDeviation(nll) / Math.sqrt(nll.length) : null;
  const perplexity = exp64(mean);
  return {
    ...{ tokens: nll.length, bytes, mean_nll: mean, mean_nll_error: error },
    ...{ perplexity, perplexity_error: error === null ? null : perplexity * error },
    bits_per_byte: sum / log64(2) / bytes,
  };
}

/** What answers to multiple-choice items come to. */
export interface ChoiceFigures {
  readonly items: number;
  /** Share of the items whose right choice is the likeliest, and its standard error. */
  readonly acc: number;
  readonly acc_stderr: number | null;
  /** The same with log-likelihoods divided by the choices' lengths. */
  readonly acc_norm: number;
  readonly acc_norm_stderr: number | null;
}

/** What is chosen of an item. */
export interface Chosen {
  readonly acc: boolean;
  readonly acc_norm: boolean;
}

/**
 * Which choice is the likeliest, as lm-evaluation-harness has it: of equal ones the first; normalised by the characters of the choice alone, code points,
 * without the space before it.
 */
export function choose(loglikelihoods: readonly number[], choices: readonly string[], gold: number): Chosen {
  const best = (values: readonly number[]): number => values.indexOf(Math.max(...values));
  const lengths = choices.map((choice) => [...choice].length);
  return { acc: best(loglikelihoods) === gold, acc_norm: best(loglikelihoods.map((value, i) => value / lengths[i]!)) === gold };
}

/** Means with the standard errors of lm-evaluation-harness's `mean_stderr`: sample deviation over √n. */
export function choiceFigures(chosen: readonly Chosen[]): ChoiceFigures {
  const share = (hits: readonly boolean[]): readonly [number, number | null] => {
    const ones = hits.map(Number);
    const mean = ones.reduce((sum, one) => sum + one, 0) / ones.length;
    return [mean, ones.length > 1 ? standardDeviation(ones) / Math.sqrt(ones.length) : null];
  };
  const [acc, acc_stderr] = share(chosen.map((one) => one.acc));
  const [acc_norm, acc_norm_stderr] = share(chosen.map((one) => one.acc_norm));
  return { items: chosen.length, acc, acc_stderr, acc_norm, acc_norm_stderr };
}
