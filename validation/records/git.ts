import { lstatSync, readFileSync, readlinkSync, type Stats, statSync } from "node:fs";
import { isAbsolute, join, resolve } from "node:path";
import { readIndex } from "./git-index.js";
import { hashObject, readObject } from "./git-objects.js";

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
  /** Tracked files that are not as in HEAD, by path from the root; null where that can't be told (split or sparse index). Untracked files don't count. */
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
    return { commit, time: Number(time), branch, changed: changedFiles(root, folders.own, tree) };
  } catch {
    return undefined; // a repository in a format that came later, or a damaged one: nothing is known of it
  }
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
function changedFiles(root: string, own: string, headTree: string): string[] | null {
  const path = join(own, "index");
  const written = statSync(path, { throwIfNoEntry: false, bigint: true });
  if (!written) return null;
  const index = readIndex(readFileSync(path));
  if (!index) return null;
  const changed = index.entries
    .filter((entry) => {
      const file = lstatSync(join(root, entry.path), { throwIfNoEntry: false, bigint: true });
      if (!file) return entry.mode !== SUBMODULE;
      if (entry.mode === SUBMODULE) return false; // a clone of its own
      // As git: same size and time as when it was hashed, and not so late that it could have changed right after.
      const seen = entry.seconds * 1_000_000_000n + entry.nanoseconds;
      if (BigInt(entry.size) === file.size && seen === file.mtimeNs && seen < written.mtimeNs) return false;
      return !sameContent(join(root, entry.path), entry.mode, entry.id);
    })
    .map((entry) => entry.path);
  // What is staged, file by file, is not asked for: the index either is the tree of HEAD or isn't.
  return index.tree() === headTree ? changed : [...changed, "(staged)"];
}

const SUBMODULE = 0o160000;
const LINK = 0o120000;

function sameContent(path: string, mode: number, id: string): boolean {
  const stats: Stats = lstatSync(path);
  if (stats.isSymbolicLink() !== (mode === LINK) || stats.isDirectory()) return false;
  const data = mode === LINK ? Buffer.from(readlinkSync(path)) : readFileSync(path);
  if (hashObject("blob", data) === id) return true;
  // A clone on Windows may have line ends of its own.
  return process.platform === "win32" && hashObject("blob", Buffer.from(data.toString("latin1").replaceAll("\r\n", "\n"), "latin1")) === id;
}
