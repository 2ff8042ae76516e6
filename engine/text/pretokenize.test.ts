import { Tokenizer as HfTokenizer } from "@huggingface/tokenizers";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type GoldenStrings, readJson } from "./fixtures.test.helper.js";
import { readSplit } from "./json-steps.js";
import { type SplitRule, splitPatterns, splitWords } from "./pretokenize.js";

type Known = keyof typeof splitPatterns;

function words(text: string, ...rule: SplitRule): string[] {
  const found: string[] = [];
  splitWords(text, rule, (start, end) => found.push(text.slice(start, end)));
  return found;
}

const byteLevel = { type: "ByteLevel", add_prefix_space: false, use_regex: false };
const split = (rule: Known) => ({ type: "Split", pattern: { Regex: splitPatterns[rule] }, behavior: "Isolated", invert: false });

/** Hugging Face's reading of the steps as a file spells them; it gives words in the byte-level alphabet, a character a byte. */
function oracle(pretokenizers: readonly object[]) {
  const { pre_tokenizer } = new HfTokenizer(
    {
      model: { type: "BPE", vocab: {}, merges: [] },
      pre_tokenizer: { type: "Sequence", pretokenizers },
      normalizer: null,
      post_processor: null,
      decoder: null,
      added_tokens: [],
    },
    {},
  );
  return (text: string): string[] => pre_tokenizer!.pre_tokenize(text);
}

const lengths = (list: readonly string[]) => list.map((word) => Buffer.byteLength(word));

/** Text made to meet the rules' edges, besides any Unicode at all. */
const texts = fc.array(
  fc.oneof(
    {
      weight: 8,
      arbitrary: fc.constantFrom(
        ..." \u00a0\u0085\ufeff\u2028\u3000\u180e\u200b\t\n\r\v\u001c'''’sStTmMdDrRlLvVeEaé中ñ\u0303٣²Ⅻ1234!-_.😀𝒳🏳\u{1d7ce}",
      ),
    },
    { weight: 2, arbitrary: fc.constantFrom("'re", "'VE", "'ll", "'lL", "\r\n", "  ", "'s", "'S", "'d") },
    { weight: 1, arbitrary: fc.string({ unit: "binary", maxLength: 3 }) },
  ),
  { maxLength: 24 },
);

describe.each<Exclude<Known, "threeDigits">>(["llama3", "gpt2", "qwen2", "qwen35"])("the %s split", (rule) => {
  const expected = oracle([split(rule), byteLevel]);

  test("agrees with Hugging Face's on the golden strings and on Unicode text", () => {
    const goldens = [
      ...readJson<GoldenStrings>("validation/golden/tokenizer/open.json"),
      ...readJson<GoldenStrings>("validation/golden/llama3/llamacpp_pairs.json"),
    ];
    for (const { text } of goldens) expect(lengths(words(text, rule)), text).toEqual(expected(text).map((word) => word.length));
    fc.assert(
      fc.property(texts, (parts) => {
        const text = parts.join("").replaceAll("ſ", ""); // see below
        expect(lengths(words(text, rule))).toEqual(expected(text).map((word) => word.length));
      }),
      { numRuns: 2000 },
    );
  });

  test("covers any text without a gap, lone surrogates too", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 20 }), (units) => {
        const text = String.fromCharCode(...units);
        expect(words(text, rule).join("")).toBe(text);
      }),
    );
  });

  test("takes long runs of one character in one word", () => {
    for (const character of "aé!\n") expect(words(character.repeat(1_000_000), rule)).toHaveLength(1);
    expect(words(`${" ".repeat(1_000_000)}x`, rule)).toHaveLength(2);
    expect(words(`${" ".repeat(1_000_000)}\n`, "gpt2")).toHaveLength(1);
  });
});

/** The rules as regular expressions for JavaScript; V8 runs out of stack in them on four million characters of a class beyond Latin-1. */
const patterns = {
  llama3:
    /'(?:[sSſtTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\p{White_Space}\p{L}\p{N}]+[\r\n]*|\p{White_Space}*[\r\n]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/uy,
  gpt2: /'(?:[stmd]|re|ve|ll)| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/uy,
  qwen2:
    /'(?:[sSſtTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\p{White_Space}\p{L}\p{N}]+[\r\n]*|\p{White_Space}*[\r\n]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/uy,
  qwen35:
    /'(?:[sSſtTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\p{White_Space}\p{L}\p{M}\p{N}]+[\r\n]*|\p{White_Space}*[\r\n]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/uy,
  threeDigits: /[0-9]{3}|(?:(?![0-9]{3}).)+/suy,
  punctuation: /[\p{P}$+<=>^`|~]+|[^\p{P}$+<=>^`|~]+/uy,
  punctuationMarks: /[\p{P}$+<=>^`|~]|[^\p{P}$+<=>^`|~]+/uy,
  digits: /\p{N}+|\P{N}+/uy,
  digit: /\p{N}|\P{N}+/uy,
  asciiDigits: /[0-9]+|[^0-9]+/uy,
  asciiDigit: /[0-9]|[^0-9]+/uy,
};

