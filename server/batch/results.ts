import { constants } from "node:fs";
import { type FileHandle, open, readFile, rm } from "node:fs/promises";
import { hostname } from "node:os";
import { BitnetError } from "../../engine/errors.js";
import { fileError, readLines } from "./lines.js";
import { HEAD_BYTES } from "./request.js";

/** Bytes of a lock file: a process and a host's name. */
const MAX_LOCK_LENGTH = 300;

/**
 * The results of a batch, one line each, only ever added to. What a run that was killed left behind is kept, except for a last line without its
 * end. While it is open, a file beside it (`.lock`) keeps other runs away.
 */
export class ResultsFile {
  readonly #path: string;
  readonly #file: FileHandle;
  /** Byte offset behind the last whole line that was read or written. */
  #end = 0;

  private constructor(path: string, file: FileHandle) {
    this.#path = path;
    this.#file = file;
  }

  /** @throws BitnetError io; usage: another run writes to it */
  static async open(path: string): Promise<ResultsFile> {
    await lock(path);
    try {
      const file = await open(path, constants.O_RDWR | constants.O_CREAT);
      if ((await file.stat()).isFile()) return new ResultsFile(path, file);
      await file.close();
      throw new BitnetError("usage", `${path} is not a regular file: choose another path`, { file: path });
    } catch (error) {
      await unlock(path);
      throw fileError("write", path, error);
    }
  }

  /** The first bytes of each whole line that is there. Read to its end, before anything is added. */
  async *heads(): AsyncGenerator<string, void, undefined> {
    for await (const { bytes, ended, end } of readLines(this.#path, HEAD_BYTES)) {
      if (!ended) return; // torn: what is added takes its place
      this.#end = end;
      yield bytes.toString("latin1");
    }
  }

  /** Cuts off a torn line. */
  async cut(): Promise<void> {
    await this.#write(() => this.#file.truncate(this.#end));
  }

  async add(line: string): Promise<void> {
    const bytes = Buffer.from(`${line}\n`);
    await this.#write(async () => {
      for (let from = 0; from < bytes.length; ) {
        const { bytesWritten } = await this.#file.write(bytes, from, bytes.length - from, this.#end + from);
        from += bytesWritten;
      }
    });
    this.#end += bytes.length;
  }

  /** Once all that was added is on the disk. */
  async close(): Promise<void> {
    try {
      await this.#write(() => this.#file.sync());
    } finally {
      await this.#file.close();
      await unlock(this.#path);
    }
  }

  async #write(writing: () => Promise<void>): Promise<void> {
    try {
      await writing();
    } catch (error) {
      throw fileError("write", this.#path, error);
    }
  }
}

const lockOf = (path: string): string => `${path}.lock`;

/** Takes the lock, also that of a process of this machine which has ended. */
async function lock(path: string): Promise<void> {
  const own = `${process.pid} ${hostname()}\n`;
  for (let again = false; ; again = true) {
    try {
      const file = await open(lockOf(path), "wx");
      await file.writeFile(own);
      await file.close();
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw fileError("write", lockOf(path), error);
      const [pid = "", host = ""] = (await readFile(lockOf(path), "latin1")).slice(0, MAX_LOCK_LENGTH).trim().split(" ");
      // Killed before it wrote who it is: nobody holds it, but one that starts at this moment might.
      const isDead = pid === "" || (host === hostname() && !isAlive(Number(pid)));
      if (!isDead || again) {
        const owner = `process ${pid} on ${host}`;
        throw new BitnetError("usage", `${owner} is writing ${path}: wait for it, or delete ${lockOf(path)} if it has ended`, {
          file: path,
        });
      }
      await rm(lockOf(path), { force: true });
    }
  }
}

async function unlock(path: string): Promise<void> {
  await rm(lockOf(path), { force: true });
}

function isAlive(pid: number): boolean {
  if (pid === process.pid) return false; // the number of one that has ended came to this process, as in containers
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
