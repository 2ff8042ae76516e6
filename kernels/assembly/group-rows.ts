// The product with scales in groups of columns, on rows in lanes: a 32-bit lane of a vector is a row, so that sums need no turning over and scales
// of four rows are one vector. Rows lie in groups of 16, group g at 4·g·kPad bytes:
//
//   byte 64b + 4·row + j of a group = columns 16b + 4k + j of that row in bits 2k (k, j 0…3)
//
// A vector of codes meets four activations that are splatted to all lanes. V8 makes one 256-bit operation of two vectors (see wide.ts): it wants the
// upper half stored first, and loop bodies of one step.
import { opaque } from "./lanes";
import { dot7 } from "./sums";

/** Bytes of scratch: unpacked codes of a group of at most 256 columns, and sums of at most 66 columns. */
export const GROUP_CODES: usize = 4096;

/** Four rows' part of a group: (h·128 + l − Σq) · scale of the rows' weights · scale of the activations. A 16-bit lane gains at most 512 in magnitude for each 4 columns. */
// @ts-ignore: decorator
@inline
function worth(h: v128, l: v128, c128: v128, ones: v128, sum: v128, scales: v128, scale: v128): v128 {
  const integers = i32x4.sub(i32x4.add(i32x4.dot_i16x8_s(h, c128), i32x4.dot_i16x8_s(l, ones)), sum);
  return f32x4.mul(f32x4.convert_i32x4_s(integers), f32x4.mul(scales, scale));
}

/** Of activations in 8 bits. */
// @ts-ignore: decorator
@inline
function worth8(l: v128, ones: v128, sum: v128, scales: v128, scale: v128): v128 {
  return f32x4.mul(f32x4.convert_i32x4_s(i32x4.sub(i32x4.dot_i16x8_s(l, ones), sum)), f32x4.mul(scales, scale));
}

/** Copies 16 rows of a column to where they belong, of a last group only as many as there are. */
// @ts-ignore: decorator
@inline
function copyRows(y: usize, from: usize, rows: u32): void {
  v128.store(y, v128.load(from));
  if (rows > 4) v128.store(y, v128.load(from, 16), 16);
  if (rows > 8) v128.store(y, v128.load(from, 32), 32);
  if (rows > 12) v128.store(y, v128.load(from, 48), 48);
}

