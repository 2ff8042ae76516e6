import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { BitnetError } from "../engine/errors.js";
import { type PerfRecord, readPerf } from "../validation/performance/perf.js";
import { renderPerf } from "../validation/performance/render.js";
import { staleReasons } from "../validation/performance/stale.js";
import { writeWhole } from "../validation/records/files.js";
import { style, write } from "./terminal.js";

export interface PerfRenderFlags {
  readonly check?: boolean;
}

/** Where records are, unless others are named. */
const RESULTS = "bench/results";

/** `bitnet perf render`: the page on both formats and its pictures, from records alone. */
export async function perfRender(files: readonly string[], { check }: PerfRenderFlags): Promise<void> {
  const paths = files.length > 0 ? files : found();
  if (paths.length === 0)
    throw new BitnetError("usage", `no ${RESULTS}/perf-*.json here: measure with bitnet perf, or give the paths of the records`);
  const records: PerfRecord[] = [];
  const stale: string[] = [];
  for (const path of paths) {
    const record = await readPerf(path);
    records.push(record);
    for (const reason of await staleReasons(record)) stale.push(`${path} is stale: ${reason}`);
  }
  const rendered = renderPerf(records);
  if (check) {
    const others = [...rendered].filter(([path, text]) => !existsSync(path) || readFileSync(path, "utf8") !== text);
    const wrong = [...others.map(([path]) => `${path} does not match the records: run bitnet perf render`), ...stale];
    if (wrong.length > 0) throw new BitnetError("stale", wrong.join("; "));
    await write(`${[...rendered.keys()].join(", ")}: match the records\n`);
    return;
  }
  for (const [path, text] of rendered) await writeWhole(path, text);
  for (const reason of stale) await write(`${style("dim", reason, process.stderr)}\n`, process.stderr);
  await write(`${[...rendered.keys()].join("\n")}\n`);
}

function found(): string[] {
  if (!existsSync(RESULTS)) return [];
  const names = readdirSync(RESULTS).filter((name) => /^perf-.*\.json$/.test(name));
  return names.sort().map((name) => join(RESULTS, name));
}
