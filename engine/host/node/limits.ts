import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { type CgroupLimits, NO_LIMITS, readCgroupLimits } from "./cgroup.js";

let cgroup: CgroupLimits | undefined;

/** What the cgroups of this process allow, as it was at the first call. */
function cgroupLimits(): CgroupLimits {
  cgroup ??= process.platform === "linux" ? readCgroupLimits(readIfPossible) : NO_LIMITS;
  return cgroup;
}

/** Processors that this process may use, its affinity considered. */
export function processors(): number {
  return availableParallelism();
}

/** Why no more than one thread can run, if the host is why. */
export function whyOneThread(): string | undefined {
  return undefined;
}

/** CPU time per time that its cgroups allow; Infinity: no quota. */
export function cpuQuota(): number {
  return cgroupLimits().cpus;
}

/** Bytes of memory that its cgroups leave to this process, beyond what it has; Infinity: no limit. */
export function memoryLeft(): number {
  return Math.max(0, cgroupLimits().memory - process.memoryUsage.rss());
}

/** Bytes of addresses that this process may have (`ulimit -v`); Infinity: no limit, or none that could be read. */
export function addressLimit(limits = readIfPossible("/proc/self/limits") ?? ""): number {
  const [, soft] = limits.match(/^Max address space +(\d{1,20}) /m) ?? [];
  return soft === undefined ? Infinity : Number(soft);
}

function readIfPossible(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
