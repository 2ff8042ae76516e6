import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { loadModel } from "../engine/index.js";
import { makeModel, type Shape } from "./make-model.js";
import { ShiftedGates } from "./random-weights.js";

const folder = mkdtempSync(join(tmpdir(), "bitnet-zeros-"));
afterAll(() => rmSync(folder, { recursive: true }));

const SHAPE: Shape = { layers: 4, hidden: 512, heads: 8, kvHeads: 2, ffn: 1536, vocab: 1024, context: 128 };

/** The share of down's inputs that are 0, as the kernels count it. */
async function counted(zeros: number | undefined): Promise<number> {
  const path = join(folder, "model.gguf");
  await makeModel(path, SHAPE, "i2_s", "f16", zeros === undefined ? {} : { zeros });
  const model = await loadModel(path, { tier: "relaxed", threads: 1 });
  const ids = Array.from({ length: 100 }, (_, i) => (300 + i * 7) % 700);
  const { sparseProducts, skippedProducts } = (await model.generate(ids, { maxTokens: 1 }).result()).timings;
  await model.close();
  expect(sparseProducts).toBe(ids.length * SHAPE.layers * SHAPE.hidden * SHAPE.ffn);
  return skippedProducts / sparseProducts;
}

it("shifts the gates so that as many inputs are 0 as asked for", async () => {
  expect(await counted(undefined)).toBeLessThan(0.68);
  for (const zeros of [0.8, 0.9, 0.95]) expect(Math.abs((await counted(zeros)) - zeros), `${zeros}`).toBeLessThan(0.02);
});

it("refuses what can't be made", () => {
  expect(() => new ShiftedGates(0.9999, 2560, 6912)).toThrow("a share of zeros of 0.9999 can't be made with 2560 × 6912 weights");
  expect(() => new ShiftedGates(0.8, 128, 512)).toThrow("can't be made with 128 × 512 weights");
});
