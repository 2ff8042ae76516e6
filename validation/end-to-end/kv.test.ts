import { expect, it } from "vitest";
import { loadModel, type Model } from "../../engine/index.js";
import type { KvType } from "../../engine/numerics.js";
import { some } from "../../engine/thorough.test.helper.js";
import { EMBEDDED } from "./derive.test.helper.js";
import { golden } from "./golden.test.helper.js";

it.each([
  ["q8", 0.005],
  ["k16", 0.002],
] as const)("a cache of %s changes the mean likelihood of a window by less than %d, and does change it", async (kv, most) => {
  const load = (kv: KvType): Promise<Model> => loadModel(EMBEDDED, { kv, v8Flags: true });
  const [exact, small] = [await load("f32"), await load(kv)];
  try {
    const all = golden.requests.filter(({ ids }) => ids.length === 256);
    const windows = some(all, 0, 2, 4, 6, 8, 10);
    const differences: number[] = [];
    for (const { ids } of windows) differences.push((await small.score(ids)).meanNll - (await exact.score(ids)).meanNll);
    const worst = Math.max(...differences.map(Math.abs));
    expect(all.length).toBeGreaterThan(10);
    expect(worst).toBeLessThan(most);
    expect(worst).toBeGreaterThan(0);
  } finally {
    await Promise.all([exact.close(), small.close()]);
  }
});
