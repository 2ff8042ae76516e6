import { show } from "../container/quote.js";
import { BitnetError } from "../errors.js";

/** A number of a file. @throws BitnetError file, naming the key: it is no positive number */
export function positive(value: unknown, key: string, path: string): number {
  if (typeof value !== "number" || !(value > 0) || !Number.isFinite(value)) {
    throw new BitnetError("file", `${path}: ${key} must be a positive number, and is ${show(value)}`, { file: path });
  }
  return value;
}

/** A sound file that says something this engine doesn't do. */
export function refuse(file: string, what: string): never {
  throw new BitnetError("unsupported", `${file}: ${what}`, { file });
}
