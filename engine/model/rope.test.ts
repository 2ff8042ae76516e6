import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Checkpoint, type MetadataValue, openCheckpoint } from "../container/checkpoint.js";
import type { RopeScaling } from "../rope.js";
import { readConfig } from "./config.js";
import { errorOf, I2S, PACKED, withConfig, withMetadata } from "./fixtures.test.helper.js";

let gguf: Checkpoint;
let packed: Checkpoint;
beforeAll(async () => {
  gguf = await openCheckpoint(I2S);
  packed = await openCheckpoint(PACKED);
});
afterAll(async () => {
  await gguf.close();
  await packed.close();
});

/** The fixtures' context. */
const CONTEXT = 2048;
/** 1 + 0.1 ln 4, by Python, rounded to f32. */
const M4 = Math.fround(1.138629436111989);

const linear = (factor: number, attention = 1): RopeScaling => ({ type: "linear", factor, attention, ramp: undefined });
const yarn = (originalContext: number, attention = M4, ramp: Partial<RopeScaling["ramp"]> = {}): RopeScaling => ({
  type: "yarn",
  factor: 4,
  attention,
  ramp: { originalContext, fast: 32, slow: 1, truncate: true, ...ramp },
});

type Keys = Readonly<Record<string, MetadataValue>>;
const YARN: Keys = { type: "yarn", factor: 4, original_context_length: 512 };

const ofGguf = async (keys: Keys, others: Keys = {}) => {
  const scaling = Object.entries(keys).map(([key, value]) => [`bitnet-b1.58.rope.scaling.${key}`, value]);
  return (await readConfig(withMetadata(gguf, { ...Object.fromEntries(scaling), ...others }))).ropeScaling;
};

describe("rope.scaling of a GGUF, as llama.cpp takes it", () => {
  test.each<[string, Keys, RopeScaling | undefined]>([
    ["yarn", YARN, yarn(512)],
    ["yarn of the model's own context", { type: "yarn", factor: 4 }, yarn(CONTEXT)],
    ["yarn of an original context of 0", { ...YARN, original_context_length: 0 }, yarn(CONTEXT)],
    ["yarn, its attention multiplied", { ...YARN, attn_factor: 1.5 }, yarn(512, Math.fround(1.5 * 1.138629436111989))],
    [
      "yarn with keys that change nothing",
      { ...YARN, finetuned: true, yarn_beta_fast: 32, yarn_beta_slow: 1, yarn_ext_factor: 1, yarn_attn_factor: 1, yarn_log_multiplier: 0 },
      yarn(512),
    ],
    ["yarn whose ext_factor isn't set", { ...YARN, yarn_ext_factor: -1 }, yarn(512)],
    ["yarn without a factor", { type: "yarn" }, undefined],
    ["yarn with a factor of 0", { type: "yarn", factor: 0 }, undefined],
    ["yarn with a factor of 1", { ...YARN, factor: 1 }, undefined],
    ["attention without yarn", { type: "yarn", factor: 0, attn_factor: 1.5 }, linear(1, 1.5)],
    ["linear", { type: "linear", factor: 4 }, linear(4)],
    ["linear without its name", { factor: 4 }, linear(4)],
    ["linear with attention", { type: "linear", factor: 4, attn_factor: 1.5 }, linear(4, 1.5)],
    ["linear by 1", { type: "linear", factor: 1 }, undefined],
    ["none, whatever the factor", { type: "none", factor: 4 }, undefined],
    ["none with a factor of 0", { type: "none", factor: 0 }, undefined],
  ])("%s", async (_, keys, right) => {
    expect(await ofGguf(keys)).toEqual(right);
  });

  test("the older key counts where the newer one is missing", async () => {
    expect(await ofGguf({}, { "bitnet-b1.58.rope.scale_linear": 2 })).toEqual(linear(2));
    expect(await ofGguf({ factor: 4 }, { "bitnet-b1.58.rope.scale_linear": 2 })).toEqual(linear(4));
    expect(await ofGguf({ factor: 0 }, { "bitnet-b1.58.rope.scale_linear": 2 })).toBeUndefined();
  });

  test.each<[string, MetadataValue]>([
    ["yarn_beta_fast", 16],
    ["yarn_beta_slow", 2],
    ["yarn_ext_factor", 0],
    ["yarn_ext_factor", 0.5],
    ["yarn_attn_factor", 1.2],
    ["yarn_log_multiplier", 0.1],
    ["yarn_beta_fast", "32"],
  ])("refuses %s %j by name, but not without yarn", async (key, value) => {
    const error = await errorOf(() => ofGguf({ ...YARN, [key]: value }));
    expect(error).toMatchObject({ code: "unsupported", file: I2S });
    expect(error.message).toContain(`bitnet-b1.58.rope.scaling.${key} is ${JSON.stringify(value)}, which is not supported`);
    expect(await ofGguf({ type: "linear", factor: 4, [key]: value })).toEqual(linear(4));
  });

  test("what YaRN can't be computed with", async () => {
    const fraction = await errorOf(() => ofGguf({ ...YARN, original_context_length: 512.5 }));
    expect(fraction.message).toContain("rope.scaling.original_context_length is 512.5, which is not a number of positions");
    const base = await errorOf(() => ofGguf(YARN, { "bitnet-b1.58.rope.freq_base": 1 }));
    expect(base.message).toContain("ropeTheta is 1, but yarn requires more than 1");
  });
});