describe.each(Object.entries(patterns) as [keyof typeof patterns, RegExp][])("the %s cut", (rule, pattern) => {
  test("gives the pieces that the regular expression gives", () => {
    const halves = fc.constantFrom("\ud800", "\udc80", "\udfff");
    const parts = fc.array(fc.oneof({ weight: 9, arbitrary: texts.map((list) => list.join("")) }, { weight: 1, arbitrary: halves }), {
      maxLength: 3,
    });
    fc.assert(
      fc.property(parts, (list) => {
        const text = list.join("");
        expect(words(text, rule)).toEqual(text.match(new RegExp(pattern.source, `${pattern.flags.replace("y", "")}g`)) ?? []);
      }),
      { numRuns: 2000 },
    );
  });

  test.each(rule === "llama3" ? ["中", "\u{20000}", "😀", "…", "\u3000"] : ["中"])("takes a long run of %s", (part) => {
    const text = `中 ${part.repeat(Math.ceil(4_300_000 / part.length))}`;
    let [at, count] = [0, 0];
    splitWords(text, [rule], (start, end) => {
      if (start !== at) throw new Error("a gap");
      [at, count] = [end, count + 1];
    });
    expect(at).toBe(text.length);
    expect(count).toBeGreaterThan(0);
  });
});

test("white space and case are Unicode's, as in the original (answers of Hugging Face's tokenizers for Rust)", () => {
  expect(words("a\u0085\u0085\u0085b", "llama3")).toEqual(["a", "\u0085\u0085", "\u0085b"]);
  expect(words("a\u0085\u0085\u0085b", "gpt2")).toEqual(["a", "\u0085\u0085", "\u0085", "b"]);
  expect(words(" \ufeffb", "llama3")).toEqual([" \ufeff", "b"]);
  expect(words(" \ufeffb", "gpt2")).toEqual([" \ufeff", "b"]);
  expect(words("a\u001cb", "gpt2")).toEqual(["a", "\u001c", "b"]);
  // "ſ" folds to "s". The JavaScript port and llama.cpp, which know ASCII case only here, differ.
  expect(words("it'ſx", "llama3")).toEqual(["it", "'ſ", "x"]);
  expect(words("'ſa", "gpt2")).toEqual(["'", "ſa"]);
});

describe("steps one after another", () => {
  /** Text of all kinds but for numbers beyond ASCII's, and characters whose bytes are numbers in the byte-level alphabet: the JavaScript port reads those otherwise. */
  const known = texts.map((parts) =>
    Array.from(parts.join(""))
      .filter(
        (character) =>
          !/[^0-9]/.test(character) ||
          !(/\p{N}|[\u0085\ufeff]/u.test(character) || /[\xb2\xb3\xb9\xbc-\xbe]/.test(Buffer.from(character).toString("latin1"))),
      )
      .join(""),
  );
  const gpt2 = { ...byteLevel, use_regex: true };
  test.each<[string, object[], SplitRule]>([
    [
      "Falcon's",
      [{ type: "Punctuation", behavior: "Contiguous" }, gpt2, { type: "Digits", individual_digits: false }, split("threeDigits")],
      ["punctuation", "gpt2", "asciiDigits", "threeDigits"],
    ],
    ["StarCoder's", [{ type: "Digits", individual_digits: true }, gpt2], ["digit", "gpt2"]],
    ["digits after the bytes", [gpt2, { type: "Digits", individual_digits: true }], ["gpt2", "asciiDigit"]],
    ["two patterns", [split("threeDigits"), split("qwen2"), byteLevel], ["threeDigits", "qwen2"]],
  ])("%s, as Hugging Face does", (_, steps, rule) => {
    const refuse = (message: string): never => {
      throw new Error(message);
    };
    expect(readSplit({ type: "Sequence", pretokenizers: steps }, refuse)).toEqual(rule);
    const expected = oracle(steps);
    fc.assert(
      fc.property(known, (text) => {
        expect(lengths(words(text, ...rule))).toEqual(expected(text).map((word) => word.length));
      }),
      { numRuns: 1000 },
    );
  });

  test("llama.cpp's Falcon cuts off punctuation and three digits at a time, and sees no further than a piece", () => {
    expect(words("it's  12345,67 (a)!", "punctuation", "gpt2", "threeDigits")).toEqual([
      "it",
      "'",
      "s",
      " ",
      " ",
      "123",
      "45",
      ",",
      "67",
      " ",
      "(",
      "a",
      ")!",
    ]);
    expect(words("٣٣٣ a1²b", "digits")).toEqual(["٣٣٣", " a", "1²", "b"]);
    expect(words("a..1", "punctuationMarks")).toEqual(["a", ".", ".", "1"]);
    expect(words("$x+y=…", "punctuation")).toEqual(["$", "x", "+", "y", "=…"]);
  });
});
