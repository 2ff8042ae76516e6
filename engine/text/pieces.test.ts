import { Tokenizer as HfTokenizer } from "@huggingface/tokenizers";
import fc from "fast-check";
import { LlamaTokenizer } from "llama-tokenizer-js";
import { describe, expect, test } from "vitest";
import type { MetadataValue } from "../container/checkpoint.js";
import { bytePieces, errorOf, fakeCheckpoint, type GoldenStrings, llama2Json, llama2Metadata, readJson } from "./fixtures.test.helper.js";
import { loadTokenizer } from "./load.js";
import { passAnother } from "./vocabulary.js";

const json = llama2Json();
const fromGguf = await loadTokenizer(fakeCheckpoint({ metadata: llama2Metadata() }));
const fromJson = await loadTokenizer(fakeCheckpoint({ sidecars: { "tokenizer.json": JSON.stringify(json) } }));
const both = [
  ["GGUF", fromGguf],
  ["tokenizer.json", fromJson],
] as const;

/** Text with runs of spaces, parts of characters, words, and characters that LLaMA-2 has no token for. */
const texts = fc
  .array(
    fc.oneof(
      fc.string({ unit: "binary", maxLength: 4 }),
      fc.constantFrom(" ", "  ", "    ", "\n", "the", " the", "ing", "tokenization", "é", "中国", "🦙", "\u0323", "<0x41>", "0", "...."),
    ),
    { maxLength: 16 },
  )
  .map((parts) => parts.join("").replace(/\p{Surrogate}/gu, ""));

describe.each(both)("LLaMA-2 from %s", (_, tokenizer) => {
  test("llama.cpp's own pairs", () => {
    for (const { text, ids } of readJson<GoldenStrings>("validation/golden/llama2/llamacpp_pairs.json")) {
      expect(tokenizer.encode(text, { bos: false }), text).toEqual(ids);
      expect(tokenizer.decode(ids)).toBe(text);
    }
  });

  test("ids as those of two other implementations, on any text", () => {
    const llama = new LlamaTokenizer();
    const hf = new HfTokenizer(json, {});
    fc.assert(
      fc.property(texts, (text) => {
        const ids = tokenizer.encode(text, { special: false });
        if (text !== "") expect(ids).toEqual(llama.encode(text)); // of nothing, it makes a space
        expect(ids).toEqual(hf.encode(text).ids);
      }),
      { numRuns: 1000 },
    );
  });

  test("any bytes survive, but that U+2581 is a space", () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc
        .array(fc.constantFrom(0x41, 0x20, 0x80, 0x96, 0x81, 0xc3, 0xe2, 0xed, 0xf0, 0xf4), { maxLength: 16 })
        .map((a) => Uint8Array.from(a)),
      texts.map((text) => new Uint8Array(Buffer.from(text))),
    );
    const asBytes = (input: Uint8Array) => Buffer.from(input).toString("latin1").replaceAll("\xe2\x96\x81", " ");
    fc.assert(
      fc.property(bytes, fc.boolean(), (input, special) => {
        const ids = tokenizer.encodeBytes(input, { special });
        expect(asBytes(tokenizer.decodeBytes(ids.slice(1)))).toBe(asBytes(input));
      }),
      { numRuns: 1000 },
    );
    expect(tokenizer.decode(tokenizer.encode("a▁b", { bos: false }))).toBe("a b");
  });

  test("the space before a text comes and goes, after special tokens too, and not in the middle of a text", () => {
    const hello = tokenizer.idOf(" Hello")!;
    expect(tokenizer.encode("Hello")).toEqual([1, hello]);
    expect(tokenizer.encode("Hello</s>Hello", { bos: false })).toEqual([hello, 2, hello]);
    for (const text of ["Hello", " Hello", "  Hello", "", " ", "a</s>b", "</s> a </s>", "<s>[INST] x [/INST]"]) {
      const ids = tokenizer.encode(text, { bos: false });
      expect(tokenizer.decode(ids)).toBe(text);
      expect(tokenizer.decode([1, ...ids])).toBe(`<s>${text}`);
      expect(tokenizer.decode([1, ...ids], { special: false })).toBe(text.replaceAll(/<\/?s>/g, ""));
    }
    expect(tokenizer.decode([hello], { after: hello })).toBe(" Hello");
    expect(tokenizer.decode([hello], { after: 1 })).toBe("Hello");
    expect(tokenizer.encode("Hello", { bos: false, after: hello })).toEqual([tokenizer.idOf("Hello")]);
    expect(tokenizer.textOf(hello)).toBe(" Hello");
    expect(tokenizer.idOf("<0x0A>")).toBe(13);
    expect(tokenizer.textOf(13)).toBe("\n");
    expect([0, 1, 2, 3, 13, hello].map(tokenizer.isSpecial)).toEqual([true, true, true, false, false, false]);
  });

  test("a stream's pieces together are what is decoded at once", () => {
    const ids = fc.array(fc.oneof(fc.nat({ max: 31999 }), fc.nat({ max: 262 })), { maxLength: 30 });
    fc.assert(
      fc.property(ids, fc.boolean(), fc.option(fc.nat({ max: 300 }), { nil: undefined }), (list, special, after) => {
        const decoder = tokenizer.decoder({ special, after });
        expect(list.map((id) => decoder.push(id)).join("") + decoder.end()).toBe(tokenizer.decode(list, { special, after }));
      }),
      { numRuns: 1000 },
    );
  });

  test("a long text without a space is one word, and takes no time that grows with its square", { timeout: 600_000 }, () => {
    for (const text of ["a".repeat(300_000), "ab".repeat(100_000), "中国人".repeat(40_000), "🦙".repeat(50_000), " ".repeat(300_000)]) {
      expect(tokenizer.decode(tokenizer.encode(text, { bos: false }))).toBe(text);
    }
  });
});

