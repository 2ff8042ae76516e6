// The coarse pass over the output head: rows as codes of 6 bits (scan-codes.ts) and how far they are from the true rows, so that the true
// logit is known to lie in a proven interval (engine/network/head-search.ts). `refine` narrows it for the rows that can still win; few of those
// are then computed exactly.
import { AT_LEAST, BOUNDS, REFINE, SCAN, SCAN_WIDE, called } from "./count";
import { opaque } from "./lanes";
import { BLOCK, LOW_BLOCK, logits4, mac, rowBytes, seventh, sixth, sum4 } from "./scan-codes";
import { half, total4 } from "./sums";

/** Bytes of sums before unpacked codes in the scratch. */
const SUMS: usize = 256;

/**
 * Coarse logits of `rows` rows (a multiple of 4) for `columns` hidden states: sums of codes · codes, times both scales.
 * @param codes upper bits of rows
 * @param scales [rows] f32
 * @param n columns, whole blocks of 128
 * @param x [columns] of `xStride` bytes, [n] int16 of `prepareScan` each
 * @param meta [columns] of `xStride` bytes, what it says of each
 * @param y [columns] of `yStride` bytes, [rows] f32 each
 * @param scratch `scanScratch` bytes of this thread's own
 */
export function scan(codes: usize, scales: usize, rows: u32, n: u32, x: usize, xStride: usize, meta: usize, columns: u32, y: usize, yStride: usize, scratch: usize): void {
  called(SCAN);
  scanStates(codes, scales, rows, n, x, xStride, meta, columns, y, yStride, scratch, false);
}

/** The same on the wide layout, where pairs of 128-bit operations become 256-bit ones. */
export function scanWide(codes: usize, scales: usize, rows: u32, n: u32, x: usize, xStride: usize, meta: usize, columns: u32, y: usize, yStride: usize, scratch: usize): void {
  called(SCAN_WIDE);
  scanStates(codes, scales, rows, n, x, xStride, meta, columns, y, yStride, scratch, true);
}

/** Two states at a time meet codes that are unpacked once; what is left over, the packed ones. */
// @ts-ignore: decorator
@inline
function scanStates(codes: usize, scales: usize, rows: u32, n: u32, x: usize, xStride: usize, meta: usize, columns: u32, y: usize, yStride: usize, scratch: usize, wide: bool): void {
  const pairs = columns >> 1;
  if (pairs > 0) {
    for (let row: u32 = 0, at = codes; row < rows; row += 4, at += rowBytes(n) << 2) {
      const unpacked = scratch + SUMS;
      for (let i: usize = 0; i < 4; i++) {
        if (wide) unpackWide(unpacked + (i << 5), at + i * rowBytes(n), n);
        else unpack(unpacked + (i << 5), at + i * rowBytes(n), n);
      }
      const first = <usize>row << 2;
      for (let pair: usize = 0; pair < pairs; pair++) {
        const from = (pair << 1) * xStride, to = y + first + (pair << 1) * yStride;
        if (wide) pairWide(unpacked, scales + first, n, x + from, x + from + xStride, meta + from, meta + from + xStride, to, to + yStride, scratch);
        else pairOf(unpacked, scales + first, n, x + from, x + from + xStride, meta + from, meta + from + xStride, to, to + yStride);
      }
    }
  }
  if (columns & 1) {
    const from = <usize>(columns - 1) * xStride;
    one(codes, scales, rows, n, x + from, meta + from, y + <usize>(columns - 1) * yStride, scratch, wide);
  }
}

/** A single state meets rows at two places, half of them apart: see wide.ts. */
// @ts-ignore: decorator
@inline
function one(codes: usize, scales: usize, rows: u32, n: u32, x: usize, meta: usize, y: usize, scratch: usize, wide: bool): void {
  const count = (rows >> 3) << 2;
  const far = <usize>count << 2; // bytes of logits
  places(codes, codes + <usize>count * rowBytes(n), scales, scales + far, count, n, x, meta, y, y + far, scratch, wide);
  if (rows & 4) {
    const last = codes + <usize>(rows - 4) * rowBytes(n);
    const at = <usize>(rows - 4) << 2;
    places(last, last, scales + at, scales + at, 4, n, x, meta, y + at, y + at, scratch, wide);
  }
}

