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
  "attendSpanK16",
  "storeKeyValueK16",
  "scanVnni",
  "refine",
] as const;

/** How often kernels were called; those that were not are left out. */
export type KernelCalls = Readonly<Partial<Record<(typeof COUNTED_KERNELS)[number], number>>>;

/** Counters behind those of the kernels: outputs from lists of what isn't 0, and their products. */
const LIST_COUNTERS = 2;

const COUNTERS = COUNTED_KERNELS.length + LIST_COUNTERS;

/** Bytes of a thread's counters, u64: whole cache lines. */
export const COUNTER_BYTES = Math.ceil((COUNTERS * 8) / 64) * 64;

/** Products of a weight and an activation in passes that look for zeros, and those of them that were left out, their activation being 0. */
export interface SkippedProducts {
  readonly sparseProducts: number;
  readonly skippedProducts: number;
}

/** The state of all counters. */
export interface Counters extends SkippedProducts {
  /** By COUNTED_KERNELS; empty on the scalar path, which counts nothing. */
  readonly calls: readonly number[];
}

/** Where nothing is counted. @internal not in the published types */
export const NO_COUNTERS: Counters = { calls: [], sparseProducts: 0, skippedProducts: 0 };

/**
 * The sums over all threads, [threads] of COUNTER_BYTES at `at`. Every thread must be behind a barrier.
 * @param inputs of the layers that look for zeros
 * @internal not in the published types
 */
export function readCounters(memory: WebAssembly.Memory, at: number, threads: number, inputs: number): Counters {
  const sums = new Array<number>(COUNTERS).fill(0);
  for (let thread = 0; thread < threads; thread++) {
    const own = new BigUint64Array(memory.buffer, at + thread * COUNTER_BYTES, COUNTERS);
    for (const [counter, value] of own.entries()) sums[counter]! += Number(value);
  }
  const [outputs, products] = sums.splice(COUNTED_KERNELS.length) as [number, number];
  return { calls: sums, sparseProducts: outputs * inputs, skippedProducts: outputs * inputs - products };
}

/** The calls between two readings; of the scalar path, which has no counters, none. */
export function callsBetween({ calls: before }: Counters, { calls: after }: Counters): KernelCalls {
  return Object.fromEntries(
    after.flatMap((calls, kernel) => (calls === before[kernel] ? [] : [[COUNTED_KERNELS[kernel]!, calls - before[kernel]!]])),
  );
}

/** What was left out between two readings. */
export function skippedBetween(before: SkippedProducts, after: SkippedProducts): SkippedProducts {
  return {
    sparseProducts: after.sparseProducts - before.sparseProducts,
    skippedProducts: after.skippedProducts - before.skippedProducts,
  };
}
