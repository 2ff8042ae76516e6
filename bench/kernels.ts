/**
 * Measures every kernel of every tier that this Node runs, on the shapes of a 2.4-billion-parameter model (2B4T), one thread, beside the
 * scalar arithmetic it must equal. `node dist/bench/kernels.js [--json] [--tier relaxed] [--only ternary] [--time 300]`
 */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { Bench } from "tinybench";
import { ArenaPlan, allocate } from "../engine/compute/arena.js";
import { COUNTER_BYTES } from "../engine/compute/counters.js";
import { instantiate, type Kernels, TIERS, type Tier } from "../engine/compute/kernels.js";
import { chooseKernels } from "../engine/compute/tier.js";
import { CHUNK } from "./bandwidth.js";
import { readFlags } from "./flags.js";
import { KERNEL_CASES, type KernelCase } from "./kernel-cases.js";
import { type KernelResult, kernelsTable, type Limits } from "./kernels-report.js";
import { probes, ROUND } from "./machine.js";
import { type BenchRecord, beginRecord, reportOf } from "./record.js";

/** What the benchmark measures. */
type KernelResults = BenchRecord<"kernels">["result"];

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
  const plan = new ArenaPlan(COUNTER_BYTES);
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

/** Measures the cases in one tier. @throws BitnetError usage: this Node can't run it */
function run(tier: Tier, cases: readonly KernelCase[], milliseconds: number): KernelResults {
  const memory = allocate(MEMORY / 65536);
  const kernels = instantiate(chooseKernels(tier, true, 0).module, memory, tier, 0);
  // Bytes without the code 3; what they say is of no matter to the time, as long as they are not all the same page.
  new Uint8Array(memory.buffer).fill(0x49);
  const most = limitsOf(tier, memory, milliseconds);
  const here = cases.filter(({ notIn }) => notIn !== tier);
  const results = here.flatMap((one): KernelResult[] => {
    if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${tier}: ${one.name}`);
    const scalar = one.scalar && time(one.scalar(), milliseconds);
    const slabBytes = one.slabBytes(tier);
    return (slabBytes > 0 ? (["cached", "streamed"] as const) : (["cached"] as const)).map((data) => {
      const ms = measure(one, tier, kernels, memory, data === "cached" ? 1 : Math.ceil(STREAMED / slabBytes), milliseconds);
      const gmacs = one.macs / ms / 1e6;
      const gbytes = one.bytes(tier) / ms / 1e6;
      return {
        ...{ kernel: one.name, tier, data, microseconds: ms * 1000, gmacs, gbytes },
        ofRead: data === "streamed" ? gbytes / most.read : undefined,
        ofMultipliers: one.multiplier && gmacs / (one.perLane?.(tier) ?? 1) / most[one.multiplier],
        timesScalar: scalar && scalar / ms,
      };
    });
  });
  if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
  return { tiers: { [tier]: most }, results };
}

/** All tiers, each in a process of its own: V8 keeps the code of a module, and a tier's V8 flags come too late for code that is there. */
function runAll(flags: readonly string[]): KernelResults {
  // 256-bit code there is from Node 24 on; before, its layout is only slower.
  const wide: readonly Tier[] = ["wide", "vnni"];
  const tiers = TIERS.filter((tier) => !wide.includes(tier) || Number(process.versions.node.split(".")[0]) >= 24);
  const reports = tiers.flatMap((tier): KernelResults[] => {
    const args = [fileURLToPath(import.meta.url), "--json", "--tier", tier, ...flags];
    const { status, stdout } = spawnSync(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"], encoding: "utf8" });
    return status === 0 ? [(JSON.parse(stdout) as BenchRecord<"kernels">).result] : [];
  });
  if (reports.length === 0) throw new Error("no tier runs here: see the messages above");
  return {
    tiers: Object.assign({}, ...reports.map(({ tiers }) => tiers)) as KernelResults["tiers"],
    results: reports.flatMap(({ results }) => results),
  };
}

const { values } = readFlags("node dist/bench/kernels.js [--json] [--tier plain] [--only PART-OF-A-NAME] [--time MILLISECONDS]", {
  json: { type: "boolean", default: false },
  tier: { type: "string" },
  only: { type: "string", default: "" },
  time: { type: "string", default: "300" },
});
const cases = KERNEL_CASES.filter(({ name }) => name.includes(values.only));
const tier = TIERS.find((one) => one === values.tier);
const milliseconds = Number(values.time);
if (cases.length === 0 || (values.tier !== undefined && tier === undefined) || !(milliseconds > 0)) {
  console.error(`usage: kernels [--json] [--tier ${TIERS.join("|")}] [--only PART-OF-A-NAME] [--time MILLISECONDS]`);
  process.exitCode = 2;
} else {
  try {
    const record = beginRecord("kernels");
    const made = await record(tier ? run(tier, cases, milliseconds) : runAll(["--only", values.only, "--time", values.time]));
    console.log(values.json ? JSON.stringify(made, undefined, 2) : kernelsTable(reportOf(made)));
  } catch (error) {
    console.error((error as Error).message);
    process.exitCode = 1;
  }
}
