import { bootstrapMean } from "../statistics/bootstrap.js";
import { divergence, klDivergence } from "../statistics/divergence.js";
import { kendallTauB } from "../statistics/kendall.js";
import { median, quantile } from "../statistics/summary.js";
import type { Figures, Greedy } from "./types.js";

/** What a side said about a token path. */
export interface Outputs {
  /** [ids] of [vocab] f32 */
  readonly logits: readonly Float32Array[];
  /** [ids − 1], −ln p of each token but the first */
  readonly nll: readonly number[];
}

/** Two sides on one token path, or on several: not yet summed up. */
export interface Measured {
  /** Of each informative position. */
  readonly taus: readonly number[];
  readonly uninformative: number;
  /** Of each position that predicts a token: its −ln p on either side, the divergence of b from a in nats, whether the most likely token is the same. */
  readonly nllA: readonly number[];
  readonly nllB: readonly number[];
  readonly kl: readonly number[];
  readonly same: readonly boolean[];
}

/** Ids of the k highest logits, descending; ties by the lower id. Numbers that are none are never among them. */
export function topIds(logits: Float32Array, k: number): number[] {
  const ids: number[] = [];
  for (let id = 0; id < logits.length; id++) {
    const value = logits[id]!;
    if (Number.isNaN(value) || (ids.length === k && value <= logits[ids[k - 1]!]!)) continue;
    let at = ids.length;
    while (at > 0 && logits[ids[at - 1]!]! < value) at--;
    ids.splice(at, 0, id);
    if (ids.length > k) ids.pop();
  }
  return ids;
}

/** τ-b over the union of both sides' top k; undefined: the position is uninformative, which one with numbers that are not finite is, too. */
export function positionTau(a: Float32Array, b: Float32Array, k: number): number | undefined {
  const union = [...new Set([...topIds(a, k), ...topIds(b, k)])];
  const [ofA, ofB] = [union.map((id) => a[id]!), union.map((id) => b[id]!)];
  return [...ofA, ...ofB].every(Number.isFinite) ? kendallTauB(ofA, ofB) : undefined;
}

/** Both sides on one path, each position over the union of both top k. */
export function compare(a: Outputs, b: Outputs, k: number): Measured {
  const predicting = a.logits.slice(0, a.nll.length);
  return measured(
    a.logits.map((row, i) => positionTau(row, b.logits[i]!, k)),
    {
      ...{ nllA: a.nll, nllB: b.nll },
      kl: predicting.map((row, i) => klDivergence(row, b.logits[i]!)),
      same: predicting.map((row, i) => topIds(row, 1)[0] === topIds(b.logits[i]!, 1)[0]),
    },
  );
}

/** Gathers what was measured at each position of a path. */
export function measured(taus: readonly (number | undefined)[], rest: Omit<Measured, "taus" | "uninformative">): Measured {
  const informative = taus.filter((tau) => tau !== undefined);
  return { taus: informative, uninformative: taus.length - informative.length, ...rest };
}

/** All positions and all tokens of several paths, so that every token weighs the same. */
export function together(all: readonly Measured[]): Measured {
  return {
    taus: all.flatMap(({ taus }) => taus),
    uninformative: all.reduce((sum, { uninformative }) => sum + uninformative, 0),
    nllA: all.flatMap(({ nllA }) => nllA),
    nllB: all.flatMap(({ nllB }) => nllB),
    kl: all.flatMap(({ kl }) => kl),
    same: all.flatMap(({ same }) => same),
  };
}

/** The figures of one path, or of several together. */
export function figuresOf({ taus, uninformative, ...positions }: Measured): Figures {
  const { nllA, nllB } = positions;
  const none = taus.length === 0;
  const [a, b] = [mean(nllA), mean(nllB)];
  return {
    tau_median: none ? null : median(taus),
    tau_p5: none ? null : quantile(taus, 0.05),
    tau_min: none ? null : Math.min(...taus),
    informative: taus.length,
    uninformative,
    nll_a: finite(a),
    nll_b: finite(b),
    delta_nll: finite(b - a),
    delta_nll_interval: intervalOf(nllA, nllB),
    kl: klOf(positions),
  };
}

function intervalOf(nllA: readonly number[], nllB: readonly number[]): readonly [number, number] | null {
  const [low, high] = bootstrapMean(nllB.map((b, i) => b - nllA[i]!));
  return Number.isFinite(low) && Number.isFinite(high) ? [low, high] : null;
}

function klOf(positions: Pick<Measured, "nllA" | "nllB" | "kl" | "same">): NonNullable<Figures["kl"]> {
  const of = divergence(positions);
  return {
    positions: of.positions,
    ...{ mean: finite(of.mean), mean_error: finite(of.meanError), p999: finite(of.p999), max: finite(of.max) },
    ...{ same_top: finite(of.sameTop), same_top_error: finite(of.sameTopError) },
    ...{ delta_p_rms: finite(of.deltaPRms), delta_p_rms_error: finite(of.deltaPRmsError) },
  };
}

/** Holds a stored greedy continuation against the logits of the positions that choose its tokens. @param tie a gap up to this is none */
export function greedyOf(expected: readonly number[], logits: readonly Float32Array[], tie: number): Greedy {
  for (const [i, id] of expected.entries()) {
    const row = logits[i]!;
    const [chosen] = topIds(row, 1);
    if (chosen !== id) return { expected, parts_at: i, chosen: chosen ?? null, gap: finite(row[chosen ?? 0]! - row[id]!), tie };
  }
  return { expected, parts_at: null, chosen: null, gap: null, tie };
}

/** Whether a greedy text is the stored one, parts from it at a tie, or differs. */
export function greedyVerdict({ parts_at, gap, tie }: Greedy): "same" | "tie" | "differs" {
  if (parts_at === null) return "same";
  return gap !== null && gap <= tie ? "tie" : "differs";
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** JSON has no numbers that are none. */
export function finite(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}
