import { describe, expect, it } from "vitest";
import { COUNTED_KERNELS, COUNTER_BYTES, callsBetween, readCounters } from "../engine/compute/counters.js";
import { instantiate, type Tier } from "../engine/compute/kernels.js";
import { chooseKernels } from "../engine/compute/tier.js";
import { TIERS } from "./harness.test.helper.js";

const COUNTERS = 4096;

/** The name under which a kernel of a tier counts itself in no columns; undefined: it doesn't. */
function nameOf(kernel: string, tier: Tier): string | undefined {
  const build = { plain: "Plain", relaxed: "Relaxed", wide: "Wide", vnni: "Wide" }[tier];
  if (tier === "vnni" && (kernel === "ternary" || kernel === "ternarySparse")) return "ternaryVnni"; // its own for all but one column
  if (kernel === "ternary" || kernel === "ternarySparse") return `ternary${build}`;
  if (kernel === "ternaryGroups") return `ternaryGroups${build}`;
  if (kernel === "scan" && build === "Wide") return "scanWide";
  return (COUNTED_KERNELS as readonly string[]).includes(kernel) ? kernel : undefined;
}

describe.each(TIERS)("kernels count their calls, %s", (tier) => {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const kernels = instantiate(chooseKernels(tier, true, 0).module, memory, tier, COUNTERS);
  const names = Object.entries(kernels).filter(([, kernel]) => typeof kernel === "function");

  it.each(names)("%s: its own counter and no other", (name, kernel) => {
    const before = readCounters(memory, COUNTERS, 1, 0);
    // Of no rows and no columns; only the division into groups needs a size.
    const nothing = new Array<number>(kernel.length).fill(0);
    if (name === "ternaryGroups") nothing[4] = 64;
    if (name === "quantizeGroups") nothing[7] = 64;
    if (name === "barrier") nothing.splice(0, 2, 1024, 1);
    for (let call = 0; call < 3; call++) (kernel as (...args: number[]) => unknown)(...nothing);
    const counted = nameOf(name, tier);
    expect(callsBetween(before, readCounters(memory, COUNTERS, 1, 0))).toEqual(counted === undefined ? {} : { [counted]: 3 });
  });

  it("those that compute a network do", () => {
    // `listColumns` belongs to the product that it is for.
    const loading = /^(listColumns|turnTile|barrier|nextChunk|unpack\w+|repackI2s|packRow|packLane|packBf16|packScan|widen)$/;
    expect(names.filter(([name]) => nameOf(name, tier) === undefined && !loading.test(name))).toEqual([]);
  });
});

it("all threads' calls are added up", () => {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const { module } = chooseKernels("plain", true, 0);
  const threads = [0, 1, 2].map((thread) => instantiate(module, memory, "plain", COUNTERS + thread * COUNTER_BYTES));
  for (const [thread, { add }] of threads.entries()) for (let call = 0; call <= thread; call++) add(0, 0, 0);
  expect(callsBetween(readCounters(memory, COUNTERS, 0, 0), readCounters(memory, COUNTERS, 3, 0))).toEqual({ add: 6 });
});
