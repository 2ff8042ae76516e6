/**
 * What files say of Gemma 3 beyond other networks: windows of attention, and a base of RoPE for the layers that have one. Up to a window's length nothing
 * is left out, so such a model runs with a context that ends there, if its layers rotate alike. (llama.cpp, src/models/gemma3.cpp; transformers,
 * models/gemma3.)
 */
import type { Checkpoint, MetadataValue } from "../container/checkpoint.js";
import { quote, show } from "../container/quote.js";
import { isObject, type JsonObject } from "../container/sidecar.js";
import { countOf, positive, refuse } from "./refusal.js";
import { ROPE_FACTORS } from "./rope.js";

/** What layers with a window rotate by where no key says it. */
const LOCAL_THETA = 10_000;

/** Keys of GGUF that are read elsewhere, or change nothing that is computed here. */
const KNOWN_KEYS: ReadonlySet<string> = new Set([
  ...["block_count", "context_length", "embedding_length", "feed_forward_length", "vocab_size", "hidden_activation", "pooling_type"],
  ...["key_length", "value_length", "head_count", "head_count_kv", "layer_norm_rms_epsilon", "causal"].map((key) => `attention.${key}`),
  ...["attention.sliding_window", "attention.sliding_window_pattern", "rope.freq_base", "rope.freq_base_swa", "rope.dimension_count"],
  ...["expert_count", "nextn_predict_layers", "attn_logit_softcapping", "final_logit_softcapping"],
  ...["type", "factor", "attn_factor", "original_context_length"].map((key) => `rope.scaling.${key}`),
  "rope.scale_linear",
]);

/** llama.cpp takes a file with so many for Gemma 3 27B, whose scores are scaled otherwise. */
const LAYERS_OF_27B = 62;

/** Sizes that other keys state. */
interface Sizes {
  readonly headDim: number;
  readonly hiddenSize: number;
  readonly layers: number;
  readonly ropeTheta: number;
}

const isNear = (value: unknown, wanted: number): boolean => typeof value === "number" && Math.abs(value / wanted - 1) < 1e-6;

/**
 * Checks a GGUF of Gemma 3. A key that isn't known is refused: this family's files vary in what networks they mean.
 * @returns the window of its layers; undefined: they see all
 * @throws BitnetError unsupported, naming the key
 */
export function ggufGemma({ metadata, tensors, path }: Checkpoint, architecture: string, sizes: Sizes): number | undefined {
  const { headDim, hiddenSize, layers, ropeTheta } = sizes;
  /** What the network does anyway, said. */
  const same: Readonly<Record<string, readonly [number, what: string]>> = {
    embedding_scale: [Math.sqrt(hiddenSize), "the root of the hidden size"],
    "attention.scale": [1 / Math.sqrt(headDim), "1 over the root of the head size"],
    query_pre_attn_scalar: [headDim, "the head size"],
    "attention.query_pre_attn_scalar": [headDim, "the head size"],
  };
  const value = (key: string): MetadataValue | undefined => metadata.get(`${architecture}.${key}`);
  for (const [name, said] of metadata) {
    if (!name.startsWith(`${architecture}.`)) continue;
    const key = name.slice(architecture.length + 1);
    if (KNOWN_KEYS.has(key)) continue;
    const wanted = Object.hasOwn(same, key) ? same[key] : undefined;
    if (wanted === undefined) return refuse(path, `${quote(name)} is ${show(said)}, and what that means for ${architecture} is not known`);
    if (!isNear(said, wanted[0])) return refuse(path, `${name} is ${show(said)}, but only ${wanted[1]} (${wanted[0]}) is supported`);
  }
  if (layers === LAYERS_OF_27B)
    refuse(
      path,
      `${architecture}.block_count is ${layers}, as of Gemma 3 27B, whose attention is scaled in another way that is not supported`,
    );
  const window = countOf(value("attention.sliding_window") ?? 0, `${architecture}.attention.sliding_window`, path);
  if (window === 0) return undefined;
  const key = `${architecture}.rope.freq_base_swa`;
  const local = positive(value("rope.freq_base_swa") ?? LOCAL_THETA, key, path);
  if (local !== ropeTheta) return refuseBases(path, `${architecture}.attention.sliding_window is ${window}`, local, ropeTheta);
  if (tensors.has(ROPE_FACTORS))
    refuse(path, `tensor ${ROPE_FACTORS} scales RoPE, but with a sliding window for some layers only, which is not supported`);
  for (const scaling of ["rope.scaling.factor", "rope.scale_linear", "rope.scaling.attn_factor"]) {
    const said = value(scaling);
    if (said !== undefined && said !== 0 && said !== 1)
      refuse(
        path,
        `${architecture}.${scaling} is ${show(said)}, but with a sliding window it holds for some layers only, which is not supported`,
      );
  }
  return window;
}

