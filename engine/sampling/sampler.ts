import { show } from "../container/quote.js";
import { BitnetError } from "../errors.js";
import { exp64, log64 } from "../math.js";
import { uniform } from "./rng.js";
import type { LogProbability, SamplingOptions, TokenLogprob } from "./types.js";

/** Ids must fit beside 32 bits of logit in the 53 of a double; the largest vocabularies have 2^18. */
const MAX_VOCAB = 2 ** 21;

/** How many of the best tokens are put in order at first where any number may be needed; then 16 times as many, and so on. */
const FIRST_SELECTION = 256;

/** Beyond these a penalty could push a float32 logit to infinity; useful ones lie between 0.8 and 2. */
const PENALTY_RANGE = [0.01, 100] as const;

/** So many are sorted as they are. */
const FEW = 4096;

/** Tokens by the upper 16 bits of their logit, counted again in each selection. */
const histogram = new Uint32Array(0x10000);

/** OpenAI's range of the presence and the frequency penalty. */
const MOST_SUBTRACTED = 2;

/** OpenAI's range of a bias; its ends are a ban and a choice, see `biased`. */
export const MOST_BIAS = 100;

/** Biases of one answer: they are sent along with every token. OpenAI's API takes 300. */
export const MOST_BIASES = 1024;

/** Checks every field's range; throws a `usage` error that names the first bad one. What ids `logitBias` may have is not known here. */
export function checkSampling(options: SamplingOptions): void {
  const rules: readonly [keyof Omit<SamplingOptions, "logitBias">, (value: number) => boolean, string][] = [
    ["temperature", (value) => value >= 0 && value < Infinity, "a number of at least 0 (0: greedy)"],
    ["topK", (value) => Number.isSafeInteger(value) && value >= 0, "a whole number of at least 0 (0: all)"],
    ["topP", (value) => value >= 0 && value <= 1, "a number from 0 to 1 (1: all)"],
    ["minP", (value) => value >= 0 && value <= 1, "a number from 0 to 1 (0: all)"],
    [
      "repetitionPenalty",
      (value) => value >= PENALTY_RANGE[0] && value <= PENALTY_RANGE[1],
      `a number from ${PENALTY_RANGE[0]} to ${PENALTY_RANGE[1]} (1: off)`,
    ],
    ["presencePenalty", isSubtracted, SUBTRACTED],
    ["frequencyPenalty", isSubtracted, SUBTRACTED],
    ["seed", (value) => Number.isSafeInteger(value) && value >= 0, "a whole number from 0 to 2^53 - 1"],
  ];
  const given = { presencePenalty: 0, frequencyPenalty: 0, ...options };
  for (const [name, good, wanted] of rules) {
    const value: unknown = given[name];
    if (typeof value !== "number" || !good(value)) throw new BitnetError("usage", `${name} must be ${wanted}, not ${show(value)}`);
  }
}

const isSubtracted = (value: number): boolean => Math.abs(value) <= MOST_SUBTRACTED;
const SUBTRACTED = `a number from -${MOST_SUBTRACTED} to ${MOST_SUBTRACTED} (0: off)`;

/** The highest logit; throws where the network gave something that is not a number. */
function highest(logits: Float32Array): number {
  let max = -Infinity;
  let sane = true;
  for (let id = 0; id < logits.length; id++) {
    const logit = logits[id]!;
    if (logit > max) max = logit;
    else if (Number.isNaN(logit)) sane = false;
  }
  if (!sane || !Number.isFinite(max))
    throw new BitnetError(
      "file",
      "the network's logits are not finite: weights or scales of the model are far too large, so its file is damaged",
    );
  return max;
}

/** Keskar et al. 2019 (CTRL): a positive logit of a seen token is divided, a negative one multiplied. Rises with the logit. */
export function penalised(logit: number, penalty: number): number {
  return logit > 0 ? logit / penalty : logit * penalty;
}

