import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Checkpoint, openCheckpoint, type TensorInfo } from "../container/checkpoint.js";
import { attentionOf } from "./attention.test.helper.js";
import { type ModelConfig, readConfig } from "./config.js";
import { BF16, errorOf, I2S, PACKED, withTensors } from "./fixtures.test.helper.js";
import { allLinears } from "./layers.js";
import { readWeights } from "./weights.js";

const opened = new Map<string, { checkpoint: Checkpoint; config: ModelConfig }>();
beforeAll(async () => {
  for (const path of [I2S, PACKED, BF16]) {
    const checkpoint = await openCheckpoint(path);
    opened.set(path, { checkpoint, config: await readConfig(checkpoint) });
  }
});
afterAll(async () => {
  for (const { checkpoint } of opened.values()) await checkpoint.close();
});

const weights = (
  path: string,
  tensors: Readonly<Record<string, Partial<TensorInfo> | undefined>> = {},
  config: Partial<ModelConfig> = {},
) => {
  const model = opened.get(path)!;
  return readWeights(withTensors(model.checkpoint, tensors), { ...model.config, ...config });
};

describe("every tensor in its role", () => {
  test.each([I2S, PACKED, BF16])("%s", (path) => {
    const { embedding, layers, outputNorm, head } = weights(path);
    const found = new Set([embedding, outputNorm]);
    expect(head).toBeUndefined();
    for (const layer of layers) {
      const { attnNorm, attnSubNorm, qNorm, kNorm } = attentionOf(layer);
      const { ffnNorm, ffnSubNorm } = layer.feedForward;
      expect([qNorm, kNorm]).toEqual([undefined, undefined]);
      for (const norm of [attnNorm, attnSubNorm!, ffnNorm, ffnSubNorm!]) found.add(norm);
      for (const { tensor, scale } of allLinears([layer])) {
        found.add(tensor);
        if (scale) found.add(scale);
      }
    }
    expect([...found].map(({ name }) => name).sort()).toEqual([...opened.get(path)!.checkpoint.tensors.keys()].sort());
  });

  test("GGUF and SafeTensors names mean the same roles", () => {
    const gguf = weights(I2S).layers[3]!;
    const hf = weights(PACKED).layers[3]!;
    expect(attentionOf(gguf).attnSubNorm?.name).toBe("blk.3.attn_sub_norm.weight");
    expect(attentionOf(hf).attnSubNorm?.name).toBe("model.layers.3.self_attn.attn_sub_norm.weight");
    expect(gguf.feedForward.down).toMatchObject({ rows: 256, columns: 768, scale: undefined, inverseScale: false });
    expect(hf.feedForward.down).toMatchObject({ rows: 256, columns: 768, inverseScale: false });
    expect(hf.feedForward.down.scale?.name).toBe("model.layers.3.mlp.down_proj.weight_scale");
    expect(attentionOf(gguf).k.rows).toBe(128);
  });

  test("the packing's inverse scale reaches every ternary layer", () => {
    const { layers } = weights(PACKED, {}, { packing: { mode: "offline", inverseScale: true } });
    for (const { inverseScale } of allLinears(layers)) expect(inverseScale).toBe(true);
  });
});

describe("tensors that are passed over", () => {
  test.each([
    [PACKED, "model.layers.0.self_attn.rotary_emb.inv_freq"],
    [BF16, "model.rotary_emb.inv_freq"],
    [BF16, "model.layers.0.self_attn.rotary_emb.cos_cached"],
    [BF16, "model.layers.0.self_attn.masked_bias"],
    [I2S, "blk.3.attn_rot_embd"],
    [I2S, "blk.0.attn_rot_embd.weight"],
  ])("%s: %s", (path, name) => {
    expect(weights(path, { [name]: { shape: [32], type: "F32" } })).toEqual(weights(path));
  });

  test("one without a number", () => {
    const changes = { "model.layers.0.self_attn.q_proj.bias": { shape: [0], byteLength: 0 } };
    expect(weights(PACKED, changes)).toEqual(weights(PACKED));
  });

  test.each([
    [PACKED, "model.layers.0.self_attn.bias"],
    [PACKED, "model.layers.0.self_attn.q_proj.bias"],
    [PACKED, "model.layers.0.self_attn.rotary_emb.inv_freq.bias"],
    [PACKED, "model.layers.0.self_attn.inv_freq"],
    [I2S, "blk.0.attn_rot_embd.bias"],
    [I2S, "rope_freqs.bias"],
  ])("%s: not %s", async (path, name) => {
    expect((await errorOf(() => weights(path, { [name]: { shape: [32] } }))).message).toContain("is unknown in the architecture");
  });
});

test("a scale of any shape of one value", () => {
  const name = "model.layers.1.mlp.up_proj.weight_scale";
  for (const shape of [[], [1], [1, 1]])
    expect(weights(PACKED, { [name]: { shape } }).layers[1]!.feedForward.up.scale?.shape).toEqual(shape);
});

