import { cpSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { THOROUGH } from "../../engine/thorough.test.helper.js";
import { Clone } from "../acceptance/clone.test.helper.js";
import { publishedFiles } from "../records/build.js";
import { integrity, packNpm } from "./npm.js";

// That it packs the package as it is, and takes it, is tried by the gates (npm run gates), and by cli/package.test.ts step by step.

const clone = new Clone();
beforeAll(() => clone.make());
afterAll(() => clone.remove());

// npm takes seconds: CI runs it.
it.runIf(THOROUGH)("installs what would be published, and refuses it if it does not run or has another version", async () => {
  await expect(packNpm(clone.root, clone.folder, "0.1.0", undefined)).rejects.toMatchObject({
    code: "acceptance",
    message: expect.stringMatching(/^the npm package does not run: /),
  });
  cpSync("dist/bundle/bitnet.cjs", join(clone.root, "dist/bundle/bitnet.cjs"));
  await expect(packNpm(clone.root, clone.folder, "9.9.9", undefined)).rejects.toMatchObject({
    code: "acceptance",
    message: "the npm package has version 0.1.0 instead of 9.9.9",
  });
});

it("publishes what a release adds to the tree", () => {
  const overlay = join(clone.folder, "overlay");
  mkdirSync(join(overlay, "docs"), { recursive: true });
  writeFileSync(join(overlay, "docs/new.svg"), "<svg/>");
  expect(publishedFiles(clone.root)).not.toContain("docs/new.svg");
  expect(publishedFiles(clone.root, overlay)).toEqual([...publishedFiles(clone.root), "docs/new.svg"].sort());
});

it("has the digest of npm registries", () => {
  expect(integrity(Buffer.from("abc"))).toBe(
    "sha512-3a81oZNherrMQXNJriBBMRLm+k6JqX6iCp7u5ktV05ohkpkqJ0/BqDa6PCOj/uu9RU1EI2Q86A4qmslPpUyknw==",
  );
});
