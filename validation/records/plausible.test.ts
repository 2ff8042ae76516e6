import { expect, it } from "vitest";
import { implausible } from "./plausible.js";
import type { Provenance } from "./provenance.js";
import { PROVENANCE } from "./records.test.helper.js";

const now = new Date("2026-12-01T12:00:00Z");
const base: Provenance = { ...PROVENANCE, schema_version: 1, node: "v20.20.2", date: "2026-11-30T10:00:00.000Z" };

it("nothing contradicts in what a machine wrote", () => {
  expect(implausible(base, now)).toBeUndefined();
  expect(implausible({ ...base, date: "2026-12-02T11:59:59Z" }, now)).toBeUndefined(); // its clock is ahead
  expect(implausible({ ...base, node: "v22.0.0", wsl2: true, platform: { ...base.platform, os: "linux" } }, now)).toBeUndefined();
  expect(implausible({ ...base, git_commit: "0123456789ab", git_dirty: null }, now)).toBeUndefined();
});

const platform = (change: Partial<Provenance["platform"]>): Partial<Provenance> => ({ platform: { ...base.platform, ...change } });
it.each<[change: Partial<Provenance>, said: string]>([
  [{ date: "2026-12-02T12:00:01Z" }, "provenance/date is 2026-12-02T12:00:01Z, which is in the future"],
  [{ date: "2026-11-21T23:59:59Z" }, "provenance/date is 2026-11-21T23:59:59Z, before the first version of this package (2026-11-22)"],
  [{ date: "2026-11-31T00:00:00Z" }, "provenance/date is 2026-11-31T00:00:00Z, which is not a date"],
  [{ date: "2026-11-30T25:00:00Z" }, "provenance/date is 2026-11-30T25:00:00Z, which is not a date"],
  [{ node: "v20.18.3" }, "provenance/node is v20.18.3, older than Node 20.19"],
  [{ node: "v18.20.0" }, "provenance/node is v18.20.0, older than Node 20.19"],
  [platform({ os: "templeos" }), 'provenance/platform/os is "templeos", which is no system that Node runs on'],
  [platform({ arch: "z80" }), 'provenance/platform/arch is "z80", which is no processor that Node runs on'],
  [{ wsl2: true, ...platform({ os: "darwin" }) }, "provenance/wsl2 is true, but platform/os is darwin"],
  [{ threads: 9, kernel_tier: "plain", ...platform({ cores: 8 }) }, "provenance/threads is 9, but platform/cores is 8"],
  [{ threads: null, kernel_tier: "plain" }, "provenance/threads and kernel_tier must both be null, or neither"],
  [{ git_commit: null, git_dirty: false }, "provenance/git_dirty is false, but git_commit is null"],
  [{ model_hash: "0".repeat(16) }, "provenance/model_hash is not the start of model_sha256"],
])("refuses %j", (change, said) => {
  expect(implausible({ ...base, ...change }, now)).toBe(said);
});
