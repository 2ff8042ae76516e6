/**
 * A file that is being downloaded, in `partial/KEY.OWNER/`: `data`, as long as the whole file, and `state.json`, which says what of it is there. One
 * process writes it. A process that ends early gives it back; where one was killed, the next one takes it over by renaming its folder, which only
 * one of several can do.
 */
import { readFileSync, statSync } from "node:fs";
import { type FileHandle, mkdir, open, rename, rm, utimes } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { isSafePath } from "./paths.js";
import { folderNames, MAX_FILE_BYTES, storeError, writeWhole } from "./store.js";

/** How often its state is written, ms: a killed run loses so much. */
const SAVE_MS = 500;
/** A state that was written longer ago, ms, is of a process that is gone, or sleeps. */
const ABANDONED_MS = 60_000;

const STATE = "state.json";
const DATA = "data";
/** Stands in the place of an owner where there is none. */
const NOBODY = "0-0";

/** What is there of a file. */
export interface PartialState {
  readonly schema_version: 1;
  /** Of the model, as `nameText` spells it. */
  readonly name: string;
  /** Its path in the model. */
  readonly file: string;
  readonly size: number;
  /** Bytes of a part; the last one has fewer. */
  readonly part_bytes: number;
  /** What the server called this state of the file; null: nothing. */
  readonly etag: string | null;
  /** Bytes that are there of each part, from its beginning. */
  readonly reached: readonly number[];
}

/** An unfinished download. */
export interface Unfinished {
  readonly name: string;
  readonly file: string;
  /** Bytes that are there. */
  readonly done: number;
  readonly size: number;
  /** A process is at it. */
  readonly active: boolean;
}

interface Found extends Unfinished {
  readonly key: string;
  readonly folder: string;
}

/** Random ends of the names of what this process holds. */
const held = new Set<string>();

/** The partial was taken over by another process while this one slept. */
export class TakenOver extends Error {
  override readonly name = "TakenOver";
}

export class Partial {
  readonly #cache: string;
  readonly #key: string;
  readonly #mark: string;
  readonly #handle: FileHandle;
  readonly #timer: NodeJS.Timeout;
  readonly #base: Omit<PartialState, "etag" | "reached">;
  #folder: string;
  #saving: Promise<void> = Promise.resolve();
  #changed = true;
  #lost: Error | undefined;
  etag: string | null;
  /** Bytes that are there of each part. */
  readonly reached: number[];

