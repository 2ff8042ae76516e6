/** The sizes of Gated DeltaNet layers, in which a position sees those before it through a state of fixed size. */
import type { MetadataValue } from "../container/checkpoint.js";
import { show } from "../container/quote.js";
import { StringList } from "../container/string-list.js";
import { BitnetError } from "../errors.js";
import { positive, refuse } from "./refusal.js";

/** What makes a network recurrent in some of its layers. */
export interface RecurrentConfig {
  /** [layers] whether each is one. */
  readonly layers: readonly boolean[];
  readonly keyHeads: number;
  /** A multiple of `keyHeads`: value head i belongs to key head i mod keyHeads. */
  readonly valueHeads: number;
  /** Of keys and values alike. */
  readonly headSize: number;
}

/** Positions that the convolution in front of a recurrent layer sees, its own included. No published model has another number. */
export const CONVOLUTION = 4;

/** What the output projection takes. */
export function deltaSize({ valueHeads, headSize }: RecurrentConfig): number {
  return valueHeads * headSize;
}

/** Channels of the convolution: queries, keys, values. */
export function convolved({ keyHeads, valueHeads, headSize }: RecurrentConfig): number {
  return (2 * keyHeads + valueHeads) * headSize;
}

/**
 * Where each value head stands in the input of the output projection, [valueHeads]: in its own place or, `grouped`, beside those that share its key
 * head.
 */
export function headPlaces({ keyHeads, valueHeads }: RecurrentConfig, grouped: boolean): number[] {
  const repeated = valueHeads / keyHeads;
  return Array.from({ length: valueHeads }, (_, head) => (grouped ? (head % keyHeads) * repeated + Math.floor(head / keyHeads) : head));
}

/** Floats of one layer's memory of a sequence: what the convolution has yet to see, and [valueHeads][headSize values][headSize keys]. */
export function stateFloats(recurrent: RecurrentConfig): { readonly convolution: number; readonly state: number } {
  const { valueHeads, headSize } = recurrent;
  return { convolution: (CONVOLUTION - 1) * convolved(recurrent), state: valueHeads * headSize * headSize };
}

/** Of every so many layers the last one has attention, where the file doesn't say. (llama.cpp, src/models/qwen35.cpp.) */
const ATTENTION_INTERVAL = 4;

/** Which layers are recurrent, and their sizes, in GGUF's keys. @param name the architecture's @throws BitnetError file or unsupported, naming the key */
export function ggufRecurrent(
  metadata: ReadonlyMap<string, MetadataValue>,
  name: string,
  layers: number,
  path: string,
): RecurrentConfig | undefined {
  const number = (key: string, fallback?: number): number => positive(metadata.get(`${name}.${key}`) ?? fallback, `${name}.${key}`, path);
  const isRecurrent = recurrentLayers(metadata, name, layers, path);
  if (!isRecurrent.includes(true)) return undefined;
  const [keyHeads, valueHeads, headSize] = [number("ssm.group_count"), number("ssm.time_step_rank"), number("ssm.state_size")];
  const [inner, taps] = [number("ssm.inner_size"), number("ssm.conv_kernel")];
  if (inner !== valueHeads * headSize)
    refuse(path, `${name}.ssm.inner_size is ${inner}, but ${valueHeads} heads of ${headSize} have ${valueHeads * headSize}`);
  if (taps !== CONVOLUTION) refuse(path, `${name}.ssm.conv_kernel is ${taps}, but only ${CONVOLUTION} is supported`);
  return { layers: isRecurrent, keyHeads, valueHeads, headSize };
}

function recurrentLayers(metadata: ReadonlyMap<string, MetadataValue>, name: string, layers: number, path: string): boolean[] {
  const key = `${name}.attention.recurrent_layers`;
  const said = metadata.get(key);
  if (said === undefined) {
    const every = `${name}.full_attention_interval`;
    const interval = positive(metadata.get(every) ?? ATTENTION_INTERVAL, every, path);
    if (!Number.isInteger(interval)) refuse(path, `${every} is ${interval}, which is not a whole number`);
    return Array.from({ length: layers }, (_, layer) => (layer + 1) % interval !== 0);
  }
  const listed: readonly unknown[] = typeof said === "object" && !(said instanceof StringList) ? Array.from<unknown>(said) : [];
  const isFlag = (value: unknown): boolean => typeof value === "boolean" || value === 0 || value === 1;
  if (listed.length < layers || !listed.every(isFlag))
    throw new BitnetError("file", `${path}: ${key} must be a list of true or false, one for each of ${layers} layers, not ${show(said)}`, {
      file: path,
    });
  return listed.slice(0, layers).map(Boolean);
}

/** What the kernels need of the sizes. @throws BitnetError unsupported */
export function checkRecurrent({ keyHeads, valueHeads, headSize }: RecurrentConfig, path: string): void {
  for (const [name, size] of Object.entries({ keyHeads, valueHeads, headSize }))
    if (!Number.isInteger(size)) refuse(path, `${name} of the recurrent layers is ${size}, which is not a whole number`);
  if (valueHeads % keyHeads !== 0) refuse(path, `${valueHeads} value heads can't share ${keyHeads} key heads evenly`);
  if (headSize % 8 !== 0 || headSize > MAX_HEAD_SIZE)
    refuse(path, `heads of the recurrent layers have ${headSize} dimensions, but a multiple of 8 up to ${MAX_HEAD_SIZE} is required`);
  if (valueHeads > MAX_HEADS) refuse(path, `the recurrent layers have ${valueHeads} heads, but at most ${MAX_HEADS} are supported`);
}

/** Known models have 16 to 48 heads of 128; a state has their product with the head size. */
const MAX_HEAD_SIZE = 1024;
const MAX_HEADS = 1024;
