import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openCheckpoint } from "../../engine/container/checkpoint.js";
import { convertModel } from "../../engine/conversion/convert.js";
import type { ConversionType } from "../../engine/conversion/types.js";
import { NUMERICS_VERSION } from "../../engine/numerics.js";
import { some, THOROUGH } from "../../engine/thorough.test.helper.js";
import { temporaryDirectory } from "../end-to-end/derive.test.helper.js";
import { alone, COMPARED, feed, repeat, withRunner } from "../end-to-end/feed.test.helper.js";
import { logitsInProcess } from "../end-to-end/in-process.test.helper.js";
import { FINE_GATE, GATE, GELU_TYPICAL, gateOf, INT8_GATE, quickWindows, shortWindows, YARN_GATE } from "./families.test.helper.js";
import { type FamilyModel, isFloat, isGgufOnly, makeFamilyModel, SHAPES } from "./model.js";
import { FamilyNetwork, TableGelu } from "./network.js";
import { compare, type Difference, outputsOf, readManifest, readOutputs, type WindowLogits } from "./outputs.js";
import { FLOAT, familyLogits, REFERENCE } from "./run.js";
import { exactTypesOf, writeFamilyGguf } from "./write-gguf.js";
import { writeFamilySafetensors } from "./write-safetensors.js";

const { models } = readManifest();

/**
 * SHA-256 of each model's compared logits, in every format that has its numbers and in every lane. They may change only with
 * NUMERICS_VERSION.
 */
const HASHES: { readonly version: number; readonly models: Readonly<Record<string, string>> } = {
  version: 1,
  models: {
    bitnet: "8476abcd31918908f2e7000e66f231294df134b3870bb7d47c6ce5794c8a2fc6",
    "bitnet-3b": "c8ae52802143004a2da0b350877922f03c51c072b0cdd2b28b60ab00cde0aaa2",
    llama: "7cbf67cdd97e38db92d9df84db9e2cb11020aef7ec9c396715270ee3655a8ea7",
    "llama-scaled": "672f4ae2fa2f1974b4fe11f78c66bd87773eefbf4813ffb938c0959f5285c9d5",
    qwen3: "b6ba17bb26b4a27bc59d01f55d7205d319556fd35529ae632b64a1e59f3b2a4e",
    "qwen3-yarn": "c10e3b08289f01f201c5aabaeba0772b2c8596a57857c51085f7c2b762eaf18d",
    "qwen3-groups-64": "2962814e9f1a265e8dbd6852c445b0cd7e38ceb56592ac8c9ec7e43f73e9b0a0",
    gemma3: "663363c2d94169b3bbdc7b993f724a3534eb32872617e1c2316422c9bc082cf4",
    minicpm: "75510a2fa373e013ad570cae8af20031ba49bb0e99613e241012dcd540ea6761",
    "qwen3-groups-128": "c84dd90ab0f6003cb82ab8f03b171a045ed2594fd794e9a0eb8200d0a8d521bc",
  },
};
/** What `bitnet convert` writes. */
const CONVERTED = new Map<string, ConversionType>([
  ["F32", "f32"],
  ["I2_S", "i2_s"],
  ["TQ2_0", "tq2_0"],
]);

