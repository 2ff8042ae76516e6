import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { placeIn } from "../records/files.js";
import { type PerfRecord, pairSha256, perfPath, readPerf } from "./perf.js";
import { staleReasons } from "./stale.js";
import { type Present, TIMINGS, validityFaults } from "./validity.js";

/** Where records of a clone are. */
export const RESULTS = "bench/results";

/** The names of performance records in it. */
export const PERF_RECORD = /^bench\/results\/perf-[^/]+\.json$/;

/** Paths of the stored performance records, from the root, with `/`. @param overlay a folder whose files replace those of the root, or are added */
export function perfRecordPaths(root: string, overlay?: string): string[] {
  const paths = [root, ...(overlay === undefined ? [] : [overlay])].flatMap((folder) => {
    const results = join(folder, RESULTS);
    return existsSync(results) ? readdirSync(results).map((name) => `${RESULTS}/${name}`) : [];
  });
  return [...new Set(paths)].filter((path) => PERF_RECORD.test(path)).sort();
}

/** What is stored, and what is wrong with it. */
export interface Stored {
  /** By path from the root. */
  readonly records: ReadonlyMap<string, PerfRecord>;
  /** A sentence each. */
  readonly faults: readonly string[];
}

/**
 * Every stored performance record of a clone: each valid, of the present kernels and model, under its own name, and beside that of the other format, with
 * which it was measured.
 * @param overlay see `perfRecordPaths`
 * @throws BitnetError file, io: one that can't be read, or whose figures do not follow from its samples
 */
export async function checkStored(root: string, overlay?: string, present: Present = {}): Promise<Stored> {
  const records = new Map<string, PerfRecord>();
  const stale: string[] = [];
  for (const path of perfRecordPaths(root, overlay)) {
    const record = await readPerf(placeIn(root, overlay, path));
    records.set(path, record);
    stale.push(...(await staleReasons(record)).map((reason) => `${path} is stale: ${reason}`));
  }
  return { records, faults: [...stale, ...storedFaults(records, present)] };
}

/** What is wrong with records, apart from kernels and models that have changed since; none: nothing. @param records by path */
export function storedFaults(records: ReadonlyMap<string, PerfRecord>, present: Present = {}): string[] {
  const all = [...records];
  const strange = all.filter(([path, record]) => slashes(perfPath(record)) !== path);
  // Which records belong together can't be told where names are wrong.
  if (strange.length > 0)
    return strange.map(([path, { model }]) => `${path} is the record of ${model.name} as ${model.format}: it was renamed or swapped`);
  return [
    ...all.flatMap(([path, record]) => validityFaults(record, path, present)),
    ...pairFaults(records),
    ...all.flatMap((one, i) => all.slice(i + 1).flatMap((other) => copiedFault(one, other))),
  ];
}

/** Each model has both formats, from one run. */
function pairFaults(records: ReadonlyMap<string, PerfRecord>): string[] {
  const names = new Set([...records.values()].map(({ model }) => model.name));
  return [...names].flatMap((name) => {
    const [gguf, safetensors] = ["gguf", "safetensors"].map((format) => `${RESULTS}/perf-${name}-${format}.json`) as [string, string];
    const [a, b] = [records.get(gguf), records.get(safetensors)];
    if (a && b) return pairFault([gguf, a], [safetensors, b]) ?? [];
    const [missing, there] = a ? [safetensors, gguf] : [gguf, safetensors];
    return `${missing} does not exist, but ${there} does: both formats of a model are measured together`;
  });
}

type Named = readonly [path: string, record: PerfRecord];

/** Why two records are not those of one model in both formats, measured in one run; undefined: they are. */
export function pairFault([pathA, a]: Named, [pathB, b]: Named): string | undefined {
  const both = `${pathA} and ${pathB}`;
  const other = firstOther(shapeOf(a), shapeOf(b));
  if (other !== undefined) return `${both} are of different models: ${other} differs`;
  const alone = [pathA, pathB].find((_, i) => [a, b][i]!.pair === undefined);
  if (alone !== undefined) return `${alone} has no /pair: measure both formats in alternating rounds with bitnet perf compare`;
  const differs = firstOther(runOf(a), runOf(b));
  if (differs !== undefined) return `${both} are not from one run: ${differs} differs`;
  const [first, second] = a.pair!.first ? [a, b] : [b, a];
  const sha256 = pairSha256(first, second);
  const together =
    a.pair!.first !== b.pair!.first &&
    [a, b].every(({ pair }, i) => pair!.sha256 === sha256 && pair!.other_sha256 === [b, a][i]!.provenance.model_sha256);
  return together ? undefined : `${both} are not from one run: /pair is not that of their models and samples`;
}

/** Values by their place in a record, as JSON. */
type Places = Readonly<Record<string, string>>;

/** What two formats of a model have in common; each names the architecture in its own way. */
function shapeOf({ model: { parameters }, provenance: { tokenizer_sha256 } }: PerfRecord): Places {
  return { ...places("/model", { parameters }), ...places("/provenance", { tokenizer_sha256 }) };
}

/** What two records of a run have in common: all but what is of the one model. */
function runOf(record: PerfRecord): Places {
  const { model_hash: _, model_sha256: __, ...from } = record.provenance;
  const { load_average, load_average_after, steal_share, throttled_share } = record;
  return {
    ...places("/provenance", from),
    ...places("/settings", record.settings),
    ...places("/policy", record.policy),
    ...places("", { load_average, load_average_after, steal_share, throttled_share }),
  };
}

function places(prefix: string, object: object): Places {
  return Object.fromEntries(Object.entries(object).map(([key, value]) => [`${prefix}/${key}`, JSON.stringify(value) ?? ""]));
}

/** The first place in which they differ. */
function firstOther(a: Places, b: Places): string | undefined {
  return Object.keys({ ...a, ...b }).find((place) => a[place] !== b[place]);
}

/** Two records can't have the same samples, in whatever order. */
function copiedFault([pathA, a]: Named, [pathB, b]: Named): string[] {
  const sorted = ({ metrics }: PerfRecord, metric: (typeof TIMINGS)[number]): string =>
    metrics[metric].samples.toSorted((x, y) => x - y).join(" ");
  const same = TIMINGS.find((metric) => sorted(a, metric) === sorted(b, metric));
  return same === undefined ? [] : [`${pathA} and ${pathB} have the same /metrics/${same}/samples: one was copied`];
}

const slashes = (path: string): string => path.replaceAll("\\", "/");
