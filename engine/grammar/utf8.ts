import type { Ranges } from "./expression.js";

/** Bytes that a character's first, second … byte may be, both ends included. */
export type ByteRanges = readonly (readonly [first: number, last: number])[];

/** Code points whose UTF-8 has the same length; surrogates have none. */
const stretches: readonly (readonly [first: number, last: number, bytes: number])[] = [
  [0, 0x7f, 1],
  [0x80, 0x7ff, 2],
  [0x800, 0xd7ff, 3],
  [0xe000, 0xffff, 3],
  [0x10000, 0x10ffff, 4],
];

/** The UTF-8 of a set of characters, as few sequences of byte ranges. */
export function utf8Ranges(ranges: Ranges): ByteRanges[] {
  const sequences: ByteRanges[] = [];
  for (const [first, last] of ranges) {
    for (const [start, end, bytes] of stretches) {
      if (start <= last && end >= first) split(Math.max(first, start), Math.min(last, end), bytes - 1, [], sequences);
    }
  }
  return sequences;
}

/** Cuts a range until its last bytes run through all of 0x80 to 0xbf, or through one range. @param tail bytes after the one at hand */
function split(first: number, last: number, tail: number, before: ByteRanges, out: ByteRanges[]): void {
  const isLead = before.length === 0;
  const lead = isLead ? ([0, 0xc0, 0xe0, 0xf0] as const)[tail]! : 0x80;
  const shift = 6 * tail;
  const high = first >> shift;
  if (tail === 0) {
    out.push([...before, [lead + first, lead + last]]);
    return;
  }
  const rest = (1 << shift) - 1;
  const top = last >> shift;
  if (high === top) {
    split(first & rest, last & rest, tail - 1, [...before, [lead + high, lead + high]], out);
    return;
  }
  let from = high;
  let to = top;
  if ((first & rest) !== 0) {
    split(first & rest, rest, tail - 1, [...before, [lead + high, lead + high]], out);
    from++;
  }
  if ((last & rest) !== rest) to--;
  if (from <= to) split(0, rest, tail - 1, [...before, [lead + from, lead + to]], out);
  if (to < top) split(0, last & rest, tail - 1, [...before, [lead + top, lead + top]], out);
}
