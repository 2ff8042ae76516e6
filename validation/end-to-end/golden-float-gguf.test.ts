import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { median } from "../statistics/summary.js";
import { deriveF32Gguf, temporaryDirectory } from "./derive.test.helper.js";
import { type FloatResult, GREEDY_TIE, MINUTES, requests, runFloat } from "./golden-float.test.helper.js";

// The GGUF's scales are f32 where the references' are bf16 (hf) or its cache is f16 (bitnet.cpp): the gates are as wide as that.
describe("float path, GGUF F32 ↔ hf-f32ref and bitnetcpp-f32", () => {
  const directory = temporaryDirectory();
  let results: FloatResult[];
  beforeAll(async () => {
    results = await runFloat(await deriveF32Gguf(directory.path), ["hf-f32ref", "bitnetcpp-f32"], requests(/^(prompt|(tiny|book|wiki)00)/));
  }, MINUTES);
  afterAll(directory.remove);

  it("every stored logit and each request's NLL are the references'", () => {
    for (const { request, comparisons } of results) {
      for (const { logit, nll } of comparisons) {
        expect(logit, request.id).toBeLessThan(0.06);
        expect(Math.abs(nll), request.id).toBeLessThan(4e-3);
      }
    }
  });

  it("ranks the reference's top 50 alike", () => {
    expect(median(results.flatMap(({ comparisons }) => comparisons[0]!.taus))).toBeGreaterThan(0.993);
  });

  it("writes the reference's greedy text, but for ties", () => {
    // No gap: the same text.
    for (const { request, greedyGap = 0 } of results) expect(greedyGap, request.id).toBeLessThan(GREEDY_TIE);
  });
});
