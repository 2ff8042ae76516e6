import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Checkpoint, type MetadataValue, openCheckpoint } from "../container/checkpoint.js";
import { BitnetError } from "../errors.js";
import { readConfig } from "./config.js";
import { BF16, BITNET_25, errorOf, I2S, PACKED, withConfig, withMetadata } from "./fixtures.test.helper.js";
import { PLAIN } from "./plain.test.helper.js";

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

const ARCH = "bitnet-b1.58";
const quantization = (changes: Readonly<Record<string, unknown>>) => ({
  quantization_config: { quant_method: "bitnet", linear_class: "autobitlinear", quantization_mode: "offline", ...changes },
});

describe("sound files", () => {
  test("GGUF and SafeTensors of one model say the same", async () => {
    const fromGguf = await readConfig(gguf);
    const fromHf = await readConfig(packed);
    const { architecture: _, packing: __, rmsNormEps, ...rest } = fromHf;
    expect(fromGguf).toMatchObject(rest);
    expect(fromGguf.rmsNormEps).toBe(Math.fround(rmsNormEps)); // GGUF holds an f32
    // What config.json and FORMATS say of this model.
    expect(fromHf).toEqual({
      architecture: "BitNetForCausalLM",
      layers: 4,
      hiddenSize: 256,
      heads: 4,
      kvHeads: 2,
      headDim: 64,
      attentionSize: 256,
      ffnSize: 768,
      vocabSize: 4096,
      contextLength: 2048,
      ropeTheta: 500000,
      ropeSize: 64,
      ...PLAIN,
      rmsNormEps: 1e-5,
      activation: "relu2",
      subNorms: true,
      rope: "neox",
      activations: "int8",
      activationsAssumed: false,
      masters: true,
      tiedHead: true,
      packing: { mode: "offline", inverseScale: false },
    });
    expect(fromGguf.architecture).toBe(ARCH);
  });

  test("the older architecture name and the master weights", async () => {
    for (const path of [BITNET_25, BF16]) {
      const checkpoint = await openCheckpoint(path);
      const { architecture, packing, ...config } = await readConfig(checkpoint);
      await checkpoint.close();
      expect(architecture).toBe(path === BITNET_25 ? "bitnet-25" : "BitNetForCausalLM");
      expect(packing).toEqual(path === BITNET_25 ? undefined : { mode: "online", inverseScale: false });
      const { architecture: _, packing: __, rmsNormEps, ...rest } = await readConfig(packed);
      expect(config).toMatchObject(rest);
      expect(Math.fround(config.rmsNormEps)).toBe(Math.fround(rmsNormEps));
    }
  });

  test.each<[string, Record<string, MetadataValue | undefined>, object]>([
    ["vocab_size is the embedding's rows", { [`${ARCH}.vocab_size`]: undefined }, { vocabSize: 4096 }],
    ["head_count_kv is head_count", { [`${ARCH}.attention.head_count_kv`]: undefined }, { kvHeads: 4 }],
    ["hidden_activation may say relu2", { [`${ARCH}.hidden_activation`]: "relu_squared" }, { activation: "relu2" }],
    [
      "with a key the vocabulary doesn't matter",
      { [`${ARCH}.hidden_activation`]: "relu2", "tokenizer.ggml.model": "llama" },
      { activation: "relu2" },
    ],
    [
      "a value for each layer, if they are the same",
      { [`${ARCH}.attention.head_count`]: Uint32Array.of(4, 4, 4, 4), [`${ARCH}.attention.head_count_kv`]: [2, 2, 2, 2] },
      { heads: 4, kvHeads: 2 },
    ],
    [
      "keys of other networks with the values that change nothing",
      { [`${ARCH}.attention.causal`]: true, [`${ARCH}.expert_count`]: 0, [`${ARCH}.nextn_predict_layers`]: 0 },
      { heads: 4 },
    ],
    ["a context longer than can be used", { [`${ARCH}.context_length`]: 2 ** 20 }, { contextLength: 2 ** 20 }],
    ["RoPE scaled by 1 is not scaled", { [`${ARCH}.rope.scaling.type`]: "linear", [`${ARCH}.rope.scaling.factor`]: 1 }, { rope: "neox" }],
    ["a head size in so many words", { [`${ARCH}.attention.key_length`]: 64, [`${ARCH}.attention.value_length`]: 64 }, { headDim: 64 }],
    [
      "heads may be wider than the hidden size",
      { [`${ARCH}.attention.key_length`]: 128, [`${ARCH}.rope.dimension_count`]: 128 },
      { headDim: 128, attentionSize: 512, hiddenSize: 256 },
    ],
  ])("GGUF: %s", async (_, changes, expected) => {
    expect(await readConfig(withMetadata(gguf, changes))).toMatchObject(expected);
  });

  test.each<[string, Record<string, unknown>, object]>([
    [
      "a packing that says nothing more is bitlinear and offline",
      { quantization_config: { quant_method: "bitnet" } },
      { packing: { mode: "offline", inverseScale: true } },
    ],
    ["autobitlinear multiplies", quantization({}), { packing: { mode: "offline", inverseScale: false } }],
    ["bitlinear divides", quantization({ linear_class: "bitlinear" }), { packing: { mode: "offline", inverseScale: true } }],
    ["null is as good as missing", quantization({ use_rms_norm: null, modules_to_not_convert: null }), { tiedHead: true }],
    ["the head isn't ternary anyway", quantization({ use_rms_norm: false, modules_to_not_convert: ["lm_head"] }), { tiedHead: true }],
    ["no packing", { quantization_config: undefined }, { packing: undefined }],
    ["no scaling, no bias, the usual head", { rope_scaling: null, attention_bias: false, head_dim: 64 }, { headDim: 64 }],
    ["a head of its own", { tie_word_embeddings: false }, { tiedHead: false }],
    ["which is also the default", { tie_word_embeddings: undefined }, { tiedHead: false }],
    ["heads that share nothing are the default", { num_key_value_heads: undefined }, { kvHeads: 4 }],
    ["which null means, too", { num_key_value_heads: null }, { kvHeads: 4 }],
    ["what saves and loads a model is nothing to it", { auto_map: { AutoConfig: "x.Y" }, dtype: "bfloat16", torch_dtype: 7 }, { heads: 4 }],
    ["heads wider than the hidden size", { head_dim: 128 }, { headDim: 128, attentionSize: 512 }],
    [
      "the older class means the older models",
      { architectures: ["BitnetForCausalLM"], hidden_act: "silu" },
      { activation: "silu", subNorms: true },
    ],
    [
      "a LLaMA that is packed",
      { architectures: ["LlamaForCausalLM"], hidden_act: "silu", rope_theta: undefined },
      { subNorms: false, qkNorms: false, masters: false, ropeTheta: 10000, rope: "neox" },
    ],
    [
      "a LLaMA of master weights",
      { architectures: ["LlamaForCausalLM"], hidden_act: "silu", ...quantization({ quantization_mode: "online" }) },
      { masters: true },
    ],
    [
      "Qwen3",
      { architectures: ["Qwen3ForCausalLM"], hidden_act: "silu", use_sliding_window: false, quantization_config: undefined },
      { qkNorms: true, activations: "float", masters: false },
    ],
    ["swish is SiLU", { architectures: ["LlamaForCausalLM"], hidden_act: "swish" }, { activation: "silu" }],
    [
      "layers of the one kind, and heads rotated by halves",
      { layer_types: Array(4).fill("full_attention"), rope_interleaved: false },
      { heads: 4 },
    ],
    [
      "RoPE in the newer place, for the one kind of layer",
      { rope_theta: undefined, rope_parameters: { full_attention: { rope_type: "linear", factor: 4, rope_theta: 7e4 } } },
      { ropeTheta: 7e4, ropeScaling: { factor: 4 } },
    ],
    ["RoPE in the newer place", { rope_theta: undefined, rope_parameters: { rope_type: "default", rope_theta: 7e4 } }, { ropeTheta: 7e4 }],
  ])("SafeTensors: %s", async (_, changes, expected) => {
    expect(await readConfig(withConfig(packed, changes))).toMatchObject(expected);
  });
});

