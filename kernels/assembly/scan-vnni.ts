// The scan of several states for processors with AVX-VNNI (see vnni.ts). A state's numbers, of 14 bits, become two of 7 bits without a sign,
// x + 8192 = 128·h + l. Codes of two groups of rows are unpacked to bytes, c = u − 32, for all states: Σ c·x = 128·Σ c·h + Σ c·l − 8192·Σ c.
import { SCAN_VNNI, called } from "./count";
import { opaque } from "./lanes";
import { scanWide } from "./scan";
import { BLOCK, logits4, rowBytes, seventh, sixth } from "./scan-codes";
import { dotAdd, total4 } from "./sums";

/** States from which on the scan is limited by arithmetic. */
const LEAST_STATES: u32 = 3;
/** States that are kept in halves at a time. */
const SPLIT_STATES: u32 = 8;
/** Bytes of sums before them: [3][8 rows][4] i32, those with the upper halves, the lower ones, and of the codes alone. */
const SPLIT_SUMS: usize = 384;

/**
 * As `scanWide`.
 * @param scratch `scanScratch` bytes of this thread's own
 */
export function scanVnni(codes: usize, scales: usize, rows: u32, n: u32, x: usize, xStride: usize, meta: usize, columns: u32, y: usize, yStride: usize, scratch: usize): void {
  if (ASC_FEATURE_RELAXED_SIMD) {
    if (columns < LEAST_STATES) {
      scanWide(codes, scales, rows, n, x, xStride, meta, columns, y, yStride, scratch);
      return;
    }
    called(SCAN_VNNI);
    const groups = rows >> 3;
    const far = <usize>groups << 4; // bytes of logits
    const group = rowBytes(n) << 2;
    const at = <usize>(rows - 4) << 2;
    const last = codes + <usize>(rows - 4) * rowBytes(n);
    for (let first: u32 = 0; first < columns; first += SPLIT_STATES) {
      const count = min<u32>(SPLIT_STATES, columns - first);
      for (let i: u32 = 0; i < count; i++) splitState(scratch + SPLIT_SUMS + (<usize>(i * n) << 2), x + <usize>i * xStride, n);
      statesVnni(codes, codes + <usize>groups * group, scales, scales + far, groups, n, xStride, meta, count, y, y + far, yStride, scratch);
      if (rows & 4) statesVnni(last, last, scales + at, scales + at, 1, n, xStride, meta, count, y + at, y + at, yStride, scratch);
      x += <usize>SPLIT_STATES * xStride;
      meta += <usize>SPLIT_STATES * xStride;
      y += <usize>SPLIT_STATES * yStride;
    }
  }
}

/** A state's halves: of every 16 columns 16 upper ones twice, then 16 lower ones twice. @param out [n / 16][64] u8 @param x [n] int16, within ±8191 */
function splitState(out: usize, x: usize, n: u32): void {
  const offset = i16x8.splat(<i16>opaque(8192, n));
  const low = i16x8.splat(<i16>opaque(127, n));
  for (const end = x + (<usize>n << 1); x < end; x += 32, out += 64) {
    const u = i16x8.add(v128.load(x), offset), v = i16x8.add(v128.load(x, 16), offset);
    const h = i8x16.narrow_i16x8_u(i16x8.shr_u(u, 7), i16x8.shr_u(v, 7));
    const l = i8x16.narrow_i16x8_u(v128.and(u, low), v128.and(v, low));
    v128.store(out, h, 16);
    v128.store(out, h);
    v128.store(out, l, 48);
    v128.store(out, l, 32);
  }
}

