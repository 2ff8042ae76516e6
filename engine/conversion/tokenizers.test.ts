import { Tokenizer as HfTokenizer } from "@huggingface/tokenizers";
import { describe, expect, test } from "vitest";
import { type MetadataValue, openCheckpoint } from "../container/checkpoint.js";
import { StringList } from "../container/string-list.js";
import {
  byteCharacters,
  errorOf,
  fakeCheckpoint,
  type GoldenStrings,
  llama2Json,
  llama2Metadata,
  qwen3Files,
  readJson,
  smallVocabulary,
} from "../text/fixtures.test.helper.js";
import { readVocabulary } from "../text/load.js";
import { createTokenizer } from "../text/tokenizer.js";
import type { ByteLevelVocabulary, PieceVocabulary, PlainKind, Vocabulary } from "../text/vocabulary.js";
import { ggufTokenizer } from "./gguf-tokenizer.js";
import { jsonTokenizer } from "./json-tokenizer.js";
import { mergesOf, scoresOf } from "./piece-order.js";

const fromMetadata = (metadata: Record<string, MetadataValue>) => readVocabulary(fakeCheckpoint({ metadata }));
const fromJson = (json: object) => readVocabulary(fakeCheckpoint({ sidecars: { "tokenizer.json": JSON.stringify(json) } }));

/** What becomes of a vocabulary in GGUF metadata, and in tokenizer.json. */
const asGguf = (vocabulary: Vocabulary, size = vocabulary.tokens.length) =>
  fromMetadata(Object.fromEntries(ggufTokenizer(vocabulary, size, {}).map(({ key, value }) => [key, value as MetadataValue])));
const asJson = (vocabulary: Vocabulary) => {
  const { tokenizer, config } = jsonTokenizer(vocabulary, undefined, 4096);
  return readVocabulary(fakeCheckpoint({ sidecars: { "tokenizer.json": tokenizer, "tokenizer_config.json": config } }));
};

const llama2 = (await fromMetadata(llama2Metadata())) as PieceVocabulary;
const llama2Pairs = (await fromJson(llama2Json())) as PieceVocabulary;
const pairs = readJson<GoldenStrings>("validation/golden/llama2/llamacpp_pairs.json");
const check = (vocabulary: Vocabulary, golden: GoldenStrings) => {
  const tokenizer = createTokenizer(vocabulary);
  for (const { text, ids } of golden) expect(tokenizer.encode(text, { bos: false }), text).toEqual(ids);
};

test("special tokens that merges make come back the same, in a file that other engines read", async () => {
  const plain = new Map<number, PlainKind>([[257, "special"]]);
  const vocabulary = smallVocabulary(["ab", "ab!", "b!"], { plain, merges: ["a b", "ab !", "b !"], split: ["gpt2"] });
  const text = "ab!ab b!";
  const ids = createTokenizer(vocabulary).encode(text);
  for (const copy of [await asGguf(vocabulary), await asJson(vocabulary), await asJson(await asGguf(vocabulary))])
    expect(createTokenizer(copy).encode(text)).toEqual(ids);
  const { tokenizer } = jsonTokenizer(vocabulary, undefined, 4096);
  const { model, pre_tokenizer } = JSON.parse(tokenizer) as {
    readonly model: { readonly vocab: Record<string, number>; readonly merges: readonly string[] };
    readonly pre_tokenizer: { readonly type: string };
  };
  expect(pre_tokenizer.type).toBe("ByteLevel"); // as GPT-2's own file has it: one step is no sequence
  expect(model.merges.flatMap((merge) => merge.split(" ")).filter((half) => !(half in model.vocab))).toEqual([]);
  expect(new HfTokenizer(JSON.parse(tokenizer), {}).encode(text).ids).toEqual(ids);
});

describe("SentencePiece", () => {
  test("scores become the pairs of LLaMA-2's own tokenizer.json, in its order", () => {
    expect([...mergesOf(llama2)]).toEqual(llama2Json().model.merges);
  });

  test("pairs become scores of the same order, and none where they are in no order of scores", async () => {
    const scores = scoresOf(llama2Pairs);
    const given = "scores" in llama2.order ? llama2.order.scores : [];
    const pieces = Array.from(scores, (_, id) => id).filter((id) => !llama2.plain.has(id) && given[id]! > -1e9);
    const byOurs = pieces.toSorted((a, b) => scores[b]! - scores[a]!);
    expect(byOurs).toEqual(pieces.toSorted((a, b) => given[b]! - given[a]!));
    expect(scores[llama2Pairs.tokens.length - 1]).toBeLessThan(scores[259]!); // a single character
    const { merges } = llama2Json().model;
    const order = (list: readonly string[]) => ({ ...llama2Pairs, order: { merges: StringList.from(list) } });
    for (const list of [merges.slice(0, -1), [...merges.slice(0, -2), merges.at(-1)!, merges.at(-2)!], [...merges, "no piece"]]) {
      expect(await errorOf(() => scoresOf(order(list)))).toMatch(
        /^tokenizer: fake: model.merges of tokenizer.json do not follow the order/,
      );
    }
  });

  test("goes from GGUF to tokenizer.json and back, with fillers, and other engines read it", async () => {
    for (const vocabulary of [llama2, llama2Pairs]) {
      for (const copy of [await asGguf(vocabulary, 32_064), await asJson(vocabulary), await asJson(await asGguf(vocabulary, 32_064))]) {
        check(copy, pairs);
        expect(copy).toMatchObject({ kind: "pieces", bosId: 1, addsBos: true, spacePrefix: "always" });
        expect(copy.plain.get(3 + 0x0a)).toBe("byte");
      }
    }
    const written: object = JSON.parse(jsonTokenizer(llama2, undefined, 4096).tokenizer);
    const hf = new HfTokenizer(written, {});
    for (const { text, ids } of pairs.filter(({ text }) => text !== "")) expect(hf.encode(text).ids).toEqual([1, ...ids]);
  });

  test("a space that GGUF can't tell is refused", async () => {
    for (const spacePrefix of ["first", "always"] as const) {
      const metaspace: PieceVocabulary = { ...llama2Pairs, spacePrefix, keepsSpace: true };
      expect(await errorOf(() => ggufTokenizer(metaspace, 32_000, {}))).toMatch(/^tokenizer: fake: .*Metaspace/);
      expect(await asJson(metaspace)).toMatchObject({ spacePrefix, keepsSpace: true });
    }
  });
});

