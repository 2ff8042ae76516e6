import { describe, expect, test } from "vitest";
import type { MetadataValue } from "../container/checkpoint.js";
import { StringList } from "../container/string-list.js";
import { untypedControls } from "./control-tokens.js";
import { byteCharacters, bytePieces, errorOf, fakeCheckpoint } from "./fixtures.test.helper.js";
import { readGgufVocabulary } from "./gguf-vocabulary.js";
import { loadTokenizer } from "./load.js";
import { passAnother } from "./vocabulary.js";

type Changes = Record<string, MetadataValue | undefined>;

/** A tokenizer of the 256 bytes, "ab" (256), then special tokens from 257 on. */
const specials = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|turn|>", "<|message|>"];
const base: Changes = {
  "general.architecture": "llama",
  "tokenizer.ggml.model": "gpt2",
  "tokenizer.ggml.pre": "llama-bpe",
  "tokenizer.ggml.tokens": [...byteCharacters, "ab", ...specials],
  "tokenizer.ggml.token_type": [...Array<number>(257).fill(1), ...specials.map(() => 3)],
  "tokenizer.ggml.merges": ["a b"],
  "tokenizer.ggml.bos_token_id": 257,
  "tokenizer.ggml.eos_token_id": 258,
};

const checkpoint = (changes: Changes) => {
  const all = Object.entries({ ...base, ...changes }).filter((entry): entry is [string, MetadataValue] => entry[1] !== undefined);
  return fakeCheckpoint({ metadata: Object.fromEntries(all) });
};
const load = (changes: Changes) => loadTokenizer(checkpoint(changes));
const refused = (changes: Changes) => errorOf(() => load(changes));

const missingBos = "tokenizer: fake: text should begin with a BOS token, but tokenizer.ggml.bos_token_id is missing";

describe("tokenizer.ggml.pre that says nothing", () => {
  test.each(["bitnet-b1.58", "bitnet-25"])("is LLaMA-3's in a %s model, with a note", async (architecture) => {
    const named = readGgufVocabulary(checkpoint({ "general.architecture": architecture }));
    expect(named.notes).toEqual([]);
    for (const [pre, shown] of [
      [undefined, "missing"],
      ["", "missing"],
      ["default", '"default"'],
    ] as const) {
      const changes = { "general.architecture": architecture, "tokenizer.ggml.pre": pre };
      const { notes, ...vocabulary } = readGgufVocabulary(checkpoint(changes));
      expect({ ...vocabulary, notes: [] }).toEqual(named);
      expect(notes).toEqual([
        `tokenizer.ggml.pre is ${shown}: assuming LLaMA-3's tokenizer, which all published ${architecture} models use`,
      ]);
      expect((await load(changes)).notes).toEqual(notes);
      expect((await load({ ...changes, "tokenizer.ggml.add_bos_token": false })).encode("ab")).toEqual([256]);
    }
  });

  test.each(["llama", "qwen3", "bitnet"])("is refused in a %s model", async (architecture) => {
    for (const [pre, message] of [
      [undefined, "tokenizer.ggml.pre is missing, so it is not known how to split text"],
      ["", "tokenizer.ggml.pre is missing, so it is not known how to split text"],
      ["default", 'tokenizer.ggml.pre is "default"; supported are'],
    ] as const) {
      const error = await refused({ "general.architecture": architecture, "tokenizer.ggml.pre": pre });
      expect(error).toContain(message);
      expect(error).toContain(passAnother);
    }
  });
});

describe("a BOS token that no key names", () => {
  const none = { "tokenizer.ggml.bos_token_id": undefined };
  const noText = { "tokenizer.ggml.tokens": [...byteCharacters, "ab", "<|x|>", ...specials.slice(1)] };

  test.each(["falcon3", "falcon_e"])("is not put first with %s, unless the file says that one is", async (pre) => {
    const tokenizer = await load({ ...none, "tokenizer.ggml.pre": pre });
    expect(tokenizer).toMatchObject({ bosId: undefined, addsBos: false });
    expect(tokenizer.encode("ab")).toEqual([256]);
    expect((await load({ "tokenizer.ggml.pre": pre })).encode("ab")).toEqual([257, 256]); // it names one
    expect(await refused({ ...none, "tokenizer.ggml.pre": pre, "tokenizer.ggml.add_bos_token": true })).toBe(missingBos);
  });

  test("is <|begin_of_text|> with LLaMA-3's, if the vocabulary has it", async () => {
    for (const adds of [undefined, true]) {
      const changes = { ...none, "tokenizer.ggml.add_bos_token": adds };
      for (const pre of ["llama-bpe", "llama3", "llama-v3"]) {
        expect((await load({ ...changes, "tokenizer.ggml.pre": pre })).encode("ab")).toEqual([257, 256]);
      }
      expect(await refused({ ...changes, ...noText })).toBe(missingBos);
    }
    expect((await load({ ...none, ...noText, "tokenizer.ggml.add_bos_token": false })).encode("ab")).toEqual([256]);
  });
});

