import { median } from "./summary.js";

/** How many times as large one thing is as another, with the interval that holds the true ratio with 95 %. */
export interface Ratio {
  readonly ratio: number;
  /** 0 and Infinity, if there are too few samples for an interval. */
  readonly low: number;
  readonly high: number;
}

/** Half of what an interval leaves out. */
const TAIL = 0.025;
/** The normal distribution's quantile of 1 − TAIL. */
const Z = 1.959963984540054;
/** Largest sample whose ranks are counted exactly; beyond it their distribution is as good as normal. R does the same. */
const MAX_EXACT = 50;

/**
 * a ÷ b of rounds in which both were measured: the Hodges–Lehmann estimate (the median of the averages of any two rounds, here of logarithms) and
 * the interval that belongs to Wilcoxon's signed-rank test. One disturbed round hardly moves either, and no normal distribution is assumed.
 * (Hollander, Wolfe and Chicken, Nonparametric Statistical Methods, 3rd ed., 3.2 and 3.3; R's `wilcox.test(log(a) - log(b), conf.int = TRUE)`.)
 * @param a of each round, positive
 * @param b as many
 */
export function pairedRatio(a: readonly number[], b: readonly number[]): Ratio {
  const rounds = a.map((value, i) => Math.log(value / b[i]!));
  const n = rounds.length;
  const averages = new Float64Array((n * (n + 1)) / 2);
  let at = 0;
  for (let i = 0; i < n; i++) for (let j = 0; j <= i; j++) averages[at++] = (rounds[i]! + rounds[j]!) / 2;
  const outside = n <= MAX_EXACT ? below(signedRanks(n)) : Math.floor((n * (n + 1)) / 4 - Z * Math.sqrt((n * (n + 1) * (2 * n + 1)) / 24));
  return between(averages, outside);
}

/**
 * a ÷ b of samples that were measured apart: the median of all differences of logarithms, and the interval that belongs to the test of Mann, Whitney
 * and Wilcoxon. (The same book, 4.2 and 4.3; R's `wilcox.test(log(a), log(b), conf.int = TRUE)`.)
 * @param a positive
 * @param b positive
 */
export function unpairedRatio(a: readonly number[], b: readonly number[]): Ratio {
  const [m, n] = [a.length, b.length];
  const differences = Float64Array.from({ length: m * n }, (_, i) => Math.log(a[Math.floor(i / n)]! / b[i % n]!));
  const outside = Math.max(m, n) <= MAX_EXACT ? rankSumTail(m, n) : Math.floor((m * n) / 2 - Z * Math.sqrt((m * n * (m + n + 1)) / 12));
  return between(differences, outside);
}

/** Whether an interval excludes 1. */
export function showsDifference({ low, high }: Ratio): boolean {
  return low > 1 || high < 1;
}

/** The middle of some logarithms, and the interval without the `outside` − 1 lowest and highest. */
function between(logarithms: Float64Array, outside: number): Ratio {
  const sorted = logarithms.sort();
  const ratio = Math.exp(median(Array.from(sorted)));
  if (outside < 1) return { ratio, low: 0, high: Number.POSITIVE_INFINITY };
  return { ratio, low: Math.exp(sorted[outside - 1]!), high: Math.exp(sorted[sorted.length - outside]!) };
}

/** Of samples of these sizes: what is counted does not depend on them. */
const tails = new Map<string, number>();

function rankSumTail(m: number, n: number): number {
  const known = tails.get(`${m} ${n}`) ?? below(rankSums(m, n));
  tails.set(`${m} ${n}`, known);
  return known;
}

/** The least value whose probability, with that of all smaller ones, reaches TAIL. */
function below(probabilities: Float64Array): number {
  let sum = 0;
  let at = 0;
  while (sum + probabilities[at]! < TAIL) sum += probabilities[at++]!;
  return at;
}

/** Probability of each sum of the ranks 1 … n, if each counts or not by the toss of a coin. */
function signedRanks(n: number): Float64Array {
  const probabilities = new Float64Array((n * (n + 1)) / 2 + 1);
  probabilities[0] = 1;
  for (let rank = 1; rank <= n; rank++)
    for (let sum = (rank * (rank + 1)) / 2; sum >= 0; sum--)
      probabilities[sum] = (probabilities[sum]! + (sum >= rank ? probabilities[sum - rank]! : 0)) / 2;
  return probabilities;
}

/** Probability that u of m · n comparisons are won, if every order of m + n samples is as likely: the largest belongs to one side or the other. */
function rankSums(m: number, n: number): Float64Array {
  // table[j]: of i and j samples; of none there is one outcome, 0.
  let table = Array.from({ length: n + 1 }, () => Float64Array.of(1));
  for (let i = 1; i <= m; i++) {
    const next = [Float64Array.of(1)];
    for (let j = 1; j <= n; j++) {
      const [fewerOfB, fewerOfA] = [next[j - 1]!, table[j]!];
      const probability = (u: number): number => (i * (fewerOfA[u - j] ?? 0) + j * (fewerOfB[u] ?? 0)) / (i + j);
      next.push(Float64Array.from({ length: i * j + 1 }, (_, u) => probability(u)));
    }
    table = next;
  }
  return table[n]!;
}
