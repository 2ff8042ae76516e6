/**
 * The kernels that count their calls, in the order of their counters (kernels/assembly/count.ts). Products are named after the build and the
 * layout that ran.
 */
export const COUNTED_KERNELS = [
  "add",
  "atLeast",
  "attendSpan",
  "attendSpanQ8",
  "bounds",
  "finishSpans",
  "head",
  "prepareScan",
  "quantize",
  "quantizeGroups",
  "reluSquaredMul",
  "rmsNorm",
  "rope",
  "scan",
  "scanWide",
  "siluMul",
  "storeKeyValue",
  "storeKeyValueQ8",
  "ternaryPlain",
  "ternaryRelaxed",
  "ternaryGroupsPlain",
  "ternaryGroupsRelaxed",
  "ternaryWide",
  "convolve",
  "deltaRule",
  "l2Norm",
  "rotate",
  "sigmoidMul",
  "addScaled",
  "scale",
  "ternaryGroupsWide",
  "geluMul",
  "ternaryVnni",
  "scanVnni",
] as const;

/** How often kernels were called; those that were not are left out. */
export type KernelCalls = Readonly<Partial<Record<(typeof COUNTED_KERNELS)[number], number>>>;

/** Bytes of a thread's counters, u64: whole cache lines. */
export const COUNTER_BYTES = Math.ceil((COUNTED_KERNELS.length * 8) / 64) * 64;

/** The sums over all threads, [threads] of COUNTER_BYTES at `at`. Every thread must be behind a barrier. @internal not in the published types */
export function readCounters(memory: WebAssembly.Memory, at: number, threads: number): number[] {
  const sums = new Array<number>(COUNTED_KERNELS.length).fill(0);
  for (let thread = 0; thread < threads; thread++) {
    const own = new BigUint64Array(memory.buffer, at + thread * COUNTER_BYTES, COUNTED_KERNELS.length);
    for (const [kernel, calls] of own.entries()) sums[kernel]! += Number(calls);
  }
  return sums;
}

/** The calls between two readings; of the scalar path, which has no counters, none. */
export function callsBetween(before: readonly number[], after: readonly number[]): KernelCalls {
  return Object.fromEntries(
    after.flatMap((calls, kernel) => (calls === before[kernel] ? [] : [[COUNTED_KERNELS[kernel]!, calls - before[kernel]!]])),
  );
}