describe("config.json, as transformers takes it", () => {
  const scaled = async (rope: object, others: object = {}) =>
    (await readConfig(withConfig(packed, { rope_scaling: rope, ...others }))).ropeScaling;
  const HF = { rope_type: "yarn", factor: 4, original_max_position_embeddings: 512 };

  test.each<[string, object, RopeScaling | undefined]>([
    ["yarn", HF, yarn(512)],
    ["yarn, null for what isn't said", { ...HF, attention_factor: null, beta_fast: null, beta_slow: 0, mscale: null }, yarn(512)],
    ["yarn of the model's own context", { type: "yarn", factor: 4 }, yarn(CONTEXT)],
    ["yarn's factor by the contexts", { rope_type: "yarn", original_max_position_embeddings: 512 }, yarn(512)],
    ["a factor beside contexts of another ratio", { ...HF, original_max_position_embeddings: 1500 }, yarn(1500)],
    ["attention instead of YaRN's own", { ...HF, attention_factor: 1 }, yarn(512, 1)],
    ["attention of mscale", { ...HF, mscale: 0.7, mscale_all_dim: 0.4 }, yarn(512, Math.fround(1.0394038191422568))],
    ["one weight alone counts nothing", { ...HF, mscale: 0.7 }, yarn(512)],
    ["other turns", { ...HF, beta_fast: 16, beta_slow: 2 }, yarn(512, M4, { fast: 16, slow: 2 })],
    ["not truncated", { ...HF, truncate: false }, yarn(512, M4, { truncate: false })],
    ["linear", { type: "linear", factor: 4 }, linear(4)],
    ["linear by 1", { type: "linear", factor: 1 }, undefined],
    ["default", { rope_type: "default" }, undefined],
    ["no word of a type", { rope_theta: 1e4 }, undefined],
  ])("%s", async (_, rope, right) => {
    expect(await scaled(rope)).toEqual(right);
    expect(await scaled({}, { rope_parameters: { ...rope, rope_theta: 1e4 } })).toEqual(right);
  });

  test("the context is what the file says, shorter than the stretched one or longer", async () => {
    for (const length of [640, 4096]) {
      const config = await readConfig(withConfig(packed, { rope_scaling: HF, max_position_embeddings: length }));
      expect(config).toMatchObject({ contextLength: length, ropeScaling: yarn(512) });
    }
  });

  test("an original context outside of rope_scaling", async () => {
    expect(await scaled({ type: "yarn", factor: 4 }, { original_max_position_embeddings: 512 })).toEqual(yarn(512));
  });

  test.each<[object, string]>([
    [{ ...HF, truncate: "no" }, 'rope_scaling.truncate is "no", but must be true or false'],
    [{ ...HF, attention_factor: -1 }, "rope_scaling.attention_factor must be a positive number, not -1"],
    [{ ...HF, beta_fast: "32" }, 'rope_scaling.beta_fast must be a positive number, not "32"'],
    [{ ...HF, factor: 0.5 }, "rope_scaling.factor is 0.5, but at least 1 is required"],
    [{ ...HF, original_max_position_embeddings: 0 }, "rope_scaling.original_max_position_embeddings must be a positive number, not 0"],
    [{ ...HF, beta_fast: 1, beta_slow: 32 }, "rope_scaling: beta_fast 1 and beta_slow 32 leave no ramp in a context of 512"],
  ])("refuses %j", async (rope, message) => {
    expect((await errorOf(() => scaled(rope))).message).toContain(message);
  });
});
