import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { convertModel } from "../../engine/conversion/convert.js";
import { temporaryDirectory, writeSmallModel } from "../../engine/conversion/models.test.helper.js";
import { encodeFloats } from "../../engine/packing/float-encode.js";
import { some } from "../../engine/thorough.test.helper.js";
import { EMBEDDED, I2S, PACKED } from "../end-to-end/derive.test.helper.js";
import { type Change, rewriteGguf } from "../end-to-end/rewrite.test.helper.js";
import { parityFailure, tensorSentence } from "./gates.js";
import { runParity } from "./parity.js";
import { replayRow } from "./replay.js";
import type { ParityReport, TensorReport } from "./types.js";
import { compareWeights } from "./weights.js";

const temporary = temporaryDirectory();
const at = (...parts: string[]): string => join(temporary.path, ...parts);
afterAll(temporary.remove);

let serial = 0;
const next = (): string => at(`${serial++}.gguf`);

/** A model of its own in a folder: packed, its scales multiply, and RoPE's heads lie in halves. */
const LLAMA = { architecture: "LlamaForCausalLM", tied: false, headDim: 64 } as const;

const folder = (name: string): string => {
  mkdirSync(at(name));
  return at(name);
};

/** What the lane says of all that isn't equal. */
const changedOf = async (a: string, b: string): Promise<readonly TensorReport[]> => (await compareWeights({ models: [a, b] })).changed;
const wrongOf = async (a: string, b: string): Promise<TensorReport[]> =>
  (await changedOf(a, b)).filter(({ verdict }) => verdict === "FAIL");

/** The I2_S scale lies behind the codes, 4 to a byte. */
const scaled =
  (pattern: RegExp, factor: (index: number) => number): Change =>
  ({ name, shape, type }, bytes) => {
    if (type !== "I2_S" || !pattern.test(name)) return undefined;
    const data = bytes.slice();
    const view = new DataView(data.buffer, data.byteOffset);
    const place = (shape[0]! * shape[1]!) / 4;
    view.setFloat32(place, view.getFloat32(place, true) * factor(serial++), true);
    return { data };
  };

/** Two stretches of a tensor's bytes in each other's place. */
const swapped =
  (tensor: string, length: number, x: number, y: number): Change =>
  ({ name }, bytes) => {
    if (name !== tensor) return undefined;
    const data = bytes.slice();
    data.set(bytes.subarray(x * length, (x + 1) * length), y * length);
    data.set(bytes.subarray(y * length, (y + 1) * length), x * length);
    return { data };
  };

/** Types of tables, with the bytes of a row. */
const TABLES = [
  ["f16", 512],
  ["f32", 1024],
  ["q8_0", 272],
  ["q6_k", 210],
] as const;

