/** Models whose weights are plain floats: ternary ones written out, and masters. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { inspectModel } from "../generation/inspect.js";
import { describeModel, loadModel } from "../generation/model.js";
import type { LoadOptions } from "../generation/runner.js";
import { errorOf } from "../model/fixtures.test.helper.js";
import { convertModel } from "./convert.js";
import { type SmallModel, temporaryDirectory, VOCAB, writeSmallModel } from "./models.test.helper.js";

const { path: root, remove } = temporaryDirectory();
afterAll(remove);

let made = 0;
const fresh = (ending = ""): string => join(root, `${made++}${ending}`);

async function small(model: Omit<SmallModel, "architecture">): Promise<string> {
  const directory = fresh();
  mkdirSync(directory);
  return writeSmallModel(directory, { architecture: "LlamaForCausalLM", ...model });
}

const IDS = [VOCAB - 16, 62, 256, 258, 300, 100];

async function logits(path: string, options: LoadOptions = {}): Promise<Float32Array> {
  const model = await loadModel(path, { threads: 1, ...options });
  try {
    return await model.logits(IDS);
  } finally {
    await model.close();
  }
}

const distance = (a: Float32Array, b: Float32Array): number => a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0);

describe("activations that are left alone", () => {
  it("with several scales a matrix, kernels and scalar code give the same bits, near f32 throughout", async () => {
    const path = await small({ form: "F32", shards: 4 });
    const activations = "float";
    const [kernels, scalar] = [await logits(path, { activations }), await logits(path, { activations, reference: true })];
    expect(Buffer.compare(Buffer.from(kernels.buffer), Buffer.from(scalar.buffer))).toBe(0);
    const float = await logits(path, { reference: true, activationQuant: false });
    expect(distance(kernels, float)).toBeLessThan(2e-3);
    expect(distance(await logits(path), float)).toBeGreaterThan(1e-2);
  });

  it("are in the description, which says what is assumed", async () => {
    const path = await small({ form: "F32" });
    const shown = async (options: LoadOptions) => (await describeModel(path, options)).quantisation.activations;
    expect(await shown({})).toBe("int8 per token, assumed: the file does not state it");
    expect(await shown({ activations: "int8" })).toBe("int8 per token");
    expect(await shown({ activations: "float" })).toBe("unquantised (15 bits for each group of columns)");
  });

  it("can't be said in packed SafeTensors, which are not written, and can in no GGUF, which is", async () => {
    const path = await small({ form: "F32" });
    const options = { activations: "float" } as const;
    const out = fresh();
    expect(await errorOf(() => convertModel(path, out, options))).toMatchObject({
      code: "usage",
      message: expect.stringContaining("convert to GGUF"),
    });
    const gguf = fresh(".gguf");
    await convertModel(path, gguf, options);
    expect(await logits(gguf, options)).toEqual(await logits(path, options));
  });

  it("an option that is none of the two", async () => {
    const error = await errorOf(() => loadModel(undefined, { activations: "int4" as "int8" }));
    expect(error).toMatchObject({ code: "usage", message: 'activations must be one of int8, float, not "int4"' });
  });
});

describe("master weights without a word that they are", () => {
  /** Every weight of the layers a little off, as masters are. */
  async function masters(): Promise<string> {
    const path = await small({ form: "F32" });
    const file = join(path, "model.safetensors");
    const bytes = readFileSync(file);
    const start = 8 + Number(bytes.readBigUInt64LE(0));
    const header = JSON.parse(bytes.toString("utf8", 8, start)) as Record<string, { dtype: string; data_offsets: [number, number] }>;
    for (const { dtype, data_offsets: offsets } of Object.values(header)) {
      if (dtype === "F32") for (let at = offsets[0]; at < offsets[1]; at += 4) bytes.writeFloatLE(0.01 + (at % 1000) / 1e5, start + at);
    }
    writeFileSync(file, bytes);
    return path;
  }

  it("are refused in one sentence, the same everywhere, that says what to do", async () => {
    const path = await masters();
    const { message, tensor } = await errorOf(() => loadModel(path, { threads: 2 }));
    expect(tensor).toBe("model.layers.0.self_attn.q_proj.weight");
    expect(message).toContain("many magnitudes");
    expect(message).toContain("revision main or bfloat16");
    expect(message).toContain(
      '"quantization_config": {"quant_method": "bitnet", "quantization_mode": "online", "linear_class": "autobitlinear"}',
    );
    expect((await errorOf(() => loadModel(path, { threads: 2 }))).message).toBe(message);
    for (const type of ["i2_s", "f16"] as const) {
      const out = fresh(".gguf");
      expect(await errorOf(() => convertModel(path, out, { type }))).toMatchObject({ code: "tensor", message });
    }
    expect((await describeModel(path)).quantisation.refusal).toBe(message);
    expect((await inspectModel(path)).tensors.find(({ fault }) => fault)?.fault).toContain("many magnitudes");
  });

  it("run when config.json says so, as the sentence has it", async () => {
    const path = await masters();
    const file = join(path, "config.json");
    const { message } = await errorOf(() => loadModel(path));
    const said = JSON.parse(`{${message.slice(message.indexOf('"quantization_config"'))}}`);
    writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, "utf8")), ...said }));
    expect((await describeModel(path)).quantisation).not.toHaveProperty("refusal");
    expect((await logits(path)).every(Number.isFinite)).toBe(true);
  });

  it("in GGUF: another sentence", async () => {
    const path = await small({ form: "F32" });
    const gguf = fresh(".gguf");
    await convertModel(path, gguf, { type: "f32" });
    const bytes = readFileSync(gguf);
    const model = await inspectModel(gguf);
    const { offset } = model.tensors.find(({ name }) => name === "blk.0.attn_k.weight")!;
    for (let i = 0; i < 64; i++) bytes.writeFloatLE(0.01 + i / 1000, offset + 4 * i);
    writeFileSync(gguf, bytes);
    const error = await errorOf(() => loadModel(gguf));
    expect(error.message).toMatch(/blk\.0\.attn_k\.weight has weights of many magnitudes .*: get the model as I2_S, TQ1_0, TQ2_0 or Q2_0$/);
  });
});

it("frequencies of RoPE in the file change nothing, and inspect says whether they are the configuration's", async () => {
  const path = await small({ form: "packed" });
  const wanted = await logits(path);
  const file = join(path, "model.safetensors");
  const bytes = readFileSync(file);
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString("utf8", 8, start));
  const data = bytes.subarray(start);
  for (const [theta, count, passed] of [
    [10000, 32, true],
    [500000, 32, false],
    [10000, 31, false],
  ] as const) {
    const name = "model.layers.1.self_attn.rotary_emb.inv_freq";
    const frequencies = Float32Array.from({ length: count }, (_, i) => theta ** (-i / 32));
    const entry = { dtype: "F32", shape: [count], data_offsets: [data.length, data.length + 4 * count] };
    const text = Buffer.from(JSON.stringify({ ...header, [name]: entry }));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(text.length));
    writeFileSync(file, Buffer.concat([length, text, data, Buffer.from(frequencies.buffer)]));
    expect(await logits(path)).toEqual(wanted);
    const { tensors, checks } = await inspectModel(path);
    expect(tensors.find((tensor) => tensor.name === name)).toMatchObject({ role: "frequencies", agrees: passed });
    expect(checks.find(({ rule }) => rule === "frequencies")).toMatchObject({ passed });
    expect((await describeModel(path)).quantisation.norms).toBe("BF16");
  }
});
