import { Tokenizer as HfTokenizer } from "@huggingface/tokenizers";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { openCheckpoint } from "../container/checkpoint.js";
import {
  byteCharacters,
  errorOf,
  fakeCheckpoint,
  type GoldenStrings,
  llama3Files,
  qwen3Files,
  readJson,
  type SmallChanges,
  smallVocabulary,
  storiesGguf,
  storiesPacked,
} from "./fixtures.test.helper.js";
import { loadTokenizer } from "./load.js";
import { hashBytes, slotOfHash } from "./token-table.js";
import { createTokenizer } from "./tokenizer.js";
import type { PlainKind } from "./vocabulary.js";

async function open(path: string) {
  const checkpoint = await openCheckpoint(path);
  try {
    return await loadTokenizer(checkpoint);
  } finally {
    await checkpoint.close();
  }
}

const fromGguf = await open(storiesGguf);
const fromJson = await open(storiesPacked);
const llama3 = await loadTokenizer(fakeCheckpoint({ sidecars: llama3Files }));
const qwen3 = await loadTokenizer(fakeCheckpoint({ sidecars: qwen3Files }));

/** Text with special tokens, parts of characters and odd spaces in it. */
const texts = fc
  .array(
    fc.oneof(
      fc.string({ unit: "binary" }),
      fc.constantFrom("<|eot_id|>", "<|", " story", " once", "\ufeff", "\r\n", "  ", "é", "e\u0301", "😀"),
    ),
  )
  .map((parts) => parts.join(""));

describe("golden ids", () => {
  const open = readJson<GoldenStrings>("validation/golden/tokenizer/open.json");

  test.each([
    ["GGUF", fromGguf, open],
    ["tokenizer.json", fromJson, open],
    ["LLaMA-3", llama3, readJson<GoldenStrings>("validation/golden/llama3/strings.json")],
    ["LLaMA-3, llama.cpp's own pairs", llama3, readJson<GoldenStrings>("validation/golden/llama3/llamacpp_pairs.json")],
    ["Qwen's", qwen3, readJson<GoldenStrings>("validation/golden/qwen2/llamacpp_pairs.json")],
  ])("%s", (_, tokenizer, golden) => {
    for (const { text, ids } of golden) {
      expect(tokenizer.encode(text, { bos: false }), text).toEqual(ids);
      expect(tokenizer.encodeBytes(Buffer.from(text), { bos: false }), text).toEqual(ids);
      expect(tokenizer.decode(ids), text).toBe(text);
    }
  });

  test("both containers give the same tokenizer", () => {
    expect(fromGguf.source).toBe("gguf");
    expect(fromJson.source).toBe("tokenizer.json");
    for (const tokenizer of [fromGguf, fromJson]) {
      expect(tokenizer).toMatchObject({ size: 4096, bosId: 4080, eosIds: [4081], addsBos: true });
      expect(tokenizer.idOf("<|eot_id|>")).toBe(4089);
      expect(tokenizer.idOf(" the")).toBe(tokenizer.encode(" the", { bos: false })[0]);
      expect(tokenizer.idOf("no such token")).toBeUndefined();
      expect(tokenizer.textOf(4089)).toBe("<|eot_id|>");
      expect([4079, 4080, 4095].map(tokenizer.isSpecial)).toEqual([false, true, true]);
    }
    for (let id = 0; id < 4096; id++) expect(fromGguf.decodeBytes([id])).toEqual(fromJson.decodeBytes([id]));
  });

  test("GPT-2's way (merges for every word, ByteLevel's own split), as Hugging Face does", async () => {
    const json = readJson<{ model: Record<string, unknown> }>(`${storiesPacked}/tokenizer.json`);
    const gpt2 = {
      ...json,
      model: { ...json.model, ignore_merges: false },
      pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    };
    const ours = await loadTokenizer(fakeCheckpoint({ sidecars: { "tokenizer.json": JSON.stringify(gpt2) } }));
    const theirs = new HfTokenizer(gpt2, {});
    const check = (text: string) => {
      const whole = text.replace(/[\u0085\ufeff]/g, ""); // their ByteLevel takes JavaScript's \s for Unicode's white space
      expect(ours.encode(whole)).toEqual(theirs.encode(whole).ids);
    };
    for (const { text } of open) check(text);
    fc.assert(
      fc.property(texts, (text) => check(text.replace(/\p{Surrogate}/gu, ""))),
      { numRuns: 300 },
    );
  });
});

