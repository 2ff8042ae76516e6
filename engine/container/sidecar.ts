import { BitnetError } from "../errors.js";
import type { Checkpoint } from "./checkpoint.js";

/** A JSON object of unknown content. Names that come from a file are looked up with `Object.hasOwn` only. */
export type JsonObject = Readonly<Record<string, unknown>>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * A JSON file beside the model as an object; undefined if there is none.
 * @param code of the error if it is not JSON or no object: `tokenizer` for the tokenizer's files
 * @throws BitnetError
 */
export async function readJsonSidecar(checkpoint: Checkpoint, name: string, code: "file" | "tokenizer"): Promise<JsonObject | undefined> {
  const text = await checkpoint.sidecar(name);
  if (text === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // No JSON at all: refused below.
  }
  if (isObject(value)) return value;
  throw new BitnetError(code, `${checkpoint.path}: ${name} is not a JSON object`, { file: checkpoint.path });
}