describe("GGUF files that are refused", () => {
  test.each<[string, string, MetadataValue | undefined, "file" | "unsupported"]>([
    ["general.architecture", "metadata has no general.architecture", undefined, "file"],
    ["general.architecture", "metadata has no general.architecture", 7, "file"],
    [
      "general.architecture",
      'general.architecture is "bitnet-2"; supported are bitnet-b1.58, bitnet-25, bitnet, llama, qwen3',
      "bitnet-2",
      "unsupported",
    ],
    ["general.architecture", 'general.architecture is "gemma", Gemma 1 or 2', "gemma", "unsupported"],
    [
      "general.architecture",
      'general.architecture is "clip", an image encoder (mmproj), not a language model; give',
      "clip",
      "unsupported",
    ],
    ["general.architecture", 'general.architecture is "qwen35moe", a mixture of experts', "qwen35moe", "unsupported"],
    ["general.architecture", 'general.architecture is "minicpm3", MiniCPM 3, whose compressed', "minicpm3", "unsupported"],
    ["general.architecture", 'general.architecture is "maple", Maple, whose experts', "maple", "unsupported"],
    ["general.architecture", "general.architecture is", "evil\u001b[2J\n", "unsupported"],
    ["block_count", "bitnet-b1.58.block_count is missing", undefined, "file"],
    ["context_length", "context_length is missing", undefined, "file"],
    ["embedding_length", "embedding_length is missing", undefined, "file"],
    ["feed_forward_length", "feed_forward_length is missing", undefined, "file"],
    ["attention.head_count", "attention.head_count is missing", undefined, "file"],
    ["rope.freq_base", "rope.freq_base is missing", undefined, "file"],
    ["attention.layer_norm_rms_epsilon", "rms_epsilon is missing", undefined, "file"],
    ["block_count", 'block_count must be a positive number, not "4"', "4", "file"],
    ["block_count", "block_count must be a positive number, not NaN", Number.NaN, "file"],
    ["block_count", "block_count must be a positive number, not 18446744073709551615", 2n ** 64n - 1n, "file"],
    ["attention.head_count", "head_count is [4,4,4,2], but layers that differ are not supported", [4, 4, 4, 2], "unsupported"],
    ["attention.head_count", "head_count must be a positive number, not []", [], "file"],
    ["attention.causal", "attention.causal is false, which changes what is computed and is not supported", false, "unsupported"],
    ["expert_count", "expert_count is 8, which changes what is computed", 8, "unsupported"],
    ["nextn_predict_layers", "nextn_predict_layers is 1, which changes what is computed", 1, "unsupported"],
    ["context_length", "contextLength is 20000000, but at most 16777216 is supported", 2e7, "unsupported"],
    ["attention.head_count_kv", "head_count_kv must be a positive number, not 0", 0, "file"],
    ["attention.head_count_kv", "4 heads can't share 3 key-value heads evenly", 3, "unsupported"],
    ["attention.head_count_kv", "4 heads can't share 8 key-value heads evenly", 8, "unsupported"],
    ["rope.freq_base", "ropeTheta is 0.5, but at least 1 is required", 0.5, "unsupported"],
    ["attention.layer_norm_rms_epsilon", "rmsNormEps is 1e-60", 1e-60, "unsupported"],
    ["attention.layer_norm_rms_epsilon", "rmsNormEps is 1e+300", 1e300, "unsupported"],
    ["hidden_activation", 'bitnet-b1.58.hidden_activation is "gelu"; supported are relu2, relu_squared, silu', "gelu", "unsupported"],
    [
      "rope.scaling.type",
      'bitnet-b1.58.rope.scaling.type is "longrope"; supported are none, linear, yarn, and the tensor rope_freqs.weight',
      "longrope",
      "unsupported",
    ],
    ["rope.scaling.type", "bitnet-b1.58.rope.scaling.type is 2; supported are", 2, "unsupported"],
    ["rope.scaling.factor", "bitnet-b1.58.rope.scaling.factor is 0.5, but at least 1 is required", 0.5, "unsupported"],
    ["rope.scaling.factor", "bitnet-b1.58.rope.scaling.factor must be a positive number, not -4", -4, "file"],
    ["rope.scaling.factor", "bitnet-b1.58.rope.scaling.factor is 1e+300, which is outside the range of f32", 1e300, "unsupported"],
    ["rope.scaling.attn_factor", "bitnet-b1.58.rope.scaling.attn_factor must be a positive number, not 0", 0, "file"],
    ["rope.scale_linear", 'bitnet-b1.58.rope.scale_linear must be a positive number, not "2"', "2", "file"],
    ["rope.dimension_count", "rope.dimension_count is 32, but only the head size (64) is supported", 32, "unsupported"],
    ["attention.key_length", "heads of 66 dimensions, but a multiple of 4 up to 4096 is required", 66, "unsupported"],
    ["attention.key_length", "heads of 1073741824 dimensions, but a multiple of 4", 2 ** 30, "unsupported"],
    ["attention.value_length", "attention.value_length is 128, but only the head size (64)", 128, "unsupported"],
  ])("%s: %s", async (key, message, value, code) => {
    const changed = withMetadata(gguf, { [key.startsWith("general") ? key : `${ARCH}.${key}`]: value });
    const error = await errorOf(() => readConfig(changed));
    expect(error).toMatchObject({ code, file: I2S });
    expect(error.message).toContain(message);
    expect(error.message.startsWith(`${I2S}: `)).toBe(true);
  });

  test("bitnet-b1.58 with an SPM vocabulary may mean SiLU", async () => {
    const error = await errorOf(() => readConfig(withMetadata(gguf, { "tokenizer.ggml.model": "llama" })));
    expect(error).toMatchObject({ code: "unsupported" });
    expect(error.message).toContain("SiLU, and it has no bitnet-b1.58.hidden_activation");
    expect(error.message).toContain("--activation silu or relu2");
  });

  test("unless the user says it", async () => {
    const spm = withMetadata(gguf, { "tokenizer.ggml.model": "llama" });
    expect(await readConfig(spm, { activation: "silu" })).toMatchObject({ activation: "silu", subNorms: true });
    const said = withMetadata(gguf, { [`${ARCH}.hidden_activation`]: "relu2" });
    expect(await readConfig(said, { activation: "relu2" })).toMatchObject({ activation: "relu2" });
    const error = await errorOf(() => readConfig(said, { activation: "silu" }));
    expect(error).toMatchObject({ code: "usage" });
    expect(error.message).toContain('the option activation is silu, but bitnet-b1.58.hidden_activation is "relu2"');
  });
});

