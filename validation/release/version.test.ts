import { afterAll, beforeAll, expect, it } from "vitest";
import { Clone } from "../acceptance/clone.test.helper.js";
import { checkVersion } from "./version.js";

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
});
