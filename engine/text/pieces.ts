import { quote } from "../container/quote.js";
import { MergeTable, PairMerger } from "./bpe.js";
import { type Codec, lastCounts, orRefuse, type Refuse, tableOf } from "./codec.js";
import { pieceAlphabet, spaceMark } from "./piece-alphabet.js";
import { ScoreMerger } from "./score-merger.js";
import { characterLength, writeBytes } from "./utf8.js";
import { type PieceVocabulary, vocabularyKeys } from "./vocabulary.js";

/** A byte's token: `<0x0A>`. */
export const byteToken = /^<0x([0-9A-F]{2})>$/;

/**
 * Bytes of a piece: each pair of neighbours that is looked for costs as much. SentencePiece's trainer makes pieces of 16 characters at most, unless told
 * otherwise; runs of spaces or dashes come to some hundred bytes.
 */
export const maxPieceBytes = 512;

/**
 * SentencePiece's BPE: a text is one word, in which "▁" stands for each space; its characters are merged into pieces, and what is no
 * piece is spelled in tokens of single bytes.
 */
export function pieceCodec(given: PieceVocabulary, refuse: Refuse): Codec {
  const vocabulary = { ...given, plain: withoutMarks(given) };
  const { plain, normalized, spacePrefix, keepsSpace } = vocabulary;
  const keys = vocabularyKeys[vocabulary.source];
  const table = tableOf(vocabulary, pieceAlphabet, refuse, maxPieceBytes);
  const { byteIds, byteOf } = readBytes(vocabulary, refuse);
  const { order } = vocabulary;
  const scored = "scores" in order ? new ScoreMerger(table, readScores(vocabulary, order.scores, refuse)) : undefined;
  // Merges make "▁" of spaces, and tokens that are looked for in normalised text may stand there otherwise: these can come of merges.
  const isApart = (id: number): boolean =>
    (plain.get(id) === "special" || plain.get(id) === "added") && !normalized?.has(id) && !vocabulary.tokens.at(id)!.includes(spaceMark);
  const paired =
    "merges" in order
      ? new PairMerger(orRefuse(() => new MergeTable(order.merges, table, lastCounts(vocabulary), isApart), keys.merges, refuse))
      : undefined;

  return {
    spacePrefix,
    isBorder: (id) => plain.has(id) && plain.get(id) !== "byte",
    normalize: (text, prefixed, ranges) => ({
      text: (prefixed ? spaceMark : "") + text.replaceAll(" ", spaceMark),
      ranges: prefixed ? ranges.map(([start, end]) => [start + 1, end + 1] as const) : ranges,
    }),
    encode(text, prefixed, out) {
      const prefix = prefixed && !(keepsSpace && /^[ ▁]/.test(text)) ? spaceMark : "";
      const marked = prefix + text.replaceAll(" ", spaceMark);
      const bytes = new Uint8Array(3 * marked.length);
      const length = writeBytes(marked, 0, marked.length, bytes);
      const starts = new Int32Array(length + 1); // [characters + 1] where each begins; the last: where one more would
      let characters = 0;
      for (let at = 0; at < length; at += characterLength(bytes, at, length) || 1) starts[characters++] = at;
      starts[characters] = length;
      const push = (id: number, from: number, to: number) => {
        if (id >= 0) out.push(id);
        else for (let at = from; at < to; at++) out.push(byteIds[bytes[at]!]!);
      };
      scored?.merge(bytes, starts, characters, push);
      paired?.merge(
        characters,
        (i) => table.findSpelled(bytes, starts[i]!, starts[i + 1]!),
        (id, i) => push(id, starts[i]!, starts[i + 1]!),
      );
    },
    maxBytes: (id) => table.maxBytes(id),
    longest: table.longest,
    write(id, out, at) {
      const byte = byteOf.get(id);
      if (byte === undefined) return table.write(id, out, at);
      out[at] = byte;
      return at + 1;
    },
    idOf: (text) => Math.max(table.findPlain(text), table.find(text, text.length)),
  };
}

/**
 * Plain tokens, but for added ones with "▁", such as Gemma's runs of spaces: a text has no such mark before its spaces become marks, so these are made by
 * merges, as in llama.cpp and in Hugging Face's library.
 */
function withoutMarks({ plain, tokens }: PieceVocabulary): PieceVocabulary["plain"] {
  return new Map([...plain].filter(([id, kind]) => kind !== "added" || !tokens.at(id)!.includes(spaceMark)));
}

/** The scores of pieces; tokens that take part in no merge need none, and have 0. */
function readScores({ source, plain }: PieceVocabulary, scores: ArrayLike<number>, refuse: Refuse): Float64Array {
  return Float64Array.from(scores, (score, id) => {
    if (plain.has(id)) return 0;
    if (Number.isFinite(score)) return score;
    return refuse(`${vocabularyKeys[source].scores} is ${score} for token ${id}, which is not a finite number`);
  });
}

/** The tokens of single bytes: all 256 must be there, or some text could not be told. */
function readBytes({ source, tokens, plain }: PieceVocabulary, refuse: Refuse): { byteIds: Int32Array; byteOf: Map<number, number> } {
  const key = vocabularyKeys[source].tokens;
  const byteIds = new Int32Array(256).fill(-1); // [256] token of each single byte
  const byteOf = new Map<number, number>();
  for (const [id, kind] of plain) {
    if (kind !== "byte") continue;
    const [, hex] =
      byteToken.exec(tokens.at(id)!) ??
      refuse(`${key} has ${quote(tokens.at(id)!)} at ${id} for a byte, but a form such as "<0x0A>" is required`);
    const byte = Number.parseInt(hex!, 16);
    byteIds[byte] = id;
    byteOf.set(id, byte);
  }
  const without = byteIds.indexOf(-1);
  if (without >= 0) refuse(`${key} has no token for the byte 0x${without.toString(16).padStart(2, "0")}`);
  return { byteIds, byteOf };
}
