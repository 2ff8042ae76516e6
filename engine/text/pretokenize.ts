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
  threeDigits: "[0-9][0-9][0-9]",
} as const satisfies Readonly<Record<string, string>>;

/**
 * The same rules for JavaScript. `\s` is spelled out, because JavaScript's own lacks U+0085 and has U+FEFF. `(?i:…)`, which Node 20
 * doesn't know, is expanded as Oniguruma folds case: "ſ" (U+017F) is an s, and no other letter beyond ASCII folds into these.
 * Every character falls under some alternative, so a match always starts where the last one ended (`y`).
 * None backtracks further than the run of like characters it stands in, and each run is tried a fixed number of times: linear time.
 */
const splitters = {
  llama3:
    /'(?:[sSſtTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\p{White_Space}\p{L}\p{N}]+[\r\n]*|\p{White_Space}*[\r\n]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/uy,
  gpt2: /'(?:[stmd]|re|ve|ll)| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/uy,
  qwen2:
    /'(?:[sSſtTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\p{White_Space}\p{L}\p{N}]+[\r\n]*|\p{White_Space}*[\r\n]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/uy,
  threeDigits: /[0-9]{3}|(?:(?![0-9]{3}).)+/suy,
  // Hugging Face's "Punctuation" and "Digits", which call all of ASCII's symbols punctuation, and numbers digits.
  punctuation: /[\p{P}$+<=>^`|~]+|[^\p{P}$+<=>^`|~]+/uy,
  punctuationMarks: /[\p{P}$+<=>^`|~]|[^\p{P}$+<=>^`|~]+/uy,
  digits: /\p{N}+|\P{N}+/uy,
  digit: /\p{N}|\P{N}+/uy,
  asciiDigits: /[0-9]+|[^0-9]+/uy,
  asciiDigit: /[0-9]|[^0-9]+/uy,
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
    splitter.lastIndex = start;
    splitter.test(text);
    const end = splitter.lastIndex;
    if (isLast) word(offset + start, offset + end);
    else cut(text.slice(start, end), offset + start, rule, step + 1, word); // a cut sees no further than its piece
    start = end;
  }
}
