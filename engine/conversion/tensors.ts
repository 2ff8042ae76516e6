import type { TensorInfo, TensorType } from "../container/checkpoint.js";
import { BitnetError } from "../errors.js";
import type { LinearSource } from "../model/weights.js";
import { notFinite, readFloats } from "../packing/dense.js";
import { encodeFloats, isExactIn } from "../packing/float-encode.js";
import { encodeQ6, encodeQ8 } from "../packing/table-encode.js";
import { encodeBlocks, encodeDense, encodeHf, encodeI2s, i2sTail, SCALED_BLOCKS } from "../packing/ternary-encode.js";
import { type Layer, pairRows, type Read, readCodes } from "./layer.js";

/** Numbers that are not what they were: a tensor's values, or the scales of all ternary layers. */
export interface Rounding {
  /** A tensor's name as the source spells it, or "scales of the ternary layers". */
  readonly of: string;
  readonly type: TensorType;
  /** How many numbers changed, of how many. */
  readonly changed: number;
  readonly count: number;
  /** Root of the mean squared change over that of the mean squared number. */
  readonly relativeError: number;
}

interface Sum {
  readonly type: TensorType;
  changed: number;
  count: number;
  errors: number;
  squares: number;
}

/** Weighs numbers against what they became. */
export class Roundings {
  private readonly sums = new Map<string, Sum>();

  add(of: string, type: TensorType, before: Float32Array, after: Float32Array): void {
    const sum = this.sums.get(of) ?? { type, changed: 0, count: 0, errors: 0, squares: 0 };
    this.sums.set(of, sum);
    sum.count += before.length;
    for (let i = 0; i < before.length; i++) {
      const x = before[i]!;
      const e = after[i]! - x;
      sum.squares += x * x;
      if (e === 0) continue;
      sum.changed++;
      sum.errors += e * e;
    }
  }

  /** Those where something changed. */
  results(): Rounding[] {
    return Array.from(this.sums, ([of, { type, changed, count, errors, squares }]) => ({
      ...{ of, type, changed, count },
      relativeError: Math.sqrt(errors / squares),
    })).filter(({ changed }) => changed > 0);
  }
}

/** Elements of a tensor in work at a time, about; blocks of all encodings divide it. */
const STRETCH = 2 ** 20;

/** `f32` rounded to a plain float type, as f32. */
export function rounded(type: TensorType, values: Float32Array): Float32Array {
  if (type === "F32") return values;
  const out = new Float32Array(values.length);
  readFloats(type, encodeFloats(type, values), out, values.length);
  return out;
}

function areFinite(values: Float32Array): boolean {
  for (let i = 0; i < values.length; i++) if (!(Math.abs(values[i]!) < Number.POSITIVE_INFINITY)) return false;
  return true;
}

/** All of a small tensor as f32. @throws BitnetError file: a number that is infinite or none */
export async function readVector(tensor: TensorInfo, read: Read): Promise<Float32Array> {
  const values = new Float32Array(tensor.shape.reduce((product, extent) => product * extent, 1));
  readFloats(tensor.type, await read(tensor, 0, tensor.byteLength), values, values.length);
  if (!areFinite(values)) throw notFinite(tensor, tensor.offset);
  return values;
}

/** A table, [rows, columns], some rows at a time: their bytes, and what these mean. @throws BitnetError file, as `readVector` */
async function* tablePieces(tensor: TensorInfo, read: Read): AsyncGenerator<{ bytes: Uint8Array; values: Float32Array }> {
  const [rows, columns] = tensor.shape as [number, number];
  const rowBytes = tensor.byteLength / rows;
  const most = Math.max(1, Math.floor(STRETCH / columns));
  for (let first = 0; first < rows; first += most) {
    const count = Math.min(most, rows - first);
    const bytes = await read(tensor, first * rowBytes, count * rowBytes);
    const values = new Float32Array(count * columns);
    readFloats(tensor.type, bytes, values, values.length);
    if (!areFinite(values)) throw notFinite(tensor, tensor.offset + first * rowBytes);
    yield { bytes, values };
  }
}

/** The smallest of BF16, F16 and F32 in which a table is the same to the bit. Reads all of it, if its own type doesn't say. */
export async function smallestExact(tensor: TensorInfo, read: Read): Promise<TensorType> {
  if (tensor.type === "BF16") return tensor.type;
  let types = ["BF16", "F16"];
  for await (const { values } of tablePieces(tensor, read)) {
    types = types.filter((type) => isExactIn(type, values));
    if (types.length === 0) return "F32";
  }
  return types[0]!;
}

/**
 * A table's bytes in another type; those of its own type stay as they are.
 * @param roundings gets what became of the numbers
 * @throws BitnetError unsupported: a number beyond the range of the type
 */
