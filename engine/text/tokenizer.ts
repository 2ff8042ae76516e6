import { quote } from "../container/quote.js";
import { BitnetError } from "../errors.js";
import { AddedTokens, maxAddedLength, maxAddedTotal } from "./added-tokens.js";
import { BytePairEncoder, MergeTable, maxEntries, TableError, TokenTable } from "./bpe.js";
import { spellBytes } from "./byte-alphabet.js";
import { createDecoder } from "./decoder.js";
import { splitWords } from "./pretokenize.js";
import type { Tokenizer } from "./types.js";
import { decodeUtf8, escapeBytes, loneSurrogate, writeBytes } from "./utf8.js";
import { type Vocabulary, vocabularyKeys } from "./vocabulary.js";

/** Refuses the vocabulary: a message that begins with the key. */
type Refuse = (message: string) => never;

const noBytes = new Uint8Array(0);

/**
 * A tokenizer from what a file says. Everything is checked here, so that nothing can fail later: throws a BitnetError `tokenizer` for
 * tokens that are double, missing for some byte or too many, for merges of what is no token, and for BOS or EOS ids out of range.
 */
export function createTokenizer(vocabulary: Vocabulary): Tokenizer {
  const { source, tokens, plain, split, ignoreMerges, bosId, eosIds, addsBos } = vocabulary;
  const keys = vocabularyKeys[source];
  const refuse: Refuse = (message) => {
    throw new BitnetError("tokenizer", `${vocabulary.file}: ${message}`, { file: vocabulary.file });
  };
  const size = tokens.length;
  if (size > maxEntries) refuse(`${keys.tokens} has ${size} tokens, more than the ${maxEntries} this engine takes`);
  if (vocabulary.merges.length > maxEntries) {
    refuse(`${keys.merges} has ${vocabulary.merges.length} merges, more than the ${maxEntries} this engine takes`);
  }
  const isId = (id: number) => Number.isInteger(id) && id >= 0 && id < size;
  if (bosId !== undefined && !isId(bosId)) refuse(`${keys.bos} is ${bosId}, but the vocabulary has the ids 0 to ${size - 1}`);
  for (const id of eosIds) if (!isId(id)) refuse(`${keys.eos} is ${id}, but the vocabulary has the ids 0 to ${size - 1}`);
  if (addsBos && bosId === undefined) refuse(`text is to begin with a BOS token, but ${keys.bos} is missing`);

  const { table, texts } = readTokens(vocabulary, refuse);
  const byteIds = Int32Array.from({ length: 256 }, (_, byte) => table.find(Uint8Array.of(byte), 0, 1));
  const bytesWithout = byteIds.indexOf(-1);
  if (bytesWithout >= 0) refuse(`${keys.tokens} has no token for the byte 0x${bytesWithout.toString(16).padStart(2, "0")}`);
  const merges = orRefuse(() => new MergeTable(vocabulary.merges, table), keys.merges, refuse);
  const encoder = new BytePairEncoder(byteIds, merges);

  const inText = readAddedTokens(vocabulary, texts, refuse);
  const anyTokens = new AddedTokens(inText);
  const addedTokens = new AddedTokens(inText.filter(([, id]) => plain.get(id) === "added"));

  const isSpecial = (id: number) => plain.has(id) && plain.get(id) !== "added";
  const bytesOf = (id: number, special: boolean): Uint8Array => {
    if (!isId(id)) throw new BitnetError("usage", `token id ${id} is not in the vocabulary, whose ids are 0 to ${size - 1}`);
    return !special && isSpecial(id) ? noBytes : table.bytes.subarray(table.starts[id]!, table.starts[id + 1]!);
  };

  let word = new Uint8Array(1024); // the bytes of one word
  const encodeStretch = (text: string, out: number[]) =>
    splitWords(text, split, (start, end) => {
      if (word.length < 3 * (end - start)) word = new Uint8Array(6 * (end - start));
      const length = writeBytes(text, start, end, word);
      const whole = ignoreMerges ? table.find(word, 0, length) : -1;
      if (whole >= 0) out.push(whole);
      else encoder.encode(word, length, out);
    });
  const encodeEscaped = (text: string, { bos = true, special = true }): number[] => {
    const out: number[] = [];
    if (bos && addsBos) out.push(bosId!);
    (special ? anyTokens : addedTokens).scan(
      text,
      (start, end) => encodeStretch(text.slice(start, end), out),
      (id) => out.push(id),
    );
    return out;
  };

  const decodeBytes: Tokenizer["decodeBytes"] = (ids, { special = true } = {}) => {
    const parts = ids.map((id) => bytesOf(id, special));
    const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      bytes.set(part, at);
      at += part.length;
    }
    return bytes;
  };

  return {
    source,
    size,
    bosId,
    eosIds,
    addsBos,
    encode: (text, options = {}) => encodeEscaped(text.replace(loneSurrogate, "\ufffd"), options),
    encodeBytes: (bytes, options = {}) => encodeEscaped(escapeBytes(bytes), options),
    decodeBytes,
    decode: (ids, options) => decodeUtf8(decodeBytes(ids, options)),
    decoder: ({ special = false } = {}) => createDecoder((id) => bytesOf(id, special)),
    idOf: (token) => {
      const bytes = new TextEncoder().encode(token);
      const id = texts.get(token) ?? table.find(bytes, 0, bytes.length);
      return id < 0 ? undefined : id;
    },
    textOf: (id) => decodeUtf8(bytesOf(id, true)),
    isSpecial,
  };
}

