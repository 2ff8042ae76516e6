import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { BitnetError } from "../engine/errors.js";
import { describeModel, type FileOptions } from "../engine/index.js";
import { EMBEDDED_PAIR } from "../validation/parity/sides.js";
import { type PerfOptions, runPair, runRounds, type Side } from "../validation/performance/alternate.js";
import { modelName, type PerfRecord, perfPath, shownPath } from "../validation/performance/perf.js";
import { type MetricRatio, metricRatios } from "../validation/performance/ratios.js";
import { ratioTable } from "../validation/performance/table.js";
import { validityFaults } from "../validation/performance/validity.js";
import { packageVersion } from "../validation/records/provenance.js";
import { writeRecord } from "../validation/records/records.js";
import { showsDifference } from "../validation/statistics/ratio.js";
import { interruptible, kernelOptions, recordOptions } from "./command.js";
import { fileOptions, type ModelFlags } from "./model.js";
import { write, writeJson } from "./terminal.js";

export interface PerfCompareFlags extends Omit<ModelFlags, "model"> {
  readonly against?: string;
  readonly iterations: number;
  readonly record?: boolean;
  readonly json?: boolean;
}

/** `bitnet perf compare`: two models, or two builds of this package with one model, in alternating rounds. */
export async function perfCompare(models: readonly string[], flags: PerfCompareFlags): Promise<void> {
  const load: Side["load"] = {
    ...kernelOptions(flags),
    ...(flags.ctx !== undefined && { contextLength: flags.ctx }),
    ...(flags.head !== undefined && { head: flags.head }),
    ...(flags.kv !== undefined && { kv: flags.kv }),
    ...fileOptions(flags),
  };
  const work = flags.against === undefined ? twoModels(models, load, flags) : twoBuilds(models, load, flags);
  await interruptible("measuring", async (status, signal) => {
    const options = { ...recordOptions(), iterations: flags.iterations, signal };
    const { names, ratios, finish } = await work({ ...options, onProgress: (done, total) => status.update(done / total) });
    status.end();
    if (flags.json) await writeJson(comparison(names, ratios, flags.iterations));
    else await write(ratioTable(ratios, names, flags.iterations));
    await finish?.();
  });
}

interface Compared {
  readonly names: readonly [a: string, b: string];
  readonly ratios: readonly MetricRatio[];
  /** What is to be done when the figures are out. */
  readonly finish?: () => Promise<void>;
}

type Work = (options: PerfOptions) => Promise<Compared>;

function twoModels(models: readonly string[], load: Side["load"], flags: PerfCompareFlags): Work {
  const [a, b] = models.length === 0 ? EMBEDDED_PAIR : models;
  if (a === undefined || b === undefined)
    throw new BitnetError("usage", "perf compare takes two models, none for both formats of the embedded model, or one with --against");
  return async (options) => {
    if (flags.record) await requireFormats([a, b], fileOptions(flags));
    const pair = await runPair(options, [
      { model: a, load },
      { model: b, load },
    ]);
    const names = [`${pair[0].model.path}, ${pair[0].model.format}`, `${pair[1].model.path}, ${pair[1].model.format}`] as const;
    return {
      names,
      ratios: metricRatios(pair[0].metrics, pair[1].metrics, "alternating"),
      ...(flags.record && { finish: () => store(pair, flags.json) }),
    };
  };
}

/** @throws BitnetError usage: they are not both formats of one model */
async function requireFormats(models: readonly [string, string], files: FileOptions): Promise<void> {
  const [a, b] = await Promise.all(models.map(async (path) => ({ ...(await describeModel(path, files)), name: modelName(path) })));
  const fault =
    a!.format === b!.format
      ? `both are ${a!.format}`
      : a!.name !== b!.name
        ? `they are named ${a!.name} and ${b!.name}`
        : a!.parameters !== b!.parameters
          ? "their numbers of parameters differ"
          : undefined;
  if (fault !== undefined) throw new BitnetError("usage", `--record is for both formats of one model, but ${fault}`);
}

/** Stores both records where they belong. */
async function store(pair: readonly PerfRecord[], quiet: boolean | undefined): Promise<void> {
  const paths = pair.map(perfPath);
  for (const [i, record] of pair.entries()) await writeRecord(paths[i]!, "perf-record", record);
  if (!quiet) await write(`\n${paths.join("\n")}\n`);
  const notes = pair.flatMap((record, i) => validityFaults(record, paths[i]!));
  for (const note of notes) await write(`note: not valid as evidence: ${note}\n`, process.stderr);
}

function twoBuilds(
  [model = EMBEDDED_PAIR[1], ...more]: readonly string[],
  load: Side["load"],
  { against = "", record }: PerfCompareFlags,
): Work {
  if (more.length > 0) throw new BitnetError("usage", "perf compare --against takes one model");
  if (record) throw new BitnetError("usage", "--record can't be combined with --against: records are of this build");
  const { version, program } = buildAt(against);
  return async (options) => {
    const { measured } = await runRounds(options, [
      { model: resolve(model), load },
      { model: resolve(model), load, program },
    ]);
    const [a, b] = measured as [(typeof measured)[0], (typeof measured)[0]];
    const shown = shownPath(model);
    return {
      names: [`this build, ${packageVersion()}, with ${shown}`, `${against}, ${version}, with ${shown}`],
      ratios: metricRatios(a.metrics, b.metrics, "alternating"),
    };
  };
}

/** The measuring program of another build. @throws BitnetError usage: there is none */
function buildAt(folder: string): { readonly version: string; readonly program: string } {
  const program = join(resolve(folder), "dist/bundle/perf.js");
  const manifest = join(folder, "package.json");
  const { name, version } = existsSync(manifest) ? readManifest(manifest) : {};
  if (name !== "bitnet-ts" || typeof version !== "string")
    throw new BitnetError("usage", `--against ${folder} is not a folder of bitnet-ts: give a clone, or node_modules/bitnet-ts`);
  if (!existsSync(program)) throw new BitnetError("usage", `--against ${folder} has no dist/bundle/perf.js: run npm run build there`);
  return { version, program };
}

function readManifest(path: string): { readonly name?: unknown; readonly version?: unknown } {
  try {
    return (JSON.parse(readFileSync(path, "utf8")) ?? {}) as object;
  } catch {
    return {}; // whatever it is, it is not ours
  }
}

/** As `--json` prints it. An interval is null if there are too few rounds. */
function comparison(names: readonly [string, string], ratios: readonly MetricRatio[], rounds: number): object {
  const metrics = ratios.map(({ metric, a, b, ratio }) => {
    const interval = Number.isFinite(ratio.high) ? [ratio.low, ratio.high] : null;
    return [metric, { a, b, ratio: ratio.ratio, interval, difference: showsDifference(ratio) }];
  });
  return { a: names[0], b: names[1], rounds, metrics: Object.fromEntries(metrics) as object };
}