/** y and z: logits of `groups` groups at c and d each; two groups of rows meet all states while they are in the first cache. */
function statesVnni(packedC: usize, packedD: usize, scalesC: usize, scalesD: usize, groups: u32, n: u32, xStride: usize, meta: usize, columns: u32, y: usize, z: usize, yStride: usize, sums: usize): void {
  const bytes = <usize>n << 2;
  const packed = rowBytes(n) << 2;
  const c = sums + SPLIT_SUMS + bytes * SPLIT_STATES;
  const d = c + bytes;
  for (const last = y + (<usize>groups << 4); y < last; y += 16, z += 16, scalesC += 16, scalesD += 16, packedC += packed, packedD += packed) {
    unpackGroup(c, packedC, n);
    unpackGroup(d, packedD, n);
    sumCodes(c, d, bytes, sums);
    let halves = sums + SPLIT_SUMS;
    let m = meta;
    let out: usize = 0;
    for (let i: u32 = 0; i < columns; i++, halves += bytes, m += xStride, out += yStride) {
      dotCodes(c, d, bytes, halves, sums);
      v128.store(y + out, logits4(total4(whole(sums), whole(sums + 16), whole(sums + 32), whole(sums + 48)), m, scalesC));
      v128.store(z + out, logits4(total4(whole(sums + 64), whole(sums + 80), whole(sums + 96), whole(sums + 112)), m, scalesD));
    }
  }
}

/** The codes of a group as int8: byte 64b + 16r + j = row r, column 16b + j. Memory is read here. */
function unpackGroup(out: usize, packed: usize, n: u32): void {
  const mask = i16x8.splat(<i16>opaque(63, n)), six = i16x8.splat(<i16>opaque(0x30, n)), seven = i16x8.splat(<i16>opaque(0x3c, n));
  const offset = i8x16.splat(<i8>opaque(32, n));
  for (const end = out + (<usize>n << 2); out < end; out += 512, packed += BLOCK) {
    for (let row: usize = 0; row < 4; row++) {
      const from = packed + row * rowBytes(n), to = out + (row << 4);
      const w0 = v128.load(from), h0 = v128.load(from, 16), w1 = v128.load(from, 32), h1 = v128.load(from, 48), w2 = v128.load(from, 64), h2 = v128.load(from, 80);
      v128.store(to, bytes16(v128.and(w0, mask), v128.and(h0, mask), offset));
      v128.store(to, bytes16(v128.and(i16x8.shr_u(w0, 6), mask), v128.and(i16x8.shr_u(h0, 6), mask), offset), 64);
      v128.store(to, bytes16(v128.and(w1, mask), v128.and(h1, mask), offset), 128);
      v128.store(to, bytes16(v128.and(i16x8.shr_u(w1, 6), mask), v128.and(i16x8.shr_u(h1, 6), mask), offset), 192);
      v128.store(to, bytes16(v128.and(w2, mask), v128.and(h2, mask), offset), 256);
      v128.store(to, bytes16(v128.and(i16x8.shr_u(w2, 6), mask), v128.and(i16x8.shr_u(h2, 6), mask), offset), 320);
      v128.store(to, bytes16(sixth(w0, w1, six), sixth(h0, h1, six), offset), 384);
      v128.store(to, bytes16(seventh(w1, w2, seven), seventh(h1, h2, seven), offset), 448);
    }
  }
}

// @ts-ignore: decorator
@inline
function bytes16(low: v128, high: v128, offset: v128): v128 {
  return i8x16.sub(i8x16.narrow_i16x8_u(low, high), offset);
}

