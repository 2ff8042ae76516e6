import { encodeFloats, halfOf } from "./float-encode.js";

/*
 * Codes 0, 1, 2 to the bytes of each encoding, the reverse of the decoders beside it. But for `encodeHf`, a stretch of codes is encoded on its
 * own: whole blocks of a tensor's elements, row after row.
 */

/** Elements in a block of TQ1_0 and TQ2_0, which share a scale. */
export const TQ_BLOCK = 256;

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

/** The f16 of a block's scale, as ggml writes it: 0 where all codes are. */
function setScale(view: DataView, at: number, codes: Uint8Array, from: number, scale: number): void {
  let i = from;
  while (i < from + TQ_BLOCK && codes[i] === 1) i++;
  view.setUint16(at, i === from + TQ_BLOCK ? 0 : halfOf(scale), true);
}

/**
 * TQ2_0: 64 bytes of codes, then the scale. Byte 32·j + m of a block holds elements 128·j + 32·l + m in bits 2l and 2l + 1.
 * @param codes whole blocks of 256
 * @param scales one a block
 */
export function encodeTq2(codes: Uint8Array, scales: Float32Array): Uint8Array {
  const bytes = new Uint8Array(66 * scales.length);
  const view = new DataView(bytes.buffer);
  for (let block = 0; block < scales.length; block++) {
    const from = block * TQ_BLOCK;
    let to = block * 66;
    for (let j = from; j < from + TQ_BLOCK; j += 128) {
      for (let m = j; m < j + 32; m++) bytes[to++] = codes[m]! | (codes[m + 32]! << 2) | (codes[m + 64]! << 4) | (codes[m + 96]! << 6);
    }
    setScale(view, to, codes, from, scales[block]!);
  }
  return bytes;
}

/**
 * TQ1_0: 48 bytes of five codes each, 4 bytes of four, then the scale. Elements 32·n + m (n < 5) are in byte m, 160 + 16·n + m in byte 32 + m,
 * 240 + 4·n + m (n < 4) in byte 48 + m. A byte is the base-3 fraction 0.c₀c₁c₂c₃c₄ in units of 1/256, rounded up, so that multiplying by 3
 * brings out one code after the other; where there are four, the last is 0.
 * @param codes whole blocks of 256
 * @param scales one a block
 */
export function encodeTq1(codes: Uint8Array, scales: Float32Array): Uint8Array {
  const bytes = new Uint8Array(54 * scales.length);
  const view = new DataView(bytes.buffer);
  const fraction = (c0: number, c1: number, c2: number, c3: number, c4: number): number =>
    Math.ceil(((81 * c0 + 27 * c1 + 9 * c2 + 3 * c3 + c4) * 256) / 243);
  for (let block = 0; block < scales.length; block++) {
    const from = block * TQ_BLOCK;
    let to = block * 54;
    for (const [start, count] of [
      [0, 32],
      [160, 16],
    ] as const) {
      for (let m = from + start; m < from + start + count; m++) {
        bytes[to++] = fraction(codes[m]!, codes[m + count]!, codes[m + 2 * count]!, codes[m + 3 * count]!, codes[m + 4 * count]!);
      }
    }
    for (let m = from + 240; m < from + 244; m++) bytes[to++] = fraction(codes[m]!, codes[m + 4]!, codes[m + 8]!, codes[m + 12]!, 0);
    setScale(view, to, codes, from, scales[block]!);
  }
  return bytes;
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
