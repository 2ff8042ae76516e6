import { BitnetError } from "../../errors.js";
import type { FileUrl } from "../../options.js";
import { type ByteSink, type ByteSource, changed, type FileStamp, requireRange, type SyncSource } from "../files.js";
import { isBlob, type Mounted, mountedAt, release } from "./mounts.js";
import { storedFile } from "./store.js";
import { type SyncAccess, syncAccess, syncReader } from "./worker-scope.js";

/** A file that a worker is to read, as it can be sent to one. */
export type OpenFile = File | Blob | FileSystemFileHandle;

const strict = new TextDecoder("utf-8", { fatal: true });

export function isUtf8(bytes: Uint8Array): boolean {
  try {
    strict.decode(bytes);
    return true;
  } catch {
    return false;
  }
}

/** The files that are open in this thread, and how often. */
const open = new Map<string, { readonly file: OpenFile; readonly blob: Blob; uses: number }>();

/** What workers need to read files that are open here. */
export function openFiles(paths: readonly string[]): ReadonlyMap<string, OpenFile> {
  return new Map(paths.flatMap((path) => (open.has(path) ? [[path, open.get(path)!.file] as const] : [])));
}

function missing(path: string, cause?: unknown): BitnetError {
  return new BitnetError("usage", `${path}: no such file or directory; check the path`, { file: path }, { cause });
}

function unreadable(path: string, cause: unknown): BitnetError {
  if (cause instanceof BitnetError) return cause;
  const { name, message } = cause as Error;
  // A File whose bytes on the disk are others by now.
  if (name === "NotReadableError") return changed(path, ", or can't be read any more");
  if (name === "NotFoundError") return changed(path, ", and no longer exists");
  return new BitnetError("io", `${path} can't be read: ${message}`, { file: path }, { cause });
}

const scheme = (path: string): string | undefined => /^([a-z][a-z0-9+.-]+):/i.exec(path)?.[1]?.toLowerCase();

/** A file or directory at a path in what the page gave; undefined: there is none. */
async function find(path: string): Promise<Mounted | undefined> {
  const at = mountedAt(path);
  if (at === undefined) return undefined;
  let found: Mounted | undefined = at.mounted;
  if (found instanceof Map) return at.rest.length === 0 ? found : inMap(found, at.rest.join("/"));
  for (const [index, name] of at.rest.entries()) {
    if (isBlob(found) || !("getDirectoryHandle" in found)) return undefined;
    try {
      const isLast: boolean = index === at.rest.length - 1;
      found = isLast ? await childOf(found, name) : await found.getDirectoryHandle(name);
    } catch (error) {
      if (["NotFoundError", "TypeMismatchError", "TypeError"].includes((error as Error).name)) return undefined;
      throw unreadable(path, error);
    }
  }
  return found;
}

/** A File of a list, or those that are in a folder of it. */
function inMap(files: ReadonlyMap<string, Blob>, path: string): Mounted | undefined {
  const inside = [...files]
    .filter(([name]) => name.startsWith(`${path}/`))
    .map(([name, file]) => [name.slice(path.length + 1), file] as const);
  return files.get(path) ?? (inside.length > 0 ? new Map(inside) : undefined);
}

async function childOf(directory: FileSystemDirectoryHandle, name: string): Promise<Mounted> {
  try {
    return await directory.getFileHandle(name);
  } catch (error) {
    if ((error as Error).name !== "TypeMismatchError") throw error;
    return directory.getDirectoryHandle(name);
  }
}

/** The file that a path or URL means. What is at a URL is downloaded, unless it was before. @throws BitnetError */
async function fileAt(path: string): Promise<OpenFile> {
  const found = await find(path);
  if (found === undefined) {
    const protocol = scheme(path);
    if (protocol === "http" || protocol === "https") return storedFile(path);
    if (protocol === "blob" || protocol === "data") {
      const response = await fetch(path).catch((cause: unknown) => {
        throw missing(path, cause);
      });
      return response.blob();
    }
    throw missing(path);
  }
  if (isBlob(found) || "getFile" in found) return found;
  throw new BitnetError("io", `${path} is a directory, but a file is needed`, { file: path });
}

function stampOf(blob: Blob): FileStamp {
  return { device: 0, inode: 0, size: blob.size, modified: (blob as Partial<File>).lastModified ?? 0 };
}

/** Opens a file for reading. Throws `usage` if there is none, `io` if it can't be opened. */
export async function openSource(path: string, _lasting?: boolean): Promise<ByteSource> {
  let entry = open.get(path);
  if (entry === undefined) {
    const file = await fileAt(path);
    const blob = isBlob(file) ? file : await file.getFile().catch((error: unknown) => Promise.reject(unreadable(path, error)));
    entry = open.get(path) ?? { file, blob, uses: 0 };
    open.set(path, entry);
  }
  entry.uses++;
  const own = entry;
  const { blob } = entry;
  let isOpen = true;
  return {
    path,
    size: blob.size,
    stamp: stampOf(blob),
    async read(offset, length) {
      requireRange(path, blob.size, offset, length, isOpen);
      try {
        return new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer());
      } catch (error) {
        throw unreadable(path, error);
      }
    },
    async close() {
      if (!isOpen) return;
      isOpen = false;
      if (--own.uses > 0) return;
      open.delete(path);
      const root = `${path.split("/")[0]}/`;
      if (![...open.keys()].some((other) => `${other}/`.startsWith(root))) release(path);
    },
  };
}

