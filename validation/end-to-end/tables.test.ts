/** Quantised embeddings: a model with one has the bits of the same model with the table written out in f32 by a reader of our own here. */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { openCheckpoint } from "../../engine/container/checkpoint.js";
import { type LoadOptions, startRunner } from "../../engine/generation/runner.js";
import { readConfig } from "../../engine/model/config.js";
import { readWeights } from "../../engine/model/weights.js";
import { readFloats } from "../../engine/packing/dense.js";
import { I2S, temporaryDirectory } from "./derive.test.helper.js";
import { golden } from "./golden.test.helper.js";
import { rewriteGguf } from "./rewrite.test.helper.js";

/** The official quantiser's, with a Q6_K embedding. */
const Q6_K = "validation/fixtures/gguf/ggml-model-i2_s-embd-q6_k.gguf";
const IDS = golden.requests.find(({ id }) => id === "long00")!.ids.slice(0, 12);

const directory = temporaryDirectory();
afterAll(directory.remove);

/** Writes a GGUF anew with another token embedding. @returns its path */
function withEmbedding(from: string, name: string, type: string, data: (values: Uint8Array, n: number) => Uint8Array): Promise<string> {
  return rewriteGguf(from, join(directory.path, name), (tensor, bytes) =>
    tensor.name === "token_embd.weight" ? { type, data: data(bytes, tensor.shape[0]! * tensor.shape[1]!) } : undefined,
  );
}

/** Every f16, by its bits. */
const HALVES = new Float32Array(65536);
readFloats("F16", new Uint8Array(Uint16Array.from(HALVES.keys()).buffer), HALVES, HALVES.length);

const halfAt = (bytes: Uint8Array, at: number): number => HALVES[bytes[at]! | (bytes[at + 1]! << 8)]!;

const int8 = (byte: number): number => (byte << 24) >> 24;

/** Element `e` of a table, in f64: the formula of each format. */
const ELEMENT: Readonly<Record<string, (bytes: Uint8Array, e: number) => number>> = {
  Q8_0: (bytes, e) => {
    const at = 34 * Math.floor(e / 32);
    return halfAt(bytes, at) * int8(bytes[at + 2 + (e % 32)]!);
  },
  Q4_0: (bytes, e) => {
    const at = 18 * Math.floor(e / 32);
    return halfAt(bytes, at) * (((bytes[at + 2 + (e % 16)]! >> (e % 32 < 16 ? 0 : 4)) & 15) - 8);
  },
  Q6_K: (bytes, e) => {
    const at = 210 * Math.floor(e / 256);
    const i = e % 256;
    const low = bytes[at + 64 * (i >> 7) + (i & 63)]! >> (i & 64 ? 4 : 0);
    const high = bytes[at + 128 + 32 * (i >> 7) + (i & 31)]! >> (2 * ((i >> 5) & 3));
    return halfAt(bytes, at + 208) * int8(bytes[at + 192 + (i >> 4)]!) * (((low & 15) | ((high & 3) << 4)) - 32);
  },
};

const writtenOut =
  (type: string) =>
  (bytes: Uint8Array, n: number): Uint8Array =>
    new Uint8Array(Float32Array.from({ length: n }, (_, e) => ELEMENT[type]!(bytes, e)).buffer);

/** Codes for f16 numbers, roughly: the scale, an f16 power of two, is the next above max|x| / most. */
function blocksOf(type: "Q8_0" | "Q4_0", most: number) {
  return (halves: Uint8Array, n: number): Uint8Array => {
    const values = new Float32Array(n);
    readFloats("F16", halves, values, n);
    const size = type === "Q8_0" ? 34 : 18;
    const out = new Uint8Array((n / 32) * size);
    for (let b = 0; b < n / 32; b++) {
      const block = values.subarray(b * 32, b * 32 + 32);
      const top = block.reduce((max, x) => Math.max(max, Math.abs(x)), 2 ** -12);
      const exponent = Math.ceil(Math.log2(top / most));
      const codes = Array.from(block, (x) => Math.round(x / 2 ** exponent));
      const at = b * size;
      out[at + 1] = (exponent + 15) << 2;
      codes.forEach((code, i) => {
        if (type === "Q8_0") out[at + 2 + i] = code;
        else out[at + 2 + (i % 16)]! |= (code + 8) << (i < 16 ? 0 : 4);
      });
    }
    return out;
  };
}

/** SHA-256 of the logits of all positions. */
async function logitsOf(path: string, options: LoadOptions): Promise<string> {
  const checkpoint = await openCheckpoint(path);
  const config = await readConfig(checkpoint);
  const { runner } = await startRunner(Promise.resolve({ config, sources: readWeights(checkpoint, config) }), {
    contextLength: 64,
    ...options,
  });
  try {
    const hash = createHash("sha256");
    const outputs = await runner.step({
      tokens: Int32Array.from(IDS),
      positions: Int32Array.from(IDS, (_, position) => position),
      sequences: new Int32Array(IDS.length),
      tables: [Int32Array.of(0, 1)],
      outputs: IDS.map((_, row) => ({ row, want: "logits" })),
    });
    for (const { logits } of outputs) hash.update(logits!);
    return hash.digest("hex");
  } finally {
    await Promise.all([runner.close(), checkpoint.close()]);
  }
}

describe("a quantised embedding is its f32 numbers, as input and as tied head", () => {
  const cases = {
    Q6_K: [{ tier: "plain", threads: 2 }, { tier: "relaxed", threads: 1, head: "two-stage" }, { reference: true }],
    Q8_0: [{ tier: "plain", threads: 1 }],
    Q4_0: [{ tier: "plain", threads: 1 }],
  } as const satisfies Record<string, readonly LoadOptions[]>;
  const files = {
    Q6_K: async () => Q6_K,
    Q8_0: () => withEmbedding(I2S, "q8_0.gguf", "Q8_0", blocksOf("Q8_0", 127)),
    Q4_0: () => withEmbedding(I2S, "q4_0.gguf", "Q4_0", blocksOf("Q4_0", 7)),
  };

  it.each(["Q6_K", "Q8_0", "Q4_0"] as const)("%s", async (type) => {
    const path = await files[type]();
    const right = await logitsOf(await withEmbedding(path, `${type}-f32.gguf`, "F32", writtenOut(type)), { tier: "relaxed", threads: 1 });
    for (const options of cases[type]) expect(await logitsOf(path, options), JSON.stringify(options)).toBe(right);
    // One bit of the first token's row, in a code: the check would see it.
    const bent = await withEmbedding(path, `${type}-bent.gguf`, type, (bytes, n) => {
      const out = bytes.slice();
      out[Math.floor((out.length / n) * 256) * IDS[0]! + 5]! ^= 1;
      return out;
    });
    expect(await logitsOf(bent, { tier: "relaxed", threads: 1 })).not.toBe(right);
  });
});
