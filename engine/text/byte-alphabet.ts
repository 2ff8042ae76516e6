/**
 * GPT-2's byte-level alphabet: each byte has a printable character. The printable ones of Latin-1 stand for themselves,
 * the other 68 bytes are U+0100, U+0101, … in their order. Vocabularies are spelled in it, here always as UTF-8.
 */
const byteOfCode = new Int16Array(0x100 + 68).fill(-1); // [character code] → byte, −1 where there is none
const codeOfByte = new Uint16Array(256);
for (let byte = 0, shifted = 0x100; byte < 256; byte++) {
  const printable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
  const code = printable ? byte : shifted++;
  byteOfCode[code] = byte;
  codeOfByte[byte] = code;
}

/** UTF-8 bytes that spell one byte, at most. */
export const maxSpelling = 2;

/** Writes the spelling of bytes[0, length) to `out[at…]`; its end there. */
export function spell(bytes: Uint8Array, length: number, out: Uint8Array, at: number): number {
  for (let i = 0; i < length; i++) {
    const code = codeOfByte[bytes[i]!]!;
    if (code < 0x80) {
      out[at++] = code;
    } else {
      out[at++] = 0xc0 | (code >> 6);
      out[at++] = 0x80 | (code & 63);
    }
  }
  return at;
}

/** Writes the bytes that text[from, to), whole UTF-8, spells to `out[at…]`; their end there, or −1 if some character is not of the alphabet. */
export function readSpelling(text: Uint8Array, from: number, to: number, out: Uint8Array, at: number): number {
  for (let i = from; i < to; i++) {
    let code = text[i]!;
    // Of more than two bytes none is of it; such a lead gives a code that isn't either.
    if (code >= 0x80) code = ((code - 0xc0) << 6) | (text[++i]! & 63);
    const byte = code < byteOfCode.length ? byteOfCode[code]! : -1;
    if (byte < 0) return -1;
    out[at++] = byte;
  }
  return at;
}
