import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { BitnetError } from "../../engine/errors.js";
import { systemReason } from "../../engine/system-reason.js";

/** A line of a file, without its line end. */
export interface Line {
  /** Its first bytes: all of them, if `length` says so. */
  readonly bytes: Buffer;
  /** Bytes that it has. */
  readonly length: number;
  /** SHA-256 of all its bytes, in hex. */
  readonly digest: string;
  /** Byte offset behind it and its line end. */
  readonly end: number;
  /** Whether a line end follows: only the last line may lack one. */
  readonly ended: boolean;
}

const LINE_FEED = 10;

/**
 * The lines of a file, one at a time, however large it is.
 * @param most bytes of a line that are kept
 * @throws BitnetError io
 */
export async function* readLines(path: string, most: number): AsyncGenerator<Line, void, undefined> {
  let kept: Buffer[] = [];
  let length = 0;
  let hash = createHash("sha256");
  let end = 0;
  const take = (piece: Buffer): void => {
    if (length < most) kept.push(piece.subarray(0, most - length));
    length += piece.length;
    hash.update(piece);
    end += piece.length;
  };
  const line = (ended: boolean): Line => {
    const taken = { bytes: Buffer.concat(kept), length, digest: hash.digest("hex"), end, ended };
    kept = [];
    length = 0;
    hash = createHash("sha256");
    return taken;
  };
  try {
    for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
      let start = 0;
      for (let at = chunk.indexOf(LINE_FEED); at >= 0; at = chunk.indexOf(LINE_FEED, start)) {
        take(chunk.subarray(start, at));
        end++;
        start = at + 1;
        yield line(true);
      }
      take(chunk.subarray(start));
    }
  } catch (error) {
    throw fileError("read", path, error);
  }
  if (length > 0) yield line(false);
}

/** SHA-256 of a line's bytes, in hex. */
export function digestOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** What the system refused to do with a file. */
export function fileError(doing: string, path: string, error: unknown): BitnetError {
  if (error instanceof BitnetError) return error;
  return new BitnetError("io", `can't ${doing} ${path}: ${systemReason(error)}`, { file: path }, { cause: error });
}

/** Bytes of a file that can be read more than once. @throws BitnetError io; usage: a folder, a pipe or a device */
export async function sizeOf(path: string): Promise<number> {
  const found = await stat(path).catch((error: unknown) => {
    throw fileError("read", path, error);
  });
  if (!found.isFile())
    throw new BitnetError("usage", `${path} is not a regular file: a batch is read again when it goes on`, { file: path });
  return found.size;
}
