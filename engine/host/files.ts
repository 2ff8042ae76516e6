import { BitnetError } from "../errors.js";
import type { FileUrl } from "../options.js";

/** What a page opens: a File or any Blob. Named by its parts so that the types need no DOM. */
export interface WebFile {
  readonly size: number;
  readonly type: string;
  slice(start?: number, end?: number): WebFile;
  arrayBuffer(): Promise<ArrayBuffer>;
}

/** A FileSystemFileHandle or FileSystemDirectoryHandle of a page. */
export interface WebHandle {
  readonly kind: "file" | "directory";
  readonly name: string;
}

/**
 * Where a file is. In Node: a path, or a file: URL, as an object or as the text that `import.meta.resolve` gives. In a page: a URL, a File or
 * Blob, a handle of a file or directory, or the Files of a directory.
 */
export type FilePath = string | FileUrl | WebFile | WebHandle | readonly WebFile[];

/** What tells a state of a file from others without reading it. Its ctime does not: it changes when the file loses its name. */
export interface FileStamp {
  readonly device: number;
  readonly inode: number;
  readonly size: number;
  /** Last change of the content, ms since 1970. */
  readonly modified: number;
}

/** Random access to the bytes of one file, for headers and small tensors. */
export interface ByteSource {
  readonly path: string;
  /** Bytes in the file when it was opened. */
  readonly size: number;
  /** Its state when it was opened. */
  readonly stamp: FileStamp;
  /**
   * Exactly `length` bytes from `offset`, in a buffer of their own. Throws `file` for a range the file doesn't have, and if the file was changed
   * since it was opened; `io` if it can't be read.
   */
  read(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>>;
  /** Idempotent. */
  close(): Promise<void>;
}

/** The same for a worker that reads weights straight into linear memory, and may block. */
export interface SyncSource {
  readonly path: string;
  readonly size: number;
  /** Fills `target`, which may view a SharedArrayBuffer, with the bytes from `offset` on. Whether they are still those of the beginning `check` says. */
  readInto(target: Uint8Array, offset: number): void;
  /** Throws `file` if the file was changed since it was opened, or since the stamp was taken that it was opened with. */
  check(): void;
  close(): void;
}

/** Where a writer puts its bytes, in order. */
export interface ByteSink {
  /** Writes all of it; returns how many bytes that were. */
  write(data: Uint8Array | AsyncIterable<Uint8Array>): Promise<number>;
}

/** @throws BitnetError closed: the file isn't open any more; file: it doesn't have the range */
export function requireRange(path: string, size: number, offset: number, length: number, open: boolean): void {
  if (!open) throw new BitnetError("closed", `${path} was closed before it was read`, { file: path });
  // Written so that NaN fails too.
  if (!(offset >= 0 && length >= 0 && offset + length <= size && Number.isSafeInteger(offset) && Number.isSafeInteger(length))) {
    throw new BitnetError(
      "file",
      `${path}: ${length} bytes are needed from byte ${offset}, but the file has only ${size}: it is truncated or damaged`,
      {
        file: path,
        offset,
      },
    );
  }
}

export function isSameState(a: FileStamp, b: FileStamp): boolean {
  return a.modified === b.modified && a.size === b.size && a.inode === b.inode && a.device === b.device;
}

/** The error of a file that is no longer what it was when it was opened. @param now what it is, ", and now …" */
export function changed(path: string, now: string, offset?: number): BitnetError {
  return new BitnetError("file", `${path} was changed while it was in use${now}; load it again when nothing writes to it`, {
    file: path,
    offset,
  });
}

/** The same, of one that ended before all was read. */
export const shrunk = (path: string, offset: number): BitnetError => changed(path, `, and now ends at byte ${offset}`, offset);
