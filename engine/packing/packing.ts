import type { LinearSource } from "../model/weights.js";

/** A stretch of a tensor's bytes that decodes on its own. */
export interface Piece {
  /** First byte, from the tensor's first. */
  readonly start: number;
  readonly length: number;
  /** Output rows it holds, in the order in which `decode` writes them. */
  readonly rows: readonly number[];
}

/** Sums over a piece of master weights, from which the scale of the tensor follows. */
export interface PieceStats {
  /** Σ|w| */
  readonly sum: number;
  /** Smallest |w| that is not 0; Infinity if there is none. */
  readonly least: number;
  /** Largest |w|. */
  readonly most: number;
}

/** How to turn a stored weight into a code: w·inverse, rounded half to even, clamped to −1…1, plus 1. */
export interface Ternarisation {
  /** What a code of ±1 is worth, f32. */
  readonly scale: number;
  readonly inverse: number;
}

/**
 * One on-disk encoding of a ternary layer, seen as pieces that threads decode in any order. The boundaries of pieces depend on the tensor
 * alone, so that sums over them are the same for any number of threads.
 */
export interface Packing {
  readonly source: LinearSource;
  readonly pieces: number;
  piece(index: number): Piece;
  /**
   * Codes 0, 1, 2 of a piece's rows.
   * @param bytes the piece's bytes
   * @param codes out: [rows of the piece][stride]; the first `columns` of each row are written
   * @throws BitnetError file, naming tensor and offset: a code 3
   */
  decode(index: number, bytes: Uint8Array, codes: Uint8Array, stride: number, how: Ternarisation | undefined): void;
  /** Master weights only: what the scale is computed from. */
  stats?(index: number, bytes: Uint8Array): PieceStats;
  /** Columns that share a scale, 64, 128 or 256, where scales stand among the codes; undefined: the tensor has one scale. */
  readonly scaleBlock?: number;
  /**
   * Only with `scaleBlock`: the scales of a piece. A group whose scale is 0 has codes 1.
   * @param out [rows of the piece][columns/scaleBlock, rounded up] f32, 0 or positive
   * @throws BitnetError file, naming tensor and offset: a scale that is negative, infinite or no number
   */
  scales?(index: number, bytes: Uint8Array, out: Float32Array): void;
}

/** Bytes in a piece, about: small enough for the caches, large enough to read quickly. */
export const PIECE_BYTES = 1 << 18;

/** Pieces of adjacent whole rows, `unit` of which can't be parted. */
export function rowPieces(
  rows: number,
  rowBytes: number,
  unit: number,
): {
  readonly pieces: number;
  first(index: number): number;
  count(index: number): number;
  piece(index: number): Piece;
} {
  const perPiece = Math.max(unit, Math.floor(PIECE_BYTES / rowBytes / unit) * unit);
  const first = (index: number): number => index * perPiece;
  const count = (index: number): number => Math.min(perPiece, rows - first(index));
  return {
    pieces: Math.ceil(rows / perPiece),
    first,
    count,
    piece: (index) => ({
      start: first(index) * rowBytes,
      length: count(index) * rowBytes,
      rows: Array.from({ length: count(index) }, (_, i) => first(index) + i),
    }),
  };
}
