import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { openCheckpoint } from "../container/checkpoint.js";
import { type ModelConfig, readConfig } from "../model/config.js";
import { errorOf } from "../model/fixtures.test.helper.js";
import { llama3Factors } from "../model/rope.js";
import { convertModel } from "./convert.js";
import { hfConfig } from "./hf-config.js";
import { temporaryDirectory, writeSmallModel } from "./models.test.helper.js";

const { path: root, remove } = temporaryDirectory();
afterAll(remove);

let made = 0;
/** A path where nothing is. */
const fresh = (ending = ""): string => join(root, `${made++}${ending}`);

describe("scaling of RoPE", () => {
  const of = async (path: string) => {
    const checkpoint = await openCheckpoint(path);
    await checkpoint.close();
    return (await readConfig(checkpoint)).ropeScaling;
  };
  const withRope = (rope_scaling: object) => {
    const directory = fresh();
    mkdirSync(directory);
    return writeSmallModel(directory, { architecture: "LlamaForCausalLM", config: { rope_scaling } });
  };
  const YARN = { rope_type: "yarn", factor: 4, original_max_position_embeddings: 128 };

  it.each([
    { rope_type: "linear", factor: 2.5 },
    YARN,
    { ...YARN, factor: 1.3 },
    { ...YARN, attention_factor: 1.25 },
    { ...YARN, attention_factor: 1 },
    { ...YARN, mscale: 0.8, mscale_all_dim: 0.5 },
  ])("%j goes into GGUF and back, to the bit", async (scaling) => {
    const [source, gguf, again, back] = [await withRope(scaling), fresh(".gguf"), fresh(".gguf"), fresh()];
    const wanted = await of(source);
    expect(wanted).toMatchObject({ type: scaling.rope_type, factor: Math.fround(scaling.factor) });
    await convertModel(source, gguf);
    expect(await of(gguf)).toEqual(wanted);
    await convertModel(gguf, again, { type: "tq2_0" });
    expect(await of(again)).toEqual(wanted);
    await convertModel(gguf, back);
    expect(await of(back)).toEqual(wanted);
  });

  it.each([
    [{ beta_fast: 16 }, "yarn with beta_fast 16"],
    [{ beta_slow: 2 }, "yarn with beta_slow 2"],
    [{ truncate: false }, "yarn with truncate false"],
  ])("%j has no place in GGUF, and keeps its own in SafeTensors", async (changes, what) => {
    const [source, packed] = [await withRope({ ...YARN, ...changes }), fresh()];
    const error = await errorOf(() => convertModel(source, fresh(".gguf")));
    expect(error).toMatchObject({ code: "unsupported" });
    expect(error.message).toContain(`${what} can't be stored in GGUF`);
    await convertModel(source, packed);
    expect(await of(packed)).toEqual(await of(source));
  });

  it.each([8192, 2048, 4096, 16384, 32768])("LLaMA-3's numbers with a length of %i follow from GGUF's factors", async (length) => {
    const scaling = {
      ...{ rope_type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4 },
      original_max_position_embeddings: length,
    };
    const checkpoint = await openCheckpoint(await withRope(scaling));
    await checkpoint.close();
    expect(hfConfig(await readConfig(checkpoint), undefined, [], "model.gguf")).toMatchObject({ rope_scaling: scaling });
  });

  it("what config.json has no words for is refused", async () => {
    const checkpoint = await openCheckpoint(await withRope({ rope_type: "linear", factor: 2 }));
    await checkpoint.close();
    const config = await readConfig(checkpoint);
    const written = (changes: Partial<ModelConfig>) => errorOf(() => hfConfig({ ...config, ...changes }, undefined, [], "model.gguf"));
    const attention = await written({ ropeScaling: { ...config.ropeScaling!, attention: 1.5 } });
    expect(attention.message).toContain(
      "model.gguf: an attention factor of 1.5 without yarn (rope.scaling.attn_factor) can't be expressed",
    );
    const both = await written({ ropeFactors: llama3Factors(config.ropeTheta, config.headDim, 8, 1, 4, 8192) });
    expect(both.message).toContain("model.gguf: rope_freqs.weight beside rope.scaling keys can't be expressed in config.json");
  });
});
