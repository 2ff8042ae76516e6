import { show } from "../container/quote.js";
import { BitnetError } from "../errors.js";

/** A number from a file. @throws BitnetError file, naming the key: it is missing or not a positive number */
export function positive(value: unknown, key: string, path: string): number {
  if (typeof value !== "number" || !(value > 0) || !Number.isFinite(value)) {
    const what = value === undefined ? "is missing" : `must be a positive number, not ${show(value)}`;
    throw new BitnetError("file", `${path}: ${key} ${what}`, { file: path });
  }
  return value;
}

/** Refuses a valid file that needs something this engine does not support. */
export function refuse(file: string, what: string): never {
  throw new BitnetError("unsupported", `${file}: ${what}`, { file });
}

/** A whole number of things from a file, 0 or more. @throws BitnetError file, naming the key */
export function countOf(value: unknown, key: string, path: string): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= 0) return value;
  throw new BitnetError("file", `${path}: ${key} must be a whole number, not ${show(value)}`, { file: path });
}
