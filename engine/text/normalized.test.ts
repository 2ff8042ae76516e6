import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { byteCharacters, bytePieces, fakeCheckpoint } from "./fixtures.test.helper.js";
import { loadTokenizer } from "./load.js";
import { toNormalForm } from "./normal-form.js";

const added = (id: number, content: string, special: boolean, normalized: boolean) => ({
  ...{ id, content, special, normalized },
  ...{ single_word: false, lstrip: false, rstrip: false },
});
const byteLevel = { type: "ByteLevel", add_prefix_space: false };

/** Byte-level: tokens of runs of spaces as GPT-NeoX's has them, and some that normal form C makes or unmakes. */
const nfc = {
  added_tokens: [
    added(256, "<s>", true, true),
    added(257, "<e>", true, false),
    added(258, "  ", false, true),
    added(259, "   ", false, true),
    added(260, "e\u0301!", false, true),
    added(261, "x<", false, true),
  ],
  normalizer: { type: "NFC" },
  pre_tokenizer: byteLevel,
  decoder: byteLevel,
  model: { type: "BPE", vocab: Object.fromEntries(byteCharacters.map((token, id) => [token, id])), merges: [] as string[] },
};

/** SentencePiece's, as LLaMA-2's tokenizers of 2023 have it. */
const pieces = (prepends: boolean) => ({
  added_tokens: [added(0, "<unk>", true, false), added(1, "<s>", true, true), added(2, "</s>", true, true)],
  normalizer: {
    type: "Sequence",
    normalizers: [...(prepends ? [{ type: "Prepend", prepend: "▁" }] : []), { type: "Replace", pattern: { String: " " }, content: "▁" }],
  },
  decoder: {
    type: "Sequence",
    decoders: [
      { type: "Replace", pattern: { String: "▁" }, content: " " },
      { type: "ByteFallback" },
      { type: "Fuse" },
      ...(prepends ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : []),
    ],
  },
  model: {
    type: "BPE",
    byte_fallback: true,
    vocab: Object.fromEntries(["<unk>", "<s>", "</s>", ...bytePieces, "▁", "a", "b", "▁a", "▁b"].map((token, id) => [token, id])),
    merges: ["▁ a", "▁ b"],
  },
});

const files = { nfc, prepend: pieces(true), replace: pieces(false) };
const load = (file: object, config?: object) =>
  loadTokenizer(
    fakeCheckpoint({
      sidecars: { "tokenizer.json": JSON.stringify(file), ...(config && { "tokenizer_config.json": JSON.stringify(config) }) },
    }),
  );

/** Answers of Hugging Face's tokenizers for Rust, 0.23.2. */
const answers: readonly (readonly [keyof typeof files, string, readonly number[]])[] = [
  ["nfc", "a   b", [97, 259, 98]],
  ["nfc", "a     b", [97, 259, 258, 98]],
  ["nfc", "<s>a", [256, 97]],
  ["nfc", "<s>\u0338", [60, 115, 226, 137, 175]],
  ["nfc", "x<e>", [120, 257]],
  ["nfc", "x<a", [261, 97]],
  ["nfc", "e\u0301!", [260]],
  ["nfc", "\u00e9!", [260]],
  ["nfc", "e\u0301 !", [195, 169, 32, 33]],
  ["nfc", "  \u0301", [258, 204, 129]],
  ["nfc", "a <s> b", [97, 32, 256, 32, 98]],
  ["prepend", "<s>a", [1, 260]],
  ["prepend", "a<s>b", [262, 63, 118, 65, 261]],
  ["prepend", "a <s> b", [262, 1, 263]],
  ["prepend", " <s>", [259, 1]],
  ["prepend", "<s><s>b", [1, 63, 118, 65, 261]],
  ["prepend", "</s> <s>a", [2, 1, 260]],
  ["prepend", "b</s>", [263, 63, 50, 118, 65]],
  ["prepend", "<unk> a", [0, 259, 262]],
  ["prepend", "a<unk><s>b", [262, 0, 1, 261]],
  ["prepend", "  a", [259, 259, 262]],
  ["replace", "<s>a", [1, 260]],
  ["replace", "a<s>b", [260, 1, 261]],
  ["replace", "a<unk><s>b", [260, 0, 1, 261]],
];

describe("added tokens with normalized true", () => {
  test.each(answers)("%s: %j", async (file, text, ids) => {
    expect((await load(files[file])).encode(text, { bos: false })).toEqual(ids);
  });

  test("are as others where nothing is normalised, in either file", async () => {
    const tokens = (normalized: boolean) => nfc.added_tokens.map((token) => ({ ...token, normalized }));
    const encode = async (inJson: boolean, inConfig: boolean) => {
      const config = { added_tokens_decoder: Object.fromEntries(tokens(inConfig).map(({ id, ...token }) => [id, token])) };
      const tokenizer = await load({ ...nfc, normalizer: null, added_tokens: tokens(inJson) }, config);
      return tokenizer.encode("a <s>  <e> e\u0301!");
    };
    for (const inJson of [false, true])
      for (const inConfig of [false, true]) expect(await encode(inJson, inConfig)).toEqual(await encode(false, false));
    expect(await encode(true, true)).toContain(256);
  });

  const parts = fc.array(
    fc.constantFrom("<s>", "</s>", "<e>", "<", "s>", " ", "e", "\u0301", "\u0338", "a", "각", "\u1100", "\u1161", "😀"),
    {
      maxLength: 12,
    },
  );

  test("no control token comes out of literal text", async () => {
    for (const file of Object.values(files)) {
      const tokenizer = await load(file);
      fc.assert(
        fc.property(parts, parts, parts, (before, inside, after) => {
          const [a, b, c] = [before.join(""), inside.join(""), after.join("")];
          fc.pre(b !== "");
          const specials = (text: string, literal: [number, number][]) =>
            tokenizer.encode(text, { literal }).filter((id) => tokenizer.isSpecial(id)).length;
          expect(specials(b, [[0, b.length]])).toBe(0);
          // No more than without the text; fewer where it joins a character of theirs.
          expect(specials(a + b + c, [[a.length, a.length + b.length]])).toBeLessThanOrEqual(specials(a, []) + specials(c, []));
        }),
        { numRuns: 300 },
      );
    }
  });

  test("text in normal form keeps its ranges", () => {
    fc.assert(
      fc.property(parts, parts, parts, (before, inside, after) => {
        const [a, b, c] = [before.join(""), inside.join(""), after.join("")];
        const { text, ranges } = toNormalForm(a + b + c, [[a.length, a.length + b.length]]);
        expect(text).toBe((a + b + c).normalize("NFC"));
        if (/[a-z<> 😀]$/u.test(b) && /^[a-z<> 😀]/u.test(b) && /^[a-z<> 😀]/u.test(c)) {
          expect(ranges.map(([start, end]) => text.slice(start, end))).toEqual([b.normalize("NFC")]);
        }
      }),
    );
  });
});