/** A vocabulary of <unk>, <s>, </s>, the bytes and these pieces. */
function small(pieces: readonly string[], scores: readonly number[], changes: Record<string, MetadataValue | undefined> = {}) {
  const all: Record<string, MetadataValue | undefined> = {
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>", ...bytePieces, ...pieces],
    "tokenizer.ggml.scores": Float32Array.from([0, 0, 0, ...bytePieces.map(() => 0), ...scores]),
    "tokenizer.ggml.token_type": [2, 3, 3, ...bytePieces.map(() => 6), ...pieces.map(() => 1)],
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
    ...changes,
  };
  const given = Object.entries(all).filter((entry): entry is [string, MetadataValue] => entry[1] !== undefined);
  return loadTokenizer(fakeCheckpoint({ metadata: Object.fromEntries(given) }));
}

describe("scores", () => {
  test("the piece of the highest score is made first, of several the leftmost, of parts that need be no pieces, as in the plain way", async () => {
    const letters = fc.constantFrom("a", "b", "é");
    const pieces = fc.uniqueArray(fc.tuple(fc.string({ unit: letters, minLength: 1, maxLength: 5 }), fc.integer({ min: -4, max: 4 })), {
      maxLength: 14,
      selector: ([piece]) => piece,
    });
    await fc.assert(
      fc.asyncProperty(pieces, fc.string({ unit: letters, maxLength: 30 }), async (scored, word) => {
        const scoreOf = new Map(scored);
        const symbols = Array.from(word);
        for (;;) {
          const scores = symbols.slice(1).map((right, i) => scoreOf.get(symbols[i]! + right) ?? Number.NEGATIVE_INFINITY);
          const best = Math.max(...scores);
          if (best === Number.NEGATIVE_INFINITY) break;
          const at = scores.indexOf(best);
          symbols.splice(at, 2, symbols[at]! + symbols[at + 1]!);
        }
        const ids = symbols.flatMap((symbol) => {
          const piece = scored.findIndex(([text]) => text === symbol);
          return piece >= 0 ? [259 + piece] : [...Buffer.from(symbol)].map((byte) => 3 + byte);
        });
        const pieceTexts = scored.map(([text]) => text);
        const pieceScores = scored.map(([, score]) => score);
        const tokenizer = await small(pieceTexts, pieceScores, { "tokenizer.ggml.add_space_prefix": false });
        expect(tokenizer.encode(word, { bos: false })).toEqual(ids);
      }),
      { numRuns: 500 },
    );
  });

  test("text never becomes a special, unused or byte token, whatever merges lead there", async () => {
    const tokenizer = await small(["<", "s", ">", "<s", "[", "P", "]", "[P", "[P]", "<0", "x41>"], Array(11).fill(0), {
      "tokenizer.ggml.token_type": [2, 3, 3, ...bytePieces.map(() => 6), ...Array(8).fill(1), 5, 1, 1],
      "tokenizer.ggml.add_space_prefix": false,
    });
    expect(tokenizer.encode("<s>", { bos: false, special: false }).map(tokenizer.textOf)).toEqual(["<s", ">"]);
    expect(tokenizer.encode("[P]", { bos: false }).map(tokenizer.textOf)).toEqual(["[P", "]"]);
    expect(tokenizer.encode("<0x41>", { bos: false }).some((id) => id === 3 + 0x41)).toBe(false);
  });

  test("add_space_prefix and add_bos_token are obeyed, and true where nothing is said", async () => {
    const pieces = ["a", "▁a", "▁"];
    const scores = [0, 0, 0];
    expect((await small(pieces, scores)).encode("a")).toEqual([1, 260]);
    const plain = await small(pieces, scores, { "tokenizer.ggml.add_space_prefix": false, "tokenizer.ggml.add_bos_token": false });
    expect(plain.encode("a a")).toEqual([259, 260]);
    expect(plain.decode([260])).toBe(" a");
  });

  test("tokens that take part in no merge need none", async () => {
    const scores = Float32Array.from([Number.NaN, Number.NEGATIVE_INFINITY, 0, ...bytePieces.map(() => Number.NaN), -3, -1, -2, -4]);
    const tokenizer = await small(["a", "aa", "▁a", "▁"], [0, 0, 0, 0], { "tokenizer.ggml.scores": scores });
    expect(tokenizer.encode("aa").map(tokenizer.textOf)).toEqual(["<s>", " ", "aa"]);
  });

  const without = (byte: number) => bytePieces.map((piece, i) => (i === byte ? "<0X41>" : piece));
  test("runs of spaces that are added tokens are made by merges, as by llama.cpp, and printed as spaces", async () => {
    const added = ["\n\n", "▁▁", "▁▁▁", "▁▁▁▁"];
    const pieces = ["th", "he", "▁t", "▁b", "the", "▁the", "▁", ..."abeht\n"];
    const tokenizer = await small([...added, ...pieces], [...added.map(() => -1000), 0, -1, -2, -3, -4, -5, ...Array(7).fill(0)], {
      "tokenizer.ggml.token_type": [2, 3, 3, ...bytePieces.map(() => 6), ...added.map(() => 4), ...pieces.map(() => 1)],
      "tokenizer.ggml.add_space_prefix": false,
    });
    // What llama.cpp v0.5.0 gives (node-llama-cpp 3.22.1).
    for (const [text, ...parts] of [
      ["a  b", "a", " ", " b"],
      ["a   b", "a", "  ", " b"],
      ["the  the", "the", " ", " the"],
      ["a     b", "a", "    ", " b"],
      ["  bb  ", " ", " b", "b", "  "],
      ["a\n\n\nb", "a", "\n\n", "\n", "b"],
    ]) {
      const ids = tokenizer.encode(text!, { bos: false });
      expect(ids.map((id) => tokenizer.decode([id]))).toEqual(parts);
      expect(tokenizer.decode(ids)).toBe(text);
    }
  });

  test.each<[string, Record<string, MetadataValue | undefined>]>([
    [
      `tokenizer.ggml.scores is missing, so it is not known which pieces to merge first; ${passAnother}`,
      { "tokenizer.ggml.scores": undefined },
    ],
    ["tokenizer.ggml.scores has 1 entries, but tokenizer.ggml.tokens has 260", { "tokenizer.ggml.scores": [1] }],
    [
      "tokenizer.ggml.scores is NaN for token 259, which is not a finite number",
      { "tokenizer.ggml.scores": Float32Array.from({ length: 260 }, (_, i) => (i === 259 ? Number.NaN : 0)) },
    ],
    [
      "tokenizer.ggml.scores is -Infinity for token 259, which is not a finite number",
      { "tokenizer.ggml.scores": new Float32Array(260).fill(Number.NEGATIVE_INFINITY) },
    ],
    ["tokenizer.ggml.token_type is 7 for token 0, which is not a token type", { "tokenizer.ggml.token_type": Array(260).fill(7) }],
    [
      'tokenizer.ggml.tokens has "<0X41>" at 68 for a byte, but a form such as "<0x0A>" is required',
      { "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>", ...without(0x41), "a"] },
    ],
    [
      "tokenizer.ggml.tokens has no token for the byte 0x07",
      { "tokenizer.ggml.token_type": Array.from({ length: 260 }, (_, i) => (i < 3 ? 3 : i === 10 || i === 259 ? 1 : 6)) },
    ],
    [
      'tokenizer.ggml.tokens has "<0x00>" twice, as 3 and 259',
      { "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>", ...bytePieces, "<0x00>"] },
    ],
    ["tokenizer.ggml.bos_token_id is 260, but the vocabulary has the ids 0 to 259", { "tokenizer.ggml.bos_token_id": 260 }],
    [
      "tokenizer.ggml.remove_extra_whitespaces is true, but changing text before it is tokenized is not supported",
      { "tokenizer.ggml.remove_extra_whitespaces": true },
    ],
  ])("refused: %s", async (message, changes) => {
    expect(await errorOf(() => small(["a"], [0], changes))).toBe(`tokenizer: fake: ${message}`);
  });
});

