import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openSource } from "#host/files.js";
import { makeModel } from "../../bench/make-model.js";
import { openCheckpoint } from "../../engine/container/checkpoint.js";
import { inspectModel, type ModelInspection, type TensorInspection } from "../../engine/generation/inspect.js";
import { checksOf } from "../../engine/generation/inspect-checks.js";
import { type Probe, probeModel } from "../../engine/generation/probe.js";
import { type ModelConfig, readConfig } from "../../engine/model/config.js";
import { readFloats } from "../../engine/packing/dense.js";
import { some } from "../../engine/thorough.test.helper.js";
import { BF16, deriveF32Gguf, I2S, PACKED, temporaryDirectory } from "./derive.test.helper.js";
import { type Change, rewriteGguf } from "./rewrite.test.helper.js";

const directory = temporaryDirectory();
afterAll(directory.remove);
const path = (name: string): string => join(directory.path, name);

let f32: string;
let right: ModelInspection;
beforeAll(async () => {
  f32 = await deriveF32Gguf(directory.path);
  right = await inspectModel(I2S);
});

const failed = ({ checks }: ModelInspection): string[] => checks.flatMap(({ rule, passed }) => (passed ? [] : [rule]));
const linearsOf = ({ tensors }: ModelInspection): TensorInspection[] => tensors.filter(({ role }) => role === "linear");
const largest = (values: Float32Array): number => values.reduce((most, x) => Math.max(most, x));
const isLinear = (name: string): boolean => /attn_(?:q|k|v|output)|ffn_(?:gate|up|down)/.test(name);

describe("what inspect finds", () => {
  it("is what the same model's f32 numbers are, counted here", async () => {
    const checkpoint = await openCheckpoint(f32);
    const source = await openSource(f32);
    expect(right.tensors).toHaveLength(checkpoint.tensors.size);
    for (const { name, role, rms, scale, codes } of right.tensors) {
      const tensor = checkpoint.tensors.get(name)!;
      const n = tensor.byteLength / 4;
      const values = new Float32Array(n);
      readFloats("F32", await source.read(tensor.offset, tensor.byteLength), values, n);
      expect(rms! / Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / n)).toBeCloseTo(1, 6);
      expect(role).toBe(isLinear(name) ? "linear" : name.includes("norm") ? "norm" : "embedding");
      if (role !== "linear") continue;
      const counts = [values.filter((x) => x < 0).length, values.filter((x) => x === 0).length, values.filter((x) => x > 0).length];
      expect(codes).toEqual(counts);
      expect(scale).toEqual({ least: largest(values), most: largest(values) });
    }
    await Promise.all([checkpoint.close(), source.close()]);
  });

  it("is the same in every encoding of one model", async () => {
    // TQ2_0 with the scale in f16: element 32·g + m of each 128 in byte m of 32, bits 2g; I2_S counts g from the top.
    const tq2 = await rewriteGguf(I2S, path("tq2.gguf"), (tensor, bytes) => {
      if (tensor.type !== "I2_S") return undefined;
      const blocks = (tensor.byteLength - 32) / 64;
      const data = new Uint8Array(blocks * 66);
      for (let b = 0; b < blocks; b++) {
        for (let i = 0; i < 64; i++) {
          const byte = bytes[b * 64 + i]!;
          data[b * 66 + i] = (byte >> 6) | ((byte >> 2) & 12) | ((byte << 2) & 48) | ((byte & 3) << 6);
        }
        data.set([0x00, 0x2c], b * 66 + 64); // 2^-4
      }
      return { type: "TQ2_0", data };
    });
    const codes = linearsOf(right).map((tensor) => tensor.codes);
    for (const [file, floats] of [
      [f32, "ternary"],
      [BF16, "masters"],
      [PACKED, undefined],
      [tq2, undefined],
    ] as const) {
      const inspection = await inspectModel(file);
      expect(failed(inspection), file).toEqual([]);
      const order = (tensor: TensorInspection): string => tensor.codes!.join();
      expect(linearsOf(inspection).map(order).sort(), file).toEqual(codes.map((counts) => counts!.join()).sort());
      expect(new Set(linearsOf(inspection).map((tensor) => tensor.floats)), file).toEqual(new Set([floats]));
    }
    const scales = linearsOf(await inspectModel(tq2)).map(({ scale }) => scale);
    expect(new Set(scales.map((scale) => JSON.stringify(scale)))).toEqual(new Set(['{"least":0.0625,"most":0.0625}']));
  });

  it("lists spans in the order of the file, sums by type, and hears of progress", async () => {
    const heard: number[] = [];
    const inspection = await inspectModel(PACKED, { onProgress: ({ done, total }) => heard.push(done / total) });
    expect(heard.every((share, i) => share <= 1 && share >= (heard[i - 1] ?? 0))).toBe(true);
    const { tensors, types } = inspection;
    for (const [i, { offset }] of tensors.entries()) if (i > 0) expect(offset).toBe(tensors[i - 1]!.offset + tensors[i - 1]!.byteLength);
    expect(types.map(({ type }) => type).sort()).toEqual(["BF16", "U8"]);
    expect(types.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(tensors.reduce((sum, { byteLength }) => sum + byteLength, 0));
  });
});

