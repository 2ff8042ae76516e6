import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { tiersHere } from "../../engine/compute/tier.js";
import { openCheckpoint } from "../../engine/container/checkpoint.js";
import { type GenerateOptions, type GenerationTrace, type LoadOptions, loadModel, type Model } from "../../engine/index.js";
import { readConfig } from "../../engine/model/config.js";
import { readWeights } from "../../engine/model/weights.js";
import { Reference, ReferenceCache } from "../../engine/network/reference.js";
import { loadReference } from "../../engine/network/reference-load.js";
import { some } from "../../engine/thorough.test.helper.js";
import { EMBEDDED } from "./derive.test.helper.js";

const PROMPT = "Once upon a time, there was a big box. In the box there was";
const OPTIONS: GenerateOptions = { maxTokens: 24, temperature: 0.7, topK: 20, topP: 1, repetitionPenalty: 1.05, seed: 3, trace: true };

/** One answer, and what else the model is used for meanwhile. */
async function traced(
  load: LoadOptions,
  options: GenerateOptions = {},
  beside?: (model: Model) => Promise<unknown>,
): Promise<GenerationTrace> {
  const model = await loadModel(EMBEDDED, { v8Flags: true, contextLength: 96, ...load });
  try {
    const [result] = await Promise.all([model.generate(PROMPT, { ...OPTIONS, ...options }).result(), beside?.(model)]);
    expect(result.trace!.steps.map(({ id }) => id)).toEqual(result.ids);
    return result.trace!;
  } finally {
    await model.close();
  }
}

/** Digests of the hidden states after these ids, by the scalar network and Node's own SHA-256. */
async function digests(ids: readonly number[]): Promise<string[]> {
  const checkpoint = await openCheckpoint(EMBEDDED);
  const config = await readConfig(checkpoint);
  const reference = new Reference(config, loadReference(readWeights(checkpoint, config), config), true);
  await checkpoint.close();
  const cache = new ReferenceCache(config, ids.length);
  const rows = ids.map((token, position) => ({ token, position, cache }));
  return reference.outputNorm(reference.forward(rows)).map((hidden) => {
    const bytes = Buffer.alloc(hidden.length * 4);
    hidden.forEach((value, i) => void bytes.writeFloatLE(value, i * 4));
    return createHash("sha256").update(bytes).digest("hex");
  });
}

