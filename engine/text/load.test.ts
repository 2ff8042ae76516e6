import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import type { MetadataValue } from "../container/checkpoint.js";
import { loadChatTemplate } from "./find-template.js";
import { byteCharacters, errorOf, fakeCheckpoint } from "./fixtures.test.helper.js";
import { loadTokenizer, openTokenizerFiles } from "./load.js";
import { splitPatterns } from "./pretokenize.js";
import { passAnother } from "./vocabulary.js";

/** Metadata of a tokenizer of the 256 bytes, "ab" (256), and <s> (257), </s> (258). */
const metadata: Record<string, MetadataValue> = {
  "tokenizer.ggml.model": "gpt2",
  "tokenizer.ggml.pre": "llama-bpe",
  "tokenizer.ggml.tokens": [...byteCharacters, "ab", "<s>", "</s>"],
  "tokenizer.ggml.token_type": [...byteCharacters.map(() => 1), 1, 3, 3],
  "tokenizer.ggml.merges": ["a b"],
  "tokenizer.ggml.bos_token_id": 257,
  "tokenizer.ggml.eos_token_id": 258,
};

const knownPre = '"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon_e", "gpt-2", "qwen2", "qwen35", "mpt", "olmo", "falcon"';

const loadGguf = (changes: Record<string, MetadataValue | undefined> = {}) => {
  const all = Object.entries({ ...metadata, ...changes }).filter((entry): entry is [string, MetadataValue] => entry[1] !== undefined);
  return loadTokenizer(fakeCheckpoint({ metadata: Object.fromEntries(all) }));
};

describe("GGUF", () => {
  test("says whether BOS is added, or else its pre-tokenizer does", async () => {
    expect((await loadGguf()).encode("ab")).toEqual([257, 256]);
    expect((await loadGguf({ "tokenizer.ggml.add_bos_token": false })).encode("ab")).toEqual([256]);
    expect((await loadGguf({ "tokenizer.ggml.pre": "gpt-2" })).encode("ab")).toEqual([256]);
    expect((await loadGguf({ "tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.add_bos_token": true })).encode("ab")).toEqual([257, 256]);
    expect((await loadGguf()).eosIds).toEqual([258]);
    expect((await loadGguf({ "tokenizer.ggml.eos_token_id": undefined })).eosIds).toEqual([]);
  });

  test("a word that is a token needs no merges with llama-bpe, and does with gpt-2", async () => {
    const changes = { "tokenizer.ggml.merges": [], "tokenizer.ggml.add_bos_token": false };
    expect((await loadGguf(changes)).encode("ab")).toEqual([256]);
    expect((await loadGguf({ ...changes, "tokenizer.ggml.pre": "gpt-2" })).encode("ab")).toHaveLength(2);
  });

  test.each([
    { pre: "llama-bpe", bos: true, nfc: false, digits: 3 },
    { pre: "llama3", bos: true, nfc: false, digits: 3 },
    { pre: "llama-v3", bos: true, nfc: false, digits: 3 },
    { pre: "falcon3", bos: true, nfc: false, digits: 3 },
    { pre: "falcon_e", bos: true, nfc: false, digits: 3 },
    { pre: "gpt-2", bos: false, nfc: false, digits: 4 },
    { pre: "qwen2", bos: false, nfc: true, digits: 1 },
    { pre: "qwen35", bos: false, nfc: true, digits: 1 },
    { pre: "mpt", bos: false, nfc: true, digits: 4 },
    { pre: "olmo", bos: false, nfc: true, digits: 4 },
    { pre: "falcon", bos: false, nfc: false, digits: 3 },
  ])("what a pre-tokenizer stands for: %o", async ({ pre, bos, nfc, digits }) => {
    expect((await loadGguf({ "tokenizer.ggml.pre": pre })).encode("ab")).toEqual(bos ? [257, 256] : [256]);
    const tokenizer = await loadGguf({
      "tokenizer.ggml.pre": pre,
      "tokenizer.ggml.add_bos_token": false,
      "tokenizer.ggml.tokens": [...byteCharacters, "12", "123", "1234"],
      "tokenizer.ggml.token_type": Array(259).fill(1),
      "tokenizer.ggml.merges": ["1 2", "12 3", "123 4"],
    });
    expect(tokenizer.decodeBytes(tokenizer.encode("1234").slice(0, 1))).toHaveLength(digits);
    expect(tokenizer.decode(tokenizer.encode("e\u0301"))).toBe(nfc ? "é" : "e\u0301");
  });

  test("types 2 to 5: unknown and control are special, user-defined is text, unused is neither", async () => {
    const types = (type: number) => ({ "tokenizer.ggml.token_type": [...byteCharacters.map(() => 1), 1, type, 3] });
    for (const [type, special, found] of [
      [2, true, true],
      [3, true, true],
      [4, false, true],
      [5, true, false],
    ] as const) {
      const tokenizer = await loadGguf(types(type));
      expect([type, tokenizer.isSpecial(257), tokenizer.encode("<s>", { bos: false }).length === 1]).toEqual([type, special, found]);
    }
    expect(await errorOf(() => loadGguf(types(6)))).toBe(
      "tokenizer: fake: tokenizer.ggml.token_type is 6 (byte) for token 257, which byte-level BPE does not use",
    );
  });

  test.each<[string, Record<string, MetadataValue | undefined>]>([
    [`the file has no tokenizer (tokenizer.ggml.model is missing); ${passAnother}`, { "tokenizer.ggml.model": undefined }],
    [
      `tokenizer.ggml.model is "t5"; supported are "gpt2" (byte-level BPE) and "llama" (SentencePiece); ${passAnother}`,
      { "tokenizer.ggml.model": "t5" },
    ],
    ["tokenizer.ggml.model is not a string", { "tokenizer.ggml.model": 2 }],
    [
      `tokenizer.ggml.pre is missing, so it is not known how to split text (supported are ${knownPre}); ${passAnother}`,
      { "tokenizer.ggml.pre": undefined },
    ],
    [`tokenizer.ggml.pre is "default"; supported are ${knownPre}; ${passAnother}`, { "tokenizer.ggml.pre": "default" }],
    ["tokenizer.ggml.tokens is missing", { "tokenizer.ggml.tokens": undefined }],
    ["tokenizer.ggml.tokens is not a list of strings", { "tokenizer.ggml.tokens": [1, 2] }],
    ["tokenizer.ggml.token_type has 1 entries, but tokenizer.ggml.tokens has 259", { "tokenizer.ggml.token_type": [1] }],
    ["tokenizer.ggml.merges is missing", { "tokenizer.ggml.merges": undefined }],
    ["tokenizer.ggml.bos_token_id is not a number", { "tokenizer.ggml.bos_token_id": "257" }],
    ["tokenizer.ggml.bos_token_id is 259, but the vocabulary has the ids 0 to 258", { "tokenizer.ggml.bos_token_id": 259 }],
    ["tokenizer.ggml.add_bos_token is not true or false", { "tokenizer.ggml.add_bos_token": 1 }],
    ["text should begin with a BOS token, but tokenizer.ggml.bos_token_id is missing", { "tokenizer.ggml.bos_token_id": undefined }],
  ])("refused: %s", async (message, changes) => {
    expect(await errorOf(() => loadGguf(changes))).toBe(`tokenizer: fake: ${message}`);
  });
});