test("Qwen's text is brought to normal form C first, and not its special tokens, as Hugging Face does", () => {
  const hf = new HfTokenizer(readJson<Record<string, unknown>>(`${qwen3Files}/tokenizer.json`), {});
  fc.assert(
    fc.property(texts, (text) => {
      const whole = text.replace(/\p{Surrogate}/gu, "").replaceAll(/[\u0085\ufeffſ]/g, ""); // these, the JavaScript port splits otherwise
      expect(qwen3.encode(whole)).toEqual(hf.encode(whole).ids);
      expect(qwen3.decode(qwen3.encode(whole))).toBe(whole.normalize("NFC"));
    }),
    { numRuns: 300 },
  );
  expect(qwen3.encode("e\u0301<|im_end|>")).toEqual([...qwen3.encode("é"), qwen3.idOf("<|im_end|>")]);
  expect(qwen3).toMatchObject({ bosId: undefined, eosIds: [qwen3.idOf("<|im_end|>")], addsBos: false });
});

describe("options", () => {
  test("BOS is put first unless told otherwise; special tokens in text are recognised unless told otherwise", () => {
    expect(fromGguf.encode("")).toEqual([4080]);
    expect(fromGguf.encode("<|eot_id|>")).toEqual([4080, 4089]);
    const spelled = fromGguf.encode("<|eot_id|>", { bos: false, special: false });
    expect(spelled.some(fromGguf.isSpecial)).toBe(false);
    expect(fromGguf.decode(spelled)).toBe("<|eot_id|>");
  });

  test("decode writes special tokens out, a stream doesn't, unless told otherwise", () => {
    const ids = fromGguf.encode("Hi<|eot_id|>you");
    expect(fromGguf.decode(ids)).toBe("<|begin_of_text|>Hi<|eot_id|>you");
    expect(fromGguf.decode(ids, { special: false })).toBe("Hiyou");
    for (const [options, text] of [
      [undefined, "Hiyou"],
      [{ special: true }, "<|begin_of_text|>Hi<|eot_id|>you"],
    ] as const) {
      const decoder = fromGguf.decoder(options);
      expect(ids.map(decoder.push).join("") + decoder.end()).toBe(text);
    }
  });

  test("added tokens are recognised always and printed always, unused ones neither", () => {
    const tokenizer = createTokenizer(
      smallVocabulary(["<tool>", "<tool>s", "[PAD]", "<|x|>"], {
        plain: new Map([
          [256, "added"],
          [257, "added"],
          [258, "unused"],
          [259, "special"],
        ]),
      }),
    );
    for (const special of [true, false]) {
      expect(tokenizer.encode("<tool>s<tool>", { special })).toEqual([257, 256]); // the longest first
      expect(tokenizer.decode([256, 257], { special })).toBe("<tool><tool>s");
      expect(tokenizer.encode("[PAD]", { special })).toHaveLength(5);
    }
    expect(tokenizer.encode("<|x|>")).toEqual([259]);
    expect(tokenizer.encode("<|x|>", { special: false })).toHaveLength(5);
    expect(tokenizer.decode([258, 259], { special: false })).toBe("");
    expect([256, 258, 259].map(tokenizer.isSpecial)).toEqual([false, true, true]);
  });

  test("an id outside the vocabulary is refused", async () => {
    for (const id of [-1, 4096, 1.5, Number.NaN]) {
      const message = `usage: token id ${id} is not in the vocabulary, whose ids are 0 to 4095`;
      expect(await errorOf(() => fromGguf.decode([1, id]))).toBe(message);
      expect(await errorOf(() => fromGguf.decoder().push(id))).toBe(message);
      expect(await errorOf(() => fromGguf.textOf(id))).toBe(message);
    }
  });
});