function refuseBases(path: string, window: string, local: number, theta: number): never {
  return refuse(path, `${window}, so that some layers rotate by the base ${local} and others by ${theta}, which is not supported`);
}

/** transformers' defaults, which files may leave out. */
const HF = { theta: 1_000_000, window: 4096, pattern: 6, scalar: 256 };

/** The size of heads, where config.json doesn't say it. */
export const GEMMA_HEAD = 256;

/** What config.json says of Gemma 3. */
export interface HfGemma {
  readonly window: number | undefined;
  /** config.json with the RoPE of all layers where it has one for each kind. */
  readonly json: JsonObject;
}

/** Checks a config.json of Gemma 3. @throws BitnetError unsupported, naming the key */
export function hfGemma(json: JsonObject, headDim: number, layers: number, path: string): HfGemma {
  const name = (key: string): string => `config.json: ${key}`;
  for (const key of ["attn_logit_softcapping", "final_logit_softcapping", "use_bidirectional_attention"])
    if (json[key] != null && json[key] !== false) refuse(path, `${name(key)} is ${show(json[key])}, which is not supported`);
  const scalar = json.query_pre_attn_scalar ?? HF.scalar;
  if (scalar !== headDim)
    refuse(path, `${name("query_pre_attn_scalar")} is ${show(scalar)}, but only the head size (${headDim}) is supported`);

  const kinds = layerKinds(json, layers, path);
  const ropes = isObject(json.rope_parameters) ? json.rope_parameters : {};
  const isByKind = isObject(ropes.full_attention) || isObject(ropes.sliding_attention);
  const global = isByKind ? ropes.full_attention : (json.rope_parameters ?? json.rope_scaling);
  const theta = positive((isObject(global) ? global.rope_theta : undefined) ?? json.rope_theta ?? HF.theta, name("rope_theta"), path);
  const whole = { ...json, rope_theta: theta, ...(isByKind && { rope_parameters: ropes.full_attention }) };
  if (!kinds.has("sliding_attention")) return { window: undefined, json: whole };

  const local = isByKind && isObject(ropes.sliding_attention) ? ropes.sliding_attention : {};
  const localTheta = positive(local.rope_theta ?? json.rope_local_base_freq ?? LOCAL_THETA, name("rope_local_base_freq"), path);
  if (localTheta !== theta) refuseBases(path, 'config.json: layer_types has "sliding_attention"', localTheta, theta);
  for (const [key, scaling] of [
    ["rope_parameters.sliding_attention", local],
    [json.rope_parameters == null ? "rope_scaling" : "rope_parameters", isObject(global) ? global : {}],
  ] as const) {
    const type = scaling.rope_type ?? scaling.type ?? "default";
    if (type !== "default") refuse(path, `${name(key)} has the type ${show(type)}, which is not supported beside sliding windows`);
  }
  return { window: positive(json.sliding_window ?? HF.window, name("sliding_window"), path), json: whole };
}

/** The kinds of attention that the layers have. */
function layerKinds(json: JsonObject, layers: number, path: string): ReadonlySet<unknown> {
  if (Array.isArray(json.layer_types)) {
    for (const kind of json.layer_types as unknown[])
      if (kind !== "full_attention" && kind !== "sliding_attention")
        refuse(path, `config.json: layer_types has ${show(kind)}, but only full_attention and sliding_attention are supported`);
    if (json.layer_types.length < layers)
      refuse(path, `config.json: layer_types has ${json.layer_types.length} entries, but num_hidden_layers is ${layers}`);
    return new Set(json.layer_types.slice(0, layers) as unknown[]);
  }
  // Every sixth layer sees all, where it isn't said; the first one does only if all do.
  const pattern = positive(
    json.sliding_window_pattern ?? json._sliding_window_pattern ?? HF.pattern,
    "config.json: sliding_window_pattern",
    path,
  );
  return new Set([pattern === 1 ? "full_attention" : "sliding_attention"]);
}
