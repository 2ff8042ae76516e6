import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, open, readdir, realpath, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { requireReplaceable } from "#host/files.js";
import { readBytes } from "../../engine/container/source.js";
import { BitnetError } from "../../engine/errors.js";
import { systemReason } from "../../engine/system-reason.js";

export { requireReplaceable };

/** The part of a file's name that its temporaries repeat: names have an end. */
const NAME_PART = 100;

/**
 * Writes a file whole or not at all: under a temporary name in the same directory, which is made if need be, until all is on the disk. What
 * a run that was killed left behind under such a name is removed. @throws BitnetError io
 */
export async function writeWhole(path: string, data: string | Uint8Array): Promise<void> {
  requireReplaceable(path);
  const temporary = temporaryPath(path);
  try {
    await mkdir(dirname(path), { recursive: true });
    await removeStale(path);
    const handle = await open(temporary, "wx");
    try {
      await handle.writeFile(data);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined); // the first error says it
    throw ioFailure("write", path, error);
  }
}

/**
 * All bytes of a file that a user named: a regular one, since a pipe or a device may have no end, or never begin.
 * @throws BitnetError io; file: it has more than `maxBytes`
 */
export async function readWhole(path: string, maxBytes: number): Promise<Uint8Array> {
  try {
    return await readBytes(path, maxBytes);
  } catch (error) {
    const { cause } = error as { readonly cause?: NodeJS.ErrnoException }; // what the system said, if it did
    throw cause?.code === "ENOENT" ? ioFailure("read", path, cause) : error;
  }
}

/** Where a file is: in an overlay, whose files replace those of the root, or else in the root. */
export function placeIn(root: string, overlay: string | undefined, path: string): string {
  const put = overlay === undefined ? undefined : join(overlay, path);
  return put !== undefined && existsSync(put) ? put : join(root, path);
}

/** A new name beside `path` for what is not whole yet. */
export function temporaryPath(path: string): string {
  return join(dirname(path), `.${basename(path).slice(0, NAME_PART)}.${process.pid}-${randomBytes(4).toString("hex")}.tmp`);
}

/** A new folder in the system's temporary folder; folders of the same name that killed runs left are removed. */
export async function temporaryFolder(name: string): Promise<string> {
  const path = join(await realpath(tmpdir()), name);
  await removeStale(path).catch(() => undefined); // another user's
  const folder = temporaryPath(path);
  await mkdir(folder).catch((error: unknown) => {
    throw ioFailure("write", folder, error);
  });
  return folder;
}

/** The temporaries of `path` whose process has ended. */
export async function staleOf(path: string): Promise<string[]> {
  const begin = `.${basename(path).slice(0, NAME_PART)}.`;
  const names = await readdir(dirname(path)).catch(() => []);
  const stale = names.filter((name) => {
    const [, pid] = (name.startsWith(begin) && name.slice(begin.length).match(/^(\d+)-[0-9a-f]{8}\.tmp$/)) || [];
    return pid !== undefined && !isRunning(Number(pid));
  });
  return stale.map((name) => join(dirname(path), name));
}

/** Removes them. */
export async function removeStale(path: string): Promise<void> {
  for (const stale of await staleOf(path)) await rm(stale, { force: true, recursive: true });
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0); // asks, and sends nothing
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM"; // belongs to another user
  }
}

/** The system's refusal to read or write a file, in one sentence. */
export function ioFailure(doing: "read" | "write", path: string, error: unknown): BitnetError {
  if (error instanceof BitnetError) return error;
  return new BitnetError("io", `can't ${doing} ${path}: ${systemReason(error)}`, { file: path }, { cause: error });
}
