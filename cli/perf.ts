import type { LoadOptions } from "../engine/index.js";
import { removeStale } from "../validation/files.js";
import { perfPath, readPerf, runPerf } from "../validation/perf.js";
import { comparePerf, requireMemory, requireNoRegression } from "../validation/perf-gate.js";
import { perfTable } from "../validation/perf-table.js";
import { writeRecord } from "../validation/records.js";
import { INTERRUPTED } from "./failure.js";
import { fileOptions, type ModelFlags } from "./model.js";
import { Status, write, writeJson } from "./terminal.js";
import { readEnvironment } from "./values.js";

export interface PerfFlags extends ModelFlags {
  readonly out?: string;
  readonly iterations: number;
  readonly baseline?: string;
  readonly tolerance: number;
  readonly maxRss?: number;
  readonly json?: boolean;
}

/** `bitnet perf`: measures a model and stores the record, unless a gate is failed. */
export async function perf(flags: PerfFlags): Promise<void> {
  const environment = readEnvironment(process.env);
  const baseline = flags.baseline === undefined ? undefined : await readPerf(flags.baseline);
  if (flags.out !== undefined) await removeStale(flags.out);
  const interrupt = new AbortController();
  process.once("SIGINT", () => interrupt.abort());
  const status = new Status("measuring");
  try {
    const record = await runPerf({
      ...(flags.model !== undefined && { model: flags.model }),
      load: loadOptions(flags, environment.threads),
      seed: environment.seed,
      iterations: flags.iterations,
      cliArgs: process.argv.slice(2),
      deterministic: process.env.BITNET_DETERMINISTIC === "1",
      date: new Date(),
      signal: interrupt.signal,
      onProgress: (done, total) => status.update(done / total),
    });
    status.end();
    const compared = baseline && comparePerf(record, baseline, flags.baseline!);
    if (flags.json) await writeJson(record, 2);
    else await write(perfTable(record, compared));
    if (compared) requireNoRegression(compared, flags.tolerance, flags.baseline!);
    if (flags.maxRss !== undefined) requireMemory(record, flags.maxRss * 2 ** 20);
    const path = flags.out ?? perfPath(record);
    await writeRecord(path, "perf-record", record);
    if (!flags.json) await write(`\n${path}\n`);
  } catch (error) {
    if (!interrupt.signal.aborted) throw error;
    process.exitCode = INTERRUPTED;
  } finally {
    status.end();
  }
}

function loadOptions(flags: PerfFlags, threads: number | undefined): LoadOptions {
  const count = flags.threads ?? threads;
  return {
    ...(count !== undefined && { threads: count }),
    ...(flags.ctx !== undefined && { contextLength: flags.ctx }),
    ...(flags.tier !== undefined && { tier: flags.tier }),
    ...(flags.head !== undefined && { head: flags.head }),
    ...(flags.kv !== undefined && { kv: flags.kv }),
    ...fileOptions(flags),
  };
}
