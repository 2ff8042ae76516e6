import type { Meter } from "./meter.js";
import { changed, isSpace, type Text } from "./text.js";

// Python's case rules where JavaScript has none: title case, and what counts as a digit or a letter.

const cased = /^[\p{Uppercase}\p{Lowercase}\p{Lt}]$/u;
const upperCase = /^\p{Uppercase}$/u;
const lowerCase = /^\p{Lowercase}$/u;
const titleCase = /^\p{Lt}$/u;

/** A letter that begins a word. Most are upper-case letters; some digraphs, ligatures and Greek letters have a form of their own. */
function title(character: string): string {
  const code = character.codePointAt(0)!;
  if (code < 0x80) return character.toUpperCase();
  if (code >= 0x1c4 && code <= 0x1cc) return String.fromCodePoint([0x1c5, 0x1c8, 0x1cb][Math.floor((code - 0x1c4) / 3)]!);
  if (code >= 0x1f1 && code <= 0x1f3) return "\u01f2";
  if (code >= 0x10d0 && code <= 0x10ff) return character; // Georgian
  const base = code & ~0xf;
  if (base === 0x1f80 || base === 0x1f90 || base === 0x1fa0) return String.fromCodePoint(code | 8);
  if (code === 0x1fb3 || code === 0x1fbc) return "\u1fbc";
  if (code === 0x1fc3 || code === 0x1fcc) return "\u1fcc";
  if (code === 0x1ff3 || code === 0x1ffc) return "\u1ffc";
  if (code === 0x149) return "\u02bcN";
  const [first, ...rest] = Array.from(character.toUpperCase());
  // A Greek iota below the letter stays there.
  const tail = rest.join("").toLowerCase();
  return first + (code > 0x1f80 ? tail.replace(/\u03b9$/, "\u0345") : tail);
}

function map(text: Text, meter: Meter, change: (value: string) => string): Text {
  meter.text(3 * text.value.length); // no letter has more than three in another case
  return changed(text, change(text.value));
}

export function upper(text: Text, meter: Meter): Text {
  return map(text, meter, (value) => value.toUpperCase());
}

export function lower(text: Text, meter: Meter): Text {
  return map(text, meter, (value) => value.toLowerCase());
}

/** str.casefold: what upper case makes equal is equal, but for the Turkish ı. Cherokee alone folds to its upper case. */
export function caseFold(text: Text, meter: Meter): Text {
  meter.step(text.value.length);
  const fold = (one: string): string => {
    if (one === "ı") return one;
    const upper = one.toLowerCase().toUpperCase(); // ẞ is its own upper case
    return /^[\u13a0-\u13f5]$/.test(upper) ? upper : upper.toLowerCase();
  };
  return map(text, meter, (value) => Array.from(value, fold).join(""));
}

/** str.capitalize */
export function capitalize(text: Text, meter: Meter): Text {
  return map(text, meter, (value) => {
    if (value === "") return "";
    const first = String.fromCodePoint(value.codePointAt(0)!);
    return title(first) + value.toLowerCase().slice(first.toLowerCase().length);
  });
}

/** str.title: a word begins behind what has no case. */
export function titleWords(text: Text, meter: Meter): Text {
  meter.step(text.value.length);
  return map(text, meter, (value) => {
    let isInWord = false;
    let result = "";
    for (const character of value) {
      result += isInWord ? character.toLowerCase() : title(character);
      isInWord = cased.test(character);
    }
    return result;
  });
}

/** Jinja's title filter: a word begins behind white space, - ( { [ and <. */
export function titleFilter(text: Text, meter: Meter): Text {
  meter.step(text.value.length);
  return map(text, meter, (value) => {
    let begins = true;
    let result = "";
    let from = 0;
    const flush = (to: number): void => {
      if (to === from) return;
      const first = String.fromCodePoint(value.codePointAt(from)!);
      result += first.toUpperCase() + value.slice(from + first.length, to).toLowerCase();
    };
    for (let i = 0; i < value.length; i++) {
      const isBorder = "-({[<".includes(value[i]!) || isSpace(value.charCodeAt(i));
      if (isBorder === begins) continue;
      if (isBorder) flush(i);
      else result += value.slice(from, i);
      from = i;
      begins = isBorder;
    }
    if (begins) result += value.slice(from);
    else flush(value.length);
    return result;
  });
}

