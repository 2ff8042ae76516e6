import type { Alphabet } from "./token-table.js";

/** What SentencePiece writes for a space: U+2581. */
export const spaceMark = "▁";
const mark = Uint8Array.of(0xe2, 0x96, 0x81);
const space = 0x20;

/** SentencePiece's spelling: text as it is, but for its mark instead of spaces. */
export const pieceAlphabet: Alphabet = {
  maxSpelling: mark.length,
  spell(bytes, length, out, at) {
    for (let i = 0; i < length; i++) {
      if (bytes[i] === space) for (const byte of mark) out[at++] = byte;
      else out[at++] = bytes[i]!;
    }
    return at;
  },
  read(text, from, to, out, at) {
    for (let i = from; i < to; i++) {
      if (text[i] === mark[0] && text[i + 1] === mark[1] && text[i + 2] === mark[2] && i + 2 < to) {
        out[at++] = space;
        i += 2;
      } else {
        out[at++] = text[i]!;
      }
    }
    return at;
  },
};
