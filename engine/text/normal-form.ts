import type { TextRanges } from "./added-tokens.js";

/**
 * A character that may join the one before it in normal form C: a mark, a vowel or final of Hangul, a vowel of Kirat Rai. No other does, so
 * that text may be cut before all others.
 */
const joins = /^[\p{M}\u1160-\u11ff\u{16d67}]/u;

const isApart = (text: string, at: number): boolean => {
  const isHalf = /[\udc00-\udfff]/.test(text.charAt(at)) && /[\ud800-\udbff]/.test(text.charAt(at - 1));
  return at === 0 || at === text.length || !(isHalf || joins.test(text.slice(at, at + 2)));
};

/**
 * Text in Unicode's normal form C, and where ranges of it are then. A range grows by the characters that its first and last ones join to, so
 * that none of its text is ever outside.
 */
export function toNormalForm(text: string, ranges: TextRanges): { readonly text: string; readonly ranges: TextRanges } {
  const whole = text.normalize("NFC");
  if (whole === text || ranges.length === 0) return { text: whole, ranges };
  const parts: string[] = [];
  const moved: [number, number][] = [];
  let done = 0; // of the text
  let length = 0; // of what it became
  const add = (end: number): number => {
    const part = text.slice(done, end).normalize("NFC");
    parts.push(part);
    done = end;
    length += part.length;
    return length;
  };
  for (const [from, to] of ranges) {
    let start = Math.max(from, done);
    let end = Math.max(to, done);
    while (start > done && !isApart(text, start)) start--;
    while (!isApart(text, end)) end++;
    if (start < end) moved.push([add(start), add(end)]);
  }
  add(text.length);
  return { text: parts.join(""), ranges: moved };
}
