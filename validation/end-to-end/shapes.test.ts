import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { makeModel } from "../../bench/make-model.js";
import { tiersHere } from "../../engine/compute/tier.js";
import { openCheckpoint } from "../../engine/container/checkpoint.js";
import { loadModel } from "../../engine/generation/model.js";
import type { LoadOptions } from "../../engine/generation/runner.js";
import { readConfig } from "../../engine/model/config.js";
import { readWeights } from "../../engine/model/weights.js";
import { Reference, ReferenceCache } from "../../engine/network/reference.js";
import { loadReference } from "../../engine/network/reference-load.js";
import { some } from "../../engine/thorough.test.helper.js";
import { temporaryDirectory } from "./derive.test.helper.js";
import { logitsInProcess } from "./in-process.test.helper.js";

/** More than a block of the cache. */
const TOKENS = Array.from({ length: 36 }, (_, i) => (i * 89 + 7) % 700);
const VOCAB = 704;

/** Heads of the sizes that models have, every ratio of query to key-value heads up to 8, and rows that don't fill the layout's blocks. */
const SHAPES: readonly (readonly [headDim: number, heads: number, kvHeads: number, ffn: number])[] = [
  [64, 8, 8, 256],
  [64, 8, 4, 288],
  [64, 12, 4, 256],
  [64, 20, 5, 256],
  [64, 10, 2, 256],
  [64, 12, 2, 256],
  [64, 7, 1, 256],
  [64, 8, 1, 256],
  [96, 8, 2, 256],
  [100, 8, 2, 256],
  [128, 5, 5, 256],
  [128, 20, 5, 256],
  [256, 4, 2, 256],
];

describe("the kernels equal the scalar reference, bit for bit, whatever the shape", () => {
  const directory = temporaryDirectory();
  afterAll(directory.remove);

  it.each(some(SHAPES, 1, 3, 6, 8, 9, 11, 12))("head size %i, %i heads over %i, feed-forward %i", async (headDim, heads, kvHeads, ffn) => {
    const path = join(directory.path, `${headDim}-${heads}-${kvHeads}.gguf`);
    await makeModel(path, { layers: 1, hidden: headDim * heads, heads, kvHeads, ffn, vocab: VOCAB, context: 64 }, "i2_s", "f16");
    await expectEqual(path);
  });

  it("scales that differ from group to group, where the model quantises activations", async () => {
    const path = join(directory.path, "groups.gguf");
    await makeModel(path, { layers: 2, hidden: 512, heads: 8, kvHeads: 2, ffn: 768, vocab: VOCAB, context: 64 }, "tq2_0", "f16");
    const before = await lastLogits(path);
    const checkpoint = await openCheckpoint(path);
    const { offset, byteLength } = checkpoint.tensors.get("blk.1.attn_q.weight")!;
    await checkpoint.close();
    const bytes = readFileSync(path);
    // Every third block's f16 scale a quarter, one in seven 0.
    for (let i = 0, at = offset + 64; at < offset + byteLength; i++, at += 66) {
      if (i % 7 === 0) bytes.writeUInt16LE(0, at);
      else if (i % 3 === 0) bytes.writeUInt16LE(bytes.readUInt16LE(at) - (2 << 10), at);
    }
    writeFileSync(path, bytes);
    const after = await expectEqual(path);
    expect(Buffer.from(after.buffer).equals(Buffer.from(before.buffer))).toBe(false);
    // The worker finds out while it loads, and begins anew.
    for (const threads of [1, 2]) expect(await lastLogits(path, { threads })).toEqual(after);
  });
});

/** The last token's logits by the library. */
async function lastLogits(path: string, options: LoadOptions = {}): Promise<Float32Array> {
  const model = await loadModel(path, { contextLength: 64, ...options });
  const logits = await model.logits(TOKENS);
  await model.close();
  return logits.slice(-VOCAB);
}

/** Kernels of all tiers against the reference. @returns the last token's logits */
async function expectEqual(path: string): Promise<Float32Array> {
  const checkpoint = await openCheckpoint(path);
  const config = await readConfig(checkpoint);
  const reference = new Reference(config, loadReference(readWeights(checkpoint, config), config), true);
  await checkpoint.close();
  const cache = new ReferenceCache(config, TOKENS.length);
  const rows = TOKENS.map((token, position) => ({ token, position, cache }));
  const right = reference.logits(reference.outputNorm(reference.forward(rows)));
  expect(new Set(right.at(-1)).size).toBeGreaterThan(VOCAB / 2); // a network that says nothing would be equal too
  for (const tier of tiersHere()) {
    const got = await logitsInProcess(path, TOKENS, { tier });
    for (const [t, row] of got.entries())
      expect(new Uint32Array(row.buffer), `${tier}, token ${t}`).toEqual(new Uint32Array(right[t]!.buffer));
  }
  return right.at(-1)!;
}
