import type { Checkpoint } from "../container/checkpoint.js";
import { quote, show } from "../container/quote.js";
import { isObject, readJsonSidecar } from "../container/sidecar.js";
import { StringList } from "../container/string-list.js";
import { BitnetError } from "../errors.js";
import { type SplitRule, splitPatterns } from "./pretokenize.js";
import { maxEntries } from "./token-table.js";
import type { PlainKind, Vocabulary } from "./vocabulary.js";

/** Characters of an unknown split pattern that a message shows; LLaMA-3's has 112. */
const maxPattern = 500;

/** Refuses the file: a message that begins with the key. */
type Refuse = (message: string) => never;

const isAbsent = (value: unknown): value is null | undefined => value === null || value === undefined;

/**
 * The tokenizer of tokenizer.json, with BOS and EOS from tokenizer_config.json or special_tokens_map.json. Throws a BitnetError
 * `tokenizer` that names file and key for what is missing, malformed, or asks for what this engine doesn't do.
 */
export async function readJsonVocabulary(checkpoint: Checkpoint): Promise<Vocabulary> {
  const file = checkpoint.path;
  const refuse: Refuse = (message) => {
    throw new BitnetError("tokenizer", `${file}: ${message}`, { file });
  };
  const [main, config = {}, specialMap = {}] = await Promise.all(
    ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"].map((name) => readJsonSidecar(checkpoint, name, "tokenizer")),
  );
  if (main === undefined) return refuse("the model has no tokenizer (tokenizer.json is missing)");
  const inMain: Refuse = (message) => refuse(`tokenizer.json: ${message}`);

  requireNoNormalizer(main.normalizer, inMain);
  if (!isObject(main.decoder) || main.decoder.type !== "ByteLevel") inMain(`decoder is ${show(main.decoder)}, not of type "ByteLevel"`);
  const split = readSplit(main.pre_tokenizer, inMain);
  const { tokens, merges, ignoreMerges } = readModel(main.model, inMain);
  const plain = new Map<number, PlainKind>();
  readAddedTokens(main.added_tokens ?? [], tokens, plain, inMain);
  readAddedTokens(listed(config.added_tokens_decoder), tokens, plain, (message) => refuse(`tokenizer_config.json: ${message}`));
  requireAll(tokens, inMain);

  const idOf = (key: string): number | undefined => {
    const value = config[key] ?? specialMap[key];
    if (isAbsent(value)) return undefined;
    const text = isObject(value) ? value.content : value;
    const id = typeof text === "string" ? tokens.indexOf(text) : -1;
    return id >= 0 ? id : refuse(`${key} is ${show(text)}, which is not in the vocabulary`);
  };
  const templateBos = readTemplateBos(main.post_processor, inMain);
  const configBos = idOf("bos_token");
  if (templateBos !== undefined && configBos !== undefined && templateBos !== configBos) {
    inMain(`post_processor begins text with token ${templateBos}, but bos_token is ${configBos}`);
  }
  const addBos = config.add_bos_token;
  if (!isAbsent(addBos) && typeof addBos !== "boolean")
    refuse(`tokenizer_config.json: add_bos_token is ${show(addBos)}, not true or false`);
  const eosId = idOf("eos_token");
  return {
    source: "tokenizer.json",
    file,
    tokens: StringList.from(tokens),
    plain,
    merges: StringList.from(merges),
    split,
    ignoreMerges,
    bosId: configBos ?? templateBos,
    eosIds: eosId === undefined ? [] : [eosId],
    addsBos: typeof addBos === "boolean" ? addBos : templateBos !== undefined,
  };
}

function requireNoNormalizer(normalizer: unknown, refuse: Refuse): void {
  if (isAbsent(normalizer)) return;
  if (
    isObject(normalizer) &&
    normalizer.type === "Sequence" &&
    Array.isArray(normalizer.normalizers) &&
    normalizer.normalizers.length === 0
  )
    return;
  refuse(`normalizer is ${show(normalizer)}, and this engine doesn't change text before it is tokenized`);
}

/** Which split rule: ByteLevel's own, GPT-2's, or the pattern of a Split before it. */
function readSplit(preTokenizer: unknown, refuse: Refuse): SplitRule {
  const steps: unknown = isObject(preTokenizer) && preTokenizer.type === "Sequence" ? preTokenizer.pretokenizers : [preTokenizer];
  const byteLevel: unknown = Array.isArray(steps) ? steps.at(-1) : undefined;
  if (!Array.isArray(steps) || steps.length > 2 || !isObject(byteLevel) || byteLevel.type !== "ByteLevel") {
    return refuse(`pre_tokenizer is ${show(preTokenizer)}; this engine knows "ByteLevel", alone or after one "Split"`);
  }
  if (byteLevel.add_prefix_space === true)
    refuse("pre_tokenizer adds a space before text (add_prefix_space), which this engine doesn't do");
  const ownRule = byteLevel.use_regex !== false; // true where it isn't said
  if (steps.length === 1) {
    return ownRule ? "gpt2" : refuse("pre_tokenizer doesn't split text at all (use_regex is false), which this engine doesn't do");
  }
  const first: unknown = steps[0];
  if (ownRule || !isObject(first) || first.type !== "Split" || first.behavior !== "Isolated" || first.invert === true) {
    return refuse(
      `pre_tokenizer is ${show(preTokenizer)}; before "ByteLevel" (use_regex false) this engine knows a "Split" with behavior "Isolated"`,
    );
  }
  const pattern = isObject(first.pattern) ? first.pattern.Regex : undefined;
  if (pattern === splitPatterns.llama3) return "llama3";
  if (pattern === splitPatterns.gpt2) return "gpt2";
  return refuse(
    `pre_tokenizer splits text by ${typeof pattern === "string" ? JSON.stringify(pattern.slice(0, maxPattern)) : show(first.pattern)}; this engine knows LLaMA-3's rule and GPT-2's`,
  );
}

