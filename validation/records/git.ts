import { existsSync, lstatSync, readdirSync, readFileSync, readlinkSync, type Stats, statSync } from "node:fs";
import { isAbsolute, join, resolve } from "node:path";
import { readIndex } from "./git-index.js";
import { hashObject, readObject } from "./git-objects.js";
import { untrackedFiles } from "./git-untracked.js";

// Git's own formats, as far as they say which commit a clone is at and whether it was changed since; no git is needed, nor run.
// Read by hand: isomorphic-git has 40 packages, fails on an index of version 4 and on borrowed objects, and takes each file in a linked worktree for a new one.

/** Where a clone stands. */
export interface GitState {
  /** Id of HEAD, 40 hex. */
  readonly commit: string;
  /** Of the commit, by its committer: seconds since 1970. */
  readonly time: number;
  /** Branch that HEAD is on; null if on none. */
  readonly branch: string | null;
  /** Tracked files that are not as in HEAD, by path from the root; null where that can't be told (split or sparse index). For others see `gitUntracked`. */
  readonly changed: readonly string[] | null;
}

/** The state of the clone whose root is `root`; undefined if there is none, or one that has no commit or can't be read. */
export function gitState(root: string): GitState | undefined {
  try {
    const folders = findGit(root);
    if (!folders) return undefined;
    const { commit, branch } = readHead(folders);
    if (commit === undefined) return undefined;
    const { type, data } = readObject(objectFolders(folders.common), commit);
    const text = data.toString("latin1");
    const [, tree] = text.match(/^tree ([0-9a-f]{40})$/m) ?? [];
    const [, time] = text.match(/^committer .* (\d+) [+-]\d{4}$/m) ?? [];
    if (type !== "commit" || tree === undefined || time === undefined) return undefined;
    return { commit, time: Number(time), branch, changed: changedFiles(root, folders, tree) };
  } catch {
    return undefined; // a repository in a format that came later, or a damaged one: nothing is known of it
  }
}

/** Files that are neither tracked nor ignored (see `untrackedFiles`); null if unknown. */
export function gitUntracked(root: string): string[] | null {
  try {
    const folders = findGit(root);
    const tracked = gitTracked(root);
    return folders && tracked ? untrackedFiles(root, tracked, readIfThere(join(folders.common, "info/exclude")) ?? "") : null;
  } catch {
    return null;
  }
}

/** Paths of the tracked files; undefined if unknown. */
export function gitTracked(root: string): ReadonlySet<string> | undefined {
  const folders = findGit(root);
  const index = folders && readIndex(readFileSync(join(folders.own, "index")));
  return index && new Set(index.entries.map(({ path }) => path));
}

/** A file of HEAD; undefined if there is none. */
export function gitFile(root: string, path: string): Buffer | undefined {
  const folders = findGit(root);
  const commit = folders && readHead(folders).commit;
  if (commit === undefined) return undefined;
  const objects = objectFolders(folders!.common);
  let id: string | undefined = readObject(objects, commit)
    .data.toString("latin1")
    .match(/^tree ([0-9a-f]{40})$/m)?.[1];
  for (const name of path.split("/")) {
    if (id === undefined) return undefined;
    id = entryOf(readObject(objects, id).data, name);
  }
  return id === undefined ? undefined : readObject(objects, id).data;
}

/** The id of a tree's entry, of the form `mode name\0` and 20 bytes. */
function entryOf(tree: Buffer, name: string): string | undefined {
  for (let at = 0; at < tree.length; ) {
    const end = tree.indexOf(0, at);
    if (end < 0) return undefined;
    const entry = tree.toString("utf8", at, end);
    if (entry.slice(entry.indexOf(" ") + 1) === name) return tree.toString("hex", end + 1, end + 21);
    at = end + 21;
  }
  return undefined;
}

/** Names of the tags. */
export function gitTags(root: string): string[] {
  const folders = findGit(root);
  if (!folders) return [];
  const packed = readIfThere(join(folders.common, "packed-refs"))?.match(/ refs\/tags\/\S+$/gm) ?? [];
  const loose = join(folders.common, "refs/tags");
  const names = existsSync(loose) ? readdirSync(loose, { recursive: true, encoding: "utf8" }) : [];
  return [...packed.map((line) => line.slice(" refs/tags/".length)), ...names.map((name) => name.replaceAll("\\", "/"))].sort();
}

/** A working tree's own folder, and the one that all working trees of a repository share. */
interface GitFolders {
  readonly own: string;
  readonly common: string;
}

