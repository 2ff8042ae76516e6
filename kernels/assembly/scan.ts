// The coarse pass over the output head: rows as 8-bit codes with a scale each, and how far from the true row they are, so that the true
// logit is known to lie in a proven interval (engine/network/head-search.ts). Only the rows that can still win are then computed exactly.
// Rows lie in groups of 4: byte 64b + 16i + j of a group = row i, column 16b + j. A row has n columns, a multiple of 16.
import { opaque, sum8 } from "./lanes";

/** √Σx², f32, of squares already summed in 8 lanes. */
// @ts-ignore: decorator
@inline
function root(lo: v128, hi: v128): f32 {
  return sqrt<f32>(sum8(lo, hi));
}

/** Adding and taking away 1.5·2^23 rounds an f32 of magnitude < 2^22 to the nearest integer, which the low bits then hold. */
const ROUNDER_BITS: i32 = 0x4b400000;

/**
 * Codes of one row: round(x / scale), scale = max|x| / 127.
 * @param row 0…3
 * @param x [n] f32
 * @param scale f32
 * @param error f32: √Σ(x − code·scale)², as computed in f32
 */
export function packScan(group: usize, row: u32, scale: usize, error: usize, x: usize, n: u32): void {
  const end = x + (<usize>n << 2);
  let top = f32x4.splat(0), other = f32x4.splat(0);
  for (let p = x; p < end; p += 32) {
    top = f32x4.max(top, f32x4.abs(v128.load(p)));
    other = f32x4.max(other, f32x4.abs(v128.load(p, 16)));
  }
  top = f32x4.max(top, other);
  const most = max<f32>(max<f32>(f32x4.extract_lane(top, 0), f32x4.extract_lane(top, 1)), max<f32>(f32x4.extract_lane(top, 2), f32x4.extract_lane(top, 3)));
  const step: f32 = most / 127;
  const s = f32x4.splat(step);
  const inverse = f32x4.splat(step > 0 ? <f32>1 / step : 0);
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
 * @param levels so few that no sum of `scan` overflows
 */
export function prepareScan(out: usize, meta: usize, x: usize, n: u32, levels: u32): void {
  const bytes = <usize>n << 2;
  let top = f32x4.splat(0);
  for (let i: usize = 0; i < bytes; i += 16) top = f32x4.max(top, f32x4.abs(v128.load(x + i)));
  const most = max<f32>(max<f32>(f32x4.extract_lane(top, 0), f32x4.extract_lane(top, 1)), max<f32>(f32x4.extract_lane(top, 2), f32x4.extract_lane(top, 3)));
  const step: f32 = most / <f32>levels;
  const s = f32x4.splat(step);
  const inverse = f32x4.splat(step > 0 ? <f32>1 / step : 0);
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

/** [4] f32 of four rows' sums in two halves each. */
// @ts-ignore: decorator
@inline
function collect(sums: usize): v128 {
  const a = i32x4.add(v128.load(sums), v128.load(sums, 16)), b = i32x4.add(v128.load(sums, 32), v128.load(sums, 48));
  const c = i32x4.add(v128.load(sums, 64), v128.load(sums, 80)), d = i32x4.add(v128.load(sums, 96), v128.load(sums, 112));
  const ab = i32x4.add(v128.shuffle<i32>(a, b, 0, 2, 4, 6), v128.shuffle<i32>(a, b, 1, 3, 5, 7));
  const cd = i32x4.add(v128.shuffle<i32>(c, d, 0, 2, 4, 6), v128.shuffle<i32>(c, d, 1, 3, 5, 7));
  return f32x4.convert_i32x4_s(i32x4.add(v128.shuffle<i32>(ab, cd, 0, 2, 4, 6), v128.shuffle<i32>(ab, cd, 1, 3, 5, 7)));
}

/**
 * Coarse logits of `rows` rows (a multiple of 4) for one hidden state: the sum of codes · codes, times both scales.
 * @param codes packed rows
 * @param scales [rows] f32
 * @param x [n] int16 of `prepareScan`
 * @param meta its scale
 * @param y [rows] f32
 * @param scratch 128 bytes of this thread's own
 */
export function scan(codes: usize, scales: usize, rows: u32, n: u32, x: usize, meta: usize, y: usize, scratch: usize): void {
  const step = v128.load32_splat(meta);
  const end = x + (<usize>n << 1);
  for (const last = y + (<usize>rows << 2); y < last; y += 16, scales += 16) {
    let a0 = i32x4.splat(0), a1 = i32x4.splat(0), a2 = i32x4.splat(0), a3 = i32x4.splat(0);
    let b0 = i32x4.splat(0), b1 = i32x4.splat(0), b2 = i32x4.splat(0), b3 = i32x4.splat(0);
    for (let p = x; p < end; p += 32, codes += 64) {
      const u = v128.load(p), v = v128.load(p, 16);
      a0 = i32x4.add(a0, i32x4.dot_i16x8_s(v128.load_ext<i8>(codes), u));
      b0 = i32x4.add(b0, i32x4.dot_i16x8_s(v128.load_ext<i8>(codes, 8), v));
      a1 = i32x4.add(a1, i32x4.dot_i16x8_s(v128.load_ext<i8>(codes, 16), u));
      b1 = i32x4.add(b1, i32x4.dot_i16x8_s(v128.load_ext<i8>(codes, 24), v));
      a2 = i32x4.add(a2, i32x4.dot_i16x8_s(v128.load_ext<i8>(codes, 32), u));
      b2 = i32x4.add(b2, i32x4.dot_i16x8_s(v128.load_ext<i8>(codes, 40), v));
      a3 = i32x4.add(a3, i32x4.dot_i16x8_s(v128.load_ext<i8>(codes, 48), u));
      b3 = i32x4.add(b3, i32x4.dot_i16x8_s(v128.load_ext<i8>(codes, 56), v));
    }
    v128.store(scratch, a0);
    v128.store(scratch, b0, 16);
    v128.store(scratch, a1, 32);
    v128.store(scratch, b1, 48);
    v128.store(scratch, a2, 64);
    v128.store(scratch, b2, 80);
    v128.store(scratch, a3, 96);
    v128.store(scratch, b3, 112);
    v128.store(y, f32x4.mul(f32x4.mul(collect(scratch), step), v128.load(scales)));
  }
}
