import { runPerf } from "../validation/performance/alternate.js";
import { comparePerf, requireMemory, requireNoRegression, requireSamples } from "../validation/performance/gate.js";
import { perfPath, readPerf } from "../validation/performance/perf.js";
import { perfTable } from "../validation/performance/table.js";
import { validityFaults } from "../validation/performance/validity.js";
import { removeStale } from "../validation/records/files.js";
import { writeRecord } from "../validation/records/records.js";
import { interruptible, kernelOptions, recordOptions } from "./command.js";
import { fileOptions, type ModelFlags } from "./model.js";
import { requireOutput, write, writeJson } from "./terminal.js";

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
  const baseline = flags.baseline === undefined ? undefined : await readPerf(flags.baseline);
  if (baseline) requireSamples(flags.iterations, baseline, flags.baseline!);
  if (flags.out !== undefined) {
    await requireOutput("--out", flags.out);
    await removeStale(flags.out);
  }
  await interruptible("measuring", async (status, signal) => {
    const record = await runPerf({
      ...recordOptions(),
      ...(flags.model !== undefined && { model: flags.model }),
      load: {
        ...kernelOptions(flags),
        ...(flags.ctx !== undefined && { contextLength: flags.ctx }),
        ...(flags.head !== undefined && { head: flags.head }),
        ...(flags.kv !== undefined && { kv: flags.kv }),
        ...fileOptions(flags),
      },
      iterations: flags.iterations,
      signal,
      onProgress: (done, total) => status.update(done / total),
    });
    status.end();
    const compared = baseline && comparePerf(record, baseline, flags.baseline!);
    if (flags.json) await writeJson(record);
    else await write(perfTable(record, compared));
    if (compared) requireNoRegression(compared, flags.tolerance, flags.baseline!);
    if (flags.maxRss !== undefined) requireMemory(record, flags.maxRss * 2 ** 20);
    const path = flags.out ?? perfPath(record);
    await writeRecord(path, "perf-record", record);
    if (!flags.json) await write(`\n${path}\n`);
    for (const note of validityFaults(record, path)) await write(`note: not valid as evidence: ${note}\n`, process.stderr);
  });
}
