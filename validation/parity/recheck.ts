import { failedGates, PROMISE } from "./gates.js";
import { LANES, type LaneReport, type ParityReport, type Thresholds, type WeightsReport } from "./types.js";

/** Relative: other machines may add in another order. */
const ROUNDING = 1e-9;

/** What in a report does not follow from its own figures, or falls short of the promise; undefined: nothing. The figures themselves are not measured again. */
export function reportFault({ lanes, weights, verdict }: ParityReport): string | undefined {
  for (const lane of lanes) {
    const fault = laneFault(lane);
    if (fault !== undefined) return `lane ${lane.name} (${lane.sides.a.kernels}): ${fault}`;
  }
  const fault = weights && weightsFault(weights);
  if (fault !== undefined) return `lane weights: ${fault}`;
  const failed = lanes.some((one) => one.verdict === "FAIL") || weights?.verdict === "FAIL";
  return (verdict === "FAIL") === failed ? undefined : `the verdict is ${verdict}, but that of its lanes is ${failed ? "FAIL" : "PASS"}`;
}

/** Every lane that a release needs has passed. @returns the name of one that has not */
export function missingLane({ lanes, weights }: ParityReport): string | undefined {
  return LANES.find((name) => {
    if (name === "weights") return weights?.verdict !== "PASS";
    const own = lanes.filter((lane) => lane.name === name);
    return own.length === 0 || own.some(({ verdict }) => verdict !== "PASS");
  });
}

function laneFault({ name, promise, thresholds, prompts, totals, failed, verdict }: LaneReport): string | undefined {
  if (prompts.length === 0) return "it has no prompts";
  const own = PROMISE[name];
  if (promise.tau_median !== own.tau_median || promise.delta_nll !== own.delta_nll) return "its promise is another one";
  if (isLooser(thresholds, own)) return "its gate is looser than the promise";
  let sum = 0;
  for (const { id, figures, greedy, verdict: said } of prompts) {
    const fails = failedGates(figures, thresholds).length > 0 || greedy === "differs";
    if (fails !== (said === "FAIL")) return `${id} has the verdict ${said}, but its figures say ${fails ? "FAIL" : "PASS"}`;
    sum += Math.abs(figures.delta_nll ?? Number.NaN);
  }
  const mean = sum / prompts.length;
  if (
    totals.delta_nll_mean === null ? Number.isFinite(mean) : !(Math.abs(totals.delta_nll_mean - mean) <= ROUNDING * Math.max(mean, 1e-12))
  )
    return `delta_nll_mean is ${totals.delta_nll_mean}, but its prompts give ${mean}`;
  const fails =
    prompts.some((prompt) => prompt.verdict === "FAIL") ||
    (thresholds.delta_nll_mean !== undefined && !(mean <= thresholds.delta_nll_mean * (1 + ROUNDING)));
  if (fails !== (verdict === "FAIL") || fails !== failed.length > 0)
    return `the verdict is ${verdict}, but its figures say ${fails ? "FAIL" : "PASS"}`;
  const tokens = prompts.reduce((all, prompt) => all + prompt.tokens, 0);
  return tokens === totals.tokens ? undefined : `it has ${totals.tokens} tokens, but its prompts have ${tokens}`;
}

function isLooser({ tau_median, delta_nll }: Thresholds, promise: Thresholds): boolean {
  return !(tau_median >= promise.tau_median && delta_nll <= promise.delta_nll);
}

function weightsFault({ exact, compared, equal, changed, verdict }: WeightsReport): string | undefined {
  if (compared < 1 || equal + changed.length !== compared)
    return `${compared} tensors were compared, but ${equal} are equal and ${changed.length} are not`;
  const fails = changed.some((tensor) => tensor.verdict === "FAIL");
  if (fails !== (verdict === "FAIL")) return `the verdict is ${verdict}, but that of its tensors is ${fails ? "FAIL" : "PASS"}`;
  return exact && changed.length > 0 && verdict === "PASS" ? "all numbers must be equal, and are not" : undefined;
}
