import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeEach, expect, it } from "vitest";
import { gitFile, gitState, gitTags, gitUntracked } from "./git.js";
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
  chmodSync(join(root, "run.sh"), 0o755);
  symlinkSync("a.txt", join(root, "link"));
});

/** Writes the index with a file's times as they are now, but for that of any change, which was `later` nanoseconds before. */
function seen(path: string, index: Buffer, later = 0n): void {
  const at = index.indexOf(`${path}\0`) - 62;
  const { mtimeNs, ctimeNs } = statSync(join(root, path), { bigint: true });
  for (const [i, time] of [ctimeNs - later, mtimeNs].entries()) {
    index.writeUInt32BE(Number(time / 1_000_000_000n), at + 8 * i);
    index.writeUInt32BE(Number(time % 1_000_000_000n), at + 8 * i + 4);
  }
  put(".git/index", index);
  utimesSync(join(root, ".git/index"), 4e9, 4e9); // long after
}

it("finds commit, time and branch, and nothing changed", () => {
  expect(gitState(root)).toEqual({ commit: HEAD, time: 1700000100, branch: "main", changed: [] });
  put("untracked.txt", "x");
  expect(gitState(root)?.changed).toEqual([]);
  expect(gitUntracked(root)).toEqual(["untracked.txt"]);
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

it("sees an edit of the same size whose time was put back, and a file that was made executable", () => {
  const index = Buffer.from(fixture.index2, "base64");
  put("a.txt", "4\n");
  seen("a.txt", index, 1n); // its size and time are those of the index, and the system saw the edit
  expect(gitState(root)?.changed).toEqual(["a.txt"]);
  put("a.txt", "3\n");
  if (process.platform === "win32") return;
  chmodSync(join(root, "a.txt"), 0o755);
  chmodSync(join(root, "run.sh"), 0o644);
  expect(gitState(root)?.changed).toEqual(["a.txt", "run.sh"]);
  put(".git/config", "[core]\n\tfilemode = false\n");
  expect(gitState(root)?.changed).toEqual([]);
});

it("goes by .gitignore, the deepest first, and info/exclude", () => {
  put(".gitignore", "*.log\n/top\nbuild/\n");
  put("a/.gitignore", "!keep.log\n");
  put(".git/info/exclude", "mine\n");
  for (const path of ["x.log", "a/x.log", "a/keep.log", "top", "a/top", "build/x", "a/build/x", "b/build", "mine", "new/deep/file"])
    put(path, "");
  put("repository/.git/HEAD", "");
  expect(gitUntracked(root)).toEqual([".gitignore", "a/.gitignore", "a/keep.log", "a/top", "b/build", "new/deep/file", "repository/"]);
  expect(gitUntracked(folder)).toBeNull();
});

it("a submodule is changed if it is at another commit, or changed itself", () => {
  const inside = root;
  const index = Buffer.from(fixture.index2, "base64");
  root = join(folder, String(clones++));
  cpSync(inside, root, { recursive: true, verbatimSymlinks: true });
  const at = index.indexOf("a.txt\0") - 62;
  index.writeUInt32BE(0o160000, at + 24);
  index.write(HEAD, at + 40, "hex");
  put(".git/index", index);
  rmSync(join(root, "a.txt"));
  const changed = () => gitState(root)?.changed?.filter((path) => path !== "(staged)");
  expect(changed()).toEqual(["a.txt"]); // gone
  mkdirSync(join(root, "a.txt"));
  expect(changed()).toEqual([]); // not fetched
  cpSync(inside, join(root, "a.txt"), { recursive: true, verbatimSymlinks: true });
  expect(changed()).toEqual([]);
  put("a.txt/more.txt", "");
  expect(changed()).toEqual(["a.txt"]);
  rmSync(join(root, "a.txt/more.txt"));
  put("a.txt/a.txt", "4\n");
  expect(changed()).toEqual(["a.txt"]);
  put("a.txt/a.txt", "3\n");
  index.write(PARENT, at + 40, "hex");
  put(".git/index", index);
  expect(changed()).toEqual(["a.txt"]);
});

it("finds tags, loose and packed, and files of HEAD", () => {
  expect(gitTags(root)).toEqual([]);
  put(".git/packed-refs", `${fixture.packedRefs}${HEAD} refs/tags/v0.1.0\n^${PARENT}\n`);
  put(".git/refs/tags/v0.2.0", `${HEAD}\n`);
  put(".git/refs/tags/old/v1", `${HEAD}\n`);
  expect(gitTags(root).filter((name) => name.includes("v"))).toEqual(["old/v1", "v0.1.0", "v0.2.0"]);
  expect(gitFile(root, "a/b/one.txt")?.toString()).toBe("one\n");
  expect([gitFile(root, "a/none"), gitFile(folder, "a.txt")]).toEqual([undefined, undefined]);
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
  chmodSync(join(root, "run.sh"), 0o755);
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