/** y and z: logits of `count` rows at c and d each, a multiple of 4. */
// @ts-ignore: decorator
@inline
function places(c: usize, d: usize, scalesC: usize, scalesD: usize, count: u32, n: u32, x: usize, meta: usize, y: usize, z: usize, sums: usize, wide: bool): void {
  const bytes = rowBytes(n);
  const less = v128.load32_splat(meta, 12);
  for (const last = y + (<usize>count << 2); y < last; y += 16, z += 16, scalesC += 16, scalesD += 16) {
    for (let i: usize = 0; i < 128; i += 32, c += bytes, d += bytes) {
      if (wide) twoRowsWide(sums + i, c, d, n, x);
      else twoRows(sums + i, c, d, n, x);
    }
    v128.store(y, logits4(i32x4.sub(total4(half(sums), half(sums + 32), half(sums + 64), half(sums + 96)), less), meta, scalesC));
    v128.store(z, logits4(i32x4.sub(total4(half(sums + 128), half(sums + 160), half(sums + 192), half(sums + 224)), less), meta, scalesD));
  }
}

/** Sums of the rows c and d: [8] i32, and as many 128 bytes further on. A loop as short as this keeps what it loads in registers. */
function twoRows(sums: usize, c: usize, d: usize, n: u32, x: usize): void {
  const mask = i16x8.splat(<i16>opaque(63, n)), six = i16x8.splat(<i16>opaque(0x30, n)), seven = i16x8.splat(<i16>opaque(0x3c, n));
  let a = i32x4.splat(0), b = i32x4.splat(0);
  for (let p = x, end = x + (<usize>n << 1); p < end; p += 128, c += 48, d += 48) {
    const c0 = v128.load(c), c1 = v128.load(c, 16), c2 = v128.load(c, 32), d0 = v128.load(d), d1 = v128.load(d, 16), d2 = v128.load(d, 32);
    const x0 = v128.load(p), x1 = v128.load(p, 16), x2 = v128.load(p, 32), x3 = v128.load(p, 48);
    const x4 = v128.load(p, 64), x5 = v128.load(p, 80), x6 = v128.load(p, 96), x7 = v128.load(p, 112);
    a = mac(mac(a, v128.and(c0, mask), x0), v128.and(i16x8.shr_u(c0, 6), mask), x1);
    a = mac(mac(a, v128.and(c1, mask), x2), v128.and(i16x8.shr_u(c1, 6), mask), x3);
    a = mac(mac(a, v128.and(c2, mask), x4), v128.and(i16x8.shr_u(c2, 6), mask), x5);
    a = mac(mac(a, sixth(c0, c1, six), x6), seventh(c1, c2, seven), x7);
    b = mac(mac(b, v128.and(d0, mask), x0), v128.and(i16x8.shr_u(d0, 6), mask), x1);
    b = mac(mac(b, v128.and(d1, mask), x2), v128.and(i16x8.shr_u(d1, 6), mask), x3);
    b = mac(mac(b, v128.and(d2, mask), x4), v128.and(i16x8.shr_u(d2, 6), mask), x5);
    b = mac(mac(b, sixth(d0, d1, six), x6), seventh(d1, d2, seven), x7);
  }
  v128.store(sums, a);
  v128.store(sums, i32x4.splat(0), 16);
  v128.store(sums, b, 128);
  v128.store(sums, i32x4.splat(0), 144);
}

