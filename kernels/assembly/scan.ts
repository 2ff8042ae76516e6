// The coarse pass over the output head: rows as 8-bit codes with a scale each, and how far from the true row they are, so that the true
// logit is known to lie in a proven interval (engine/network/head-search.ts). Only the rows that can still win are then computed exactly.
// Rows lie in groups of 4: byte 64b + 16i + j of a group = row i, column 16b + j. A row has n columns, a multiple of 16.
import { AT_LEAST, BOUNDS, PREPARE_SCAN, SCAN, SCAN_WIDE, called } from "./count";
import { absMax, opaque, sum8 } from "./lanes";
import { half, total4 } from "./sums";

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
 * Codes of one row: round(x / scale), scale = max|x| / 127.
 * @param row 0…3
 * @param x [n] f32
 * @param scale f32
 * @param error f32: √Σ(x − code·scale)², as computed in f32
 */
export function packScan(group: usize, row: u32, scale: usize, error: usize, x: usize, n: u32): void {
  const end = x + (<usize>n << 2);
  const most = absMax(x, <usize>n << 2, 0);
  const step: f32 = most / 127;
  const s = f32x4.splat(step);
  const inverse = f32x4.splat(step > LEAST_STEP ? <f32>1 / step : 0);
  const rounder = f32x4.splat(reinterpret<f32>(opaque(ROUNDER_BITS, n)));
  let lo = f32x4.splat(0);
  let hi = f32x4.splat(0);
  let out = group + (<usize>row << 4);
  for (let p = x; p < end; p += 64, out += 64) {
    const a = v128.load(p), b = v128.load(p, 16), c = v128.load(p, 32), d = v128.load(p, 48);
    const ra = f32x4.add(f32x4.mul(a, inverse), rounder), rb = f32x4.add(f32x4.mul(b, inverse), rounder);
    const rc = f32x4.add(f32x4.mul(c, inverse), rounder), rd = f32x4.add(f32x4.mul(d, inverse), rounder);
    const u = i16x8.narrow_i32x4_s(i32x4.sub(ra, rounder), i32x4.sub(rb, rounder));
    const v = i16x8.narrow_i32x4_s(i32x4.sub(rc, rounder), i32x4.sub(rd, rounder));
    v128.store(out, i8x16.narrow_i16x8_s(u, v));
    const ea = f32x4.sub(a, f32x4.mul(f32x4.sub(ra, rounder), s)), eb = f32x4.sub(b, f32x4.mul(f32x4.sub(rb, rounder), s));
    const ec = f32x4.sub(c, f32x4.mul(f32x4.sub(rc, rounder), s)), ed = f32x4.sub(d, f32x4.mul(f32x4.sub(rd, rounder), s));
    lo = f32x4.add(lo, f32x4.add(f32x4.mul(ea, ea), f32x4.mul(eb, eb)));
    hi = f32x4.add(hi, f32x4.add(f32x4.mul(ec, ec), f32x4.mul(ed, ed)));
  }
  store<f32>(scale, step);
  store<f32>(error, root(lo, hi));
}

/**
 * A hidden state for `scan`: round(x / step), step = max|x| / levels.
 * @param out [n] int16
 * @param meta out: step, √Σx², √Σ(x − code·step)²; f32
 * @param x [n] f32
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
  let nlo = f32x4.splat(0), nhi = f32x4.splat(0), elo = f32x4.splat(0), ehi = f32x4.splat(0);
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
  }
  store<f32>(meta, step);
  store<f32>(meta, root(nlo, nhi), 4);
  store<f32>(meta, root(elo, ehi), 8);
}

/** Sums of four rows as logits: four f32. */
// @ts-ignore: decorator
@inline
export function logits4(a: v128, b: v128, c: v128, d: v128, step: v128, scales: usize): v128 {
  return f32x4.mul(f32x4.mul(f32x4.convert_i32x4_s(total4(a, b, c, d)), step), v128.load(scales));
}