describe("activations", () => {
  const llama = { architectures: ["LlamaForCausalLM"], hidden_act: "silu" };
  const floats = { ...llama, quantization_config: undefined };

  test("are assumed where neither file nor architecture says them, and can be said there", async () => {
    const asLlama = withMetadata(gguf, {
      "general.architecture": "llama",
      ...Object.fromEntries([...gguf.metadata].map(([key, value]) => [key.replace(ARCH, "llama"), value])),
    });
    const spoken = withMetadata(asLlama, { "general.architecture": "llama" });
    for (const checkpoint of [spoken, withConfig(packed, floats)]) {
      expect(await readConfig(checkpoint)).toMatchObject({ activations: "int8", activationsAssumed: true });
      for (const activations of ["int8", "float"] as const)
        expect(await readConfig(checkpoint, { activations })).toMatchObject({ activations, activationsAssumed: false });
    }
  });

  test.each<[string, Checkpoint | Record<string, unknown>, "int8" | "float", string]>([
    ["quantization_config", llama, "int8", "quantization_config in config.json requires 8 bits"],
    ["BitNet's class", {}, "int8", "requires 8 bits"],
    ["Qwen3's class", { ...floats, architectures: ["Qwen3ForCausalLM"] }, "float", "its architecture requires unquantised activations"],
  ])("%s says them: the option must agree", async (_, changes, right, message) => {
    const checkpoint = withConfig(packed, changes as Record<string, unknown>);
    const wrong = right === "int8" ? "float" : "int8";
    for (const options of [{}, { activations: right }])
      expect(await readConfig(checkpoint, options)).toMatchObject({ activations: right, activationsAssumed: false });
    const error = await errorOf(() => readConfig(checkpoint, { activations: wrong }));
    expect(error).toMatchObject({ code: "usage", message: expect.stringContaining(`the option activations is ${wrong}, but `) });
    expect(error.message).toContain(message);
  });

  test("are BitNet's own in its GGUF, too", async () => {
    const error = await errorOf(() => readConfig(gguf, { activations: "float" }));
    expect(error.message).toContain("its architecture requires 8 bits");
  });
});

