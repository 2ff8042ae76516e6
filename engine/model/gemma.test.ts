import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Checkpoint, type MetadataValue, openCheckpoint } from "../container/checkpoint.js";
import { type ConfigOptions, readConfig } from "./config.js";
import { errorOf, I2S, PACKED, withConfig, withMetadata } from "./fixtures.test.helper.js";

// The embedded model's sizes under Gemma 3's names; validation/families has models of the kind.

let gguf: Checkpoint;
let packed: Checkpoint;
beforeAll(async () => {
  const bitnet = await openCheckpoint(I2S);
  await bitnet.close();
  const metadata = new Map<string, MetadataValue>();
  for (const [key, value] of bitnet.metadata) metadata.set(key.replace(/^bitnet-b1\.58\./, "gemma3."), value);
  gguf = withMetadata({ ...bitnet, metadata }, { "general.architecture": "gemma3", "gemma3.hidden_activation": undefined });
  packed = await openCheckpoint(PACKED);
  await packed.close();
});
afterAll(async () => {
  await gguf.close();
});

const ofGguf = (changes: Readonly<Record<string, MetadataValue | undefined>>, options?: ConfigOptions) =>
  readConfig(withMetadata(gguf, Object.fromEntries(Object.entries(changes).map(([key, value]) => [`gemma3.${key}`, value]))), options);

/** What Gemma 3's classes save, of one layer that sees all; sizes are the packed model's. */
const HF = {
  ...{ architectures: ["Gemma3TextModel"], model_type: "gemma3_text", hidden_act: undefined, hidden_activation: "gelu_pytorch_tanh" },
  ...{ query_pre_attn_scalar: 64, head_dim: 64, rope_theta: 10_000, rope_local_base_freq: 10_000, sliding_window: 512 },
  ...{ layer_types: Array(4).fill("full_attention"), attn_logit_softcapping: null, final_logit_softcapping: null },
  ...{ quantization_config: undefined, tie_word_embeddings: undefined, use_bidirectional_attention: false },
};
const ofHf = (changes: Readonly<Record<string, unknown>>, options?: ConfigOptions) =>
  readConfig(withConfig(packed, { ...HF, ...changes }), options);

const NETWORK = {
  ...{ activation: "gelu_tanh", embeddingScale: 16, postNorms: true, innerNorms: false, subNorms: false, qkNorms: true, rope: "neox" },
  ...{ activations: "float", activationsAssumed: true, masters: false, contextLength: 2048, window: undefined, tiedHead: true },
};

describe("Gemma 3 in GGUF", () => {
  test("is read", async () => {
    expect(await ofGguf({})).toMatchObject({ ...NETWORK, normsFromOne: false });
    const said = { embedding_scale: 16, "attention.scale": 0.125, query_pre_attn_scalar: 64, final_logit_softcapping: 0 };
    expect(await ofGguf(said)).toMatchObject(NETWORK);
    expect((await ofGguf({ embedding_length: 200, "attention.key_length": 64 })).embeddingScale).toBe(Math.fround(Math.sqrt(200)));
  });

  test("a window that is shorter than the context ends it, if all layers rotate alike", async () => {
    const base = { "rope.freq_base": 10_000 };
    expect(await ofGguf({ ...base, "attention.sliding_window": 512 })).toMatchObject({ contextLength: 512, window: 512 });
    expect(await ofGguf({ ...base, "attention.sliding_window": 4096 })).toMatchObject({ contextLength: 2048, window: undefined });
    expect(await ofGguf({ "attention.sliding_window": 0 })).toMatchObject({ contextLength: 2048, window: undefined });
    const both = { "rope.freq_base": 7e4, "rope.freq_base_swa": 7e4, "attention.sliding_window": 512 };
    expect(await ofGguf(both)).toMatchObject({ contextLength: 512, ropeTheta: 7e4 });
  });

  test.each<[string, Readonly<Record<string, MetadataValue>>]>([
    [
      "gemma3.attention.sliding_window is 512, so that some layers rotate by the base 10000 and others by 500000",
      { "attention.sliding_window": 512 },
    ],
    ["so that some layers rotate by the base 20000", { "attention.sliding_window": 512, "rope.freq_base_swa": 20_000 }],
    [
      "gemma3.rope.scaling.factor is 8, but with a sliding window it holds for some layers only",
      { "attention.sliding_window": 512, "rope.freq_base": 10_000, "rope.scaling.factor": 8 },
    ],
    [
      "gemma3.rope.scaling.attn_factor is 2, but with a sliding window",
      { "attention.sliding_window": 512, "rope.freq_base": 10_000, "rope.scaling.attn_factor": 2 },
    ],
    ["gemma3.final_logit_softcapping is 30, which changes what is computed", { final_logit_softcapping: 30 }],
    ["gemma3.attn_logit_softcapping is 50, which changes what is computed", { attn_logit_softcapping: 50 }],
    ["gemma3.attention.causal is false, which changes what is computed", { "attention.causal": false }],
    ["gemma3.query_pre_attn_scalar is 168, but only the head size (64)", { query_pre_attn_scalar: 168 }],
    ["gemma3.attention.scale is 1, but only 1 over the root of the head size (0.125)", { "attention.scale": 1 }],
    ["gemma3.embedding_scale is 12, but only the root of the hidden size (16)", { embedding_scale: 12 }],
    ['"gemma3.dense_2_feat_in" is 768, and what that means for gemma3 is not known', { dense_2_feat_in: 768 }],
    ['"gemma3.a\\u{9b}2J" is 1, and what that means', { "a\u{9b}2J": 1 }],
    ['"gemma3.constructor" is 1, and what that means', { constructor: 1 }],
    ["gemma3.block_count is 62, as of Gemma 3 27B", { block_count: 62 }],
    ['the activation function of gemma3 is "gelu"; supported are', { hidden_activation: "gelu" }],
  ])("refused: %s", async (message, changes) => {
    const tensors = new Map(Array.from({ length: 99 }, (_, i) => [String(i), gguf.tensors.values().next().value!]));
    const named = Object.fromEntries(Object.entries(changes).map(([key, value]) => [`gemma3.${key}`, value]));
    const error = await errorOf(() => readConfig(withMetadata({ ...gguf, tensors }, named)));
    expect(error).toMatchObject({ code: "unsupported", file: I2S });
    expect(error.message).toContain(message);
  });

  test("another activation function can't be stated", async () => {
    const error = await errorOf(() => ofGguf({}, { activation: "silu" }));
    expect(error.message).toContain('the option activation is silu, but the activation function of gemma3 is "gelu_tanh"');
  });
});

