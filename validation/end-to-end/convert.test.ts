/** Our converter against the files of the official tools. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { openSource } from "#host/files.js";
import { openCheckpoint } from "../../engine/container/checkpoint.js";
import { readGguf } from "../../engine/container/gguf.js";
import { writeGguf } from "../../engine/container/gguf-writer.js";
import { convertModel } from "../../engine/index.js";
import { readConfig } from "../../engine/model/config.js";
import { allLinears } from "../../engine/model/layers.js";
import { readWeights } from "../../engine/model/weights.js";
import type { ReferenceLinear } from "../../engine/network/reference-linear.js";
import { loadReference } from "../../engine/network/reference-load.js";
import { BF16, I2S, PACKED, temporaryDirectory } from "./derive.test.helper.js";

const directory = temporaryDirectory();
afterAll(directory.remove);

const hashOf = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** SHA-256 of files that `llama-quantize` made of the same model. */
const OFFICIAL = {
  tq1_0: "f57a71fefe5fe5fe41f0ea045d24fcfa9f45a9c319dc1b0090fff3dbf19f3341",
  tq2_0: "2305c7f894fe4eeca7d839664ea708031e707b34824ba9335844f4eb35d4a23b",
} as const;

/** The bytes of every tensor of a file. */
async function tensorsOf(path: string): Promise<Map<string, { type: string; shape: readonly number[]; bytes: Uint8Array }>> {
  const checkpoint = await openCheckpoint(path);
  await checkpoint.close();
  const file = readFileSync(checkpoint.files[0]!);
  return new Map(
    [...checkpoint.tensors.values()].map(({ name, type, shape, offset, byteLength }) => [
      name,
      { type, shape, bytes: file.subarray(offset, offset + byteLength) },
    ]),
  );
}

/** Every ternary layer in order: codes, [rows, columns], and scale. */
async function layersOf(path: string): Promise<ReferenceLinear[]> {
  const checkpoint = await openCheckpoint(path);
  await checkpoint.close();
  const config = await readConfig(checkpoint);
  const { layers } = loadReference(readWeights(checkpoint, config), config);
  return allLinears(layers);
}

const bits = new DataView(new ArrayBuffer(4));
const ulpsOf = (scale: number): number => {
  bits.setFloat32(0, scale);
  return bits.getInt32(0);
};

describe("byte for byte", () => {
  it.each(["tq1_0", "tq2_0"] as const)("%s is what llama-quantize makes, in its order and with its metadata", async (type) => {
    const converted = join(directory.path, `${type}.gguf`);
    await convertModel(I2S, converted, { type });
    const ours = await tensorsOf(converted);
    const source = await openSource(I2S);
    const { entries, tensors } = await readGguf(source);
    await source.close();
    const path = join(directory.path, `${type}-official.gguf`);
    await writeGguf(path, {
      metadata: entries.map((entry) => (entry.key === "general.file_type" ? { ...entry, value: type === "tq1_0" ? 36 : 37 } : entry)),
      tensors: tensors.map(({ name }) => {
        const { bytes, ...tensor } = ours.get(name)!;
        return { name, ...tensor, data: bytes };
      }),
    });
    expect(hashOf(readFileSync(path))).toBe(OFFICIAL[type]);
  });

  it("packed → I2_S → packed are the tensors that were packed", async () => {
    const [gguf, back] = [join(directory.path, "packed.gguf"), join(directory.path, "packed-again")];
    expect(await convertModel(PACKED, gguf)).toMatchObject({ rounded: [], architecture: "bitnet-b1.58", embedding: "F16" });
    expect(await convertModel(gguf, back)).toMatchObject({ rounded: [], architecture: "BitNetForCausalLM", embedding: "BF16" });
    const [before, after] = [await tensorsOf(PACKED), await tensorsOf(back)];
    expect([...after.keys()].sort()).toEqual([...before.keys()].sort());
    for (const [name, { type, shape, bytes }] of before) {
      expect(after.get(name)).toMatchObject({ type, shape });
      expect(hashOf(after.get(name)!.bytes)).toBe(hashOf(bytes));
    }
  });
});

describe("from master weights, codes are the official ones and scales within 4 ulp", () => {
  it.each(["i2_s", "tq1_0", "tq2_0", "f16", "f32", "packed"] as const)("%s", async (type) => {
    const path = join(directory.path, `masters-${type}${type === "packed" ? "" : ".gguf"}`);
    await convertModel(BF16, path, { type });
    const [ours, official] = [await layersOf(path), await layersOf(I2S)];
    expect(ours.length).toBe(28);
    const half = type === "f16" || type.startsWith("tq"); // there a scale has 11 bits
    for (const [i, layer] of ours.entries()) {
      const wanted = official[i]!;
      expect(hashOf(new Uint8Array(layer.weights.buffer))).toBe(hashOf(new Uint8Array(wanted.weights.buffer)));
      const [scale, right] = [layer.scales[0]!, wanted.scales[0]!];
      expect([layer.scales.length, wanted.scales.length]).toEqual([1, 1]);
      if (half) expect(Math.abs(scale / right - 1)).toBeLessThanOrEqual(2 ** -11);
      else expect(Math.abs(ulpsOf(scale) - ulpsOf(right))).toBeLessThanOrEqual(4);
    }
  });

  it("and a Q6_K embedding is nearer to what it was than llama-quantize's, by 5 %", async () => {
    const official = 0.01801; // of ggml-model-i2_s-embd-q6_k.gguf: 0.002139 of 0.11875, root mean squares
    const { rounded } = await convertModel(I2S, join(directory.path, "q6_k.gguf"), { embedding: "q6_k" });
    expect(rounded).toMatchObject([{ of: "token_embd.weight", type: "Q6_K" }]);
    expect(rounded[0]!.relativeError).toBeLessThan(0.951 * official);
    expect(rounded[0]!.relativeError).toBeGreaterThan(0.5 * official);
  });

  it("and so are the bytes of an I2_S file's tensors, but for the scales and what follows them", async () => {
    const [ours, official] = [await tensorsOf(join(directory.path, "masters-i2_s.gguf")), await tensorsOf(I2S)];
    expect([...ours.keys()].sort()).toEqual([...official.keys()].sort());
    for (const [name, { type, shape, bytes }] of official) {
      const end = type === "I2_S" ? -32 : undefined;
      expect(ours.get(name)).toMatchObject({ type, shape });
      expect(hashOf(ours.get(name)!.bytes.subarray(0, end))).toBe(hashOf(bytes.subarray(0, end)));
      if (end) expect([...ours.get(name)!.bytes.subarray(-28)]).toEqual(new Array(28).fill(0));
    }
  });
});
