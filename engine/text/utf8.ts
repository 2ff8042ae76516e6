/**
 * Bytes that are not UTF-8 travel through strings as lone surrogates: byte b as U+DC00 + b (Python's "surrogateescape").
 * Well-formed text has none, so nothing is mixed up, and the split rules see such a byte as a symbol.
 */
const escapeBase = 0xdc00;

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
const strictDecoder = new TextDecoder("utf-8", { ignoreBOM: true, fatal: true });

/** A half of a surrogate pair without the other. */
export const loneSurrogate = /\p{Surrogate}/gu;

/** Bytes as text, what is not UTF-8 as U+FFFD, a BOM kept. */
export function decodeUtf8(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

/** Length of the UTF-8 character at `bytes[at]` that ends before `end`, 0 if there is none (Unicode, table 3-7: no overlong forms, no surrogates). */
export function characterLength(bytes: Uint8Array, at: number, end: number): number {
  const lead = bytes[at]!;
  if (lead < 0x80) return 1;
  const length = lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
  if (at + length > end) return 0;
  for (let i = 1; i < length; i++) {
    const low = i > 1 ? 0x80 : lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
    const high = i > 1 ? 0xbf : lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
    if (bytes[at + i]! < low || bytes[at + i]! > high) return 0;
  }
  return length;
}

/** Bytes as text from which `writeBytes` makes the very bytes again. */
export function escapeBytes(bytes: Uint8Array): string {
  try {
    return strictDecoder.decode(bytes);
  } catch {
    // Not UTF-8 throughout: decode the stretches that are.
  }
  const parts: string[] = [];
  let start = 0;
  for (let i = 0; i < bytes.length; ) {
    const length = characterLength(bytes, i, bytes.length);
    if (length === 0) {
      parts.push(decodeUtf8(bytes.subarray(start, i)), String.fromCharCode(escapeBase + bytes[i]!));
      start = i + 1;
    }
    i += length || 1;
  }
  parts.push(decodeUtf8(bytes.subarray(start)));
  return parts.join("");
}

/** Writes `text[from, to)` to `out` as UTF-8, lone surrogates as the bytes they stand for; the number of bytes, at most 3 a unit. */
export function writeBytes(text: string, from: number, to: number, out: Uint8Array): number {
  let at = 0;
  for (let i = from; i < to; i++) {
    const code = text.codePointAt(i)!;
    if (code < 0x80) {
      out[at++] = code;
    } else if (code < 0x800) {
      out[at++] = 0xc0 | (code >> 6);
      out[at++] = 0x80 | (code & 63);
    } else if (code >= escapeBase && code < escapeBase + 0x100) {
      out[at++] = code - escapeBase;
    } else if (code < 0x10000) {
      out[at++] = 0xe0 | (code >> 12);
      out[at++] = 0x80 | ((code >> 6) & 63);
      out[at++] = 0x80 | (code & 63);
    } else {
      out[at++] = 0xf0 | (code >> 18);
      out[at++] = 0x80 | ((code >> 12) & 63);
      out[at++] = 0x80 | ((code >> 6) & 63);
      out[at++] = 0x80 | (code & 63);
      i++; // the pair's second half
    }
  }
  return at;
}