describe("bytes survive", () => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 40 }),
    // Leads, continuations and letters in any order: nearly UTF-8.
    fc
      .array(fc.constantFrom(0x41, 0x20, 0x0a, 0x80, 0x9f, 0xa0, 0xbf, 0xc1, 0xc3, 0xe0, 0xe2, 0xed, 0xef, 0xbb, 0xf0, 0xf4, 0xf5), {
        maxLength: 16,
      })
      .map((a) => Uint8Array.from(a)),
    texts.map((text) => new Uint8Array(Buffer.from(text))),
  );

  test("encodeBytes and back gives the very bytes, with any options", () => {
    fc.assert(
      fc.property(bytes, fc.boolean(), (input, special) => {
        for (const tokenizer of [fromGguf, llama3]) {
          expect(tokenizer.decodeBytes(tokenizer.encodeBytes(input, { bos: false, special }))).toEqual(input);
        }
      }),
      { numRuns: 1000 },
    );
  });

  test("well-formed text is encoded alike as text and as bytes; BOM and CRLF are kept", () => {
    fc.assert(
      fc.property(texts, (text) => {
        const whole = text.replace(/\p{Surrogate}/gu, "\ufffd");
        expect(fromGguf.encode(text)).toEqual(fromGguf.encode(whole));
        expect(fromGguf.encode(text)).toEqual(fromGguf.encodeBytes(Buffer.from(text)));
        expect(fromGguf.decode(fromGguf.encode(text, { bos: false }))).toBe(whole);
      }),
    );
    expect(fromGguf.decode(fromGguf.encode("\ufeffa\r\n\ufeff", { bos: false }))).toBe("\ufeffa\r\n\ufeff");
  });

  test("a lone surrogate becomes U+FFFD, those that bytes hide behind too", () => {
    for (const lone of ["\ud800", "\udc80", "\udfff"]) expect(fromGguf.encode(`a${lone}b`)).toEqual(fromGguf.encode("a\ufffdb"));
  });
});

describe("streams", () => {
  test("the pieces together are what TextDecoder makes of all the bytes", () => {
    const multi = Array.from({ length: 128 }, (_, i) => fromGguf.encodeBytes(Uint8Array.of(0x80 + i), { bos: false })[0]!);
    const ids = fc.array(fc.oneof(fc.nat({ max: 4095 }), fc.constantFrom(...multi)), { maxLength: 40 });
    fc.assert(
      fc.property(ids, fc.boolean(), (list, special) => {
        const decoder = fromGguf.decoder({ special });
        const streamed = list.map((id) => decoder.push(id)).join("") + decoder.end();
        expect(streamed).toBe(fromGguf.decode(list, { special }));
        expect(streamed).toBe(new TextDecoder("utf-8", { ignoreBOM: true }).decode(fromGguf.decodeBytes(list, { special })));
      }),
      { numRuns: 2000 },
    );
  });

  test("a token that ends inside a character prints nothing yet", () => {
    const ids = fromGguf.encodeBytes(Buffer.from("\ufeff😀é"), { bos: false });
    expect(ids).toHaveLength(9); // a token a byte, in this vocabulary
    const decoder = fromGguf.decoder();
    expect(ids.map(decoder.push)).toEqual(["", "", "\ufeff", "", "", "", "😀", "", "é"]);
    expect(decoder.end()).toBe("");
    expect(decoder.push(ids[3]!)).toBe("");
    expect(decoder.end()).toBe("\ufffd");
  });
});

describe("byte pairs", () => {
  test("the pair of least rank merges first, of several the leftmost, as in the plain way", () => {
    const letters = fc.constantFrom("a", "b", "c");
    const tokens = fc.uniqueArray(fc.string({ unit: letters, minLength: 2, maxLength: 5 }), { maxLength: 12 });
    fc.assert(
      fc.property(tokens, fc.infiniteStream(fc.nat()), fc.string({ unit: letters, maxLength: 30 }), (more, random, word) => {
        const known = new Set(["a", "b", "c", ...more]);
        const pairs = more.flatMap((token) => Array.from(token.slice(1), (_, i) => [token.slice(0, i + 1), token.slice(i + 1)] as const));
        const merges = pairs
          .filter((pair) => pair.every((part) => known.has(part)))
          .map((pair) => [random.next().value!, pair] as const)
          .sort((x, y) => x[0] - y[0])
          .map(([, pair]) => pair);

        const symbols = Array.from(word);
        for (;;) {
          const ranks = symbols.slice(1).map((right, i) => merges.findIndex(([l, r]) => l === symbols[i] && r === right));
          const best = ranks.reduce((least, rank) => (rank >= 0 && (least < 0 || rank < least) ? rank : least), -1);
          if (best < 0) break;
          symbols.splice(ranks.indexOf(best), 2, merges[best]!.join(""));
        }
        const tokenizer = createTokenizer(smallVocabulary(more, { merges }));
        expect(tokenizer.encode(word).map(tokenizer.textOf)).toEqual(symbols);
      }),
      { numRuns: 500 },
    );
  });

  test("a word of 200,000 bytes, merged far, comes to an end", () => {
    const more = Array.from({ length: 8 }, (_, i) => "a".repeat(2 ** (i + 1)));
    const tokenizer = createTokenizer(
      smallVocabulary(more, { merges: more.map((token) => [token.slice(token.length / 2), token.slice(token.length / 2)]) }),
    );
    const ids = tokenizer.encode("a".repeat(200_001));
    expect(ids).toHaveLength(Math.floor(200_001 / 256) + 2); // 781 · 256 + 64 + 1
    expect(tokenizer.decode(ids)).toHaveLength(200_001);
    const spaces = fromGguf.encode(`${" ".repeat(200_000)}x`, { bos: false });
    expect(fromGguf.decode(spaces)).toBe(`${" ".repeat(200_000)}x`);
  });
});

