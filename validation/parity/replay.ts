import { BitnetError } from "../../engine/errors.js";
import { NUMERICS_VERSION } from "../../engine/index.js";
import { kernelSha256 } from "../records/provenance.js";
import { readRows } from "../records/records.js";
import { compare, figuresOf } from "./figures.js";
import { failedGates, gateError, tensorSentence } from "./gates.js";
import { readOracles } from "./oracle.js";
import { measureAnswer } from "./parity.js";
import { checkAlike, fileOptionsOf, type KernelOptions, openSide, outputsOf, type Side } from "./sides.js";
import type { Figures, Gate, Greedy, ParityFailure, PromptFailure, SideRecord, TensorReport, WeightsFailure } from "./types.js";
import { compareWeights } from "./weights.js";

/** Which row, and where its models are now. */
export interface ReplayOptions {
  /** Used instead of the row's paths. */
  readonly modelA?: string | undefined;
  readonly modelB?: string | undefined;
  readonly kernels?: KernelOptions | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A row judged again. */
export type Replay = PromptReplay | WeightsReplay;

/** A tensor compared again. */
export interface WeightsReplay {
  readonly row: WeightsFailure;
  /** What has changed since the row was written. */
  readonly changed: readonly string[];
  /** null: it is equal now. */
  readonly tensor: TensorReport | null;
  /** Empty: it passes now. */
  readonly failed: readonly Gate[];
  /** Undefined if it passes. */
  readonly error: BitnetError | undefined;
}

/** A prompt judged again. */
export interface PromptReplay {
  readonly row: PromptFailure;
  /** What is not as it was when the row was written; empty: the figures are the row's, to the bit. */
  readonly changed: readonly string[];
  readonly figures: Figures;
  readonly greedy: Greedy | null;
  /** Empty: it passes now. */
  readonly failed: readonly Gate[];
  /** Undefined if it passes. */
  readonly error: BitnetError | undefined;
}

/**
 * Reproduces a failing row of parity from the row alone: the same token path through the same models, under the row's thresholds.
 * @param number of the row, from 1
 * @throws BitnetError usage: there is no such row; file; receipt: nothing has changed, but the figures or the verdict differ from the row
 */
export async function replayRow(path: string, number: number, options: ReplayOptions = {}): Promise<Replay> {
  const rows = await readRows<ParityFailure>(path, "parity-failure");
  const row = rows[number - 1];
  if (!row) throw new BitnetError("usage", `${path} has no row ${number}: the number of its rows is ${rows.length}`);
  const where = `${path}, row ${number}`;
  if (row.lane === "weights") return replayTensor(row, where, path, options);
  const { figures, greedy, changed } = await measureAgain(row, where, options);
  const failed = failedGates(figures, row.thresholds, greedy ?? undefined);
  if (changed.length === 0) {
    const was = JSON.stringify([row.figures, row.greedy, row.failed]);
    // An old row lacks figures that are computed today.
    if (JSON.stringify([inOrder(figures, row.figures), greedy && inOrder(greedy, row.greedy), failed]) !== was) {
      throw new BitnetError(
        "receipt",
        `${where}: models and kernels match the row, but the results don't: the row has ${say(row.figures, row.failed)}, the replay gives ${say(figures, failed)}`,
        { file: path },
      );
    }
  }
  return { row, changed, figures, greedy, failed, error: failed[0] && gateError(failed[0], where) };
}

/** Compares all weights again, because the allowed difference of a tensor may depend on others. */
async function replayTensor(row: WeightsFailure, where: string, path: string, options: ReplayOptions): Promise<WeightsReplay> {
  const { sides, exact } = row;
  const pathOf = (side: SideRecord, now: string | undefined): string => {
    const from = now ?? side.path;
    if (from === null) throw new BitnetError("file", `${where}: names no file to compare`, { file: path });
    return from;
  };
  const models = [pathOf(sides.a, options.modelA), pathOf(sides.b, options.modelB)] as const;
  const weights = await compareWeights({
    ...{ models, files: fileOptionsOf(sides.a), filesB: fileOptionsOf(sides.b), exact, signal: options.signal },
  });
  const changed = (["a", "b"] as const)
    .filter((side) => weights.sides[side].sha256 !== sides[side].sha256)
    .map((side) => `${weights.sides[side].path} has changed`);
  const { part, a, b } = row.tensor;
  const tensor = weights.changed.find((one) => one.part === part && one.a === a && one.b === b) ?? null;
  if (changed.length === 0 && JSON.stringify(tensor && inOrder(tensor, row.tensor)) !== JSON.stringify(row.tensor)) {
    throw new BitnetError(
      "receipt",
      `${where}: both models are unchanged, but the result for ${a} differs from the row: ${tensor ? tensorSentence(tensor) : "it is equal"}`,
      { file: path },
    );
  }
  const failed: Gate[] = tensor?.verdict === "FAIL" ? ["weights"] : [];
  return { row, changed, tensor, failed, error: failed[0] && gateError(failed[0], where) };
}

async function measureAgain(
  row: PromptFailure,
  where: string,
  { modelA, modelB, kernels = {}, signal }: ReplayOptions,
): Promise<Pick<PromptReplay, "figures" | "greedy" | "changed">> {
  const { sides, prompt, policy, lane, provenance } = row;
  const opened: Side[] = [];
  const changed: string[] = [];
  const open = async (record: SideRecord, path: string | undefined): Promise<Side> => {
    const arithmetic = record.kernels;
    const from = path ?? record.path;
    if (from === null || (arithmetic !== "reference" && arithmetic !== "kernels")) {
      throw new BitnetError("file", `${where}: names the arithmetic ${arithmetic}, which this engine does not have`);
    }
    const side = await openSide(from, arithmetic, fileOptionsOf(record), kernels, signal);
    opened.push(side);
    if (side.record.sha256 !== record.sha256) changed.push(`${from} has changed`);
    return side;
  };
  if (provenance.kernel_sha256 !== kernelSha256()) changed.push("the kernels have changed");
  if (provenance.numerics_version !== NUMERICS_VERSION) changed.push("the numerics version has changed");
  try {
    const b = await open(sides.b, modelB);
    if (lane === "oracle") {
      const oracle = readOracles().oracles.find(({ record }) => record.kernels === sides.a.kernels);
      const answer = oracle?.answers.find(({ id }) => id === prompt.id);
      if (!oracle || !answer || answer.ids.join() !== prompt.ids.join()) {
        throw new BitnetError("receipt", `${where}: this package has no outputs of ${sides.a.kernels} for ${prompt.id}`);
      }
      if (oracle.record.sha256 !== sides.a.sha256) changed.push("the stored outputs have changed");
      const { measured, greedy } = await measureAnswer(answer, b, signal);
      return { figures: figuresOf(measured), greedy: greedy ?? null, changed };
    }
    const a = await open(sides.a, modelA);
    checkAlike(a, b);
    const [expected, outputs] = await Promise.all([outputsOf(a.model, prompt.ids, signal), outputsOf(b.model, prompt.ids, signal)]);
    return { figures: figuresOf(compare(expected, outputs, policy.top_k)), greedy: null, changed };
  } finally {
    await Promise.all(opened.map(({ model }) => model.close()));
  }
}

/** A record with its keys in the order of another, so that both can be compared as text. */
function inOrder<T extends object>(value: T, like: T | null): Partial<T> {
  const keys = Object.keys(like ?? value) as (keyof T)[];
  return Object.fromEntries(keys.map((key) => [key, value[key]])) as Partial<T>;
}

function say({ tau_median, delta_nll }: Figures, failed: readonly Gate[]): string {
  return `τ-b ${tau_median} and ΔNLL ${delta_nll}, ${failed.length > 0 ? `failed: ${failed.join(", ")}` : "passed"}`;
}