/** 8 codes, widened. */
// @ts-ignore: decorator
@inline
function codes8(codes: usize): v128 {
  return v128.load_ext<i8>(codes);
}

/** 8 codes · 8 activations, added to 4 sums. */
// @ts-ignore: decorator
@inline
function dot8(sums: v128, codes: usize, x: v128): v128 {
  return i32x4.add(sums, i32x4.dot_i16x8_s(codes8(codes), x));
}

/**
 * Coarse logits of `rows` rows (a multiple of 4) for `columns` hidden states: the sum of codes · codes, times both scales. Two states at a
 * time meet codes that are widened once.
 * @param codes packed rows
 * @param scales [rows] f32
 * @param x [columns] of `xStride` bytes, [n] int16 of `prepareScan` each
 * @param meta [columns] of `xStride` bytes, its scale first
 * @param y [columns] of `yStride` bytes, [rows] f32 each
 */
export function scan(codes: usize, scales: usize, rows: u32, n: u32, x: usize, xStride: usize, meta: usize, columns: u32, y: usize, yStride: usize, _scratch: usize): void {
  called(SCAN);
  for (; columns > 1; columns -= 2, x += 2 * xStride, meta += 2 * xStride, y += 2 * yStride) {
    scanPair(codes, scales, rows, n, x, x + xStride, v128.load32_splat(meta), v128.load32_splat(meta + xStride), y, y + yStride);
  }
  if (columns > 0) scanOne(codes, scales, rows, n, x, v128.load32_splat(meta), y);
}

function scanOne(codes: usize, scales: usize, rows: u32, n: u32, x: usize, step: v128, y: usize): void {
  const end = x + (<usize>n << 1);
  for (const last = y + (<usize>rows << 2); y < last; y += 16, scales += 16) {
    let a0 = i32x4.splat(0), a1 = i32x4.splat(0), a2 = i32x4.splat(0), a3 = i32x4.splat(0);
    for (let p = x; p < end; p += 32, codes += 64) {
      const u = v128.load(p), v = v128.load(p, 16);
      a0 = dot8(dot8(a0, codes, u), codes + 8, v);
      a1 = dot8(dot8(a1, codes + 16, u), codes + 24, v);
      a2 = dot8(dot8(a2, codes + 32, u), codes + 40, v);
      a3 = dot8(dot8(a3, codes + 48, u), codes + 56, v);
    }
    v128.store(y, logits4(a0, a1, a2, a3, step, scales));
  }
}

/** y and z: logits of the states x and w. */
function scanPair(codes: usize, scales: usize, rows: u32, n: u32, x: usize, w: usize, stepX: v128, stepW: v128, y: usize, z: usize): void {
  const bytes = <usize>n << 1;
  for (const last = y + (<usize>rows << 2); y < last; y += 16, z += 16, scales += 16) {
    let a0 = i32x4.splat(0), a1 = i32x4.splat(0), a2 = i32x4.splat(0), a3 = i32x4.splat(0);
    let c0 = i32x4.splat(0), c1 = i32x4.splat(0), c2 = i32x4.splat(0), c3 = i32x4.splat(0);
    for (let i: usize = 0; i < bytes; i += 32, codes += 64) {
      const u = v128.load(x + i), uh = v128.load(x + i, 16), v = v128.load(w + i), vh = v128.load(w + i, 16);
      const k0 = codes8(codes + 0), l0 = codes8(codes + 8);
      a0 = i32x4.add(i32x4.add(a0, i32x4.dot_i16x8_s(k0, u)), i32x4.dot_i16x8_s(l0, uh));
      c0 = i32x4.add(i32x4.add(c0, i32x4.dot_i16x8_s(k0, v)), i32x4.dot_i16x8_s(l0, vh));
      const k1 = codes8(codes + 16), l1 = codes8(codes + 24);
      a1 = i32x4.add(i32x4.add(a1, i32x4.dot_i16x8_s(k1, u)), i32x4.dot_i16x8_s(l1, uh));
      c1 = i32x4.add(i32x4.add(c1, i32x4.dot_i16x8_s(k1, v)), i32x4.dot_i16x8_s(l1, vh));
      const k2 = codes8(codes + 32), l2 = codes8(codes + 40);
      a2 = i32x4.add(i32x4.add(a2, i32x4.dot_i16x8_s(k2, u)), i32x4.dot_i16x8_s(l2, uh));
      c2 = i32x4.add(i32x4.add(c2, i32x4.dot_i16x8_s(k2, v)), i32x4.dot_i16x8_s(l2, vh));
      const k3 = codes8(codes + 48), l3 = codes8(codes + 56);
      a3 = i32x4.add(i32x4.add(a3, i32x4.dot_i16x8_s(k3, u)), i32x4.dot_i16x8_s(l3, uh));
      c3 = i32x4.add(i32x4.add(c3, i32x4.dot_i16x8_s(k3, v)), i32x4.dot_i16x8_s(l3, vh));
    }
    v128.store(y, logits4(a0, a1, a2, a3, stepX, scales));
    v128.store(z, logits4(c0, c1, c2, c3, stepW, scales));
  }
}