/** One column of activations in 15 bits; as `ternaryGroups`. */
export function gemv15(w: usize, scales: usize, rows: u32, kPad: u32, group: u32, x: usize, xGroup: usize, meta: usize, metaGroup: usize, y: usize, scratch: usize): void {
  const mask = i8x16.splat(<i8>opaque(3, kPad));
  const ones = i16x8.splat(<i16>opaque(1, kPad));
  const c128 = i16x8.splat(<i16>opaque(128, kPad));
  const groups = kPad / group;
  for (let row: u32 = 0; row < rows; row += 16, y += 64) {
    let xg = x, m = meta;
    let f0 = f32x4.splat(0), f1 = f0, f2 = f0, f3 = f0;
    for (let g: u32 = 0; g < groups; g++, xg += xGroup, m += metaGroup, scales += 64) {
      let h0 = i16x8.splat(0), h1 = h0, h2 = h0, h3 = h0, l0 = h0, l1 = h0, l2 = h0, l3 = h0;
      for (let p = xg, end = xg + group; p < end; p += 16, w += 64) {
        const v0 = v128.load(w), v1 = v128.load(w, 16), v2 = v128.load(w, 32), v3 = v128.load(w, 48);
        const a = v128.load32_splat(p), b = v128.load32_splat(p + group);
        let c0 = v128.and(v0, mask), c1 = v128.and(v1, mask), c2 = v128.and(v2, mask), c3 = v128.and(v3, mask);
        h0 = i16x8.add(h0, dot7(a, c0)); h1 = i16x8.add(h1, dot7(a, c1)); h2 = i16x8.add(h2, dot7(a, c2)); h3 = i16x8.add(h3, dot7(a, c3));
        l0 = i16x8.add(l0, dot7(b, c0)); l1 = i16x8.add(l1, dot7(b, c1)); l2 = i16x8.add(l2, dot7(b, c2)); l3 = i16x8.add(l3, dot7(b, c3));
        const d = v128.load32_splat(p, 4), e = v128.load32_splat(p + group, 4);
        c0 = v128.and(i16x8.shr_u(v0, 2), mask); c1 = v128.and(i16x8.shr_u(v1, 2), mask); c2 = v128.and(i16x8.shr_u(v2, 2), mask); c3 = v128.and(i16x8.shr_u(v3, 2), mask);
        h0 = i16x8.add(h0, dot7(d, c0)); h1 = i16x8.add(h1, dot7(d, c1)); h2 = i16x8.add(h2, dot7(d, c2)); h3 = i16x8.add(h3, dot7(d, c3));
        l0 = i16x8.add(l0, dot7(e, c0)); l1 = i16x8.add(l1, dot7(e, c1)); l2 = i16x8.add(l2, dot7(e, c2)); l3 = i16x8.add(l3, dot7(e, c3));
        const i = v128.load32_splat(p, 8), j = v128.load32_splat(p + group, 8);
        c0 = v128.and(i16x8.shr_u(v0, 4), mask); c1 = v128.and(i16x8.shr_u(v1, 4), mask); c2 = v128.and(i16x8.shr_u(v2, 4), mask); c3 = v128.and(i16x8.shr_u(v3, 4), mask);
        h0 = i16x8.add(h0, dot7(i, c0)); h1 = i16x8.add(h1, dot7(i, c1)); h2 = i16x8.add(h2, dot7(i, c2)); h3 = i16x8.add(h3, dot7(i, c3));
        l0 = i16x8.add(l0, dot7(j, c0)); l1 = i16x8.add(l1, dot7(j, c1)); l2 = i16x8.add(l2, dot7(j, c2)); l3 = i16x8.add(l3, dot7(j, c3));
        const s = v128.load32_splat(p, 12), t = v128.load32_splat(p + group, 12);
        c0 = v128.and(i16x8.shr_u(v0, 6), mask); c1 = v128.and(i16x8.shr_u(v1, 6), mask); c2 = v128.and(i16x8.shr_u(v2, 6), mask); c3 = v128.and(i16x8.shr_u(v3, 6), mask);
        h0 = i16x8.add(h0, dot7(s, c0)); h1 = i16x8.add(h1, dot7(s, c1)); h2 = i16x8.add(h2, dot7(s, c2)); h3 = i16x8.add(h3, dot7(s, c3));
        l0 = i16x8.add(l0, dot7(t, c0)); l1 = i16x8.add(l1, dot7(t, c1)); l2 = i16x8.add(l2, dot7(t, c2)); l3 = i16x8.add(l3, dot7(t, c3));
      }
      const sum = v128.load32_splat(m), scale = v128.load32_splat(m, 4);
      f0 = f32x4.add(f0, worth(h0, l0, c128, ones, sum, v128.load(scales), scale));
      f1 = f32x4.add(f1, worth(h1, l1, c128, ones, sum, v128.load(scales, 16), scale));
      f2 = f32x4.add(f2, worth(h2, l2, c128, ones, sum, v128.load(scales, 32), scale));
      f3 = f32x4.add(f3, worth(h3, l3, c128, ones, sum, v128.load(scales, 48), scale));
    }
    v128.store(scratch, f1, 16);
    v128.store(scratch, f0);
    v128.store(scratch, f3, 48);
    v128.store(scratch, f2, 32);
    copyRows(y, scratch, rows - row);
  }
}

