import { afterAll, beforeAll, expect, it } from "vitest";
import { Clone } from "../acceptance/clone.test.helper.js";
import { checkVersion, isAtMost, isVersion } from "./version.js";

const clone = new Clone(); // package.json and changelog of its HEAD have 0.1.0
beforeAll(() => clone.make());
afterAll(() => clone.remove());

const fault = (version: string): string | undefined => {
  try {
    checkVersion(clone.root, version);
    return undefined;
  } catch (error) {
    expect(error).toMatchObject({ code: "usage" });
    return (error as Error).message;
  }
};

it("takes what is newer than package and changelog, by numbers", () => {
  for (const version of ["0.1.1", "0.2.0", "0.10.0", "1.0.0"]) expect(fault(version)).toBeUndefined();
  for (const version of ["0.1.0", "0.0.9"])
    expect(fault(version)).toMatch(/^\S+ is not newer than 0\.1\.0, which is the version of package\.json in HEAD/);
  expect(fault("1.0")).toMatch(/not a version/);
});

it("and than every tag; one of a pre-release is before its version", () => {
  clone.put(".git/refs/tags/v0.9.0", `${clone.commit}\n`);
  clone.put(
    ".git/packed-refs",
    `${clone.commit} refs/tags/v0.10.0\n${clone.commit} refs/tags/v2.0.0-rc.1\n${clone.commit} refs/tags/nightly\n`,
  );
  expect(fault("0.9.1")).toMatch(/0\.9\.1 is not newer than v0\.10\.0, which is tagged/);
  expect(fault("0.10.0")).toMatch(/v0\.10\.0/);
  expect(fault("1.9.9")).toMatch(/v2\.0\.0-rc\.1/);
  expect(fault("2.0.0")).toBeUndefined();
  clone.put(".git/refs/tags/V3.0.0", `${clone.commit}\n`);
  expect(fault("2.0.0")).toMatch(/2\.0\.0 is not newer than V3\.0\.0/);
});

it("is written as Semantic Versioning and registries have it, and is no pre-release", () => {
  for (const version of ["0.0.0", "1.2.3", "10.20.30", `1.0.${Number.MAX_SAFE_INTEGER}`]) expect(isVersion(version), version).toBe(true);
  for (const version of [
    ...[
      "",
      "1",
      "1.2",
      "1.2.3.4",
      "v1.2.3",
      "V1.2.3",
      "=1.2.3",
      " 1.2.3",
      "1.2.3 ",
      "1.2.3\n",
      "01.2.3",
      "1.02.3",
      "1.2.03",
      "-1.2.3",
      "1.2.x",
    ],
    ...["1.2.3-rc.1", "1.2.3+build", "1.2.3-0", "1,2,3", "１.2.3", "1e3.0.0", "0x1.0.0", "9007199254740992.0.0", `1.0.${"9".repeat(300)}`],
  ]) {
    expect(isVersion(version), version).toBe(false);
    expect(fault(version), version).toMatch(/is not a version like 1\.2\.3: give three numbers without v, leading zeros/);
  }
});

it("a record is at most as new as its release", () => {
  for (const [one, other] of [
    ["0.1.0", "0.2.0"],
    ["0.2.0", "0.2.0"],
    ["0.2.0-rc.1", "0.2.0"],
    ["0.9.0", "0.10.0"],
  ] as const)
    expect(isAtMost(one, other), `${one} ${other}`).toBe(true);
  for (const [one, other] of [
    ["0.2.1", "0.2.0"],
    ["1.0.0", "0.9.9"],
    ["x", "0.2.0"],
  ] as const)
    expect(isAtMost(one, other)).toBe(false);
});