/** Runs what may throw a TableError, and refuses the vocabulary if it does. */
function orRefuse<T>(make: () => T, key: string, refuse: Refuse): T {
  try {
    return make();
  } catch (error) {
    if (error instanceof TableError) return refuse(`${key} ${error.message}`);
    throw error;
  }
}

/** The tokens as bytes, of which those in the byte-level alphabet can be found; and text → id of the others. */
function readTokens({ source, tokens, plain }: Vocabulary, refuse: Refuse): { table: TokenTable; texts: Map<string, number> } {
  const key = vocabularyKeys[source].tokens;
  const units = tokens.reduce((sum, token) => sum + token.length, 0);
  const bytes = new Uint8Array(3 * units); // a UTF-16 unit is 3 bytes at most
  const starts = new Uint32Array(tokens.length + 1);
  const texts = new Map<string, number>();
  const utf8 = new TextEncoder();
  const once = (id: number, first: number) => {
    if (first !== id) refuse(`${key} has ${quote(tokens[id]!)} twice, as ${first} and ${id}`);
  };
  for (let id = 0, at = 0; id < tokens.length; id++) {
    const token = tokens[id]!;
    const end = plain.has(id) ? -1 : spellBytes(token, 0, token.length, bytes, at);
    if (end < 0) {
      // Special, or outside the alphabet: then it stands for its own text, as in Hugging Face's decoder, and no text leads to it.
      once(id, texts.get(token) ?? id);
      texts.set(token, id);
    }
    at = end < 0 ? at + utf8.encodeInto(token, bytes.subarray(at)).written : end;
    starts[id + 1] = at;
  }
  const table = new TokenTable(bytes.slice(0, starts[tokens.length]), starts);
  const insert = (id: number) => once(id, table.insert(id));
  orRefuse(
    () => {
      // `texts` is in the order of ids: what lies between is spelled.
      let id = 0;
      for (const other of texts.values()) {
        while (id < other) insert(id++);
        id = other + 1;
      }
      while (id < tokens.length) insert(id++);
    },
    key,
    refuse,
  );
  // The same string may not be a special token and a common one.
  for (const [token, id] of texts) {
    const spelled = new Uint8Array(token.length);
    const end = spellBytes(token, 0, token.length, spelled, 0);
    const twin = end < 0 ? -1 : table.find(spelled, 0, end);
    if (twin >= 0) once(Math.max(id, twin), Math.min(id, twin));
  }
  return { table, texts };
}

/** The tokens to look for in text, with their ids. Refuses what would make that slow, or could never be found. */
function readAddedTokens({ source, plain }: Vocabulary, texts: ReadonlyMap<string, number>, refuse: Refuse): [text: string, id: number][] {
  const key = vocabularyKeys[source].plain;
  const found: [string, number][] = [];
  let total = 0;
  for (const [text, id] of texts) {
    const kind = plain.get(id);
    if (kind === undefined || kind === "unused") continue;
    if (text === "") refuse(`${key} has a special token without text, ${id}`);
    if (text.search(loneSurrogate) >= 0) refuse(`${key} has half a character in the special token ${id}`);
    if (text.length > maxAddedLength) {
      refuse(`${key} has the special token ${quote(text)}, longer than the ${maxAddedLength} characters this engine takes`);
    }
    total += text.length;
    found.push([text, id]);
  }
  if (total > maxAddedTotal)
    refuse(`${key} has special tokens of ${total} characters in all, more than the ${maxAddedTotal} this engine takes`);
  return found;
}