function readModel(model: unknown, refuse: Refuse): { tokens: string[]; merges: string[]; ignoreMerges: boolean } {
  if (!isObject(model)) return refuse("model is missing");
  if (model.type !== "BPE") refuse(`model.type is ${show(model.type)}; this engine knows "BPE"`);
  if (!isAbsent(model.dropout) && model.dropout !== 0) refuse(`model.dropout is ${show(model.dropout)}, so tokens would be random`);
  for (const key of ["continuing_subword_prefix", "end_of_word_suffix"]) {
    if (!isAbsent(model[key]) && model[key] !== "") refuse(`model.${key} is ${show(model[key])}, which byte-level BPE does not have`);
  }
  const { vocab, merges } = model;
  if (!isObject(vocab)) return refuse("model.vocab is not an object of tokens and ids");
  const isMerge = (merge: unknown): merge is string | [string, string] =>
    typeof merge === "string" ||
    (Array.isArray(merge) && merge.length === 2 && typeof merge[0] === "string" && typeof merge[1] === "string");
  if (!Array.isArray(merges) || !merges.every(isMerge)) return refuse("model.merges is not a list of pairs of tokens");

  const tokens: string[] = [];
  for (const token in vocab) place(tokens, vocab[token], token, "model.vocab", refuse);
  const joined = merges.map((merge) => (typeof merge === "string" ? merge : merge.join(" "))); // no token has a space
  return { tokens, merges: joined, ignoreMerges: model.ignore_merges === true };
}

/** Puts a token at its id, which must be free, and gives the id. Ids that stay free are found at the end (`requireAll`). */
function place(tokens: string[], id: unknown, token: string, key: string, refuse: Refuse): number {
  if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id >= maxEntries) {
    return refuse(`${key} has ${quote(token)} with ${show(id)} for an id`);
  }
  if (tokens[id] !== undefined) refuse(`${key} has two tokens with the id ${id}, ${quote(tokens[id])} and ${quote(token)}`);
  tokens[id] = token;
  return id;
}

function requireAll(tokens: readonly string[], refuse: Refuse): void {
  for (let id = 0; id < tokens.length; id++) if (tokens[id] === undefined) refuse(`no token has the id ${id}, but there are higher ones`);
}

/** tokenizer_config.json's `added_tokens_decoder`, an object by id, in the form of tokenizer.json's `added_tokens`. */
function listed(decoder: unknown): unknown {
  return isObject(decoder) ? Object.entries(decoder).map(([id, token]) => (isObject(token) ? { ...token, id: Number(id) } : token)) : [];
}

function readAddedTokens(list: unknown, tokens: string[], plain: Map<number, PlainKind>, refuse: Refuse): void {
  if (!Array.isArray(list)) refuse("added_tokens is not a list");
  for (const token of list as readonly unknown[]) {
    if (!isObject(token) || typeof token.content !== "string") refuse(`added_tokens has ${show(token)}, which is no token`);
    const { id, content } = token;
    for (const key of ["lstrip", "rstrip", "single_word", "normalized"]) {
      if (token[key] === true) refuse(`added_tokens has ${quote(content)} with ${key}, which this engine doesn't do`);
    }
    // The model's own vocabulary may have it already.
    const known = typeof id === "number" && tokens[id] === content;
    plain.set(known ? id : place(tokens, id, content, "added_tokens", refuse), token.special === true ? "special" : "added");
  }
}

/** The id that the post-processor puts before a text; undefined if it adds nothing. */
function readTemplateBos(postProcessor: unknown, refuse: Refuse): number | undefined {
  if (isAbsent(postProcessor)) return undefined;
  const steps: unknown = isObject(postProcessor) && postProcessor.type === "Sequence" ? postProcessor.processors : [postProcessor];
  if (!Array.isArray(steps)) return refuse("post_processor.processors is not a list");
  let bos: number | undefined;
  for (const step of steps as readonly unknown[]) {
    if (isObject(step) && step.type === "ByteLevel") continue; // concerns offsets only
    const single: unknown = isObject(step) && step.type === "TemplateProcessing" ? step.single : undefined;
    if (!isObject(step) || !Array.isArray(single) || bos !== undefined) {
      return refuse(`post_processor is ${show(postProcessor)}; this engine knows "ByteLevel" and one "TemplateProcessing"`);
    }
    const pieces = single.map((piece: unknown) => (isObject(piece) ? piece : {}));
    if (pieces.length === 1 && isObject(pieces[0]!.Sequence)) continue;
    const name =
      pieces.length === 2 && isObject(pieces[1]!.Sequence) && isObject(pieces[0]!.SpecialToken) ? pieces[0]!.SpecialToken.id : undefined;
    if (typeof name !== "string")
      return refuse(`post_processor makes ${show(single)} of a text; this engine knows a text with one token before it`);
    const known = step.special_tokens;
    const entry: unknown = isObject(known) && Object.hasOwn(known, name) ? known[name] : undefined;
    const ids: unknown = isObject(entry) ? entry.ids : undefined;
    if (!Array.isArray(ids) || ids.length !== 1 || typeof ids[0] !== "number") return refuse(`post_processor has no id for ${quote(name)}`);
    bos = ids[0];
  }
  return bos;
}