/**
 * The same where pairs of 128-bit operations become 256-bit ones, and as in wide.ts a single state meets two groups of rows at a time.
 * @param scratch 256 bytes of this thread's own
 */
export function scanWide(codes: usize, scales: usize, rows: u32, n: u32, x: usize, xStride: usize, meta: usize, columns: u32, y: usize, yStride: usize, scratch: usize): void {
  called(SCAN_WIDE);
  for (; columns > 1; columns -= 2, x += 2 * xStride, meta += 2 * xStride, y += 2 * yStride) {
    scanPairWide(codes, scales, rows, n, x, x + xStride, v128.load32_splat(meta), v128.load32_splat(meta + xStride), y, y + yStride, scratch);
  }
  if (columns > 0) scanOneWide(codes, scales, rows, n, x, v128.load32_splat(meta), y, scratch);
}

function scanOneWide(codes: usize, scales: usize, rows: u32, n: u32, x: usize, step: v128, y: usize, scratch: usize): void {
  const groups = rows >> 3;
  const far = <usize>groups << 4; // bytes of logits
  scanPlaces(codes, codes + far * (<usize>n >> 2), scales, scales + far, groups, n, x, step, y, y + far, scratch);
  if (rows & 4) {
    const at = <usize>(rows - 4);
    codes += at * n;
    scanPlaces(codes, codes, scales + (at << 2), scales + (at << 2), 1, n, x, step, y + (at << 2), y + (at << 2), scratch);
  }
}

