import { Class, classAt, runEnd, unitsAt } from "./characters.js";

/** One cut through text. */
export type SplitStep = keyof typeof splitters;

/** A rule that cuts text into words before byte pairs are merged: one cut after another, each through the pieces of the one before. */
export type SplitRule = readonly SplitStep[];

/** The rules as the files spell them, in Oniguruma's syntax: how a tokenizer.json's rule is recognised. No other is ever run. */
export const splitPatterns = {
  llama3:
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
  gpt2: "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
  qwen2: "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
  qwen35:
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
  threeDigits: "[0-9][0-9][0-9]",
} as const satisfies Readonly<Record<string, string>>;

/** What differs between the rules of the one kind, GPT-2's and those that were made of it. */
interface WordRule {
  /** Contractions ('ll) in either case, "ſ" (U+017F) too, which Oniguruma folds to an s; no other letter beyond ASCII folds into these. */
  readonly anyCase: boolean;
  /** Letters may have any one character before them that is no letter, number or line end; else only a space. */
  readonly anyPrefix: boolean;
  /** What counts as a letter: bits of classes. */
  readonly letters: number;
  /** Digits of a number, at most. */
  readonly digits: number;
  /** A number may have a space before it. */
  readonly spacedNumbers: boolean;
  /** Line ends belong to the symbols before them, and end a stretch of white space. */
  readonly lineEnds: boolean;
}

const { letter, mark, number, space, punctuation } = Class;

const isLineEnd = (text: string, at: number) => text[at] === "\r" || text[at] === "\n";
const isDigit = (text: string, at: number) => text.charCodeAt(at) - 0x30 >= 0 && text.charCodeAt(at) <= 0x39;
const areThreeDigits = (text: string, at: number) => isDigit(text, at) && isDigit(text, at + 1) && isDigit(text, at + 2);

/** Where the contraction ends that begins with the apostrophe at `text[at]`; `at` if there is none. */
function contractionEnd(text: string, at: number, anyCase: boolean): number {
  const first = anyCase ? text[at + 1]?.toLowerCase() : text[at + 1];
  if (first === undefined) return at;
  if ("stmd".includes(first) || (anyCase && first === "ſ")) return at + 2;
  const second = anyCase ? text[at + 2]?.toLowerCase() : text[at + 2];
  const isTwo = ((first === "r" || first === "v") && second === "e") || (first === "l" && second === "l");
  return isTwo ? at + 3 : at;
}

/**
 * Where the word ends that begins at `text[at]`, as the pattern's alternatives have it, tried in their order. By hand and not by a regular
 * expression: V8 keeps a place to go back to for each character of a run beyond Latin-1, and its stack for them ends at four million.
 */
function wordEnd(text: string, at: number, rule: WordRule): number {
  const here = classAt(text, at);
  const { letters } = rule;
  if (text[at] === "'") {
    const end = contractionEnd(text, at, rule.anyCase);
    if (end > at) return end;
  }
  // Letters, with what may stand before them.
  if (here & letters) return runEnd(text, at, letters, true);
  const isSpace = text[at] === " ";
  const next = at + unitsAt(text, at);
  const mayPrefix = rule.anyPrefix ? (here & number) === 0 && !isLineEnd(text, at) : isSpace;
  if (mayPrefix && classAt(text, next) & letters) return runEnd(text, next, letters, true);
  // Numbers.
  if (here & number) return runEnd(text, at, number, true, rule.digits);
  if (isSpace && rule.spacedNumbers && classAt(text, next) & number) return runEnd(text, next, number, true, rule.digits);
  // Symbols.
  const symbols = isSpace ? next : at;
  let end = runEnd(text, symbols, letters | number | space, false);
  if (end > symbols) {
    while (rule.lineEnds && isLineEnd(text, end)) end++;
    return end;
  }
  // White space: up to its last line end; or all, but for the last one where more follows.
  end = runEnd(text, at, space, true);
  if (rule.lineEnds) {
    for (let last = end; last > at; last--) if (isLineEnd(text, last - 1)) return last;
  }
  return end < text.length && end - 1 > at ? end - 1 : end;
}

const byRule = (rule: WordRule) => (text: string, at: number) => wordEnd(text, at, rule);
/** Runs of a class, or of what is of none of them; or one of the class at a time. */
const byClass =
  (bits: number, most = Infinity) =>
  (text: string, at: number) => {
    const isIn = (classAt(text, at) & bits) !== 0;
    return runEnd(text, at, bits, isIn, isIn ? most : Infinity);
  };
const byDigits = (most: number) => (text: string, at: number) => {
  let end = at;
  const isIn = isDigit(text, at);
  while (end < text.length && isDigit(text, end) === isIn && !(isIn && end - at >= most)) end++;
  return end;
};

/** The same rules as functions: where the word ends that begins at a place. Each looks at each character a fixed number of times: linear time. */
const splitters = {
  llama3: byRule({ letters: letter, anyCase: true, anyPrefix: true, digits: 3, spacedNumbers: false, lineEnds: true }),
  gpt2: byRule({ letters: letter, anyCase: false, anyPrefix: false, digits: Infinity, spacedNumbers: true, lineEnds: false }),
  qwen2: byRule({ letters: letter, anyCase: true, anyPrefix: true, digits: 1, spacedNumbers: false, lineEnds: true }),
  qwen35: byRule({ letters: letter | mark, anyCase: true, anyPrefix: true, digits: 1, spacedNumbers: false, lineEnds: true }),
  threeDigits: (text: string, at: number) => {
    if (areThreeDigits(text, at)) return at + 3;
    do at++;
    while (at < text.length && !areThreeDigits(text, at));
    return at;
  },
  // Hugging Face's "Punctuation" and "Digits".
  punctuation: byClass(punctuation),
  punctuationMarks: byClass(punctuation, 1),
  digits: byClass(number),
  digit: byClass(number, 1),
  asciiDigits: byDigits(Infinity),
  asciiDigit: byDigits(1),
};

/** Calls `word` with the bounds [start, end) of each word of the text, in UTF-16 units. They cover the text without a gap. */
export function splitWords(text: string, rule: SplitRule, word: (start: number, end: number) => void): void {
  cut(text, 0, rule, 0, word);
}

/** Cuts a text that stands at `offset` by the steps of the rule from the `step`th on. */
function cut(text: string, offset: number, rule: SplitRule, step: number, word: (start: number, end: number) => void): void {
  const splitter = splitters[rule[step]!];
  const isLast = step + 1 === rule.length;
  for (let start = 0; start < text.length; ) {
    const end = splitter(text, start);
    if (isLast) word(offset + start, offset + end);
    else cut(text.slice(start, end), offset + start, rule, step + 1, word); // a cut sees no further than its piece
    start = end;
  }
}