/** The same on the wide layout. */
function twoRowsWide(sums: usize, c: usize, d: usize, n: u32, x: usize): void {
  const mask = i16x8.splat(<i16>opaque(63, n)), six = i16x8.splat(<i16>opaque(0x30, n)), seven = i16x8.splat(<i16>opaque(0x3c, n));
  let a = i32x4.splat(0), b = i32x4.splat(0), e = i32x4.splat(0), f = i32x4.splat(0);
  for (let p = x, end = x + (<usize>n << 1); p < end; p += 256, c += BLOCK, d += BLOCK) {
    const c0 = v128.load(c), c0h = v128.load(c, 16), c1 = v128.load(c, 32), c1h = v128.load(c, 48), c2 = v128.load(c, 64), c2h = v128.load(c, 80);
    const d0 = v128.load(d), d0h = v128.load(d, 16), d1 = v128.load(d, 32), d1h = v128.load(d, 48), d2 = v128.load(d, 64), d2h = v128.load(d, 80);
    const x0 = v128.load(p), x0h = v128.load(p, 16), x1 = v128.load(p, 32), x1h = v128.load(p, 48);
    const x2 = v128.load(p, 64), x2h = v128.load(p, 80), x3 = v128.load(p, 96), x3h = v128.load(p, 112);
    const x4 = v128.load(p, 128), x4h = v128.load(p, 144), x5 = v128.load(p, 160), x5h = v128.load(p, 176);
    const x6 = v128.load(p, 192), x6h = v128.load(p, 208), x7 = v128.load(p, 224), x7h = v128.load(p, 240);
    a = mac(mac(a, v128.and(c0, mask), x0), v128.and(i16x8.shr_u(c0, 6), mask), x1);
    e = mac(mac(e, v128.and(c0h, mask), x0h), v128.and(i16x8.shr_u(c0h, 6), mask), x1h);
    a = mac(mac(a, v128.and(c1, mask), x2), v128.and(i16x8.shr_u(c1, 6), mask), x3);
    e = mac(mac(e, v128.and(c1h, mask), x2h), v128.and(i16x8.shr_u(c1h, 6), mask), x3h);
    a = mac(mac(a, v128.and(c2, mask), x4), v128.and(i16x8.shr_u(c2, 6), mask), x5);
    e = mac(mac(e, v128.and(c2h, mask), x4h), v128.and(i16x8.shr_u(c2h, 6), mask), x5h);
    a = mac(mac(a, sixth(c0, c1, six), x6), seventh(c1, c2, seven), x7);
    e = mac(mac(e, sixth(c0h, c1h, six), x6h), seventh(c1h, c2h, seven), x7h);
    b = mac(mac(b, v128.and(d0, mask), x0), v128.and(i16x8.shr_u(d0, 6), mask), x1);
    f = mac(mac(f, v128.and(d0h, mask), x0h), v128.and(i16x8.shr_u(d0h, 6), mask), x1h);
    b = mac(mac(b, v128.and(d1, mask), x2), v128.and(i16x8.shr_u(d1, 6), mask), x3);
    f = mac(mac(f, v128.and(d1h, mask), x2h), v128.and(i16x8.shr_u(d1h, 6), mask), x3h);
    b = mac(mac(b, v128.and(d2, mask), x4), v128.and(i16x8.shr_u(d2, 6), mask), x5);
    f = mac(mac(f, v128.and(d2h, mask), x4h), v128.and(i16x8.shr_u(d2h, 6), mask), x5h);
    b = mac(mac(b, sixth(d0, d1, six), x6), seventh(d1, d2, seven), x7);
    f = mac(mac(f, sixth(d0h, d1h, six), x6h), seventh(d1h, d2h, seven), x7h);
  }
  v128.store(sums, e, 16);
  v128.store(sums, a);
  v128.store(sums, f, 144);
  v128.store(sums, b, 128);
}

/** A row's codes as i16: of every 16 columns 32 bytes, 128 bytes apart, so that four rows lie side by side. */
function unpack(out: usize, row: usize, n: u32): void {
  const mask = i16x8.splat(<i16>opaque(63, n)), six = i16x8.splat(<i16>opaque(0x30, n)), seven = i16x8.splat(<i16>opaque(0x3c, n));
  for (const end = out + (<usize>n << 3); out < end; out += 512, row += 48) {
    const w0 = v128.load(row), w1 = v128.load(row, 16), w2 = v128.load(row, 32);
    v128.store(out, v128.and(w0, mask));
    v128.store(out, v128.and(i16x8.shr_u(w0, 6), mask), 16);
    v128.store(out, v128.and(w1, mask), 128);
    v128.store(out, v128.and(i16x8.shr_u(w1, 6), mask), 144);
    v128.store(out, v128.and(w2, mask), 256);
    v128.store(out, v128.and(i16x8.shr_u(w2, 6), mask), 272);
    v128.store(out, sixth(w0, w1, six), 384);
    v128.store(out, seventh(w1, w2, seven), 400);
  }
}

