import type { Checkpoint, MetadataValue, NumberList } from "../container/checkpoint.js";
import { quote } from "../container/quote.js";
import { StringList } from "../container/string-list.js";
import { BitnetError } from "../errors.js";
import { untypedControls } from "./control-tokens.js";
import { byteToken } from "./pieces.js";
import type { SplitRule } from "./pretokenize.js";
import { type PlainKind, passAnother, type Vocabulary } from "./vocabulary.js";

/** What a value of `tokenizer.ggml.pre` stands for, as in llama.cpp: the split, merges ignored for whole words, BOS where the file doesn't say. */
export interface PreTokenizer {
  readonly split: SplitRule;
  readonly nfc?: boolean;
  readonly ignoreMerges: boolean;
  /** Whether text begins with BOS where the file doesn't say: "named" only if the file names one. */
  readonly addsBos: boolean | "named";
}

const llama3: PreTokenizer = { split: ["llama3"], ignoreMerges: true, addsBos: true };
// Falcon3's and Falcon-E's files name no BOS, and their models were trained without.
const falcon3: PreTokenizer = { ...llama3, addsBos: "named" };
// GPT-NeoX's tokenizer, of OLMo, Pythia, MPT and TriLM; its tokenizer.json says NFC, which the GGUF has no place for.
const neox: PreTokenizer = { split: ["gpt2"], nfc: true, ignoreMerges: false, addsBos: false };
export const preTokenizers: ReadonlyMap<string, PreTokenizer> = new Map([
  ["llama-bpe", llama3],
  ["llama3", llama3],
  ["llama-v3", llama3],
  ["falcon3", falcon3],
  ["falcon_e", falcon3], // Falcon-E's files; bitnet.cpp's name
  ["gpt-2", { split: ["gpt2"], ignoreMerges: false, addsBos: false }],
  // Qwen's own tokenizer.json says NFC, too.
  ["qwen2", { split: ["qwen2"], nfc: true, ignoreMerges: false, addsBos: false }],
  ["qwen35", { split: ["qwen35"], nfc: true, ignoreMerges: false, addsBos: false }],
  ["mpt", neox],
  ["olmo", neox],
  // As Falcon's tokenizer.json has it; llama.cpp does without the digits, which no merges of its vocabulary join to anything else.
  ["falcon", { split: ["punctuation", "gpt2", "asciiDigits", "threeDigits"], ignoreMerges: false, addsBos: false }],
]);

/** Architectures that were only ever published with LLaMA-3's tokenizer where it is of the kind "gpt2"; Microsoft's own files don't say which it is. */
const llama3Architectures: readonly MetadataValue[] = ["bitnet-b1.58", "bitnet-25"];

/** BOS of LLaMA-3 and of SentencePiece's vocabularies, where no key names it. */
const llama3Bos = "<|begin_of_text|>";
const piecesBos = "<s>";

/** Converters write −1 for a special token that there is none of, which as u32 is this. */
const noToken: readonly MetadataValue[] = [-1, 2 ** 32 - 1];

/** Keys of ends besides EOS: of a turn and of a message; llama.cpp ends an answer at these three of fill-in-the-middle, too. */
const endKeys = ["eot", "eom", "fim_pad", "fim_rep", "fim_sep"].map((name) => `tokenizer.ggml.${name}_token_id`);

/** Our own key for ends that have no key in llama.cpp; `convert` writes it where there are more than three. */
export const moreEndsKey = "tokenizer.ggml.eos_token_ids";

/** Values of `tokenizer.ggml.token_type` for a token that takes part in merges: "undefined" says no more than a file without types. */
const normal: readonly number[] = [0, 1];

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

/** Reads keys of the metadata, each of one kind. */
function reader({ metadata, path: file }: Checkpoint) {
  const refuse = (message: string): never => {
    throw new BitnetError("tokenizer", `${file}: ${message}`, { file });
  };
  const value = <T extends MetadataValue>(key: string, kind: string, is: (value: MetadataValue) => value is T): T | undefined => {
    const found = metadata.get(key);
    if (found === undefined || is(found)) return found;
    return refuse(`${key} is not ${kind}`);
  };
  return {
    refuse,
    text: (key: string) => value(key, "a string", (v) => typeof v === "string"),
    id: (key: string) => {
      const id = value(key, "a number", (v) => typeof v === "number");
      return id !== undefined && noToken.includes(id) ? undefined : id;
    },
    flag: (key: string) => value(key, "true or false", (v) => typeof v === "boolean"),
    numbers: (key: string) => value(key, "a list of numbers", isNumbers),
    strings: (key: string): StringList => {
      const list = value(key, "a list of strings", isStrings) ?? refuse(`${key} is missing`);
      return list instanceof StringList ? list : StringList.from(list);
    },
  };
}

/**
 * The ids that the metadata names, for a vocabulary of `size`. Throws a BitnetError `tokenizer` that names the key for an end that is out of
 * range; BOS and EOS are checked by `createTokenizer`.
 */
export function readGgufIds(checkpoint: Checkpoint, size: number) {
  const { id, numbers, refuse } = reader(checkpoint);
  const eosId = id("tokenizer.ggml.eos_token_id");
  const ends = [
    ...endKeys.map((key) => [key, id(key)] as const),
    ...Array.from(numbers(moreEndsKey) ?? [], (end) => [moreEndsKey, end] as const),
  ];
  const endIds = new Set<number>();
  for (const [key, end] of ends) {
    if (end === undefined) continue;
    if (!(Number.isInteger(end) && end >= 0 && end < size)) refuse(`${key} is ${end}, but the vocabulary has the ids 0 to ${size - 1}`);
    endIds.add(end);
  }
  return { bosId: id("tokenizer.ggml.bos_token_id"), eosIds: eosId === undefined ? [] : [eosId], endIds: [...endIds] };
}

