import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { openCheckpoint } from "../../engine/container/checkpoint.js";
import { attentionOf } from "../../engine/model/attention.test.helper.js";
import { type ModelConfig, readConfig } from "../../engine/model/config.js";
import { readWeights } from "../../engine/model/weights.js";
import type { ReferenceAttention } from "../../engine/network/attention-reference.js";
import { floatProducts } from "../../engine/network/float-products.js";
import { Reference, ReferenceCache, type ReferenceLayer, type ReferenceWeights } from "../../engine/network/reference.js";
import { loadReference } from "../../engine/network/reference-load.js";
import { type RopeScaling, yarnRange } from "../../engine/rope.js";
import { temporaryDirectory } from "../end-to-end/derive.test.helper.js";
import { ALL_MISSED, GELU_TYPICAL, gateOf, misses, WIDE } from "./families.test.helper.js";
import { type FamilyModel, isGgufOnly, makeFamilyModel, SHAPES, type Shape } from "./model.js";
import { FamilyNetwork, rmsNorm, TableGelu } from "./network.js";
import { compare, type Difference, readOutputs, type WindowLogits } from "./outputs.js";
import { writeFamilyGguf } from "./write-gguf.js";
import { writeFamilySafetensors } from "./write-safetensors.js";

/** More than enough: each position of a wrong network tells. */
const TOKENS = 16;

/** What is wrong with a network. */
interface Mistake {
  readonly config?: (config: ModelConfig) => ModelConfig;
  readonly layer?: (layer: { readonly mixer: ReferenceAttention; readonly feedForward: ReferenceLayer["feedForward"] }) => {
    readonly mixer?: Partial<ReferenceAttention>;
    readonly feedForward?: Partial<ReferenceLayer["feedForward"]>;
  };
  readonly weights?: (weights: ReferenceWeights) => ReferenceWeights;
  /** It changes how far logits lie apart and not, or hardly, which is the larger. */
  readonly keepsOrder?: true;
  /** Inputs of ternary layers in 8 bits. */
  readonly int8?: boolean;
  /** The SafeTensors instead of the GGUF. */
  readonly safetensors?: boolean;
}

const silu: Mistake = { config: (config) => ({ ...config, activation: "relu2" }) };
const theta: Mistake = { config: (config) => ({ ...config, ropeTheta: 100 * config.ropeTheta }) };

const scaling = (changes: Partial<RopeScaling>): Mistake => ({
  config: (config) => ({ ...config, ropeScaling: { ...config.ropeScaling!, ...changes } }),
});

