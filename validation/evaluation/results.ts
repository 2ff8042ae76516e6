import { closeSync, existsSync, fsyncSync, ftruncateSync, mkdirSync, openSync, readFileSync, statSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { BitnetError } from "../../engine/errors.js";

/** Longest file of results that is continued, in bytes. */
const MAX_BYTES = 512 * 2 ** 20;

/**
 * Results as JSON lines: first what they are of, then one a line, each on the disk before the next is computed. A run that was stopped goes on behind
 * the last whole line. The lines name no date and no machine: two runs write the same bytes.
 */
export class Results<Line extends object> {
  readonly #fd: number;
  /** What an earlier run has left. */
  readonly done: readonly Line[];

  private constructor(fd: number, done: readonly Line[]) {
    this.#fd = fd;
    this.done = done;
  }

  /**
   * Begins a file, or continues one.
   * @param head of what the results are; an earlier run's must be the same
   * @throws BitnetError usage: the file is of something else, which the message names; io
   */
  static open<Line extends object>(path: string, head: Readonly<Record<string, unknown>>): Results<Line> {
    const first = JSON.stringify(head);
    try {
      mkdirSync(dirname(path), { recursive: true });
      const before = existsSync(path) ? readLines(path) : [];
      if (before.length > 0 && before[0] !== first) throw other(path, before[0]!, head);
      const kept = before.length === 0 ? [first] : before;
      const fd = openSync(path, "a");
      ftruncateSync(fd, before.length === 0 ? 0 : Buffer.byteLength(`${before.join("\n")}\n`));
      if (before.length === 0) writeSync(fd, `${first}\n`);
      return new Results<Line>(
        fd,
        kept.slice(1).map((line) => JSON.parse(line) as Line),
      );
    } catch (error) {
      if (error instanceof BitnetError) throw error;
      throw new BitnetError("io", `${path}: can't be written: ${(error as Error).message}`, { file: path }, { cause: error });
    }
  }

  append(line: Line): void {
    writeSync(this.#fd, `${JSON.stringify(line)}\n`);
    fsyncSync(this.#fd);
  }

  close(): void {
    closeSync(this.#fd);
  }
}

/** Whole lines of a file; one that was torn by a kill is none. @throws BitnetError usage: too large, or not lines of JSON */
function readLines(path: string): string[] {
  const { size } = statSync(path);
  if (size > MAX_BYTES)
    throw new BitnetError("usage", `${path} has ${size} bytes, but at most ${MAX_BYTES} can be continued: choose another --out`, {
      file: path,
    });
  const lines = readFileSync(path, "utf8").split("\n");
  lines.pop(); // behind the last line end
  for (const [i, line] of lines.entries()) {
    try {
      if (typeof JSON.parse(line) === "object") continue;
    } catch {
      // Said below.
    }
    throw new BitnetError("usage", `${path}: line ${i + 1} is not a result: remove the file, or choose another --out`, { file: path });
  }
  return lines;
}

/** What of a file's head is first not as it is now. */
function other(path: string, line: string, head: Readonly<Record<string, unknown>>): BitnetError {
  const before = JSON.parse(line) as Readonly<Record<string, unknown>>;
  const name = Object.keys({ ...head, ...before }).find((key) => JSON.stringify(head[key]) !== JSON.stringify(before[key]));
  const what = `${name} is ${JSON.stringify(before[name!]) ?? "missing"} in it, but ${JSON.stringify(head[name!]) ?? "missing"} now`;
  return new BitnetError("usage", `${path} has results of another evaluation, ${what}: remove the file, or choose another --out`, {
    file: path,
  });
}
