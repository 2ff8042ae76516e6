import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { LoadOptions } from "../../engine/generation/runner.js";
import { NUMERICS_VERSION } from "../../engine/numerics.js";
import { some } from "../../engine/thorough.test.helper.js";
import { temporaryDirectory } from "../end-to-end/derive.test.helper.js";
import { alone, feed, type Piece, repeat, withRunner } from "../end-to-end/feed.test.helper.js";
import { FINE_GATE, GATE, WIDE } from "./families.test.helper.js";
import { compare, type Difference, readManifest, readOutputs } from "./outputs.js";
import { makeQwen35, QWEN35_SHAPES, QWEN35_TYPES, type Qwen35Model, ROTATION_MISTAKES, writeQwen35 } from "./qwen35.js";
import { QWEN35_MISTAKES, type Qwen35Mistake, Qwen35Network } from "./qwen35-network.js";
import { FLOAT, familyLogits, REFERENCE } from "./run.js";

// Qwen3.5's network, plain and stored for rotated inputs as Bonsai 2. llama.cpp knows the network but not the rotation: its outputs are those of the
// same numbers unfolded.

/** What two implementations in full precision may differ by; seen are 3e-5, 4e-6 and 1. */
const EXACT = { ...GATE, logit: 1e-4 };

const { models } = readManifest();

/** SHA-256 of each model's compared logits in every type and lane. They may change only with NUMERICS_VERSION. */
const HASHES: { readonly version: number; readonly models: Readonly<Record<string, string>> } = {
  version: 1,
  models: {
    qwen35: "4d68cf84a6e38a17127a1db8340bb85c9cb5d23fdbab0736cb6b4fd7090cb614",
    "qwen35-rotated": "2e88739e0284d0225be10a0412a1809f576d202389e87d88ceb09bdb560d3d6a",
  },
};

const LENGTH = 40;

function expectWithin({ logit, nll, tau }: Difference, gate: typeof GATE): void {
  expect(logit).toBeLessThan(gate.logit);
  expect(nll).toBeLessThan(gate.nll);
  expect(tau).toBeGreaterThan(gate.tau);
}

describe.each(QWEN35_SHAPES)("$name", (shape) => {
  const directory = temporaryDirectory();
  afterAll(directory.remove);
  const paths = new Map<string, string>();
  let model: Qwen35Model;
  beforeAll(async () => {
    model = makeQwen35(shape);
    for (const type of ["F32", ...QWEN35_TYPES(shape)] as const)
      paths.set(type, await writeQwen35(join(directory.path, `${type}.gguf`), model, type));
  });
  const stored = readOutputs(shape.name);

  it("is the model that llama.cpp's outputs are of", () => {
    const { sha256, windows } = models[shape.name]!;
    expect(
      createHash("sha256")
        .update(readFileSync(paths.get("F32")!))
        .digest("hex"),
    ).toBe(sha256);
    expect(model.windows).toEqual(windows);
  });

  /** Of the first tokens of each window. */
  const short = (length: number): number[][] => model.windows.map((ids) => ids.slice(0, length));

  it("has llama.cpp's logits in f64, written a second time", () => {
    expectWithin(compare(stored, model.windows, new Qwen35Network(model).logits(short(16))), EXACT);
  });

  it("has llama.cpp's logits on the path without quantised activations", async () => {
    const windows = process.env.BITNET_GOLDEN === "all" ? model.windows : [model.windows[0]!.slice(0, shape.quick)];
    expectWithin(compare(stored, model.windows, await familyLogits(paths.get("F32")!, windows, FLOAT)), EXACT);
  });

  it("has llama.cpp's logits by the kernels, whatever the type", async () => {
    for (const type of QWEN35_TYPES(shape))
      expectWithin(compare(stored, model.windows, await familyLogits(paths.get(type)!, model.windows, { threads: 2 })), FINE_GATE);
  });

  const mistakes: readonly Qwen35Mistake[] = shape.rotation ? ROTATION_MISTAKES : QWEN35_MISTAKES;
  it.each(some(mistakes, 0, 7, -1))("would show: %s", (mistake) => {
    const { logit } = compare(stored, model.windows, new Qwen35Network(model, mistake).logits(short(12)));
    expect(logit).toBeGreaterThan(WIDE * EXACT.logit);
  });

  it("gives the same bits in every type and lane", async () => {
    const ids = model.windows[0]!.slice(0, LENGTH);
    const stranger = model.windows[1]!.slice(0, LENGTH - 3);
    const mixed: Piece[][] = Array.from({ length: LENGTH }, () => [0, 1].map((sequence) => ({ sequence, take: 1 })));
    const lanes: readonly (readonly [name: string, LoadOptions, steps: readonly Piece[][]])[] = [
      ["reference", REFERENCE, alone(repeat(8, LENGTH))],
      ["plain, pieces", { tier: "plain", threads: 3, crowded: true }, alone([1, 31, 5, 3])],
      ["relaxed, whole", { tier: "relaxed", threads: 2 }, alone([LENGTH])],
      ["wide, single", { tier: "wide", threads: 1 }, alone(repeat(1, LENGTH))],
      ["relaxed, with a stranger", { tier: "relaxed", threads: 2, states: 2 }, mixed],
      [
        "reference, with a stranger",
        { ...REFERENCE, states: 2 },
        [[0, 1].map((sequence) => ({ sequence, take: 4 })), ...mixed.slice(0, LENGTH - 4)],
      ],
    ];
    const hashes: Record<string, string> = {};
    for (const [i, [name, options, steps]] of lanes.entries()) {
      const type = QWEN35_TYPES(shape)[i % QWEN35_TYPES(shape).length]!;
      await withRunner(paths.get(type)!, options, async (runner) => {
        [hashes[name]] = (await feed(runner, [ids, stranger].slice(0, steps[0]!.length), steps)) as [string];
      });
    }
    expect(hashes).toEqual(Object.fromEntries(lanes.map(([name]) => [name, HASHES.models[shape.name]])));
  });
});

it("the hashes belong to this version of the numerics", () => {
  expect(HASHES.version).toBe(NUMERICS_VERSION);
});