/** The mistakes that each shape's model must show. */
const MISTAKES: Readonly<Record<string, Readonly<Record<string, Mistake>>>> = {
  bitnet: {
    "ReLU² instead of SiLU": silu,
    "no attention sub-norm": { layer: () => ({ mixer: { attnSubNorm: undefined } }) },
    "no feed-forward sub-norm": { layer: () => ({ feedForward: { ffnSubNorm: undefined } }) },
    "norms before and behind attention exchanged": {
      layer: ({ mixer }) => ({ mixer: { attnNorm: mixer.attnSubNorm!, attnSubNorm: mixer.attnNorm } }),
    },
    "q and k taken for permuted": { config: (config) => ({ ...config, rope: "norm" }) },
    "RoPE of another base": theta,
    "activations in 8 bits": { int8: true },
  },
  llama: {
    "ReLU² instead of SiLU": silu,
    "q and k left permuted": { config: (config) => ({ ...config, rope: "neox" }) },
    "q and k of SafeTensors taken for permuted": { safetensors: true, config: (config) => ({ ...config, rope: "norm" }) },
    "scales taken for their inverses": {
      safetensors: true,
      config: (config) => ({ ...config, packing: { mode: "offline", inverseScale: false } }),
    },
    "the embedding as head": { weights: (weights) => ({ ...weights, head: weights.embedding }) },
    "norms before attention and feed-forward exchanged": {
      layer: ({ mixer, feedForward }) => ({ mixer: { attnNorm: feedForward.ffnNorm }, feedForward: { ffnNorm: mixer.attnNorm } }),
    },
    "RoPE of another base": theta,
    "activations in 8 bits": { int8: true },
  },
  "llama-scaled": {
    "scaling of RoPE ignored": { safetensors: true, config: (config) => ({ ...config, ropeFactors: undefined }) },
    "factors of 1": { config: (config) => ({ ...config, ropeFactors: config.ropeFactors!.map(() => 1) }) },
    "all of RoPE scaled": { config: (config) => ({ ...config, ropeFactors: config.ropeFactors!.map(() => 8) }) },
  },
  minicpm: {
    "the embedding not scaled": { config: (config) => ({ ...config, embeddingScale: 1 }) },
    "blocks not scaled": { config: (config) => ({ ...config, residualScale: 1 }) },
    "the default for blocks": { config: (config) => ({ ...config, residualScale: 1.4 / Math.sqrt(config.layers) }) },
    "logits not divided": { keepsOrder: true, config: (config) => ({ ...config, logitScale: 1 }) },
    "logits multiplied": { keepsOrder: true, config: (config) => ({ ...config, logitScale: 1 / config.logitScale }) },
    "q and k left permuted": { config: (config) => ({ ...config, rope: "neox" }) },
    "activations in 8 bits": { keepsOrder: true, int8: true, config: (config) => ({ ...config, activations: "int8" }) },
  },
  gemma3: {
    "the embedding not scaled": { config: (config) => ({ ...config, embeddingScale: 1 }) },
    "the embedding scaled by the hidden size": { config: (config) => ({ ...config, embeddingScale: config.hiddenSize }) },
    "SiLU instead of GELU": { config: (config) => ({ ...config, activation: "silu" }) },
    "no norm behind attention": { layer: () => ({ mixer: { attnPostNorm: undefined } }) },
    "no norm behind the feed-forward block": { layer: () => ({ feedForward: { ffnPostNorm: undefined } }) },
    "norms before and behind attention exchanged": {
      layer: ({ mixer }) => ({ mixer: { attnNorm: mixer.attnPostNorm!, attnPostNorm: mixer.attnNorm } }),
    },
    "the norm behind attention taken for the feed-forward block's": {
      layer: ({ mixer, feedForward }) => ({ mixer: { attnPostNorm: feedForward.ffnNorm }, feedForward: { ffnNorm: mixer.attnPostNorm! } }),
    },
    "1 + w twice": { config: (config) => ({ ...config, normsFromOne: true }) },
    "w of SafeTensors in the place of 1 + w": { safetensors: true, config: (config) => ({ ...config, normsFromOne: false }) },
    "neither norm of q and k": { layer: () => ({ mixer: { qNorm: undefined, kNorm: undefined } }) },
    "q and k taken for permuted": { config: (config) => ({ ...config, rope: "norm" }) },
    "RoPE of another base": theta,
    "activations in 8 bits": { int8: true, config: (config) => ({ ...config, activations: "int8" }) },
  },
  "qwen3-yarn": {
    "YaRN ignored": { config: (config) => ({ ...config, ropeScaling: undefined }) },
    "YaRN's frequencies without its attention factor": scaling({ attention: 1 }),
    "YaRN's attention factor without its frequencies": scaling({ type: "linear", factor: 1, ramp: undefined }),
    "all pairs stretched": scaling({ type: "linear", ramp: undefined }),
    "a ramp of the stretched context": scaling({ ramp: { originalContext: 512, fast: 32, slow: 1, truncate: true } }),
    "a ramp over dimensions instead of pairs": {
      config: (config) => {
        const { factor, attention, ramp } = config.ropeScaling!;
        const [low, high] = yarnRange(config.ropeTheta, config.headDim, ramp!);
        const ropeFactors = Array.from({ length: config.headDim / 2 }, (_, pair) => {
          const share = Math.min(Math.max((2 * pair - low) / (high - low), 0), 1);
          return 1 / (1 - share + share / factor);
        });
        return { ...config, ropeFactors, ropeScaling: { type: "linear", factor: 1, attention, ramp: undefined } };
      },
    },
  },
  qwen3: {
    "ReLU² instead of SiLU": silu,
    "no norm of q": { layer: ({ mixer }) => ({ mixer: { qNorm: mixer.qNorm!.map(() => 1) } }) },
    "no norm of k": { layer: ({ mixer }) => ({ mixer: { kNorm: mixer.kNorm!.map(() => 1) } }) },
    "neither norm": { layer: () => ({ mixer: { qNorm: undefined, kNorm: undefined } }) },
    "norms of q and k exchanged": { layer: ({ mixer }) => ({ mixer: { qNorm: mixer.kNorm, kNorm: mixer.qNorm } }) },
    "q and k taken for permuted": { config: (config) => ({ ...config, rope: "norm" }) },
    "RoPE of another base": theta,
    "activations in 8 bits": { int8: true, config: (config) => ({ ...config, activations: "int8" }) },
  },
};