/** y and z: logits of `groups` groups at c and d each. */
function scanPlaces(c: usize, d: usize, scalesC: usize, scalesD: usize, groups: u32, n: u32, x: usize, step: v128, y: usize, z: usize, sums: usize): void {
  const end = x + (<usize>n << 1);
  for (const last = y + (<usize>groups << 4); y < last; y += 16, z += 16, scalesC += 16, scalesD += 16) {
    let a0 = i32x4.splat(0), a1 = i32x4.splat(0), a2 = i32x4.splat(0), a3 = i32x4.splat(0);
    let a4 = i32x4.splat(0), a5 = i32x4.splat(0), a6 = i32x4.splat(0), a7 = i32x4.splat(0);
    let b0 = i32x4.splat(0), b1 = i32x4.splat(0), b2 = i32x4.splat(0), b3 = i32x4.splat(0);
    let b4 = i32x4.splat(0), b5 = i32x4.splat(0), b6 = i32x4.splat(0), b7 = i32x4.splat(0);
    for (let p = x; p < end; p += 32, c += 64, d += 64) {
      const u = v128.load(p), v = v128.load(p, 16);
      a0 = dot8(a0, c + 0, u);
      b0 = dot8(b0, c + 8, v);
      a1 = dot8(a1, c + 16, u);
      b1 = dot8(b1, c + 24, v);
      a2 = dot8(a2, c + 32, u);
      b2 = dot8(b2, c + 40, v);
      a3 = dot8(a3, c + 48, u);
      b3 = dot8(b3, c + 56, v);
      a4 = dot8(a4, d + 0, u);
      b4 = dot8(b4, d + 8, v);
      a5 = dot8(a5, d + 16, u);
      b5 = dot8(b5, d + 24, v);
      a6 = dot8(a6, d + 32, u);
      b6 = dot8(b6, d + 40, v);
      a7 = dot8(a7, d + 48, u);
      b7 = dot8(b7, d + 56, v);
    }
    v128.store(sums, a0, 0);
    v128.store(sums, b0, 16);
    v128.store(sums, a1, 32);
    v128.store(sums, b1, 48);
    v128.store(sums, a2, 64);
    v128.store(sums, b2, 80);
    v128.store(sums, a3, 96);
    v128.store(sums, b3, 112);
    v128.store(sums, a4, 128);
    v128.store(sums, b4, 144);
    v128.store(sums, a5, 160);
    v128.store(sums, b5, 176);
    v128.store(sums, a6, 192);
    v128.store(sums, b6, 208);
    v128.store(sums, a7, 224);
    v128.store(sums, b7, 240);
    v128.store(y, logits4(half(sums), half(sums + 32), half(sums + 64), half(sums + 96), step, scalesC));
    v128.store(z, logits4(half(sums + 128), half(sums + 160), half(sums + 192), half(sums + 224), step, scalesD));
  }
}

/** y and z: logits of the states x and w. */
function scanPairWide(codes: usize, scales: usize, rows: u32, n: u32, x: usize, w: usize, stepX: v128, stepW: v128, y: usize, z: usize, sums: usize): void {
  const bytes = <usize>n << 1;
  for (const last = y + (<usize>rows << 2); y < last; y += 16, z += 16, scales += 16) {
    let a0 = i32x4.splat(0), a1 = i32x4.splat(0), a2 = i32x4.splat(0), a3 = i32x4.splat(0);
    let b0 = i32x4.splat(0), b1 = i32x4.splat(0), b2 = i32x4.splat(0), b3 = i32x4.splat(0);
    let c0 = i32x4.splat(0), c1 = i32x4.splat(0), c2 = i32x4.splat(0), c3 = i32x4.splat(0);
    let d0 = i32x4.splat(0), d1 = i32x4.splat(0), d2 = i32x4.splat(0), d3 = i32x4.splat(0);
    for (let i: usize = 0; i < bytes; i += 32, codes += 64) {
      const u = v128.load(x + i), uh = v128.load(x + i, 16), v = v128.load(w + i), vh = v128.load(w + i, 16);
      const k0 = codes8(codes + 0), l0 = codes8(codes + 8);
      a0 = i32x4.add(a0, i32x4.dot_i16x8_s(k0, u));
      b0 = i32x4.add(b0, i32x4.dot_i16x8_s(l0, uh));
      c0 = i32x4.add(c0, i32x4.dot_i16x8_s(k0, v));
      d0 = i32x4.add(d0, i32x4.dot_i16x8_s(l0, vh));
      const k1 = codes8(codes + 16), l1 = codes8(codes + 24);
      a1 = i32x4.add(a1, i32x4.dot_i16x8_s(k1, u));
      b1 = i32x4.add(b1, i32x4.dot_i16x8_s(l1, uh));
      c1 = i32x4.add(c1, i32x4.dot_i16x8_s(k1, v));
      d1 = i32x4.add(d1, i32x4.dot_i16x8_s(l1, vh));
      const k2 = codes8(codes + 32), l2 = codes8(codes + 40);
      a2 = i32x4.add(a2, i32x4.dot_i16x8_s(k2, u));
      b2 = i32x4.add(b2, i32x4.dot_i16x8_s(l2, uh));
      c2 = i32x4.add(c2, i32x4.dot_i16x8_s(k2, v));
      d2 = i32x4.add(d2, i32x4.dot_i16x8_s(l2, vh));
      const k3 = codes8(codes + 48), l3 = codes8(codes + 56);
      a3 = i32x4.add(a3, i32x4.dot_i16x8_s(k3, u));
      b3 = i32x4.add(b3, i32x4.dot_i16x8_s(l3, uh));
      c3 = i32x4.add(c3, i32x4.dot_i16x8_s(k3, v));
      d3 = i32x4.add(d3, i32x4.dot_i16x8_s(l3, vh));
    }
    v128.store(sums, b0, 16);
    v128.store(sums, a0);
    v128.store(sums, b1, 48);
    v128.store(sums, a1, 32);
    v128.store(sums, b2, 80);
    v128.store(sums, a2, 64);
    v128.store(sums, b3, 112);
    v128.store(sums, a3, 96);
    v128.store(sums, d0, 144);
    v128.store(sums, c0, 128);
    v128.store(sums, d1, 176);
    v128.store(sums, c1, 160);
    v128.store(sums, d2, 208);
    v128.store(sums, c2, 192);
    v128.store(sums, d3, 240);
    v128.store(sums, c3, 224);
    v128.store(y, logits4(half(sums), half(sums + 32), half(sums + 64), half(sums + 96), stepX, scales));
    v128.store(z, logits4(half(sums + 128), half(sums + 160), half(sums + 192), half(sums + 224), stepW, scales));
  }
}

