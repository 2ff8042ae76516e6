// The output head as codes. A row x of n columns has the scale s = max|x| / 127 and codes c = round(x / s) of 8 bits. Its upper 6 bits,
// u = (c >> 2) + 32, are read for every token: they say that x is near s·(4(u − 32) + 1½). The lower 2, c & 3, are read for few rows (`refine`).
// Rows have whole blocks of 128 columns; those that they lack have the code 0. Eight codes of 6 bits fill three words of 16:
//
//   w0 = u0 | u1 << 6 | (u6 & 15) << 12    w1 = u2 | u3 << 6 | (u6 >> 4) << 12 | (u7 & 3) << 14    w2 = u4 | u5 << 6 | (u7 >> 2) << 12
//
//   128 bits:  words at byte 48b + 16w + 2l of a row     = columns 64b + 8i + l (i 0…7, l 0…7)
//   wide:      words at byte 96b + 32w + 16h + 2l        = columns 128b + 16i + 8h + l (h 0…1)
//   lower bits: one word at byte 32b + 16h + 2l of a row = columns 128b + 16i + 8h + l, in the bits 2i
import { PREPARE_SCAN, called } from "./count";
import { absMax, opaque, sum8 } from "./lanes";

/** Bytes of 128 columns of a row: upper bits, lower bits. */
export const BLOCK: usize = 96;
export const LOW_BLOCK: usize = 32;

/** √Σx², f32, of squares already summed in 8 lanes. */
// @ts-ignore: decorator
@inline
function root(lo: v128, hi: v128): f32 {
  return sqrt<f32>(sum8(lo, hi));
}

/** Adding and taking away 1.5·2^23 rounds an f32 of magnitude < 2^22 to the nearest integer, which the low bits then hold. */
const ROUNDER_BITS: i32 = 0x4b400000;
/** Of smaller numbers the inverse leaves f32's range: all codes are 0 then, and the whole row is its distance. */
const LEAST_STEP: f32 = 1e-30;

/**
 * Codes of one row.
 * @param out, low its upper bits, its lower bits
 * @param scale f32
 * @param errors f32 each: how far the row is from its upper bits, √Σ(x − s·(4(u − 32) + 1½))², and from all bits, √Σ(x − s·c)², as computed in f32
 * @param x [n] f32, n a multiple of 16
 * @param scratch 256 bytes
 */
export function packScan(out: usize, low: usize, scale: usize, error: usize, fineError: usize, x: usize, n: u32, scratch: usize): void {
  pack(out, low, scale, error, fineError, x, n, scratch, false);
}

/** The same in the wide layout. */
export function packScanWide(out: usize, low: usize, scale: usize, error: usize, fineError: usize, x: usize, n: u32, scratch: usize): void {
  pack(out, low, scale, error, fineError, x, n, scratch, true);
}

