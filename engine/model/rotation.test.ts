import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeQwen35, QWEN35_SHAPES, writeQwen35 } from "../../validation/families/qwen35.js";
import { type Checkpoint, type MetadataValue, openCheckpoint } from "../container/checkpoint.js";
import { StringList } from "../container/string-list.js";
import { readConfig } from "./config.js";
import { errorOf, I2S, withMetadata } from "./fixtures.test.helper.js";

// PrismML's fork of llama.cpp raises the same errors, but for a missing version, with which it ignores all else.

const directory = mkdtempSync(join(tmpdir(), "bitnet-"));
let tied: Checkpoint;
let untied: Checkpoint;
beforeAll(async () => {
  const shape = QWEN35_SHAPES.find(({ rotation }) => rotation)!;
  tied = await openCheckpoint(await writeQwen35(join(directory, "tied.gguf"), makeQwen35(shape), "PQ2_0"));
  untied = await openCheckpoint(await writeQwen35(join(directory, "untied.gguf"), makeQwen35({ ...shape, tied: false }), "PQ2_0"));
});
afterAll(async () => {
  for (const checkpoint of [tied, untied]) await checkpoint.close();
  rmSync(directory, { recursive: true, force: true });
});

type Changes = Readonly<Record<string, MetadataValue | undefined>>;
const prism = (changes: Changes): Changes =>
  Object.fromEntries(Object.entries(changes).map(([key, value]) => [`prism.hadamard.${key}`, value]));
const names = (changed: (all: readonly string[]) => readonly string[], key = "weight_names"): Changes => {
  const list = tied.metadata.get(`prism.hadamard.${key}`) as StringList;
  return { [key]: StringList.from(changed([...list])) };
};
const values = (key: string): number[] => Array.from(tied.metadata.get(`prism.hadamard.${key}`) as Int32Array);

test("both versions are read", async () => {
  const config = await readConfig(tied);
  expect(config.rotation).toMatchObject({ blockSize: 128, embedding: true, head: true, grouped: true });
  expect([...config.rotation!.signs.keys()].sort()).toEqual([256, 384, 512]);
  expect(config.rotation!.linears.map((roles) => roles.size)).toEqual([6, 6, 6, 7]);
  expect((await readConfig(untied)).rotation).toMatchObject({ blockSize: 128, embedding: true, head: true });
});

test("identity signs are signs of 1", async () => {
  const none = prism({ sign_mode: "identity", sign_widths: undefined, sign_values: undefined });
  const { rotation } = await readConfig(withMetadata(tied, none));
  expect(new Set(rotation!.signs.get(512))).toEqual(new Set([1]));
});

test("weights of single blocks may be left out, and integers of any width are read", async () => {
  const part = prism({
    ...names((all) => all.filter((name) => !name.includes("ffn_down"))),
    sign_values: values("sign_values").map(Number),
  });
  const { rotation } = await readConfig(withMetadata(tied, part));
  expect(rotation!.linears[0]!.has("down")).toBe(false);
  expect(rotation!.linears[0]!.has("gate")).toBe(true);
});

