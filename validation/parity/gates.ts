import { BitnetError, type ErrorCode } from "../../engine/errors.js";
import type { Provenance } from "../records/provenance.js";
import { figuresOf, finite, greedyVerdict, type Measured, together } from "./figures.js";
import {
  type Figures,
  GATES,
  type Gate,
  type Greedy,
  type Kl,
  type LaneReport,
  type Margins,
  type OutputLane,
  type ParityReport,
  type Policy,
  type PromptFailure,
  type Sides,
  type TensorReport,
  type Thresholds,
  type WeightsFailure,
  type WeightsReport,
} from "./types.js";

type Gates = Readonly<Record<OutputLane, Thresholds>>;

/** What the process promises of any pair of files. */
export const PROMISE: Gates = {
  "fp32-fp32": { tau_median: 0.95, delta_nll: 1e-2 },
  "quant-fp32": { tau_median: 0.6, delta_nll: 2e-2 },
  oracle: { tau_median: 0.6, delta_nll: 2e-2 },
};

/**
 * Required in addition to the promise. A median of ranks ignores up to half of the positions, and differences may add up to 0, so the
 * divergence is limited at every position too. Two files in float arithmetic differ by the rounding of their numbers (a table in Q6_K gives
 * some 5e-4 on average and 5e-3 at most), quantised activations add as much again.
 */
const POSITIONS: Readonly<Record<OutputLane, Pick<Thresholds, "kl_mean" | "kl_max">>> = {
  "fp32-fp32": { kl_mean: 1e-2, kl_max: 0.1 },
  "quant-fp32": { kl_mean: 5e-2, kl_max: 1 },
  oracle: { kl_mean: 5e-2, kl_max: 1 },
};

/** The gates of a lane for any pair of files. */
export function defaultGate(lane: OutputLane): Thresholds {
  return { ...PROMISE[lane], ...POSITIONS[lane] };
}

/**
 * What is demanded of the embedded pair, close under what it reaches. Its two files hold equal numbers, so in float arithmetic nothing may
 * differ; quantised activations move likelihoods by a few thousandths.
 */
const EMBEDDED: Omit<Gates, "oracle"> = {
  "fp32-fp32": { tau_median: 0.9999, delta_nll: 1e-6, delta_nll_mean: 1e-6, kl_mean: 1e-9, kl_max: 1e-8 },
  "quant-fp32": { tau_median: 0.95, delta_nll: 1e-2, delta_nll_mean: 5e-3, kl_mean: 1e-3, kl_max: 1.5e-2 },
};

/**
 * The same for other implementations, by name: in float32 they sum in other orders, with quantised activations a rounding may fall to the
 * other side, and bitnet.cpp keeps its KV cache in f16.
 */
const EMBEDDED_ORACLES: Readonly<Record<string, Thresholds>> = {
  "hf-f32ref": { tau_median: 0.9999, delta_nll: 1e-5, delta_nll_mean: 2e-6, kl_mean: 1e-10, kl_max: 1e-9 },
  "hf-packed": { tau_median: 0.97, delta_nll: 7e-3, delta_nll_mean: 2.5e-3, kl_mean: 5e-4, kl_max: 3e-3 },
  "bitnetcpp-i2_s": { tau_median: 0.96, delta_nll: 1e-2, delta_nll_mean: 5e-3, kl_mean: 1e-3, kl_max: 5e-3 },
};

/** The repository's own gate for a lane of the embedded pair. */
export function embeddedGate({ name, sides }: Pick<MeasuredLane, "name" | "sides">): Thresholds {
  const gate = name === "oracle" ? EMBEDDED_ORACLES[sides.a.kernels] : EMBEDDED[name];
  if (!gate) throw new BitnetError("internal", `there is no gate for the stored outputs of ${sides.a.kernels}`);
  return gate;
}

/** One prompt of a lane, measured. */
export interface MeasuredPrompt {
  readonly id: string;
  readonly ids: readonly number[];
  readonly measured: Measured;
  readonly greedy?: Greedy | undefined;
}

