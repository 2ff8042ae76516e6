import { canonicalJson } from "../receipts/receipt.js";
import { embeddedGate, failedGates, PROMISE } from "./gates.js";
import { readOracles } from "./oracle.js";
import { TEXTS } from "./texts.js";
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

/** What in a report is not as this code measures the embedded pair, in a whole run: other gates, texts or oracles; undefined: nothing. */
export function embeddedFault({ lanes }: ParityReport): string | undefined {
  const { oracles } = readOracles();
  const texts = TEXTS.map(({ id }) => id).join();
  const expected = new Map([
    ["fp32-fp32", texts],
    ["quant-fp32", texts],
    ...oracles.map(({ record, answers }) => [record.kernels, answers.map(({ id }) => id).join()] as const),
  ]);
  const nameOf = ({ name, sides }: LaneReport): string => (name === "oracle" ? sides.a.kernels : name);
  const names = lanes.map(nameOf);
  const missing = [...expected.keys()].find((name) => !names.includes(name));
  if (missing !== undefined) return `lane ${missing} is missing`;
  for (const lane of lanes) {
    const name = nameOf(lane);
    if (names.filter((one) => one === name).length > 1 || !expected.has(name)) return `lane ${name} is there twice, or unknown`;
    if (lane.prompts.map(({ id }) => id).join() !== expected.get(name)) return `lane ${name} has other texts than a whole run`;
    const oracle = oracles.find(({ record }) => record.kernels === name);
    if (oracle && (oracle.record.sha256 !== lane.sides.a.sha256 || oracle.against !== lane.sides.b.kernels))
      return `lane ${name} is from other stored outputs`;
    if (canonicalJson(lane.thresholds) !== canonicalJson(embeddedGate(lane)))
      return `lane ${name} has another gate than the embedded model`;
  }
  return undefined;
}
