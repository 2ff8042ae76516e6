import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { type PlacedFile, placeFiles } from "./place.js";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "bitnet-place-"));
  writeFileSync(join(root, "a.txt"), "old");
});
afterEach(() => rmSync(root, { recursive: true }));

const file = (path: string, before: string | null): PlacedFile => ({
  path,
  before: before === null ? null : Buffer.from(before),
  after: Buffer.from("new"),
});
const files = (): string[] => readdirSync(root, { recursive: true, encoding: "utf8" }).sort();

it("puts files into a tree, and leaves nothing else", async () => {
  await placeFiles(root, [file("a.txt", "old"), file("b/c.txt", null)]);
  expect(files()).toEqual(["a.txt", "b", join("b", "c.txt")]);
  for (const path of ["a.txt", "b/c.txt"]) expect(readFileSync(join(root, path), "utf8")).toBe("new");
});

it("changes nothing where one of them can't be written", async () => {
  await expect(placeFiles(root, [file("a.txt", "old"), file("a.txt/c.txt", null)])).rejects.toMatchObject({
    code: "io",
    message: expect.stringContaining("c.txt"),
  });
  expect([files(), readFileSync(join(root, "a.txt"), "utf8")]).toEqual([["a.txt"], "old"]);
});

it("puts back what it has changed where the last one fails", async () => {
  mkdirSync(join(root, "z.txt/full"), { recursive: true }); // a folder can't be replaced
  await expect(placeFiles(root, [file("a.txt", "old"), file("b.txt", null), file("z.txt", null)])).rejects.toMatchObject({ code: "io" });
  expect([files(), readFileSync(join(root, "a.txt"), "utf8")]).toEqual([["a.txt", "z.txt", join("z.txt", "full")], "old"]);
});