describe("a converted model", () => {
  let packed: string;
  let i2s: string;
  beforeAll(async () => {
    packed = await writeSmallModel(folder("llama"), LLAMA);
    i2s = at("llama.gguf");
    await convertModel(packed, i2s, { type: "i2_s" });
  });

  it("is equal to the bit, q and k in the other order of RoPE too", async () => {
    for (const type of ["i2_s", "f32", "f16", "tq2_0"] as const) {
      const to = at(`all-${type}.gguf`);
      await convertModel(packed, to, { type, embedding: "f32" });
      expect(await changedOf(packed, to), type).toEqual([]); // the scales of the fixture are exact in f16
    }
    const { sides, compared, equal, numbers } = await compareWeights({ models: [packed, i2s] });
    expect(sides).toMatchObject({ a: { format: "safetensors", kernels: "none" }, b: { format: "gguf", sha256: expect.any(String) } });
    // Embedding, head, 2 · 2 + 1 norms, 2 · 7 layers with a scale each.
    expect([compared, equal]).toEqual([2 + 5 + 28, 35]);
    expect(numbers).toBeGreaterThan(1e6);
  });

  it("with scales that are inverses in bf16 too", async () => {
    const config = { quantization_config: { quant_method: "bitnet", linear_class: "bitlinear", quantization_mode: "offline" } };
    const inverse = await writeSmallModel(folder("inverse"), { ...LLAMA, config });
    const to = at("inverse.gguf");
    await convertModel(inverse, to, { type: "i2_s" });
    expect(await changedOf(inverse, to)).toEqual([]);
    // Of another tool, which knew the masters: what was stored is the nearest bf16 to the inverse.
    const masters = await rewriteGguf(
      to,
      next(),
      scaled(/blk/, (index) => 1 + 0.0015 * Math.sin(index)),
    );
    const rounded = await changedOf(inverse, masters);
    expect(rounded.map(({ part, verdict }) => `${part} ${verdict}`)).toEqual(Array(14).fill("scale PASS"));
    expect(rounded[0]!.types).toEqual(["1/BF16", "F32"]);
    const wrong = await rewriteGguf(
      masters,
      next(),
      scaled(/blk\.1\.ffn_up/, () => 1.01),
    );
    expect((await wrongOf(inverse, wrong)).map(({ b, finding }) => [b, finding])).toEqual([
      ["blk.1.ffn_up.weight", "the scales differ by more than the rounding of BF16"],
    ]);
  });

  it.each(some([1.0001, 1.01, 1 - 2 ** -20], 0, 2))("a scale times %d in one layer, in some, in all", async (factor) => {
    const scalesOf = async (pattern: RegExp): Promise<string[]> => {
      const wrong = await wrongOf(
        packed,
        await rewriteGguf(
          i2s,
          next(),
          scaled(pattern, () => factor),
        ),
      );
      expect(wrong.every(({ part, first }) => part === "scale" && first!.a! > 0)).toBe(true);
      return wrong.map(({ b }) => b);
    };
    expect(await scalesOf(/blk\.1\.attn_v/)).toEqual(["blk.1.attn_v.weight"]);
    expect(await scalesOf(/blk\.1\./)).toHaveLength(7);
    expect(await scalesOf(/blk\.0\.|blk\.1\.attn/)).toHaveLength(11);
    expect(await scalesOf(/blk/)).toHaveLength(14);
  });

  it("scales times another small number in each layer", async () => {
    const path = await rewriteGguf(
      i2s,
      next(),
      scaled(/blk/, (index) => 1 + 1e-4 * Math.sin(index)),
    );
    const wrong = await wrongOf(packed, path);
    expect(wrong).toHaveLength(14);
    expect(wrong[0]!.finding).toMatch(/too small for rounding$/);
  });

  it("one code, with its row and column in the order of the reference", async () => {
    const one: Change = ({ name }, bytes) => {
      if (name !== "blk.0.attn_q.weight") return undefined;
      const data = bytes.slice();
      data[(2 * 256) / 4]! ^= 0b01000000; // row 2, column 0; codes 0 and 1, or 2 and 3
      data[(2 * 256) / 4]! &= 0b01111111;
      return { data };
    };
    const wrong = await wrongOf(packed, await rewriteGguf(i2s, next(), one));
    // Rows 0, 1, 2 of a GGUF's head of 64 are rows 0, 32 and 1.
    expect(wrong).toMatchObject([{ part: "codes", b: "blk.0.attn_q.weight", changed: 1, first: { row: 1, column: 0 } }]);
    expect(wrong[0]!.a).toBe("model.layers.0.self_attn.q_proj.weight");
  });

  it("two rows swapped, and two heads, which are found at their places", async () => {
    const rows = await wrongOf(packed, await rewriteGguf(i2s, next(), swapped("blk.1.ffn_up.weight", 64, 6, 40)));
    expect(rows).toMatchObject([{ part: "codes", first: { row: 6 }, moved: { rows: 2, from: 6, to: 40 } }]);
    const heads = await wrongOf(packed, await rewriteGguf(i2s, next(), swapped("blk.1.attn_q.weight", 64 * 64, 1, 3)));
    expect(heads).toMatchObject([{ part: "codes", first: { row: 64 }, moved: { rows: 128, from: 64, to: 192 } }]);
    expect(tensorSentence(heads[0]!)).toMatch(/; 128 rows of a are in another place in b: row 64 is row 192 there$/);
  });

  it("one norm weight, by whatever it differs", async () => {
    for (const factor of [1.0001, 1.01, 2, Number.NaN]) {
      const one: Change = ({ name }, bytes) => {
        if (name !== "blk.1.ffn_norm.weight") return undefined;
        const data = bytes.slice();
        const view = new DataView(data.buffer, data.byteOffset);
        view.setFloat32(4 * 17, view.getFloat32(4 * 17, true) * factor, true);
        return { data };
      };
      const wrong = await wrongOf(packed, await rewriteGguf(i2s, next(), one));
      expect(wrong, String(factor)).toMatchObject([
        { part: "norm", b: "blk.1.ffn_norm.weight", changed: 1, first: { row: 0, column: 17 } },
      ]);
    }
  });

  it("all weights of a norm times 1.0001", async () => {
    const all: Change = ({ name }, bytes) => {
      if (name !== "output_norm.weight") return undefined;
      const values = new Float32Array(bytes.slice().buffer).map((w) => w * 1.0001);
      return { data: new Uint8Array(values.buffer) };
    };
    const wrong = await wrongOf(packed, await rewriteGguf(i2s, next(), all));
    expect(wrong).toMatchObject([{ part: "norm", a: "model.norm.weight", finding: expect.stringContaining("one factor, 1 + 0.000100") }]);
  });

  it.each(["token_embd.weight", "output.weight"])("a permuted row of %s, in any type of table", async (name) => {
    for (const [embedding, bytes] of some(TABLES, name === "output.weight" ? 0 : 1, name === "output.weight" ? 3 : 2)) {
      const to = at(`${name}-${embedding}.gguf`);
      await convertModel(packed, to, { type: "i2_s", embedding });
      expect(await wrongOf(packed, to), embedding).toEqual([]);
      const wrong = await wrongOf(packed, await rewriteGguf(to, next(), swapped(name, bytes, 33, 71)));
      expect(wrong, embedding).toMatchObject([{ part: name === "output.weight" ? "head" : "embedding", first: { row: 33 } }]);
      if (embedding.startsWith("f")) expect(wrong[0]!.moved).toEqual({ rows: 2, from: 33, to: 71 });
    }
  });

  it("is no other model", async () => {
    const other = await writeSmallModel(folder("other"), { ...LLAMA, ffn: 256 });
    await expect(compareWeights({ models: [packed, other] })).rejects.toMatchObject({
      code: "usage",
      message: expect.stringContaining("ffnSize 512"),
    });
  });
});