describe("the trace of an answer", () => {
  it("is of the hidden state that chose each token, and its chain can be made by anyone", async () => {
    const model = await loadModel(EMBEDDED, { contextLength: 96 });
    const { promptIds, ids, trace } = await model.generate(PROMPT, OPTIONS).result();
    await model.close();
    expect(ids.length).toBeGreaterThan(20);
    const all = await digests([...promptIds, ...ids]);
    expect(trace!.steps.map(({ hidden }) => hidden)).toEqual(all.slice(promptIds.length - 1, -1));
    let chain = Buffer.alloc(32);
    for (const { id, hidden } of trace!.steps) {
      const link = Buffer.alloc(4);
      link.writeUInt32LE(id);
      chain = createHash("sha256").update(chain).update(Buffer.from(hidden, "hex")).update(link).digest();
    }
    expect(trace!.chain).toBe(chain.toString("hex"));
    expect(trace!.settings).toMatchObject({ temperature: 0.7, topK: 20, topP: 1, seed: 3, maxTokens: 24, stop: [], speculate: false });
  });

  it("is the same for all threads, tiers, heads, batches, with speculation, and on the reference path", async () => {
    const { steps, chain } = await traced({ tier: "plain", threads: 1 });
    // Three answers and a score in the cache of one: some are put back and computed again.
    const beside = (model: Model) =>
      Promise.all([
        ...[5, 6].map((seed) => model.generate("The dog", { ...OPTIONS, seed }).result()),
        model.score("The cat ran to the big tree. It was happy."),
      ]);
    const ways: Parameters<typeof traced>[] = [
      [{ tier: "relaxed", threads: 3, crowded: true }, {}, beside],
      [{ tier: tiersHere().at(-1)!, threads: 2, head: "two-stage" }],
      [{ tier: "plain", threads: 2, head: "two-stage" }, { speculate: true }],
      [{ tier: "relaxed", threads: 1 }, { speculate: true }, beside],
      [{ reference: true }],
    ];
    const others = await Promise.all(some(ways, 1, 3, 4).map((way) => traced(...way)));
    for (const other of others) expect({ steps: other.steps, chain: other.chain }).toEqual({ steps, chain });
    expect((await traced({ kv: "q8" })).steps[0]!.hidden).not.toBe(steps[0]!.hidden);
  });

  it("does not hang on what the cache held", async () => {
    const model = await loadModel(EMBEDDED, { contextLength: 96 });
    const first = await model.generate(PROMPT, { ...OPTIONS, maxTokens: 8 }).result();
    const again = await model.generate(PROMPT, OPTIONS).result();
    await model.close();
    expect(again.timings.cachedTokens).toBeGreaterThan(0);
    expect(again.trace!.steps.slice(0, 8)).toEqual(first.trace!.steps);
    expect(again.trace!.steps).toEqual((await traced({})).steps);
  });

  it("counts the kernels that ran, and only where it is asked for", async () => {
    const model = await loadModel(EMBEDDED, { v8Flags: true, tier: "plain", threads: 1 });
    const { promptIds, ids, trace } = await model.generate(PROMPT, OPTIONS).result();
    const { layers, kvHeads } = model.config;
    expect(await model.generate("x", { maxTokens: 1 }).result()).not.toHaveProperty("trace");
    await model.close();
    const plain = trace!.kernelCalls;
    const rows = promptIds.length + ids.length - 1; // the last token chosen is not computed
    // Once a row and layer; norms: two and two sub-norms, and the last one of each output.
    expect(plain).toMatchObject({ rope: layers * rows, storeKeyValue: layers * kvHeads * rows, add: 2 * layers * rows });
    expect(plain).toMatchObject({ rmsNorm: 4 * layers * rows + ids.length, quantize: 4 * layers * rows });
    expect(plain.ternaryPlain).toBeGreaterThan(0);
    expect(plain.attendSpanQ8 ?? plain.ternaryRelaxed ?? plain.ternaryWide ?? plain.scan).toBeUndefined();
    const wide = (await traced({ tier: "wide", threads: 2, head: "two-stage", kv: "q8" })).kernelCalls;
    expect(Object.keys(wide)).toEqual(
      expect.arrayContaining(["ternaryWide", "scanWide", "attendSpanQ8", "storeKeyValueQ8", "bounds", "head"]),
    );
    const k16 = (await traced({ tier: "relaxed", threads: 1, kv: "k16" })).kernelCalls;
    expect(Object.keys(k16)).toEqual(expect.arrayContaining(["attendSpanK16", "storeKeyValueK16"]));
    expect(k16.attendSpan ?? k16.attendSpanQ8 ?? k16.storeKeyValue ?? k16.storeKeyValueQ8).toBeUndefined();
    expect(wide.ternaryPlain ?? wide.ternaryRelaxed ?? wide.attendSpan ?? wide.scan).toBeUndefined();
    expect((await traced({ reference: true })).kernelCalls).toEqual({});
  });

  it("counts what prefill leaves out of the down projections, with any threads; nothing where none looks for zeros", async () => {
    const ids = Array.from({ length: 40 }, (_, i) => 300 + i * 7);
    const count = async (load: LoadOptions): Promise<{ sparse: number; skipped: number; all: number }> => {
      const model = await loadModel(EMBEDDED, { contextLength: 96, ...load });
      const { sparseProducts: sparse, skippedProducts: skipped } = (await model.generate(ids, { maxTokens: 20 }).result()).timings;
      const { layers, hiddenSize, ffnSize } = model.config;
      await model.close();
      return { sparse, skipped, all: ids.length * layers * hiddenSize * ffnSize };
    };
    const { sparse, skipped, all } = await count({ tier: "relaxed", threads: 1 });
    expect(sparse).toBe(all);
    // Of this model's inputs four fifths are 0.
    expect(skipped / all).toBeGreaterThan(0.7);
    expect(skipped / all).toBeLessThan(0.85);
    const more = await count({ tier: "relaxed", threads: 3, crowded: true });
    expect(more).toEqual({ sparse, skipped, all });
    for (const load of [{ tier: "plain" }, { reference: true }] as const) expect(await count(load)).toEqual({ sparse: 0, skipped: 0, all });
  });
});
