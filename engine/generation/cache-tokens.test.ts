import { expect, test } from "vitest";
import { type GenerationResult, loadModel } from "../index.js";

const PROMPTS = ["Once upon a time", "The dog", "A cat sat", "She said"];
const OPTIONS = { maxTokens: 50, ignoreEos: true, seed: 3 };

test("a cache of its own size: sequences are as long as the context allows, and all of them stay in memory; answers are the same", async () => {
  const heard: (readonly number[])[][] = [];
  const again: number[] = [];
  for (const options of [{}, { cacheTokens: 256 }, { cacheTokens: 256, reference: true }]) {
    const model = await loadModel(undefined, { threads: 1, contextLength: 64, ...options });
    try {
      const cacheSize = "cacheTokens" in options ? 256 : 64;
      expect([model.contextLength, model.stats.cacheSize]).toEqual([64, cacheSize]);
      const maxTokens = "reference" in options ? 3 : OPTIONS.maxTokens;
      const write = (prompt: string | readonly number[]) => model.generate(prompt, { ...OPTIONS, maxTokens }).result();
      const results = await Promise.all(PROMPTS.map(write));
      heard.push(results.map(({ ids }) => ids.slice(0, 3)));
      if ("reference" in options) continue;
      expect((await model.generate("The dog", { ...OPTIONS, maxTokens: Infinity }).result()).stopReason).toBe("context");
      expect(() => model.generate(Array(64).fill(5))).toThrow(/the context of 64 leaves no room/);
      // Each goes on from what is in memory, if it has room for all.
      let cached = 0;
      for (const { promptIds, ids } of results) {
        const { timings }: GenerationResult = await model.generate([...promptIds, ...ids], { maxTokens: 1 }).result();
        if (timings.cachedTokens >= promptIds.length + ids.length - 1) cached++;
      }
      again.push(cached);
    } finally {
      await model.close();
    }
  }
  expect(heard[1]).toEqual(heard[0]);
  expect(heard[2]).toEqual(heard[0]);
  expect(again[0]).toBeLessThan(4);
  expect(again[1]).toBeGreaterThan(again[0]!);
});

test("a cache that is smaller than the context, or than any memory, is refused in one sentence", async () => {
  for (const cacheTokens of [63, 0, -1, 64.5, 2 ** 24 + 1, "64", Number.NaN]) {
    await expect(loadModel(undefined, { contextLength: 64, cacheTokens: cacheTokens as number })).rejects.toMatchObject({
      code: "usage",
      message: expect.stringMatching(
        /^cacheTokens must be a whole number from 64, the context length \(contextLength, --ctx\), to 16777216, not /,
      ),
    });
  }
  await expect(loadModel(undefined, { contextLength: 64, cacheTokens: 2 ** 24 })).rejects.toMatchObject({
    code: "memory",
    message: expect.stringMatching(/a cache of \d+ tokens would fit \(cacheTokens, --cache-tokens\)/),
  });
});
