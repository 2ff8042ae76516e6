import { hashObject } from "./git-objects.js";

/** A tracked file, as git last saw it. */
export interface IndexEntry {
  /** From the root, with `/`. */
  readonly path: string;
  /** As in a tree: 0o100644, 0o100755, 0o120000 (link), 0o160000 (submodule). */
  readonly mode: number;
  /** Of its content, 40 hex. */
  readonly id: string;
  /** Times since 1970 in nanoseconds: mtime, of its content, and ctime, which no program can set back. */
  readonly modified: bigint;
  readonly changed: bigint;
  /** In bytes, modulo 2³². */
  readonly size: number;
}

/** A clone's index. */
export interface GitIndex {
  readonly entries: readonly IndexEntry[];
  /** Id of the tree that a commit of it would have. */
  tree(): string;
}

/** Bytes of the fixed part of an entry, up to its flags. */
const FIXED = 62;

/**
 * Reads an index, versions 2 to 4 (gitformat-index). undefined: one in parts (split, sparse), with unmerged or merely intended files, or of a
 * later version.
 */
export function readIndex(bytes: Buffer): GitIndex | undefined {
  if (bytes.toString("latin1", 0, 4) !== "DIRC") return undefined;
  const version = bytes.readUInt32BE(4);
  const count = bytes.readUInt32BE(8);
  if (version < 2 || version > 4) return undefined;
  const entries: IndexEntry[] = [];
  let at = 12;
  let path = "";
  for (let i = 0; i < count; i++) {
    const begin = at;
    const flags = bytes.readUInt16BE(at + 60);
    const extended = (flags & 0x4000) !== 0 ? bytes.readUInt16BE(at + FIXED) : 0;
    if ((flags & 0x3000) !== 0 || (extended & 0x6000) !== 0) return undefined; // unmerged, left out of the tree on disk, or intended
    at += (flags & 0x4000) !== 0 ? FIXED + 2 : FIXED;
    let kept = 0;
    if (version === 4) {
      const cut = varint(bytes, at);
      at = cut.next;
      kept = path.length - cut.value;
    }
    const end = bytes.indexOf(0, at);
    path = path.slice(0, kept) + bytes.toString("latin1", at, end); // bytes as letters: what is cut is counted in bytes
    entries.push({
      path: Buffer.from(path, "latin1").toString("utf8"),
      mode: bytes.readUInt32BE(begin + 24),
      id: bytes.toString("hex", begin + 40, begin + 60),
      modified: nanoseconds(bytes, begin + 8),
      changed: nanoseconds(bytes, begin),
      size: bytes.readUInt32BE(begin + 36),
    });
    at = version === 4 ? end + 1 : begin + (((end - begin) | 7) + 1); // up to seven more zeros
  }
  // What a small letter begins can't be left out: of those, a split index and a sparse one have files elsewhere.
  for (; at + 8 <= bytes.length - 20; at += 8 + bytes.readUInt32BE(at + 4)) {
    if (/^[a-z]/.test(bytes.toString("latin1", at, at + 1))) return undefined;
  }
  return { entries, tree: () => treeOf(entries, "") };
}

/** A time, stored as seconds and nanoseconds. */
function nanoseconds(bytes: Buffer, at: number): bigint {
  return BigInt(bytes.readUInt32BE(at)) * 1_000_000_000n + BigInt(bytes.readUInt32BE(at + 4));
}

/** Git's numbers of variable length, most significant first. */
function varint(bytes: Buffer, from: number): { readonly value: number; readonly next: number } {
  let next = from;
  let byte = bytes.readUInt8(next++);
  let value = byte & 0x7f;
  while (byte & 0x80) {
    byte = bytes.readUInt8(next++);
    value = (value + 1) * 128 + (byte & 0x7f);
  }
  return { value, next };
}

/** Id of the tree of the entries under a folder (`a/b/`); they are sorted by path, so that a folder's lie together. */
function treeOf(entries: readonly IndexEntry[], folder: string): string {
  const items: { readonly name: Buffer; readonly mode: string; readonly id: string }[] = [];
  for (let i = 0; i < entries.length; ) {
    const { path, mode, id } = entries[i]!;
    const [name, ...below] = path.slice(folder.length).split("/");
    if (below.length === 0) {
      items.push({ name: Buffer.from(name!), mode: mode.toString(8), id });
      i++;
      continue;
    }
    const inside = `${folder}${name!}/`;
    let end = i;
    while (end < entries.length && entries[end]!.path.startsWith(inside)) end++;
    items.push({ name: Buffer.from(name!), mode: "40000", id: treeOf(entries.slice(i, end), inside) });
    i = end;
  }
  const data = Buffer.concat(
    items.flatMap(({ name, mode, id }) => [Buffer.from(`${mode} `), name, Buffer.from([0]), Buffer.from(id, "hex")]),
  );
  return hashObject("tree", data);
}