/** The same of the wide layout. */
function unpackWide(out: usize, row: usize, n: u32): void {
  const mask = i16x8.splat(<i16>opaque(63, n)), six = i16x8.splat(<i16>opaque(0x30, n)), seven = i16x8.splat(<i16>opaque(0x3c, n));
  for (const end = out + (<usize>n << 3); out < end; out += 1024, row += BLOCK) {
    const w0 = v128.load(row), h0 = v128.load(row, 16), w1 = v128.load(row, 32), h1 = v128.load(row, 48), w2 = v128.load(row, 64), h2 = v128.load(row, 80);
    v128.store(out, v128.and(h0, mask), 16);
    v128.store(out, v128.and(w0, mask));
    v128.store(out, v128.and(i16x8.shr_u(h0, 6), mask), 144);
    v128.store(out, v128.and(i16x8.shr_u(w0, 6), mask), 128);
    v128.store(out, v128.and(h1, mask), 272);
    v128.store(out, v128.and(w1, mask), 256);
    v128.store(out, v128.and(i16x8.shr_u(h1, 6), mask), 400);
    v128.store(out, v128.and(i16x8.shr_u(w1, 6), mask), 384);
    v128.store(out, v128.and(h2, mask), 528);
    v128.store(out, v128.and(w2, mask), 512);
    v128.store(out, v128.and(i16x8.shr_u(h2, 6), mask), 656);
    v128.store(out, v128.and(i16x8.shr_u(w2, 6), mask), 640);
    v128.store(out, sixth(h0, h1, six), 784);
    v128.store(out, sixth(w0, w1, six), 768);
    v128.store(out, seventh(h1, h2, seven), 912);
    v128.store(out, seventh(w1, w2, seven), 896);
  }
}

/** y and z: logits of the states x and w, of four unpacked rows. */
function pairOf(codes: usize, scales: usize, n: u32, x: usize, w: usize, metaX: usize, metaW: usize, y: usize, z: usize): void {
  let a0 = i32x4.splat(0), a1 = i32x4.splat(0), a2 = i32x4.splat(0), a3 = i32x4.splat(0);
  let c0 = i32x4.splat(0), c1 = i32x4.splat(0), c2 = i32x4.splat(0), c3 = i32x4.splat(0);
  for (let i: usize = 0, bytes = <usize>n << 1; i < bytes; i += 32, codes += 128) {
    const u = v128.load(x + i), uh = v128.load(x + i, 16), v = v128.load(w + i), vh = v128.load(w + i, 16);
    const k0 = v128.load(codes), l0 = v128.load(codes, 16);
    a0 = mac(mac(a0, k0, u), l0, uh);
    c0 = mac(mac(c0, k0, v), l0, vh);
    const k1 = v128.load(codes, 32), l1 = v128.load(codes, 48);
    a1 = mac(mac(a1, k1, u), l1, uh);
    c1 = mac(mac(c1, k1, v), l1, vh);
    const k2 = v128.load(codes, 64), l2 = v128.load(codes, 80);
    a2 = mac(mac(a2, k2, u), l2, uh);
    c2 = mac(mac(c2, k2, v), l2, vh);
    const k3 = v128.load(codes, 96), l3 = v128.load(codes, 112);
    a3 = mac(mac(a3, k3, u), l3, uh);
    c3 = mac(mac(c3, k3, v), l3, vh);
  }
  v128.store(y, logits4(i32x4.sub(total4(a0, a1, a2, a3), v128.load32_splat(metaX, 12)), metaX, scales));
  v128.store(z, logits4(i32x4.sub(total4(c0, c1, c2, c3), v128.load32_splat(metaW, 12)), metaW, scales));
}

