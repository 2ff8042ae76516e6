import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { loadModel } from "../index.js";
import { byteCharacters } from "../text/fixtures.test.helper.js";
import { FakeRunner } from "./fakes.test.helper.js";
import { Scheduler } from "./scheduler.js";

const directory = mkdtempSync(join(tmpdir(), "bitnet-padded-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** A tokenizer of the 256 bytes and an end, for a network with 4,096 rows: nearly all it would say has no token. */
const special = { special: true, lstrip: false, rstrip: false, single_word: false, normalized: false };
writeFileSync(
  join(directory, "tokenizer.json"),
  JSON.stringify({
    added_tokens: [{ id: 256, content: "<s>", ...special }],
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false },
    decoder: { type: "ByteLevel" },
    model: { type: "BPE", vocab: Object.fromEntries(byteCharacters.map((token, id) => [token, id])), merges: [] },
  }),
);
writeFileSync(join(directory, "tokenizer_config.json"), JSON.stringify({ bos_token: "<s>", eos_token: "<s>" }));

test.each([
  ["the exact head", { head: "exact" }],
  ["the two-stage head", { head: "two-stage" }],
  ["the reference", { reference: true }],
] as const)("ids without a token are never chosen: %s", async (_, options) => {
  const model = await loadModel(undefined, { ...options, threads: 1, contextLength: 64, tokenizer: directory });
  try {
    expect([model.tokenizer.size, model.config.vocabSize]).toEqual([257, 4096]);
    const maxTokens = "reference" in options ? 4 : 20;
    const prompt = [105, 116, 4000]; // rows without a token may be read
    const answers = [
      { temperature: 0 },
      { temperature: 0, repetitionPenalty: 1.3 },
      { temperature: 0, speculate: true },
      { temperature: 2, topK: 40 },
      { temperature: 2, seed: 1 },
      { temperature: 30, topP: 0.9, minP: 0.01 },
    ];
    for (const options of answers) {
      const { ids } = await model.generate(prompt, { ...options, maxTokens, ignoreEos: true }).result();
      expect(ids).toHaveLength(maxTokens);
      expect(ids.every((id) => id < 257)).toBe(true);
    }
    // The likelihood is the network's own, over all its rows.
    const logits = await model.logits([105, 116]);
    const sum = logits.subarray(0, 4096).reduce((total, logit) => total + Math.exp(logit), 0);
    expect((await model.score([105, 116])).nll[0]).toBeCloseTo(Math.log(sum) - logits[116]!, 3);
  } finally {
    await model.close();
  }
});

test("the scheduler says with each sample how many ids there are to choose from", async () => {
  const runner = new FakeRunner({ maxRows: 8, maxOutputs: 8, blockSize: 4, blocks: 8, contextLength: 16, states: 0 }, 9);
  const scheduler = new Scheduler(runner, 9, 5);
  const sampling = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 1 };
  const { done } = scheduler.generate({
    promptIds: [8, 1],
    sampling,
    maxTokens: 3,
    eosIds: new Set(),
    stopIds: new Set(),
    speculate: false,
  });
  await done;
  const outputs = runner.batches.flatMap((batch) => batch.outputs);
  expect(outputs.map((output) => output.want === "sample" && output.ids)).toEqual([5, 5, 5]);
});
