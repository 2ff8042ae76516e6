/** What files say about RoPE: its base and its scaling, in GGUF's keys and in config.json. */
import type { Checkpoint, MetadataValue } from "../container/checkpoint.js";
import { show } from "../container/quote.js";
import { isObject, type JsonObject } from "../container/sidecar.js";
import { StringList } from "../container/string-list.js";
import { BitnetError } from "../errors.js";
import { type RopeScaling, ropeFrequencies, YARN_FAST, YARN_SLOW, type YarnRamp, yarnAttention, yarnRange } from "../rope.js";
import { positive, refuse } from "./refusal.js";

/** GGUF's tensor of what the frequencies of RoPE are divided by. */
export const ROPE_FACTORS = "rope_freqs.weight";

/** LongRoPE's two: for texts within the context that the model was first trained on, and for longer ones. */
export const LONG_FACTORS = { short: "rope_factors_short.weight", long: "rope_factors_long.weight" } as const;

/** What frequencies are divided by. Below 1, angles would leave the range in which their sines are exact, if positions went on to the limit. */
export async function readRopeFactors(checkpoint: Checkpoint, headDim: number): Promise<readonly number[] | undefined> {
  return readFactors(checkpoint, ROPE_FACTORS, headDim, 1);
}

/** LongRoPE's factors are a little below 1 for some pairs; the contexts of its models are short. */
const LEAST_LONG_FACTOR = 0.5;

/**
 * LongRoPE's factors in GGUF. Which of the two hold depends on the length of a text; here always the short ones, so where the long ones are others, the
 * context ends with the original one.
 */
export async function readLongFactors(
  checkpoint: Checkpoint,
  headDim: number,
  original: () => number,
  contextLength: number,
): Promise<{ readonly ropeFactors: readonly number[]; readonly contextLength: number } | undefined> {
  const [short, long] = [
    await readFactors(checkpoint, LONG_FACTORS.short, headDim, LEAST_LONG_FACTOR),
    await readFactors(checkpoint, LONG_FACTORS.long, headDim, LEAST_LONG_FACTOR),
  ];
  if (short === undefined && long === undefined) return undefined;
  if (short === undefined || long === undefined)
    throw new BitnetError("tensor", `${checkpoint.path}: tensor ${short ? LONG_FACTORS.long : LONG_FACTORS.short} is missing`, {
      file: checkpoint.path,
    });
  const isSame = short.every((factor, i) => factor === long[i]);
  return { ropeFactors: short, contextLength: isSame ? contextLength : Math.min(contextLength, original()) };
}

async function readFactors(checkpoint: Checkpoint, called: string, headDim: number, least: number): Promise<readonly number[] | undefined> {
  const tensor = checkpoint.tensors.get(called);
  if (tensor === undefined) return undefined;
  const { file, name, type, shape } = tensor;
  const fail = (what: string): never => {
    throw new BitnetError("tensor", `${file}: tensor ${name} ${what}`, { file, tensor: name, offset: tensor.offset });
  };
  if (type !== "F32" || shape.length !== 1 || shape[0] !== headDim / 2)
    fail(`is ${type} [${shape.join(", ")}], but must be F32 [${headDim / 2}]`);
  const factors = Array.from(new Float32Array((await checkpoint.read(tensor, 0, tensor.byteLength)).buffer));
  for (const factor of factors)
    if (!(factor >= least && Number.isFinite(factor))) fail(`contains ${factor}, but at least ${least} is required`);
  return factors;
}

/** A number that is used as f32. */
function positiveF32(value: unknown, key: string, path: string): number {
  const single = Math.fround(positive(value, key, path));
  if (single > 0 && Number.isFinite(single)) return single;
  return refuse(path, `${key} is ${show(value)}, which is outside the range of f32`);
}

/** By what positions are divided. Below 1, angles would leave the range in which their sines are exact. */
function factorOf(value: unknown, key: string, path: string): number {
  const factor = positiveF32(value, key, path);
  return factor >= 1 ? factor : refuse(path, `${key} is ${show(value)}, but at least 1 is required`);
}

/** Positions that a model was first trained on. */
function originalContextOf(value: unknown, key: string, path: string): number {
  const context = positive(value, key, path);
  if (Number.isInteger(context) && context < 2 ** 32) return context;
  return refuse(path, `${key} is ${show(value)}, which is not a number of positions`);
}

/** YaRN counts pairs by logarithms of the base. */
function requireBase(theta: number, path: string): void {
  if (theta <= 1) refuse(path, `ropeTheta is ${theta}, but yarn requires more than 1`);
}

function scalingOf(type: RopeScaling["type"], factor: number, attention: number, ramp: YarnRamp | undefined): RopeScaling | undefined {
  if (factor > 1) return { type, factor, attention, ramp };
  return attention === 1 ? undefined : { type: "linear", factor, attention, ramp: undefined };
}