/** One column of activations in 8 bits. */
export function gemv8(w: usize, scales: usize, rows: u32, kPad: u32, group: u32, x: usize, xGroup: usize, meta: usize, metaGroup: usize, y: usize, scratch: usize): void {
  const mask = i8x16.splat(<i8>opaque(3, kPad));
  const ones = i16x8.splat(<i16>opaque(1, kPad));
  const groups = kPad / group;
  for (let row: u32 = 0; row < rows; row += 16, y += 64) {
    let xg = x, m = meta;
    let f0 = f32x4.splat(0), f1 = f0, f2 = f0, f3 = f0;
    for (let g: u32 = 0; g < groups; g++, xg += xGroup, m += metaGroup, scales += 64) {
      let l0 = i16x8.splat(0), l1 = l0, l2 = l0, l3 = l0;
      for (let p = xg, end = xg + group; p < end; p += 16, w += 64) {
        const v0 = v128.load(w), v1 = v128.load(w, 16), v2 = v128.load(w, 32), v3 = v128.load(w, 48);
        const a = v128.load32_splat(p), b = v128.load32_splat(p, 4), c = v128.load32_splat(p, 8), d = v128.load32_splat(p, 12);
        l0 = i16x8.add(l0, dot7(a, v128.and(v0, mask)));
        l1 = i16x8.add(l1, dot7(a, v128.and(v1, mask)));
        l2 = i16x8.add(l2, dot7(a, v128.and(v2, mask)));
        l3 = i16x8.add(l3, dot7(a, v128.and(v3, mask)));
        l0 = i16x8.add(l0, dot7(b, v128.and(i16x8.shr_u(v0, 2), mask)));
        l1 = i16x8.add(l1, dot7(b, v128.and(i16x8.shr_u(v1, 2), mask)));
        l2 = i16x8.add(l2, dot7(b, v128.and(i16x8.shr_u(v2, 2), mask)));
        l3 = i16x8.add(l3, dot7(b, v128.and(i16x8.shr_u(v3, 2), mask)));
        l0 = i16x8.add(l0, dot7(c, v128.and(i16x8.shr_u(v0, 4), mask)));
        l1 = i16x8.add(l1, dot7(c, v128.and(i16x8.shr_u(v1, 4), mask)));
        l2 = i16x8.add(l2, dot7(c, v128.and(i16x8.shr_u(v2, 4), mask)));
        l3 = i16x8.add(l3, dot7(c, v128.and(i16x8.shr_u(v3, 4), mask)));
        l0 = i16x8.add(l0, dot7(d, v128.and(i16x8.shr_u(v0, 6), mask)));
        l1 = i16x8.add(l1, dot7(d, v128.and(i16x8.shr_u(v1, 6), mask)));
        l2 = i16x8.add(l2, dot7(d, v128.and(i16x8.shr_u(v2, 6), mask)));
        l3 = i16x8.add(l3, dot7(d, v128.and(i16x8.shr_u(v3, 6), mask)));
      }
      const sum = v128.load32_splat(m), scale = v128.load32_splat(m, 4);
      f0 = f32x4.add(f0, worth8(l0, ones, sum, v128.load(scales), scale));
      f1 = f32x4.add(f1, worth8(l1, ones, sum, v128.load(scales, 16), scale));
      f2 = f32x4.add(f2, worth8(l2, ones, sum, v128.load(scales, 32), scale));
      f3 = f32x4.add(f3, worth8(l3, ones, sum, v128.load(scales, 48), scale));
    }
    v128.store(scratch, f1, 16);
    v128.store(scratch, f0);
    v128.store(scratch, f3, 48);
    v128.store(scratch, f2, 32);
    copyRows(y, scratch, rows - row);
  }
}

/** Codes of 16 rows and a group of columns, one a byte: [group/4][16 rows][4]. */
// @ts-ignore: decorator
@inline
function unpack(out: usize, w: usize, group: u32, mask: v128): void {
  for (const end = w + (<usize>group << 2); w < end; w += 64, out += 256) {
    for (let i: usize = 0; i < 64; i += 32) {
      const u = v128.load(w + i), v = v128.load(w + i, 16);
      v128.store(out + i, v128.and(v, mask), 16);
      v128.store(out + i, v128.and(u, mask));
      v128.store(out + i, v128.and(i16x8.shr_u(v, 2), mask), 80);
      v128.store(out + i, v128.and(i16x8.shr_u(u, 2), mask), 64);
      v128.store(out + i, v128.and(i16x8.shr_u(v, 4), mask), 144);
      v128.store(out + i, v128.and(i16x8.shr_u(u, 4), mask), 128);
      v128.store(out + i, v128.and(i16x8.shr_u(v, 6), mask), 208);
      v128.store(out + i, v128.and(i16x8.shr_u(u, 6), mask), 192);
    }
  }
}

