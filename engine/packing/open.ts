import { BitnetError } from "../errors.js";
import type { LinearSource } from "../model/weights.js";
import { densePacking, floatBytes } from "./dense.js";
import { GROUPED, groupedPacking } from "./grouped.js";
import { hfPacking } from "./hf-packed.js";
import { i2sPacking } from "./i2s.js";
import type { Packing } from "./packing.js";

/** The packing of a layer by its tensor's type, and the bytes it takes. */
function packingOf(source: LinearSource): readonly [Packing, bytes: number] {
  const { tensor, rows, columns } = source;
  if (tensor.type === "I2_S") return [i2sPacking(source), (rows * columns) / 4 + 32];
  if (tensor.type === "U8") return [hfPacking(source), (rows * columns) / 4];
  const encoding = GROUPED.get(tensor.type);
  if (encoding) return [groupedPacking(source, encoding), (rows * columns * encoding.bytes) / encoding.elements];
  return [densePacking(source), rows * floatBytes(tensor.type, columns)];
}

/** The packing of a layer by its tensor's type. @throws BitnetError tensor: the bytes aren't as many as the encoding needs */
export function openPacking(source: LinearSource): Packing {
  const { tensor, rows, columns } = source;
  const [packing, bytes] = packingOf(source);
  if (tensor.byteLength !== bytes) {
    throw new BitnetError(
      "tensor",
      `${tensor.file}: tensor ${tensor.name} has ${tensor.byteLength} bytes, but ${tensor.type} [${rows}, ${columns}] requires ${bytes}`,
      {
        file: tensor.file,
        tensor: tensor.name,
        offset: tensor.offset,
      },
    );
  }
  return source.pairedRows === undefined ? packing : unpaired(packing, source.pairedRows);
}

/**
 * The packing with its rows where they belong: llama.cpp's converter puts rows i and i + headDim/2 of a head of q or k side by side, at 2i
 * and 2i + 1.
 */
function unpaired(packing: Packing, headDim: number): Packing {
  const rowOf = (row: number): number => row - (row % headDim) + ((row % headDim) >> 1) + (row % 2) * (headDim / 2);
  return {
    ...packing,
    piece: (index) => {
      const piece = packing.piece(index);
      return { ...piece, rows: piece.rows.map(rowOf) };
    },
  };
}