/** The engine's scalar path on a family's file, with a mistake in it. */
async function mistaken(path: string, ids: readonly number[], mistake: Mistake): Promise<WindowLogits> {
  const checkpoint = await openCheckpoint(path);
  const read = await readConfig(checkpoint);
  const config = mistake.config?.(read) ?? read;
  const loaded = loadReference(readWeights(checkpoint, config), config);
  await checkpoint.close();
  const changed = mistake.weights?.(loaded) ?? loaded;
  const weights = {
    ...changed,
    layers: changed.layers.map((layer) => {
      const mixer = attentionOf(layer);
      const wrong = mistake.layer?.({ ...layer, mixer });
      return { mixer: { ...mixer, ...wrong?.mixer }, feedForward: { ...layer.feedForward, ...wrong?.feedForward } };
    }),
  };
  const reference = new Reference(config, weights, mistake.int8 ?? false, floatProducts());
  const cache = new ReferenceCache(config, ids.length);
  const rows = ids.map((token, position) => ({ token, position, cache }));
  return reference.logits(reference.outputNorm(reference.forward(rows)));
}

describe.each(SHAPES.filter(({ name }) => name in MISTAKES))("$name: each wrong network misses the gate by a wide margin", (shape) => {
  const directory = temporaryDirectory();
  afterAll(directory.remove);
  const model = makeFamilyModel(shape);
  const ids = model.windows[0]!.slice(0, TOKENS);
  const stored = readOutputs(shape.name);
  const gate = gateOf(shape);
  const verdict = (logits: WindowLogits): Difference => compare(stored, model.windows, [logits]);
  const written: Promise<Files> = files(directory.path, model);

  it("the right one passes", async () => {
    const { gguf, safetensors } = await written;
    expect(verdict(await mistaken(gguf, ids, {})).logit).toBeLessThan(gate.logit);
    if (safetensors !== undefined) expect(verdict(await mistaken(safetensors, ids, {})).logit).toBeLessThan(gate.logit);
  });

  it.each(Object.entries(MISTAKES[shape.name]!))("%s", async (_, mistake) => {
    const { gguf, safetensors } = await written;
    expect(misses(verdict(await mistaken(mistake.safetensors ? safetensors! : gguf, ids, mistake)), gate)).toEqual({
      ...ALL_MISSED,
      tau: !mistake.keepsOrder,
    });
  });
});

interface Files {
  readonly gguf: string;
  /** Undefined: the family has none. */
  readonly safetensors: string | undefined;
}

async function files(directory: string, model: FamilyModel): Promise<Files> {
  return {
    gguf: await writeFamilyGguf(join(directory, "model.gguf"), model, "I2_S"),
    safetensors: isGgufOnly(model.shape) ? undefined : await writeFamilySafetensors(join(directory, "safetensors"), model),
  };
}