/** to += a and b, eight rows. */
// @ts-ignore: decorator
@inline
function addRows(to: usize, a: v128, b: v128): void {
  const p = f32x4.add(v128.load(to), a), q = f32x4.add(v128.load(to, 16), b);
  v128.store(to, q, 16);
  v128.store(to, p);
}

/** Two columns of activations in 15 bits against 8 rows: registers of 128 bits hold no more sums. */
// @ts-ignore: decorator
@inline
function eightRows(codes: usize, xa: usize, xb: usize, group: u32, m: usize, scales: usize, sums: usize, c128: v128, ones: v128): void {
  let ha0 = i16x8.splat(0), ha1 = ha0, la0 = ha0, la1 = ha0, hb0 = ha0, hb1 = ha0, lb0 = ha0, lb1 = ha0;
  for (const end = xa + group; xa < end; xa += 4, xb += 4, codes += 64) {
    const w0 = v128.load(codes), w1 = v128.load(codes, 16);
    const a = v128.load32_splat(xa), b = v128.load32_splat(xa + group), c = v128.load32_splat(xb), d = v128.load32_splat(xb + group);
    ha0 = i16x8.add(ha0, dot7(a, w0));
    ha1 = i16x8.add(ha1, dot7(a, w1));
    la0 = i16x8.add(la0, dot7(b, w0));
    la1 = i16x8.add(la1, dot7(b, w1));
    hb0 = i16x8.add(hb0, dot7(c, w0));
    hb1 = i16x8.add(hb1, dot7(c, w1));
    lb0 = i16x8.add(lb0, dot7(d, w0));
    lb1 = i16x8.add(lb1, dot7(d, w1));
  }
  const s0 = v128.load(scales), s1 = v128.load(scales, 16);
  const suma = v128.load32_splat(m), scalea = v128.load32_splat(m, 4), sumb = v128.load32_splat(m, 8), scaleb = v128.load32_splat(m, 12);
  addRows(sums, worth(ha0, la0, c128, ones, suma, s0, scalea), worth(ha1, la1, c128, ones, suma, s1, scalea));
  addRows(sums + 64, worth(hb0, lb0, c128, ones, sumb, s0, scaleb), worth(hb1, lb1, c128, ones, sumb, s1, scaleb));
}