type Json = Record<string, unknown>;

const special = (id: number, content: string) => ({ id, content, special: true, lstrip: false, rstrip: false, normalized: false });

const bosTemplate = {
  type: "TemplateProcessing",
  single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
  special_tokens: { "<s>": { id: "<s>", ids: [257], tokens: ["<s>"] } },
};

const model: Json = {
  type: "BPE",
  vocab: Object.fromEntries([...byteCharacters, "ab"].map((token, id) => [token, id])),
  merges: ["a b"],
};

const byteLevel = { type: "ByteLevel", add_prefix_space: false, use_regex: false };
const splitThenBytes = (split: Json) => ({
  type: "Sequence",
  pretokenizers: [{ type: "Split", behavior: "Isolated", invert: false, ...split }, byteLevel],
});

/** tokenizer.json of the same tokenizer. */
const json: Json = {
  added_tokens: [special(257, "<s>"), special(258, "</s>")],
  normalizer: null,
  pre_tokenizer: { type: "ByteLevel", add_prefix_space: false },
  post_processor: null,
  decoder: { type: "ByteLevel" },
  model,
};

const loadJson = (changes: Json = {}, config?: Json, map?: Json) => {
  const sidecars: Record<string, string> = { "tokenizer.json": JSON.stringify({ ...json, ...changes }) };
  if (config !== undefined) sidecars["tokenizer_config.json"] = JSON.stringify(config);
  if (map !== undefined) sidecars["special_tokens_map.json"] = JSON.stringify(map);
  return loadTokenizer(fakeCheckpoint({ sidecars }));
};

