// The output head in exact rows: bf16 where every value is one (8 elements in 16 bytes: lane j of four holds
// element j in its low and element j + 4 in its high half, so that a shift and a mask give two vectors in order), else f32.
// A row has kPad elements, zero from n on; kPad is a multiple of 8.
import { HEAD, called } from "./count";
import { sum8x4 } from "./lanes";

/** Makes a table row of [kPad] f32, whose low 16 bits must be 0. */
export function packBf16(out: usize, x: usize, kPad: u32): void {
  for (const end = x + (<usize>kPad << 2); x < end; x += 32, out += 16) {
    v128.store(out, v128.or(i32x4.shr_u(v128.load(x), 16), v128.load(x, 16)));
  }
}

// @ts-ignore: decorator
@inline
function low(v: v128): v128 {
  return i32x4.shl(v, 16);
}

/**
 * Logits of `rows` table rows (a multiple of 4) for `columns` vectors: y[column][row] = Σ x·e in 8 lanes.
 * @param x [columns][kPad] f32
 * @param y f32, `yStride` bytes a column
 */
export function head(table: usize, rows: u32, kPad: u32, wide: u32, x: usize, columns: u32, y: usize, yStride: usize): void {
  called(HEAD);
  const rowBytes = wide ? <usize>kPad << 2 : <usize>kPad << 1;
  const xBytes = <usize>kPad << 2;
  for (let row: u32 = 0; row < rows; row += 4, y += 16, table += rowBytes << 2) {
    let out = y;
    for (let p = x, end = x + <usize>columns * xBytes; p < end; p += xBytes, out += yStride) {
      if (wide) headWide(out, table, p, xBytes);
      else headNarrow(out, table, p, xBytes, rowBytes);
    }
  }
}

function headNarrow(out: usize, e: usize, x: usize, xBytes: usize, rowBytes: usize): void {
  const high = i32x4.splat(xBytes ? 0xffff0000 : 0); // a mask that V8 doesn't know stays in a register
  const e1 = e + rowBytes, e2 = e1 + rowBytes, e3 = e2 + rowBytes;
  let l0 = f32x4.splat(0), l1 = f32x4.splat(0), l2 = f32x4.splat(0), l3 = f32x4.splat(0);
  let h0 = f32x4.splat(0), h1 = f32x4.splat(0), h2 = f32x4.splat(0), h3 = f32x4.splat(0);
  for (let i: usize = 0; i < rowBytes; i += 16, x += 32) {
    const a = v128.load(x), b = v128.load(x, 16);
    const v0 = v128.load(e + i);
    l0 = f32x4.add(l0, f32x4.mul(a, low(v0)));
    h0 = f32x4.add(h0, f32x4.mul(b, v128.and(v0, high)));
    const v1 = v128.load(e1 + i);
    l1 = f32x4.add(l1, f32x4.mul(a, low(v1)));
    h1 = f32x4.add(h1, f32x4.mul(b, v128.and(v1, high)));
    const v2 = v128.load(e2 + i);
    l2 = f32x4.add(l2, f32x4.mul(a, low(v2)));
    h2 = f32x4.add(h2, f32x4.mul(b, v128.and(v2, high)));
    const v3 = v128.load(e3 + i);
    l3 = f32x4.add(l3, f32x4.mul(a, low(v3)));
    h3 = f32x4.add(h3, f32x4.mul(b, v128.and(v3, high)));
  }
  v128.store(out, sum8x4(l0, h0, l1, h1, l2, h2, l3, h3));
}

function headWide(out: usize, e: usize, x: usize, xBytes: usize): void {
  const e1 = e + xBytes, e2 = e1 + xBytes, e3 = e2 + xBytes;
  let l0 = f32x4.splat(0), l1 = f32x4.splat(0), l2 = f32x4.splat(0), l3 = f32x4.splat(0);
  let h0 = f32x4.splat(0), h1 = f32x4.splat(0), h2 = f32x4.splat(0), h3 = f32x4.splat(0);
  for (let i: usize = 0; i < xBytes; i += 32) {
    const a = v128.load(x + i), b = v128.load(x + i, 16);
    l0 = f32x4.add(l0, f32x4.mul(a, v128.load(e + i)));
    h0 = f32x4.add(h0, f32x4.mul(b, v128.load(e + i, 16)));
    l1 = f32x4.add(l1, f32x4.mul(a, v128.load(e1 + i)));
    h1 = f32x4.add(h1, f32x4.mul(b, v128.load(e1 + i, 16)));
    l2 = f32x4.add(l2, f32x4.mul(a, v128.load(e2 + i)));
    h2 = f32x4.add(h2, f32x4.mul(b, v128.load(e2 + i, 16)));
    l3 = f32x4.add(l3, f32x4.mul(a, v128.load(e3 + i)));
    h3 = f32x4.add(h3, f32x4.mul(b, v128.load(e3 + i, 16)));
  }
  v128.store(out, sum8x4(l0, h0, l1, h1, l2, h2, l3, h3));
}