describe("LLaMA-3's scaling of RoPE", () => {
  const scaling = { rope_type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 256 };

  test("stretches long waves, keeps short ones, and changes smoothly between", async () => {
    const { ropeFactors, headDim, ropeTheta } = await readConfig(withConfig(packed, { rope_scaling: scaling }));
    expect(ropeFactors).toHaveLength(headDim / 2);
    for (const [i, factor] of ropeFactors!.entries()) {
      const wave = 2 * Math.PI * ropeTheta ** ((2 * i) / headDim);
      // As transformers states it, on the inverse frequencies themselves.
      const smooth = (256 / wave - 1) / (4 - 1);
      const right = wave < 256 / 4 ? 1 : wave > 256 / 1 ? 8 : 1 / ((1 - smooth) / 8 + smooth);
      expect(factor).toBeCloseTo(right, 6);
    }
    expect(new Set(ropeFactors).size).toBeGreaterThan(3);
  });

  test("is the same in the newer place, and of the older spelling", async () => {
    const { ropeFactors } = await readConfig(withConfig(packed, { rope_scaling: scaling }));
    const { rope_type: type, ...rest } = scaling;
    const newer = await readConfig(withConfig(packed, { rope_parameters: { ...scaling, rope_theta: 500000 }, rope_theta: undefined }));
    const older = await readConfig(withConfig(packed, { rope_scaling: { ...rest, type } }));
    expect(newer.ropeFactors).toEqual(ropeFactors);
    expect(older.ropeFactors).toEqual(ropeFactors);
  });
});

