/** Ternary block types of ggml and its forks, and the binary one: an f16 scale for every 64, 128 or 256 columns, and their codes beside it. */
import { BitnetError } from "../errors.js";
import type { LinearSource } from "../model/weights.js";
import { readHalf } from "./half.js";
import { codeThree } from "./i2s.js";
import { type Packing, rowPieces } from "./packing.js";

/** How one group of columns lies in its block of bytes. */
export interface GroupEncoding {
  readonly elements: number;
  readonly bytes: number;
  /** Byte of the scale, an f16. */
  readonly scale: number;
  /** Codes of the block at `bytes[from]` to `codes[to]` on. @returns bit 1 is set if one is 3 */
  decode(bytes: Uint8Array, from: number, codes: Uint8Array, to: number): number;
}

/** Element 32·g + m of each 128 in byte m of 32, bits 2g and 2g + 1; the scale behind. */
const TQ2_0: GroupEncoding = {
  elements: 256,
  bytes: 66,
  scale: 64,
  decode(bytes, from, codes, to) {
    let bad = 0;
    for (let e = 0; e < 256; e++) {
      const code = (bytes[from + (e >> 7) * 32 + (e & 31)]! >> (2 * ((e >> 5) & 3))) & 3;
      bad |= code & (code << 1);
      codes[to + e] = code;
    }
    return bad;
  },
};

/**
 * Five codes a byte in base 3, as a fraction of 256: the first digit is the upper byte of 3·byte, and what is left of the lower byte holds the
 * next. Elements 32·n + m (n < 5, m < 32), then 160 + 16·n + m (m < 16) are digits n of bytes m; the last 16, 240 + 4·n + m, are digits
 * n < 4 of the last 4 bytes; the scale behind. Every byte is a digit sequence, so that there is no code 3.
 */
const TQ1_0: GroupEncoding = { elements: 256, bytes: 54, scale: 52, decode: digits([32, 5], [16, 5], [4, 4]) };

/** PrismML's: the same in runs of 16 bytes (elements 16·n + m), 8 (80 + 8·n + m) and 2 (120 + 2·n + m, n < 4). */
const PTQ1_0: GroupEncoding = { elements: 128, bytes: 28, scale: 26, decode: digits([16, 5], [8, 5], [2, 4]) };

/** Decodes bytes of base-3 digits. @param runs of a block: bytes, and digits in each; the digit of one place of all bytes of a run lie side by side */
function digits(...runs: readonly (readonly [bytes: number, digits: number])[]): GroupEncoding["decode"] {
  return (bytes, from, codes, to) => {
    let at = from;
    let out = to;
    for (const [count, places] of runs) {
      for (let m = 0; m < count; m++) {
        let rest = bytes[at + m]!;
        for (let n = 0; n < places; n++) {
          rest *= 3;
          codes[out + n * count + m] = rest >> 8;
          rest &= 255;
        }
      }
      at += count;
      out += count * places;
    }
    return 0;
  };
}

/** Binary weights: the scale, then element j in bit j mod 8 of byte j / 8; 1 is +1 and 0 is −1. There is no zero. */
const Q1_0: GroupEncoding = {
  elements: 128,
  bytes: 18,
  scale: 0,
  decode(bytes, from, codes, to) {
    for (let j = 0; j < 128; j++) codes[to + j] = 2 * ((bytes[from + 2 + (j >> 3)]! >> (j & 7)) & 1);
    return 0;
  },
};

/** The scale, then element j in byte j / 4, bits 2·(j mod 4) on. */
const q2_0 = (elements: number): GroupEncoding => ({
  elements,
  bytes: 2 + elements / 4,
  scale: 0,
  decode(bytes, from, codes, to) {
    let bad = 0;
    for (let j = 0; j < elements; j++) {
      const code = (bytes[from + 2 + (j >> 2)]! >> (2 * (j & 3))) & 3;
      bad |= code & (code << 1);
      codes[to + j] = code;
    }
    return bad;
  },
});

/** By the tensor's type. `Q2_0_128` is Q2_0 in groups of 128, which has the same number in files; PQ2_0 is the same with a number of its own. */
export const GROUPED: ReadonlyMap<string, GroupEncoding> = new Map([
  ["TQ1_0", TQ1_0],
  ["TQ2_0", TQ2_0],
  ["Q2_0", q2_0(64)],
  ["Q2_0_128", q2_0(128)],
  ["PQ2_0", q2_0(128)],
  ["PTQ1_0", PTQ1_0],
  ["Q1_0", Q1_0],
]);

/** @throws BitnetError tensor: rows that are no whole number of blocks */
export function groupedPacking(source: LinearSource, encoding: GroupEncoding): Packing {
  const { tensor, rows, columns } = source;
  const { elements, bytes: blockBytes, scale: scaleAt } = encoding;
  if (columns % elements !== 0) {
    throw new BitnetError(
      "tensor",
      `${tensor.file}: tensor ${tensor.name} has rows of ${columns} elements, but ${tensor.type} requires a multiple of ${elements}`,
      { file: tensor.file, tensor: tensor.name },
    );
  }
  const groups = columns / elements;
  const { pieces, piece, count } = rowPieces(rows, groups * blockBytes, 1);
  return {
    source,
    pieces,
    piece,
    scaleBlock: elements,
    scales(index, bytes, out) {
      for (let i = 0; i < count(index) * groups; i++) {
        const scale = readHalf(bytes, i * blockBytes + scaleAt);
        if (!(scale >= 0 && Number.isFinite(scale))) {
          const offset = tensor.offset + piece(index).start + i * blockBytes + scaleAt;
          throw new BitnetError(
            "file",
            `${tensor.file}: a scale of tensor ${tensor.name} is ${scale} (at byte ${offset}), but scales must be finite and not negative: the file is damaged`,
            { file: tensor.file, tensor: tensor.name, offset },
          );
        }
        out[i] = scale;
      }
    },
    decode(index, bytes, codes, stride) {
      for (let row = 0; row < count(index); row++) {
        for (let group = 0; group < groups; group++) {
          const from = (row * groups + group) * blockBytes;
          const to = row * stride + group * elements;
          // Nothing times anything is 0, whatever the codes are.
          if (((bytes[from + scaleAt]! | (bytes[from + scaleAt + 1]! << 8)) & 0x7fff) === 0) codes.fill(1, to, to + elements);
          else if (encoding.decode(bytes, from, codes, to) & 2) {
            const first = from + (scaleAt === 0 ? 2 : 0);
            throw codeThree(source, piece(index).start + first, bytes.subarray(first, first + elements / 4));
          }
        }
      }
    },
  };
}