/** The same for the wide tier. */
function pairWide(codes: usize, scales: usize, n: u32, x: usize, w: usize, metaX: usize, metaW: usize, y: usize, z: usize, sums: usize): void {
  let a0 = i32x4.splat(0), a1 = i32x4.splat(0), a2 = i32x4.splat(0), a3 = i32x4.splat(0);
  let b0 = i32x4.splat(0), b1 = i32x4.splat(0), b2 = i32x4.splat(0), b3 = i32x4.splat(0);
  let c0 = i32x4.splat(0), c1 = i32x4.splat(0), c2 = i32x4.splat(0), c3 = i32x4.splat(0);
  let d0 = i32x4.splat(0), d1 = i32x4.splat(0), d2 = i32x4.splat(0), d3 = i32x4.splat(0);
  for (let i: usize = 0, bytes = <usize>n << 1; i < bytes; i += 32, codes += 128) {
    const u = v128.load(x + i), uh = v128.load(x + i, 16), v = v128.load(w + i), vh = v128.load(w + i, 16);
    const k0 = v128.load(codes), l0 = v128.load(codes, 16);
    a0 = mac(a0, k0, u);
    b0 = mac(b0, l0, uh);
    c0 = mac(c0, k0, v);
    d0 = mac(d0, l0, vh);
    const k1 = v128.load(codes, 32), l1 = v128.load(codes, 48);
    a1 = mac(a1, k1, u);
    b1 = mac(b1, l1, uh);
    c1 = mac(c1, k1, v);
    d1 = mac(d1, l1, vh);
    const k2 = v128.load(codes, 64), l2 = v128.load(codes, 80);
    a2 = mac(a2, k2, u);
    b2 = mac(b2, l2, uh);
    c2 = mac(c2, k2, v);
    d2 = mac(d2, l2, vh);
    const k3 = v128.load(codes, 96), l3 = v128.load(codes, 112);
    a3 = mac(a3, k3, u);
    b3 = mac(b3, l3, uh);
    c3 = mac(c3, k3, v);
    d3 = mac(d3, l3, vh);
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
  const lessX = v128.load32_splat(metaX, 12), lessW = v128.load32_splat(metaW, 12);
  v128.store(y, logits4(i32x4.sub(total4(half(sums), half(sums + 32), half(sums + 64), half(sums + 96)), lessX), metaX, scales));
  v128.store(z, logits4(i32x4.sub(total4(half(sums + 128), half(sums + 160), half(sums + 192), half(sums + 224)), lessW), metaW, scales));
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

/**
 * The same, closer, for `count` rows: with all bits of their codes.
 * @param ids [count] u32
 * @param low lower bits of all rows
 * @param errors [rows] f32, the distances from all bits
 * @param x, meta of `prepareScan`; n whole blocks of 128
 * @param coarse of `scan`
 */
export function refine(lower: usize, upper: usize, ids: usize, count: u32, low: usize, scales: usize, errors: usize, x: usize, meta: usize, n: u32, coarse: usize, perError: f32, perScale: f32, slack: f32): void {
  called(REFINE);
  const end = x + (<usize>n << 1);
  const step = load<f32>(meta), middle = load<f32>(meta, 16);
  const three = i16x8.splat(<i16>opaque(3, n));
  for (const last = ids + (<usize>count << 2); ids < last; ids += 4) {
    const id = <usize>load<u32>(ids);
    const at = id << 2;
    let a = i32x4.splat(0), b = i32x4.splat(0);
    for (let p = x, w = low + id * (n >> 2); p < end; p += 256, w += LOW_BLOCK) {
      a = dotLow(a, v128.load(w), p, three);
      b = dotLow(b, v128.load(w, 16), p + 16, three);
    }
    const scale = load<f32>(scales + at);
    const logit = load<f32>(coarse + at) + (<f32>sum4(i32x4.add(a, b)) - middle) * step * scale;
    const bound = perError * load<f32>(errors + at) + perScale * scale + slack;
    store<f32>(lower + at, logit - bound);
    store<f32>(upper + at, logit + bound);
  }
}

/** Lower bits · a state, of half a block. */
// @ts-ignore: decorator
@inline
function dotLow(sums: v128, w: v128, x: usize, three: v128): v128 {
  sums = i32x4.add(sums, i32x4.dot_i16x8_s(v128.and(w, three), v128.load(x)));
  sums = i32x4.add(sums, i32x4.dot_i16x8_s(v128.and(i16x8.shr_u(w, 2), three), v128.load(x, 32)));
  sums = i32x4.add(sums, i32x4.dot_i16x8_s(v128.and(i16x8.shr_u(w, 4), three), v128.load(x, 64)));
  sums = i32x4.add(sums, i32x4.dot_i16x8_s(v128.and(i16x8.shr_u(w, 6), three), v128.load(x, 96)));
  sums = i32x4.add(sums, i32x4.dot_i16x8_s(v128.and(i16x8.shr_u(w, 8), three), v128.load(x, 128)));
  sums = i32x4.add(sums, i32x4.dot_i16x8_s(v128.and(i16x8.shr_u(w, 10), three), v128.load(x, 160)));
  sums = i32x4.add(sums, i32x4.dot_i16x8_s(v128.and(i16x8.shr_u(w, 12), three), v128.load(x, 192)));
  return i32x4.add(sums, i32x4.dot_i16x8_s(i16x8.shr_u(w, 14), v128.load(x, 224)));
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
