import { quote, show } from "../container/quote.js";
import { isObject, type JsonObject, readJsonSidecar, type SidecarFiles } from "../container/sidecar.js";
import { StringList } from "../container/string-list.js";
import { BitnetError } from "../errors.js";
import type { Refuse } from "./codec.js";
import { isAbsent, readNormalizer, readSpaces, readSplit } from "./json-steps.js";
import { byteToken } from "./pieces.js";
import { maxEntries } from "./token-table.js";
import { type PlainKind, passAnother, type Vocabulary } from "./vocabulary.js";

/** What to do with a tokenizer's older files. */
const makeOne = "if there is a tokenizer.model or a vocab.json, convert it with transformers (AutoTokenizer, then save_pretrained)";

/**
 * The tokenizer of tokenizer.json, with BOS and EOS from tokenizer_config.json or special_tokens_map.json: byte-level BPE, or SentencePiece's
 * where the model has `byte_fallback`. Throws a BitnetError `tokenizer` that names file and key for what is missing, malformed, or asks for
 * what this engine doesn't do.
 */
export async function readJsonVocabulary(files: SidecarFiles): Promise<Vocabulary> {
  const file = files.path;
  const refuse: Refuse = (message) => {
    throw new BitnetError("tokenizer", `${file}: ${message}`, { file });
  };
  const [main, config = {}, specialMap = {}] = await Promise.all(
    ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"].map((name) => readJsonSidecar(files, name, "tokenizer")),
  );
  if (main === undefined) return refuse(`the model has no tokenizer (tokenizer.json is missing); ${makeOne}, or ${passAnother}`);
  const inMain: Refuse = (message) => refuse(`tokenizer.json: ${message}`);

  const isPieces = isObject(main.model) && main.model.byte_fallback === true;
  const how = isPieces
    ? readSpaces(main.normalizer, main.pre_tokenizer, main.decoder, inMain)
    : { nfc: readNormalizer(main.normalizer, inMain), split: readSplit(main.pre_tokenizer, inMain) };
  if (!isPieces && !(isObject(main.decoder) && main.decoder.type === "ByteLevel")) {
    inMain(`decoder is ${show(main.decoder)}, not of type "ByteLevel"`);
  }
  const { tokens, merges, ignoreMerges } = readModel(main.model, inMain);
  if (isPieces && ignoreMerges) inMain("model.ignore_merges is true, which is not supported with byte_fallback");
  const plain = new Map<number, PlainKind>();
  if (isPieces) for (const [id, token] of tokens.entries()) if (token !== undefined && byteToken.test(token)) plain.set(id, "byte");
  const normalized = new Set<number>();
  readAddedTokens(main.added_tokens ?? [], tokens, plain, normalized, inMain);
  readAddedTokens(listed(config.added_tokens_decoder), tokens, plain, normalized, (message) => refuse(`tokenizer_config.json: ${message}`));
  // Where text is taken as it is, there is no difference.
  const normalizes = "nfc" in how ? how.nfc : !how.keepsSpace;
  requireAll(tokens, inMain);

  const idOf = (key: string): number | undefined => {
    const value = config[key] ?? specialMap[key];
    if (isAbsent(value)) return undefined;
    const text = isObject(value) ? value.content : value;
    const id = typeof text === "string" ? tokens.indexOf(text) : -1;
    return id >= 0 ? id : refuse(`${key} is ${show(text)}, which is not in the vocabulary`);
  };
  const { bos: templateBos, eos: templateEos } = readTemplate(main.post_processor, inMain);
  const configBos = idOf("bos_token");
  if (templateBos !== undefined && configBos !== undefined && templateBos !== configBos) {
    inMain(`post_processor starts text with token ${templateBos}, but bos_token is ${configBos}`);
  }
  const flag = (key: string): boolean | undefined => {
    const value = config[key];
    if (isAbsent(value) || typeof value === "boolean") return value ?? undefined;
    return refuse(`tokenizer_config.json: ${key} is ${show(value)}, not true or false`);
  };
  const eosId = idOf("eos_token");
  const common = {
    source: "tokenizer.json",
    file,
    tokens: StringList.from(tokens),
    plain,
    normalized: normalizes ? normalized : new Set<number>(),
    bosId: configBos ?? templateBos,
    // What stands behind a text first.
    eosIds: [...new Set([templateEos, eosId])].filter((id) => id !== undefined),
    endIds: [],
    addsBos: flag("add_bos_token") ?? templateBos !== undefined,
    addsEos: flag("add_eos_token") ?? templateEos !== undefined,
    notes: [],
  } as const;
  const pairs = StringList.from(merges);
  return "split" in how
    ? { ...common, kind: "byte-level", merges: pairs, ignoreMerges, ...how }
    : { ...common, kind: "pieces", order: { merges: pairs }, ...how };
}