/** Name, type, shape and hash of a file's tensors, by name. */
async function tensorsOf(path: string): Promise<unknown[]> {
  const checkpoint = await openCheckpoint(path);
  await checkpoint.close();
  const bytes = readFileSync(path);
  return [...checkpoint.tensors.values()]
    .map(({ name, type, shape, offset, byteLength }) => ({
      name,
      type,
      shape,
      sha256: createHash("sha256")
        .update(bytes.subarray(offset, offset + byteLength))
        .digest("hex"),
    }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Over the end of a block. */
const LENGTH = 40;

async function byKernels(path: string, windows: readonly (readonly number[])[]): Promise<WindowLogits[]> {
  const all: WindowLogits[] = [];
  for (const ids of windows) all.push(await logitsInProcess(path, ids));
  return all;
}

function expectWithin({ logit, nll, tau }: Difference, gate = GATE): void {
  expect(logit).toBeLessThan(gate.logit);
  expect(nll).toBeLessThan(gate.nll);
  expect(tau).toBeGreaterThan(gate.tau);
}

// One of each family; the others are variations.
describe.each(some(SHAPES, 0, 3, 5, 7, 8, 9))("$name", (shape) => {
  const directory = temporaryDirectory();
  afterAll(directory.remove);
  /** By type; "SafeTensors" is one of them. */
  const paths = new Map<string, string>();
  let model: FamilyModel;
  beforeAll(async () => {
    model = makeFamilyModel(shape);
    if (!isGgufOnly(shape)) paths.set("SafeTensors", await writeFamilySafetensors(join(directory.path, "safetensors"), model));
    for (const type of exactTypesOf(shape).filter((name) => name !== "F16"))
      paths.set(type, await writeFamilyGguf(join(directory.path, `${type}.gguf`), model, type));
  });
  const stored = readOutputs(shape.name);
  it("is the model that llama.cpp's outputs are of", () => {
    const { sha256, windows } = models[shape.name]!;
    expect(
      createHash("sha256")
        .update(readFileSync(isGgufOnly(shape) ? paths.get("F32")! : join(paths.get("SafeTensors")!, "model.safetensors")))
        .digest("hex"),
    ).toBe(sha256);
    expect(model.windows).toEqual(windows);
  });

  it("has llama.cpp's logits in f64, written a second time", () => {
    const short = model.windows.map((ids) => ids.slice(0, 12));
    const network = new (shape.family === "gemma3" ? TableGelu : FamilyNetwork)(model, false);
    const difference = compare(
      stored,
      model.windows,
      short.map((ids) => network.logits(ids)),
    );
    expectWithin(difference);
    if (shape.family === "gemma3") expect(difference.typicalLogit).toBeLessThan(GELU_TYPICAL);
  });

  it("has llama.cpp's logits on the path without quantised activations", async () => {
    const logits = await familyLogits(paths.get("F32")!, quickWindows(model), FLOAT);
    expectWithin(compare(stored, model.windows, logits), shape.yarn ? YARN_GATE : gateOf(shape));
    // llama.cpp's GELU is coarse: the same in f64 without its table.
    if (shape.family !== "gemma3") return;
    const network = new FamilyNetwork(model, false);
    const windows = quickWindows(model);
    const exact = windows.map((ids) => network.logits(ids));
    expectWithin(compare(outputsOf(windows, exact), windows, logits), YARN_GATE);
  });

  if (isFloat(shape)) {
    it("has llama.cpp's logits by the kernels: its activations are not quantised", async () => {
      for (const format of ["SafeTensors", "Q2_0", "Q2_0_128", "TQ2_0"].filter((name) => paths.has(name)))
        expectWithin(compare(stored, model.windows, await byKernels(paths.get(format)!, model.windows)), FINE_GATE);
    });
  } else {
    it("has the logits of its own definition, activations in 8 bits", async () => {
      const windows = shortWindows(model);
      const logits = [true, false].map((int8) => {
        const network = new FamilyNetwork(model, int8);
        return windows.map((ids) => network.logits(ids));
      });
      const right = outputsOf(windows, logits[0]!);
      expect(compare(right, windows, await byKernels(paths.get("I2_S")!, windows)).typicalLogit).toBeLessThan(INT8_GATE);
      // Activations left as they are would be seen.
      expect(compare(right, windows, logits[1]!).typicalLogit).toBeGreaterThan(100 * INT8_GATE);
    });
  }

  // The converter is given SafeTensors here, which not every family has.
  if (!isGgufOnly(shape)) {
    it("is converted to the bytes that encoders of its own write", async () => {
      for (const [type, path] of paths) {
        if (!CONVERTED.has(type)) continue;
        const out = join(directory.path, "converted.gguf");
        await convertModel(paths.get("SafeTensors")!, out, { type: CONVERTED.get(type)!, force: true });
        expect(await tensorsOf(out)).toEqual(await tensorsOf(path));
      }
    });
  }

  it("gives the same bits in every format and lane", async () => {
    const ids = model.windows[0]!.slice(0, LENGTH);
    const stranger = model.windows[1]!.slice(0, LENGTH - 3);
    const hashes: Record<string, string> = {};
    for (const [format, path] of paths) {
      const hash = createHash("sha256");
      for (const row of (await logitsInProcess(path, ids)).slice(-COMPARED)) hash.update(row);
      hashes[format] = hash.digest("hex");
    }
    const path = [...paths.values()].at(-1)!;
    const lanes: Record<string, string> = {};
    await withRunner(path, REFERENCE, async (runner) => {
      [lanes.reference] = (await feed(runner, [ids], alone(repeat(8, LENGTH)))) as [string];
    });
    await withRunner(path, { tier: "plain", threads: 3, crowded: true }, async (runner) => {
      [lanes.pieces] = (await feed(runner, [ids], alone([1, 31, 5, 3]))) as [string];
      const mixed = Array.from({ length: LENGTH }, () => [0, 1].map((sequence) => ({ sequence, take: 1 })));
      [lanes.mixed] = (await feed(runner, [ids, stranger], mixed)) as [string, string];
    });
    // What follows, determinism.test.ts does for the embedded model.
    if (THOROUGH)
      await withRunner(path, { tier: "wide", threads: 1 }, async (runner) => {
        [lanes.single] = (await feed(runner, [ids], alone(repeat(1, LENGTH)))) as [string];
      });
    const same = (of: object) => Object.fromEntries(Object.keys(of).map((key) => [key, HASHES.models[shape.name]]));
    expect(hashes).toEqual(same(hashes));
    expect(lanes).toEqual(same(lanes));
  });
});

it("the hashes belong to this version of the numerics", () => {
  expect(HASHES.version).toBe(NUMERICS_VERSION);
});