describe("values in the form of other converters", () => {
  test.each([-1, 2 ** 32 - 1])("the id %s is no token", async (none) => {
    const ids = Object.fromEntries(
      ["bos", "eos", "eot", "eom", "fim_pad", "padding"].map((name) => [`tokenizer.ggml.${name}_token_id`, none]),
    );
    const tokenizer = await load({ ...ids, "tokenizer.ggml.pre": "qwen2" });
    expect(tokenizer).toMatchObject({ bosId: undefined, eosIds: [], endIds: [] });
    expect(tokenizer.encode("ab")).toEqual([256]);
    // Where text is to begin with BOS, it is found by its text, as if no key named it.
    expect((await load(ids)).encode("ab")).toEqual([257, 256]);
  });

  test("the type 0 of a token says no more than no type", async () => {
    const types = [...Array<number>(257).fill(0), ...specials.map(() => 3)];
    for (const array of [types, Uint8Array.from(types), Uint32Array.from(types)]) {
      const tokenizer = await load({ "tokenizer.ggml.token_type": array });
      expect(tokenizer.encode("ab<|eot_id|>")).toEqual([257, 256, 259]);
      expect(tokenizer.decode([256, 259], { special: false })).toBe("ab");
      expect(tokenizer.notes).toEqual([]);
    }
  });

  test("SentencePiece's BOS is <s> where no key names it", async () => {
    const pieces = {
      "tokenizer.ggml.model": "llama",
      "tokenizer.ggml.merges": undefined,
      "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>", ...bytePieces, "▁", "a"],
      "tokenizer.ggml.scores": new Float32Array(261),
      "tokenizer.ggml.token_type": [2, 3, 3, ...bytePieces.map(() => 6), 1, 1],
      "tokenizer.ggml.bos_token_id": undefined,
      "tokenizer.ggml.eos_token_id": 2,
    };
    expect((await load(pieces)).encode("a")).toEqual([1, 259, 260]);
    expect(await refused({ ...pieces, "tokenizer.ggml.tokens": ["<unk>", "<bos>", "</s>", ...bytePieces, "▁", "a"] })).toBe(missingBos);
  });
});

describe("ends", () => {
  test("are all that the file names, of turns and messages, too", async () => {
    const tokenizer = await load({
      "tokenizer.ggml.eot_token_id": 260,
      "tokenizer.ggml.eom_token_id": 261,
      "tokenizer.ggml.fim_pad_token_id": 259,
      "tokenizer.ggml.fim_pre_token_id": 257,
      "tokenizer.ggml.eos_token_ids": Uint32Array.of(258, 7),
    });
    expect(tokenizer.eosIds).toEqual([258]);
    expect([...tokenizer.endIds].sort((a, b) => a - b)).toEqual([7, 258, 259, 260, 261]);
  });

  test.each([
    ["eot_token_id is 262, but the vocabulary has the ids 0 to 261", { "tokenizer.ggml.eot_token_id": 262 }],
    ["eom_token_id is -2, but the vocabulary has the ids 0 to 261", { "tokenizer.ggml.eom_token_id": -2 }],
    ["eos_token_ids is 999, but the vocabulary has the ids 0 to 261", { "tokenizer.ggml.eos_token_ids": [258, 999] }],
    ["eot_token_id is not a number", { "tokenizer.ggml.eot_token_id": "x" }],
  ] as [string, Changes][])("refused: %s", async (message, changes) => {
    expect(await refused(changes)).toBe(`tokenizer: fake: tokenizer.ggml.${message}`);
  });
});

describe("types of tokens that are missing or wrong", () => {
  test("tokens that look like control tokens are some, with a note", async () => {
    for (const [types, words] of [
      [undefined, "is missing:"],
      [Array<number>(262).fill(1), "does not mark all control tokens:"],
    ] as const) {
      const tokenizer = await load({ "tokenizer.ggml.token_type": types });
      expect(tokenizer.encode("ab<|eot_id|><|turn|>")).toEqual([257, 256, 259, 260]);
      expect(tokenizer.decode([256, 258, 259], { special: false })).toBe("ab");
      expect(tokenizer.notes).toEqual([
        `tokenizer.ggml.token_type ${words} "<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>" and 2 more are treated as control tokens, judging by the text`,
      ]);
    }
  });

  test("ends are control tokens whatever the file calls them, unless merges make them of text", () => {
    const tokens = StringList.from(["</s>", "<|im_end|>", "<|endoftext|>", "<b>", ">>END<<", "<|think|>", "", "<|user|>"]);
    const plain = new Map([
      [1, "added"],
      [2, "unused"],
      [5, "added"],
    ] as const);
    const merges = StringList.from(["</ s>", "a b"]);
    expect(untypedControls(tokens, plain, new Set([4]), merges)).toEqual([1, 2, 4, 7]);
    expect(untypedControls(tokens, plain, new Set(), merges)).toEqual([1, 2, 7]);
    expect(untypedControls(tokens, plain, new Set([3]), undefined)).toEqual([0, 1, 2, 3]);
  });

  test("SentencePiece's bytes are found by their text", async () => {
    const tokenizer = await load({
      "tokenizer.ggml.model": "llama",
      "tokenizer.ggml.pre": undefined,
      "tokenizer.ggml.merges": undefined,
      "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>", ...bytePieces, "▁", "a"],
      "tokenizer.ggml.scores": new Float32Array(261),
      "tokenizer.ggml.token_type": undefined,
      "tokenizer.ggml.bos_token_id": 1,
      "tokenizer.ggml.eos_token_id": 2,
    });
    expect(tokenizer.encode("a\n</s>")).toEqual([1, 259, 260, 3 + 10, 2]);
    expect(tokenizer.decode([1, 259, 260, 13, 2], { special: false })).toBe("a\n");
  });
});