export async function* tableBytes(tensor: TensorInfo, type: TensorType, read: Read, roundings: Roundings): AsyncGenerator<Uint8Array> {
  const after = new Float32Array(STRETCH + tensor.shape[1]!);
  for await (const { bytes, values } of tablePieces(tensor, read)) {
    if (type === tensor.type) {
      yield bytes;
      continue;
    }
    const encoded = type === "Q8_0" ? encodeQ8(values) : type === "Q6_K" ? encodeQ6(values) : encodeFloats(type, values);
    const decoded = after.subarray(0, values.length);
    readFloats(type, encoded, decoded, values.length);
    if (!areFinite(decoded)) {
      throw new BitnetError("unsupported", `${tensor.file}: tensor ${tensor.name} has values that ${type} can't store; choose f32 for it`, {
        file: tensor.file,
        tensor: tensor.name,
      });
    }
    roundings.add(tensor.name, type, values, decoded);
    yield encoded;
  }
}

/**
 * Says why a layer can't be of a type, or what becomes of its scale.
 * @throws BitnetError usage, naming the tensor: its rows are no whole blocks, its scales differ, or its scale is out of range
 */
export function requireFit({ packing, scale, scaleBlock }: Layer, type: TensorType, roundings: Roundings): void {
  const { tensor, rows, columns } = packing.source;
  const refuse = (what: string): never => {
    throw new BitnetError("usage", `${tensor.file}: tensor ${tensor.name} ${what}`, { file: tensor.file, tensor: tensor.name });
  };
  if (type === "U8" && rows % 4 !== 0) refuse(`has ${rows} rows, but packed SafeTensors require a multiple of 4; choose another type`);
  if (type === "I2_S" && (rows * columns) % 128 !== 0)
    refuse(`has ${rows} · ${columns} weights, but i2_s requires a multiple of 128; choose another type`);
  const block = SCALED_BLOCKS.get(type);
  if (block !== undefined && columns % block !== 0)
    refuse(`has rows of ${columns} elements, but ${type.toLowerCase()} requires a multiple of ${block}; choose another type`);
  if (scale === undefined && (type === "U8" || type === "I2_S"))
    refuse(`has a scale for each group of ${scaleBlock} columns, but the output type has one for the whole tensor; choose f16 or f32`);
  if (scale === undefined && block !== undefined && scaleBlock % block !== 0)
    refuse(`has a scale for each group of ${scaleBlock} columns, but ${type.toLowerCase()} has one for ${block}; choose f16 or f32`);
  if (scale !== undefined) roundScales(packing.source, Float32Array.of(scale), type, roundings);
}

/** Says what becomes of scales in a type that has them as f16. @throws BitnetError usage: one is out of range */
function roundScales({ tensor }: LinearSource, scales: Float32Array, type: TensorType, roundings: Roundings): void {
  if (!SCALED_BLOCKS.has(type) && type !== "F16") return;
  const after = rounded("F16", scales);
  const lost = scales.find((scale, i) => scale !== 0 && (after[i] === 0 || after[i] === Number.POSITIVE_INFINITY));
  if (lost !== undefined) {
    throw new BitnetError(
      "usage",
      `${tensor.file}: tensor ${tensor.name} has the scale ${lost}, which is out of range for the f16 scales of ${type.toLowerCase()}; choose i2_s or f32`,
      { file: tensor.file, tensor: tensor.name },
    );
  }
  roundings.add("scales of the ternary layers", "F16", scales, after);
}

/**
 * A ternary layer's bytes in a type that it fits (`requireFit`): I2_S, blocks with scales, plain floats, or U8, Hugging Face's packed form.
 * @param roundings gets what became of scales of groups
 * @param pairedRows rows of a head that are to lie in pairs, see `LinearSource.pairedRows`
 */
export async function* layerBytes(
  layer: Layer,
  type: TensorType,
  read: Read,
  roundings: Roundings,
  pairedRows?: number,
): AsyncGenerator<Uint8Array> {
  const { rows, columns }: LinearSource = layer.packing.source;
  const { scaleBlock } = layer;
  const groups = Math.ceil(columns / scaleBlock);
  let { codes, scales } = await readCodes(layer, read);
  if (layer.scale === undefined) roundScales(layer.packing.source, scales, type, roundings);
  if (pairedRows !== undefined) [codes, scales] = [pairRows(codes, columns, pairedRows), pairRows(scales, groups, pairedRows)];
  if (type === "I2_S") {
    for (let at = 0; at < codes.length; at += STRETCH) yield encodeI2s(codes.subarray(at, at + STRETCH));
    yield i2sTail(layer.scale!);
    return;
  }
  const most = Math.max(1, Math.floor(STRETCH / columns));
  const height = type === "U8" ? rows / 4 : rows;
  for (let first = 0; first < height; first += most) {
    const count = Math.min(most, height - first);
    if (type === "U8") {
      yield encodeHf(codes, columns, first, count);
      continue;
    }
    const some = codes.subarray(first * columns, (first + count) * columns);
    const own = scales.subarray(first * groups, (first + count) * groups);
    const block = SCALED_BLOCKS.get(type);
    if (block !== undefined) {
      const each = Float32Array.from({ length: (count * columns) / block }, (_, i) => {
        const [row, column] = [Math.floor((i * block) / columns), (i * block) % columns];
        return own[row * groups + Math.floor(column / scaleBlock)]!;
      });
      yield encodeBlocks(type, some, each);
    } else yield encodeDense(type, some, columns, own, scaleBlock);
  }
}