describe("Gemma 3 in config.json", () => {
  test("is read, with the defaults of its class", async () => {
    expect(await ofHf({})).toMatchObject({ ...NETWORK, normsFromOne: true });
    expect(await ofHf({ hidden_activation: undefined, architectures: ["Gemma3ForCausalLM"] })).toMatchObject(NETWORK);
    const unsaid = { head_dim: undefined, query_pre_attn_scalar: undefined, num_attention_heads: 2, num_key_value_heads: 1 };
    expect(await ofHf(unsaid)).toMatchObject({ headDim: 256 });
    expect(await ofHf({ rope_theta: undefined })).toMatchObject({ ropeTheta: 1_000_000 });
    expect(await ofHf({ tie_word_embeddings: false })).toMatchObject({ tiedHead: false });
  });

  test("a window that is shorter than the context ends it, if all layers rotate alike", async () => {
    const some = ["sliding_attention", "full_attention", "sliding_attention", "full_attention"];
    expect(await ofHf({ layer_types: some })).toMatchObject({ contextLength: 512, window: 512 });
    expect(await ofHf({ layer_types: undefined })).toMatchObject({ contextLength: 512, window: 512 }); // five of six layers have one
    expect(await ofHf({ layer_types: undefined, sliding_window_pattern: 1 })).toMatchObject({ contextLength: 2048, window: undefined });
    expect(await ofHf({ layer_types: some, sliding_window: undefined })).toMatchObject({ contextLength: 2048, window: undefined }); // 4096
    const newer = {
      ...{ layer_types: some, rope_theta: undefined, rope_local_base_freq: undefined },
      rope_parameters: {
        full_attention: { rope_type: "default", rope_theta: 7e4 },
        sliding_attention: { rope_type: "default", rope_theta: 7e4 },
      },
    };
    expect(await ofHf(newer)).toMatchObject({ contextLength: 512, ropeTheta: 7e4 });
  });

  test("scaling of RoPE in layers that see all", async () => {
    expect(await ofHf({ rope_scaling: { rope_type: "linear", factor: 8 } })).toMatchObject({ ropeScaling: { type: "linear", factor: 8 } });
  });

  test.each<[string, Readonly<Record<string, unknown>>]>([
    [
      'layer_types has "sliding_attention", so that some layers rotate by the base 10000 and others by 1000000',
      { layer_types: undefined, rope_theta: 1e6 },
    ],
    [
      "so that some layers rotate by the base 20000",
      {
        layer_types: undefined,
        rope_parameters: {
          full_attention: { rope_type: "default", rope_theta: 1e4 },
          sliding_attention: { rope_type: "default", rope_theta: 2e4 },
        },
      },
    ],
    [
      'rope_scaling has the type "linear", which is not supported beside sliding windows',
      { layer_types: undefined, rope_scaling: { rope_type: "linear", factor: 8 } },
    ],
    ["layers is 1e+300, but at most 16777216 is supported", { layer_types: undefined, num_hidden_layers: 1e300 }],
    ['hidden_activation is "silu"; supported are gelu_pytorch_tanh', { hidden_activation: "silu" }],
    ['layer_types has "chunked_attention"', { layer_types: ["chunked_attention"] }],
    ["layer_types has 1 entries, but num_hidden_layers is 4", { layer_types: ["full_attention"] }],
    ["query_pre_attn_scalar is 168, but only the head size (64)", { query_pre_attn_scalar: 168 }],
    ["query_pre_attn_scalar is 256, but only the head size (64)", { query_pre_attn_scalar: undefined }],
    ["final_logit_softcapping is 30", { final_logit_softcapping: 30 }],
    ["attn_logit_softcapping is 50", { attn_logit_softcapping: 50 }],
    ["use_bidirectional_attention is true", { use_bidirectional_attention: true }],
    ['hidden_activation is "gelu"; supported are', { hidden_activation: "gelu" }],
    ["attention_bias is true", { attention_bias: true }],
  ])("refused: %s", async (message, changes) => {
    const error = await errorOf(() => ofHf(changes));
    expect(error).toMatchObject({ code: "unsupported", file: PACKED });
    expect(error.message).toContain(message);
  });
});
