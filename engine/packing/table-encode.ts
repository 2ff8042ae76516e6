import { halfOf } from "./float-encode.js";
import { readHalf } from "./half.js";

/** Writes the nearest f16 to `bytes[at]`; returns what it is worth. */
function setHalf(bytes: Uint8Array, at: number, value: number): number {
  const half = halfOf(value);
  bytes[at] = half;
  bytes[at + 1] = half >> 8;
  return readHalf(bytes, at);
}

/**
 * Q8_0 as ggml writes it: 32 elements in 34 bytes, d as f16, then int8 codes; d = max |x| / 127 in f32, code = x / d, halves away from 0.
 * @param values whole blocks of 32
 */
export function encodeQ8(values: Float32Array): Uint8Array {
  const bytes = new Uint8Array((values.length / 32) * 34);
  for (let from = 0, to = 0; from < values.length; from += 32, to += 34) {
    let most = 0;
    for (let i = from; i < from + 32; i++) most = Math.max(most, Math.abs(values[i]!));
    const d = Math.fround(most / 127);
    const inverse = d === 0 ? 0 : Math.fround(1 / d);
    setHalf(bytes, to, d);
    for (let i = 0; i < 32; i++) {
      const x = Math.fround(values[from + i]! * inverse);
      const code = Math.floor(Math.abs(x) + 0.5);
      bytes[to + 2 + i] = x < 0 ? -code : code;
    }
  }
  return bytes;
}

/** Elements of a Q6_K block, and of a group in it that has a scale of its own. */
const Q6_BLOCK = 256;
const Q6_GROUP = 16;

/** How many units the largest number of a group may be away from zero: codes run from −32 to 31. */
const Q6_REACH = [-34, -33, -32.5, -32, -31.5, -31, -30, 30, 31];

/** The scale of a block's largest group is written as one of these, the others as what is nearest in the same units. */
const Q6_LARGEST = [-128, -126, -123, 127];

const clampCode = (x: number): number => Math.max(-32, Math.min(31, Math.round(x)));

/** The scale that leaves the least square error of 16 numbers: candidates by the code of the largest, each moved to the best for its codes. */
function groupScale(values: Float32Array, from: number): number {
  let largest = 0;
  let sum = 0; // Σx²
  for (let i = from; i < from + Q6_GROUP; i++) {
    const x = values[i]!;
    sum += x * x;
    if (Math.abs(x) > Math.abs(largest)) largest = x;
  }
  let best = 0;
  let least = sum;
  if (sum === 0) return 0;
  for (const reach of Q6_REACH) {
    const inverse = reach / largest;
    let xq = 0;
    let qq = 0;
    for (let i = from; i < from + Q6_GROUP; i++) {
      const code = clampCode(values[i]! * inverse);
      xq += values[i]! * code;
      qq += code * code;
    }
    const error = sum - (xq * xq) / qq;
    if (error < least) {
      least = error;
      best = xq / qq;
    }
  }
  return best;
}

/** Σ(x − scale·code)² of a group, each code the nearest. */
function groupError(values: Float32Array, from: number, scale: number): number {
  const inverse = scale === 0 ? 0 : 1 / scale;
  let error = 0;
  for (let i = from; i < from + Q6_GROUP; i++) {
    const x = values[i]!;
    const e = x - scale * clampCode(x * inverse);
    error += e * e;
  }
  return error;
}

/** Writes one block of 256 to `bytes[at]`. */
function encodeQ6Block(values: Float32Array, from: number, bytes: Uint8Array, at: number): void {
  const groups = Q6_BLOCK / Q6_GROUP;
  const scales = Array.from({ length: groups }, (_, g) => groupScale(values, from + g * Q6_GROUP));
  const largest = scales.reduce((most, scale) => (Math.abs(scale) > Math.abs(most) ? scale : most), 0);
  let d = 0;
  let chosen: number[] = scales.map(() => 0); // [16] int8
  let least = Number.POSITIVE_INFINITY;
  if (largest !== 0) {
    for (const unit of Q6_LARGEST) {
      const candidate = setHalf(bytes, at + 208, largest / unit);
      if (candidate === 0) continue;
      const rounded = scales.map((scale) => Math.max(-128, Math.min(127, Math.round(scale / candidate))));
      const error = rounded.reduce((total, scale, g) => total + groupError(values, from + g * Q6_GROUP, candidate * scale), 0);
      if (error < least) [d, chosen, least] = [candidate, rounded, error];
    }
  }
  setHalf(bytes, at + 208, d);
  for (const [g, scale] of chosen.entries()) bytes[at + 192 + g] = scale;
  for (let e = 0; e < Q6_BLOCK; e++) {
    const scale = d * chosen[e >> 4]!;
    const code = 32 + (scale === 0 ? 0 : clampCode(values[from + e]! / scale));
    const [half, g, p] = [e >> 7, (e >> 5) & 3, e & 31];
    bytes[at + 64 * half + 32 * (g & 1) + p]! |= (code & 15) << (4 * (g >> 1));
    bytes[at + 128 + 32 * half + p]! |= (code >> 4) << (2 * g);
  }
}

/**
 * Q6_K: 256 elements in 210 bytes, which are 128 of low halves, 64 of high bits, 16 int8 scales, d as f16; value d · scale · (code − 32). Of each 128
 * elements, element 32·g + p has its low 4 bits in byte p + 32·(g mod 2) of 64, in the upper half of it for g ≥ 2, and its high 2 in byte p of
 * 32, bits 2g; each 16 elements share a scale.
 * @param values whole blocks of 256
 */
export function encodeQ6(values: Float32Array): Uint8Array {
  const bytes = new Uint8Array((values.length / Q6_BLOCK) * 210);
  for (let from = 0, to = 0; from < values.length; from += Q6_BLOCK, to += 210) encodeQ6Block(values, from, bytes, to);
  return bytes;
}