function readModel(model: unknown, refuse: Refuse): { tokens: string[]; merges: string[]; ignoreMerges: boolean } {
  if (!isObject(model)) return refuse("model is missing");
  if (model.type !== "BPE") refuse(`model.type is ${show(model.type)}; only "BPE" is supported`);
  if (!isAbsent(model.dropout) && model.dropout !== 0) refuse(`model.dropout is ${show(model.dropout)}, so tokens would be random`);
  for (const key of ["continuing_subword_prefix", "end_of_word_suffix"]) {
    if (!isAbsent(model[key]) && model[key] !== "") refuse(`model.${key} is ${show(model[key])}, which is not supported`);
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
    return refuse(`${key} has ${quote(token)} with the id ${show(id)}`);
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

function readAddedTokens(list: unknown, tokens: string[], plain: Map<number, PlainKind>, normalized: Set<number>, refuse: Refuse): void {
  if (!Array.isArray(list)) refuse("added_tokens is not a list");
  for (const token of list as readonly unknown[]) {
    if (!isObject(token) || typeof token.content !== "string") refuse(`added_tokens has ${show(token)}, which is not a token`);
    const { id, content } = token;
    for (const key of ["lstrip", "rstrip", "single_word"]) {
      if (token[key] === true) refuse(`added_tokens has ${quote(content)} with ${key}, which is not supported`);
    }
    // The model's own vocabulary may have it already.
    const known = typeof id === "number" && tokens[id] === content;
    const placed = known ? id : place(tokens, id, content, "added_tokens", refuse);
    if (token.normalized === true && !plain.has(placed)) normalized.add(placed); // what tokenizer.json says comes first
    plain.set(placed, token.special === true ? "special" : "added");
  }
}

/** The ids that the post-processor puts before and behind a text; undefined: none. */
interface TemplateIds {
  readonly bos: number | undefined;
  readonly eos: number | undefined;
}

function readTemplate(postProcessor: unknown, refuse: Refuse): TemplateIds {
  if (isAbsent(postProcessor)) return { bos: undefined, eos: undefined };
  const steps: unknown = isObject(postProcessor) && postProcessor.type === "Sequence" ? postProcessor.processors : [postProcessor];
  if (!Array.isArray(steps)) return refuse("post_processor.processors is not a list");
  let found: TemplateIds | undefined;
  for (const step of steps as readonly unknown[]) {
    if (isObject(step) && step.type === "ByteLevel") continue; // concerns offsets only
    const single: unknown = isObject(step) && step.type === "TemplateProcessing" ? step.single : undefined;
    if (!isObject(step) || !Array.isArray(single) || found !== undefined) {
      return refuse(`post_processor is ${show(postProcessor)}; supported are "ByteLevel" and one "TemplateProcessing"`);
    }
    const pieces = single.map((piece: unknown) => (isObject(piece) ? piece : {}));
    const text = pieces.findIndex((piece) => isObject(piece.Sequence));
    const nameOf = (piece: JsonObject | undefined): unknown => (isObject(piece?.SpecialToken) ? piece.SpecialToken.id : undefined);
    const others = pieces.filter((_, index) => index !== text).map(nameOf);
    if (text < 0 || text > 1 || pieces.length > text + 2 || others.some((name) => typeof name !== "string"))
      return refuse(`post_processor turns a text into ${show(single)}; only one token before the text and one behind it are supported`);
    const idOf = (piece: JsonObject | undefined): number | undefined => {
      if (piece === undefined) return undefined;
      const name = nameOf(piece) as string;
      const known = step.special_tokens;
      const entry: unknown = isObject(known) && Object.hasOwn(known, name) ? known[name] : undefined;
      const ids: unknown = isObject(entry) ? entry.ids : undefined;
      return Array.isArray(ids) && ids.length === 1 && typeof ids[0] === "number"
        ? ids[0]
        : refuse(`post_processor has no id for ${quote(name)}`);
    };
    found = { bos: idOf(pieces[text - 1]), eos: idOf(pieces[text + 1]) };
  }
  return found ?? { bos: undefined, eos: undefined };
}
