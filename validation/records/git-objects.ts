import { createHash } from "node:crypto";
import { closeSync, openSync, readdirSync, readFileSync, readSync, statSync } from "node:fs";
import { join } from "node:path";
import { constants, inflateSync } from "node:zlib";

/** An object of a repository. */
export interface GitObject {
  readonly type: string;
  readonly data: Buffer;
}

const TYPES: Readonly<Record<number, string>> = { 1: "commit", 2: "tree", 3: "blob", 4: "tag" };
/** Delta to an object at an offset before this one; delta to an object by its id. */
const OFFSET_DELTA = 6;
const ID_DELTA = 7;
/** Longest object that is read: commits are below 1 MB. */
const MAX_OBJECT = 16 * 2 ** 20;

/** The id of an object: 40 hex. */
export function hashObject(type: "blob" | "tree", data: Uint8Array): string {
  return createHash("sha1").update(`${type} ${data.length}\0`).update(data).digest("hex");
}

/** Reads an object by its id, 40 hex, loose or packed. @throws Error if it is nowhere, or not readable */
export function readObject(folders: readonly string[], id: string): GitObject {
  for (const folder of folders) {
    const loose = join(folder, id.slice(0, 2), id.slice(2));
    if (statSync(loose, { throwIfNoEntry: false })) return parseLoose(readFileSync(loose));
  }
  for (const folder of folders) {
    for (const name of listPacks(join(folder, "pack"))) {
      const offset = findInPack(readFileSync(`${name}.idx`), id);
      if (offset !== undefined) return readPacked(`${name}.pack`, offset, folders);
    }
  }
  throw new Error(`there is no object ${id}`);
}

function parseLoose(bytes: Buffer): GitObject {
  const raw = inflateSync(bytes, { maxOutputLength: MAX_OBJECT });
  const end = raw.indexOf(0);
  return { type: raw.toString("latin1", 0, end).split(" ")[0]!, data: raw.subarray(end + 1) };
}

/** Paths of the packs, without their endings. */
function listPacks(folder: string): string[] {
  if (!statSync(folder, { throwIfNoEntry: false })) return [];
  const names = readdirSync(folder).filter((name) => name.endsWith(".idx"));
  return names.map((name) => join(folder, name.slice(0, -".idx".length)));
}

/** Where an object lies in a pack, by the pack's index of version 2 (gitformat-pack); undefined: not in it. */
function findInPack(index: Buffer, id: string): number | undefined {
  if (index.readUInt32BE(0) !== 0xff744f63 || index.readUInt32BE(4) !== 2) return undefined;
  const wanted = Buffer.from(id, "hex");
  const fanout = (byte: number): number => (byte < 0 ? 0 : index.readUInt32BE(8 + 4 * byte));
  const count = fanout(255);
  const ids = 8 + 4 * 256;
  for (let i = fanout(wanted[0]! - 1); i < fanout(wanted[0]!); i++) {
    if (index.compare(wanted, 0, 20, ids + 20 * i, ids + 20 * i + 20) !== 0) continue;
    const offsets = ids + 24 * count;
    const offset = index.readUInt32BE(offsets + 4 * i);
    if (offset < 0x8000_0000) return offset;
    return Number(index.readBigUInt64BE(offsets + 4 * count + 8 * (offset - 0x8000_0000)));
  }
  return undefined;
}

function readPacked(path: string, offset: number, folders: readonly string[]): GitObject {
  const head = readSome(path, offset, 64);
  let at = 0;
  let byte = head.readUInt8(at++);
  const type = (byte >> 4) & 7;
  let size = byte & 15;
  for (let shift = 4; byte & 0x80; shift += 7) {
    byte = head.readUInt8(at++);
    size += (byte & 0x7f) * 2 ** shift;
  }
  let base: GitObject | undefined;
  if (type === OFFSET_DELTA) {
    byte = head.readUInt8(at++);
    let back = byte & 0x7f;
    while (byte & 0x80) {
      byte = head.readUInt8(at++);
      back = (back + 1) * 128 + (byte & 0x7f);
    }
    base = readPacked(path, offset - back, folders);
  } else if (type === ID_DELTA) {
    base = readObject(folders, head.toString("hex", at, at + 20));
    at += 20;
  }
  if (size > MAX_OBJECT) throw new Error(`an object of ${size} bytes is too large`);
  // The length of the compressed form is not stored: it is at most a little longer than its contents.
  const data = inflateSync(readSome(path, offset + at, size + (size >> 8) + 64), {
    maxOutputLength: MAX_OBJECT,
    finishFlush: constants.Z_SYNC_FLUSH,
  });
  if (base) return { type: base.type, data: applyDelta(base.data, data) };
  return { type: TYPES[type] ?? "unknown", data };
}

function readSome(path: string, offset: number, length: number): Buffer {
  const file = openSync(path, "r");
  try {
    const bytes = Buffer.alloc(length);
    return bytes.subarray(0, readSync(file, bytes, 0, length, offset));
  } finally {
    closeSync(file);
  }
}

/** What a delta makes of its base: pieces of the base, and of its own. */
export function applyDelta(base: Buffer, delta: Buffer): Buffer {
  let at = 0;
  const length = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = delta.readUInt8(at++);
      value += (byte & 0x7f) * 2 ** shift;
      if (!(byte & 0x80)) return value;
    }
  };
  if (length() !== base.length) throw new Error("a delta of another object");
  const size = length();
  const pieces: Buffer[] = [];
  while (at < delta.length) {
    const code = delta.readUInt8(at++);
    if (code & 0x80) {
      // Which bytes of offset and size are there, the low ones first.
      const number = (from: number, bytes: number): number => {
        let value = 0;
        for (let i = 0; i < bytes; i++) if (code & (1 << (from + i))) value += delta.readUInt8(at++) * 2 ** (8 * i);
        return value;
      };
      const offset = number(0, 4);
      const count = number(4, 3) || 0x10000;
      pieces.push(base.subarray(offset, offset + count));
    } else {
      pieces.push(delta.subarray(at, at + code));
      at += code;
    }
  }
  const data = Buffer.concat(pieces);
  if (data.length !== size) throw new Error("a delta that is cut off");
  return data;
}
