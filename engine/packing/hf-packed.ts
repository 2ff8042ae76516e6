import type { LinearSource } from "../model/weights.js";
import { codeThree } from "./i2s.js";
import { type Packing, PIECE_BYTES } from "./packing.js";

/** Hugging Face's packed form, U8 [out/4, in]: row r + k·(out/4) in bits 2k, 2k + 1 of packed row r. */
export function hfPacking(source: LinearSource): Packing {
  const { rows, columns } = source;
  const packedRows = rows / 4;
  const perPiece = Math.max(1, Math.floor(PIECE_BYTES / columns));
  const first = (index: number): number => index * perPiece;
  const count = (index: number): number => Math.min(perPiece, packedRows - first(index));
  return {
    source,
    pieces: Math.ceil(packedRows / perPiece),
    piece: (index) => ({
      start: first(index) * columns,
      length: count(index) * columns,
      rows: Array.from(
        { length: 4 * count(index) },
        (_, i) => first(index) + (i % count(index)) + Math.floor(i / count(index)) * packedRows,
      ),
    }),
    decode(index, bytes, codes, stride) {
      const n = count(index);
      let bad = 0;
      for (let k = 0; k < 4; k++) {
        for (let row = 0; row < n; row++) {
          const from = row * columns;
          const to = (k * n + row) * stride;
          for (let i = 0; i < columns; i++) {
            const code = (bytes[from + i]! >> (2 * k)) & 3;
            bad |= code & (code << 1);
            codes[to + i] = code;
          }
        }
      }
      if (bad & 2) throw codeThree(source, first(index) * columns, bytes.subarray(0, n * columns));
    },
  };
}