const shapeOf = (name: string): Shape => SHAPES.find((shape) => shape.name === name)!;

/** The stream scaled in place of what is added to it. */
class StreamScaled extends FamilyNetwork {
  protected override added(x: Float64Array, delta: Float64Array, factor: number): Float64Array {
    return x.map((value, i) => factor * value + delta[i]!);
  }
}

/** Norms of heads where they don't belong: behind the rotation. */
class NormsBehindRope extends FamilyNetwork {
  protected override placed(x: Float64Array, norm: Float32Array | undefined, position: number): Float64Array {
    return rmsNorm(this.rotated(x, position), norm!, shapeOf("qwen3").eps);
  }
}

/** Gemma's norms behind blocks of the sum in place of what is added. */
class NormsBehindSum extends FamilyNetwork {
  protected override added(x: Float64Array, delta: Float64Array, factor: number, norm: Float32Array): Float64Array {
    return rmsNorm(super.added(x, delta, factor), norm, shapeOf("gemma3").eps);
  }
}

/** x · Φ(x). The error function by its series: Σ (−1)^k z^(2k+1) / (k!(2k+1)) · 2/√π. */
class ErfGelu extends TableGelu {
  protected override gelu(x: number): number {
    const z = Math.min(Math.abs(x) / Math.SQRT2, 4);
    let term = z;
    let sum = z;
    for (let k = 1; k < 80; k++) {
      term *= (-z * z) / k;
      sum += term / (2 * k + 1);
    }
    return 0.5 * x * (1 + (Math.sign(x) * 2 * sum) / Math.sqrt(Math.PI));
  }
}

describe("what only the network in f64 can be told to do wrong", () => {
  it("minicpm: the residual stream scaled in place of the blocks", () => {
    const model = makeFamilyModel(shapeOf("minicpm"));
    const logits = new StreamScaled(model, false).logits(model.windows[0]!.slice(0, TOKENS));
    expect(misses(compare(readOutputs("minicpm"), model.windows, [logits]))).toEqual(ALL_MISSED);
  });

  it("gemma3: norms behind blocks after the sum", () => {
    const model = makeFamilyModel(shapeOf("gemma3"));
    const logits = new NormsBehindSum(model, false).logits(model.windows[0]!.slice(0, TOKENS));
    expect(misses(compare(readOutputs("gemma3"), model.windows, [logits]), gateOf(model.shape))).toEqual(ALL_MISSED);
  });

  it("gemma3: GELU of the error function, beside llama.cpp's table of the tanh form", () => {
    const model = makeFamilyModel(shapeOf("gemma3"));
    const logits = new ErfGelu(model, false).logits(model.windows[0]!.slice(0, TOKENS));
    expect(compare(readOutputs("gemma3"), model.windows, [logits]).typicalLogit).toBeGreaterThan(WIDE * GELU_TYPICAL);
  });

  it("qwen3: norms behind RoPE", () => {
    const model = makeFamilyModel(shapeOf("qwen3"));
    const logits = new NormsBehindRope(model, false).logits(model.windows[0]!.slice(0, TOKENS));
    expect(misses(compare(readOutputs("qwen3"), model.windows, [logits]))).toEqual(ALL_MISSED);
  });

  it.each(["qwen3-groups-64", "qwen3-groups-128"])("%s: each group's scale taken from its neighbour", (name) => {
    const model = makeFamilyModel(shapeOf(name));
    for (const { linears } of model.layers) for (const { scales } of Object.values(linears)) scales.set(scales.slice(0, -1), 1);
    const logits = new FamilyNetwork(model, false).logits(model.windows[0]!.slice(0, TOKENS));
    expect(misses(compare(readOutputs(name), model.windows, [logits]))).toEqual(ALL_MISSED);
  });
});