/** The same against 16 rows, for registers of 256 bits: two steps a turn, since half of a turn of one is addresses and the loop itself (with 128 bits, registers spill). */
// @ts-ignore: decorator
@inline
function sixteenRows(codes: usize, xa: usize, xb: usize, group: u32, m: usize, scales: usize, sums: usize, c128: v128, ones: v128): void {
  let ha0 = i16x8.splat(0), ha1 = ha0, ha2 = ha0, ha3 = ha0, la0 = ha0, la1 = ha0, la2 = ha0, la3 = ha0;
  let hb0 = ha0, hb1 = ha0, hb2 = ha0, hb3 = ha0, lb0 = ha0, lb1 = ha0, lb2 = ha0, lb3 = ha0;
  let la = xa + group, lb = xb + group;
  for (const end = la; xa < end; xa += 8, la += 8, xb += 8, lb += 8, codes += 128) {
    const w0 = v128.load(codes), w1 = v128.load(codes, 16), w2 = v128.load(codes, 32), w3 = v128.load(codes, 48);
    const a = v128.load32_splat(xa);
    ha0 = i16x8.add(ha0, dot7(a, w0)); ha1 = i16x8.add(ha1, dot7(a, w1)); ha2 = i16x8.add(ha2, dot7(a, w2)); ha3 = i16x8.add(ha3, dot7(a, w3));
    const b = v128.load32_splat(la);
    la0 = i16x8.add(la0, dot7(b, w0)); la1 = i16x8.add(la1, dot7(b, w1)); la2 = i16x8.add(la2, dot7(b, w2)); la3 = i16x8.add(la3, dot7(b, w3));
    const c = v128.load32_splat(xb);
    hb0 = i16x8.add(hb0, dot7(c, w0)); hb1 = i16x8.add(hb1, dot7(c, w1)); hb2 = i16x8.add(hb2, dot7(c, w2)); hb3 = i16x8.add(hb3, dot7(c, w3));
    const d = v128.load32_splat(lb);
    lb0 = i16x8.add(lb0, dot7(d, w0)); lb1 = i16x8.add(lb1, dot7(d, w1)); lb2 = i16x8.add(lb2, dot7(d, w2)); lb3 = i16x8.add(lb3, dot7(d, w3));
    const v0 = v128.load(codes, 64), v1 = v128.load(codes, 80), v2 = v128.load(codes, 96), v3 = v128.load(codes, 112);
    const e = v128.load32_splat(xa, 4);
    ha0 = i16x8.add(ha0, dot7(e, v0)); ha1 = i16x8.add(ha1, dot7(e, v1)); ha2 = i16x8.add(ha2, dot7(e, v2)); ha3 = i16x8.add(ha3, dot7(e, v3));
    const f = v128.load32_splat(la, 4);
    la0 = i16x8.add(la0, dot7(f, v0)); la1 = i16x8.add(la1, dot7(f, v1)); la2 = i16x8.add(la2, dot7(f, v2)); la3 = i16x8.add(la3, dot7(f, v3));
    const g = v128.load32_splat(xb, 4);
    hb0 = i16x8.add(hb0, dot7(g, v0)); hb1 = i16x8.add(hb1, dot7(g, v1)); hb2 = i16x8.add(hb2, dot7(g, v2)); hb3 = i16x8.add(hb3, dot7(g, v3));
    const h = v128.load32_splat(lb, 4);
    lb0 = i16x8.add(lb0, dot7(h, v0)); lb1 = i16x8.add(lb1, dot7(h, v1)); lb2 = i16x8.add(lb2, dot7(h, v2)); lb3 = i16x8.add(lb3, dot7(h, v3));
  }
  const s0 = v128.load(scales), s1 = v128.load(scales, 16), s2 = v128.load(scales, 32), s3 = v128.load(scales, 48);
  const suma = v128.load32_splat(m), scalea = v128.load32_splat(m, 4), sumb = v128.load32_splat(m, 8), scaleb = v128.load32_splat(m, 12);
  addRows(sums, worth(ha0, la0, c128, ones, suma, s0, scalea), worth(ha1, la1, c128, ones, suma, s1, scalea));
  addRows(sums + 32, worth(ha2, la2, c128, ones, suma, s2, scalea), worth(ha3, la3, c128, ones, suma, s3, scalea));
  addRows(sums + 64, worth(hb0, lb0, c128, ones, sumb, s0, scaleb), worth(hb1, lb1, c128, ones, sumb, s1, scaleb));
  addRows(sums + 96, worth(hb2, lb2, c128, ones, sumb, s2, scaleb), worth(hb3, lb3, c128, ones, sumb, s3, scaleb));
}

/** Two columns of activations in 8 bits against 16 rows. */
// @ts-ignore: decorator
@inline
function sixteenRows8(codes: usize, xa: usize, xb: usize, group: u32, m: usize, scales: usize, sums: usize, ones: v128): void {
  let a0 = i16x8.splat(0), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
  for (const end = xa + group; xa < end; xa += 4, xb += 4, codes += 64) {
    const w0 = v128.load(codes), w1 = v128.load(codes, 16), w2 = v128.load(codes, 32), w3 = v128.load(codes, 48);
    const a = v128.load32_splat(xa), b = v128.load32_splat(xb);
    a0 = i16x8.add(a0, dot7(a, w0)); a1 = i16x8.add(a1, dot7(a, w1)); a2 = i16x8.add(a2, dot7(a, w2)); a3 = i16x8.add(a3, dot7(a, w3));
    b0 = i16x8.add(b0, dot7(b, w0)); b1 = i16x8.add(b1, dot7(b, w1)); b2 = i16x8.add(b2, dot7(b, w2)); b3 = i16x8.add(b3, dot7(b, w3));
  }
  const s0 = v128.load(scales), s1 = v128.load(scales, 16), s2 = v128.load(scales, 32), s3 = v128.load(scales, 48);
  const suma = v128.load32_splat(m), scalea = v128.load32_splat(m, 4), sumb = v128.load32_splat(m, 8), scaleb = v128.load32_splat(m, 12);
  addRows(sums, worth8(a0, ones, suma, s0, scalea), worth8(a1, ones, suma, s1, scalea));
  addRows(sums + 32, worth8(a2, ones, suma, s2, scalea), worth8(a3, ones, suma, s3, scalea));
  addRows(sums + 64, worth8(b0, ones, sumb, s0, scaleb), worth8(b1, ones, sumb, s1, scaleb));
  addRows(sums + 96, worth8(b2, ones, sumb, s2, scaleb), worth8(b3, ones, sumb, s3, scaleb));
}