function pack(out: usize, low: usize, scale: usize, error: usize, fineError: usize, x: usize, n: u32, scratch: usize, wide: bool): void {
  const bytes = <usize>n << 2;
  const most = absMax(x, bytes, 0);
  const step: f32 = most / 127;
  const s = f32x4.splat(step);
  const inverse = f32x4.splat(step > LEAST_STEP ? <f32>1 / step : 0);
  const rounder = f32x4.splat(reinterpret<f32>(opaque(ROUNDER_BITS, n)));
  const three = i32x4.splat(opaque(3, n));
  const middle = f32x4.splat(1.5);
  let lo = f32x4.splat(0), hi = f32x4.splat(0), fineLo = f32x4.splat(0), fineHi = f32x4.splat(0);
  for (let first: usize = 0; first < bytes; first += 512, out += BLOCK, low += LOW_BLOCK) {
    const count = min<usize>(512, bytes - first);
    for (let i: usize = 0; i < count; i += 32) {
      const a = v128.load(x + first + i), b = v128.load(x + first + i, 16);
      const ra = f32x4.add(f32x4.mul(a, inverse), rounder), rb = f32x4.add(f32x4.mul(b, inverse), rounder);
      const ca = i32x4.sub(ra, rounder), cb = i32x4.sub(rb, rounder);
      v128.store(scratch + (i >> 1), i16x8.narrow_i32x4_s(ca, cb));
      const ea = f32x4.sub(a, f32x4.mul(f32x4.sub(ra, rounder), s)), eb = f32x4.sub(b, f32x4.mul(f32x4.sub(rb, rounder), s));
      fineLo = f32x4.add(fineLo, f32x4.mul(ea, ea));
      fineHi = f32x4.add(fineHi, f32x4.mul(eb, eb));
      const ua = f32x4.add(f32x4.convert_i32x4_s(v128.andnot(ca, three)), middle), ub = f32x4.add(f32x4.convert_i32x4_s(v128.andnot(cb, three)), middle);
      const da = f32x4.sub(a, f32x4.mul(ua, s)), db = f32x4.sub(b, f32x4.mul(ub, s));
      lo = f32x4.add(lo, f32x4.mul(da, da));
      hi = f32x4.add(hi, f32x4.mul(db, db));
    }
    for (let i = count; i < 512; i += 32) v128.store(scratch + (i >> 1), i16x8.splat(0));
    if (wide) {
      packUpper(out, 32, scratch, 32);
      packUpper(out + 16, 32, scratch + 16, 32);
    } else {
      packUpper(out, 16, scratch, 16);
      packUpper(out + 48, 16, scratch + 128, 16);
    }
    packLower(low, scratch);
    packLower(low + 16, scratch + 16);
  }
  store<f32>(scale, step);
  store<f32>(error, root(lo, hi));
  store<f32>(fineError, root(fineLo, fineHi));
}

/** Three words of each lane, `step` bytes apart, of eight vectors of i16, `stride` bytes apart. */
function packUpper(out: usize, step: usize, codes: usize, stride: usize): void {
  const u0 = upper(codes), u1 = upper(codes + stride), u2 = upper(codes + 2 * stride), u3 = upper(codes + 3 * stride);
  const u4 = upper(codes + 4 * stride), u5 = upper(codes + 5 * stride), u6 = upper(codes + 6 * stride), u7 = upper(codes + 7 * stride);
  v128.store(out, v128.or(v128.or(u0, i16x8.shl(u1, 6)), i16x8.shl(u6, 12)));
  const w1 = v128.or(i16x8.shl(i16x8.shr_u(u6, 4), 12), i16x8.shl(u7, 14));
  v128.store(out + step, v128.or(v128.or(u2, i16x8.shl(u3, 6)), w1));
  v128.store(out + 2 * step, v128.or(v128.or(u4, i16x8.shl(u5, 6)), i16x8.shl(i16x8.shr_u(u7, 2), 12)));
}

// @ts-ignore: decorator
@inline
function upper(codes: usize): v128 {
  return i16x8.add(i16x8.shr_s(v128.load(codes), 2), i16x8.splat(32));
}

/** Half of a block: 8 of every 16 columns. */
function packLower(out: usize, codes: usize): void {
  let word = i16x8.splat(0);
  for (let i: i32 = 0; i < 8; i++) word = v128.or(word, i16x8.shl(v128.and(v128.load(codes + (<usize>i << 5)), i16x8.splat(3)), i << 1));
  v128.store(out, word);
}

/**
 * A hidden state for `scan`: round(x / step), step = max|x| / levels.
 * @param out [n] int16, and 0 up to a whole block
 * @param meta out: step, √Σx², √Σ(x − code·step)², f32; 32·Σ code, i32; 1½·Σ code, f32
 * @param x [n] f32, n a multiple of 16
 * @param levels at most 8191, and so few that no sum of `scan` overflows
 */
