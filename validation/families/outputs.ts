/** What is kept of an implementation's logits on a model's windows, and how far others are from it. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { logNll } from "../../engine/sampling/sampler.js";
import { kendallTauB } from "../statistics/kendall.js";
import { median } from "../statistics/summary.js";

/** Logits kept of each position, the highest. */
const TOP = 20;

/** Of all windows, one behind the other; a value for each position. */
export interface Outputs {
  /** −ln p(next token); 0 at a window's last position. */
  readonly nll: Float32Array; // [tokens]
  /** Descending, ties by lower id. */
  readonly topIds: Uint16Array; // [tokens, TOP]
  readonly topLogits: Float32Array; // [tokens, TOP]
}

/** Logits of a window's positions, [positions] of [vocab]; any number from the first on. */
export type WindowLogits = readonly (Float32Array | Float64Array)[];

/** @param logits of every position of every window */
export function outputsOf(windows: readonly (readonly number[])[], logits: readonly WindowLogits[]): Outputs {
  const rows = logits.flat();
  const next = windows.flatMap((ids) => [...ids.slice(1), undefined]);
  const top = rows.map((row) =>
    Array.from(row.keys())
      .sort((a, b) => row[b]! - row[a]! || a - b)
      .slice(0, TOP),
  );
  return {
    nll: Float32Array.from(rows, (row, t) => (next[t] === undefined ? 0 : logNll(Float32Array.from(row), next[t]))),
    topIds: Uint16Array.from(top.flat()),
    topLogits: Float32Array.from(top.flatMap((ids, t) => ids.map((id) => rows[t]![id]!))),
  };
}

/** How far logits are from stored ones. */
export interface Difference {
  /** The largest difference of a stored logit. */
  readonly logit: number;
  /** The middle one of the positions' largest differences. */
  readonly typicalLogit: number;
  /** Mean of the positions' |ΔNLL|. */
  readonly nll: number;
  /** Largest |ΔNLL| of a window's mean. */
  readonly windowNll: number;
  /** Median τ-b over the stored ids. */
  readonly tau: number;
}

/** @param ours for each window the logits of its first positions */
export function compare(stored: Outputs, windows: readonly (readonly number[])[], ours: readonly WindowLogits[]): Difference {
  const worst: number[] = [];
  const nlls: number[] = [];
  const means: number[] = [];
  const taus: number[] = [];
  let first = 0; // of the window, in the stored outputs
  for (const [w, ids] of windows.entries()) {
    const deltas: number[] = [];
    for (const [t, row] of (ours[w] ?? []).entries()) {
      const at = (first + t) * TOP;
      const theirs = stored.topLogits.subarray(at, at + TOP);
      const mine = Array.from(stored.topIds.subarray(at, at + TOP), (id) => row[id]!);
      worst.push(Math.max(...mine.map((logit, i) => Math.abs(logit - theirs[i]!))));
      taus.push(kendallTauB(mine, theirs) ?? 1);
      if (t + 1 < ids.length) deltas.push(logNll(Float32Array.from(row), ids[t + 1]!) - stored.nll[first + t]!);
    }
    if (deltas.length > 0) means.push(Math.abs(deltas.reduce((sum, delta) => sum + delta, 0) / deltas.length));
    nlls.push(...deltas.map(Math.abs));
    first += ids.length;
  }
  return {
    logit: Math.max(...worst),
    typicalLogit: median(worst),
    nll: nlls.reduce((sum, delta) => sum + delta, 0) / nlls.length,
    windowNll: Math.max(...means),
    tau: median(taus),
  };
}

const ROOT = "validation/golden/families";
const FILES = { nll: "nll.f32", topIds: "top20_ids.u16", topLogits: "top20_logits.f32" } as const;

/** `families.json` */
export interface Manifest {
  /** What computed the outputs. */
  readonly engine: string;
  readonly models: Readonly<
    Record<
      string,
      {
        /** Of the model.safetensors whose numbers it read. */
        readonly sha256: string;
        readonly windows: readonly (readonly number[])[];
      }
    >
  >;
}

export function readManifest(): Manifest {
  return JSON.parse(readFileSync(join(ROOT, "families.json"), "utf8"));
}

export function writeManifest(manifest: Manifest): void {
  writeFileSync(join(ROOT, "families.json"), `${JSON.stringify(manifest)}\n`);
}

/** The outputs stored of a model. */
export function readOutputs(name: string): Outputs {
  const bytes = (file: string): ArrayBuffer => Uint8Array.from(readFileSync(join(ROOT, `${name}.${file}`))).buffer;
  return {
    nll: new Float32Array(bytes(FILES.nll)),
    topIds: new Uint16Array(bytes(FILES.topIds)),
    topLogits: new Float32Array(bytes(FILES.topLogits)),
  };
}

export function writeOutputs(name: string, outputs: Outputs): void {
  for (const [key, file] of Object.entries(FILES)) writeFileSync(join(ROOT, `${name}.${file}`), outputs[key as keyof Outputs]);
}
