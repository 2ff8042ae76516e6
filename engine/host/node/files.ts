import { isUtf8 as isBufferUtf8 } from "node:buffer";
import { closeSync, constants, existsSync, fstatSync, lstatSync, openSync, readSync, type Stats, statSync } from "node:fs";
import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { BitnetError } from "../../errors.js";
import type { FileUrl } from "../../options.js";
import { systemReason } from "../../system-reason.js";
import { type ByteSink, type ByteSource, changed, type FileStamp, isSameState, requireRange, type SyncSource, shrunk } from "../files.js";

export function isUtf8(bytes: Uint8Array): boolean {
  return isBufferUtf8(bytes);
}

/** Maximum bytes of one system call: Node refuses 2 GiB and more. */
const MAX_CALL_BYTES = 2 ** 30;

/** What the system said about `path`, as an error for the user. */
function systemError(error: unknown, path: string, doing: "read" | "written"): BitnetError {
  if (error instanceof BitnetError) return error;
  // Not asked whether it is an Error: in a test runner's realm, Node's errors are of another class.
  const code = String((error as { readonly code?: unknown }).code ?? "");
  const options = { cause: error };
  if (code === "ENOENT" && doing === "read" && lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink()) {
    return new BitnetError(
      "io",
      `${path} is a symbolic link to a file that does not exist; the download may be incomplete`,
      { file: path },
      options,
    );
  }
  if (code === "ENOENT" || code === "ENOTDIR" || code === "ENAMETOOLONG" || code === "ERR_INVALID_ARG_VALUE") {
    const what = doing === "read" ? ": no such file or directory" : " can't be written: its directory does not exist";
    return new BitnetError("usage", `${path}${what}; check the path`, { file: path }, options);
  }
  return new BitnetError("io", `${path} can't be ${doing}: ${systemReason(error)}`, { file: path }, options);
}

/** A FIFO or a device has no size and may block for ever: refuse before opening. */
function requireFile(path: string, stats: Stats): void {
  if (stats.isFile()) return;
  const what = stats.isDirectory()
    ? "is a directory, but a file is needed"
    : stats.isFIFO()
      ? "is a pipe, not a regular file"
      : stats.isSocket()
        ? "is a socket, not a regular file"
        : "is a device, not a regular file";
  throw new BitnetError("io", `${path} ${what}`, { file: path });
}

/**
 * For what is to be written under a name: a file may be replaced, but a pipe, a device or a directory would be taken away.
 * @throws BitnetError io
 */
export function requireReplaceable(path: string): void {
  let stats: Stats | undefined;
  try {
    stats = statSync(path, { throwIfNoEntry: false });
  } catch {
    return; // whoever writes will be told why
  }
  if (stats) requireFile(path, stats);
}

function stampOf({ dev, ino, size, mtimeMs }: Stats): FileStamp {
  return { device: dev, inode: ino, size, modified: mtimeMs };
}

/** Two writes in one tick of the system's clock give a file the same time: the longest tick in use, ms. */
const TICK_MS = 10;

/** A FIFO that took the place of a file since it was looked at must not block. (Windows has no such flag, and no such files.) */
const OPEN_FLAGS = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);

/**
 * Opens a file for reading. Throws `usage` if there is none, `io` if it can't be opened or isn't a regular file.
 * @param lasting what is read later has to go with what is read now: a file of this very moment is given time to show another write
 */
export async function openSource(path: string, lasting = false): Promise<ByteSource> {
  let handle: FileHandle | undefined;
  let stamp: FileStamp;
  try {
    requireFile(path, await stat(path)); // before it is opened: that alone makes some devices do things
    handle = await open(path, OPEN_FLAGS);
    let stats = await handle.stat();
    requireFile(path, stats);
    const wait = stats.mtimeMs + TICK_MS - Date.now();
    if (lasting && wait > 0 && wait <= TICK_MS) {
      await sleep(wait);
      stats = await handle.stat();
    }
    stamp = stampOf(stats);
  } catch (error) {
    await handle?.close();
    throw systemError(error, path, "read");
  }
  const { size } = stamp;
  const file = handle;
  let isOpen = true;
  return {
    path,
    size,
    stamp,
    async read(offset, length) {
      requireRange(path, size, offset, length, isOpen);
      const bytes = new Uint8Array(length);
      try {
        for (let done = 0; done < length; ) {
          const got = (await file.read(bytes, done, Math.min(length - done, MAX_CALL_BYTES), offset + done)).bytesRead;
          if (got === 0) throw shrunk(path, offset + done);
          done += got;
        }
        if (!isSameState(stamp, stampOf(await file.stat()))) throw changed(path, "");
      } catch (error) {
        throw systemError(error, path, "read");
      }
      return bytes;
    },
    async close() {
      if (!isOpen) return;
      isOpen = false;
      await file.close();
    },
  };
}

