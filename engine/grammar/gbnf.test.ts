import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BitnetError } from "../errors.js";
import { THOROUGH } from "../thorough.test.helper.js";
import { compileGrammar } from "./gbnf.js";
import { Matcher } from "./matcher.js";
import { answerOf, has, idsOf, trie } from "./walk.test.helper.js";

const all = (source: string, good: readonly string[], bad: readonly string[]): void => {
  const grammar = compileGrammar(source);
  for (const text of good) expect(has(grammar, text), text).toBe(true);
  for (const text of bad) expect(has(grammar, text), text).toBe(false);
};

describe("a grammar in GBNF", () => {
  it("knows texts, sets, brackets, counts, comments and rules in any order", () => {
    const source = `
# a list of moves
root   ::= "1. " move " " move "\\n" ([1-9] [0-9]? ". " move " " move "\\n")+
move   ::= (pawn | nonpawn |
            castle) [+#]?
pawn   ::= ([a-h] "x")? [a-h] [1-8] ("=" [NBKQR])?
nonpawn ::= [NBKQR] [a-h]? [1-8]? "x"? [a-h] [1-8]
castle ::= "O-O" "-O"?
`;
    all(source, ["1. e4 e5\n2. Nf3 Nc6\n", "1. O-O-O exd8=Q+\n11. Bb5 O-O\n"], ["1. e4 e5\n", "1. e9 e5\n2. Nf3 Nc6\n", ""]);
  });

  it("follows rules that contain themselves", () => {
    all('root ::= "(" root ")" root | ""', ["", "()", "(()())()"], ["(", ")(", "(()"]);
    all('root ::= value\nvalue ::= [0-9]+ | "[" (value ("," value)*)? "]"', ["12", "[]", "[1,[2,[]],33]"], ["[1,]", "[", "1,2"]);
    all('root ::= [^"\\\\\\x0a]{2,3} "\\u00e9\\U0001F600"', ["abé😀", "日本語é😀"], ["aé😀", "abcdé😀", 'a"é😀']);
    all("root ::= a b\na ::= . *\nb ::= [-a]", ["-", "xya", "\u{10ffff}-"], ["", "x"]);
  });

  const refusals: [source: string, message: RegExp][] = [
    ['start ::= "a"', /no rule root/],
    ['root ::= "a" b', /line 1: there is no rule "b"/],
    ['root ::= "a"\nroot ::= "b"', /line 2: there are two rules of this name/],
    ['root ::= "a', /a text in quotes is not closed/],
    ["root ::= [a", /a set in brackets is not closed/],
    ['root ::= ("a"', /a bracket is not closed/],
    ["root ::= [b-a]", /ends before it begins/],
    ['root ::= "a"{3,2}', /has no number/],
    ['root ::= "a"{x}', /a count is written/],
    ['root ::= "\\q"', /escape \\q is unknown/],
    ['root ::= "\\ud800"', /U\+D800 is no character/],
    ['root = "a"', /a rule is written/],
    ['root ::= root "a" | "a"', /rule "root" begins with itself/],
    ['root ::= a\na ::= b? root "x" | "z"\nb ::= "y"', /begins with itself/],
    ['root ::= "a" root', /no text can fit/],
    ["root ::= []", /no text can fit/],
    [`root ::= ${"(".repeat(100)}"a"${")".repeat(100)}`, /brackets in each other/],
    ['root ::= (("a"{9999}){9999}){9999}', /needs more than \d+ parts/],
    ['root ::= "a"{9999999}', /repeated 9999999 times/],
    [" ".repeat(300_000), /has 300000 characters/],
    [`root ::= "a"\n${Array.from({ length: 9000 }, (_, i) => `r${i}::="a"`).join("\n")}`, /the grammar has 9001 rules, but the limit/],
  ];
  it.each(refusals)("refuses %.40s", (source, message) => {
    expect(() => compileGrammar(source)).toThrow(expect.objectContaining({ code: "usage", message: expect.stringMatching(message) }));
  });

  it("says of any text, in words, why it is no grammar", () => {
    const part = fc.constantFrom(
      "root",
      "::=",
      "a",
      '"x"',
      "[a-z]",
      "[^",
      "]",
      "(",
      ")",
      "|",
      "*",
      "{2,3}",
      "{",
      "\n",
      " ",
      "#",
      "\\",
      '"',
      "\\u00e9",
      ".",
      "é",
    );
    const check = fc.property(fc.array(part, { maxLength: 12 }), fc.boolean(), (parts, isBegun) => {
      try {
        compileGrammar(`${isBegun ? "root ::= " : ""}${parts.join(" ")}`);
      } catch (error) {
        expect(error, String((error as Error).stack)).toBeInstanceOf(BitnetError);
      }
    });
    fc.assert(check, { numRuns: THOROUGH ? 20_000 : 500 });
  });

  it("gives no token that would leave it, and every one that stays: all of the vocabulary, byte by byte", () => {
    const grammar = compileGrammar('root ::= line*\nline ::= [a-z]+ " " ("(" root ")")? [^a]? "\\n"');
    const matcher = new Matcher(grammar, trie);
    const check = fc.property(fc.array(fc.constantFrom("ab", " ", "\n", "(", ")", "é", "once "), { maxLength: 8 }), (parts) => {
      let place = matcher.start();
      for (const byte of new TextEncoder().encode(parts.join(""))) {
        const next: ReturnType<typeof matcher.step> = matcher.step(place, byte);
        if (next === undefined) break;
        place = next;
      }
      const reached = place;
      const slowly: number[] = [];
      for (let id = 0; id < trie.vocabulary; id++) {
        let after: ReturnType<typeof matcher.step> = reached;
        for (const byte of trie.bytes(id) ?? []) after &&= matcher.step(after, byte);
        if (after !== undefined && trie.bytes(id) !== undefined && trie.bytes(id)!.length > 0) slowly.push(id);
      }
      expect(idsOf(matcher.mask(reached)).toSorted((a, b) => a - b)).toEqual(slowly);
    });
    fc.assert(check, { numRuns: 20 });
  });

  it("holds under ambiguity that doubles with each character, and after what it found is forgotten", () => {
    const matcher = new Matcher(compileGrammar('root ::= a\na ::= "x" a "y" | "x" a "y" a | "x" b\nb ::= a | "z"'), trie);
    let place = matcher.start();
    for (let i = 0; i < 60; i++) {
      const mask = [...matcher.mask(place)];
      matcher.tidy();
      const next = matcher.step(place, 0x78);
      expect(next).toBeDefined();
      place = next!;
      expect(place.readings.length).toBeLessThanOrEqual(256);
      expect(mask.some((word) => word !== 0)).toBe(true);
    }
    expect(answerOf(matcher, () => 0.5).text).toMatch(/^x/);
  });
});
