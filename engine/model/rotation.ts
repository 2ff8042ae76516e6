/** `prism.hadamard.*`, by which PrismML's GGUF files say that weights are stored for rotated inputs (Bonsai 2). */
import type { Checkpoint, MetadataValue } from "../container/checkpoint.js";
import { quote, show } from "../container/quote.js";
import { StringList } from "../container/string-list.js";
import { BitnetError } from "../errors.js";
import { type LinearRole, makeLayer, SHARED_INPUTS } from "./layers.js";
import type { ModelConfig, Rotation } from "./model-config.js";
import { tensorNames } from "./names.js";
import { refuse } from "./refusal.js";

const PREFIX = "prism.hadamard.";
/** All that is understood. A key beside them may mean anything. */
const KEYS = [
  ...["version", "block_size", "transform", "axis", "sign_mode", "sign_widths", "sign_values"],
  ...["weight_names", "inverse_weight_names", "gdn_v_grouped", "tied_output"],
];
/** Architectures that such files are known of. */
const ROTATED_ARCHITECTURES = ["llama", "qwen3", "qwen35"];
/** Smaller blocks are of no use; larger ones than any width are an error by themselves. */
const LEAST_BLOCK = 4;

/** What a file says of rotated weights; undefined: nothing. @throws BitnetError unsupported or file, naming the key: it can't be followed exactly */
export function ggufRotation(checkpoint: Checkpoint, config: Omit<ModelConfig, "rotation">): Rotation | undefined {
  const { metadata, tensors, path } = checkpoint;
  const found = [...metadata.keys()].filter((key) => key.startsWith(PREFIX));
  if (found.length === 0) return undefined;
  if (!ROTATED_ARCHITECTURES.includes(config.architecture) || config.innerNorms) {
    const known = ROTATED_ARCHITECTURES.join(", ");
    refuse(
      path,
      `the metadata ${quote(found[0]!)} says that the weights are rotated, which is supported for the architectures ${known} only`,
    );
  }
  const unknown = found.find((key) => !KEYS.includes(key.slice(PREFIX.length)));
  if (unknown !== undefined) refuse(path, `the metadata ${quote(unknown)} is unknown, and may change how rotated weights are used`);
  const value = (key: string): MetadataValue | undefined => metadata.get(PREFIX + key);
  const fail = (key: string, what: string): never => {
    throw new BitnetError("file", `${path}: ${PREFIX}${key} ${what}`, { file: path });
  };
  const only = (key: string, ...supported: readonly (string | number)[]): string | number => {
    const said = value(key);
    if (said === undefined) return fail(key, "is missing, but other keys say that weights are rotated");
    const index = supported.indexOf(said as string);
    return index < 0 ? refuse(path, `${PREFIX}${key} is ${show(said)}; supported: ${supported.join(", ")}`) : supported[index]!;
  };
  const flag = (key: string): boolean => {
    const said = value(key) ?? false;
    return typeof said === "boolean" ? said : fail(key, `must be true or false, not ${show(said)}`);
  };
  const numbers = (key: string): readonly number[] => {
    const said = value(key) ?? [];
    const list = typeof said === "object" && !(said instanceof StringList) ? Array.from<unknown>(said) : undefined;
    if (list?.every((one) => Number.isInteger(one))) return list as number[];
    return fail(key, `must be a list of whole numbers, not ${show(said)}`);
  };
  const names = (key: string): ReadonlySet<string> => {
    const said = value(key) ?? [];
    const list = said instanceof StringList ? [...said] : Array.isArray(said) && said.length === 0 ? [] : undefined;
    if (list === undefined) return fail(key, `must be a list of names, not ${show(said)}`);
    const seen = new Set<string>();
    for (const name of list) {
      if (seen.has(name)) fail(key, `has ${quote(name)} twice`);
      seen.add(name);
    }
    return seen;
  };

  const version = only("version", 1, 2);
  only("transform", "normalized-sylvester-walsh-hadamard");
  only("axis", "input-last-dimension");
  const explicit = only("sign_mode", "explicit", "identity") === "explicit";
  const blockSize = value("block_size");
  if (typeof blockSize !== "number" || !(blockSize >= LEAST_BLOCK) || !Number.isInteger(Math.log2(blockSize)))
    return fail("block_size", `is ${show(blockSize)}, but a power of 2 from ${LEAST_BLOCK} on is required`);

  const given = signsOf(numbers("sign_widths"), numbers("sign_values"), fail);
  if (explicit && given.size === 0) fail("sign_widths", "is empty, but the sign mode is explicit");
  if (!explicit && given.size > 0) fail("sign_widths", "is not empty, but the sign mode is identity");
  const signs = new Map<number, Int8Array>();
  const rotates = (name: string): void => {
    const tensor = tensors.get(name);
    const width =
      tensor?.shape.length === 2 ? tensor.shape[1]! : fail("weight_names", `has ${quote(name)}, which is no weight of the file`);
    if (width % blockSize !== 0) fail("block_size", `is ${blockSize}, but ${quote(name)} has ${width} inputs, which is no multiple of it`);
    const own = explicit ? given.get(width) : new Int8Array(width).fill(1);
    signs.set(width, own ?? fail("sign_widths", `has no ${width}, but ${quote(name)} has ${width} inputs`));
  };

  const weights = names("weight_names");
  const inverse = names("inverse_weight_names");
  if (weights.size === 0) fail("weight_names", "is empty or missing, but other keys say that weights are rotated");
  const { embedding, head } = tensorNames("gguf", config.architecture, config);
  const both = [...inverse].find((name) => weights.has(name));
  if (both !== undefined) fail("inverse_weight_names", `has ${quote(both)}, which is in weight_names, too`);
  for (const name of inverse) {
    if (name !== embedding) refuse(path, `${PREFIX}inverse_weight_names has ${quote(name)}; only ${embedding} is supported`);
    rotates(name);
  }
  const layers = namesOfLayers(config);
  const known = new Set([head, ...layers.flatMap((layer) => [...layer.values()])]);
  for (const name of weights) {
    rotates(name);
    if (!known.has(name)) refuse(path, `${PREFIX}weight_names has ${quote(name)}; only ternary layers and ${head} are supported`);
  }
  for (const layer of layers) {
    for (const roles of SHARED_INPUTS) {
      const sharing = roles.flatMap((role) => layer.get(role) ?? []);
      const without = sharing.find((name) => !weights.has(name));
      if (without !== undefined && sharing.some((name) => weights.has(name)))
        refuse(path, `${PREFIX}weight_names has no ${quote(without)}, but others that have the same input: that is not supported`);
    }
  }

  const tied = flag("tied_output");
  const isEmbedding = inverse.size > 0;
  if (version === 1 && tied) fail("tied_output", "is true, which version 1 doesn't have");
  if (version === 2) {
    if (!tied) fail("tied_output", "is false or missing, but version 2 requires it");
    if (!config.tiedHead) fail("tied_output", `is true, but there is a tensor ${head}`);
    if (!isEmbedding) fail("inverse_weight_names", `doesn't have ${embedding}, which is the output head`);
  } else if (isEmbedding && config.tiedHead) {
    fail("inverse_weight_names", `has ${embedding}, but there is no ${head}, which version 1 requires then`);
  }
  const grouped = flag("gdn_v_grouped");
  const plain = layers.flatMap((layer) => layer.get("deltaOut") ?? []).find((name) => !weights.has(name));
  if (grouped && plain !== undefined)
    refuse(path, `${PREFIX}gdn_v_grouped is true, but weight_names has no ${quote(plain)}: that is not supported`);
  const linears = layers.map((layer) => new Set([...layer].filter(([, name]) => weights.has(name)).map(([role]) => role)));
  return { blockSize, signs, linears, embedding: isEmbedding, head: tied || weights.has(head), grouped };
}