describe("fillers of a vocabulary", () => {
  test.each<[string, PlainKind | undefined, (i: number) => string]>([
    ["empty and unused", "unused", () => ""],
    ["empty and special", "special", () => ""],
    ["empty and added", "added", () => ""],
    ["empty and ordinary", undefined, () => ""],
    ["all alike and unused", "unused", () => "[PAD]"],
    ["of another token's text and unused", "unused", () => "ab"],
    ["of a special token's text and unused", "unused", () => "<|x|>"],
    ["numbered and unused", "unused", (i) => `[PAD${i}]`],
    ["numbered and special", "special", (i) => `[PAD${i}]`],
    ["numbered and ordinary", undefined, (i) => `[PAD${i}]`],
  ])("%s, change no id", (_, kind, textOf) => {
    for (const count of [2, 300]) {
      // The first stand before the tokens whose text they may have.
      const fillers = Array.from({ length: count }, (_, i) => textOf(i));
      const tokens = [fillers[0]!, ...byteCharacters, "ab", "<|x|>", ...fillers.slice(1)];
      const ids = [0, ...fillers.slice(1).map((_, i) => 259 + i)];
      const plain = new Map<number, PlainKind>([[258, "special"], ...ids.flatMap((id) => (kind ? [[id, kind] as const] : []))]);
      const tokenizer = createTokenizer(smallVocabulary([], { tokens, plain, merges: ["a b"] }));
      expect(tokenizer.encode("abc<|x|>")).toEqual([257, 1 + byteCharacters.indexOf("c"), 258]);
      expect(tokenizer.decode([0, 257, 258, tokenizer.size - 1], { special: false })).toContain("ab");
      expect(tokenizer.idOf("ab")).toBe(257);
      expect(tokenizer.idOf("<|x|>")).toBe(258);
    }
  });

  test("an unused one has its text, if no other has it", () => {
    const tokenizer = createTokenizer(smallVocabulary(["[PAD]", "[PAD]"], { plain: new Map([256, 257].map((id) => [id, "unused"])) }));
    expect(tokenizer.idOf("[PAD]")).toBe(256);
    expect(tokenizer.encode("[PAD]")).toHaveLength(5);
  });
});

describe("a special token that merges make, or that is a byte", () => {
  const bang = 0x21;
  const changes: SmallChanges = { plain: new Map([[257, "special"]]), merges: ["a b", "ab !"] };

  test("is found in text, and not made by merges where it is not looked for", () => {
    const tokenizer = createTokenizer(smallVocabulary(["ab", "ab!"], changes));
    expect(tokenizer.encode("ab!")).toEqual([257]);
    expect(tokenizer.encode("ab!", { special: false })).toEqual([256, bang]);
  });

  test("a byte has its token, and merges with it are passed over", () => {
    const plain = new Map<number, "special">([[bang, "special"]]);
    const tokenizer = createTokenizer(smallVocabulary(["ab", "ab!"], { plain, merges: ["a b", "ab !"] }));
    for (const special of [true, false]) expect(tokenizer.encode("ab!", { special })).toEqual([256, bang]);
    expect(tokenizer.decode([256, bang])).toBe("ab!");
  });

  test("an unused one is none that text is cut at", async () => {
    const refused = await errorOf(() => createTokenizer(smallVocabulary(["ab"], { plain: new Map([[256, "unused"]]), merges: ["a b"] })));
    expect(refused).toContain("which is not two tokens that form a third");
  });
});