describe("tokenizer.json", () => {
  test("the post-processor says whether BOS is added, tokenizer_config.json overrides it", async () => {
    expect((await loadJson()).encode("ab")).toEqual([256]);
    expect((await loadJson({ post_processor: bosTemplate })).encode("ab")).toEqual([257, 256]);
    expect((await loadJson({ post_processor: bosTemplate }, { add_bos_token: false })).encode("ab")).toEqual([256]);
    expect((await loadJson({}, { add_bos_token: true, bos_token: "<s>" })).encode("ab")).toEqual([257, 256]);
    const sequence = { type: "Sequence", processors: [{ type: "ByteLevel" }, bosTemplate] };
    expect((await loadJson({ post_processor: sequence })).encode("ab")).toEqual([257, 256]);
  });

  test("the post-processor says whether EOS stands behind a text that is embedded, tokenizer_config.json overrides it", async () => {
    const end = { SpecialToken: { id: "</s>", type_id: 0 } };
    const ids = { "</s>": { id: "</s>", ids: [258], tokens: ["</s>"] } };
    const both = { ...bosTemplate, single: [...bosTemplate.single, end], special_tokens: { ...bosTemplate.special_tokens, ...ids } };
    expect(await loadJson({ post_processor: both })).toMatchObject({ bosId: 257, addsBos: true, eosIds: [258], addsEos: true });
    const behind = { ...both, single: [{ Sequence: { id: "A", type_id: 0 } }, end] };
    const sequence = { type: "Sequence", processors: [{ type: "ByteLevel" }, behind] };
    const other = { eos_token: "<s>" }; // Qwen's embedding models: the end of a turn is named, the end of a text is added
    expect(await loadJson({ post_processor: sequence }, other)).toMatchObject({ addsBos: false, eosIds: [258, 257], addsEos: true });
    expect(await loadJson({ post_processor: behind }, { ...other, add_eos_token: false })).toMatchObject({ addsEos: false });
    expect(await loadJson()).toMatchObject({ addsEos: false });
    const twice = { ...behind, single: [...behind.single, end] };
    expect(await errorOf(() => loadJson({ post_processor: twice }))).toContain("only one token before the text and one behind it");
  });

  test("BOS and EOS come from tokenizer_config.json, then from special_tokens_map.json, as text or as an object", async () => {
    const named = await loadJson({}, { bos_token: "<s>", eos_token: null }, { bos_token: "ab", eos_token: { content: "</s>" } });
    expect(named).toMatchObject({ bosId: 257, eosIds: [258], addsBos: false });
    expect(await loadJson()).toMatchObject({ bosId: undefined, eosIds: [] });
  });

  test("merges are strings or pairs, ignore_merges is obeyed", async () => {
    expect((await loadJson({ model: { ...model, merges: [["a", "b"]] } })).encode("ab")).toEqual([256]);
    expect((await loadJson({ model: { ...model, merges: [] } })).encode("ab")).toHaveLength(2);
    expect((await loadJson({ model: { ...model, merges: [], ignore_merges: true } })).encode("ab")).toEqual([256]);
  });

  test("the split is recognised by its pattern", async () => {
    const numbers = (regex?: string) =>
      loadJson({ pre_tokenizer: regex === undefined ? json.pre_tokenizer : splitThenBytes({ pattern: { Regex: regex } }) });
    const vocab = { ...(model.vocab as Json), "12": 257, "1234": 258 };
    const wide = { model: { type: "BPE", vocab, merges: [], ignore_merges: true }, added_tokens: [] };
    const wideWith = (pre_tokenizer: Json) => loadJson({ ...wide, pre_tokenizer });
    expect((await wideWith(splitThenBytes({ pattern: { Regex: splitPatterns.gpt2 } }))).encode("1234")).toEqual([258]);
    expect((await wideWith({ type: "Sequence", pretokenizers: [{ type: "ByteLevel" }] })).encode("1234")).toEqual([258]);
    expect((await wideWith(splitThenBytes({ pattern: { Regex: splitPatterns.llama3 } }))).encode("1234")).toHaveLength(4);
    expect(await errorOf(() => numbers("\\p{N}|\\s+"))).toBe(
      `tokenizer: fake: tokenizer.json: pre_tokenizer splits text by "\\\\p{N}|\\\\s+"; supported are only LLaMA-3's, GPT-2's and Qwen2's patterns, and "[0-9][0-9][0-9]"`,
    );
    expect(await errorOf(() => numbers("a\u0085\u009b"))).toContain('splits text by "a\\u{85}\\u{9b}"'); // nothing that steers a terminal
  });

  test("tokens that only tokenizer_config.json lists are added", async () => {
    const config = { added_tokens_decoder: { "258": special(258, "</s>"), "259": { content: "<tool>", special: false } } };
    const tokenizer = await loadJson({}, config);
    expect(tokenizer.size).toBe(260);
    expect(tokenizer.encode("<tool></s>")).toEqual([259, 258]);
  });

  test("names that objects have by nature are tokens like any other", async () => {
    const text = JSON.stringify({ ...json, added_tokens: [special(257, "constructor"), special(258, "__proto__")] });
    const withProto = text.replace('"ab":256', '"__proto__":256');
    const load = (content: string) => loadTokenizer(fakeCheckpoint({ sidecars: { "tokenizer.json": content } }));
    expect((await load(text)).encode("__proto__constructortoString")).toHaveLength(10);
    expect(await errorOf(() => load(withProto.replace('["a b"]', "[]")))).toContain('has "__proto__" twice, as 256 and 258');
    const template = { ...bosTemplate, single: [{ SpecialToken: { id: "constructor" } }, { Sequence: { id: "A" } }] };
    expect(await errorOf(() => loadJson({ post_processor: template }))).toContain('post_processor has no id for "constructor"');
  });

  test.each<[string, Json, Json?]>([
    ['normalizer is {"type":"NFKC"}; supported are "NFC", or none', { normalizer: { type: "NFKC" } }],
    ['decoder is null, not of type "ByteLevel"', { decoder: null }],
    ["model is missing", { model: 3 }],
    ['model.type is "Unigram"', { model: { ...model, type: "Unigram" } }],
    ["model.vocab is not an object", { model: { ...model, vocab: ["a"] } }],
    ['model.vocab has "a" with the id -1', { model: { ...model, vocab: { a: -1 } } }],
    ['model.vocab has "a" with the id 1e+99', { model: { ...model, vocab: { a: 1e99 } } }],
    ['model.vocab has "a" with the id "zero"', { model: { ...model, vocab: { a: "zero" } } }],
    ['model.vocab has two tokens with the id 7, "a" and "b"', { model: { ...model, vocab: { a: 7, b: 7 } } }],
    ["no token has the id 0, but there are higher ones", { model: { ...model, vocab: { a: 1 } } }],
    ["model.merges is not a list of pairs", { model: { ...model, merges: [["a"]] } }],
    ["model.merges is not a list of pairs", { model: { ...model, merges: { length: 1e9 } } }],
    ["model.dropout is", { model: { ...model, dropout: 0.1 } }],
    ["model.end_of_word_suffix is", { model: { ...model, end_of_word_suffix: "</w>" } }],
    ["pre_tokenizer adds a space", { pre_tokenizer: { type: "ByteLevel", add_prefix_space: true } }],
    ["pre_tokenizer does not split", { pre_tokenizer: byteLevel }],
    ["pre_tokenizer is", { pre_tokenizer: { type: "Metaspace" } }],
    ["pre_tokenizer is", { pre_tokenizer: null }],
    ["pre_tokenizer is", { pre_tokenizer: { type: "Sequence", pretokenizers: {} } }],
    ["pre_tokenizer is", { pre_tokenizer: splitThenBytes({ behavior: "Removed", pattern: { Regex: splitPatterns.gpt2 } }) }],
    ["pre_tokenizer splits text by", { pre_tokenizer: splitThenBytes({ pattern: { String: " " } }) }],
    ["added_tokens is not a list", { added_tokens: {} }],
    ["added_tokens has 7, which is not a token", { added_tokens: [7] }],
    ['added_tokens has "<s>" with lstrip', { added_tokens: [{ ...special(257, "<s>"), lstrip: true }] }],
    ['added_tokens has "<s>" with single_word', { added_tokens: [{ ...special(257, "<s>"), single_word: true }] }],
    ['two tokens with the id 38, "&" and "<s>"', { added_tokens: [special(38, "<s>")] }],
    ["no token has the id 257", { added_tokens: [special(999, "<s>")] }],
    ["post_processor is", { post_processor: { type: "BertProcessing" } }],
    ["post_processor turns a text into", { post_processor: { ...bosTemplate, single: [...bosTemplate.single, ...bosTemplate.single] } }],
    ["post_processor.processors is not a list", { post_processor: { type: "Sequence" } }],
    ["post_processor starts text with token 257, but bos_token is 258", { post_processor: bosTemplate }, { bos_token: "</s>" }],
    ['eos_token is "<none>", which is not in the vocabulary', {}, { eos_token: "<none>" }],
    ["bos_token is", {}, { bos_token: 257 }],
    ["add_bos_token is", {}, { add_bos_token: "yes" }],
    ["text should begin with a BOS token, but bos_token is missing", {}, { add_bos_token: true }],
    ['tokenizer_config.json: added_tokens has "x" with the id NaN', {}, { added_tokens_decoder: { x: special(0, "x") } }],
  ])("refused: %s", async (message, changes, config) => {
    const error = await errorOf(() => loadJson(changes, config));
    expect(error).toMatch(/^tokenizer: fake: .*[^.]$/);
    expect(error).toContain(message);
  });

  test("refused: a file that is missing, or no JSON object", async () => {
    const load = (sidecars: Record<string, string>) => errorOf(() => loadTokenizer(fakeCheckpoint({ sidecars })));
    expect(await load({})).toBe(
      `tokenizer: fake: the model has no tokenizer (tokenizer.json is missing); if there is a tokenizer.model or a vocab.json, convert it with transformers (AutoTokenizer, then save_pretrained), or ${passAnother}`,
    );
    for (const text of ["", "{", "[]", "null", '"text"']) {
      expect(await load({ "tokenizer.json": text })).toBe("tokenizer: fake: tokenizer.json is not a JSON object");
    }
    expect(await load({ "tokenizer.json": JSON.stringify(json), "tokenizer_config.json": "7" })).toContain("tokenizer_config.json is not");
  });
});

