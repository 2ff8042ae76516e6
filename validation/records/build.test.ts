import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { BUILT, sourceHashes } from "./build.js";

const settings = (name: string) => JSON.parse(readFileSync(name, "utf8")) as { readonly include: string[]; readonly files: string[] };

it("knows the sources of every room that is compiled and published", () => {
  const compiled = settings("tsconfig.json").include.map((pattern) => pattern.split("/")[0]!);
  const known = Object.keys(sourceHashes(".")).flatMap((path) => (path.endsWith(".ts") ? [path.split("/")[0]!] : []));
  expect([...new Set(known)].toSorted()).toEqual(compiled.filter((room) => !["bench", "web"].includes(room)).toSorted());
});

it("knows every published file of dist/ but itself", () => {
  const published = settings("package.json").files.filter((pattern) => pattern.startsWith("dist/") && pattern !== "dist/build.json");
  expect(published.length).toBeGreaterThan(5);
  const example = (pattern: string): string =>
    pattern
      .replace("**", "a/b")
      .replace("*", "c")
      .replace(/bundle$/, "bundle/d.js");
  expect(published.map(example).filter((path) => !BUILT.test(path))).toEqual([]);
});
