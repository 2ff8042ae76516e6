import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { VOCAB, writeSmallModel } from "../../engine/conversion/models.test.helper.js";
import { type GenerateOptions, loadModel } from "../../engine/index.js";
import { some } from "../../engine/thorough.test.helper.js";
import { STANDINS } from "../published/standins.js";
import { EMBEDDED, temporaryDirectory } from "./derive.test.helper.js";

/** Greedy, top-k of several sizes, and a penalty whose tokens change their order. */
const OPTIONS: readonly GenerateOptions[] = [
  { temperature: 0 },
  { temperature: 0, repetitionPenalty: 1.3 },
  { temperature: 0.8, topK: 40, seed: 5 },
  { temperature: 1.5, topK: 256, topP: 0.95, seed: 6 },
  { temperature: 1, topK: 3, minP: 0.05, repetitionPenalty: 1.1, seed: 7 },
  { temperature: 0.9, topP: 0.9, seed: 8 }, // without top-k: all rows are read from the file
];
const PROMPTS = ["Once upon a time", "The", "She said:", "In 1984, the Parliament"];

const directory = temporaryDirectory();
afterAll(directory.remove);

describe("the two-stage head writes what the exact head writes", () => {
  it("alone and in batches", async () => {
    const exact = await loadModel(EMBEDDED, { head: "exact", threads: 1, v8Flags: true });
    const twoStage = await loadModel(EMBEDDED, { head: "two-stage", threads: 2, v8Flags: true });
    try {
      for (const options of OPTIONS) {
        const run = (model: typeof exact, prompt: string) => model.generate(prompt, { maxTokens: 40, ...options }).result();
        const right = await Promise.all(PROMPTS.map((prompt) => run(exact, prompt)));
        const together = await Promise.all(PROMPTS.map((prompt) => run(twoStage, prompt)));
        const alone = [await run(twoStage, PROMPTS[0]!)];
        expect(together.map(({ ids }) => ids)).toEqual(right.map(({ ids }) => ids));
        expect(alone.map(({ ids }) => ids)).toEqual([right[0]!.ids]);
      }
      expect((await twoStage.score("Once upon a time there was a dog.")).nll).toEqual(
        (await exact.score("Once upon a time there was a dog.")).nll,
      );
    } finally {
      await Promise.all([exact.close(), twoStage.close()]);
    }
  });

  it("with a vocabulary that is not whole pieces of a scan, side by side", async () => {
    expect(VOCAB % 128).not.toBe(0);
    const path = await writeSmallModel(directory.path, { architecture: "LlamaForCausalLM", tied: false });
    const texts: string[] = [];
    for (const head of ["exact", "two-stage"] as const) {
      const model = await loadModel(path, { head, threads: 1 });
      try {
        const run = (prompt: string) => model.generate(prompt, { maxTokens: 60, temperature: 0 }).result();
        texts.push(JSON.stringify((await Promise.all(PROMPTS.map(run))).map(({ ids }) => ids)));
      } finally {
        await model.close();
      }
    }
    expect(texts[1]).toBe(texts[0]);
  });

  // Untied in groups of 128, tied and rotated, tied in groups of 64.
  it.each(some(["bonsai-q2_0", "bonsai-2-tied", "bonsai-q2_0-g64"], 0, 1))("with a ternary table, as of %s", async (name) => {
    const path = await STANDINS.find((standin) => standin.name === name)!.write(mkdtempSync(join(directory.path, name)));
    const said: string[] = [];
    for (const options of [
      { head: "exact", threads: 1 },
      { head: "two-stage", threads: 2 },
      { head: "two-stage", threads: 1, tier: "plain" },
      { head: "two-stage", threads: 3, tier: "wide", v8Flags: true, crowded: true },
    ] as const) {
      const model = await loadModel(path, { ...options, contextLength: 128 });
      try {
        const run = (more: GenerateOptions) => (prompt: string) =>
          model.generate(prompt, { maxTokens: 20, ignoreEos: true, ...more }).result();
        const answers = [];
        for (const more of OPTIONS) answers.push(...(await Promise.all(PROMPTS.map(run(more)))), await run(more)("The"));
        said.push(JSON.stringify([answers.map(({ ids }) => ids), await model.score("Once upon a time")]));
        const { trace } = await model.generate("The", { maxTokens: 3, temperature: 0, trace: true }).result();
        expect(trace!.kernelCalls[options.head === "exact" ? "head" : "bounds"]).toBeGreaterThan(0);
        expect(trace!.kernelCalls).not.toHaveProperty("prepareScan");
      } finally {
        await model.close();
      }
    }
    expect(said.slice(1)).toEqual(said.slice(0, 1).flatMap((one) => [one, one, one]));
  });
});