describe("forms of other tools", () => {
  it("equal, or the nearest numbers of the types: the embedded model's", async () => {
    expect(await changedOf(PACKED, EMBEDDED)).toEqual([]);
    // From the same masters: one has each scale in bf16, the other in f32.
    const rounded = await changedOf(PACKED, I2S);
    expect(rounded).toHaveLength(28);
    expect(rounded.every(({ part, verdict, types }) => part === "scale" && verdict === "PASS" && types.join() === "BF16,F32")).toBe(true);
    const exact = await compareWeights({ models: [PACKED, I2S], exact: true });
    expect(exact).toMatchObject({ verdict: "FAIL", equal: 46 });
  });
});

describe("the lane", () => {
  const measure = (b: string): Promise<ParityReport> =>
    runParity({
      ...{ models: [PACKED, b], lanes: ["weights"], out: at("report.json") },
      ...{ cliArgs: [], seed: 42, deterministic: true, date: new Date(0) },
    });

  it("is a part of the report; a tensor that failed is a row that replays", async () => {
    const path = await rewriteGguf(EMBEDDED, at("norm.gguf"), ({ name }, bytes) => {
      if (name !== "output_norm.weight") return undefined;
      const data = bytes.slice();
      data.set(encodeFloats("F32", Float32Array.of(0.5)), 4 * 3);
      return { data };
    });
    const report = await measure(path);
    expect(report).toMatchObject({
      verdict: "FAIL",
      lanes: [],
      provenance: { kernel_tier: null, model_sha256: report.weights!.sides.b.sha256 },
    });
    expect(report.skipped.map(({ name }) => name)).toEqual(["fp32-fp32", "quant-fp32", "oracle"]);
    expect(parityFailure(report)).toMatchObject({
      code: "weights",
      message: expect.stringMatching(/model\.norm\.weight \(output_norm\.weight\).*number 3/),
    });
    const rows = at("parity_failures.jsonl");
    expect(await replayRow(rows, 1)).toMatchObject({ changed: [], tensor: { b: "output_norm.weight" }, error: { code: "weights" } });
    expect(await replayRow(rows, 1, { modelB: EMBEDDED })).toMatchObject({
      ...{ tensor: null, failed: [], error: undefined },
      changed: [expect.stringContaining("has changed")],
    });
    expect(await measure(EMBEDDED)).toMatchObject({ verdict: "PASS", weights: { exact: false, changed: [] } });
  });
});
