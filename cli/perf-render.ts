import { existsSync, readFileSync } from "node:fs";
import { BitnetError } from "../engine/errors.js";
import { HISTORY_FILE, type HistoryRow, readHistory } from "../validation/performance/history.js";
import { type PerfRecord, readPerf } from "../validation/performance/perf.js";
import { renderPerf, strangePictures } from "../validation/performance/render.js";
import { staleReasons } from "../validation/performance/stale.js";
import { checkStored, RESULTS } from "../validation/performance/stored.js";
import { validityFaults } from "../validation/performance/validity.js";
import { writeWhole } from "../validation/records/files.js";
import { style, write } from "./terminal.js";

export interface PerfRenderFlags {
  readonly check?: boolean;
}

/** `bitnet perf render`: the page on both formats and its pictures, from records alone. */
export async function perfRender(files: readonly string[], { check }: PerfRenderFlags): Promise<void> {
  const { records, faults, history = [] } = files.length > 0 ? await named(files) : await stored();
  if (records.length === 0)
    throw new BitnetError("usage", `no ${RESULTS}/perf-*.json here: measure with bitnet perf, or give the paths of the records`);
  const rendered = renderPerf(records, history);
  if (check) {
    const others = [...rendered].filter(([path, text]) => !existsSync(path) || readFileSync(path, "utf8") !== text);
    const strange = files.length > 0 ? [] : strangePictures(".", rendered);
    const wrong = [
      ...others.map(([path]) => `${path} does not match the records: run bitnet perf render`),
      ...strange.map((path) => `${path} has no records: remove it`),
      ...faults,
    ];
    if (wrong.length > 0) throw new BitnetError("stale", wrong.join("; "));
    await write(`${[...rendered.keys()].join(", ")}: match the records\n`);
    return;
  }
  for (const [path, text] of rendered) await writeWhole(path, text);
  for (const fault of faults) await write(`${style("dim", fault, process.stderr)}\n`, process.stderr);
  await write(`${[...rendered.keys()].join("\n")}\n`);
}

interface Found {
  readonly records: readonly PerfRecord[];
  readonly faults: readonly string[];
  readonly history?: readonly HistoryRow[];
}

/** All that are stored in the current folder. */
async function stored(): Promise<Found> {
  const { records, faults } = await checkStored(".");
  const history = existsSync(HISTORY_FILE) ? readHistory(readFileSync(HISTORY_FILE, "utf8")) : [];
  return { records: [...records.values()], faults, history };
}

/** Those that were named, wherever they are: one format alone will do. */
async function named(files: readonly string[]): Promise<Found> {
  const records: PerfRecord[] = [];
  const faults: string[] = [];
  for (const path of files) {
    const record = await readPerf(path);
    records.push(record);
    faults.push(...(await staleReasons(record)).map((reason) => `${path} is stale: ${reason}`), ...validityFaults(record, path));
  }
  return { records, faults };
}
