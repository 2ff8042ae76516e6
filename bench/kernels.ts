/**
 * Measures every kernel of every tier that this Node runs, on the shapes of a 2.4-billion-parameter model (2B4T), one thread, beside the
 * scalar arithmetic it must equal. `node dist/bench/kernels.js [--json] [--tier relaxed] [--only ternary] [--time 300]`
 */
import { parseArgs } from "node:util";
import { Bench } from "tinybench";
import { ArenaPlan, allocate } from "../engine/compute/arena.js";
import { chooseKernels, instantiate, type Kernels, type Tier } from "../engine/compute/kernels.js";
import { BitnetError } from "../engine/errors.js";
import { CHUNK } from "./bandwidth.js";
import { KERNEL_CASES, type KernelCase } from "./kernel-cases.js";
import { type KernelReport, type KernelResult, kernelsTable, type Limits } from "./kernels-report.js";
import { machine, probes, ROUND } from "./machine.js";

/** From slow to fast: a V8 flag that a tier sets can't reach those before it. */
const TIERS: readonly Tier[] = ["plain", "relaxed"];
/** What a case may use; more than it takes to outgrow the caches. */
const MEMORY = 512 << 20;
/** Bytes that no cache holds (the largest level-3 caches of a core's own have 32 MB, some few 96). */
const STREAMED = 256 << 20;
/** Rounds of a call that measures the multipliers. */
const PROBE_ROUNDS = 100_000;

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

/** What this tier's build of the probes reaches: measured as the kernels are, so that a busy machine slows both alike. */
function limitsOf(tier: Tier, memory: WebAssembly.Memory, milliseconds: number): Limits {
  const { read, dots, dotLanes, multiplyAdds } = probes(tier === "plain" ? "plain" : "relaxed", memory);
  const scratch = 64;
  const multiply = (probe: (at: number, rounds: number) => void, lanes: number): number => {
    new Uint8Array(memory.buffer, scratch, 32).fill(0x3f); // 63, or 0.75: products that neither vanish nor overflow
    return (PROBE_ROUNDS * ROUND * lanes) / (time(() => probe(scratch, PROBE_ROUNDS), milliseconds) * 1e6);
  };
  let at = CHUNK;
  const readMs = time(() => {
    read(scratch, at, CHUNK);
    at = at + 2 * CHUNK <= MEMORY ? at + CHUNK : CHUNK;
  }, milliseconds);
  return { read: CHUNK / (readMs * 1e6), dot: multiply(dots, dotLanes()), f32: multiply(multiplyAdds, 4) };
}

function run(tiers: readonly Tier[], cases: readonly KernelCase[], milliseconds: number): KernelReport {
  const memory = allocate(MEMORY / 65536);
  // Bytes without the code 3; what they say is of no matter to the time, as long as they are not all the same page.
  new Uint8Array(memory.buffer).fill(0x49);
  const scalar = new Map(cases.map((one) => [one, one.scalar && time(one.scalar(), milliseconds)]));
  const results: KernelResult[] = [];
  const limits: Record<string, Limits> = {};
  for (const tier of tiers) {
    let kernels: Kernels;
    try {
      kernels = instantiate(chooseKernels(tier, true).module, memory);
    } catch (error) {
      if (!(error instanceof BitnetError)) throw error;
      console.error(`${tier} is left out: ${error.message}`);
      continue;
    }
    const most = limitsOf(tier, memory, milliseconds);
    limits[tier] = most;
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
          ofRead: data === "streamed" ? gbytes / most.read : undefined,
          ofMultipliers: one.multiplier && gmacs / (one.perLane?.(tier) ?? 1) / most[one.multiplier],
          timesScalar: reference && reference / ms,
        });
      }
    }
    if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
  }
  return { machine: machine(), tiers: limits, results };
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
  const report = run(tiers, cases, milliseconds);
  console.log(values.json ? JSON.stringify(report, undefined, 2) : kernelsTable(report));
}
