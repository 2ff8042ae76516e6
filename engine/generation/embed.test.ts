import { createHash } from "node:crypto";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { EMBEDDED, temporaryDirectory } from "../../validation/end-to-end/derive.test.helper.js";
import { rewriteGguf } from "../../validation/end-to-end/rewrite.test.helper.js";
import { openCheckpoint } from "../container/checkpoint.js";
import { type LoadOptions, loadModel, type Model } from "../index.js";
import { readConfig } from "../model/config.js";
import { readWeights } from "../model/weights.js";
import { Reference, ReferenceCache } from "../network/reference.js";
import { loadReference } from "../network/reference-load.js";
import { failure } from "./watch.test.helper.js";

const TEXTS = ["The dog ran home.", "A", "Once upon a time there was a little girl who loved to play. ".repeat(8), "Tom had a red ball."];

const directory = temporaryDirectory();
afterAll(directory.remove);
let model: Model;
beforeAll(async () => {
  model = await loadModel(EMBEDDED, { contextLength: 256 });
});
afterAll(() => model.close());

/** Hidden states behind the last norm, by the scalar network: [tokens] of [hidden]. */
async function states(ids: readonly number[]): Promise<Float32Array[]> {
  const checkpoint = await openCheckpoint(EMBEDDED);
  const config = await readConfig(checkpoint);
  const reference = new Reference(config, loadReference(readWeights(checkpoint, config), config), true);
  await checkpoint.close();
  const cache = new ReferenceCache(config, ids.length);
  return reference.outputNorm(reference.forward(ids.map((token, position) => ({ token, position, cache }))));
}

const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number => Array.from(a).reduce((sum, x, i) => sum + x * b[i]!, 0);

describe("embed", () => {
  test("is the mean, or the last, of the scalar network's hidden states", async () => {
    for (const text of TEXTS.slice(0, 2)) {
      const all = await states(model.tokenizer.encode(text));
      const mean = all[0]!.map((_, k) => all.reduce((sum, row) => sum + row[k]!, 0) / all.length);
      expect((await model.embed([text], { normalize: false }))[0]).toEqual(mean);
      expect((await model.embed([text], { normalize: false, pooling: "last" }))[0]).toEqual(all.at(-1));
      const length = Math.sqrt(dot(mean, mean));
      const [unit] = await model.embed([text]);
      expect(dot(unit!, unit!)).toBeCloseTo(1, 6);
      for (const [k, value] of unit!.entries()) expect(value).toBeCloseTo(mean[k]! / length, 6);
    }
  });

  test("the last state is the one that a receipt's trace has hashed", async () => {
    const { trace } = await model.generate(TEXTS[0]!, { maxTokens: 1, trace: true }).result();
    const [vector] = await model.embed([TEXTS[0]!], { pooling: "last", normalize: false });
    expect(createHash("sha256").update(vector!).digest("hex")).toBe(trace!.steps[0]!.hidden);
  });

  test("has the same bits for all threads, tiers, heads and batches, and on the reference path", async () => {
    const alone = [];
    for (const text of TEXTS) alone.push((await model.embed([text]))[0]!);
    // Answers and likelihoods in the same batches, in a cache that is too small for all: some are put back and computed again.
    const beside = [model.generate("The cat", { maxTokens: 60, temperature: 0 }).result(), model.score(TEXTS[2]!)];
    expect(await model.embed(TEXTS)).toEqual(alone);
    const alike = (await beside[0]) as { readonly ids: readonly number[] };
    expect(alike.ids).toEqual((await model.generate("The cat", { maxTokens: 60, temperature: 0 }).result()).ids);
    await beside[1];
    const ways: LoadOptions[] = [
      { tier: "plain", threads: 1, head: "two-stage" },
      { tier: "wide", threads: 3, crowded: true, v8Flags: true },
      { reference: true },
    ];
    for (const options of ways) {
      const other = await loadModel(EMBEDDED, { contextLength: 256, ...options });
      const [vectors, { ids }] = await Promise.all([
        other.embed(TEXTS.slice(0, 2)),
        other.generate("The cat", { maxTokens: 5, temperature: 0 }).result(),
      ]);
      await other.close();
      expect(vectors, JSON.stringify(options)).toEqual(alone.slice(0, 2));
      expect(ids).toEqual(alike.ids.slice(0, 5));
    }
  });

  test("likens texts of one kind, with an instruction as a part of the text", async () => {
    const [dog, cat, law] = await model.embed(["The dog ran home.", "The cat ran home.", "The committee adopted the regulation."]);
    expect(dot(dog!, cat!)).toBeGreaterThan(dot(dog!, law!));
    expect(await model.embed(["ran home."], { instruction: "The dog " })).toEqual([dog]);
    expect(await model.embed([])).toEqual([]);
  });

  test("pools as the file states", async () => {
    const path = await rewriteGguf(
      EMBEDDED,
      join(directory.path, "last.gguf"),
      () => undefined,
      (entries) => [...entries, { key: "bitnet-b1.58.pooling_type", type: "uint32", value: 3 }],
    );
    const stated = await loadModel(path, { threads: 1, contextLength: 256 });
    const vectors = await stated.embed([TEXTS[0]!]);
    await stated.close();
    expect([model.pooling, stated.pooling]).toEqual(["mean", "last"]);
    expect(vectors).toEqual(await model.embed([TEXTS[0]!], { pooling: "last" }));
  });

  test("refuses what has no vector, and ends at an abort and at the model's end", async () => {
    expect(await failure(model.embed(["a", ""]))).toMatchObject({
      code: "usage",
      message: expect.stringMatching(/^one of the texts is empty/),
    });
    expect(await failure(model.embed(["word ".repeat(400)]))).toMatchObject({
      code: "usage",
      message: expect.stringMatching(/^the text "word .*…" has \d+ tokens, but the context only 256:/),
    });
    for (const wrong of ["text", [1], [["a"]]])
      expect(await failure(model.embed(wrong as unknown as string[]))).toMatchObject({ code: "usage" });
    expect(await failure(model.embed(["a"], { pooling: "cls" as "last" }))).toMatchObject({ code: "usage" });
    const controller = new AbortController();
    const aborted = model.embed(
      Array.from({ length: 200 }, () => TEXTS[2]!),
      { signal: controller.signal },
    );
    controller.abort(new Error("enough"));
    expect(await failure(aborted)).toMatchObject({ message: "enough" });
    const other = await loadModel(EMBEDDED, { threads: 1 });
    const ended = failure(other.embed(Array.from({ length: 200 }, () => TEXTS[0]!)));
    await other.close();
    expect(await ended).toMatchObject({ code: "closed" });
  });
});
