import { BYTES, checkArgument, IDS, type Rule, type Rules, readOptions, TEXT, TRUE_OR_FALSE } from "../options.js";
import type { DecodeOptions, EncodeOptions, Tokenizer } from "./types.js";

/** UTF-16 ranges of a text. */
const RANGES: Rule = {
  wanted: "a list of [start, end], in ascending order and without overlap",
  holds(value) {
    let last = 0;
    const follows = (range: unknown): boolean => {
      if (!Array.isArray(range) || range.length !== 2 || !range.every((at) => Number.isSafeInteger(at))) return false;
      const [start, end] = range as [number, number];
      if (start < last || end < start) return false;
      last = end;
      return true;
    };
    return Array.isArray(value) && value.every(follows);
  },
};

/** A tokenizer that checks what it is called with, for callers of the library. @throws BitnetError usage */
export function checked(tokenizer: Tokenizer): Tokenizer {
  const { size } = tokenizer;
  const id: Rule = {
    wanted: `a token id from 0 to ${size - 1}`,
    holds: (value) => Number.isInteger(value) && (value as number) >= 0 && (value as number) < size,
  };
  // A network may have ids that the tokenizer has no token for; a prompt may end with one.
  const any: Rule = { wanted: "a token id", holds: (value) => Number.isSafeInteger(value) && (value as number) >= 0 };
  const encoding: Rules<EncodeOptions> = { bos: TRUE_OR_FALSE, special: TRUE_OR_FALSE, after: any, literal: RANGES };
  const decoding: Rules<DecodeOptions> = { special: TRUE_OR_FALSE, after: any };
  const checkIds = (ids: unknown): void => checkArgument("ids", ids, IDS);
  return {
    ...tokenizer,
    encode(text, options) {
      checkArgument("text", text, TEXT);
      return tokenizer.encode(text, readOptions("encode()", options, encoding));
    },
    encodeBytes(bytes, options) {
      checkArgument("bytes", bytes, BYTES);
      return tokenizer.encodeBytes(bytes, readOptions("encodeBytes()", options, encoding));
    },
    decode(ids, options) {
      checkIds(ids);
      return tokenizer.decode(ids, readOptions("decode()", options, decoding));
    },
    decodeBytes(ids, options) {
      checkIds(ids);
      return tokenizer.decodeBytes(ids, readOptions("decodeBytes()", options, decoding));
    },
    decoder(options) {
      const decoder = tokenizer.decoder(readOptions("decoder()", options, decoding));
      return {
        push(next) {
          checkArgument("id", next, id);
          return decoder.push(next);
        },
        end: () => decoder.end(),
      };
    },
    idOf(token) {
      checkArgument("token", token, TEXT);
      return tokenizer.idOf(token);
    },
    textOf(token) {
      checkArgument("id", token, id);
      return tokenizer.textOf(token);
    },
    isSpecial(token) {
      checkArgument("id", token, any);
      return tokenizer.isSpecial(token);
    },
  };
}
