import type { Checkpoint, MetadataValue, NumberList } from "../container/checkpoint.js";
import { quote } from "../container/quote.js";
import { StringList } from "../container/string-list.js";
import { BitnetError } from "../errors.js";
import type { SplitRule } from "./pretokenize.js";
import type { PlainKind, Vocabulary } from "./vocabulary.js";

/** What a value of `tokenizer.ggml.pre` stands for, as in llama.cpp: the split, merges ignored for whole words, BOS where the file doesn't say. */
const preTokenizers: ReadonlyMap<string, { split: SplitRule; ignoreMerges: boolean; addsBos: boolean }> = new Map([
  ["llama-bpe", { split: "llama3", ignoreMerges: true, addsBos: true }],
  ["gpt-2", { split: "gpt2", ignoreMerges: false, addsBos: false }],
] as const);

/** `tokenizer.ggml.token_type` of a token in the byte-level alphabet. */
const normal = 1;

/** The other values; 6, a single byte, is of SentencePiece vocabularies only. */
const tokenTypes: ReadonlyMap<number, PlainKind> = new Map([
  [2, "special"], // "unknown"
  [3, "special"], // "control"
  [4, "added"], // "user-defined"
  [5, "unused"],
] as const);

const isStrings = (value: MetadataValue): value is StringList | readonly string[] =>
  value instanceof StringList || (Array.isArray(value) && value.every((item) => typeof item === "string"));
const isNumbers = (value: MetadataValue): value is NumberList =>
  ArrayBuffer.isView(value) || (Array.isArray(value) && value.every((item) => typeof item === "number"));

/** The tokenizer in GGUF metadata. Throws a BitnetError `tokenizer` that names file and key if it is missing, malformed or of an unknown kind. */
export function readGgufVocabulary(checkpoint: Checkpoint): Vocabulary {
  const file = checkpoint.path;
  const { metadata } = checkpoint;
  const refuse = (message: string): never => {
    throw new BitnetError("tokenizer", `${file}: ${message}`, { file });
  };
  const value = <T extends MetadataValue>(key: string, kind: string, is: (value: MetadataValue) => value is T): T | undefined => {
    const found = metadata.get(key);
    if (found === undefined || is(found)) return found;
    return refuse(`${key} is not ${kind}`);
  };
  const text = (key: string) => value(key, "a string", (v) => typeof v === "string");
  const id = (key: string) => value(key, "a number", (v) => typeof v === "number");
  const strings = (key: string): StringList => {
    const list = value(key, "a list of strings", isStrings) ?? refuse(`${key} is missing`);
    return list instanceof StringList ? list : StringList.from(list);
  };

  const model = text("tokenizer.ggml.model") ?? refuse("the file has no tokenizer (tokenizer.ggml.model is missing)");
  if (model !== "gpt2") refuse(`tokenizer.ggml.model is ${quote(model)}; this engine knows byte-level BPE only, "gpt2"`);
  const known = [...preTokenizers.keys()].map(quote).join(" and ");
  const pre =
    text("tokenizer.ggml.pre") ?? refuse(`tokenizer.ggml.pre is missing, so how to split text is not known (this engine knows ${known})`);
  const rule = preTokenizers.get(pre) ?? refuse(`tokenizer.ggml.pre is ${quote(pre)}; this engine knows ${known}`);

  const tokens = strings("tokenizer.ggml.tokens");
  const types = value("tokenizer.ggml.token_type", "a list of numbers", isNumbers) ?? refuse("tokenizer.ggml.token_type is missing");
  if (types.length !== tokens.length) {
    refuse(`tokenizer.ggml.token_type has ${types.length} entries, but tokenizer.ggml.tokens has ${tokens.length}`);
  }
  const plain = new Map<number, PlainKind>();
  for (let i = 0; i < types.length; i++) {
    if (types[i] === normal) continue;
    const kind =
      tokenTypes.get(types[i]!) ?? refuse(`tokenizer.ggml.token_type is ${types[i]} for token ${i}, which byte-level BPE does not have`);
    plain.set(i, kind);
  }
  const eosId = id("tokenizer.ggml.eos_token_id");
  return {
    source: "gguf",
    file,
    tokens,
    plain,
    merges: strings("tokenizer.ggml.merges"),
    split: rule.split,
    ignoreMerges: rule.ignoreMerges,
    bosId: id("tokenizer.ggml.bos_token_id"),
    eosIds: eosId === undefined ? [] : [eosId],
    addsBos: value("tokenizer.ggml.add_bos_token", "true or false", (v) => typeof v === "boolean") ?? rule.addsBos,
  };
}
