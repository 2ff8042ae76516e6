import { tensorSentence } from "../../parity/gates.js";
import type { ParityReport } from "../../parity/types.js";
import { shownPath } from "../../performance/perf.js";
import type { Place, Run, Status } from "../check.js";
import { type AcceptanceSummary, type CheckReport, isFailure } from "../seal.js";

/** What the table on the terminal and every other form of a run say of a check. */
export interface Row {
  readonly id: string;
  readonly title: string;
  readonly status: Status;
  /** Whether it is a no-go: it failed, or was skipped although a release requires it. */
  readonly failed: boolean;
  /** Names and values as they are shown. */
  readonly figures: readonly (readonly [name: string, value: string])[];
  readonly reason: string | undefined;
  /** undefined: an old record. */
  readonly seconds: number | undefined;
  /** Of the check of determinism. */
  readonly runs: readonly Run[];
  /** Where the fault is, as far as it is known. */
  readonly places: readonly Place[];
}

/** The rows of a run, in its order. @param parity its report: it knows which tensor and which prompt failed */
export function rowsOf({ checks }: AcceptanceSummary, parity?: ParityReport): Row[] {
  const known = parity ? parityPlaces(parity) : new Map<string, Place[]>();
  return checks.map((check) => rowOf(check, known.get(check.id)));
}

/** A check as a row. */
export function rowOf(check: CheckReport, places: readonly Place[] = []): Row {
  const { id, title, status, reason, figures = {}, ship, seconds, runs = [] } = check;
  const then = status === "SKIP" ? (ship ? " (required for a release: no-go)" : " (not required here)") : "";
  return {
    ...{ id, title, status, failed: isFailure(check), seconds, runs },
    figures: Object.entries(figures).map(([name, value]) => [name, shown(value)]),
    reason: reason === undefined ? undefined : `${reason}${then}`,
    places: check.places ?? places,
  };
}

/** A figure as text: integers whole, others with four digits, and small ones as a power of ten. */
export function shown(value: number | string | boolean | null): string {
  if (typeof value !== "number" || Number.isInteger(value)) return String(value ?? "none");
  return Math.abs(value) < 0.01 ? value.toExponential(1) : value.toPrecision(4);
}

/** Tensors and prompts that failed, by the check's id. The file is the compared form. */
function parityPlaces({ weights, lanes }: ParityReport): Map<string, Place[]> {
  const found = new Map<string, Place[]>();
  const add = (id: string, path: string | null, name: string, what: string): void => {
    const all = found.get(id) ?? [];
    found.set(id, [...all, { ...(path !== null && { path: shownPath(path) }), name, what }]);
  };
  for (const tensor of weights?.changed ?? []) {
    if (tensor.verdict === "FAIL") add("c.weights", weights!.sides.b.path, tensor.b, tensorSentence(tensor));
  }
  for (const { name, sides, prompts } of lanes) {
    for (const { id, figures, greedy, verdict } of prompts) {
      if (verdict !== "FAIL") continue;
      const said = [
        `τ-b ${shown(figures.tau_median)}`,
        `ΔNLL ${shown(figures.delta_nll)}`,
        ...(figures.kl ? [`highest KL divergence ${shown(figures.kl.max)}`] : []),
        ...(greedy === null ? [] : [`greedy text: ${greedy}`]),
      ].join(", ");
      add(`c.${name}`, sides.b.path, `${name === "oracle" ? sides.a.kernels : name}/${id}`, `prompt ${id}: ${said}`);
    }
  }
  return found;
}