/** Keys that llama.cpp reads for other architectures only: other values than these would mean one model here and another there. */
const YARN_NEUTRAL: Readonly<Record<string, (value: number) => boolean>> = {
  "rope.scaling.yarn_ext_factor": (value) => value === 1 || value < 0,
  "rope.scaling.yarn_attn_factor": (value) => value === 1,
  "rope.scaling.yarn_beta_fast": (value) => value === YARN_FAST,
  "rope.scaling.yarn_beta_slow": (value) => value === YARN_SLOW,
  "rope.scaling.yarn_log_multiplier": (value) => value === 0,
};

/**
 * GGUF's scaling of RoPE, with the defaults of llama.cpp: a factor without a type is linear; a factor of 0 is none; `attn_factor` counts whatever
 * the type; an original context that is missing or 0 is the model's.
 * @param value of a key without the architecture's name
 * @param hasLongFactors the file has LongRoPE's factors
 */
export function ggufRopeScaling(
  value: (key: string) => MetadataValue | undefined,
  architecture: string,
  theta: number,
  contextLength: number,
  hasLongFactors: boolean,
  path: string,
): RopeScaling | undefined {
  const name = (key: string): string => `${architecture}.${key}`;
  const said = value("rope.scaling.type") ?? "linear";
  const type = said === "longrope" && hasLongFactors ? "none" : said; // all of it is in the factors
  if (type !== "none" && type !== "linear" && type !== "yarn") {
    return refuse(path, `${name("rope.scaling.type")} is ${show(type)}; supported are none, linear, yarn, and the tensor ${ROPE_FACTORS}`);
  }
  const factorKey = value("rope.scaling.factor") === undefined ? "rope.scale_linear" : "rope.scaling.factor";
  const saidFactor = value(factorKey) ?? 0;
  const factor = type === "none" || saidFactor === 0 ? 1 : factorOf(saidFactor, name(factorKey), path);
  const saidAttention = positiveF32(value("rope.scaling.attn_factor") ?? 1, name("rope.scaling.attn_factor"), path);
  if (type !== "yarn" || factor === 1) return scalingOf("linear", factor, saidAttention, undefined);
  for (const [key, isNeutral] of Object.entries(YARN_NEUTRAL)) {
    const said = value(key);
    if (said !== undefined && !(typeof said === "number" && isNeutral(said))) {
      refuse(
        path,
        `${name(key)} is ${show(said)}, which is not supported: llama.cpp ignores it for this architecture, other readers may not`,
      );
    }
  }
  requireBase(theta, path);
  const key = "rope.scaling.original_context_length";
  const originalContext = originalContextOf(value(key) || contextLength, name(key), path);
  const ramp = { originalContext, fast: YARN_FAST, slow: YARN_SLOW, truncate: true };
  return scalingOf("yarn", factor, Math.fround(saidAttention * yarnAttention(factor)), ramp);
}

/**
 * `rope.dimension_sections` of models whose RoPE has four streams of positions (interleaved M-RoPE): for text the first three are equal and the
 * fourth is 0, so that all is as ever, unless a pair follows the fourth. (ggml, GGML_ROPE_TYPE_IMROPE.)
 * @throws BitnetError unsupported: one does
 */
export function checkSections(metadata: ReadonlyMap<string, MetadataValue>, architecture: string, ropeSize: number, path: string): void {
  const key = `${architecture}.rope.dimension_sections`;
  const said = metadata.get(key);
  if (said === undefined) return;
  const sections = typeof said === "object" && !(said instanceof StringList) ? Array.from<unknown>(said) : [];
  const isSize = (size: unknown): boolean => Number.isInteger(size) && Number(size) >= 0;
  if (sections.length !== 4 || !sections.every(isSize)) refuse(path, `${key} is ${show(said)}, but four whole numbers are required`);
  const sizes = sections as number[];
  const total = sizes.reduce((sum, size) => sum + size, 0);
  for (let pair = 0; pair < ropeSize / 2; pair++) {
    const j = pair % Math.max(total, 1);
    if (j >= 3 * sizes[j % 3]!) refuse(path, `${key} is ${show(said)}, by which pair ${pair} turns with a position that text doesn't have`);
  }
}

/** What config.json says of a model besides RoPE's own keys. */
interface Surroundings {
  readonly headDim: number;
  readonly contextLength: number;
  /** Where the file says none. */
  readonly ropeTheta: number | undefined;
}