/** In a worker: the files that it may read. A handle is faster, since FileReaderSync takes 1 ms whatever it reads. */
const readable = new Map<string, { readonly blob: Blob; readonly handle: SyncAccess | undefined }>();

/**
 * In a worker, before it may block: gets ready to read files.
 * @param isOften rows are read of them one by one
 */
export async function prepareFiles(files: ReadonlyMap<string, OpenFile>, isOften: boolean): Promise<void> {
  for (const [path, file] of files) {
    if (isBlob(file)) readable.set(path, { blob: file, handle: undefined });
    else readable.set(path, { blob: await file.getFile(), handle: isOften ? await handleOf(file) : undefined });
  }
}

/** Only files of the browser's own storage have such handles, and some browsers give one at a time. */
async function handleOf(file: FileSystemFileHandle): Promise<SyncAccess | undefined> {
  try {
    return await syncAccess(file, "read-only");
  } catch {
    return undefined; // the file itself can be read
  }
}

/** To read of a Blob takes some milliseconds, however little it is: so much is read at once where weights are loaded, piece by piece. */
const AHEAD_BYTES = 2 ** 23;
/** Shorter reads are single rows of a table. */
const LEAST_PIECE = 2 ** 16;

/** Reads parts of a Blob while the worker waits. */
function blobReader(blob: Blob): (offset: number, length: number) => Uint8Array {
  const reader = syncReader();
  const bytesOf = (from: number, to: number): Uint8Array => new Uint8Array(reader.readAsArrayBuffer(blob.slice(from, to)));
  let start = 0;
  let ahead = new Uint8Array(0); // from `start` on
  return (offset, length) => {
    if (length < LEAST_PIECE) return bytesOf(offset, offset + length);
    if (offset < start || offset + length > start + ahead.length) {
      start = offset;
      ahead = bytesOf(offset, offset + Math.max(length, AHEAD_BYTES)) as Uint8Array<ArrayBuffer>;
    }
    return ahead.subarray(offset - start, offset - start + length);
  };
}

/** `openSource` for a worker, which may block: of files that `prepareFiles` was told. */
export function openSourceSync(path: string, stamp?: FileStamp): SyncSource {
  const entry = readable.get(path);
  if (entry === undefined) throw new BitnetError("internal", `${path} was not opened for this worker`, { file: path });
  const { blob, handle } = entry;
  const { size } = blob;
  if (stamp !== undefined && (stamp.size !== size || stamp.modified !== stampOf(blob).modified)) throw changed(path, "");
  const read = handle ? undefined : blobReader(blob);
  let isOpen = true;
  return {
    path,
    size,
    readInto(target, offset) {
      requireRange(path, size, offset, target.length, isOpen);
      try {
        if (read) return target.set(read(offset, target.length));
        for (let done = 0; done < target.length; ) {
          const got = handle!.read(done === 0 ? target : target.subarray(done), { at: offset + done });
          if (got === 0) throw changed(path, `, and now ends at byte ${offset + done}`, offset + done);
          done += got;
        }
      } catch (error) {
        throw unreadable(path, error);
      }
    },
    check() {
      if (handle && handle.getSize() !== size) throw changed(path, "");
    },
    close() {
      isOpen = false;
    },
  };
}

/** What a path names. Throws `usage` if there is nothing. */
export async function pathKind(path: string): Promise<"file" | "directory"> {
  const found = await find(path);
  if (found === undefined) {
    if (scheme(path) === undefined) throw missing(path);
    return "file"; // a URL: whether there is something shows when it is opened
  }
  return isBlob(found) || "getFile" in found ? "file" : "directory";
}

/** Names of what is in a directory, sorted by code unit. */
export async function listDirectory(path: string): Promise<string[]> {
  const found = await find(path);
  if (found instanceof Map) return [...new Set([...found.keys()].map((name) => name.split("/")[0]!))].sort();
  if (found === undefined || isBlob(found) || !("getDirectoryHandle" in found)) throw missing(path);
  const names: string[] = [];
  try {
    for await (const name of found.keys()) names.push(name);
  } catch (error) {
    throw unreadable(path, error);
  }
  return names.sort();
}

/** The path of a file in a directory. */
export function inDirectory(directory: string, name: string): string {
  return directory === "" ? name : `${directory}/${name}`;
}

/** The directory that a file is in. */
export function directoryOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf("/")));
}

/** The name of the directory that a file is in. */
export function directoryName(path: string): string {
  return fileName(directoryOf(path));
}

/** The last part of a path. */
export function fileName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

function noWriting(path: string): BitnetError {
  return new BitnetError("unsupported", `${path} can't be written: a page writes no files; use Node or the command line`, { file: path });
}

export function requireReplaceable(path: string): void {
  throw noWriting(path);
}

export async function writeAtomic(path: string, _fill: (sink: ByteSink) => Promise<void>): Promise<void> {
  throw noWriting(path);
}

export async function writeDirectory<T>(path: string, _fill: (temporary: string) => Promise<T>): Promise<T> {
  throw noWriting(path);
}

/** Whether two paths that exist lead to one file or directory. */
export async function isSame(a: string, b: string): Promise<boolean> {
  return a === b;
}

/** The URL of a file. */
export function pathOfUrl(url: FileUrl): string {
  return url.href;
}

/** The URL of a file of this package. */
export function packageFile(_what: string, url: () => FileUrl): string {
  return url().href;
}
