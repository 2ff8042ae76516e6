import type { Checkpoint, MetadataValue, NumberList } from "../container/checkpoint.js";
import { quote } from "../container/quote.js";
import { StringList } from "../container/string-list.js";
import { BitnetError } from "../errors.js";
import type { SplitRule } from "./pretokenize.js";
import { type PlainKind, passAnother, type Vocabulary } from "./vocabulary.js";

/** What a value of `tokenizer.ggml.pre` stands for, as in llama.cpp: the split, merges ignored for whole words, BOS where the file doesn't say. */
export interface PreTokenizer {
  readonly split: SplitRule;
  readonly nfc?: boolean;
  readonly ignoreMerges: boolean;
  readonly addsBos: boolean;
}

const llama3: PreTokenizer = { split: ["llama3"], ignoreMerges: true, addsBos: true };
export const preTokenizers: ReadonlyMap<string, PreTokenizer> = new Map([
  ["llama-bpe", llama3],
  ["llama3", llama3],
  ["llama-v3", llama3],
  ["falcon3", llama3],
  ["falcon_e", llama3], // Falcon-E's files; bitnet.cpp's name
  ["gpt-2", { split: ["gpt2"], ignoreMerges: false, addsBos: false }],
  // Qwen's own tokenizer.json says NFC, which the GGUF has no place for.
  ["qwen2", { split: ["qwen2"], nfc: true, ignoreMerges: false, addsBos: false }],
  // As Falcon's tokenizer.json has it; llama.cpp does without the digits, which no merges of its vocabulary join to anything else.
  ["falcon", { split: ["punctuation", "gpt2", "asciiDigits", "threeDigits"], ignoreMerges: false, addsBos: false }],
]);

/** `tokenizer.ggml.token_type` of a token that takes part in merges. */
const normal = 1;

/** The other values. */
const tokenTypes: ReadonlyMap<number, PlainKind> = new Map([
  [2, "special"], // "unknown"
  [3, "special"], // "control"
  [4, "added"], // "user-defined"
  [5, "unused"],
  [6, "byte"],
] as const);

const isStrings = (value: MetadataValue): value is StringList | readonly string[] =>
  value instanceof StringList || (Array.isArray(value) && value.every((item) => typeof item === "string"));
const isNumbers = (value: MetadataValue): value is NumberList =>
  ArrayBuffer.isView(value) || (Array.isArray(value) && value.every((item) => typeof item === "number"));

/** The tokenizer in GGUF metadata: byte-level BPE ("gpt2"), or SentencePiece's BPE ("llama"). Throws a BitnetError `tokenizer` that names file and key if it is missing, malformed or of an unknown kind. */
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
  const flag = (key: string) => value(key, "true or false", (v) => typeof v === "boolean");
  const numbers = (key: string) => value(key, "a list of numbers", isNumbers) ?? refuse(`${key} is missing`);

  const model = text("tokenizer.ggml.model") ?? refuse(`the file has no tokenizer (tokenizer.ggml.model is missing); ${passAnother}`);
  if (model !== "gpt2" && model !== "llama") {
    refuse(
      `tokenizer.ggml.model is ${quote(model)}; this engine knows "gpt2" (byte-level BPE) and "llama" (SentencePiece); ${passAnother}`,
    );
  }
  if (flag("tokenizer.ggml.add_eos_token")) refuse("tokenizer.ggml.add_eos_token is true, and this engine puts no token after a text");
  const tokens = strings("tokenizer.ggml.tokens");
  const types = numbers("tokenizer.ggml.token_type");
  const plain = new Map<number, PlainKind>();
  const sameLength = (key: string, list: NumberList): void => {
    if (list.length !== tokens.length) refuse(`${key} has ${list.length} entries, but tokenizer.ggml.tokens has ${tokens.length}`);
  };
  sameLength("tokenizer.ggml.token_type", types);
  for (let i = 0; i < types.length; i++) {
    if (types[i] === normal) continue;
    const kind = tokenTypes.get(types[i]!) ?? refuse(`tokenizer.ggml.token_type is ${types[i]} for token ${i}, which is no type of token`);
    if (kind === "byte" && model === "gpt2") refuse(`tokenizer.ggml.token_type is 6 for token ${i}, which byte-level BPE does not have`);
    plain.set(i, kind);
  }
  const eosId = id("tokenizer.ggml.eos_token_id");
  const common = {
    source: "gguf",
    file,
    tokens,
    plain,
    bosId: id("tokenizer.ggml.bos_token_id"),
    eosIds: eosId === undefined ? [] : [eosId],
  } as const;
  const addsBos = flag("tokenizer.ggml.add_bos_token");

  if (model === "llama") {
    if (flag("tokenizer.ggml.remove_extra_whitespaces")) {
      refuse("tokenizer.ggml.remove_extra_whitespaces is true, and this engine doesn't change text before it is tokenized");
    }
    const scores = numbers("tokenizer.ggml.scores");
    sameLength("tokenizer.ggml.scores", scores);
    return {
      ...common,
      kind: "pieces",
      order: { scores },
      spacePrefix: (flag("tokenizer.ggml.add_space_prefix") ?? true) ? "always" : "never",
      keepsSpace: false,
      addsBos: addsBos ?? true,
    };
  }
  const known = [...preTokenizers.keys()].map(quote).join(", ");
  const pre =
    text("tokenizer.ggml.pre") ??
    refuse(`tokenizer.ggml.pre is missing, so how to split text is not known (this engine knows ${known}); ${passAnother}`);
  const rule = preTokenizers.get(pre) ?? refuse(`tokenizer.ggml.pre is ${quote(pre)}; this engine knows ${known}; ${passAnother}`);
  return {
    ...common,
    kind: "byte-level",
    merges: strings("tokenizer.ggml.merges"),
    split: rule.split,
    nfc: rule.nfc ?? false,
    ignoreMerges: rule.ignoreMerges,
    addsBos: addsBos ?? rule.addsBos,
  };
}
