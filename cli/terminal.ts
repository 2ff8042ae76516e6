import { accessSync, constants, statSync } from "node:fs";
import { dirname } from "node:path";
import { styleText } from "node:util";
import { BitnetError } from "../engine/errors.js";
import { escapeControls, ioError, STEERING } from "./failure.js";

type Output = NodeJS.WriteStream;

/** Writes text, waiting while the reader is slow. A reader that has gone ends the process quietly: see main.ts. */
export async function write(text: string | Uint8Array, stream: Output = process.stdout): Promise<void> {
  if (text.length === 0 || stream.write(text)) return;
  await new Promise<void>((resolve) => stream.once("drain", resolve));
}

/** Writes what a model or a file says: to a terminal with its control characters written out, to a pipe or a file as it is, to the byte. */
export function writeText(text: string | Uint8Array, stream: Output = process.stdout): Promise<void> {
  if (!stream.isTTY) return write(text, stream);
  return write(escapeControls(typeof text === "string" ? text : new TextDecoder().decode(text)), stream);
}

/** Writes one JSON value on one line of stdout. Control characters are escapes in it, so it can be shown on a terminal. */
export function writeJson(value: unknown): Promise<void> {
  const json = JSON.stringify(value).replace(STEERING, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
  return write(`${json}\n`);
}

/** Text in a style, where a person looks and has not forbidden colour. */
export function style(format: "dim" | "bold" | "red", text: string, stream: Output): string {
  return stream.isTTY && !process.env.NO_COLOR ? styleText(format, text) : text;
}

/** Longest input that is read, in bytes: far more than any context holds, and little enough to be in memory several times. */
const MAX_INPUT_BYTES = 64 * 2 ** 20;

/** Everything on standard input, byte for byte. */
async function readStdin(): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  try {
    for await (const piece of process.stdin) {
      pieces.push(piece as Uint8Array);
      length += (piece as Uint8Array).length;
      if (length > MAX_INPUT_BYTES)
        throw new BitnetError("usage", `standard input has more than ${MAX_INPUT_BYTES} bytes, which is the limit: split it into parts`);
    }
  } catch (error) {
    throw error instanceof BitnetError ? error : ioError("read standard input", error);
  }
  return Buffer.concat(pieces);
}

/** The bytes of a regular file that a flag names; `-` is standard input. @throws BitnetError io, usage */
export async function readBytes(path: string, flag: string): Promise<Uint8Array> {
  return path === "-" ? readStdin() : readFlagFile(path, flag, "; to read a pipe, use -");
}

/** The same for a flag that knows no `-`. @param pipe what to do with a pipe, for the message */
export async function readFlagFile(path: string, flag: string, pipe = ""): Promise<Uint8Array> {
  const { readWhole } = await import("../validation/records/files.js"); // most commands read none
  try {
    return await readWhole(path, MAX_INPUT_BYTES);
  } catch (error) {
    const { code, message, cause } = error as BitnetError;
    if ((cause as NodeJS.ErrnoException | undefined)?.code === "ENOENT") throw ioError(`read ${path} (${flag})`, cause);
    const advice = / is a pipe, /.test(message) ? pipe : "";
    // `file` is for files that belong to a model.
    throw new BitnetError(code === "file" ? "usage" : code, `${flag}: ${message}${advice}`, { file: path }, { cause });
  }
}

/**
 * Fails before any work if an output file can't be written: its folder does not exist (creating it would hide a mistyped path) or is read-only, or
 * a pipe, a device or a folder has its name.
 * @throws BitnetError usage, io
 */
export async function requireOutput(flag: string, path: string): Promise<void> {
  const folder = dirname(path);
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory())
    throw new BitnetError("usage", `${flag}: the folder ${folder} does not exist: create it, or choose another path`);
  try {
    accessSync(folder, constants.W_OK);
  } catch (error) {
    throw ioError(`write ${path} (${flag})`, error);
  }
  const { requireReplaceable } = await import("../validation/records/files.js");
  try {
    requireReplaceable(path);
  } catch (error) {
    const { code, message } = error as BitnetError;
    throw new BitnetError(code, `${flag}: ${message}; choose another path`, { file: path }, { cause: error });
  }
}

/** What a text flag says, or for `-` standard input's bytes. */
export async function readText(text: string): Promise<string | Uint8Array> {
  return text === "-" ? readStdin() : text;
}

/** How long something takes before a person is told what is going on. */
const PATIENCE_MS = 1000;

/** One line on stderr that says what takes so long; only on a terminal, and only after a second. */
export class Status {
  readonly #text: string;
  readonly #timer: NodeJS.Timeout | undefined;
  #share: number | undefined;
  #shown = false;

  constructor(text: string) {
    this.#text = text;
    if (!process.stderr.isTTY) return;
    this.#timer = setTimeout(() => {
      this.#shown = true;
      this.#draw();
    }, PATIENCE_MS);
    this.#timer.unref();
  }

  /** `share` of the work is done, 0 … 1. */
  update(share: number): void {
    const changed = Math.floor(share * 100) !== Math.floor((this.#share ?? -1) * 100);
    this.#share = share;
    if (this.#shown && changed) this.#draw();
  }

  #draw(): void {
    const percent = this.#share === undefined ? "" : ` ${Math.floor(this.#share * 100)} %`;
    process.stderr.write(`\r\x1b[K${style("dim", `${this.#text}${percent} …`, process.stderr)}`);
  }

  /** Takes the line away for something else to be written; the next update draws it again. */
  clear(): void {
    if (this.#shown) process.stderr.write("\r\x1b[K");
  }

  end(): void {
    clearTimeout(this.#timer);
    if (this.#shown) process.stderr.write("\r\x1b[K");
    this.#shown = false;
  }
}
