/** A rule that cuts text into words before byte pairs are merged. */
export type SplitRule = "llama3" | "gpt2";

/** The rules as the files spell them, in Oniguruma's syntax: how a tokenizer.json's rule is recognised. */
export const splitPatterns: Readonly<Record<SplitRule, string>> = {
  llama3:
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
  gpt2: "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
};

/**
 * The same rules for JavaScript. `\s` is spelled out, because JavaScript's own lacks U+0085 and has U+FEFF. `(?i:…)`, which Node 20
 * doesn't know, is expanded as Oniguruma folds case: "ſ" (U+017F) is an s, and no other letter beyond ASCII folds into these.
 * Every character falls under some alternative, so a match always starts where the last one ended (`y`).
 * None backtracks further than the run of like characters it stands in, and each run is tried a fixed number of times: linear time.
 */
const splitters: Readonly<Record<SplitRule, RegExp>> = {
  llama3:
    /'(?:[sSſtTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\p{White_Space}\p{L}\p{N}]+[\r\n]*|\p{White_Space}*[\r\n]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/uy,
  gpt2: /'(?:[stmd]|re|ve|ll)| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/uy,
};

/** Calls `word` with the bounds [start, end) of each word of the text, in UTF-16 units. They cover the text without a gap. */
export function splitWords(text: string, rule: SplitRule, word: (start: number, end: number) => void): void {
  const splitter = splitters[rule];
  for (let start = 0; start < text.length; ) {
    splitter.lastIndex = start;
    splitter.test(text);
    const end = splitter.lastIndex;
    word(start, end);
    start = end;
  }
}