test("of a merge that is there twice the first counts in GGUF, and the last in tokenizer.json", () => {
  const merges = ["a b", "b c", "a b"];
  const encode = (source: "gguf" | "tokenizer.json") => createTokenizer(smallVocabulary(["ab", "bc"], { source, merges })).encode("abc");
  expect(encode("gguf").at(0)).toBe(256);
  expect(encode("tokenizer.json").at(-1)).toBe(257);
});

describe("a vocabulary that is refused", () => {
  const refused = (more: readonly string[], changes: SmallChanges) => errorOf(() => createTokenizer(smallVocabulary(more, changes)));

  test.each<[string, readonly string[], SmallChanges]>([
    ['tokenizer.ggml.tokens has "ab" twice, as 256 and 257', ["ab", "ab"], {}],
    ['tokenizer.ggml.tokens has "ab" twice, as 256 and 257', ["ab", "ab"], { plain: new Map([[257, "special"]]) }],
    ['tokenizer.ggml.tokens has "a b" twice, as 256 and 257', ["a b", "a b"], { plain: new Map([[256, "added"]]) }],
    ['tokenizer.ggml.tokens has "中" twice, as 256 and 257', ["中", "中"], {}],
    ["tokenizer.ggml.tokens has no token for the byte 0x00", [], { tokens: ["a"] }],
    ["tokenizer.ggml.tokens has half a character in the special token 256", ["\udc80"], { plain: new Map([[256, "added"]]) }],
    ["tokenizer.ggml.bos_token_id is 256, but the vocabulary has the ids 0 to 255", [], { bosId: 256 }],
    ["tokenizer.ggml.bos_token_id is -1, but the vocabulary has the ids 0 to 255", [], { bosId: -1 }],
    ["tokenizer.ggml.eos_token_id is 1.5, but the vocabulary has the ids 0 to 255", [], { eosIds: [1.5] }],
    ["text should begin with a BOS token, but tokenizer.ggml.bos_token_id is missing", [], { addsBos: true }],
    ['tokenizer.ggml.merges has "a b" at 0, which is not two tokens that form a third', [], { merges: ["a b"] }],
    ['tokenizer.ggml.merges has "ab c" at 1, which is not two tokens that form a third', ["ab"], { merges: ["a b", "ab c"] }],
    ['tokenizer.ggml.merges has "ab" at 0, which is not two tokens that form a third', ["ab"], { merges: ["ab"] }],
    ['tokenizer.ggml.merges has "a  b" at 0, which is not two tokens that form a third', ["ab"], { merges: ["a  b"] }],
    ['tokenizer.ggml.merges has "" at 0, which is not two tokens that form a third', ["ab"], { merges: [""] }],
    ['tokenizer.ggml.merges has "a 中" at 0, which is not two tokens that form a third', ["ab"], { merges: [["a", "中"]] }],
    ["tokenizer.ggml.tokens has a token of 4097 bytes, but the limit is 4096", ["a".repeat(4097)], {}],
  ])("%s", async (message, more, changes) => {
    expect(await refused(more, changes)).toBe(`tokenizer: small.gguf: ${message}`);
  });

  test("special tokens too long, or too many", async () => {
    const special = (tokens: readonly string[]) => refused(tokens, { plain: new Map(tokens.map((_, i) => [256 + i, "special"])) });
    expect(await special(["<".repeat(257)])).toContain("longer than the limit of 256 characters");
    expect(await special(Array.from({ length: 2000 }, (_, i) => `${"<".repeat(200)}${i}`))).toContain("but the limit is 262144");
  });

  test("tokens made to collide in the hash table", async () => {
    const colliding: string[] = [];
    for (let i = 0; colliding.length < 400; i++) {
      const bytes = Uint8Array.of(
        0x41 + (i % 26),
        0x41 + ((i / 26) % 26),
        0x41 + ((i / 676) % 26),
        0x61 + ((i / 17576) % 26),
        0x61 + i / 456976,
      );
      if (slotOfHash(hashBytes(bytes), 2048) === 7) colliding.push(String.fromCharCode(...bytes)); // 656 tokens get 2,048 slots
    }
    expect(await refused(colliding, {})).toBe("tokenizer: small.gguf: tokenizer.ggml.tokens are constructed to collide in a hash table");
  });
});
