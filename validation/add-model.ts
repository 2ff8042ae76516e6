import { existsSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { BitnetError } from "../engine/errors.js";
import { type ConversionType, convertModel, describeModel, type FileOptions, inspectModel } from "../engine/index.js";
import { parityFailure } from "./parity/gates.js";
import { runParity } from "./parity/parity.js";
import type { KernelOptions } from "./parity/sides.js";
import type { LaneReport, ParityReport } from "./parity/types.js";
import { runPair } from "./performance/alternate.js";
import { modelName } from "./performance/perf.js";
import { renderPerf } from "./performance/render.js";
import { ioFailure, removeStale, temporaryPath, writeWhole } from "./records/files.js";
import type { ProvenanceOptions } from "./records/provenance.js";
import { writeRecord } from "./records/records.js";

/** What to add, and as what. */
export interface AddModelOptions extends Omit<ProvenanceOptions, "model" | "seed"> {
  readonly seed: number;
  /** A GGUF or SafeTensors model. */
  readonly source: string;
  /** Folder that is made; it must not be there. */
  readonly out: string;
  /** In records and tables; default: from the source's path. */
  readonly name?: string | undefined;
  /** Of the ternary layers of the new form; default: the other format, i2_s or packed. */
  readonly type?: ConversionType | undefined;
  /** Parity on fewer texts. */
  readonly quick?: boolean | undefined;
  readonly files?: FileOptions | undefined;
  readonly kernels?: KernelOptions | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Hears which part of the work is done, 0 … 1. */
  readonly onProgress?: ((share: number) => void) | undefined;
  /** Hears each step that has passed. */
  readonly onStep?: ((step: AddStep) => void | Promise<void>) | undefined;
}

/** A step that has passed. */
export interface AddStep {
  readonly name: "convert" | "inspect" | "parity" | "perf" | "docs";
  readonly finding: string;
}

/** Of which docs takes no time. */
const STEPS = 4;
/** Samples of each form's speed. */
const ITERATIONS = 3;

/**
 * Adds a model: converts it, checks the weights, measures parity between both forms and the speed of both, and renders the tables. All of it is
 * in a folder that appears when every step has passed; until then it has a temporary name, and when a step fails, nothing is left of it.
 * @throws BitnetError: the first gate that fails: weights, nll, tau; what conversion and loading throw; usage: the folder is there already
 */
export async function addModel(options: AddModelOptions): Promise<readonly AddStep[]> {
  const { source, files = {}, kernels = {}, signal, cliArgs, seed, deterministic, date } = options;
  const out = resolve(options.out);
  if (existsSync(out)) throw new BitnetError("usage", `${options.out} already exists: remove it, or choose another folder (--out)`);
  const name = options.name ?? modelName(source);
  const common = { cliArgs, seed, deterministic, date, ...(signal && { signal }) };
  const steps: AddStep[] = [];
  const passed = async (step: AddStep): Promise<void> => {
    signal?.throwIfAborted();
    steps.push(step);
    await options.onStep?.(step);
  };
  const progress = (share: number): void => options.onProgress?.((steps.length + share) / STEPS);
  const counted = ({ done, total }: { readonly done: number; readonly total: number }): void => progress(done / Math.max(total, 1));
  const { i2sLayout: _, ...newFiles } = files; // what is written has the usual layout
  const { format } = await describeModel(source, files);
  const type = options.type ?? (format === "gguf" ? "packed" : "i2_s");
  const form = type === "packed" ? "packed" : `${name}.gguf`;

  await removeStale(out);
  const staging = temporaryPath(out);
  await mkdir(staging, { recursive: true }).catch((error: unknown) => {
    throw ioFailure("write", staging, error);
  });
  try {
    const model = join(staging, form);
    const converted = await convertModel(source, model, { ...files, type, onProgress: counted, ...(signal && { signal }) });
    const rounded = converted.rounded.length === 0 ? "every weight bit-identical" : "some numbers rounded";
    await passed({ name: "convert", finding: `${form}, layers ${converted.layers}, ${(converted.bytes / 1e6).toFixed(1)} MB, ${rounded}` });

    for (const [path, said] of [
      [source, files],
      [model, newFiles],
    ] as const) {
      const wrong = (await inspectModel(path, said)).checks.filter((check) => !check.passed);
      const findings = wrong.map(({ rule, finding }) => `${rule}: ${finding}`).join("; ");
      if (wrong.length > 0) throw new BitnetError("weights", `${path === model ? form : path}: ${findings}`);
    }
    await passed({ name: "inspect", finding: "the weights of both forms are sound" });

    const quick = options.quick;
    const measured = await runParity({
      ...common,
      models: [source, model],
      lanes: ["weights", "fp32-fp32", "quant-fp32"],
      quick,
      files,
      filesB: newFiles,
      kernels,
      onProgress: counted,
    });
    const report = moved(measured, model, join(options.out, form));
    const failure = parityFailure(report);
    if (failure) throw failure;
    await writeRecord(join(staging, "parity_report.json"), "parity-report", report);
    const figures = report.lanes.map(({ name: lane, totals }) => `${lane} τ-b ${totals.figures.tau_median?.toFixed(4)}`);
    await passed({ name: "parity", finding: figures.join(", ") });

    const onProgress = (done: number, total: number): void => progress(done / total);
    const pair = await runPair({ ...common, iterations: ITERATIONS, onProgress }, [
      { model: source, load: { ...files, ...kernels } },
      { model, load: { ...newFiles, ...kernels } },
    ]);
    const records = pair.map((record, i) => {
      const path = i === 1 ? join(options.out, form) : record.model.path;
      return { ...record, model: { ...record.model, path, name } };
    });
    // A pair of one format has a record of the new form alone: tables are by format.
    const kept = records[0]!.model.format === records[1]!.model.format ? records.slice(1) : records;
    for (const record of kept) await writeRecord(join(staging, `perf-${name}-${record.model.format}.json`), "perf-record", record);
    const rates = records.map(({ model: { format: of }, metrics }) => `${of} ${metrics.decode_tokens_per_second.median.toFixed(1)}`);
    await passed({ name: "perf", finding: `${rates.join(", ")} tokens/s` });

    const rendered = [...renderPerf(kept)];
    for (const [path, text] of rendered) await writeWhole(join(staging, basename(path)), text);
    await rename(staging, out).catch((error: unknown) => {
      throw ioFailure("write", out, error);
    });
    await passed({ name: "docs", finding: rendered.map(([path]) => basename(path)).join(", ") });
    return steps;
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

/** A report with the path that a model will have. */
function moved(report: ParityReport, from: string, to: string): ParityReport {
  const renamed = <T extends Pick<LaneReport, "sides">>(lane: T): T => {
    const { a, b } = lane.sides;
    return { ...lane, sides: { a, b: b.path === from ? { ...b, path: to } : b } };
  };
  return { ...report, ...(report.weights && { weights: renamed(report.weights) }), lanes: report.lanes.map(renamed) };
}