/** `openSource` for a thread that may block. @param stamp the state that the file must still have; throws `file` if it hasn't */
export function openSourceSync(path: string, stamp?: FileStamp): SyncSource {
  let fd: number | undefined;
  let first: FileStamp;
  try {
    requireFile(path, statSync(path));
    fd = openSync(path, OPEN_FLAGS);
    const stats = fstatSync(fd);
    requireFile(path, stats);
    first = stampOf(stats);
    if (stamp !== undefined && !isSameState(stamp, first)) throw changed(path, "");
  } catch (error) {
    if (fd !== undefined) closeSync(fd);
    if (stamp !== undefined && error instanceof Error && "code" in error && error.code === "ENOENT")
      throw changed(path, ", and no longer exists");
    throw systemError(error, path, "read");
  }
  const { size } = first;
  const file = fd;
  let isOpen = true;
  return {
    path,
    size,
    readInto(target, offset) {
      requireRange(path, size, offset, target.length, isOpen);
      for (let done = 0; done < target.length; ) {
        let got: number;
        try {
          got = readSync(file, target, done, Math.min(target.length - done, MAX_CALL_BYTES), offset + done);
        } catch (error) {
          throw systemError(error, path, "read");
        }
        if (got === 0) throw shrunk(path, offset + done);
        done += got;
      }
    },
    check() {
      if (!isSameState(first, stampOf(fstatSync(file)))) throw changed(path, "");
    },
    close() {
      if (!isOpen) return;
      isOpen = false;
      closeSync(file);
    },
  };
}

/** What a path names. Throws `usage` if there is nothing. */
export async function pathKind(path: string): Promise<"file" | "directory"> {
  try {
    return (await stat(path)).isDirectory() ? "directory" : "file";
  } catch (error) {
    throw systemError(error, path, "read");
  }
}

/** Names of what is in a directory, sorted by code unit. */
export async function listDirectory(path: string): Promise<string[]> {
  try {
    return (await readdir(path)).sort();
  } catch (error) {
    throw systemError(error, path, "read");
  }
}

/** The path of a file in a directory. */
export function inDirectory(directory: string, name: string): string {
  return join(directory, name);
}

/** The directory that a file is in. */
export function directoryOf(path: string): string {
  return dirname(path);
}

/** The name of the directory that a file is in, whole paths considered. */
export function directoryName(path: string): string {
  return basename(dirname(resolve(path)));
}

/** The last part of a path. */
export function fileName(path: string): string {
  return basename(path);
}

/**
 * Writes a file whole or not at all: `fill` writes to a temporary file in the same directory, which takes the name `path` when all is on the
 * disk, and is removed on any error. Throws what `fill` throws, `usage` if the directory doesn't exist, `io` if the system refuses.
 */
export async function writeAtomic(path: string, fill: (sink: ByteSink) => Promise<void>): Promise<void> {
  requireReplaceable(path);
  const { randomUUID } = await import("node:crypto");
  const temporary = join(dirname(path), `.${basename(path).slice(0, 100)}.${randomUUID()}.tmp`);
  let handle: FileHandle;
  try {
    handle = await open(temporary, "wx");
  } catch (error) {
    throw systemError(error, path, "written");
  }

  async function writeAll(bytes: Uint8Array): Promise<number> {
    try {
      for (let done = 0; done < bytes.length; ) {
        done += (await handle.write(bytes, done, Math.min(bytes.length - done, MAX_CALL_BYTES))).bytesWritten;
      }
    } catch (error) {
      throw systemError(error, path, "written");
    }
    return bytes.length;
  }

  try {
    await fill({
      async write(data) {
        if (data instanceof Uint8Array) return writeAll(data);
        let total = 0;
        for await (const piece of data) total += await writeAll(piece);
        return total;
      },
    });
    try {
      await handle.sync();
      await handle.close();
      await rename(temporary, path);
    } catch (error) {
      throw systemError(error, path, "written");
    }
  } catch (error) {
    await handle.close().catch(() => undefined); // the first error says it
    await rm(temporary, { force: true });
    throw error;
  }
}

/**
 * Fills a directory whole or not at all: `fill` writes to a temporary one beside it, which takes the name `path` when it is done, and is removed on
 * any error. Gives what `fill` gives. If `path` is a directory already, the files go into it, over those of the same names, and what else is there stays. Errors as
 * `writeAtomic`.
 */
export async function writeDirectory<T>(path: string, fill: (temporary: string) => Promise<T>): Promise<T> {
  const { randomUUID } = await import("node:crypto");
  const target = resolve(path);
  const temporary = join(dirname(target), `.${basename(target).slice(0, 100)}.${randomUUID()}.tmp`);
  try {
    await mkdir(temporary);
  } catch (error) {
    throw systemError(error, path, "written");
  }
  try {
    const result = await fill(temporary);
    try {
      await rename(temporary, target).catch(async (error: unknown) => {
        if (!(await stat(target)).isDirectory()) throw error;
        for (const name of await readdir(temporary)) await rename(join(temporary, name), join(target, name));
        await rm(temporary, { recursive: true });
      });
    } catch (error) {
      throw systemError(error, path, "written");
    }
    return result;
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    throw error;
  }
}

/** Whether two paths that exist lead to one file or directory. */
export async function isSame(a: string, b: string): Promise<boolean> {
  const [first, second] = await Promise.all([stat(a, { bigint: true }), stat(b, { bigint: true })]);
  return first.ino === second.ino && first.dev === second.dev;
}

/** The path of a file: URL. Throws an Error that says why there is none. */
export function pathOfUrl(url: FileUrl): string {
  return fileURLToPath(url.href);
}

/**
 * The path of a file of this package. `url` is called only here: where a bundler took the URL of modules away it throws. Throws `io` if the file
 * isn't there.
 */
export function packageFile(what: string, url: () => FileUrl): string {
  let cause: unknown;
  try {
    const path = pathOfUrl(url());
    if (existsSync(path)) return path;
  } catch (error) {
    cause = error;
  }
  const message =
    `bitnet-ts can't find ${what}: it was bundled without its other files; mark the package "bitnet-ts" as external` +
    ` (esbuild: --external:bitnet-ts), so that it is loaded from node_modules`;
  throw new BitnetError("io", message, {}, { cause });
}