describe("the checks fail on a damaged copy, and on nothing else", () => {
  const Q = "blk.1.attn_q.weight";
  const only =
    (name: string, change: (bytes: Uint8Array) => void): Change =>
    (tensor, bytes) => {
      if (tensor.name !== name) return undefined;
      const data = bytes.slice();
      change(data);
      return { data };
    };
  const scaleOf = (value: number) => (bytes: Uint8Array) => new DataView(bytes.buffer).setFloat32(bytes.length - 32, value, true);
  const damages: readonly (readonly [what: string, change: Change, rules: readonly string[], said: string])[] = [
    ["nothing", () => undefined, [], "46 tensors can be read"],
    ["a norm of zeros", only("blk.2.ffn_norm.weight", (bytes) => bytes.fill(0)), ["norms"], "blk.2.ffn_norm.weight has 0; allowed"],
    ["a norm of large numbers", only("output_norm.weight", (bytes) => bytes.fill(0x44)), ["norms"], "output_norm.weight has 785.1"],
    ["a scale inverted", only(Q, scaleOf(58)), ["scales"], "blk.1.attn_q.weight has 58; allowed"],
    ["a scale that is no number", only(Q, scaleOf(Number.NaN)), ["readable"], `the scale of tensor ${Q} is NaN`],
    ["codes of one kind", only(Q, (bytes) => bytes.fill(0, 0, -32)), ["zeros", "signs"], `${Q} has 0.0 %`],
    ["codes of zeros", only(Q, (bytes) => bytes.fill(0x55, 0, -32)), ["zeros"], `${Q} has 100.0 %`],
    ["a code 3", only(Q, (bytes) => bytes.fill(3, 700, 701)), ["readable"], `tensor ${Q} has the code 3 at byte`],
    [
      "an infinite embedding",
      only("token_embd.weight", (bytes) => bytes.set([0, 0x7c], 99998)),
      ["readable"],
      "token_embd.weight contains an infinity or NaN",
    ],
    ["an embedding of zeros", only("token_embd.weight", (bytes) => bytes.fill(0)), ["tables"], "token_embd.weight has 0;"],
  ];
  it.each(damages)("%s", async (what, change, rules, said) => {
    const inspection = await inspectModel(await rewriteGguf(I2S, path(`${what.replaceAll(" ", "-")}.gguf`), change));
    expect(failed(inspection)).toEqual(rules);
    const findings = inspection.checks.filter(({ rule }) => rules.length === 0 || rules.includes(rule)).map(({ finding }) => finding);
    expect(findings.join("\n")).toContain(said);
  });
});

/** The f32 file as the official converter would write it of bf16 scales: `of` each magnitude. */
function writtenWith(name: string, of: (bf16: number) => number, type: "F32" | "F16" = "F32"): Promise<string> {
  return rewriteGguf(f32, path(name), ({ name }, bytes) => {
    if (!isLinear(name)) return undefined;
    const values = new Float32Array(bytes.slice().buffer);
    const words = new Int32Array(Float32Array.of(largest(values)).buffer);
    words[0]! &= 0xffff0000;
    const magnitude = of(new Float32Array(words.buffer)[0]!);
    if (type === "F32") return { data: new Uint8Array(values.map((x) => Math.sign(x) * magnitude).buffer) };
    // f16 bits of a normal number, rounded to nearest.
    const exponent = Math.floor(Math.log2(magnitude));
    const bits = ((exponent + 15) << 10) + Math.round((magnitude / 2 ** exponent - 1) * 1024);
    const halves = Uint16Array.from(values, (x) => (x === 0 ? 0 : x > 0 ? bits : bits | 0x8000));
    return { type: "F16", data: new Uint8Array(halves.buffer) };
  });
}

const inverse = (scale: number): number => Math.fround(1 / scale);

describe("scales divided by", () => {
  it("are recognised in F32 and F16, as large as here and as small as 2B4T's, and named", async () => {
    for (const [name, of, type] of [
      ["divided.gguf", inverse, "F32"],
      ["divided-2b4t-f16.gguf", (scale: number) => inverse(scale * 32), "F16"],
    ] as const) {
      const inspection = await inspectModel(await writtenWith(name, of, type));
      expect(
        failed(inspection).filter((rule) => rule !== "scales"),
        name,
      ).toEqual(["multiplied scales"]);
      const { finding } = inspection.checks.find(({ rule }) => rule === "multiplied scales")!;
      expect(finding).toContain("because it divides by weight_scale where the model multiplies");
      expect(finding).toContain("bitnet convert");
    }
  });

  it("are not suspected where they were multiplied", async () => {
    const models = [
      ["multiplied.gguf", (scale: number) => scale, "F32"],
      ["multiplied-2b4t.gguf", (scale: number) => scale * 32, "F16"],
      ["absmean-f16.gguf", (scale: number) => Math.fround(scale * 1.00312), "F16"],
    ] as const;
    for (const [name, of, type] of some(models, 1, 2)) {
      expect(failed(await inspectModel(await writtenWith(name, of, type))), name).toEqual([]);
    }
  });

  it("are right where the checkpoints of a family store the inverse, unless no model's weights are so large", async () => {
    const checkpoint = await openCheckpoint(I2S);
    const config: ModelConfig = { ...(await readConfig(checkpoint)), subNorms: false };
    await checkpoint.close();
    const tensor = (scale: number): TensorInspection => ({
      ...{ name: "w", role: "linear", type: "F32", shape: [4, 4], file: "f", offset: 0, byteLength: 64 },
      ...{ rms: scale, scale: { least: scale, most: scale }, codes: [5, 6, 5], floats: "ternary", fault: undefined },
    });
    const passes = (scales: readonly number[], of = config): boolean =>
      checksOf(scales.map(tensor), of).find(({ rule }) => rule === "multiplied scales")!.passed;
    const small = [58, 61, 66.5].map(inverse);
    expect(passes(small)).toBe(true);
    expect(passes(small, { ...config, subNorms: true })).toBe(false);
    expect(passes([58, 61, 66.5])).toBe(false);
  });
});