/** str.swapcase */
export function swapCase(text: Text, meter: Meter): Text {
  meter.step(text.value.length);
  return map(text, meter, (value) =>
    Array.from(value, (character) =>
      upperCase.test(character) ? character.toLowerCase() : lowerCase.test(character) ? character.toUpperCase() : character,
    ).join(""),
  );
}

const identifierStart = /^[\p{XID_Start}_]$/u;
const identifierPart = /^\p{XID_Continue}$/u;

/** Han characters that are numbers, of which Unicode has a list. */
const hanNumbers =
  "㐅㒃㠪㭍一七万三九二五亖亿什仟仨伍佰億兆兩八六十千卄卅卌叁参參叄四壱壹幺廾廿弌弍弎弐拾捌柒漆玖百肆萬貮貳贰阡陆陌陸零𠀁𠁤𠃢𠄡𠤪𠦃𠦌𠦜𠫪𠫽𠬙𢎐𢦘𣬛𦉭";

/** Tests that hold where there is a character, and all are of a kind. */
const allOf: Readonly<Record<string, (character: string) => boolean>> = {
  isalpha: (character) => /^\p{L}$/u.test(character),
  isdecimal: (character) => /^\p{Nd}$/u.test(character),
  isdigit: (character) =>
    /^[\p{Nd}\u00b2\u00b3\u00b9\u1369-\u1371\u19da\u2070\u2074-\u2079\u2080-\u2089\u2460-\u2468\u2474-\u247c\u2488-\u2490\u24ea\u24f5-\u24fd\u24ff\u2776-\u277e\u2780-\u2788\u278a-\u2792\u{10a40}-\u{10a43}\u{10e60}-\u{10e68}\u{11052}-\u{1105a}\u{1f100}-\u{1f10a}]$/u.test(
      character,
    ),
  isnumeric: (character) => /^\p{N}$/u.test(character) || hanNumbers.includes(character.normalize("NFC")),
  isalnum: (character) => /^[\p{L}\p{N}]$/u.test(character),
  isspace: (character) => character.length === 1 && isSpace(character.charCodeAt(0)),
};

/** str.isalpha and its kind; undefined if there is no such test. */
export function letterTest(name: string): ((value: string) => boolean) | undefined {
  const each = Object.hasOwn(allOf, name) ? allOf[name] : undefined;
  if (each) return (value) => value !== "" && Array.from(value).every(each);
  switch (name) {
    case "isascii":
      return (value) => /^[\0-\x7f]*$/.test(value);
    case "isupper":
      return (value) => /\p{Uppercase}/u.test(value) && !/[\p{Lowercase}\p{Lt}]/u.test(value);
    case "islower":
      return (value) => /\p{Lowercase}/u.test(value) && !/[\p{Uppercase}\p{Lt}]/u.test(value);
    case "isidentifier":
      return (value) =>
        Array.from(value).every((character, i) => (i === 0 ? identifierStart : identifierPart).test(character)) && value !== "";
    case "istitle":
      return isTitle;
  }
  return undefined;
}

function isTitle(value: string): boolean {
  let isInWord = false;
  let found = false;
  for (const character of value) {
    if (upperCase.test(character) || titleCase.test(character)) {
      if (isInWord) return false;
      isInWord = true;
      found = true;
    } else if (lowerCase.test(character)) {
      if (!isInWord) return false;
    } else isInWord = false;
  }
  return found;
}

/** Whether a name begins, or goes on, with this character. */
export function isNamePart(character: string, isFirst: boolean): boolean {
  return (isFirst ? identifierStart : identifierPart).test(character);
}