describe("SafeTensors that are refused", () => {
  test.each<[string, string, unknown, "file" | "unsupported"]>([
    [
      "architectures",
      "architectures[0] is missing; supported are BitNetForCausalLM, BitnetForCausalLM, LlamaForCausalLM, Qwen3ForCausalLM",
      undefined,
      "unsupported",
    ],
    ["architectures", 'architectures[0] is "GemmaForCausalLM"', ["GemmaForCausalLM"], "unsupported"],
    ["hidden_act", 'hidden_act is "gelu"; supported are relu2', "gelu", "unsupported"],
    ["hidden_act", "hidden_act is missing", undefined, "unsupported"],
    ["rope_scaling", 'rope_scaling is "llama3"; supported are the types default, linear, llama3 and yarn', "llama3", "unsupported"],
    ["rope_scaling", 'rope_scaling.type is "dynamic"; supported are', { type: "dynamic", factor: 2 }, "unsupported"],
    ["rope_scaling", 'rope_scaling.rope_type is "longrope"; supported are', { rope_type: "longrope", factor: 2 }, "unsupported"],
    ["rope_scaling", "rope_scaling.rope_type is missing; supported are", { factor: 2 }, "unsupported"],
    ["rope_scaling", "rope_scaling.factor is missing", { type: "linear" }, "file"],
    ["rope_scaling", "rope_scaling.factor is 0.5, but at least 1 is required", { type: "linear", factor: 0.5 }, "unsupported"],
    [
      "rope_parameters",
      'rope_parameters.full_attention is {"rope_type":"default"}, but settings for each kind of layer are not supported',
      { full_attention: { rope_type: "default" }, sliding_attention: { rope_type: "default" } },
      "unsupported",
    ],
    [
      "rope_parameters",
      "rope_parameters.partial_rotary_factor is 0.5, but only rotation of whole heads",
      { partial_rotary_factor: 0.5 },
      "unsupported",
    ],
    ["partial_rotary_factor", "config.json: partial_rotary_factor is 0.25, but only rotation of whole heads", 0.25, "unsupported"],
    ["rope_scaling", "rope_scaling.factor is missing", { rope_type: "llama3" }, "file"],
    ["rope_scaling", "supported are", { rope_type: "llama3", factor: 0.5, low_freq_factor: 1, high_freq_factor: 4 }, "unsupported"],
    ["rope_parameters", "rope_parameters.factor is missing", { rope_type: "yarn" }, "file"],
    ["attention_bias", "attention_bias is true, but layers with bias are not supported", true, "unsupported"],
    ["attention_bias", 'attention_bias must be true or false, not "yes"', "yes", "file"],
    ["mlp_bias", "mlp_bias is true, but layers with bias are not supported", true, "unsupported"],
    ["use_sliding_window", "use_sliding_window is true, but sliding-window attention is not supported", true, "unsupported"],
    ["head_dim", "heads of 66 dimensions, but a multiple of 4", 66, "unsupported"],
    ["tie_word_embeddings", "tie_word_embeddings must be true or false, not 1", 1, "file"],
    ["quantization_config", "quantization_config must be an object with a quant_method, not 7", 7, "unsupported"],
    ["num_hidden_layers", "num_hidden_layers is missing", undefined, "file"],
    ["hidden_size", "hidden_size must be a positive number, not -256", -256, "file"],
    ["hidden_size", "hidden size 250 over 4 heads gives heads of 62.5", 250, "unsupported"],
    ["hidden_size", "hidden size 264 over 4 heads gives heads of 66", 264, "unsupported"],
    ["num_attention_heads", "num_attention_heads is missing", undefined, "file"],
    ["num_attention_heads", "gives heads of 85.33", 3, "unsupported"],
    ["num_key_value_heads", "num_key_value_heads must be a positive number, not 0", 0, "file"],
    ["architectures", 'architectures[0] is "QLlamaForCausalLM", deepgrove\'s Bonsai, whose', ["QLlamaForCausalLM"], "unsupported"],
    ["architectures", '"Qwen3_5ForCausalLM", Qwen3.5 or Bonsai 2, which are supported only as GGUF', ["Qwen3_5ForCausalLM"], "unsupported"],
    [
      "quantization",
      "quantization is MLX quantisation (2 bits, groups of 128), which is not supported; get the model's GGUF",
      { bits: 2, group_size: 128 },
      "unsupported",
    ],
    [
      "quantization_config",
      "quantization_config is MLX quantisation (4 bits, groups of 64)",
      { bits: 4, group_size: 64, mode: "affine" },
      "unsupported",
    ],
    ["intermediate_size", "intermediate_size is missing", undefined, "file"],
    ["intermediate_size", "feed-forward size 770 and all heads' size 256 must be multiples of 8", 770, "unsupported"],
    ["vocab_size", "vocab_size is missing", undefined, "file"],
    ["vocab_size", "vocabSize is 4096.5, which is not a whole number", 4096.5, "unsupported"],
    ["vocab_size", "vocabSize is 1e+308, but at most 16777216 is supported", 1e308, "unsupported"],
    ["max_position_embeddings", "max_position_embeddings is missing", undefined, "file"],
    ["max_position_embeddings", "contextLength is 20000000, but at most 16777216", 2e7, "unsupported"],
    [
      "layer_types",
      'layer_types has "sliding_attention", but only full_attention is supported',
      ["full_attention", "sliding_attention"],
      "unsupported",
    ],
    ["rope_interleaved", "rope_interleaved is true, but only RoPE over the halves of each head is supported", true, "unsupported"],
    [
      "quantization_config",
      "quantization_config.load_in_4bit is true: the weights are in bitsandbytes' 4 or 8 bits format",
      { load_in_4bit: true },
      "unsupported",
    ],
    ["rope_theta", "rope_theta is missing", undefined, "file"],
    ["rms_norm_eps", "rms_norm_eps is missing", undefined, "file"],
  ])("%s: %s", async (key, message, value, code) => {
    const error = await errorOf(() => readConfig(withConfig(packed, { [key]: value })));
    expect(error).toMatchObject({ code, file: PACKED });
    expect(error.message).toContain(message);
    expect(error.message.startsWith(`${PACKED}: `)).toBe(true);
  });

  test.each<[string, unknown, string]>([
    ["quant_method", "later", '"later"'],
    ["quant_method", undefined, "missing"],
    ["linear_class", "linear", '"linear"'],
    ["quantization_mode", "later", '"later"'],
    ["use_rms_norm", true, "true"],
    ["modules_to_not_convert", "lm_head", '"lm_head"'],
    ["modules_to_not_convert", [7], "[7]"],
    ["modules_to_not_convert", { lm_head: true }, '{"lm_head":true}'],
  ])("quantization_config.%s %j", async (key, value, shown) => {
    const error = await errorOf(() => readConfig(withConfig(packed, quantization({ [key]: value }))));
    expect(error.code).toBe("unsupported");
    expect(error.message).toBe(`${PACKED}: config.json: quantization_config.${key} is ${shown}, which is not supported`);
  });

  test.each([
    ["gptq", "GPTQ"],
    ["awq", "AWQ"],
    ["bitsandbytes", "bitsandbytes' 4 or 8 bits"],
    ["fp8", "8-bit floats"],
    ["compressed-tensors", "compressed-tensors"],
  ])("weights of %s, by name", async (method, name) => {
    const error = await errorOf(() =>
      readConfig(withConfig(packed, { quantization_config: { quant_method: method, bits: 4, group_size: 128 } })),
    );
    expect(error).toMatchObject({ code: "unsupported" });
    expect(error.message).toContain(`quantization_config.quant_method is "${method}": the weights are in ${name}`);
  });

  test("rotated weights", async () => {
    const rotated: Checkpoint = { ...packed, sidecar: async (name) => (name === "hadamard.json" ? "{}" : packed.sidecar(name)) };
    expect((await errorOf(() => readConfig(rotated))).message).toContain("hadamard.json beside the weights says that they are rotated");
  });

  test.each([
    ["lm_head", true],
    ["model.embed_tokens", true],
    ["model.norm", true],
    ["embed_tokens", true],
    ["vision_tower", true],
    ["model.layers.4.mlp.down_proj", true], // there are four, from 0
    ["model.layers.44", true],
    ["model.layers.0.input_layernorm", true],
    ["model.layers.0", false],
    ["model.layers.3.self_attn", false],
    ["model.layers.3.self_attn.q_proj", false],
    ["layers.1.mlp", false],
    ["down_proj", false],
    ["mlp", false],
    ["model", false],
    ["", false],
    ["model.layers.*", false],
    [".*q_proj", false],
    ["re:.*lm_head", false],
    ["(a+)+$", false],
  ])("modules_to_not_convert with %j: that it changes nothing is %s", async (module, isFine) => {
    const checkpoint = withConfig(packed, quantization({ modules_to_not_convert: ["lm_head", module] }));
    if (isFine) expect(await readConfig(checkpoint)).toMatchObject({ layers: 4 });
    else {
      const error = await errorOf(() => readConfig(checkpoint));
      expect(error).toMatchObject({ code: "unsupported" });
      expect(error.message).toContain(`modules_to_not_convert has ${JSON.stringify(module)}, but linear layers that are not ternary`);
    }
  });

  test.each([
    [undefined, "there is no config.json beside the SafeTensors file"],
    ["", "config.json is not a JSON object"],
    ["[]", "config.json is not a JSON object"],
  ])("config.json is %j", async (text, message) => {
    const error = await errorOf(() => readConfig({ ...packed, sidecar: async () => text }));
    expect(error.code).toBe("file");
    expect(error.message).toBe(`${PACKED}: ${message}`);
  });

  test.each([
    ["version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "config.json is a git-lfs pointer, not the file itself; fetch the file"],
    ["<!DOCTYPE html>", "config.json is a web page, not the file itself; the download returned an error page"],
  ])("config.json is %j, by name", async (text, message) => {
    const error = await errorOf(() => readConfig({ ...packed, sidecar: async () => text }));
    expect(error.message).toContain(message);
  });

  test("an adapter without its model", async () => {
    const sidecar = async (name: string) => (name === "adapter_config.json" ? "{}" : undefined);
    expect(await errorOf(() => readConfig({ ...packed, sidecar }))).toMatchObject({
      code: "unsupported",
      message: expect.stringContaining("is an adapter (LoRA), not a model; merge it into its base model first"),
    });
  });
});

describe("hostile numbers", () => {
  const NUMBERS = [
    "num_hidden_layers",
    "hidden_size",
    "num_attention_heads",
    "num_key_value_heads",
    "intermediate_size",
    "vocab_size",
    "max_position_embeddings",
    "rope_theta",
    "rms_norm_eps",
    "head_dim",
  ];
  const value = fc.oneof(
    fc.constantFrom<unknown>(0, -1, 0.5, 1e308, -1e308, 5e-324, 2 ** 31, 2 ** 32, 2 ** 53, "NaN", "4", true, null, [], {}, [4]),
    fc.double({ noNaN: true }),
    fc.integer(),
  );

  test("give a config of possible sizes or a clean error", async () => {
    await fc.assert(
      fc.asyncProperty(fc.dictionary(fc.constantFrom(...NUMBERS), value, { minKeys: 1, maxKeys: 4 }), async (changes) => {
        try {
          const config = await readConfig(withConfig(packed, changes));
          const { layers, hiddenSize, heads, kvHeads, headDim, ffnSize, vocabSize, contextLength } = config;
          for (const size of [layers, hiddenSize, heads, kvHeads, headDim, ffnSize, vocabSize, contextLength]) {
            expect(Number.isInteger(size) && size > 0 && size <= 2 ** 24).toBe(true);
          }
          expect(heads * headDim).toBe(config.attentionSize);
          expect(heads % kvHeads).toBe(0);
        } catch (error) {
          expect(error).toBeInstanceOf(BitnetError);
          expect(["file", "unsupported"]).toContain((error as BitnetError).code);
        }
      }),
      { numRuns: 500 },
    );
  });
});
