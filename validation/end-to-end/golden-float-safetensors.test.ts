import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { median } from "../statistics/summary.js";
import { deriveF32Safetensors, temporaryDirectory } from "./derive.test.helper.js";
import { type FloatResult, GREEDY_TIE, MINUTES, requests, runFloat } from "./golden-float.test.helper.js";

describe("float path, SafeTensors F32 ↔ hf-f32ref", () => {
  const directory = temporaryDirectory();
  let results: FloatResult[];
  beforeAll(async () => {
    results = await runFloat(await deriveF32Safetensors(directory.path), ["hf-f32ref"], requests(/^(prompt|(tiny|book|wiki)00)/));
  }, MINUTES);
  afterAll(directory.remove);

  it("every stored logit and each request's NLL are the reference's", () => {
    for (const { request, comparisons } of results) {
      const [{ logit, nll }] = comparisons as [(typeof comparisons)[0]];
      // The reference computes its rope angles in f32, which shows at position 1,900.
      const long = request.ids.length > 256;
      expect(logit, request.id).toBeLessThan(long ? 1e-2 : 5e-4);
      expect(Math.abs(nll), request.id).toBeLessThan(long ? 5e-4 : 2e-5);
    }
  });

  it("ranks the reference's top 50 alike", () => {
    expect(median(results.flatMap(({ comparisons }) => comparisons[0]!.taus))).toBeGreaterThan(0.993);
  });

  it("writes the reference's greedy text, but for ties", () => {
    const parted = results.filter(({ greedyGap }) => greedyGap !== undefined);
    for (const { request, greedyGap } of parted) expect(greedyGap, request.id).toBeLessThan(GREEDY_TIE);
    expect(parted.length).toBeLessThan(3);
  });
});
