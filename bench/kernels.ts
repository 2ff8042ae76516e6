/**
 * Measures every kernel of every tier that this Node runs, on the shapes of a 2.4-billion-parameter model (2B4T), one thread, beside the
 * scalar arithmetic it must equal. `node dist/bench/kernels.js [--json] [--tier relaxed] [--only ternary] [--time 300]`
 */
import { parseArgs } from "node:util";
import { Bench } from "tinybench";
import { ArenaPlan, allocate } from "../engine/compute/arena.js";
import { chooseKernels, instantiate, type Kernels, type Tier } from "../engine/compute/kernels.js";
import { BitnetError } from "../engine/errors.js";
import { readBandwidth } from "./bandwidth.js";
import { KERNEL_CASES, type KernelCase } from "./kernel-cases.js";
import { type Machine, machine, probes, ROUND } from "./machine.js";

/** From slow to fast: a V8 flag that a tier sets can't reach those before it. */
const TIERS: readonly Tier[] = ["plain", "relaxed"];
/** What a case may use; more than it takes to outgrow the caches. */
const MEMORY = 512 << 20;
/** Bytes that no cache holds (the largest level-3 caches of a core's own have 32 MB, some few 96). */
const STREAMED = 256 << 20;
/** Rounds of a call that measures the multipliers. */
const PROBE_ROUNDS = 100_000;

/** What is measured beside the kernels, one thread. */
interface Limits {
  /** GB/s */
  readonly read: number;
  /** GMAC/s of the tier's dot instruction. */
  readonly dot: number;
  /** GMAC/s of f32 multiplications and additions. */
  readonly f32: number;
}

/** One kernel in one tier, its data in the caches or too large for them. */
interface KernelResult {
  readonly kernel: string;
  readonly tier: Tier;
  readonly data: "cached" | "streamed";
  readonly microseconds: number;
  /** Multiply-adds and bytes per nanosecond; 0 where they don't apply. */
  readonly gmacs: number;
  readonly gbytes: number;
  /** Of the read bandwidth; of streamed data alone. */
  readonly ofRead: number | undefined;
  /**
   * Of what the multipliers do at the most: measured in this run by a loop that only multiplies numbers in registers (`dots`, for f32
   * `multiplyAdds`). Loads, unpacking and additions come on top in a kernel, so none reaches 1.
   */
  readonly ofMultipliers: number | undefined;
  /** How many times as fast as the scalar arithmetic. */
  readonly timesScalar: number | undefined;
}

interface KernelReport {
  readonly machine: Machine;
  readonly read: number;
  readonly tiers: Readonly<Record<string, Omit<Limits, "read">>>;
  readonly results: readonly KernelResult[];
}

/** Median time of a call, ms. */
function time(work: () => void, milliseconds: number): number {
  const bench = new Bench({ time: milliseconds, iterations: 5, warmupTime: milliseconds / 3, warmupIterations: 2, throws: true });
  bench.add("", work);
  const [task] = bench.runSync();
  if (task?.result.state !== "completed") throw new Error("the benchmark did not run to its end");
  return task.result.latency.p50;
}

/** Measures one case: `slabs` parts of the data, one a call, in turn. */
function measure(one: KernelCase, tier: Tier, kernels: Kernels, memory: WebAssembly.Memory, slabs: number, milliseconds: number): number {
  const plan = new ArenaPlan();
  const take = (bytes: number): number => {
    const at = plan.take(one.name, bytes);
    if (plan.next > MEMORY) throw new Error(`${one.name}: the memory is too small`);
    return at;
  };
  const call = one.prepare({ tier, kernels, memory, take }, slabs);
  let slab = 0;
  return time(() => {
    call(slab);
    slab = slab + 1 < slabs ? slab + 1 : 0;
  }, milliseconds);
}

function limitsOf(tier: Tier, memory: WebAssembly.Memory, read: number, milliseconds: number): Limits {
  const { dots, dotLanes, multiplyAdds } = probes(tier === "plain" ? "plain" : "relaxed", memory);
  const rate = (probe: (at: number, rounds: number) => void, lanes: number): number => {
    new Uint8Array(memory.buffer, 64, 32).fill(0x3f); // 63, or 0.75: products that neither vanish nor overflow
    return (PROBE_ROUNDS * ROUND * lanes) / (time(() => probe(64, PROBE_ROUNDS), milliseconds) * 1e6);
  };
  return { read, dot: rate(dots, dotLanes()), f32: rate(multiplyAdds, 4) };
}

