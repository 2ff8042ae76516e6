import { describe, expect, test } from "vitest";
import type { Checkpoint } from "../container/checkpoint.js";
import { generationDefaults, resolveOptions } from "./defaults.js";
import { FakeTokenizer, generationDefaultsFor } from "./fakes.test.helper.js";

const tokenizer = new FakeTokenizer();

function checkpoint(files: Readonly<Record<string, string>>): Checkpoint {
  return { path: "some/model", sidecar: async (name: string) => files[name] } as unknown as Checkpoint;
}

const config = (value: unknown) => checkpoint({ "generation_config.json": JSON.stringify(value) });

describe("generationDefaults", () => {
  test("without a generation_config.json sample, and end at every known end token", async () => {
    const { sampling, eosIds } = await generationDefaults(checkpoint({}), tokenizer);
    expect(sampling).toEqual({ temperature: 0.7, topK: 50, topP: 0.9, minP: 0, repetitionPenalty: 1.1, seed: 42 });
    expect([...eosIds].sort()).toEqual([1, 2]); // 1 by the tokenizer, 2 (<|eot_id|>) by its text
  });

  test("are what generation_config.json says", async () => {
    const file = { do_sample: true, temperature: 0.6, top_k: 40, top_p: 0.9, min_p: 0.05, repetition_penalty: 1.1, max_length: 4096 };
    expect((await generationDefaults(config(file), tokenizer)).sampling).toEqual({
      temperature: 0.6,
      topK: 40,
      topP: 0.9,
      minP: 0.05,
      repetitionPenalty: 1.1,
      seed: 42,
    });
  });

  test("are those of Hugging Face's library where generation_config.json says nothing: greedy, and no penalty", async () => {
    const { sampling } = await generationDefaults(config({ eos_token_id: 1 }), tokenizer);
    expect(sampling).toEqual({ temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 42 });
  });

  test.each([
    [{ do_sample: false, temperature: 0.6 }, 0, 0],
    [{ temperature: 0.6 }, 0, 0],
    [{ do_sample: true }, 1, 50],
    [{ do_sample: true, temperature: null, top_k: null }, 1, 0],
  ])("%j has temperature %d and top-k %d", async (file, temperature, topK) => {
    expect((await generationDefaults(config(file), tokenizer)).sampling).toMatchObject({ temperature, topK });
  });

  test("take eos_token_id as a number or a list, from both files", async () => {
    const files = { "generation_config.json": '{"eos_token_id": [5, 6]}', "config.json": '{"eos_token_id": 7}' };
    expect([...(await generationDefaults(checkpoint(files), tokenizer)).eosIds].sort()).toEqual([1, 2, 5, 6, 7]);
  });

  test.each([
    ["{", "is not a JSON object"],
    ["[]", "is not a JSON object"],
    ['{"temperature": "hot", "do_sample": true}', "temperature"],
    ['{"top_p": 7}', "topP"],
    ['{"eos_token_id": -1}', "eos_token_id"],
    ['{"eos_token_id": [1, "x"]}', "eos_token_id"],
    ['{"eos_token_id": 4000000}', "eos_token_id"],
  ])("%s is an error that names the file", async (text, words) => {
    const promise = generationDefaults(checkpoint({ "generation_config.json": text }), tokenizer);
    await expect(promise).rejects.toMatchObject({ code: "file", message: expect.stringContaining(words) as string });
    await expect(promise).rejects.toThrow("some/model: generation_config.json");
  });
});

describe("resolveOptions", () => {
  const defaults = generationDefaultsFor(tokenizer);
  const resolve = (options: object) => resolveOptions(options, defaults, tokenizer.size);

  test("puts the caller's over the model's", () => {
    expect(resolve({ temperature: 0.5, maxTokens: 3, stop: ["x"], stopIds: [4] })).toEqual({
      sampling: { ...defaults.sampling, temperature: 0.5 },
      maxTokens: 3,
      eosIds: defaults.eosIds,
      stopIds: new Set([4]),
      stop: ["x"],
      speculate: false,
      trace: false,
      signal: undefined,
    });
    expect(resolve({ ignoreEos: true, temperature: undefined })).toMatchObject({
      eosIds: new Set(),
      sampling: defaults.sampling,
      maxTokens: 512,
    });
    expect(resolve({ maxTokens: Infinity })).toMatchObject({ maxTokens: Infinity });
  });

  test("a temperature of 0 is plain greedy, unless a penalty is asked for, or is the model's own way of being greedy", () => {
    const own = { temperature: 0.7, topK: 50, topP: 0.9, minP: 0.1, repetitionPenalty: 1.1, seed: 42 };
    const greedy = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 42 };
    const of = (options: object, sampling = own) => resolveOptions(options, { ...defaults, sampling }, tokenizer.size).sampling;
    expect(of({ temperature: 0 })).toEqual(greedy);
    expect(of({ temperature: 0, repetitionPenalty: 1.2 })).toEqual({ ...greedy, repetitionPenalty: 1.2 });
    expect(of({ temperature: 0.1 })).toEqual({ ...own, temperature: 0.1 });
    const penalised = { ...greedy, repetitionPenalty: 1.3 };
    expect(of({ temperature: 0 }, penalised)).toEqual(penalised);
  });

  test.each([
    ["maxTokens", -1],
    ["maxTokens", 1.5],
    ["maxTokens", NaN],
    ["stop", [""]],
    ["stop", "x"],
    ["stop", [1]],
    ["stopIds", [-1]],
    ["stopIds", [1e6]],
    ["temperature", -1],
    ["topP", 2],
    ["seed", 0.5],
    ["speculate", "yes"],
    ["trace", 1],
  ])("names %s = %j", (name, value) => {
    expect(() => resolve({ [name]: value })).toThrow(
      expect.objectContaining({ code: "usage", message: expect.stringContaining(name) as string }),
    );
  });
});
