import { BitnetError } from "../errors.js";
import type { LinearSource } from "../model/weights.js";
import { type Packing, PIECE_BYTES } from "./packing.js";

/** Elements in a block of 32 bytes. */
export const I2S_BLOCK = 128;
export const I2S_BLOCK_BYTES = 32;

/** Offset of the scale, an f32, from the tensor's first byte: behind the codes. */
export function i2sScaleOffset(rows: number, columns: number): number {
  return (rows * columns) / 4;
}

/**
 * bitnet.cpp's I2_S, 128-element layout: element 32·g + p of a block in byte p, bits 6 − 2g and 7 − 2g; blocks run over the whole tensor,
 * row after row. (FORMATS: ggml type 36.)
 * @throws BitnetError tensor: rows that no number of whole blocks holds
 */
export function i2sPacking(source: LinearSource): Packing {
  const { tensor, rows, columns } = source;
  // The fewest rows that end on a block's end; with 32 | columns at most 4.
  let unit = 1;
  while ((unit * columns) % I2S_BLOCK !== 0 && unit < 4) unit *= 2;
  if ((unit * columns) % I2S_BLOCK !== 0 || (rows * columns) % I2S_BLOCK !== 0) {
    throw new BitnetError(
      "tensor",
      `${tensor.file}: tensor ${tensor.name} is I2_S with rows of ${columns}, and only multiples of 32 are known here`,
      {
        file: tensor.file,
        tensor: tensor.name,
      },
    );
  }
  const perPiece = Math.max(unit, Math.floor((PIECE_BYTES * 4) / columns / unit) * unit);
  const first = (index: number): number => index * perPiece;
  const count = (index: number): number => Math.min(perPiece, rows - first(index));
  return {
    source,
    pieces: Math.ceil(rows / perPiece),
    piece: (index) => ({
      start: (first(index) * columns) / 4,
      length: (count(index) * columns) / 4,
      rows: Array.from({ length: count(index) }, (_, i) => first(index) + i),
    }),
    decode(index, bytes, codes, stride) {
      const blocks = (count(index) * columns) / I2S_BLOCK;
      let bad = 0;
      for (let block = 0; block < blocks; block++) {
        for (let g = 0; g < 4; g++) {
          // 32 elements in a row of the matrix: columns is a multiple of 32.
          const element = block * I2S_BLOCK + g * 32;
          const row = Math.floor(element / columns);
          const to = row * stride + (element - row * columns);
          const shift = 6 - 2 * g;
          const from = block * I2S_BLOCK_BYTES;
          for (let p = 0; p < 32; p++) {
            const code = (bytes[from + p]! >> shift) & 3;
            bad |= code & (code << 1);
            codes[to + p] = code;
          }
        }
      }
      if (bad & 2) throw codeThree(source, (first(index) * columns) / 4, bytes.subarray(0, blocks * I2S_BLOCK_BYTES));
    },
  };
}

/** The error for a 2-bit code that no ternary weight has. @param start of `bytes` in the tensor */
export function codeThree(source: LinearSource, start: number, bytes: Uint8Array): BitnetError {
  const { tensor } = source;
  const at = bytes.findIndex((byte) => (byte & (byte >> 1) & 0x55) !== 0);
  const offset = tensor.offset + start + at;
  return new BitnetError(
    "file",
    `${tensor.file}: tensor ${tensor.name} has the code 3 at byte ${offset}, which no ternary weight has: the file is damaged or not in this layout`,
    {
      file: tensor.file,
      tensor: tensor.name,
      offset,
    },
  );
}