describe("tokenizer.json", () => {
  const load = (changes: Record<string, unknown>) =>
    loadTokenizer(fakeCheckpoint({ sidecars: { "tokenizer.json": JSON.stringify({ ...json, ...changes }) } }));
  const metaspace = (more: Record<string, unknown>) => ({
    normalizer: null,
    pre_tokenizer: { type: "Metaspace", replacement: "▁", split: false, ...more },
  });

  test.each([{ prepend_scheme: "always" }, { prepend_scheme: "first" }])("Metaspace, %o, as Hugging Face does", async (scheme) => {
    const changes = metaspace(scheme);
    const ours = await load(changes);
    const hf = new HfTokenizer({ ...json, ...changes }, {});
    fc.assert(
      fc.property(texts, (text) => {
        expect(ours.encode(text, { special: false })).toEqual(hf.encode(text).ids);
      }),
      { numRuns: 200 },
    );
    const hello = ours.idOf(" Hello")!;
    expect(ours.encode(" Hello", { bos: false })).toEqual([hello]);
    expect(ours.encode("Hello</s>Hello", { bos: false })).toEqual([
      hello,
      2,
      scheme.prepend_scheme === "first" ? ours.idOf("Hello") : hello,
    ]);
    expect(ours.decode(ours.encode("Hello</s>Hello"), { special: false })).toBe("HelloHello");
  });

  test("no space before text, where nothing puts it there", async () => {
    const decoder = { type: "Sequence", decoders: json.decoder.decoders.slice(0, 3) };
    const replace = { type: "Replace", pattern: { String: " " }, content: "▁" };
    for (const changes of [{ normalizer: replace }, metaspace({ prepend_scheme: "never" }), metaspace({ add_prefix_space: false })]) {
      const tokenizer = await load({ ...changes, decoder });
      expect(tokenizer.encode("Hello Hello", { bos: false })).toEqual([tokenizer.idOf("Hello"), tokenizer.idOf(" Hello")]);
      expect(tokenizer.decode([tokenizer.idOf(" Hello")!])).toBe(" Hello");
    }
  });

  test("Gemma's steps, as Hugging Face does, and as a GGUF with scores and no space before text", async () => {
    const changes = {
      normalizer: { type: "Replace", pattern: { String: " " }, content: "▁" },
      pre_tokenizer: { type: "Split", pattern: { String: " " }, behavior: "MergedWithPrevious", invert: false },
      decoder: { type: "Sequence", decoders: json.decoder.decoders.slice(0, 3) },
      // Runs of spaces are added tokens, too.
      added_tokens: [...json.added_tokens, { ...json.added_tokens[0], id: json.model.vocab["▁▁"], content: "▁▁", special: false }],
    };
    const ours = await load(changes);
    expect(ours.decode(ours.encode("a  b", { bos: false }))).toBe("a  b");
    const hf = new HfTokenizer({ ...json, ...changes }, {});
    const scored = await loadTokenizer(fakeCheckpoint({ metadata: { ...llama2Metadata(), "tokenizer.ggml.add_space_prefix": false } }));
    fc.assert(
      fc.property(texts, (text) => {
        const ids = ours.encode(text, { special: false });
        expect(ids).toEqual(hf.encode(text).ids);
        expect(scored.encode(text, { special: false })).toEqual(ids);
      }),
      { numRuns: 200 },
    );
  });

  test.each<[string, Record<string, unknown>]>([
    ["normalizer is", { pre_tokenizer: { type: "Split", pattern: { String: "a" }, behavior: "MergedWithPrevious", invert: false } }],
    ["normalizer is", { pre_tokenizer: { type: "Split", pattern: { String: " " }, behavior: "Removed", invert: true } }],
    ["normalizer is", { normalizer: { type: "NFKC" } }],
    ["normalizer is", { normalizer: null }],
    ["normalizer is", { normalizer: { type: "Sequence", normalizers: {} } }],
    ["normalizer is", metaspace({ split: true })],
    ["normalizer is", metaspace({ replacement: "_" })],
    ["normalizer is", metaspace({ prepend_scheme: "last" })],
    ["decoder is", { decoder: { type: "ByteLevel" } }],
    ["decoder is", metaspace({ prepend_scheme: "never" })],
    ["model.ignore_merges is true", { model: { ...json.model, ignore_merges: true } }],
    ['model.merges of tokenizer.json has "<0x41> <0x42>" at 0', { model: { ...json.model, merges: ["<0x41> <0x42>"] } }],
    ["has no token for the byte 0x00", { model: { ...json.model, vocab: { a: 3 }, merges: [] } }],
  ])("refused: %s", async (message, changes) => {
    expect(await errorOf(() => load(changes))).toContain(message);
  });
});
