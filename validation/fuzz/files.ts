import { spawnSync } from "node:child_process";
import { mkdirSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { MAX_SIDECAR_BYTES } from "../../engine/container/checkpoint.js";

/** What lies where a file should be: its bytes, a huge file of these first bytes, or no file at all. */
export type Content =
  | Uint8Array
  | { readonly head: Uint8Array; readonly size: number }
  | "directory"
  | "fifo"
  | "link to itself"
  | "link to nothing"
  | "link to a device";

/** A model's directory, and what of it is opened ("": the directory). */
export interface Files {
  readonly open: string;
  readonly contents: ReadonlyMap<string, Content>;
}

/** A sound model. */
export interface Base extends Files {
  readonly name: string;
  readonly contents: ReadonlyMap<string, Uint8Array>;
}

/** Puts files into an empty directory. Huge ones are sparse: they take no room on the disk. */
export function putFiles(directory: string, { contents }: Files): void {
  for (const [name, content] of contents) {
    const path = join(directory, name);
    if (content instanceof Uint8Array) writeFileSync(path, content);
    else if (content === "directory") mkdirSync(path);
    else if (content === "fifo") spawnSync("mkfifo", [path]);
    else if (content === "link to itself") symlinkSync(name, path);
    else if (content === "link to nothing") symlinkSync("gone", path);
    else if (content === "link to a device") symlinkSync("/dev/zero", path);
    else {
      writeFileSync(path, content.head);
      truncateSync(path, content.size);
    }
  }
}

/** Bytes that reading the largest of the huge files whole comes to, as is done with files of text up to their limit. */
export function hugeBytesOf({ contents }: Files): number {
  const sizes = Array.from(contents.values(), (content) => (typeof content === "object" && "size" in content ? content.size : 0));
  return Math.max(0, ...sizes.filter((size) => size <= MAX_SIDECAR_BYTES));
}

/** Bytes of all files, as far as they are really there. */
export function bytesOf({ contents }: Files): number {
  let sum = 0;
  for (const content of contents.values()) sum += content instanceof Uint8Array ? content.length : 0;
  return sum;
}