describe("what is not understood exactly is an error that names it", () => {
  const cases: readonly (readonly [name: string, changes: () => Changes, message: string, code?: "unsupported" | "file"])[] = [
    ["no version", () => ({ version: undefined }), "prism.hadamard.version is missing"],
    ["another version", () => ({ version: 3 }), "prism.hadamard.version is 3; supported: 1, 2", "unsupported"],
    ["another transform", () => ({ transform: "walsh" }), 'prism.hadamard.transform is "walsh"', "unsupported"],
    ["another axis", () => ({ axis: "output" }), 'prism.hadamard.axis is "output"', "unsupported"],
    ["no axis", () => ({ axis: undefined }), "prism.hadamard.axis is missing"],
    ["other signs", () => ({ sign_mode: "random" }), 'prism.hadamard.sign_mode is "random"', "unsupported"],
    ["another key", () => ({ scale: 2 }), '"prism.hadamard.scale" is unknown', "unsupported"],
    ["blocks that don't divide a width", () => ({ block_size: 1024 }), 'block_size is 1024, but "token_embd.weight" has 256 inputs'],
    ["blocks of no power of 2", () => ({ block_size: 96 }), "block_size is 96, but a power of 2"],
    ["a sign of 0", () => ({ sign_values: values("sign_values").map((sign, i) => (i === 7 ? 0 : sign)) }), "sign_values has 0"],
    ["too few signs", () => ({ sign_values: values("sign_values").slice(1) }), "sign_values has 1151 values, but sign_widths 1152"],
    ["explicit without widths", () => ({ sign_widths: [], sign_values: [] }), "sign_widths is empty"],
    [
      "a width without signs",
      () => ({ sign_widths: [256, 384], sign_values: values("sign_values").slice(0, 640) }),
      "sign_widths has no 512",
    ],
    [
      "a width twice",
      () => ({ sign_widths: [256, 256, 512], sign_values: values("sign_values").slice(0, 1024) }),
      "sign_widths has 256 twice",
    ],
    ["identity with signs", () => ({ sign_mode: "identity" }), "sign_widths is not empty"],
    ["no weights", () => names(() => []), "weight_names is empty"],
    ["a weight twice", () => names((all) => [...all, all[3]!]), "twice"],
    [
      "more weights than can be compared each with each",
      () => names((all) => [...all, ...Array.from({ length: 1_000_000 }, (_, i) => `x${i}`)]),
      'weight_names has "x0", which is no weight',
    ],
    ["a weight in both lists", () => names((all) => [...all, "token_embd.weight"]), "which is in weight_names, too"],
    [
      "what is no weight",
      () => names((all) => [...all, "blk.9.ffn_up.weight"]),
      'weight_names has "blk.9.ffn_up.weight", which is no weight',
    ],
    ["what is no matrix", () => names((all) => [...all, "blk.0.attn_norm.weight"]), 'has "blk.0.attn_norm.weight", which is no weight'],
    [
      "gates of states",
      () => names((all) => [...all, "blk.0.ssm_alpha.weight"]),
      'weight_names has "blk.0.ssm_alpha.weight"',
      "unsupported",
    ],
    [
      "some of those with one input",
      () => names((all) => all.filter((name) => name !== "blk.3.attn_k.weight")),
      'weight_names has no "blk.3.attn_k.weight"',
      "unsupported",
    ],
    ["an inverse of another weight", () => names(() => ["blk.0.ffn_up.weight"], "inverse_weight_names"), "which is in weight_names, too"],
    ["version 2 without a tied head", () => ({ tied_output: false }), "tied_output is false or missing, but version 2"],
    ["version 1 with a tied head", () => ({ version: 1 }), "tied_output is true, which version 1"],
    ["version 2 without the embedding", () => ({ inverse_weight_names: [] }), "inverse_weight_names doesn't have token_embd.weight"],
    ["no number where one is due", () => ({ block_size: "128" }), 'block_size is "128"'],
    ["no list where one is due", () => ({ sign_widths: 256 }), "sign_widths must be a list of whole numbers"],
    ["no flag where one is due", () => ({ gdn_v_grouped: 2 }), "gdn_v_grouped must be true or false"],
    [
      "groups of heads without their layer",
      () => names((all) => all.filter((name) => !name.includes("ssm_out"))),
      "gdn_v_grouped is true",
      "unsupported",
    ],
  ];
  test.each(cases.map(([name, changes, message, code = "file"]) => ({ name, changes, message, code })))(
    "$name",
    async ({ changes, message, code }) => {
      const error = await errorOf(() => readConfig(withMetadata(tied, prism(changes()))));
      expect(error.message).toContain(message);
      expect(error).toMatchObject({ code, file: tied.path });
    },
  );

  test("version 1 with a rotated embedding and no head", async () => {
    const error = await errorOf(() => readConfig(withMetadata(tied, prism({ version: 1, tied_output: undefined }))));
    expect(error.message).toContain("there is no output.weight, which version 1 requires");
  });

  test("version 2 with a head", async () => {
    const error = await errorOf(() => readConfig(withMetadata(untied, prism({ version: 2, tied_output: true }))));
    expect(error.message).toContain("tied_output is true, but there is a tensor output.weight");
  });

  test("a network that no rotated model has", async () => {
    const bitnet = await openCheckpoint(I2S);
    const error = await errorOf(() => readConfig(withMetadata(bitnet, prism({ version: 1 }))));
    await bitnet.close();
    expect(error).toMatchObject({ code: "unsupported" });
    expect(error.message).toContain('"prism.hadamard.version" says that the weights are rotated');
  });
});
