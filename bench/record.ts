import { basename } from "node:path";
import { type Calm, watchMachine } from "../validation/performance/calm.js";
import { type Provenance, provenance } from "../validation/records/provenance.js";
import { checkRecord } from "../validation/records/records.js";
import type { GrowthReport } from "./growth-report.js";
import type { KernelReport } from "./kernels-report.js";
import type { Machine } from "./machine.js";
import type { PeersReport } from "./peers-report.js";
import type { StartReport } from "./startup-report.js";
import type { ZerosReport } from "./zeros-report.js";

/** What each benchmark measures. */
export interface BenchReports {
  readonly growth: GrowthReport;
  readonly kernels: KernelReport;
  readonly peers: PeersReport;
  readonly startup: StartReport;
  readonly zeros: ZerosReport;
}

/** What a benchmark has measured, and where. A record: `schemas/bench-record.v1.schema.json`. */
export interface BenchRecord<Bench extends keyof BenchReports = keyof BenchReports> extends Calm {
  readonly kind: "bench-record";
  readonly provenance: Provenance;
  readonly bench: Bench;
  readonly result: Omit<BenchReports[Bench], "machine">;
}

/** Begins to watch the machine; the function that it returns makes the record of what was measured since. @throws BitnetError file: it is not of its schema */
export function beginRecord<Bench extends keyof BenchReports>(
  bench: Bench,
): (result: BenchRecord<Bench>["result"]) => Promise<BenchRecord<Bench>> {
  const ended = watchMachine();
  const date = new Date();
  return async (result) => {
    const calm = ended();
    // Where programs and models are on this machine says nothing.
    const cliArgs = process.argv.slice(2).map((arg) => (/[/\\]/.test(arg) ? basename(arg) : arg));
    const from = await provenance({ cliArgs, seed: null, deterministic: false, date });
    const plain = JSON.parse(JSON.stringify(result)) as typeof result; // without what is undefined
    const record: BenchRecord<Bench> = { kind: "bench-record", provenance: from, ...calm, bench, result: plain };
    checkRecord("bench-record", record, `the record of ${bench}`);
    return record;
  };
}

/** A benchmark's report, as its table and picture take it. */
export function reportOf<Bench extends keyof BenchReports>(record: BenchRecord<Bench>): BenchReports[Bench] {
  return { machine: machineOf(record), ...record.result } as BenchReports[Bench];
}

function machineOf({ provenance: { date, node, platform } }: BenchRecord): Machine {
  return { date: date.slice(0, 10), node, platform: `${platform.os} ${platform.arch}`, cpu: platform.cpu, cores: platform.cores };
}
