import { BitnetError } from "../errors.js";
import type { LinearSource } from "../model/weights.js";
import { type Packing, rowPieces } from "./packing.js";

/** Elements in a block of 32 bytes, in the layout of the published files. */
export const I2S_BLOCK = 128;
export const I2S_BLOCK_BYTES = 32;

/** Offset of the scale, an f32, from the tensor's first byte: behind the codes. */
export function i2sScaleOffset(rows: number, columns: number): number {
  return (rows * columns) / 4;
}

/**
 * bitnet.cpp's I2_S (FORMATS: ggml type 36) in the layout that the source says.
 * @throws BitnetError tensor: rows that the layout can't hold
 */
export function i2sPacking(source: LinearSource): Packing {
  if (source.layout === "rows4") return rows4Packing(source);
  return blockPacking(source, source.layout === "block64" ? 64 : I2S_BLOCK);
}

/**
 * Blocks of `block` elements in block/4 bytes: element block/4 · g + p in byte p, bits 6 − 2g and 7 − 2g; blocks run over the whole tensor,
 * row after row, so that they may hold the end of one row and the beginning of the next.
 */
function blockPacking(source: LinearSource, block: number): Packing {
  const { rows, columns } = source;
  const run = block / 4; // elements that lie in adjacent bytes
  // The fewest rows that end on a block's end; where a row is whole runs, at most 4.
  let unit = 1;
  while ((unit * columns) % block !== 0 && unit < 4) unit *= 2;
  if ((unit * columns) % block !== 0 || (rows * columns) % block !== 0)
    throw wrongRows(source, `rows of ${columns}`, `multiples of ${run}`);
  const { pieces, first, count, piece } = rowPieces(rows, columns / 4, unit);
  return {
    source,
    pieces,
    piece,
    decode(index, bytes, codes, stride) {
      const blocks = (count(index) * columns) / block;
      let bad = 0;
      for (let b = 0; b < blocks; b++) {
        for (let g = 0; g < 4; g++) {
          // A run lies in one row: columns is a multiple of it.
          const element = b * block + g * run;
          const row = Math.floor(element / columns);
          const to = row * stride + (element - row * columns);
          const shift = 6 - 2 * g;
          const from = b * run;
          for (let p = 0; p < run; p++) {
            const code = (bytes[from + p]! >> shift) & 3;
            bad |= code & (code << 1);
            codes[to + p] = code;
          }
        }
      }
      if (bad & 2) throw codeThree(source, (first(index) * columns) / 4, bytes.subarray(0, blocks * run));
    },
  };
}

/** Four rows a byte: row 4·G + r of the group's byte for a column in bits 6 − 2r and 7 − 2r; groups run down, columns fastest. */
function rows4Packing(source: LinearSource): Packing {
  const { rows, columns } = source;
  if (rows % 4 !== 0) throw wrongRows(source, `${rows} rows`, "multiples of 4");
  const { pieces, first, count, piece } = rowPieces(rows, columns / 4, 4);
  return {
    source,
    pieces,
    piece,
    decode(index, bytes, codes, stride) {
      const n = count(index);
      let bad = 0;
      for (let row = 0; row < n; row++) {
        const from = Math.floor(row / 4) * columns;
        const shift = 6 - 2 * (row % 4);
        for (let i = 0; i < columns; i++) {
          const code = (bytes[from + i]! >> shift) & 3;
          bad |= code & (code << 1);
          codes[row * stride + i] = code;
        }
      }
      if (bad & 2) throw codeThree(source, (first(index) * columns) / 4, bytes.subarray(0, (n * columns) / 4));
    },
  };
}

function wrongRows({ tensor, layout }: LinearSource, what: string, known: string): BitnetError {
  return new BitnetError(
    "tensor",
    `${tensor.file}: tensor ${tensor.name} is I2_S (${layout}) with ${what}, but only ${known} are supported`,
    {
      file: tensor.file,
      tensor: tensor.name,
    },
  );
}

/** The error for a 2-bit code that no ternary weight has. @param start of `bytes` in the tensor */
export function codeThree(source: LinearSource, start: number, bytes: Uint8Array): BitnetError {
  const { tensor } = source;
  const at = bytes.findIndex((byte) => (byte & (byte >> 1) & 0x55) !== 0);
  const offset = tensor.offset + start + at;
  const where = source.tensor.type === "I2_S" ? `not in the layout ${source.layout}` : "not in this layout";
  return new BitnetError(
    "file",
    `${tensor.file}: tensor ${tensor.name} has the code 3 at byte ${offset}, which is not a ternary weight: the file is damaged or ${where}`,
    {
      file: tensor.file,
      tensor: tensor.name,
      offset,
    },
  );
}