/** The tokenizer in GGUF metadata: byte-level BPE ("gpt2"), or SentencePiece's BPE ("llama"). Throws a BitnetError `tokenizer` that names file and key if it is missing, malformed or of an unknown kind. */
export function readGgufVocabulary(checkpoint: Checkpoint): Vocabulary {
  const { refuse, text, id, flag, numbers, strings } = reader(checkpoint);

  const model = text("tokenizer.ggml.model") ?? refuse(`the file has no tokenizer (tokenizer.ggml.model is missing); ${passAnother}`);
  if (model !== "gpt2" && model !== "llama") {
    refuse(`tokenizer.ggml.model is ${quote(model)}; supported are "gpt2" (byte-level BPE) and "llama" (SentencePiece); ${passAnother}`);
  }
  const tokens = strings("tokenizer.ggml.tokens");
  const sameLength = (key: string, list: NumberList): void => {
    if (list.length !== tokens.length) refuse(`${key} has ${list.length} entries, but tokenizer.ggml.tokens has ${tokens.length}`);
  };
  const plain = new Map<number, PlainKind>();
  const types = numbers("tokenizer.ggml.token_type");
  if (types) sameLength("tokenizer.ggml.token_type", types);
  for (let i = 0; types && i < types.length; i++) {
    if (normal.includes(types[i]!)) continue;
    const kind = tokenTypes.get(types[i]!) ?? refuse(`tokenizer.ggml.token_type is ${types[i]} for token ${i}, which is not a token type`);
    if (kind === "byte" && model === "gpt2")
      refuse(`tokenizer.ggml.token_type is 6 (byte) for token ${i}, which byte-level BPE does not use`);
    plain.set(i, kind);
  }
  const ids = readGgufIds(checkpoint, tokens.length);
  const merges = model === "gpt2" ? strings("tokenizer.ggml.merges") : undefined;
  if (model === "llama" && ![...plain.values()].includes("byte")) {
    for (let i = 0; i < tokens.length; i++) if (byteToken.test(tokens.at(i)!)) plain.set(i, "byte");
  }
  const notes: string[] = [];
  const named = new Set([ids.bosId, ...ids.eosIds, ...ids.endIds, id("tokenizer.ggml.padding_token_id")].filter((v) => v !== undefined));
  const controls = untypedControls(tokens, plain, named, merges);
  for (const control of controls) plain.set(control, "special");
  if (controls.length > 0) {
    const shown = controls.slice(0, 3).map((control) => quote(tokens.at(control)!));
    notes.push(
      `tokenizer.ggml.token_type ${types ? "does not mark all control tokens" : "is missing"}: ${shown.join(", ")}${controls.length > 3 ? ` and ${controls.length - 3} more` : ""} ${controls.length > 1 ? "are treated as control tokens" : "is treated as a control token"}, judging by the text`,
    );
  }

  /** BOS, and whether text begins with it. If no key names it, it is the control token of a known text. */
  const bosOf = (adds: boolean | "named", known: string | undefined): { bosId: number | undefined; addsBos: boolean } => {
    const key = "tokenizer.ggml.add_bos_token";
    if (ids.bosId !== undefined) return { bosId: ids.bosId, addsBos: flag(key) ?? adds !== false };
    const addsBos = flag(key) ?? adds === true;
    if (!addsBos || known === undefined) return { bosId: undefined, addsBos };
    for (const [token, kind] of plain) if (kind === "special" && tokens.at(token) === known) return { bosId: token, addsBos };
    return { bosId: undefined, addsBos };
  };
  const addsEos = flag("tokenizer.ggml.add_eos_token") ?? false;
  const common = { source: "gguf", file: checkpoint.path, tokens, plain, ...ids, addsEos, notes } as const;

  if (merges === undefined) {
    if (flag("tokenizer.ggml.remove_extra_whitespaces")) {
      refuse("tokenizer.ggml.remove_extra_whitespaces is true, but changing text before it is tokenized is not supported");
    }
    const scores =
      numbers("tokenizer.ggml.scores") ??
      refuse(`tokenizer.ggml.scores is missing, so it is not known which pieces to merge first; ${passAnother}`);
    sameLength("tokenizer.ggml.scores", scores);
    return {
      ...common,
      kind: "pieces",
      order: { scores },
      spacePrefix: (flag("tokenizer.ggml.add_space_prefix") ?? true) ? "always" : "never",
      keepsSpace: false,
      ...bosOf(true, piecesBos),
    };
  }
  const known = [...preTokenizers.keys()].map(quote).join(", ");
  const given = text("tokenizer.ggml.pre") ?? "";
  const architecture = checkpoint.metadata.get("general.architecture") ?? "";
  let pre = given;
  if ((given === "" || given === "default") && llama3Architectures.includes(architecture)) {
    pre = "llama-bpe";
    notes.push(
      `tokenizer.ggml.pre is ${given === "" ? "missing" : quote(given)}: assuming LLaMA-3's tokenizer, which all published ${architecture} models use`,
    );
  }
  const rule = preTokenizers.get(pre);
  if (rule === undefined) {
    return refuse(
      pre === ""
        ? `tokenizer.ggml.pre is missing, so it is not known how to split text (supported are ${known}); ${passAnother}`
        : `tokenizer.ggml.pre is ${quote(pre)}; supported are ${known}; ${passAnother}`,
    );
  }
  return {
    ...common,
    kind: "byte-level",
    merges,
    split: rule.split,
    nfc: rule.nfc ?? false,
    ignoreMerges: rule.ignoreMerges,
    ...bosOf(rule.addsBos, rule === llama3 ? llama3Bos : undefined),
  };
}