describe("fillers and doubled merges", () => {
  const plain = new Map<number, PlainKind>([
    [257, "special"],
    [258, "unused"],
    [259, "unused"],
    [260, "special"],
    [262, "unused"],
    [263, "added"],
    [264, "special"],
  ]);
  const more = ["ab", "<|x|>", "", "", "", "", "ab", "", "[PAD266]", "bc"];
  const vocabulary = smallVocabulary(more, { plain, split: ["gpt2"], merges: ["a b", "b c", "a b"] });

  test("those at the end of a vocabulary are left out of tokenizer.json", () => {
    const fillers = new Map<number, PlainKind>([257, 258, 259].map((id) => [id, "unused"]));
    const { tokenizer } = jsonTokenizer(smallVocabulary(["ab", "x", "y", "z"], { plain: fillers, split: ["gpt2"] }), undefined, 4096);
    const { model } = JSON.parse(tokenizer) as { model: { vocab: Record<string, number> } };
    expect(Object.values(model.vocab).sort((a, b) => a - b)).toEqual(Array.from({ length: 257 }, (_, id) => id));
  });

  test("each token has a text of its own in the output, and text becomes the same ids", async () => {
    for (const source of ["gguf", "tokenizer.json"] as const) {
      const given = { ...vocabulary, source };
      const ids = createTokenizer(given).encode("abc [PAD258]<|x|>[PAD266]");
      expect(ids[0]).toBe(source === "gguf" ? 256 : byteCharacters.indexOf("a")); // the first merge counts, or the last
      for (const copy of [
        await asGguf(given, 270),
        await asJson(given),
        await asJson(await asGguf(given)),
        await asGguf(await asJson(given)),
      ]) {
        expect(new Set(copy.tokens).size).toBe(copy.tokens.length);
        expect(createTokenizer(copy).encode("abc [PAD258]<|x|>[PAD266]")).toEqual(ids);
      }
    }
  });
});

describe("byte-level splits", () => {
  test("the embedded model's tokenizer.json, made of its GGUF, gives the same ids here and in Hugging Face's library", async () => {
    const gguf = await openCheckpoint("models/bitnet-stories-4m/ggml-model-i2_s.gguf");
    await gguf.close();
    const vocabulary = await readVocabulary(gguf);
    const [tokenizer, again] = [createTokenizer(vocabulary), createTokenizer(await asJson(vocabulary))];
    const { tokenizer: json, config } = jsonTokenizer(vocabulary, undefined, 2048);
    const hf = new HfTokenizer(JSON.parse(json), JSON.parse(config));
    const texts = readJson<GoldenStrings>("validation/golden/tokenizer/open.json").map(({ text }) => text);
    for (const text of [...texts, "<|eot_id|>a<|begin_of_text|>", "\u0085 ſ 12345"]) {
      const ids = tokenizer.encode(text);
      expect(again.encode(text), text).toEqual(ids);
      expect(hf.encode(text).ids, text).toEqual(ids);
    }
  });

  test("Qwen's goes to GGUF and back, normal form and all", async () => {
    const qwen = await readVocabulary(fakeCheckpoint({ sidecars: qwen3Files }));
    const gguf = await asGguf(qwen, 151_936);
    expect(gguf).toMatchObject({ split: ["qwen2"], nfc: true, ignoreMerges: false });
    const golden = readJson<GoldenStrings>("validation/golden/qwen2/llamacpp_pairs.json");
    for (const vocabulary of [gguf, await asJson(gguf)]) check(vocabulary, [...golden, { text: "e\u0301", ids: [963] }]);
  });

  test.each([
    [["punctuation", "gpt2", "asciiDigits", "threeDigits"]],
    [["llama3", "asciiDigit"]],
    [["digits", "punctuationMarks", "gpt2"]],
    [["gpt2"]],
    [["threeDigits", "qwen2"]],
  ] as const)("%j is read from tokenizer.json as it was", async (split) => {
    const qwen = (await readVocabulary(fakeCheckpoint({ sidecars: "models/bitnet-stories-4m/packed" }))) as ByteLevelVocabulary;
    expect(await asJson({ ...qwen, split })).toMatchObject({ split, nfc: false });
    const inGguf = split.length === 4;
    if (inGguf) expect(await asGguf({ ...qwen, split, ignoreMerges: false })).toMatchObject({ split });
    else expect(await errorOf(() => ggufTokenizer({ ...qwen, split }, 4096, {}))).toMatch(/of whole words, which GGUF can't express/);
  });
});