/**
 * Several columns; as `ternaryGroups`. A group of codes is unpacked once and meets all columns, two at a time.
 * @param kind 0: activations in 8 bits; 1: in 15 for registers of 128 bits; 2: for registers of 256
 */
// @ts-ignore: decorator
@inline
function gemm(w: usize, scales: usize, rows: u32, kPad: u32, group: u32, kind: u32, x: usize, xGroup: usize, meta: usize, metaGroup: usize, columns: u32, y: usize, yStride: usize, scratch: usize): void {
  const mask = i8x16.splat(<i8>opaque(3, kPad));
  const ones = i16x8.splat(<i16>opaque(1, kPad));
  const c128 = i16x8.splat(<i16>opaque(128, kPad));
  const groups = kPad / group;
  const xColumn = kind ? <usize>group << 1 : <usize>group;
  const sums = scratch + GROUP_CODES; // [columns][16 rows] f32
  const sumsEnd = sums + (<usize>(columns + (columns & 1)) << 6);
  for (let row: u32 = 0; row < rows; row += 16, y += 64) {
    for (let p = sums; p < sumsEnd; p += 16) v128.store(p, f32x4.splat(0));
    let xg = x, mg = meta;
    for (let g: u32 = 0; g < groups; g++, w += <usize>group << 2, xg += xGroup, mg += metaGroup, scales += 64) {
      unpack(scratch, w, group, mask);
      let xa = xg, m = mg;
      for (let to = sums; to < sumsEnd; to += 128, xa += xColumn << 1, m += 16) {
        if (kind == 0) sixteenRows8(scratch, xa, xa + xColumn, group, m, scales, to, ones);
        else if (kind == 2) sixteenRows(scratch, xa, xa + xColumn, group, m, scales, to, c128, ones);
        else {
          eightRows(scratch, xa, xa + xColumn, group, m, scales, to, c128, ones);
          eightRows(scratch + 32, xa, xa + xColumn, group, m, scales + 32, to + 32, c128, ones);
        }
      }
    }
    let out = y;
    for (let from = sums, end = sums + (<usize>columns << 6); from < end; from += 64, out += yStride) copyRows(out, from, rows - row);
  }
}

export function gemm8(w: usize, scales: usize, rows: u32, kPad: u32, group: u32, x: usize, xGroup: usize, meta: usize, metaGroup: usize, columns: u32, y: usize, yStride: usize, scratch: usize): void {
  gemm(w, scales, rows, kPad, group, 0, x, xGroup, meta, metaGroup, columns, y, yStride, scratch);
}

export function gemm15(w: usize, scales: usize, rows: u32, kPad: u32, group: u32, x: usize, xGroup: usize, meta: usize, metaGroup: usize, columns: u32, y: usize, yStride: usize, scratch: usize): void {
  gemm(w, scales, rows, kPad, group, 1, x, xGroup, meta, metaGroup, columns, y, yStride, scratch);
}

export function gemm15Wide(w: usize, scales: usize, rows: u32, kPad: u32, group: u32, x: usize, xGroup: usize, meta: usize, metaGroup: usize, columns: u32, y: usize, yStride: usize, scratch: usize): void {
  gemm(w, scales, rows, kPad, group, 2, x, xGroup, meta, metaGroup, columns, y, yStride, scratch);
}

/** Packs one row's codes, [kPad] of 0, 1, 2, into its lane of a group of 16 rows. */
export function packLane(group: usize, row: u32, codes: usize, kPad: u32): void {
  let out = group + (<usize>row << 2);
  for (const end = codes + kPad; codes < end; codes += 16, out += 64) {
    store<u32>(out, load<u32>(codes) | (load<u32>(codes, 4) << 2) | (load<u32>(codes, 8) << 4) | (load<u32>(codes, 12) << 6));
  }
}