/** All prompts of a lane. */
export interface MeasuredLane {
  readonly name: OutputLane;
  readonly sides: Sides;
  readonly policy: Policy;
  readonly prompts: readonly MeasuredPrompt[];
}

/** The gates that a prompt fails, the most serious first. What is not finite, or informs of nothing, fails. */
export function failedGates(figures: Figures, thresholds: Thresholds, greedy?: Greedy): Gate[] {
  const { tau_median, delta_nll, kl_mean, kl_max } = thresholds;
  const failed: Gate[] = [];
  if (figures.delta_nll === null || Math.abs(figures.delta_nll) > delta_nll) failed.push("nll");
  if (figures.tau_median === null || figures.tau_median < tau_median) failed.push("tau");
  if (greedy && greedyVerdict(greedy) === "differs") failed.push("greedy");
  const beyond = (value: number | null | undefined, most: number | undefined): boolean =>
    most !== undefined && !(value !== null && value !== undefined && value <= most);
  if (beyond(figures.kl?.mean, kl_mean) || beyond(figures.kl?.max, kl_max)) failed.push("kl");
  return failed;
}

/** Judges a lane. @returns its report, and a row for every prompt that failed */
export function judge(lane: MeasuredLane, thresholds: Thresholds, provenance: Provenance): { report: LaneReport; rows: PromptFailure[] } {
  const { name, sides, policy } = lane;
  const promise = PROMISE[name];
  const judged = lane.prompts.map(({ id, ids, measured, greedy }) => {
    const figures = figuresOf(measured);
    return { id, ids, greedy, figures, failed: failedGates(figures, thresholds, greedy) };
  });
  const row = ({ id, ids, greedy, figures }: (typeof judged)[number], against: Thresholds): PromptFailure => ({
    kind: "parity-failure",
    provenance,
    lane: name,
    sides,
    policy,
    thresholds: against,
    prompt: { id, ids },
    figures,
    greedy: greedy ?? null,
    failed: failedGates(figures, against, greedy),
    verdict: "FAIL",
  });
  const rows = judged.filter(({ failed }) => failed.length > 0).map((prompt) => row(prompt, thresholds));
  const deltas = judged.map(({ figures }) => Math.abs(figures.delta_nll ?? Number.NaN));
  const meanDelta = deltas.reduce((sum, delta) => sum + delta, 0) / deltas.length;
  const { delta_nll_mean: mostMean = Number.POSITIVE_INFINITY } = thresholds;
  const meanFails = !(meanDelta <= mostMean) && mostMean < Number.POSITIVE_INFINITY;
  // Each prompt may be inside of its own threshold and the mean outside of its: then those fail that are above the mean's.
  if (meanFails && !rows.some(({ failed }) => failed.includes("nll"))) {
    const against = { tau_median: thresholds.tau_median, delta_nll: mostMean };
    for (const prompt of judged) if (Math.abs(prompt.figures.delta_nll!) > mostMean) rows.push(row(prompt, against));
  }
  const failed = GATES.filter((gate) => rows.some((one) => one.failed.includes(gate)));
  const worst = (of: (kl: Kl) => number | null): number =>
    Math.max(...judged.map(({ figures }) => (figures.kl && of(figures.kl)) ?? Number.NaN));
  const [worstMean, worstMax] = [worst(({ mean }) => mean), worst(({ max }) => max)];
  const worstTau = Math.min(...judged.map(({ figures }) => figures.tau_median ?? Number.NaN));
  const worstDelta = Math.max(...deltas);
  const margins = (of: Thresholds): Margins => ({
    tau_median: finite(worstTau - of.tau_median),
    delta_nll: finite(of.delta_nll - worstDelta),
    ...(of.delta_nll_mean !== undefined && { delta_nll_mean: finite(of.delta_nll_mean - meanDelta) }),
    ...(of.kl_mean !== undefined && { kl_mean: finite(of.kl_mean - worstMean) }),
    ...(of.kl_max !== undefined && { kl_max: finite(of.kl_max - worstMax) }),
  });
  return {
    report: {
      name,
      sides,
      policy,
      promise,
      thresholds,
      prompts: judged.map(({ id, ids, figures, greedy, failed: own }) => ({
        id,
        tokens: ids.length,
        figures,
        greedy: greedy ? greedyVerdict(greedy) : null,
        verdict: own.length > 0 ? "FAIL" : "PASS",
      })),
      totals: {
        tokens: judged.reduce((sum, { ids }) => sum + ids.length, 0),
        figures: figuresOf(together(lane.prompts.map(({ measured }) => measured))),
        delta_nll_mean: finite(meanDelta),
      },
      margins: margins(thresholds),
      promise_margins: margins(promise),
      failed,
      verdict: failed.length > 0 ? "FAIL" : "PASS",
    },
    rows,
  };
}

