import { cpuQuota, processors } from "#host/limits.js";

/** More threads than this wait for each other longer than they help: a token of a 2B model has some 300 barriers. */
const MOST_THREADS = 16;

/** What bounds the threads that can run at once. */
export interface Cpus {
  /** Processors that this process may use, its affinity considered. */
  readonly processors: number;
  /** CPU time per time that its cgroups allow; Infinity: no quota. */
  readonly quota: number;
}

function ownCpus(): Cpus {
  return { processors: processors(), quota: cpuQuota() };
}

/**
 * As many threads as can run at once, at most what helps. A quota is rounded down, as newer Nodes do themselves: one thread more would use it
 * up early in each period, and then all threads stand still until the next.
 */
export function defaultThreads({ processors, quota } = ownCpus()): number {
  return Math.max(1, Math.min(processors, Math.floor(quota), MOST_THREADS));
}

/**
 * How many of the threads that a user asks for compute: those that can run at once, a quota rounded up. One more can only wait for a CPU while
 * the others wait for it at every barrier, and every thread computes what belongs to a lone row: with 8 threads on 1 CPU a token takes ten
 * times as long as with 1.
 */
export function usefulThreads(asked: number, { processors, quota } = ownCpus()): number {
  return Math.max(1, Math.min(asked, processors, Math.ceil(quota)));
}
