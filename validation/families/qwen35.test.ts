import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type GenerateOptions, type LoadOptions, loadModel, type Model } from "../../engine/index.js";
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

// The second has all that the first has, but a head of its own; CI runs both.
describe.each(some(QWEN35_SHAPES, 1))("$name", (shape) => {
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

describe("answers hang on nothing but their own sequence: states can't be cut back", () => {
  const directory = temporaryDirectory();
  afterAll(directory.remove);
  const model = makeQwen35(QWEN35_SHAPES[1]!);
  let path: string;
  const [ids] = model.windows as [number[]];
  const CONTEXT = 224;
  const answer = async (from: Model, prompt: readonly number[], more: GenerateOptions = {}) => {
    const { ids: said, timings } = await from.generate(prompt, { maxTokens: 12, temperature: 0, ignoreEos: true, ...more }).result();
    return { said, cached: timings.cachedTokens, accepted: timings.acceptedTokens };
  };
  const load = (options: LoadOptions = {}) => loadModel(path, { contextLength: CONTEXT, threads: 2, ...options });
  /** Of each prompt alone, in a model of its own. */
  const expected = new Map<string, readonly number[]>();
  const alone = async (prompt: readonly number[]): Promise<readonly number[]> => {
    const key = prompt.join();
    if (!expected.has(key)) {
      const own = await load();
      expected.set(key, (await answer(own, prompt)).said);
      await own.close();
    }
    return expected.get(key)!;
  };
  const first = ids.slice(0, 100);
  const second = [...ids.slice(0, 97), 5, 9, ...ids.slice(100, 120)]; // as a template changes the opening of the answer
  const third = ids.slice(0, 80);
  beforeAll(async () => {
    path = await writeQwen35(join(directory.path, "model.gguf"), model, "PTQ1_0");
  });

  it.each(some([1, 2, 3, 16], 0, 2))("a conversation goes on from where there is a state, with room for %i", async (states) => {
    const chat = await load({ states });
    const said: (readonly number[])[] = [];
    const cached: number[] = [];
    const goOn = [...first, ...(await alone(first)), 7, 8];
    for (const prompt of [first, goOn, second, third, first]) {
      const one = await answer(chat, prompt);
      said.push(one.said);
      cached.push(one.cached);
    }
    await chat.close();
    expect(said).toEqual(await Promise.all([first, goOn, second, third, first].map(alone)));
    expect(cached[1]).toBe(first.length + 11); // all that was computed: the last token said was not
    // Only a snapshot helps where the beginnings part, at 64 of the 97 tokens in common.
    expect(cached[2]).toBe(states === 1 ? 0 : 64);
  });

  it("calls at once, more than there are states, and more than the cache can hold", async () => {
    const prompts = [first, second, third, ids.slice(20, 60), ids.slice(0, 150)];
    for (const states of some([1, 2, 8], 1)) {
      const shared = await load({ states });
      const answers = await Promise.all(prompts.map((prompt) => answer(shared, prompt)));
      await shared.close();
      expect(answers.map(({ said }) => said)).toEqual(await Promise.all(prompts.map(alone)));
    }
  });

  it("wrong guesses leave nothing behind", async () => {
    // What followed the same words before is guessed, and the model says something else. 64 tokens are a step, so that the last is one of its own.
    const prompt = [...ids.slice(0, 40), ...ids.slice(0, 25)];
    for (const states of [1, 4]) {
      const guessing = await load({ states });
      const before = await guessing.generate(prompt, { maxTokens: 24, temperature: 0, ignoreEos: true, speculate: true }).result();
      const after = await answer(guessing, [...prompt, ...before.ids, 3]);
      await guessing.close();
      const plain = await load();
      expect(before.ids).toEqual((await answer(plain, prompt, { maxTokens: 24 })).said);
      expect(after.said).toEqual((await answer(plain, [...prompt, ...before.ids, 3])).said);
      expect(before.timings.draftedTokens > 0).toBe(states > 1); // without a state to go back to nothing is guessed
      await plain.close();
    }
  });

  it("the scalar path says the same", async () => {
    const scalar = await load({ reference: true, states: 2 });
    const prompt = ids.slice(0, 40);
    const once = await answer(scalar, prompt, { maxTokens: 4 });
    const more = await answer(scalar, [...prompt, ...once.said, 11], { maxTokens: 4 });
    await scalar.close();
    const fast = await load();
    expect(once.said).toEqual((await answer(fast, prompt, { maxTokens: 4 })).said);
    expect(more.said).toEqual((await answer(fast, [...prompt, ...once.said, 11], { maxTokens: 4 })).said);
    await fast.close();
  });
});

it("the hashes belong to this version of the numerics", () => {
  expect(HASHES.version).toBe(NUMERICS_VERSION);
});