describe("the head", () => {
  const rows = { shape: [4096, 256] };

  test("GGUF: an output.weight makes the model untied", async () => {
    const { checkpoint } = opened.get(I2S)!;
    const untied = withTensors(checkpoint, { "output.weight": { ...rows, type: "F16" } });
    const config = await readConfig(untied);
    expect(config.tiedHead).toBe(false);
    expect(readWeights(untied, config).head?.name).toBe("output.weight");
  });

  test("SafeTensors: lm_head is used when untied, ignored when tied, and missed", async () => {
    const head = { "lm_head.weight": { ...rows, type: "BF16" } };
    expect(weights(BF16, head, { tiedHead: false }).head?.name).toBe("lm_head.weight");
    expect(weights(BF16, head).head).toBeUndefined();
    const error = await errorOf(() => weights(BF16, {}, { tiedHead: false }));
    expect(error).toMatchObject({ code: "tensor", tensor: "lm_head.weight" });
    expect(error.message).toContain("tensor lm_head.weight is missing");
  });
});

describe("refused", () => {
  const Q = "blk.1.attn_q.weight";
  const NORM = "blk.2.ffn_sub_norm.weight";
  const HF_Q = "model.layers.1.self_attn.q_proj.weight";
  test.each<[string, string, string, Partial<TensorInfo> | undefined, string]>([
    ["a missing layer", I2S, Q, undefined, "is missing"],
    ["a missing norm", I2S, NORM, undefined, "is missing"],
    ["a missing embedding", I2S, "token_embd.weight", undefined, "is missing"],
    ["a missing scale", PACKED, HF_Q.replace("weight", "weight_scale"), undefined, "is missing"],
    ["another shape", I2S, Q, { shape: [256, 128] }, "has the shape [256, 128], but the configuration requires [256, 256]"],
    ["a transposed layer", I2S, "blk.0.ffn_up.weight", { shape: [256, 768] }, "requires [768, 256]"],
    ["another rank", I2S, NORM, { shape: [1, 768] }, "has the shape [1, 768]"],
    ["packed rows that aren't", PACKED, HF_Q, { shape: [256, 256] }, "requires [64, 256]"],
    ["a scale of each row", PACKED, HF_Q.replace("weight", "weight_scale"), { shape: [256] }, "requires [1]"],
    [
      "a type this engine can't read",
      I2S,
      Q,
      { type: "Q4_K" },
      "is Q4_K; supported are I2_S, TQ1_0, TQ2_0, Q2_0, Q2_0_128, PQ2_0, PTQ1_0, Q1_0, F32, F16, BF16",
    ],
    ["a quantised norm", I2S, NORM, { type: "Q8_0" }, "is Q8_0; supported are F32, F16, BF16"],
    ["an embedding of a type this engine can't read", I2S, "token_embd.weight", { type: "IQ4_NL" }, "is IQ4_NL"],
    ["floats where codes should be", PACKED, HF_Q, { type: "BF16" }, "is BF16; supported are U8"],
    [
      "a scale for each row",
      PACKED,
      HF_Q.replace("weight", "weight_scale"),
      { shape: [256] },
      "has the shape [256], but the configuration requires [1]",
    ],
    ["MLX's codes", PACKED, HF_Q, { type: "U32" }, "is U32, as MLX packs weights; supported are U8"],
    [
      "codes where masters should be",
      BF16,
      HF_Q,
      { type: "U8" },
      "is U8, as packed weights are, but config.json doesn't state that they are packed",
    ],
    [
      "a bias",
      I2S,
      "blk.1.attn_q.bias",
      { shape: [256] },
      "is unknown in the architecture bitnet-b1.58, so the model is of another kind than it states",
    ],
    ["a layer too many", I2S, "blk.4.attn_q.weight", {}, "is unknown in the architecture"],
    ["frequencies for RoPE", I2S, "rope_freqs.weight", { shape: [32] }, "is unknown in the architecture"],
    ["an inner norm", PACKED, "model.layers.0.mlp.down_proj.rms_norm.weight", {}, "is unknown in the architecture BitNetForCausalLM"],
  ])("%s", async (_, path, name, change, message) => {
    const error = await errorOf(() => weights(path, { [name]: change }));
    expect(error).toMatchObject({ code: "tensor", tensor: name });
    expect(error.message).toContain(name);
    expect(error.message).toContain(message);
    expect(error.message.startsWith(path)).toBe(true);
  });

  test("GPTQ's codes instead of weights", async () => {
    const error = await errorOf(() => weights(PACKED, { [HF_Q]: undefined, [HF_Q.replace("weight", "qweight")]: {} }));
    expect(error.message).toContain(`tensor ${HF_Q} is missing, but there is a qweight, as in GPTQ and AWQ models`);
  });

  test("a count of layers that only the configuration has", async () => {
    const error = await errorOf(() => weights(I2S, {}, { layers: 2 ** 24 }));
    expect(error.message).toContain("tensor blk.4.attn_norm.weight is missing");
  });

  test("a name that would steer a terminal is escaped", async () => {
    const error = await errorOf(() => weights(I2S, { "x\u001b[2J\n": {} }));
    expect(error.message).toContain('tensor "x\\u001b[2J\\n" is unknown');
  });
});
