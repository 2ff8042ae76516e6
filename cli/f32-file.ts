import { closeSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { endianness } from "node:os";
import { ioError } from "./failure.js";

/** A file of raw little-endian f32, written in pieces: it appears under its name only when it is whole. */
export class F32File {
  readonly #path: string;
  readonly #flag: string;
  readonly #temporary: string;
  #fd: number | undefined;

  private constructor(path: string, flag: string) {
    this.#path = path;
    this.#flag = flag;
    this.#temporary = `${path}.${process.pid}.tmp`;
  }

  /** Begins the file `path`, beside it for now. Throws an `io` error, which names the flag, if that is not possible. */
  static create(path: string, flag: string): F32File {
    const file = new F32File(path, flag);
    file.#do(() => {
      file.#fd = openSync(file.#temporary, "wx");
    });
    return file;
  }

  /** Adds numbers. */
  append(numbers: Float32Array): void {
    const bytes = Buffer.from(numbers.buffer, numbers.byteOffset, numbers.byteLength);
    const littleEndian = endianness() === "LE" ? bytes : Buffer.from(bytes).swap32();
    this.#do((fd) => {
      for (let done = 0; done < littleEndian.length; ) done += writeSync(fd, littleEndian, done);
    });
  }

  /** The file is complete: renames it to its final name, replacing any earlier file. */
  commit(): void {
    this.#do((fd) => {
      closeSync(fd);
      this.#fd = undefined;
      renameSync(this.#temporary, this.#path);
    });
  }

  /** Leaves nothing behind, unless the file was whole. */
  discard(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
    rmSync(this.#temporary, { force: true });
  }

  #do(action: (fd: number) => void): void {
    try {
      action(this.#fd ?? -1);
    } catch (error) {
      throw ioError(`write ${this.#path} (${this.#flag})`, error);
    }
  }
}
