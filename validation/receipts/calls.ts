import type { KernelCalls } from "../../engine/index.js";
import type { Receipt } from "./receipt.js";

const WIDE = ["ternaryWide", "ternaryGroupsWide", "scanWide"] as const;

/** Kernels that not every tier, or only one kind of cache, calls. */
const KERNELS_OF = {
  plain: ["ternaryPlain", "ternaryGroupsPlain"],
  relaxed: ["ternaryRelaxed", "ternaryGroupsRelaxed"],
  wide: WIDE,
  vnni: [...WIDE, "ternaryVnni", "scanVnni"],
  f32: ["storeKeyValue", "attendSpan"],
  k16: ["storeKeyValueK16", "attendSpanK16"],
  q8: ["storeKeyValueQ8", "attendSpanQ8"],
} as const;

/**
 * Query heads that share keys are computed in groups of 2 to 8, by how many threads there are to feed: up to 4 times as many calls. Rows of a
 * ternary layer come in pieces whose size also hangs on the tier, where zeros are left out; with that part of the layers as many at most.
 */
const GROUPED = 4;

/** Whether the kernels that were called are those of the recorded tier and cache. @returns what is wrong */
export function callsMisfit({ kernel_calls: calls, provenance: { kernel_tier: tier }, model: { kv }, steps }: Receipt): string | undefined {
  const [first] = Object.keys(calls);
  if (tier === "none" && first !== undefined) return `kernel_calls contains ${first}, but kernel_tier is none`;
  if (steps.length === 0 && first !== undefined) return `kernel_calls contains ${first}, but there are no steps`;
  if (first === undefined && (tier === "none" || steps.length === 0)) return undefined;
  const expected = Object.entries(KERNELS_OF).filter(([of]) => of === tier || of === kv);
  const known = new Set<string>(expected.flatMap(([, names]) => names));
  const strange = Object.values(KERNELS_OF)
    .flat()
    .find((name) => calls[name] !== undefined && !known.has(name));
  if (strange !== undefined) return `kernel_calls contains ${strange}, which ${tier} kernels with a ${kv} cache don't call`;
  const lacking = expected.find(([, names]) => names.every((name) => calls[name] === undefined));
  if (lacking) return `kernel_calls lacks ${lacking[1][0]}, which ${tier} kernels with a ${kv} cache call`;
  return undefined;
}

/** How often each kernel was called, and what called it. */
export interface CountedCalls {
  readonly calls: KernelCalls;
  readonly tier: string;
  readonly threads: number;
}

/**
 * Whether one generation can have called its kernels as often as a replay with other kernels or threads did. Tiers call the same kernels
 * under names of their own, as often but for ternary products. With more threads a kernel is called more often: at most once more by each.
 * @returns what can't be
 */
export function callsImplausible(recorded: CountedCalls, replayed: CountedCalls): string | undefined {
  if (recorded.tier === "none" || replayed.tier === "none") return undefined;
  const [was, now] = [byFamily(recorded.calls), byFamily(replayed.calls)];
  for (const name of new Set([...was.keys(), ...now.keys()])) {
    const [written, here] = [was.get(name) ?? 0, now.get(name) ?? 0];
    const same = recorded.threads === replayed.threads && (recorded.tier === replayed.tier || name !== "ternary");
    const least = same ? here : here / Math.max(replayed.threads, GROUPED);
    const most = same ? here : here * Math.max(recorded.threads, GROUPED);
    if (written < least || written > most || written > 0 !== here > 0)
      return `kernel_calls/${name}* is ${written}, which ${recorded.threads} threads can't come to: the replay with ${replayed.threads} has ${here}`;
  }
  return undefined;
}

/** Calls by a kernel's name without its tier. */
function byFamily(calls: KernelCalls): Map<string, number> {
  const counts = new Map<string, number>();
  for (const [name, count] of Object.entries(calls)) {
    const family = name.replace(/(Plain|Relaxed|Wide|Vnni)$/, "");
    counts.set(family, (counts.get(family) ?? 0) + count);
  }
  return counts;
}
