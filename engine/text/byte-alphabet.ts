/**
 * GPT-2's byte-level alphabet: each byte has a printable character. The printable ones of Latin-1 stand for themselves,
 * the other 68 bytes are U+0100, U+0101, … in their order.
 */
const byteOfCode = new Int16Array(0x100 + 68).fill(-1); // [character code] → byte, −1 where there is none
for (let byte = 0, shifted = 0x100; byte < 256; byte++) {
  const printable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
  byteOfCode[printable ? byte : shifted++] = byte;
}

/** Writes the bytes that `text[from, to)` spells in the byte-level alphabet to `out[at…]`; their end there, or −1 if some character is not of it. */
export function spellBytes(text: string, from: number, to: number, out: Uint8Array, at: number): number {
  for (let i = from; i < to; i++) {
    const code = text.charCodeAt(i);
    const byte = code < byteOfCode.length ? byteOfCode[code]! : -1;
    if (byte < 0) return -1;
    out[at++] = byte;
  }
  return at;
}
