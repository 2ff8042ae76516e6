import { directoryOf, fileName, inDirectory, pathKind } from "#host/files.js";
import { BitnetError } from "../errors.js";
import { MAX_SIDECAR_BYTES } from "./checkpoint.js";
import { MAX_JSON_VALUES } from "./json.js";
import { insteadOfJson } from "./sniff.js";
import { readText } from "./source.js";

/** A JSON object of unknown content. Names that come from a file are looked up with `Object.hasOwn` only. */
export type JsonObject = Readonly<Record<string, unknown>>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Files beside a model, or beside a tokenizer of its own. */
export interface SidecarFiles {
  /** What the user named: a file or a directory. */
  readonly path: string;
  /** Text of such a file, undefined if there is none. */
  sidecar(name: string): Promise<string | undefined>;
}

/**
 * The files in a directory, or beside a file, which takes the place of the one named `main`. Throws `usage` for a path that leads nowhere, or
 * to a directory without `main`.
 */
export async function openSidecars(path: string, main: string): Promise<SidecarFiles> {
  const isDirectory = (await pathKind(path)) === "directory";
  const directory = isDirectory ? path : directoryOf(path);
  const own = isDirectory ? main : fileName(path);
  const read = (name: string) => readText(inDirectory(directory, name), MAX_SIDECAR_BYTES);
  if (isDirectory) await pathKind(inDirectory(directory, main)); // it must be there
  return { path, sidecar: (name) => read(name === main ? own : name) };
}

/**
 * A JSON file beside the model as an object; undefined if there is none.
 * @param code of the error if it is not JSON or no object: `tokenizer` for the tokenizer's files
 * @throws BitnetError
 */
export async function readJsonSidecar(files: SidecarFiles, name: string, code: "file" | "tokenizer"): Promise<JsonObject | undefined> {
  const text = await files.sidecar(name);
  if (text === undefined) return undefined;
  if (!hasFewValues(text)) {
    throw new BitnetError(code, `${files.path}: ${name} has more than ${MAX_JSON_VALUES} values, which is the limit`, {
      file: files.path,
    });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // No JSON at all: refused below.
  }
  if (isObject(value)) return value;
  throw new BitnetError(code, `${files.path}: ${name} ${insteadOfJson(text) ?? "is not a JSON object"}`, { file: files.path });
}

/** JSON.parse makes of each value up to 60 bytes, of a `{}` too: a text of tens of MB could take all of the heap, and that can't be caught. */
function hasFewValues(text: string): boolean {
  if (text.length <= MAX_JSON_VALUES) return true;
  let values = 1; // an upper bound: before each there is a comma or a bracket, and some of these are in strings
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === COMMA || code === BRACKET || code === BRACE) values++;
  }
  return values <= MAX_JSON_VALUES;
}

const COMMA = 0x2c;
const BRACKET = 0x5b;
const BRACE = 0x7b;
