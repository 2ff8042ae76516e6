import type { TensorInfo } from "../container/checkpoint.js";
import type { LinearSource } from "../model/weights.js";
import { ternarisation } from "../packing/dense.js";
import { GROUPED } from "../packing/grouped.js";
import { i2sScaleOffset } from "../packing/i2s.js";
import { openPacking } from "../packing/open.js";
import type { Packing, PieceStats, Ternarisation } from "../packing/packing.js";
import { checkScale, foldScales, storedScale } from "../packing/scale.js";
import { SCALED_BLOCKS } from "../packing/ternary-encode.js";

/** Elements of the blocks that can be written, widest first. */
const BLOCKS = [...new Set(SCALED_BLOCKS.values())].sort((a, b) => b - a);

/** Bytes [start, start + length) of a tensor. */
export type Read = (tensor: TensorInfo, start: number, length: number) => Promise<Uint8Array>;

/** A ternary layer that has been looked at, but of which no codes are in memory. */
export interface Layer {
  readonly packing: Packing;
  readonly how: Ternarisation | undefined;
  /** What a code of ±1 is worth; undefined: groups of its columns have scales that differ. */
  readonly scale: number | undefined;
  /** Columns that share a scale: all, if there is one. */
  readonly scaleBlock: number;
}

/** A layer's weights. Rows are in the order of `ModelConfig.rope` "neox". */
export interface Codes {
  /** [rows, columns] 0, 1, 2 */
  readonly codes: Uint8Array;
  /** [rows, groups], a group being `Layer.scaleBlock` columns, or what is left of the row */
  readonly scales: Float32Array;
}

/** Finds what a layer's codes are worth: of masters and of groups that reads all of it. @throws BitnetError */
export async function lookAt(source: LinearSource, read: Read): Promise<Layer> {
  const packing = openPacking(source);
  const { tensor, columns } = source;
  if (packing.stats) {
    const stats: PieceStats[] = [];
    for (let index = 0; index < packing.pieces; index++) {
      const { start, length } = packing.piece(index);
      stats.push(packing.stats(index, await read(tensor, start, length)));
    }
    const how = ternarisation(source, stats);
    return { packing, how, scale: checkScale(source, how.scale), scaleBlock: columns };
  }
  if (packing.scales && packing.scaleBlock) {
    const groups = Math.ceil(columns / packing.scaleBlock);
    const given = packing.scaleBlock;
    // Wider groups, if all of theirs have one scale; with the scale of the one they are in, so far.
    let wider = BLOCKS.filter((width) => width > given && columns % width === 0).map((width) => ({ width, scale: 0 }));
    let least = Number.POSITIVE_INFINITY; // of the scales that aren't 0
    let most = 0;
    for (let index = 0; index < packing.pieces; index++) {
      const { start, length, rows } = packing.piece(index);
      const scales = new Float32Array(rows.length * groups);
      const bytes = await read(tensor, start, length);
      packing.scales(index, bytes, scales);
      // That scales differ is no fault of a model that isn't ternary at all.
      if (!GROUPED.has(tensor.type)) packing.decode(index, bytes, new Uint8Array(rows.length * columns), columns, undefined);
      for (const [i, scale] of scales.entries()) {
        for (const group of wider) if ((i * given) % group.width === 0) group.scale = 0;
        if (scale === 0) continue;
        most = Math.max(most, scale);
        least = Math.min(least, scale);
        wider = wider.filter((group) => group.scale === 0 || group.scale === scale);
        for (const group of wider) group.scale = scale;
      }
    }
    const scale = foldScales(source, least, most);
    return { packing, how: undefined, scale, scaleBlock: scale !== undefined ? columns : (wider[0]?.width ?? given) };
  }
  const [of, start, length] = source.scale
    ? [source.scale, 0, source.scale.byteLength]
    : [tensor, i2sScaleOffset(source.rows, columns), Float32Array.BYTES_PER_ELEMENT];
  const bytes = await read(of, start, length);
  return { packing, how: undefined, scale: storedScale(source, () => bytes), scaleBlock: columns };
}

/** All codes of a layer, and what they are worth. @throws BitnetError file: a code 3 */
export async function readCodes({ packing, how, scale, scaleBlock }: Layer, read: Read): Promise<Codes> {
  const { tensor, rows, columns } = packing.source;
  const groups = Math.ceil(columns / scaleBlock);
  const codes = new Uint8Array(rows * columns);
  const scales = new Float32Array(rows * groups).fill(scale ?? 0);
  for (let index = 0; index < packing.pieces; index++) {
    const piece = packing.piece(index);
    const bytes = await read(tensor, piece.start, piece.length);
    const decoded = new Uint8Array(piece.rows.length * columns);
    packing.decode(index, bytes, decoded, columns, how);
    for (const [i, row] of piece.rows.entries()) codes.set(decoded.subarray(i * columns, (i + 1) * columns), row * columns);
    if (scale !== undefined) continue;
    const given = Math.ceil(columns / packing.scaleBlock!); // groups of a row, in the file
    const found = new Float32Array(piece.rows.length * given);
    packing.scales!(index, bytes, found);
    for (const [i, value] of found.entries()) {
      const group = Math.floor(((i % given) * packing.scaleBlock!) / scaleBlock);
      const to = piece.rows[Math.floor(i / given)]! * groups + group;
      scales[to] = Math.max(scales[to]!, value); // of groups that are one here, those that aren't 0 are equal
    }
  }
  return { codes, scales };
}

/**
 * Rows of q or k from RoPE's order "neox" to "norm", as llama.cpp's converter permutes them: rows i and i + headDim/2 of a head go side by side, to
 * 2i and 2i + 1.
 * @param of [rows, width]
 */
export function pairRows<T extends Uint8Array | Float32Array>(of: T, width: number, headDim: number): T {
  const paired = of.slice() as T;
  for (let row = 0; row * width < of.length; row++) {
    const i = row % headDim;
    const to = row - i + (i < headDim / 2 ? 2 * i : 2 * i - headDim + 1);
    paired.set(of.subarray(row * width, (row + 1) * width), to * width);
  }
  return paired;
}
