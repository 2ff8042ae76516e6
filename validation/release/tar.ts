import { crc32 } from "node:zlib";
import { BitnetError } from "../../engine/errors.js";

/** A file of an archive. */
export interface ArchiveFile {
  /** With `/`; at most 100 bytes. */
  readonly path: string;
  readonly data: Uint8Array;
}

const BLOCK = 512;
/** POSIX.1-1988 has 100 bytes for a name; the prefix that could add to it is not used. */
const MAX_NAME = 100;
/** tar pads its end to whole records of 20 blocks. */
const RECORD = 20 * BLOCK;

/**
 * A ustar archive (POSIX.1-1988): sorted by path, every file of one time (seconds since 1970), owner 0, mode 644. Equal files give equal bytes.
 * @throws BitnetError internal: a path is too long
 */
export function tar(files: readonly ArchiveFile[], time: number): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const { path, data } of files.toSorted((a, b) => (a.path < b.path ? -1 : 1))) {
    parts.push(header(path, data.length, time), data, new Uint8Array(-data.length & (BLOCK - 1)));
  }
  parts.push(new Uint8Array(2 * BLOCK));
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const rest = (RECORD - (length % RECORD)) % RECORD;
  return Buffer.concat([...parts, new Uint8Array(rest)]);
}

function header(path: string, size: number, time: number): Uint8Array {
  const block = Buffer.alloc(BLOCK);
  if (Buffer.byteLength(path) > MAX_NAME) throw new BitnetError("internal", `${path}: its name is too long for an archive`);
  const octal = (value: number, at: number, length: number): void => {
    block.write(`${value.toString(8).padStart(length - 1, "0")}\0`, at, "latin1");
  };
  block.write(path, 0, "utf8");
  octal(0o644, 100, 8);
  octal(0, 108, 8); // uid
  octal(0, 116, 8); // gid
  octal(size, 124, 12);
  octal(time, 136, 12);
  block.fill(" ", 148, 156); // the checksum counts as spaces
  block.write("0", 156, "latin1"); // a plain file
  block.write("ustar\x0000", 257, "latin1");
  octal(0, 329, 8); // device numbers
  octal(0, 337, 8);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}

/** Longest block that is stored as it is. */
const STORED = 0xffff;

/**
 * A gzip file (RFC 1952) whose data is stored, not compressed: what a compressor makes of the same bytes depends on its version and its
 * processor, and an archive shall be the same everywhere. No name, no time, no system.
 */
export function gzip(data: Uint8Array): Uint8Array {
  const parts: Uint8Array[] = [Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff)];
  for (let at = 0; at === 0 || at < data.length; at += STORED) {
    const piece = data.subarray(at, at + STORED);
    const head = Buffer.alloc(5);
    head.writeUInt8(at + STORED >= data.length ? 1 : 0, 0); // the last one says so
    head.writeUInt16LE(piece.length, 1);
    head.writeUInt16LE(~piece.length & 0xffff, 3);
    parts.push(head, piece);
  }
  const end = Buffer.alloc(8);
  end.writeUInt32LE(crc32(data), 0);
  end.writeUInt32LE(data.length % 2 ** 32, 4);
  return Buffer.concat([...parts, end]);
}