describe("probe", () => {
  const options = { threads: 1, tier: "relaxed" } as const;
  const costs = ({ readings }: Probe): Record<string, number> => Object.fromEntries(readings.map(({ name, meanNll }) => [name, meanNll!]));

  /** The codes of an I2_S tensor in another layout. */
  const relaid =
    (place: (element: number, columns: number) => readonly [byte: number, shift: number]): Change =>
    (tensor, bytes) => {
      if (tensor.type !== "I2_S") return undefined;
      const data = bytes.slice().fill(0, 0, -32);
      for (let e = 0; e < 4 * (bytes.length - 32); e++) {
        const code = (bytes[32 * Math.floor(e / 128) + (e % 32)]! >> (6 - 2 * (Math.floor(e / 32) % 4))) & 3;
        const [byte, shift] = place(e, tensor.shape[1]!);
        data[byte]! |= code << shift;
      }
      return { data };
    };

  it("names the layout that an I2_S file has, in which it computes the very same", async () => {
    const usual = await probeModel(I2S, options);
    expect(usual.right).toBe("block128");
    expect(usual.readings.map(({ name }) => name)).toEqual(["block128", "block64", "rows4"]);
    expect(costs(usual).block128).toBeLessThan(3);
    expect(costs(usual).block64).toBeGreaterThan(7);
    expect(costs(usual).rows4).toBeGreaterThan(7);

    const block64 = relaid((e) => [16 * Math.floor(e / 64) + (e % 16), 6 - 2 * (Math.floor(e / 16) % 4)]);
    const arm = await probeModel(await rewriteGguf(I2S, path("block64.gguf"), block64), options);
    expect(arm.right).toBe("block64");
    expect(costs(arm).block64).toBe(costs(usual).block128);

    const rows4 = relaid((e, columns) => [columns * Math.floor(e / columns / 4) + (e % columns), 6 - 2 * (Math.floor(e / columns) % 4)]);
    const said = await probeModel(await rewriteGguf(I2S, path("rows4.gguf"), rows4), { ...options, i2sLayout: "rows4" });
    expect(said.readings.map(({ name }) => name)).toEqual(["rows4", "block128", "block64"]);
    expect(said.right).toBe("rows4");
    expect(costs(said).rows4).toBe(costs(usual).block128);
  });

  it("tells scales that were divided by, which cost less than word salad", async () => {
    const divided = await probeModel(path("divided.gguf"), options); // written above
    expect(divided.right).toBe("scales inverted");
    expect(costs(divided)["scales as they are"]! - costs(divided)["scales inverted"]!).toBeGreaterThan(0.5);
    const multiplied = await probeModel(PACKED, options);
    expect(multiplied.right).toBe("scales as they are");
    expect(Math.abs(costs(multiplied)["scales as they are"]! - costs(divided)["scales inverted"]!)).toBeLessThan(0.02);
  });

  it("has one reading of master weights, and none of a model that knows no language", async () => {
    const masters = await probeModel(BF16, options);
    expect(masters.readings.map(({ name }) => name)).toEqual(["as it is"]);
    expect(masters.right).toBe("as it is");
    const shuffled = await rewriteGguf(I2S, path("shuffled.gguf"), (tensor, bytes) =>
      tensor.type === "I2_S"
        ? { data: Uint8Array.from([...bytes.subarray(0, -32)].reverse().concat([...bytes.subarray(-32)])) }
        : undefined,
    );
    const lost = await probeModel(shuffled, options);
    expect(lost.right).toBeUndefined();
    expect(lost.readings).toHaveLength(3);
  });

  it("says why a layout can't be had", async () => {
    const file = path("narrow.gguf");
    await makeModel(file, { layers: 1, hidden: 128, heads: 2, kvHeads: 1, ffn: 144, vocab: 4096, context: 64 }, "i2_s", "f16");
    const { readings, right } = await probeModel(file, options);
    expect(right).toBeUndefined();
    expect(readings.map(({ meanNll }) => meanNll === undefined)).toEqual([true, false, false]);
    expect(readings[0]!.fault).toContain("rows of 144, but only multiples of 32");
  });
});