const SAID: Readonly<Record<Gate, string>> = {
  nll: "likelihoods differ by more than allowed",
  tau: "token ranks differ by more than allowed",
  greedy: "greedy text differs from the stored text",
  kl: "probabilities differ by more than allowed",
  weights: "the weights differ",
};

/** A row for every tensor that failed. */
export function weightsRows({ sides, exact, changed }: WeightsReport, provenance: Provenance): WeightsFailure[] {
  return changed
    .filter(({ verdict }) => verdict === "FAIL")
    .map((tensor) => ({ kind: "parity-failure", provenance, lane: "weights", sides, exact, tensor, failed: ["weights"], verdict: "FAIL" }));
}

/** Describes a difference: which tensor, where, and how large. */
export function tensorSentence({ part, a, b, count, changed, first, largest, moved, finding, verdict }: TensorReport): string {
  const name = a === b ? a : `${a} (${b})`;
  const place = (at: NonNullable<TensorReport["first"]>): string => {
    if (part === "scale" && count === 1) return "";
    return part === "norm" || part === "rope" ? `number ${at.column} ` : `row ${at.row}, column ${at.column} `;
  };
  return [
    `${part === "codes" || part === "scale" ? `${part} of ` : ""}${name}`,
    `: ${finding}`,
    first ? `; ${place(first)}is ${first.a} in a and ${first.b} in b` : "",
    count > 1 && changed > 0
      ? `; ${changed} of ${count} differ${part === "codes" ? "" : `, by ${largest?.toPrecision(3) ?? "more than can be shown"} at most`}`
      : "",
    verdict === "FAIL" && moved ? `; ${moved.rows} rows of a are in another place in b: row ${moved.from} is row ${moved.to} there` : "",
  ].join("");
}

/** What a report's failure is as an error, or undefined if all passed: its code, the most serious of all lanes, is the exit code. @param failures path of the rows */
export function parityFailure({ lanes, weights }: ParityReport, failures?: string): BitnetError | undefined {
  const gate = GATES.find((one) => lanes.some(({ failed }) => failed.includes(one)));
  const wrong = weights?.changed.filter(({ verdict }) => verdict === "FAIL") ?? [];
  const more = wrong.length > 1 ? ` (and ${wrong.length - 1} more)` : "";
  if (gate === undefined) {
    if (wrong.length === 0) return undefined;
    const rows = failures === undefined ? "" : `; all are in ${failures}`;
    return new BitnetError("weights", `parity: ${SAID.weights}: ${tensorSentence(wrong[0]!)}${more}${rows}`);
  }
  const failing = lanes
    .filter(({ failed }) => failed.includes(gate))
    .map(({ name, sides }) => `${name} (${sides.b.path ?? sides.b.kernels})`);
  const where = failures === undefined ? "" : `; the failures are in ${failures}: bitnet replay repeats one`;
  const cause = wrong.length > 0 ? `; the weights differ too: ${tensorSentence(wrong[0]!)}${more}` : "";
  return new BitnetError(codeOf(gate), `parity: ${SAID[gate]} in ${failing.join(", ")}${cause}${where}`);
}

/** Divergence has the code of likelihoods. */
function codeOf(gate: Gate): ErrorCode {
  return gate === "kl" ? "nll" : gate;
}

/** What a row's failure is as an error. */
export function gateError(gate: Gate, row: string): BitnetError {
  return new BitnetError(codeOf(gate), `${row}: still fails: ${SAID[gate]}`);
}
