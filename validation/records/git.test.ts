import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeEach, expect, it } from "vitest";
import { gitState } from "./git.js";
import { readIndex } from "./git-index.js";
import { applyDelta, hashObject } from "./git-objects.js";

// What git itself wrote, and what it says of it.
const fixture = JSON.parse(readFileSync("validation/fixtures/git.json", "utf8")) as Record<
  "name" | "pack" | "idx" | "packedRefs" | "index2" | "index4",
  string
>;
const HEAD = "e6592539f8237baafb32b0caf64b21972881efd5";
const TREE = "49b5811ea17941569c50a81994ac61a6556d20e7";
/** Stored as a delta to HEAD. */
const PARENT = "9f9dc76cc7ce522af35ff76681d6609728bcc066";
const FILES = { "a/b/one.txt": "one\n", "a-b/two.txt": "two\n", "a.txt": "3\n", "naïve.txt": "é", "run.sh": "run\n" };

const folder = mkdtempSync(join(tmpdir(), "bitnet-git-"));
afterAll(() => rmSync(folder, { recursive: true }));
let clones = 0;
let root: string;

function put(path: string, data: string | Uint8Array): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), data);
}

beforeEach(() => {
  root = join(folder, String(clones++));
  put(".git/HEAD", "ref: refs/heads/main\n");
  put(".git/packed-refs", fixture.packedRefs);
  put(".git/index", Buffer.from(fixture.index4, "base64"));
  put(`.git/objects/pack/${fixture.name}.pack`, Buffer.from(fixture.pack, "base64"));
  put(`.git/objects/pack/${fixture.name}.idx`, Buffer.from(fixture.idx, "base64"));
  for (const [path, text] of Object.entries(FILES)) put(path, text);
  symlinkSync("a.txt", join(root, "link"));
});

it("finds commit, time and branch, and nothing changed", () => {
  expect(gitState(root)).toEqual({ commit: HEAD, time: 1700000100, branch: "main", changed: [] });
  put("untracked.txt", "x");
  expect(gitState(root)?.changed).toEqual([]);
});

it("reads an index of version 2 as one of version 4, and makes git's tree of it", () => {
  const [two, four] = [fixture.index2, fixture.index4].map((index) => readIndex(Buffer.from(index, "base64"))!);
  expect(two!.entries.map(({ path }) => path)).toEqual(["a-b/two.txt", "a.txt", "a/b/one.txt", "link", "naïve.txt", "run.sh"]);
  expect(two!.entries.find(({ path }) => path === "run.sh")).toMatchObject({ mode: 0o100755, size: 4 });
  expect(four!.entries).toEqual(two!.entries);
  expect([two!.tree(), four!.tree()]).toEqual([TREE, TREE]);
});

it("names what was changed: by content, not by time", () => {
  put("a.txt", "4\n"); // as long as it was
  expect(gitState(root)?.changed).toEqual(["a.txt"]);
  put("a.txt", "3\n");
  utimesSync(join(root, "a.txt"), 1, 1);
  expect(gitState(root)?.changed).toEqual([]);
  rmSync(join(root, "a-b/two.txt"));
  rmSync(join(root, "link"));
  put("link", "a.txt"); // a file with the content of the link
  expect(gitState(root)?.changed).toEqual(["a-b/two.txt", "link"]);
});

it("reads a commit that is stored as a delta, and sees that the index is not its tree", () => {
  put(".git/HEAD", `${PARENT}\n`);
  expect(gitState(root)).toEqual({ commit: PARENT, time: 1700000000, branch: null, changed: ["(staged)"] });
});

it("finds the shared folder of a working tree of its own, and objects that are lent", () => {
  const main = root;
  root = join(folder, String(clones++));
  put(".git", `gitdir: ${join(main, ".git/worktrees/one")}\n`);
  for (const [path, text] of Object.entries(FILES)) put(path, text);
  symlinkSync("a.txt", join(root, "link"));
  const own = root;
  root = main;
  put(".git/worktrees/one/HEAD", "ref: refs/heads/main\n");
  put(".git/worktrees/one/commondir", "../..\n");
  put(".git/worktrees/one/index", Buffer.from(fixture.index2, "base64"));
  expect(gitState(own)).toMatchObject({ commit: HEAD, changed: [] });

  root = join(folder, String(clones++));
  put(".git/HEAD", HEAD);
  put(".git/objects/info/alternates", `${join(main, ".git/objects")}\n`);
  expect(gitState(root)).toEqual({ commit: HEAD, time: 1700000100, branch: null, changed: null });
});

it("knows nothing of a folder that is no clone, of one without a commit, and of a damaged one", () => {
  expect(gitState(folder)).toBeUndefined();
  put(".git/packed-refs", "");
  expect(gitState(root)).toBeUndefined();
  put(".git/packed-refs", fixture.packedRefs);
  put(`.git/objects/pack/${fixture.name}.pack`, Buffer.alloc(400));
  expect(gitState(root)).toBeUndefined();
});

it("does not say what it can't know: a split index has files elsewhere", () => {
  const index = Buffer.from(fixture.index2, "base64");
  const split = Buffer.concat([index.subarray(0, -20), Buffer.from("link\0\0\0\0"), Buffer.alloc(20)]);
  expect(readIndex(split)).toBeUndefined();
  put(".git/index", split);
  expect(gitState(root)).toMatchObject({ commit: HEAD, changed: null });
});

it("applies deltas: copies and insertions; refuses what doesn't fit", () => {
  const base = Buffer.from("0123456789");
  // 10 → 6: four from offset 2, then "AB".
  expect(applyDelta(base, Buffer.from([10, 6, 0x91, 2, 4, 2, 0x41, 0x42])).toString()).toBe("2345AB");
  expect(() => applyDelta(base, Buffer.from([9, 6, 0x91, 2, 4]))).toThrow(/another object/);
  expect(() => applyDelta(base, Buffer.from([10, 6, 0x91, 2, 4]))).toThrow(/cut off/);
  expect(hashObject("blob", Buffer.from("one\n"))).toBe("5626abf0f72e58d7a153368ba57db4c673c0e171");
});
