import { BitnetError } from "../errors.js";
import type { Checkpoint } from "./checkpoint.js";
import { MAX_JSON_VALUES } from "./json.js";

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
  if (!hasFewValues(text)) {
    throw new BitnetError(code, `${checkpoint.path}: ${name} has more than ${MAX_JSON_VALUES} values, which no such file can need`, {
      file: checkpoint.path,
    });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // No JSON at all: refused below.
  }
  if (isObject(value)) return value;
  throw new BitnetError(code, `${checkpoint.path}: ${name} is not a JSON object`, { file: checkpoint.path });
}

/** JSON.parse makes of each value up to 60 bytes, of a `{}` too: a text of tens of MB could take all of the heap, and that can't be caught. */
function hasFewValues(text: string): boolean {
  if (text.length <= MAX_JSON_VALUES) return true;
  let values = 1; // at the most: before each there is a comma or a bracket, and some of these are in strings
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === COMMA || code === BRACKET || code === BRACE) values++;
  }
  return values <= MAX_JSON_VALUES;
}

const COMMA = 0x2c;
const BRACKET = 0x5b;
const BRACE = 0x7b;