describe("a tokenizer instead of the model's own", () => {
  const directory = mkdtempSync(join(tmpdir(), "bitnet-tokenizer-"));
  afterAll(() => rmSync(directory, { recursive: true, force: true }));
  const own = join(directory, "mine.json");
  writeFileSync(own, JSON.stringify(json));
  const model = (changes: Record<string, MetadataValue>) => fakeCheckpoint({ metadata: { ...metadata, ...changes } });
  const strange = model({ "tokenizer.ggml.pre": "default" });

  test("is a file of any name, or a tokenizer.json in a directory, with what lies beside it", async () => {
    const beside = join(directory, "beside");
    mkdirSync(beside);
    writeFileSync(join(beside, "tokenizer.json"), JSON.stringify(json));
    writeFileSync(join(beside, "tokenizer_config.json"), JSON.stringify({ bos_token: "<s>", add_bos_token: true, chat_template: "A" }));
    for (const path of [beside, join(beside, "tokenizer.json")]) {
      const files = await openTokenizerFiles(path);
      const tokenizer = await loadTokenizer(strange, files);
      expect(tokenizer).toMatchObject({ source: "tokenizer.json", bosId: 257, eosIds: [258], addsBos: true });
      expect(tokenizer.encode("ab")).toEqual([257, 256]);
      expect((await loadChatTemplate(strange, tokenizer, files))?.source).toBe("A");
    }
    expect((await loadTokenizer(strange, await openTokenizerFiles(own))).encode("ab")).toEqual([256]);
    expect(await openTokenizerFiles(undefined)).toBeUndefined();
  });

  test("leaves the model its BOS, EOS and chat template where it has none", async () => {
    const files = await openTokenizerFiles(own);
    const tokenizer = await loadTokenizer(strange, files);
    expect(tokenizer).toMatchObject({ bosId: 257, eosIds: [258], addsBos: false });
    expect((await loadChatTemplate(model({ "tokenizer.chat_template": "B" }), tokenizer, files))?.source).toBe("B");
    // Ids of a larger vocabulary are another model's.
    const other = await loadTokenizer(model({ "tokenizer.ggml.bos_token_id": 999, "tokenizer.ggml.eos_token_id": 998 }), files);
    expect(other).toMatchObject({ bosId: undefined, eosIds: [], addsBos: false });
  });

  test("has to be there, and to be one", async () => {
    const none = join(directory, "none");
    expect(await errorOf(() => openTokenizerFiles(none))).toMatch(/^usage: .*none/);
    expect(await errorOf(() => openTokenizerFiles(directory))).toMatch(/^usage: .*tokenizer\.json/);
    const other = join(directory, "other.json");
    writeFileSync(other, "[]");
    expect(await errorOf(async () => loadTokenizer(strange, await openTokenizerFiles(other)))).toBe(
      `tokenizer: ${other}: tokenizer.json is not a JSON object`,
    );
  });
});