export function prepareScan(out: usize, meta: usize, x: usize, n: u32, levels: u32): void {
  called(PREPARE_SCAN);
  const bytes = <usize>n << 2;
  const most = absMax(x, bytes, 0);
  const step: f32 = most / <f32>levels;
  const s = f32x4.splat(step);
  const inverse = f32x4.splat(step > LEAST_STEP ? <f32>1 / step : 0);
  const limit = i32x4.splat(levels);
  let nlo = f32x4.splat(0), nhi = f32x4.splat(0), elo = f32x4.splat(0), ehi = f32x4.splat(0), sums = i32x4.splat(0);
  for (let i: usize = 0; i < bytes; i += 32) {
    const a = v128.load(x + i), b = v128.load(x + i, 16);
    const p = i32x4.max_s(i32x4.min_s(i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(a, inverse))), limit), i32x4.neg(limit));
    const q = i32x4.max_s(i32x4.min_s(i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(b, inverse))), limit), i32x4.neg(limit));
    v128.store(out + (i >> 1), i16x8.narrow_i32x4_s(p, q));
    const ea = f32x4.sub(a, f32x4.mul(f32x4.convert_i32x4_s(p), s)), eb = f32x4.sub(b, f32x4.mul(f32x4.convert_i32x4_s(q), s));
    nlo = f32x4.add(nlo, f32x4.mul(a, a));
    nhi = f32x4.add(nhi, f32x4.mul(b, b));
    elo = f32x4.add(elo, f32x4.mul(ea, ea));
    ehi = f32x4.add(ehi, f32x4.mul(eb, eb));
    sums = i32x4.add(sums, i32x4.add(p, q));
  }
  for (let i = <usize>n << 1, padded = (i + 255) & ~255; i < padded; i += 32) {
    v128.store(out + i, i16x8.splat(0));
    v128.store(out + i, i16x8.splat(0), 16);
  }
  const sum = sum4(sums);
  store<f32>(meta, step);
  store<f32>(meta, root(nlo, nhi), 4);
  store<f32>(meta, root(elo, ehi), 8);
  store<i32>(meta, sum << 5, 12);
  store<f32>(meta, <f32>sum * 1.5, 16);
}

// @ts-ignore: decorator
@inline
export function sum4(sums: v128): i32 {
  return i32x4.extract_lane(sums, 0) + i32x4.extract_lane(sums, 1) + (i32x4.extract_lane(sums, 2) + i32x4.extract_lane(sums, 3));
}

/** Sums of four rows, of (u − 32)·x, as logits: four f32. @param meta the state's */
// @ts-ignore: decorator
@inline
export function logits4(sums: v128, meta: usize, scales: usize): v128 {
  const whole = f32x4.add(f32x4.mul(f32x4.convert_i32x4_s(sums), f32x4.splat(4)), v128.load32_splat(meta, 16));
  return f32x4.mul(f32x4.mul(whole, v128.load32_splat(meta)), v128.load(scales));
}

/** Bytes of a row's upper bits. */
// @ts-ignore: decorator
@inline
export function rowBytes(n: u32): usize {
  return <usize>(n >> 7) * BLOCK;
}

/** u6 of three words. @param six 0x30 in every lane */
// @ts-ignore: decorator
@inline
export function sixth(w0: v128, w1: v128, six: v128): v128 {
  return v128.or(i16x8.shr_u(w0, 12), v128.and(i16x8.shr_u(w1, 8), six));
}

/** u7. @param seven 0x3c in every lane */
// @ts-ignore: decorator
@inline
export function seventh(w1: v128, w2: v128, seven: v128): v128 {
  return v128.or(i16x8.shr_u(w1, 14), v128.and(i16x8.shr_u(w2, 10), seven));
}

/** 8 products, added to 4 sums. */
// @ts-ignore: decorator
@inline
export function mac(sums: v128, codes: v128, x: v128): v128 {
  return i32x4.add(sums, i32x4.dot_i16x8_s(codes, x));
}
