import { encodeFloats, halfOf } from "./float-encode.js";

/*
 * Codes 0, 1, 2 to the bytes of each encoding, the reverse of the decoders beside it. But for `encodeHf`, a stretch of codes is encoded on its
 * own: whole blocks of a tensor's elements, row after row.
 */

/** Types of blocks whose elements share an f16 scale, by how many these are. */
export const SCALED_BLOCKS: ReadonlyMap<string, number> = new Map([
  ["TQ1_0", 256],
  ["TQ2_0", 256],
  ["PQ2_0", 128],
  ["PTQ1_0", 128],
]);

/** I2_S, 128-element layout: element 32·g + p of a block in byte p, bits 6 − 2g and 7 − 2g. @param codes whole blocks of 128 */
export function encodeI2s(codes: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(codes.length / 4);
  for (let from = 0, to = 0; from < codes.length; from += 128) {
    for (let p = from; p < from + 32; p++) {
      bytes[to++] = (codes[p]! << 6) | (codes[p + 32]! << 4) | (codes[p + 64]! << 2) | codes[p + 96]!;
    }
  }
  return bytes;
}

/** What stands behind the codes of an I2_S tensor: the scale as f32, and 28 bytes that mean nothing. */
export function i2sTail(scale: number): Uint8Array {
  const bytes = new Uint8Array(32);
  new DataView(bytes.buffer).setFloat32(0, scale, true);
  return bytes;
}

/**
 * Blocks of one of `SCALED_BLOCKS`. As in ggml, the scale of a block is 0 where all its codes are.
 * @param codes whole blocks
 * @param scales one a block
 */
export function encodeBlocks(type: string, codes: Uint8Array, scales: Float32Array): Uint8Array {
  const elements = SCALED_BLOCKS.get(type)!;
  const { bytes: size, scaleAt, encode } = LAYOUTS[type]!;
  const bytes = new Uint8Array(size * scales.length);
  const view = new DataView(bytes.buffer);
  for (let block = 0; block < scales.length; block++) {
    const own = codes.subarray(block * elements, (block + 1) * elements);
    encode(own, bytes, block * size);
    view.setUint16(block * size + scaleAt, own.every((code) => code === 1) ? 0 : halfOf(scales[block]!), true);
  }
  return bytes;
}

interface BlockLayout {
  readonly bytes: number;
  /** Byte of the scale. */
  readonly scaleAt: number;
  encode(codes: Uint8Array, bytes: Uint8Array, at: number): void;
}

const LAYOUTS: Readonly<Record<string, BlockLayout>> = {
  // Byte 32·j + m holds elements 128·j + 32·l + m in bits 2l and 2l + 1.
  TQ2_0: {
    bytes: 66,
    scaleAt: 64,
    encode(codes, bytes, at) {
      for (let to = at, j = 0; j < 256; j += 128) {
        for (let m = j; m < j + 32; m++) bytes[to++] = codes[m]! | (codes[m + 32]! << 2) | (codes[m + 64]! << 4) | (codes[m + 96]! << 6);
      }
    },
  },
  TQ1_0: { bytes: 54, scaleAt: 52, encode: encodeDigits([32, 5], [16, 5], [4, 4]) },
  PTQ1_0: { bytes: 28, scaleAt: 26, encode: encodeDigits([16, 5], [8, 5], [2, 4]) },
  // Element j in byte j / 4 behind the scale, from bit 2·(j mod 4).
  PQ2_0: {
    bytes: 34,
    scaleAt: 0,
    encode(codes, bytes, at) {
      for (let to = at + 2, j = 0; j < 128; j += 4)
        bytes[to++] = codes[j]! | (codes[j + 1]! << 2) | (codes[j + 2]! << 4) | (codes[j + 3]! << 6);
    },
  },
};

/**
 * Bytes of base-3 digits. Element n·count + m of a run is digit n of its byte m, which is the fraction 0.c₀c₁c₂c₃c₄ in units of 1/256, rounded
 * up, so that multiplying by 3 brings out one code after the other; where there are four, the last is 0.
 * @param runs of a block: bytes, and digits in each
 */
function encodeDigits(...runs: readonly (readonly [count: number, digits: number])[]): BlockLayout["encode"] {
  return (codes, bytes, at) => {
    let to = at;
    let from = 0;
    for (const [count, digits] of runs) {
      for (let m = from; m < from + count; m++) {
        let number = 0;
        for (let n = 0; n < 5; n++) number = 3 * number + (n < digits ? codes[m + n * count]! : 0);
        bytes[to++] = Math.ceil((number * 256) / 243);
      }
      from += count * digits;
    }
  };
}

/**
 * The values themselves, (code − 1) · scale, as F32, F16 or BF16.
 * @param codes [rows, columns]
 * @param scales [rows, columns / block, rounded up]: the scale of each `block` columns
 */
export function encodeDense(type: string, codes: Uint8Array, columns: number, scales: Float32Array, block: number): Uint8Array {
  const groups = Math.ceil(columns / block);
  const values = new Float32Array(codes.length);
  for (let row = 0, i = 0; i < codes.length; row++) {
    for (let column = 0; column < columns; column++, i++) {
      const scale = scales[row * groups + Math.floor(column / block)]!;
      const code = codes[i]!;
      values[i] = code === 1 ? 0 : code === 2 ? scale : -scale;
    }
  }
  return encodeFloats(type, values);
}

/**
 * Hugging Face's packed form, rows [first, first + count) of U8 [rows/4, columns]: row r + k·(rows/4) in bits 2k and 2k + 1 of packed row r.
 * @param codes [rows, columns], the whole tensor
 */
export function encodeHf(codes: Uint8Array, columns: number, first: number, count: number): Uint8Array {
  const quarter = codes.length / 4;
  const bytes = new Uint8Array(count * columns);
  for (let i = 0, from = first * columns; i < bytes.length; i++, from++) {
    bytes[i] = codes[from]! | (codes[from + quarter]! << 2) | (codes[from + 2 * quarter]! << 4) | (codes[from + 3 * quarter]! << 6);
  }
  return bytes;
}