/**
 * What the true logits lie between: coarse ∓ (perError · error + perScale · scale + slack).
 * @param lower, upper [rows] f32
 * @param coarse, scales, errors [rows] f32; rows is a multiple of 4
 * @returns the largest of `lower`
 */
export function bounds(lower: usize, upper: usize, coarse: usize, scales: usize, errors: usize, rows: u32, perError: f32, perScale: f32, slack: f32): f32 {
  called(BOUNDS);
  const e = f32x4.splat(perError), s = f32x4.splat(perScale), c = f32x4.splat(slack);
  let top = f32x4.splat(-Infinity);
  for (let i: usize = 0, end = <usize>rows << 2; i < end; i += 16) {
    const bound = f32x4.add(f32x4.add(f32x4.mul(e, v128.load(errors + i)), f32x4.mul(s, v128.load(scales + i))), c);
    const middle = v128.load(coarse + i);
    const least = f32x4.sub(middle, bound);
    v128.store(lower + i, least);
    v128.store(upper + i, f32x4.add(middle, bound));
    top = f32x4.pmax(top, least);
  }
  return max<f32>(max<f32>(f32x4.extract_lane(top, 0), f32x4.extract_lane(top, 1)), max<f32>(f32x4.extract_lane(top, 2), f32x4.extract_lane(top, 3)));
}

/** Numbers of the values that are not below `least` (NaN isn't), ascending, u32 at `out`. @param rows a multiple of 4 @returns how many */
export function atLeast(out: usize, values: usize, rows: u32, least: f32): u32 {
  called(AT_LEAST);
  const limit = f32x4.splat(least);
  let to = out;
  for (let i: u32 = 0; i < rows; i += 4) {
    const hits = i32x4.bitmask(f32x4.lt(v128.load(values + (<usize>i << 2)), limit)) ^ 15;
    if (hits == 0) continue;
    for (let lane: u32 = 0; lane < 4; lane++) {
      if (!((hits >> lane) & 1)) continue;
      store<u32>(to, i + lane);
      to += 4;
    }
  }
  return <u32>((to - out) >> 2);
}