/** The sign vectors, which lie one behind another. */
function signsOf(
  widths: readonly number[],
  values: readonly number[],
  fail: (key: string, what: string) => never,
): ReadonlyMap<number, Int8Array> {
  const signs = new Map<number, Int8Array>();
  let from = 0;
  for (const width of widths) {
    if (width <= 0) fail("sign_widths", `has ${width}, which is no width`);
    if (signs.has(width)) fail("sign_widths", `has ${width} twice`);
    signs.set(width, Int8Array.from(values.slice(from, from + width)));
    from += width;
  }
  if (from !== values.length) fail("sign_values", `has ${values.length} values, but sign_widths ${from} together`);
  const odd = values.find((sign) => sign !== 1 && sign !== -1);
  if (odd !== undefined) fail("sign_values", `has ${odd}, but only 1 and -1 are signs`);
  return signs;
}

/** [layers] the names of their ternary layers. */
function namesOfLayers(config: Omit<ModelConfig, "rotation">): ReadonlyMap<LinearRole, string>[] {
  const { layer: names } = tensorNames("gguf", config.architecture, config);
  return Array.from({ length: config.layers }, (_, index) => {
    const found = new Map<LinearRole, string>();
    makeLayer(
      { ...config, rotation: undefined },
      index,
      (role) => void found.set(role, names[role].replace("%", String(index))),
      () => {},
    );
    return found;
  });
}