/** Σ of codes of two groups of rows. */
function sumCodes(c: usize, d: usize, bytes: usize, sums: usize): void {
  const ones = i8x16.splat(<i8>opaque(1, <u32>bytes));
  let a0 = i32x4.splat(0), a1 = i32x4.splat(0), a2 = i32x4.splat(0), a3 = i32x4.splat(0), a4 = i32x4.splat(0), a5 = i32x4.splat(0), a6 = i32x4.splat(0), a7 = i32x4.splat(0);
  for (const end = c + bytes; c < end; c += 64, d += 64) {
    a0 = dotAdd(a0, v128.load(c), ones);
    a1 = dotAdd(a1, v128.load(c, 16), ones);
    a2 = dotAdd(a2, v128.load(c, 32), ones);
    a3 = dotAdd(a3, v128.load(c, 48), ones);
    a4 = dotAdd(a4, v128.load(d), ones);
    a5 = dotAdd(a5, v128.load(d, 16), ones);
    a6 = dotAdd(a6, v128.load(d, 32), ones);
    a7 = dotAdd(a7, v128.load(d, 48), ones);
  }
  v128.store(sums, a1, 272);
  v128.store(sums, a0, 256);
  v128.store(sums, a3, 304);
  v128.store(sums, a2, 288);
  v128.store(sums, a5, 336);
  v128.store(sums, a4, 320);
  v128.store(sums, a7, 368);
  v128.store(sums, a6, 352);
}

/** Σ of codes · halves of a state, of two groups of rows. */
function dotCodes(c: usize, d: usize, bytes: usize, halves: usize, sums: usize): void {
  let a0 = i32x4.splat(0), a1 = i32x4.splat(0), a2 = i32x4.splat(0), a3 = i32x4.splat(0), a4 = i32x4.splat(0), a5 = i32x4.splat(0), a6 = i32x4.splat(0), a7 = i32x4.splat(0);
  let b0 = i32x4.splat(0), b1 = i32x4.splat(0), b2 = i32x4.splat(0), b3 = i32x4.splat(0), b4 = i32x4.splat(0), b5 = i32x4.splat(0), b6 = i32x4.splat(0), b7 = i32x4.splat(0);
  for (const end = c + bytes; c < end; c += 64, d += 64, halves += 64) {
    const u0 = v128.load(halves), u1 = v128.load(halves, 16), v0 = v128.load(halves, 32), v1 = v128.load(halves, 48);
    const k0 = v128.load(c);
    const k1 = v128.load(c, 16);
    a0 = dotAdd(a0, k0, u0);
    a1 = dotAdd(a1, k1, u1);
    b0 = dotAdd(b0, k0, v0);
    b1 = dotAdd(b1, k1, v1);
    const k2 = v128.load(c, 32);
    const k3 = v128.load(c, 48);
    a2 = dotAdd(a2, k2, u0);
    a3 = dotAdd(a3, k3, u1);
    b2 = dotAdd(b2, k2, v0);
    b3 = dotAdd(b3, k3, v1);
    const k4 = v128.load(d);
    const k5 = v128.load(d, 16);
    a4 = dotAdd(a4, k4, u0);
    a5 = dotAdd(a5, k5, u1);
    b4 = dotAdd(b4, k4, v0);
    b5 = dotAdd(b5, k5, v1);
    const k6 = v128.load(d, 32);
    const k7 = v128.load(d, 48);
    a6 = dotAdd(a6, k6, u0);
    a7 = dotAdd(a7, k7, u1);
    b6 = dotAdd(b6, k6, v0);
    b7 = dotAdd(b7, k7, v1);
  }
  v128.store(sums, a1, 16);
  v128.store(sums, a0);
  v128.store(sums, a3, 48);
  v128.store(sums, a2, 32);
  v128.store(sums, a5, 80);
  v128.store(sums, a4, 64);
  v128.store(sums, a7, 112);
  v128.store(sums, a6, 96);
  v128.store(sums, b1, 144);
  v128.store(sums, b0, 128);
  v128.store(sums, b3, 176);
  v128.store(sums, b2, 160);
  v128.store(sums, b5, 208);
  v128.store(sums, b4, 192);
  v128.store(sums, b7, 240);
  v128.store(sums, b6, 224);
}

/** 128·upper + lower − 8192·codes, of a row's sums. */
// @ts-ignore: decorator
@inline
function whole(sums: usize): v128 {
  return i32x4.sub(i32x4.add(i32x4.shl(v128.load(sums), 7), v128.load(sums, 128)), i32x4.shl(v128.load(sums, 256), 13));
}