/**
 * The rules that change logits one by one, as one function that does so in place; undefined: nothing is changed. Of each token a larger logit never
 * becomes the smaller one, so that bounds of logits stay bounds.
 *
 * In vLLM's order: the bias is added, rounded to f32; then the repetition penalty, frequency · count and presence, rounded to f32 once.
 * @param seen the ids that penalties look at, each once; those past the logits change nothing
 * @param counts [seen] how often the answer has each; left out: not at all
 */
export function adjusting(options: SamplingOptions, seen: Int32Array, counts?: Int32Array): ((logits: Float32Array) => void) | undefined {
  const { repetitionPenalty, presencePenalty = 0, frequencyPenalty = 0, logitBias = {} } = options;
  const biases = Object.entries(logitBias).map(([id, bias]) => [Number(id), bias] as const);
  const penalises = repetitionPenalty !== 1 || presencePenalty !== 0 || frequencyPenalty !== 0;
  if (!penalises && biases.length === 0) return undefined;
  return (logits) => {
    for (const [id, bias] of biases) logits[id] = logits[id]! + bias;
    if (!penalises) return;
    for (let i = 0; i < seen.length; i++) {
      const id = seen[i]!;
      const count = counts?.[i] ?? 0;
      const subtracted = frequencyPenalty * count + (count > 0 ? presencePenalty : 0);
      logits[id] = penalised(logits[id]!, repetitionPenalty) - subtracted;
    }
  };
}

/** A 32-bit number that falls as the float with these bits rises; −0 is +0. */
function falling(bits: number): number {
  if (bits >= 0) return 0x7fffffff - bits;
  return bits === -0x80000000 ? 0x7fffffff : 0x80000000 + (bits & 0x7fffffff);
}

/**
 * The ids of the `count` highest logits (finite or −Infinity), highest first, ties by lower id: the first `count` of a full sort.
 * Of many, a histogram of the logits' upper bits says which can be among them; only those are sorted.
 */
function selectBest(logits: Float32Array, count: number): Int32Array {
  const bits = new Int32Array(logits.buffer, logits.byteOffset, logits.length);
  let bucket = 0xffff; // the last one that is needed
  let members = bits.length;
  if (count < bits.length && bits.length > FEW) {
    histogram.fill(0);
    for (let id = 0; id < bits.length; id++) histogram[falling(bits[id]!) >>> 16]!++;
    bucket = 0;
    members = histogram[0]!;
    while (members < count) members += histogram[++bucket]!;
  }
  const keys = new Float64Array(members); // logit (falling) · 2^21 + id: exact, and in the order wanted
  let at = 0;
  for (let id = 0; id < bits.length; id++) {
    const key = falling(bits[id]!);
    if (key >>> 16 <= bucket) keys[at++] = key * MAX_VOCAB + id;
  }
  keys.sort();
  const ids = new Int32Array(count);
  for (let i = 0; i < count; i++) ids[i] = keys[i]! % MAX_VOCAB;
  return ids;
}

/** More of the best than this are not worth seeking: all logits are computed. */
const MOST_BEST = 256;

/** How many of the highest logits decide which token is chosen; undefined: all of them may. `sampleToken` sees −Infinity for the others. */
export function bestNeeded({ temperature, topK }: SamplingOptions): number | undefined {
  if (temperature === 0) return 1;
  return topK > 0 && topK <= MOST_BEST ? topK : undefined;
}

/**
 * Chooses a token. logits [vocab] f32, not changed; `index`: how many tokens of the answer were drawn before; `seen` and `counts` as of `adjusting`;
 * `among`, ascending: the others' logits are −Infinity and need not be looked at.
 *
 * In this order, vLLM's up to temperature and then Hugging Face's: what may not be chosen at all is −Infinity before (`masked`); logit bias →
 * repetition penalty → frequency and presence penalty → temperature → top-k → top-p (of what top-k left) → min-p, then the `index`-th random
 * number of the seed is looked up in the cumulative distribution, highest probability first, ties by lower id. Weights are f64,
 * w = exp((logit − max) / temperature), and are summed in that order; only the sum over a whole vocabulary, of which just the head is
 * put in order, runs by id. Top-k keeps exactly k: unlike there, ties at the k-th place go to the lower ids.
 */
