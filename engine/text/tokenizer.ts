import { quote } from "../container/quote.js";
import { StringList } from "../container/string-list.js";
import { BitnetError } from "../errors.js";
import { AddedTokens, maxAddedLength, maxAddedTotal } from "./added-tokens.js";
import { BytePairEncoder, MergeTable } from "./bpe.js";
import { createDecoder } from "./decoder.js";
import { splitWords } from "./pretokenize.js";
import { maxEntries, TableError, TokenTable } from "./token-table.js";
import type { Tokenizer } from "./types.js";
import { decodeUtf8, escapeBytes, loneSurrogate, writeBytes } from "./utf8.js";
import { type Vocabulary, vocabularyKeys } from "./vocabulary.js";

/** Refuses the vocabulary: a message that begins with the key. */
type Refuse = (message: string) => never;

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

  // A copy: the list in hand may be a part of all that was read of the file.
  const table = orRefuse(
    () => new TokenTable(new StringList(tokens.bytes.slice(), tokens.starts), (id) => plain.has(id)),
    keys.tokens,
    refuse,
  );
  const byteIds = new Int32Array(256);
  const one = new Uint8Array(1);
  for (let byte = 0; byte < 256; byte++) {
    one[0] = byte;
    byteIds[byte] = table.find(one, 1);
  }
  const bytesWithout = byteIds.indexOf(-1);
  if (bytesWithout >= 0) refuse(`${keys.tokens} has no token for the byte 0x${bytesWithout.toString(16).padStart(2, "0")}`);
  const merges = orRefuse(() => new MergeTable(vocabulary.merges, table), keys.merges, refuse);
  const encoder = new BytePairEncoder(byteIds, merges);

  const inText = readAddedTokens(vocabulary, refuse);
  const anyTokens = new AddedTokens(inText);
  const addedTokens = new AddedTokens(inText.filter(([, id]) => plain.get(id) === "added"));

  const isSpecial = (id: number) => plain.has(id) && plain.get(id) !== "added";
  const decodeBytes: Tokenizer["decodeBytes"] = (ids, { special = true } = {}) => {
    let room = 0;
    for (const id of ids) {
      if (!isId(id)) throw new BitnetError("usage", `token id ${id} is not in the vocabulary, whose ids are 0 to ${size - 1}`);
      room += table.maxBytes(id);
    }
    const bytes = new Uint8Array(room);
    let at = 0;
    for (const id of ids) if (special || !isSpecial(id)) at = table.write(id, bytes, at);
    return bytes.slice(0, at);
  };

  let word = new Uint8Array(1024); // the bytes of one word
  const encodeStretch = (text: string, out: number[]) =>
    splitWords(text, split, (start, end) => {
      if (word.length < 3 * (end - start)) word = new Uint8Array(6 * (end - start));
      const length = writeBytes(text, start, end, word);
      const whole = ignoreMerges ? table.find(word, length) : -1;
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
    decoder: ({ special = false } = {}) => createDecoder((id) => decodeBytes([id], { special })),
    idOf: (token) => {
      const bytes = new TextEncoder().encode(token);
      const id = Math.max(table.findPlain(bytes), table.find(bytes, bytes.length));
      return id < 0 ? undefined : id;
    },
    textOf: (id) => decodeUtf8(decodeBytes([id])),
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

/** The tokens to look for in text, with their ids. Refuses what would make that slow, or could never be found. */
function readAddedTokens({ source, plain, tokens }: Vocabulary, refuse: Refuse): [text: string, id: number][] {
  const key = vocabularyKeys[source].plain;
  const found: [string, number][] = [];
  let total = 0;
  for (const [id, kind] of plain) {
    if (kind === "unused") continue;
    const text = tokens.at(id)!;
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
