import { describe, expect, test } from "vitest";
import { defaultThreads, usefulThreads } from "../../compute/cpus.js";
import { readCgroupLimits } from "./cgroup.js";

const V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";
const V1 = [
  "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct",
  "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory",
].join("\n");

/** The limits that these files give. */
function limitsOf(cgroup: string, mountinfo: string, files: Record<string, string> = {}) {
  const all: Record<string, string> = { "/proc/self/cgroup": cgroup, "/proc/self/mountinfo": mountinfo, ...files };
  return readCgroupLimits((path) => (Object.hasOwn(all, path) ? all[path] : undefined));
}
const cpusOf = (...files: Parameters<typeof limitsOf>): number => limitsOf(...files).cpus;
const memoryOf = (...files: Parameters<typeof limitsOf>): number => limitsOf(...files).memory;

describe("version 2", () => {
  test("quota over period, fractions too", () => {
    for (const [text, cpus] of [
      ["100000 100000\n", 1],
      ["150000 100000\n", 1.5],
      ["5000 10000", 0.5],
      ["400000", 4], // the period can be left out where it is written
      ["max 100000\n", Infinity],
      ["max", Infinity],
    ] as const)
      expect(cpusOf("0::/a\n", V2, { "/sys/fs/cgroup/a/cpu.max": text }), text).toBe(cpus);
  });

  test("the least of nested groups, wherever it is", () => {
    const files = { "/sys/fs/cgroup/a/b/c/cpu.max": "300000 100000", "/sys/fs/cgroup/a/b/cpu.max": "max 100000" };
    expect(cpusOf("0::/a/b/c\n", V2, files)).toBe(3);
    expect(cpusOf("0::/a/b/c\n", V2, { ...files, "/sys/fs/cgroup/a/cpu.max": "200000 100000" })).toBe(2);
    expect(cpusOf("0::/a/b\n", V2, files)).toBe(Infinity);
    expect(cpusOf("0::/\n", V2, { "/sys/fs/cgroup/cpu.max": "50000 100000" })).toBe(0.5); // in a container
  });

  test("memory", () => {
    const files = { "/sys/fs/cgroup/a/b/memory.max": "max\n", "/sys/fs/cgroup/a/memory.max": "1073741824\n" };
    expect(memoryOf("0::/a/b\n", V2, files)).toBe(2 ** 30);
    expect(memoryOf("0::/\n", V2, files)).toBe(Infinity);
  });
});

describe("version 1", () => {
  const cgroup = "4:memory:/m\n3:cpuset:/x\n2:cpu,cpuacct:/docker/ab\n1:name=systemd:/\n";
  test("quota over period; −1 is none", () => {
    const quota = "/sys/fs/cgroup/cpu,cpuacct/docker/ab/cpu.cfs_quota_us";
    const period = "/sys/fs/cgroup/cpu,cpuacct/docker/ab/cpu.cfs_period_us";
    expect(cpusOf(cgroup, V1, { [quota]: "250000\n", [period]: "100000\n" })).toBe(2.5);
    expect(cpusOf(cgroup, V1, { [quota]: "-1\n", [period]: "100000\n" })).toBe(Infinity);
    expect(cpusOf(cgroup, V1, { [quota]: "100000\n" })).toBe(Infinity);
    const outer = { "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000", "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "50000" };
    expect(cpusOf(cgroup, V1, { [quota]: "250000\n", [period]: "100000\n", ...outer })).toBe(1);
  });

  test("a container's mounts: its own group is their top", () => {
    const own = V1.replace("0:29 /", "0:29 /docker/ab");
    const files = { "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "100000", "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000" };
    expect(cpusOf(cgroup, own, files)).toBe(1);
    expect(cpusOf(cgroup.replace("/docker/ab", "/"), own, files)).toBe(1); // in a namespace that names it otherwise
    expect(cpusOf(cgroup.replace("/docker/ab", "/docker/ab/c"), own, files)).toBe(1);
    // Another mount shows another part of the hierarchy: its limits are not ours.
    const foreign = "40 31 0:29 /other /mnt/other rw - cgroup cgroup rw,cpu,cpuacct";
    const others = { "/mnt/other/cpu.cfs_quota_us": "10000", "/mnt/other/cpu.cfs_period_us": "100000" };
    expect(cpusOf(cgroup, `${V1}\n${foreign}`, others)).toBe(Infinity);
  });

  test("memory: a number near 2^63 is none", () => {
    const file = "/sys/fs/cgroup/memory/m/memory.limit_in_bytes";
    expect(memoryOf(cgroup, V1, { [file]: "536870912\n" })).toBe(2 ** 29);
    expect(memoryOf(cgroup, V1, { [file]: "9223372036854771712\n" })).toBe(Infinity);
  });

  test("beside version 2: the least of both", () => {
    const files = { "/sys/fs/cgroup/unified/cpu.max": "200000 100000", "/sys/fs/cgroup/memory/m/memory.limit_in_bytes": "1000" };
    const unified = V2.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified");
    expect(limitsOf(`${cgroup}0::/\n`, `${V1}\n${unified}`, files)).toEqual({ cpus: 2, memory: 1000 });
  });
});

test("what can't be read or understood is no limit", () => {
  const none = { cpus: Infinity, memory: Infinity };
  expect(readCgroupLimits(() => undefined)).toEqual(none);
  expect(limitsOf("", "")).toEqual(none);
  expect(limitsOf("0::/a\n", "")).toEqual(none);
  expect(limitsOf("0::/a\n", V2)).toEqual(none);
  for (const text of ["", "abc", "0 100000", "100000 0", "-5 100000", "1e3 100000", "100000 abc", "\0", "1".repeat(400)])
    expect(limitsOf("0::/a\n", V2, { "/sys/fs/cgroup/a/cpu.max": text, "/sys/fs/cgroup/a/memory.max": `x${text}` }), text).toEqual(none);
  for (const path of ["/../../etc", `/${"a/".repeat(5000)}`, "a", ""]) expect(limitsOf(`0::${path}\n`, V2), path).toEqual(none);
});

test("a mount point with a space in it", () => {
  expect(cpusOf("0::/a\n", V2.replace("/sys/fs/cgroup", "/mnt/c\\040g"), { "/mnt/c g/a/cpu.max": "100000 100000" })).toBe(1);
});

test("threads: what can run at once, a quota rounded down by default and up for what is asked", () => {
  for (const [processors, quota, standard, asked2, asked8] of [
    [8, Infinity, 8, 2, 8],
    [64, Infinity, 16, 2, 8],
    [8, 1, 1, 1, 1],
    [8, 1.5, 1, 2, 2],
    [8, 2.9, 2, 2, 3],
    [2, 4, 2, 2, 2],
    [8, 0.1, 1, 1, 1],
    [1, Infinity, 1, 1, 1],
  ] as const) {
    const cpus = { processors, quota };
    expect([defaultThreads(cpus), usefulThreads(2, cpus), usefulThreads(8, cpus)], JSON.stringify(cpus)).toEqual([
      standard,
      asked2,
      asked8,
    ]);
  }
});
