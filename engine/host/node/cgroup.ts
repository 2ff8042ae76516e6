/** What the control groups of Linux (cgroups) let this process use, all its threads together. */
export interface CgroupLimits {
  /** CPU time per time, such as 1.5; Infinity: no quota. */
  readonly cpus: number;
  /** Bytes of memory; Infinity: no limit. */
  readonly memory: number;
}

/** Text of a file under /proc or /sys, or undefined if it can't be read. */
export type ReadText = (path: string) => string | undefined;

export const NO_LIMITS: CgroupLimits = { cpus: Infinity, memory: Infinity };

/** More groups than this are not nested in each other. */
const MOST_LEVELS = 64;

/** A hierarchy of groups that this process is in. */
interface Mount {
  /** Where it is in the file system. */
  readonly at: string;
  /** The group that is its top there; "/" unless a container sees only its own. */
  readonly root: string;
  readonly version: 1 | 2;
  /** v1: its controllers, such as `cpu` and `cpuacct`. */
  readonly controllers: readonly string[];
}

/**
 * The least limits of this process's group and of all groups around it, of version 2 (cpu.max, memory.max) and 1 (cpu.cfs_quota_us over
 * cpu.cfs_period_us, memory.limit_in_bytes); see the kernel's admin-guide/cgroup-v2 and cgroup-v1. What can't be read or understood is no limit.
 */
export function readCgroupLimits(read: ReadText): CgroupLimits {
  const mounts = parseMounts(read("/proc/self/mountinfo") ?? "");
  const limits = { ...NO_LIMITS };
  // hierarchy:controllers:path; version 2 is the hierarchy 0, without controllers
  for (const [, hierarchy, list, path] of (read("/proc/self/cgroup") ?? "").matchAll(/^(\d+):([^:\n]*):(\/.*)$/gm)) {
    const version = hierarchy === "0" && list === "" ? 2 : 1;
    const controllers = list!.split(",");
    const has = (controller: string): boolean => version === 2 || controllers.includes(controller);
    if (!has("cpu") && !has("memory")) continue;
    const same = mounts.filter(
      (mount) => mount.version === version && (version === 2 || controllers.every((name) => mount.controllers.includes(name))),
    );
    const holding = same.filter(({ root }) => isInside(path!, root));
    // In none of them: a container that knows its group by another name than its mount. The mount's top is around it.
    const groups = holding.length > 0 ? holding.flatMap((mount) => groupsUpwards(mount, path!)) : same.map(({ at }) => at);
    for (const group of groups) {
      if (has("cpu")) limits.cpus = Math.min(limits.cpus, cpusOf(version, group, read));
      if (has("memory")) limits.memory = Math.min(limits.memory, memoryOf(version, group, read));
    }
  }
  return limits;
}

/** The cgroup mounts of /proc/self/mountinfo (proc_pid_mountinfo(5)). */
function parseMounts(text: string): Mount[] {
  return text.split("\n").flatMap((line): Mount[] => {
    const fields = line.split(" ");
    const end = fields.indexOf("-"); // behind optional fields
    const [root, at, type, options] = [fields[3], fields[4], fields[end + 1], fields[end + 3]];
    if (end < 6 || root === undefined || at === undefined || !/^cgroup2?$/.test(type ?? "")) return [];
    return [{ at: unquote(at), root: unquote(root), version: type === "cgroup2" ? 2 : 1, controllers: (options ?? "").split(",") }];
  });
}

/** Space, tab, line end and backslash are octal there. */
function unquote(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

function isInside(path: string, root: string): boolean {
  return root === "/" || path === root || path.startsWith(`${root}/`);
}

/** The directories of a group and of those around it, up to the mount's top. */
function groupsUpwards({ at, root }: Mount, path: string): string[] {
  const names = path
    .slice(root.length)
    .split("/")
    .filter((name) => name !== "");
  if (names.includes("..") || names.length > MOST_LEVELS) return [at];
  return Array.from({ length: names.length + 1 }, (_, up) => [at, ...names.slice(0, names.length - up)].join("/"));
}

function cpusOf(version: 1 | 2, group: string, read: ReadText): number {
  if (version === 2) {
    const [quota, period = "100000"] = (read(`${group}/cpu.max`) ?? "").trim().split(/\s+/);
    return ratio(quota, period);
  }
  return ratio(read(`${group}/cpu.cfs_quota_us`)?.trim(), read(`${group}/cpu.cfs_period_us`)?.trim());
}

/** `max` and −1 are no quota. */
function ratio(quota: string | undefined, period: string | undefined): number {
  const share = wholeNumber(quota) / wholeNumber(period);
  return share > 0 ? share : Infinity;
}

/** Without a limit, version 1 says a number of almost 2^63. */
function memoryOf(version: 1 | 2, group: string, read: ReadText): number {
  const bytes = wholeNumber(read(`${group}/${version === 2 ? "memory.max" : "memory.limit_in_bytes"}`)?.trim());
  return bytes < 2 ** 60 ? bytes : Infinity;
}

function wholeNumber(text: string | undefined): number {
  return text !== undefined && /^\d{1,20}$/.test(text) ? Number(text) : Number.NaN;
}
