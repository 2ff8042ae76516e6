import { characters, choice, type Expression, inBoth, otherThan, type Ranges, repeat, sequence, text } from "./expression.js";

/** Characters that JSON writes as they are. Surrogates are none: UTF-8 has no way to write them. */
const plain: Ranges = otherThan([
  [0, 0x1f],
  [0x22, 0x22],
  [0x5c, 0x5c],
  [0xd800, 0xdfff],
]);

/** The others, each with the way in which JSON.stringify writes it. */
const escaped: readonly (readonly [code: number, written: string])[] = [...Array(0x20).keys(), 0x22, 0x5c].map((code) => [
  code,
  JSON.stringify(String.fromCharCode(code)).slice(1, -1),
]);

const quote = text('"');

/** One of these characters in a JSON string, as JSON.stringify writes it. */
export function jsonCharacters(ranges: Ranges): Expression {
  const raw = inBoth(plain, ranges);
  const rest = escaped.filter(([code]) => ranges.some(([first, last]) => code >= first && code <= last));
  return choice(characters(raw), ...rest.map(([, written]) => text(written)));
}

/** A string whose text, as JSON.stringify writes it, is of this language. */
export const quoted = (body: Expression): Expression => sequence(quote, body, quote);

const digits = (ranges: string): Expression =>
  characters(ranges.split(" ").map((range) => [range.charCodeAt(0), range.charCodeAt(range.length - 1)]));
const hex = digits("0-9 A-F a-f");
const highSurrogate = sequence(digits("D d"), digits("8-9 A-B a-b"), hex, hex);
const lowSurrogate = sequence(digits("D d"), digits("C-F c-f"), hex, hex);
const noSurrogate = choice(sequence(digits("0-9 A-C a-c E-F e-f"), hex, hex, hex), sequence(digits("D d"), digits("0-7"), hex, hex));

/** Any character of a JSON string, in all ways that are valid: escapes give whole characters only, never half of a surrogate pair. */
const anyCharacter: Expression = choice(
  characters(plain),
  sequence(text("\\"), characters([...'"\\/bfnrt'].map((character) => [character.charCodeAt(0), character.charCodeAt(0)]))),
  sequence(text("\\u"), choice(noSurrogate, sequence(highSurrogate, text("\\u"), lowSurrogate))),
);

const anyString = quoted(repeat(anyCharacter, 0, Infinity));

/** A string of so many characters, with any of JSON's escapes. */
export function jsonString(least: number, most: number): Expression {
  return least === 0 && most === Infinity ? anyString : { kind: "counted", string: anyString, least, most };
}

/** A string of so many characters, in the one way in which JSON.stringify writes it: two are equal where their bytes are. */
export const plainString = (least: number, most: number): Expression => quoted(repeat(jsonCharacters(otherThan([])), least, most));