  private constructor(cache: string, key: string, mark: string, folder: string, handle: FileHandle, state: PartialState) {
    const { etag, reached, ...base } = state;
    [this.#cache, this.#key, this.#mark, this.#folder, this.#handle, this.#base] = [cache, key, mark, folder, handle, base];
    this.etag = etag;
    this.reached = [...reached];
    this.#timer = setInterval(() => {
      this.#saving = this.#saving.then(() => this.#save());
    }, SAVE_MS);
    this.#timer.unref();
  }

  /**
   * Takes the partial of a file, an abandoned one if there is one. undefined: a living process has it.
   * @param key names the content: its hash, or that of its URL
   * @throws BitnetError io
   */
  static async take(
    cache: string,
    key: string,
    wanted: Pick<PartialState, "name" | "file" | "size" | "part_bytes">,
  ): Promise<Partial | undefined> {
    const { randomBytes } = await import("node:crypto");
    const root = join(cache, "partial");
    const mark = randomBytes(6).toString("hex");
    const folder = join(root, `${key}.${await thisHost()}-${process.pid}-${mark}`);
    held.add(mark);
    let handle: FileHandle | undefined;
    try {
      await mkdir(root, { recursive: true });
      const found = (await partials(cache)).filter((one) => one.key === key).sort((a, b) => b.done - a.done);
      let taken = false;
      if (found.some(({ active }) => active)) {
        held.delete(mark);
        return undefined;
      }
      for (const one of found) {
        if (taken || one.size !== wanted.size) await rm(one.folder, { recursive: true, force: true });
        else taken = await renamed(one.folder, folder);
      }
      if (!taken) await mkdir(folder);
      const whole = {
        schema_version: 1,
        ...wanted,
        etag: null,
        reached: Array.from({ length: Math.ceil(wanted.size / wanted.part_bytes) }, () => 0),
      } as const;
      const before = taken ? readState(folder) : undefined;
      handle = await open(join(folder, DATA), before ? "r+" : "w+").catch(() => open(join(folder, DATA), "w+"));
      const isThere = before?.part_bytes === wanted.part_bytes && (await handle.stat()).size === wanted.size;
      if (!isThere) await handle.truncate(wanted.size);
      return new Partial(cache, key, mark, folder, handle, isThere ? { ...before, ...wanted } : whole);
    } catch (error) {
      held.delete(mark);
      await handle?.close();
      throw storeError("write", folder, error);
    }
  }

  get size(): number {
    return this.#base.size;
  }

  /** Where a part begins in the file. */
  begin(part: number): number {
    return part * this.#base.part_bytes;
  }

  /** Bytes of a part. */
  length(part: number): number {
    return partLength(this.#base, part);
  }

  /** Bytes that are there. */
  get done(): number {
    return this.reached.reduce((sum, bytes) => sum + bytes, 0);
  }

  /** How far it is without a hole, in bytes. */
  get front(): number {
    const part = this.reached.findIndex((bytes, i) => bytes < this.length(i));
    return part < 0 ? this.size : this.begin(part) + this.reached[part]!;
  }

  /** Forgets what is there. */
  reset(etag: string | null): void {
    this.reached.fill(0);
    this.etag = etag;
    this.#changed = true;
  }

  /** Writes bytes behind those that are there of a part. @throws TakenOver; BitnetError io */
  async append(part: number, bytes: Uint8Array): Promise<void> {
    if (this.#lost) throw this.#lost;
    try {
      for (let done = 0; done < bytes.length; ) {
        const at = this.begin(part) + this.reached[part]!;
        const { bytesWritten } = await this.#handle.write(bytes, done, bytes.length - done, at);
        done += bytesWritten;
        this.reached[part]! += bytesWritten;
        this.#changed = true;
      }
    } catch (error) {
      throw storeError("write", join(this.#folder, DATA), error);
    }
  }

  /** Bytes of the file as they are on the disk. @throws BitnetError io */
  async read(at: number, into: Uint8Array): Promise<number> {
    try {
      return (await this.#handle.read(into, 0, into.length, at)).bytesRead;
    } catch (error) {
      throw storeError("read", join(this.#folder, DATA), error);
    }
  }

  async #save(): Promise<void> {
    if (this.#lost) return;
    try {
      if (this.#changed) {
        this.#changed = false;
        const state: PartialState = { ...this.#base, etag: this.etag, reached: this.reached };
        await writeWhole(this.#folder, STATE, `${JSON.stringify(state)}\n`, false); // the hash finds what is wrong
      } else {
        const now = new Date();
        await utimes(join(this.#folder, STATE), now, now); // a sign of life
      }
    } catch (error) {
      const isGone = (error as NodeJS.ErrnoException).code === "ENOENT";
      this.#lost = isGone ? new TakenOver("another process took the download over") : storeError("write", join(this.#folder, STATE), error);
    }
  }

  /** Ends the writing; `#lost` says if it can't go on. */
  async #close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#saving;
    await this.#handle.close();
    held.delete(this.#mark);
  }

  /** Leaves what is there for the next run. */
  async release(): Promise<void> {
    this.#changed = true;
    this.#saving = this.#saving.then(() => this.#save());
    await this.#close();
    if (!this.#lost) await renamed(this.#folder, join(this.#cache, "partial", `${this.#key}.${NOBODY}-${this.#mark}`));
  }

  /** Throws away what is there. */
  async discard(): Promise<void> {
    await this.#close();
    if (!this.#lost) await rm(this.#folder, { recursive: true, force: true });
  }

  /** Makes the whole file a blob. @throws TakenOver; BitnetError io */
  async finish(blob: string): Promise<void> {
    try {
      await this.#handle.sync();
      await this.#close();
      if (this.#lost) throw this.#lost;
      await mkdir(join(blob, ".."), { recursive: true });
      await rename(join(this.#folder, DATA), blob);
      await rm(this.#folder, { recursive: true, force: true });
    } catch (error) {
      if (error instanceof TakenOver) throw error;
      throw storeError("write", blob, error);
    }
  }
}

function partLength({ size, part_bytes }: Pick<PartialState, "size" | "part_bytes">, part: number): number {
  return Math.min(part_bytes, size - part * part_bytes);
}

/** Whether the folder took the name: another process may have been faster. */
async function renamed(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
}

/** Tells hosts apart that share a folder. */
async function thisHost(): Promise<string> {
  const { createHash } = await import("node:crypto");
  return createHash("sha256").update(hostname()).digest("hex").slice(0, 8);
}

/** All downloads that are not finished. @throws BitnetError io */
export async function partials(cache: string): Promise<Found[]> {
  const root = join(cache, "partial");
  const host = await thisHost();
  return folderNames(root).flatMap((folderName) => {
    const { key, owner, pid, mark } = /^(?<key>[\w-]+)\.(?<owner>[\da-f]+)-(?<pid>\d+)-(?<mark>[\da-f]+)$/.exec(folderName)?.groups ?? {};
    if (key === undefined) return [];
    const folder = join(root, folderName);
    const state = readState(folder);
    const done = state?.reached.reduce((sum, bytes) => sum + bytes, 0) ?? 0;
    const active = isActive(folder, owner === host, Number(pid), mark!);
    return [{ key, folder, name: state?.name ?? "", file: state?.file ?? "", size: state?.size ?? 0, done, active }];
  });
}

/** Removes those of a model that no process is at. @returns bytes that were there @throws BitnetError io */
export async function removePartials(cache: string, name: string): Promise<number> {
  let freed = 0;
  for (const { folder, done } of (await partials(cache)).filter((one) => one.name === name && !one.active)) {
    try {
      await rm(folder, { recursive: true, force: true });
    } catch (error) {
      throw storeError("remove", folder, error);
    }
    freed += done;
  }
  return freed;
}

function isActive(folder: string, here: boolean, pid: number, mark: string): boolean {
  if (pid === 0) return false;
  if (here && pid === process.pid) return held.has(mark);
  if (here && !isRunning(pid)) return false;
  const signs = [join(folder, STATE), folder].map((path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0);
  return Date.now() - Math.max(...signs) < ABANDONED_MS;
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0); // asks, and sends nothing
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM"; // belongs to another user
  }
}

/** undefined: there is none yet, or it isn't one. */
function readState(folder: string): PartialState | undefined {
  try {
    return parseState(readFileSync(join(folder, STATE), "utf8"));
  } catch {
    return undefined; // the download begins anew
  }
}

function parseState(text: string): PartialState | undefined {
  const state = Object(JSON.parse(text)) as PartialState; // looked at below
  const { schema_version, name, file, size, part_bytes, etag, reached } = state;
  const isSound =
    schema_version === 1 &&
    typeof name === "string" &&
    typeof file === "string" &&
    isSafePath(file) &&
    isWhole(size, MAX_FILE_BYTES) &&
    isWhole(part_bytes, MAX_FILE_BYTES) &&
    (etag === null || typeof etag === "string") &&
    Array.isArray(reached) &&
    reached.length === Math.ceil(size / part_bytes) &&
    reached.every((bytes, part) => isWhole(bytes, partLength(state, part)));
  return isSound ? state : undefined;
}

function isWhole(value: unknown, most: number): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= most;
}