export function sampleToken(
  logits: Float32Array,
  options: SamplingOptions,
  index: number,
  seen: Int32Array,
  counts?: Int32Array,
  among?: readonly number[],
): number {
  const vocab = logits.length;
  if (vocab > MAX_VOCAB) throw new BitnetError("internal", `a vocabulary of ${vocab} is more than the sampler can take (${MAX_VOCAB})`);
  const adjust = adjusting(options, seen, counts);
  const adjusted = adjust ? logits.slice() : logits;
  adjust?.(adjusted);
  if (!among) return choose(adjusted, vocab, options, index);
  const scores = Float32Array.from(among, (id) => adjusted[id]!);
  return among[choose(scores, vocab, options, index)]!;
}

/** The place of the chosen one in `scores`, which are those of a whole vocabulary, but for some that can't be chosen. */
function choose(scores: Float32Array, vocab: number, options: SamplingOptions, index: number): number {
  const { temperature, topK, topP, minP } = options;
  const max = highest(scores);
  if (temperature === 0) return scores.indexOf(max);

  const weight = (id: number) => exp64((scores[id]! - max) / temperature);
  const isCut = topK > 0 && topK < vocab;
  const limit = Math.min(isCut ? topK : vocab, scores.length);
  let best = selectBest(scores, isCut ? limit : Math.min(FIRST_SELECTION, limit));
  /** The id at a rank of the full order; more of it is sorted where needed. */
  const ranked = (rank: number): number => {
    if (rank >= best.length) best = selectBest(scores, Math.min(best.length * 16, scores.length));
    return best[rank]!;
  };

  const isTrimmed = topP < 1 || minP > 0;
  let kept = limit;
  let mass = 0; // of the kept
  if (isCut) for (const id of best) mass += weight(id);
  else if (topP < 1 || !isTrimmed) for (let id = 0; id < scores.length; id++) mass += weight(id);
  if (isTrimmed) {
    const enough = topP < 1 ? topP * mass : Infinity;
    mass = 0;
    for (kept = 0; kept < limit; kept++) {
      const w = weight(ranked(kept));
      if (w < minP || (kept > 0 && mass >= enough)) break;
      mass += w;
    }
  }

  const target = uniform(options.seed, index) * mass;
  let sum = 0;
  let chosen = ranked(0);
  for (let rank = 0; rank < kept && sum <= target; rank++) {
    const id = ranked(rank);
    const w = weight(id);
    if (w === 0) break; // rounding left `target` above the last token that has any weight
    sum += w;
    chosen = id;
  }
  return chosen;
}

/** Of a softmax: the highest logit, and ln Σ exp(logit − max), summed by id. f64 */
function denominator(logits: Float32Array): { readonly max: number; readonly logSum: number } {
  const max = highest(logits);
  let sum = 0;
  for (let id = 0; id < logits.length; id++) sum += exp64(logits[id]! - max);
  return { max, logSum: log64(sum) };
}

/** −ln softmax(logits)[target], f64: ln Σ exp(logit − max), summed by id, − (logit[target] − max). */
export function logNll(logits: Float32Array, target: number): number {
  const { max, logSum } = denominator(logits);
  return logSum - (logits[target]! - max);
}

/**
 * How likely a token was, and which `count` were the likeliest: each `logprob` is −`logNll`, to the bit.
 * @param logits the model's own, [vocab] f32
 * @param ids only tokens below it are among the likeliest: the others are rows without a token
 */
export function logprobsOf(logits: Float32Array, chosen: number, count: number, ids = logits.length): TokenLogprob {
  const { max, logSum } = denominator(logits);
  const of = (id: number): LogProbability => ({ id, logprob: logits[id]! - max - logSum });
  const best = count === 0 ? [] : selectBest(logits.subarray(0, ids), Math.min(count, ids));
  return { ...of(chosen), top: Array.from(best, of) };
}
