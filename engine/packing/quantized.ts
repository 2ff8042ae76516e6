/**
 * ggml's block types that embeddings and output heads come in, to f32. At most one step rounds, the last: d has 11 significant bits, a
 * group's scale 8 and a code at most 8, so that any engine that computes (d · scale) · code in f32 gets these bits.
 */
import { GROUPED } from "./grouped.js";
import { readHalf } from "./half.js";

/** One block to f32, `out[to]` on. @param at the block's first byte */
type Dequantize = (bytes: Uint8Array, at: number, out: Float32Array, to: number) => void;

/** 32 elements in 34 bytes: d f16, then int8 codes; value d · code. */
function q8_0(bytes: Uint8Array, at: number, out: Float32Array, to: number): void {
  const d = readHalf(bytes, at);
  for (let i = 0; i < 32; i++) out[to + i] = d * ((bytes[at + 2 + i]! << 24) >> 24);
}

/** 32 elements in 18 bytes: d f16, then element p in the low and p + 16 in the high half of byte p; value d · (code − 8). */
function q4_0(bytes: Uint8Array, at: number, out: Float32Array, to: number): void {
  const d = readHalf(bytes, at);
  for (let p = 0; p < 16; p++) {
    const byte = bytes[at + 2 + p]!;
    out[to + p] = d * ((byte & 15) - 8);
    out[to + p + 16] = d * ((byte >> 4) - 8);
  }
}

/**
 * 256 elements in 210 bytes: 128 bytes of low halves, 64 of high bits, 16 int8 scales, d f16. Of each 128 elements, element 32·g + p has its
 * low 4 bits in byte p + 32·(g mod 2) of 64, upper half of it for g ≥ 2, its high 2 in byte p of 32, bits 2g; each 16 elements share a scale;
 * value d · scale · (code − 32).
 */
function q6_K(bytes: Uint8Array, at: number, out: Float32Array, to: number): void {
  const d = readHalf(bytes, at + 208);
  for (let half = 0; half < 2; half++) {
    for (let g = 0; g < 4; g++) {
      for (let p = 0; p < 32; p++) {
        const low = bytes[at + 64 * half + 32 * (g & 1) + p]! >> (4 * (g >> 1));
        const high = bytes[at + 128 + 32 * half + p]! >> (2 * g);
        const scale = (bytes[at + 192 + 8 * half + 2 * g + (p >> 4)]! << 24) >> 24;
        out[to + 128 * half + 32 * g + p] = d * scale * (((low & 15) | ((high & 3) << 4)) - 32);
      }
    }
  }
}

/**
 * 256 elements in 144 bytes: d and dmin f16, 12 bytes with 8 scales and 8 minima of 6 bits, 128 of codes. Of each 64 elements the first 32 are
 * in the low and the others in the high halves of 32 bytes; each 32 have a scale and a minimum; value d · scale · code − dmin · minimum. Only
 * the difference rounds.
 */
function q4_K(bytes: Uint8Array, at: number, out: Float32Array, to: number): void {
  const d = readHalf(bytes, at);
  const dmin = readHalf(bytes, at + 2);
  const six = at + 4;
  for (let j = 0; j < 8; j++) {
    // Scales and minima 0 … 3 are the low 6 bits of bytes 0 … 3 and 4 … 7, whose top bits go above the halves of bytes 8 … 11.
    const shared = bytes[six + 8 + (j & 3)]!;
    const scale = j < 4 ? bytes[six + j]! & 63 : (shared & 15) | ((bytes[six + j - 4]! >> 6) << 4);
    const least = j < 4 ? bytes[six + j + 4]! & 63 : (shared >> 4) | ((bytes[six + j]! >> 6) << 4);
    for (let p = 0; p < 32; p++) {
      const code = (bytes[at + 16 + 32 * (j >> 1) + p]! >> (4 * (j & 1))) & 15;
      out[to + 32 * j + p] = d * scale * code - dmin * least;
    }
  }
}

interface Block {
  readonly elements: number;
  readonly bytes: number;
  readonly dequantize: Dequantize;
}

/** A type that ternary layers come in as well: value d · (code − 1). */
function coded(type: string): readonly [string, Block] {
  const { elements, bytes: size, scale, decode } = GROUPED.get(type)!;
  const codes = new Uint8Array(elements);
  const dequantize: Dequantize = (bytes, at, out, to) => {
    const d = readHalf(bytes, at + scale);
    decode(bytes, at, codes, 0);
    for (let j = 0; j < elements; j++) out[to + j] = d * (codes[j]! - 1);
  };
  return [type, { elements, bytes: size, dequantize }];
}

const BLOCKS: ReadonlyMap<string, Block> = new Map([
  ["Q8_0", { elements: 32, bytes: 34, dequantize: q8_0 }],
  ["Q4_0", { elements: 32, bytes: 18, dequantize: q4_0 }],
  ["Q6_K", { elements: 256, bytes: 210, dequantize: q6_K }],
  ["Q4_K", { elements: 256, bytes: 144, dequantize: q4_K }],
  ...["Q2_0", "Q2_0_128", "PQ2_0", "PTQ1_0", "Q1_0"].map(coded),
]);

/** Whether these are blocks of codes and not plain floats. */
export function isQuantized(type: string): boolean {
  return BLOCKS.has(type);
}

/** Bytes of `count` elements, whole blocks; undefined for a type that is none of these. */
export function quantizedBytes(type: string, count: number): number | undefined {
  const block = BLOCKS.get(type);
  return block && (count / block.elements) * block.bytes;
}

/** Whole blocks to f32. @returns false for a type that is none of these */
export function dequantize(type: string, bytes: Uint8Array, out: Float32Array, count: number): boolean {
  const block = BLOCKS.get(type);
  if (block === undefined) return false;
  for (let i = 0; i < count / block.elements; i++) block.dequantize(bytes, i * block.bytes, out, i * block.elements);
  return true;
}
