import { quote } from "../container/quote.js";
import { BitnetError } from "../errors.js";
import { shown } from "../options.js";
import { AddedTokens, maxAddedLength, maxAddedTotal, type TextRanges } from "./added-tokens.js";
import { byteLevelCodec } from "./byte-level.js";
import type { Refuse } from "./codec.js";
import { createDecoder } from "./decoder.js";
import { pieceCodec } from "./pieces.js";
import { maxEntries } from "./token-table.js";
import type { EncodeOptions, Tokenizer } from "./types.js";
import { decodeUtf8, escapeBytes, loneSurrogate } from "./utf8.js";
import { type Vocabulary, vocabularyKeys } from "./vocabulary.js";

const space = 0x20;

/**
 * A tokenizer from what a file says. Everything is checked here, so that nothing can fail later: throws a BitnetError `tokenizer` for
 * tokens that are double, missing for some byte or too many, for merges of what is no token, scores that are no numbers, and for BOS or EOS
 * ids out of range.
 */
export function createTokenizer(vocabulary: Vocabulary): Tokenizer {
  const { source, tokens, plain, bosId, eosIds, endIds, addsBos, addsEos, notes } = vocabulary;
  const keys = vocabularyKeys[source];
  const refuse: Refuse = (message) => {
    throw new BitnetError("tokenizer", `${vocabulary.file}: ${message}`, { file: vocabulary.file });
  };
  const size = tokens.length;
  if (size > maxEntries) refuse(`${keys.tokens} has ${size} tokens, but the limit is ${maxEntries}`);
  const merges = vocabulary.kind === "byte-level" ? vocabulary.merges : "merges" in vocabulary.order ? vocabulary.order.merges : undefined;
  if (merges !== undefined && merges.length > maxEntries) {
    refuse(`${keys.merges} has ${merges.length} merges, but the limit is ${maxEntries}`);
  }
  const isId = (id: number) => Number.isInteger(id) && id >= 0 && id < size;
  if (bosId !== undefined && !isId(bosId)) refuse(`${keys.bos} is ${bosId}, but the vocabulary has the ids 0 to ${size - 1}`);
  for (const id of eosIds) if (!isId(id)) refuse(`${keys.eos} is ${id}, but the vocabulary has the ids 0 to ${size - 1}`);
  if (addsEos && eosIds.length === 0) refuse("text should end with an EOS token, but the file names none");
  if (addsBos && bosId === undefined) refuse(`text should begin with a BOS token, but ${keys.bos} is missing`);
  const codec = vocabulary.kind === "byte-level" ? byteLevelCodec(vocabulary, refuse) : pieceCodec(vocabulary, refuse);

  const { normalized = new Set<number>() } = vocabulary;
  const inText = readAddedTokens(vocabulary, refuse);
  const finderOf = (tokens: [string, number][]) =>
    new AddedTokens(
      tokens.filter(([, id]) => plain.get(id) === "added"),
      tokens.filter(([, id]) => plain.get(id) === "special"),
    );
  const addedTokens = finderOf(inText.filter(([, id]) => !normalized.has(id)));
  const normalizedTokens =
    normalized.size === 0
      ? undefined
      : finderOf(
          inText
            .filter(([, id]) => normalized.has(id))
            .map(([text, id]) => [codec.normalize(text, codec.spacePrefix === "always", []).text, id]),
        );

  const isSpecial = (id: number) => plain.get(id) === "special" || plain.get(id) === "unused";
  /** Whether a space is put before the text that follows this token, or begins the text. */
  const isPrefixed = (after: number | undefined): boolean => {
    if (codec.spacePrefix === "never") return false;
    if (after === undefined || (addsBos && after === bosId)) return true;
    return codec.spacePrefix === "always" && codec.isBorder(after) && !normalized.has(after);
  };
  const decodeBytes: Tokenizer["decodeBytes"] = (ids, { special = true, after } = {}) => {
    let room = 0;
    for (const id of ids) {
      if (!isId(id)) throw new BitnetError("usage", `token id ${shown(id)} is not in the vocabulary, whose ids are 0 to ${size - 1}`);
      room += codec.maxBytes(id);
    }
    const bytes = new Uint8Array(room);
    let at = 0;
    let before = after;
    for (const id of ids) {
      if (special || !isSpecial(id)) {
        const end = codec.write(id, bytes, at);
        const drops = isPrefixed(before) && !codec.isBorder(id) && bytes[at] === space && end > at;
        if (drops) bytes.copyWithin(at, at + 1, end);
        at = drops ? end - 1 : end;
      }
      before = id;
    }
    return bytes.slice(0, at);
  };

  const encodeEscaped = (text: string, { bos = true, special = true, literal = [], after }: EncodeOptions): number[] => {
    const out: number[] = [];
    if (bos && addsBos) out.push(bosId!);
    checkRanges(literal, text.length);
    const push = (id: number) => out.push(id);
    let range = 0; // the first that doesn't end before the stretch at hand
    const encodeStretch = (start: number, end: number) => {
      const stretch = text.slice(start, end);
      // What doesn't begin the text follows a token in it.
      const prefixed = start === 0 ? isPrefixed(after) : codec.spacePrefix === "always";
      if (normalizedTokens === undefined) {
        codec.encode(stretch, prefixed, out);
        return;
      }
      while (range < literal.length && literal[range]![1] <= start) range++;
      const within: [number, number][] = [];
      for (let i = range; i < literal.length && literal[i]![0] < end; i++) {
        within.push([Math.max(literal[i]![0], start) - start, Math.min(literal[i]![1], end) - start]);
      }
      const formed = codec.normalize(stretch, prefixed, within);
      normalizedTokens.scan(formed.text, special, formed.ranges, (a, b) => codec.encode(formed.text.slice(a, b), false, out), push);
    };
    addedTokens.scan(text, special, literal, encodeStretch, push);
    return out;
  };

  return {
    source,
    size,
    bosId,
    eosIds,
    endIds,
    notes,
    addsBos,
    addsEos,
    longestToken: codec.longest,
    encode: (text, options = {}) => encodeEscaped(text.replace(loneSurrogate, "\ufffd"), options),
    encodeBytes: (bytes, options = {}) => encodeEscaped(escapeBytes(bytes), options),
    decodeBytes,
    decode: (ids, options) => decodeUtf8(decodeBytes(ids, options)),
    decoder: ({ special = false, after } = {}) => {
      let before = after;
      return createDecoder((id) => {
        const bytes = decodeBytes([id], { special, after: before });
        before = id;
        return bytes;
      });
    },
    idOf: (token) => {
      const id = codec.idOf(new TextEncoder().encode(token));
      return id < 0 ? undefined : id;
    },
    textOf: (id) => decodeUtf8(decodeBytes([id], { after: id })), // after any token that begins no text
    isSpecial,
  };
}

