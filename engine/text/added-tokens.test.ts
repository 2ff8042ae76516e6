import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { AddedTokens, type TextRanges } from "./added-tokens.js";
import { errorOf, smallVocabulary } from "./fixtures.test.helper.js";
import { createTokenizer } from "./tokenizer.js";
import type { PlainKind } from "./vocabulary.js";

type Token = readonly [text: string, id: number];

/** What `scan` finds: stretches of text as they are, tokens as ids. */
function scan(added: readonly Token[], special: readonly Token[], text: string, literal?: TextRanges): (string | number)[] {
  const found: (string | number)[] = [];
  const tokens = new AddedTokens(added, special);
  tokens.scan(
    text,
    literal !== undefined,
    literal ?? [],
    (start, end) => found.push(text.slice(start, end)),
    (id) => found.push(id),
  );
  return found;
}

/** The same, place by place. */
function plainScan(added: readonly Token[], special: readonly Token[], text: string, literal?: TextRanges): (string | number)[] {
  const found: (string | number)[] = [];
  let before = "";
  for (let at = 0; at < text.length; ) {
    const touches = (length: number) => literal!.some(([start, end]) => start < at + length && at < end && start < end);
    const here = [...added, ...(literal === undefined ? [] : special.filter(([token]) => !touches(token.length)))]
      .filter(([token]) => text.startsWith(token, at))
      .sort(([a], [b]) => b.length - a.length)[0];
    if (here === undefined) {
      before += text[at++];
      continue;
    }
    if (before !== "") found.push(before);
    before = "";
    found.push(here[1]);
    at += here[0].length;
  }
  return before === "" ? found : [...found, before];
}

const letters = fc.constantFrom("a", "b", "<");
const texts = fc.string({ unit: letters, maxLength: 40 });
/** Borders of ranges in a text of so many units. */
const rangesOf = (length: number) =>
  fc.array(fc.nat({ max: length }), { maxLength: 6 }).map((borders): TextRanges => {
    borders.sort((a, b) => a - b);
    return borders.flatMap((start, i) => (i % 2 === 0 && i + 1 < borders.length ? [[start, borders[i + 1]!] as const] : []));
  });
const textAndRanges = texts.chain((text) => fc.tuple(fc.constant(text), rangesOf(text.length)));
const tokenSets = fc
  .uniqueArray(fc.string({ unit: letters, minLength: 1, maxLength: 6 }), { maxLength: 10 })
  .map((list) => list.map((text, id): Token => [text, id]));

describe("tokens in text", () => {
  test("are found as in the plain way: the first that begins, of several the longest, control tokens outside literal ranges", () => {
    fc.assert(
      fc.property(tokenSets, fc.nat({ max: 10 }), textAndRanges, (tokens, count, [text, literal]) => {
        const [added, special] = [tokens.slice(0, count), tokens.slice(count)];
        for (const ranges of [undefined, [], literal]) {
          expect(scan(added, special, text, ranges)).toEqual(plainScan(added, special, text, ranges));
        }
      }),
      { numRuns: 1000 },
    );
  });

  test("are found in linear time, also where nearly one begins at each place", () => {
    const tokens = [[`${" ".repeat(255)}b`, 0] as const];
    const text = " ".repeat(2_000_000);
    for (const [added, special] of [
      [tokens, []],
      [[], tokens],
    ] as const) {
      expect(scan(added, special, text, [])).toEqual([text]); // 512 million steps, if each place were walked again
    }
    const runs = Array.from({ length: 255 }, (_, i): Token => [" ".repeat(i + 1), i]);
    expect(scan(runs, [], text)).toHaveLength(Math.ceil(2_000_000 / 255));
  });
});

describe("literal ranges of a text", () => {
  const plain = new Map<number, PlainKind>([
    [256, "special"],
    [257, "special"],
    [258, "added"],
    [259, "unused"],
  ]);
  const tokenizer = createTokenizer(smallVocabulary(["<|a|>", "<|", "|>b", "<|pad|>", "ab"], { plain, merges: ["a b"] }));
  const parts = fc.array(fc.constantFrom("<|a|>", "<|", "|>b", "<|pad|>", "ab", "a", "b", "\ud800", "é", " "), { maxLength: 12 });
  const cases = parts.map((list) => list.join("")).chain((text) => fc.tuple(fc.constant(text), rangesOf(text.length)));

  test("never give a control token, and lose no text", () => {
    fc.assert(
      fc.property(cases, ([text, literal]) => {
        const ids = tokenizer.encode(text, { literal });
        expect(tokenizer.decode(ids)).toBe(text.replaceAll("\ud800", "\ufffd"));
        let at = 0;
        for (const id of ids) {
          const { length } = tokenizer.decodeBytes([id]);
          if (tokenizer.isSpecial(id)) {
            const start = Buffer.from(text.replaceAll("\ud800", "\ufffd")).subarray(0, at).toString().length;
            expect(literal.some(([from, to]) => from < to && from < start + length && start < to)).toBe(false); // control tokens are ASCII here
          }
          at += length;
        }
      }),
      { numRuns: 1000 },
    );
  });

  test("change nothing where there are none, and are as `special: false` over a whole text", () => {
    fc.assert(
      fc.property(cases, ([text]) => {
        expect(tokenizer.encode(text, { literal: [] })).toEqual(tokenizer.encode(text));
        expect(tokenizer.encode(text, { literal: [[0, text.length]] })).toEqual(tokenizer.encode(text, { special: false }));
        expect(tokenizer.encode(text, { special: false, literal: [[0, text.length]] })).toEqual(tokenizer.encode(text, { special: false }));
      }),
    );
  });

  test("keep added tokens, and merges over their borders", () => {
    expect(tokenizer.encode("|>b", { literal: [[0, 3]] })).toEqual([258]);
    expect(tokenizer.encode("ab", { literal: [[1, 2]] })).toEqual(tokenizer.encode("ab"));
    expect(tokenizer.encode("<|a|><|a|>", { literal: [[5, 10]] })[0]).toBe(256);
    expect(tokenizer.encode("<|a|><|a|>", { literal: [[5, 10]] }).filter((id) => tokenizer.isSpecial(id))).toEqual([256]);
    expect(tokenizer.encode("<|a|>", { literal: [[4, 5]] })[0]).toBe(257); // the shorter one has no literal character
  });

  test.each([
    ["[0, 3)", [[0, 3]]],
    ["[-1, 1)", [[-1, 1]]],
    ["[2, 1)", [[2, 1]]],
    ["[0, 0.5)", [[0, 0.5]]],
    [
      "[1, 2)",
      [
        [0, 2],
        [1, 2],
      ],
    ],
  ] as [string, TextRanges][])("%s is refused in a text of two characters", async (shown, literal) => {
    expect(await errorOf(() => tokenizer.encode("ab", { literal }))).toBe(
      `usage: literal must be ascending ranges [start, end) of the text's 2 UTF-16 units, without overlaps; ${shown} is not`,
    );
  });
});
