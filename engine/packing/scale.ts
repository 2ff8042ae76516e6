import type { TensorInfo } from "../container/checkpoint.js";
import { BitnetError } from "../errors.js";
import type { LinearSource } from "../model/weights.js";
import { floatBytes, readFloats } from "./dense.js";
import { i2sScaleOffset } from "./i2s.js";

/**
 * The scale that stands in the file: I2_S carries it behind the codes, SafeTensors in a tensor of its own.
 * @param read bytes [start, start + length) of a tensor
 * @throws BitnetError file, as `checkScale`
 */
export function storedScale(source: LinearSource, read: (tensor: TensorInfo, start: number, length: number) => Uint8Array): number {
  const { tensor, rows, columns, scale, inverseScale } = source;
  const value = new Float32Array(1);
  if (scale === undefined) readFloats("F32", read(tensor, i2sScaleOffset(rows, columns), 4), value, 1);
  else readFloats(scale.type, read(scale, 0, floatBytes(scale.type, 1)), value, 1);
  return checkScale(source, inverseScale ? Math.fround(1 / value[0]!) : value[0]!);
}

/**
 * Scales of groups of columns as the one scale of a tensor: the largest, if all that aren't 0 are equal; else undefined.
 * @param least, most of all that aren't 0; Infinity and 0 if there are none
 */
export function foldScales(source: LinearSource, least: number, most: number): number | undefined {
  return least < most ? undefined : checkScale(source, most);
}

/** The scale itself. @throws BitnetError file, naming the tensor: it is not a positive number */
export function checkScale(source: LinearSource, scale: number): number {
  if (scale > 0 && Number.isFinite(scale)) return scale;
  const { file, name } = source.scale ?? source.tensor;
  throw new BitnetError(
    "file",
    `${file}: the scale of tensor ${name} is ${scale}, but scales must be positive and finite: the file is damaged`,
    {
      file,
      tensor: name,
    },
  );
}