/** Ranges must be ascending stretches of a text of so many units, none over another. @throws BitnetError usage */
function checkRanges(ranges: TextRanges, length: number): void {
  let before = 0;
  for (const [start, end] of ranges) {
    if (!(Number.isInteger(start) && Number.isInteger(end) && before <= start && start <= end && end <= length)) {
      throw new BitnetError(
        "usage",
        `literal must be ascending ranges [start, end) of the text's ${length} UTF-16 units, without overlaps; [${start}, ${end}) is not`,
      );
    }
    before = end;
  }
}

/** The tokens to look for in text, with their ids. Refuses what would make that slow, or could never be found. */
function readAddedTokens({ source, plain, tokens }: Vocabulary, refuse: Refuse): [text: string, id: number][] {
  const key = vocabularyKeys[source].plain;
  const found: [string, number][] = [];
  let total = 0;
  for (const [id, kind] of plain) {
    if (kind === "unused" || kind === "byte") continue;
    const text = tokens.at(id)!;
    if (text === "") continue; // a filler
    if (text.search(loneSurrogate) >= 0) refuse(`${key} has half a character in the special token ${id}`);
    if (text.length > maxAddedLength) {
      refuse(`${key} has the special token ${quote(text)}, longer than the limit of ${maxAddedLength} characters`);
    }
    total += text.length;
    found.push([text, id]);
  }
  if (total > maxAddedTotal) refuse(`${key} has special tokens of ${total} characters in all, but the limit is ${maxAddedTotal}`);
  return found;
}
