import { BYTES, checkArgument, IDS, isListOf, type Rule, type Rules, readOptions, TEXT, TRUE_OR_FALSE } from "../options.js";
import type { DecodeOptions, EncodeOptions, Tokenizer } from "./types.js";

/** Which there are is checked where they are looked up. `after` may be one that only the network has. */
const ID: Rule = { wanted: "a token id", holds: (value) => typeof value === "number" };

/** Where in the text they may lie is checked where it is scanned. */
const RANGES: Rule = {
  wanted: "a list of ranges [start, end)",
  holds: (value) => isListOf(value, (range) => isListOf(range, Number.isInteger) && (range as readonly unknown[]).length === 2),
};

/** A tokenizer that checks what it is called with, for callers of the library. @throws BitnetError usage */
export function checked(tokenizer: Tokenizer): Tokenizer {
  const encoding: Rules<EncodeOptions> = { bos: TRUE_OR_FALSE, special: TRUE_OR_FALSE, literal: RANGES, after: ID };
  const { literal: _, ...encodingBytes } = encoding;
  const decoding: Rules<DecodeOptions> = { special: TRUE_OR_FALSE, after: ID };
  const checkIds = (ids: unknown): void => checkArgument("ids", ids, IDS);
  return {
    ...tokenizer,
    encode(text, options) {
      checkArgument("text", text, TEXT);
      return tokenizer.encode(text, readOptions("encode()", options, encoding));
    },
    encodeBytes(bytes, options) {
      checkArgument("bytes", bytes, BYTES);
      return tokenizer.encodeBytes(bytes, readOptions<Omit<EncodeOptions, "literal">>("encodeBytes()", options, encodingBytes));
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
          checkArgument("id", next, ID);
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
      checkArgument("id", token, ID);
      return tokenizer.textOf(token);
    },
    isSpecial(token) {
      checkArgument("id", token, ID);
      return tokenizer.isSpecial(token);
    },
  };
}
