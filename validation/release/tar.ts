import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";
import { packTar } from "modern-tar";

/** A file of an archive. */
export interface ArchiveFile {
  /** With `/`. */
  readonly path: string;
  readonly data: Uint8Array;
}

/** A file, by its size and hash. */
export interface FileDigest {
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
}

export function digestOf(path: string, data: Uint8Array): FileDigest {
  return { path, bytes: data.length, sha256: createHash("sha256").update(data).digest("hex") };
}

/** A tar archive: sorted by path, every file of one time (seconds since 1970), owner 0, mode 644. Equal files give equal bytes. */
export function tar(files: readonly ArchiveFile[], time: number): Promise<Uint8Array> {
  const sorted = files.toSorted((a, b) => (a.path < b.path ? -1 : 1));
  const mtime = new Date(time * 1000);
  return packTar(
    sorted.map(({ path, data }) => ({
      header: { type: "file", name: path, size: data.length, mtime, mode: 0o644, uid: 0, gid: 0 },
      body: data,
    })),
  );
}

/** Longest block that is stored as it is. */
const STORED = 0xffff;

/**
 * A gzip file (RFC 1952) whose data is stored, not compressed, with no name, time or system. Written by hand because it must be the same
 * everywhere: what a compressor makes of the same bytes depends on its version and the processor, even where it only stores them.
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