function run(tiers: readonly Tier[], cases: readonly KernelCase[], read: number, milliseconds: number): KernelReport {
  const memory = allocate(MEMORY / 65536);
  // Bytes without the code 3; what they say is of no matter to the time, as long as they are not all the same page.
  new Uint8Array(memory.buffer).fill(0x49);
  const scalar = new Map(cases.map((one) => [one, one.scalar && time(one.scalar(), milliseconds)]));
  const results: KernelResult[] = [];
  const limits: Record<string, Omit<Limits, "read">> = {};
  for (const tier of tiers) {
    let kernels: Kernels;
    try {
      kernels = instantiate(chooseKernels(tier, true).module, memory);
    } catch (error) {
      if (!(error instanceof BitnetError)) throw error;
      console.error(`${tier} is left out: ${error.message}`);
      continue;
    }
    const most = limitsOf(tier, memory, read, milliseconds);
    limits[tier] = { dot: most.dot, f32: most.f32 };
    for (const one of cases) {
      if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${tier}: ${one.name}`);
      const slabBytes = one.slabBytes(tier);
      for (const data of slabBytes > 0 ? (["cached", "streamed"] as const) : (["cached"] as const)) {
        const ms = measure(one, tier, kernels, memory, data === "cached" ? 1 : Math.ceil(STREAMED / slabBytes), milliseconds);
        const gmacs = one.macs / ms / 1e6;
        const gbytes = one.bytes(tier) / ms / 1e6;
        const reference = scalar.get(one);
        results.push({
          ...{ kernel: one.name, tier, data, microseconds: ms * 1000, gmacs, gbytes },
          ofRead: data === "streamed" ? gbytes / read : undefined,
          ofMultipliers: one.multiplier && gmacs / (one.perLane?.(tier) ?? 1) / most[one.multiplier],
          timesScalar: reference && reference / ms,
        });
      }
    }
    if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
  }
  return { machine: machine(), read, tiers: limits, results };
}

/** A report for a person: columns of Markdown, readable as they are. */
function table({ machine: on, read, tiers, results }: KernelReport): string {
  const percent = (share: number | undefined): string => (share === undefined ? "" : `${(share * 100).toFixed(0)} %`);
  const number = (value: number | undefined, digits: number): string => (value === undefined || value === 0 ? "" : value.toFixed(digits));
  const rows = results.map((r) => [
    ...[r.kernel, r.tier, r.data, number(r.microseconds, 1), number(r.gmacs, 1), number(r.gbytes, 1)],
    ...[percent(r.ofRead), percent(r.ofMultipliers), number(r.timesScalar, 1)],
  ]);
  const head = ["kernel", "tier", "data", "µs", "GMAC/s", "GB/s", "of reading", "of multipliers", "× scalar"];
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]!.length)));
  const line = (row: readonly string[]): string =>
    `| ${row.map((cell, i) => (i < 3 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join(" | ")} |`;
  const rule = `|${widths.map((width, i) => (i < 3 ? "-".repeat(width + 2) : `${"-".repeat(width + 1)}:`)).join("|")}|`;
  const limits = Object.entries(tiers).map(
    ([tier, { dot, f32 }]) => `${tier} ${dot.toFixed(0)} GMAC/s of integers, ${f32.toFixed(0)} of f32`,
  );
  return [
    `${on.cpu}, Node ${on.node}, ${on.date}, load ${on.load}; one thread reads ${read.toFixed(1)} GB/s and multiplies: ${limits.join("; ")}`,
    "",
    ...[line(head), rule, ...rows.map(line)],
  ].join("\n");
}

const { values } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    tier: { type: "string" },
    only: { type: "string", default: "" },
    time: { type: "string", default: "300" },
  },
});
const cases = KERNEL_CASES.filter(({ name }) => name.includes(values.only));
const tiers = TIERS.filter((tier) => values.tier === undefined || tier === values.tier);
const milliseconds = Number(values.time);
if (cases.length === 0 || tiers.length === 0 || !(milliseconds > 0)) {
  console.error(`usage: kernels [--json] [--tier ${TIERS.join("|")}] [--only PART-OF-A-NAME] [--time MILLISECONDS]`);
  process.exitCode = 2;
} else {
  const report = run(tiers, cases, await readBandwidth(1), milliseconds);
  console.log(values.json ? JSON.stringify(report, undefined, 2) : table(report));
}