/** Base and scaling of RoPE: `rope_theta` and `rope_scaling`, or newer files' `rope_parameters` with both in it. */
export function hfRope(
  json: JsonObject,
  { headDim, contextLength, ropeTheta: fallback }: Surroundings,
  path: string,
): { ropeTheta: number; ropeFactors: readonly number[] | undefined; ropeScaling: RopeScaling | undefined } {
  const from = json.rope_parameters == null ? "rope_scaling" : "rope_parameters";
  const supported = `supported are the types default, linear, llama3 and yarn`;
  // Newer files may have settings for each kind of layer, of which there is one here.
  const isNested = isObject(json[from]) && isObject(json[from].full_attention) && Object.keys(json[from]).length === 1;
  const key = isNested ? `${from}.full_attention` : from;
  const said = (isNested ? (json[from] as JsonObject).full_attention : json[from]) ?? {};
  if (!isObject(said)) return refuse(path, `config.json: ${key} is ${show(said)}; ${supported}`);
  const name = (of: string): string => `config.json: ${key}.${of}`;
  const number = (of: string): number => positive(said[of], name(of), path);
  const ropeTheta = positive(said.rope_theta ?? json.rope_theta ?? fallback, "config.json: rope_theta", path);
  for (const [of, value] of Object.entries(said)) {
    if (isObject(value)) refuse(path, `${name(of)} is ${show(value)}, but settings for each kind of layer are not supported`);
  }
  for (const [of, value] of [
    ["config.json: partial_rotary_factor", json.partial_rotary_factor],
    [name("partial_rotary_factor"), said.partial_rotary_factor],
  ] as const) {
    if (value != null && value !== 1) refuse(path, `${of} is ${show(value)}, but only rotation of whole heads is supported`);
  }
  const plain = { ropeTheta, ropeFactors: undefined, ropeScaling: undefined };
  // The library's default, where nothing else in it would be scaling.
  const type = said.rope_type ?? said.type ?? (said.factor == null ? "default" : undefined);
  switch (type) {
    case "default":
      return plain;
    case "linear":
      return { ...plain, ropeScaling: scalingOf("linear", factorOf(said.factor, name("factor"), path), 1, undefined) };
    case "llama3": {
      const [factor, low, high] = [number("factor"), number("low_freq_factor"), number("high_freq_factor")];
      if (factor < 1 || low >= high) refuse(path, `config.json: ${key} is ${show(said)}; ${supported}`);
      const ropeFactors = llama3Factors(ropeTheta, headDim, factor, low, high, number("original_max_position_embeddings"));
      return { ...plain, ropeFactors };
    }
    case "yarn":
      return { ...plain, ropeScaling: hfYarn(said, key, { ropeTheta, headDim, contextLength }, json, path) };
    default:
      return refuse(path, `${name(said.rope_type == null && said.type != null ? "type" : "rope_type")} is ${show(type)}; ${supported}`);
  }
}

/**
 * YaRN as transformers reads it (modeling_rope_utils.py): the factor as stated, else the ratio of the contexts; `attention_factor`, else of
 * `mscale` and `mscale_all_dim`, else YaRN's own; falsy turns are the defaults.
 */
function hfYarn(
  said: JsonObject,
  key: string,
  { ropeTheta, headDim, contextLength }: Required<Surroundings>,
  json: JsonObject,
  path: string,
) {
  const name = (of: string): string => `config.json: ${key}.${of}`;
  const optional = (of: string, fallback: number): number => (said[of] ? positive(said[of], name(of), path) : fallback);
  const original = said.original_max_position_embeddings ?? json.original_max_position_embeddings;
  const originalContext = originalContextOf(original ?? contextLength, name("original_max_position_embeddings"), path);
  const ratio = original == null ? undefined : contextLength / originalContext;
  const factor = factorOf(said.factor ?? ratio, name("factor"), path);
  const { truncate = true } = said;
  if (typeof truncate !== "boolean") return refuse(path, `${name("truncate")} is ${show(truncate)}, but must be true or false`);
  const ramp = { originalContext, fast: optional("beta_fast", YARN_FAST), slow: optional("beta_slow", YARN_SLOW), truncate };
  requireBase(ropeTheta!, path);
  const [low, high] = yarnRange(ropeTheta!, headDim, ramp);
  if (low > high) {
    const { fast, slow } = ramp;
    refuse(path, `config.json: ${key}: beta_fast ${fast} and beta_slow ${slow} leave no ramp in a context of ${originalContext}`);
  }
  const weights = [optional("mscale", 0), optional("mscale_all_dim", 0)] as const;
  const own = weights[0] && weights[1] ? yarnAttention(factor, weights[0]) / yarnAttention(factor, weights[1]) : yarnAttention(factor);
  const attention = said.attention_factor == null ? Math.fround(own) : positiveF32(said.attention_factor, name("attention_factor"), path);
  return scalingOf("yarn", factor, attention, ramp);
}

/**
 * LLaMA-3's scaling (transformers, modeling_rope_utils.py): frequencies with a wave longer than length/low are divided by `factor`, those with one
 * shorter than length/high stay, and between the two the factor changes smoothly. Rounded to f32, as a GGUF holds them.
 * @returns [headDim/2] what to divide each frequency by
 */
export function llama3Factors(theta: number, headDim: number, factor: number, low: number, high: number, length: number): number[] {
  const frequencies = ropeFrequencies(theta, headDim, undefined);
  return Array.from(frequencies, (frequency) => {
    const turns = (length * frequency) / (2 * Math.PI);
    if (turns > high) return 1;
    if (turns < low) return Math.fround(factor);
    const smooth = (turns - low) / (high - low);
    return Math.max(1, Math.fround(1 / ((1 - smooth) / factor + smooth)));
  });
}