function findGit(root: string): GitFolders | undefined {
  const at = join(root, ".git");
  const kind = statSync(at, { throwIfNoEntry: false });
  if (!kind) return undefined;
  if (kind.isDirectory()) return { own: at, common: at };
  const own = resolve(
    root,
    readFileSync(at, "utf8")
      .replace(/^gitdir: /, "")
      .trim(),
  );
  const common = readIfThere(join(own, "commondir"))?.trim();
  return { own, common: common === undefined ? own : resolve(own, common) };
}

function readIfThere(path: string): string | undefined {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ? readFileSync(path, "utf8") : undefined;
}

/** How often a symbolic ref may lead to another. */
const MAX_LINKS = 5;

function readHead({ own, common }: GitFolders): { readonly commit: string | undefined; readonly branch: string | null } {
  let text = readFileSync(join(own, "HEAD"), "utf8").trim();
  let branch: string | null = null;
  for (let links = 0; text.startsWith("ref: ") && links < MAX_LINKS; links++) {
    const ref = text.slice("ref: ".length);
    branch = ref.replace(/^refs\/heads\//, "");
    text = (readIfThere(join(own, ref)) ?? readIfThere(join(common, ref)) ?? packedRef(common, ref) ?? "").trim();
  }
  return { commit: /^[0-9a-f]{40}$/.test(text) ? text : undefined, branch };
}

function packedRef(common: string, ref: string): string | undefined {
  const lines = readIfThere(join(common, "packed-refs"))?.split("\n") ?? [];
  return lines.find((line) => line.endsWith(` ${ref}`))?.slice(0, 40);
}

/** Where objects lie: the repository's own folder, and those that it borrows from. */
function objectFolders(common: string): string[] {
  const folders = [join(common, "objects")];
  for (let i = 0; i < folders.length && i < 2 * MAX_LINKS; i++) {
    const lent = readIfThere(join(folders[i]!, "info/alternates")) ?? "";
    for (const line of lent.split("\n")) {
      if (line !== "" && !line.startsWith("#")) folders.push(isAbsolute(line) ? line : join(folders[i]!, line));
    }
  }
  return folders;
}

/** Files of the index that differ from the tree of HEAD or on the disk. */
function changedFiles(root: string, { own, common }: GitFolders, headTree: string): string[] | null {
  const path = join(own, "index");
  const written = statSync(path, { throwIfNoEntry: false, bigint: true });
  if (!written) return null;
  const index = readIndex(readFileSync(path));
  if (!index) return null;
  // On file systems without executable bits, git's settings say so.
  const modes = process.platform !== "win32" && !/^\s*filemode\s*=\s*false\s*$/im.test(readIfThere(join(common, "config")) ?? "");
  const changed = index.entries
    .filter((entry) => {
      const file = lstatSync(join(root, entry.path), { throwIfNoEntry: false, bigint: true });
      if (!file) return true;
      if (entry.mode === SUBMODULE) return isSubmoduleChanged(join(root, entry.path), entry.id);
      if (modes && file.isFile() && (file.mode & 0o100n) !== BigInt(entry.mode & 0o100)) return true;
      // As in git: same size and times as when it was hashed, and not so recent that it could have changed right after.
      const same = BigInt(entry.size) === file.size && entry.modified === file.mtimeNs && entry.changed === file.ctimeNs;
      if (same && entry.modified < written.mtimeNs) return false;
      return !sameContent(join(root, entry.path), entry.mode, entry.id);
    })
    .map((entry) => entry.path);
  // What is staged, file by file, is not asked for: the index either is the tree of HEAD or isn't.
  return index.tree() === headTree ? changed : [...changed, "(staged)"];
}

const SUBMODULE = 0o160000;
const LINK = 0o120000;

/** Whether a submodule is at another commit, or changed itself. If it was not fetched, it is an empty folder. */
function isSubmoduleChanged(root: string, id: string): boolean {
  if (!existsSync(join(root, ".git"))) return !lstatSync(root).isDirectory() || readdirSync(root).length > 0;
  const state = gitState(root);
  return state?.commit !== id || state.changed?.length !== 0 || gitUntracked(root)?.length !== 0;
}

function sameContent(path: string, mode: number, id: string): boolean {
  const stats: Stats = lstatSync(path);
  if (stats.isSymbolicLink() !== (mode === LINK) || stats.isDirectory()) return false;
  const data = mode === LINK ? Buffer.from(readlinkSync(path)) : readFileSync(path);
  if (hashObject("blob", data) === id) return true;
  // A clone on Windows may have line ends of its own.
  return process.platform === "win32" && hashObject("blob", Buffer.from(data.toString("latin1").replaceAll("\r\n", "\n"), "latin1")) === id;
}
