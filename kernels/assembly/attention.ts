// Attention over a cache of blocks of 32 positions. A head's block: keys transposed, [headDim][32] f32, then values, [32][headDim] f32, so
// that scores and weighted sums both run along vectors, without sums across lanes. Softmax is online, block by block; blocks are gathered in
// spans of 256 positions, each computed from nothing and then merged in order. Blocks and spans begin at fixed positions: how the work was
// divided can't show in the result.
import { exp1, exp4, sum8 } from "./lanes";

const BLOCK: usize = 32;

/** Puts a position's key and value into its block. @param block of this head @param slot position mod 32 @param k, v [headDim] f32 */
export function storeKeyValue(block: usize, slot: u32, k: usize, v: usize, headDim: u32): void {
  const bytes = <usize>headDim << 2;
  let key = block + (<usize>slot << 2);
  for (let i: usize = 0; i < bytes; i += 4, key += BLOCK << 2) store<f32>(key, load<f32>(k + i));
  memory.copy(block + (BLOCK << 2) * <usize>headDim + <usize>slot * bytes, v, bytes);
}

/**
 * One span of one query head: the softmax-weighted sum of its values, not yet divided.
 * @param state out: maximum m, sum l, two unused, then Σ e^(s−m)·v [headDim]; f32
 * @param q [headDim] f32
 * @param table u32 block numbers of the sequence, from the span's first
 * @param cache this layer's and head's part of block 0
 * @param blockBytes from block to block
 * @param count positions of the span that this query sees, 1…256
 * @param scale 1/√headDim
 * @param scratch 32 f32 of this thread's own
 */
export function attendSpan(state: usize, q: usize, headDim: u32, table: usize, cache: usize, blockBytes: u32, count: u32, scale: f32, scratch: usize): void {
  const bytes = <usize>headDim << 2;
  const sums = state + 16;
  for (let i: usize = 0; i < bytes; i += 16) v128.store(sums + i, f32x4.splat(0));
  let m: f32 = -Infinity;
  let l: f32 = 0;
  for (let first: u32 = 0; first < count; first += <u32>BLOCK, table += 4) {
    const keys = cache + <usize>load<u32>(table) * <usize>blockBytes;
    const seen = min<u32>(count - first, <u32>BLOCK);
    scores(scratch, q, keys, bytes, scale);
    if (seen < <u32>BLOCK) for (let j = seen; j < <u32>BLOCK; j++) store<f32>(scratch + (<usize>j << 2), -Infinity);
    // The new maximum, and what it does to what is there.
    let top = v128.load(scratch);
    for (let i: usize = 16; i < 128; i += 16) top = f32x4.max(top, v128.load(scratch + i));
    const most = max<f32>(
      m,
      max<f32>(max<f32>(f32x4.extract_lane(top, 0), f32x4.extract_lane(top, 1)), max<f32>(f32x4.extract_lane(top, 2), f32x4.extract_lane(top, 3))),
    );
    const shrink = exp1(m - most);
    m = most;
    const shift = f32x4.splat(most);
    let lo = f32x4.splat(0);
    let hi = f32x4.splat(0);
    for (let i: usize = 0; i < 128; i += 32) {
      const a = exp4(f32x4.sub(v128.load(scratch + i), shift));
      const b = exp4(f32x4.sub(v128.load(scratch + i, 16), shift));
      v128.store(scratch + i, a);
      v128.store(scratch + i, b, 16);
      lo = f32x4.add(lo, a);
      hi = f32x4.add(hi, b);
    }
    l = l * shrink + sum8(lo, hi);
    gather(sums, scratch, keys + bytes * BLOCK, bytes, seen, f32x4.splat(shrink));
  }
  store<f32>(state, m);
  store<f32>(state, l, 4);
}

/** out[j] = scale · Σ_d q[d]·k[d][j] for the block's 32 positions, d ascending. */
// @ts-ignore: decorator
@inline
function scores(out: usize, q: usize, keys: usize, bytes: usize, scale: f32): void {
  const s = f32x4.splat(scale);
  for (let half: usize = 0; half < 128; half += 64) {
    let a0 = f32x4.splat(0), a1 = f32x4.splat(0), a2 = f32x4.splat(0), a3 = f32x4.splat(0);
    let k = keys + half;
    for (let p = q, end = q + bytes; p < end; p += 4, k += 128) {
      const x = v128.load32_splat(p);
      a0 = f32x4.add(a0, f32x4.mul(x, v128.load(k)));
      a1 = f32x4.add(a1, f32x4.mul(x, v128.load(k, 16)));
      a2 = f32x4.add(a2, f32x4.mul(x, v128.load(k, 32)));
      a3 = f32x4.add(a3, f32x4.mul(x, v128.load(k, 48)));
    }
    v128.store(out + half, f32x4.mul(a0, s));
    v128.store(out + half, f32x4.mul(a1, s), 16);
    v128.store(out + half, f32x4.mul(a2, s), 32);
    v128.store(out + half, f32x4.mul(a3, s), 48);
  }
}

/** sums[d] = sums[d]·shrink + Σ_j p[j]·v[j][d], j ascending over the `seen` positions. */
// @ts-ignore: decorator
@inline
function gather(sums: usize, p: usize, values: usize, bytes: usize, seen: u32, shrink: v128): void {
  const pEnd = p + (<usize>seen << 2);
  let i: usize = 0;
  for (const whole = bytes & ~63; i < whole; i += 64) {
    let a0 = f32x4.mul(v128.load(sums + i), shrink);
    let a1 = f32x4.mul(v128.load(sums + i, 16), shrink);
    let a2 = f32x4.mul(v128.load(sums + i, 32), shrink);
    let a3 = f32x4.mul(v128.load(sums + i, 48), shrink);
    let v = values + i;
    for (let j = p; j < pEnd; j += 4, v += bytes) {
      const x = v128.load32_splat(j);
      a0 = f32x4.add(a0, f32x4.mul(x, v128.load(v)));
      a1 = f32x4.add(a1, f32x4.mul(x, v128.load(v, 16)));
      a2 = f32x4.add(a2, f32x4.mul(x, v128.load(v, 32)));
      a3 = f32x4.add(a3, f32x4.mul(x, v128.load(v, 48)));
    }
    v128.store(sums + i, a0);
    v128.store(sums + i, a1, 16);
    v128.store(sums + i, a2, 32);
    v128.store(sums + i, a3, 48);
  }
  for (; i < bytes; i += 16) {
    let a = f32x4.mul(v128.load(sums + i), shrink);
    let v = values + i;
    for (let j = p; j < pEnd; j += 4, v += bytes) a = f32x4.add(a, f32x4.mul(v128.load32_splat(j), v128.load(v)));
    v128.store(sums + i, a);
  }
}

/** Merges the state of the next span into the state of those before it. */
export function mergeSpan(state: usize, next: usize, headDim: u32): void {
  const before = load<f32>(state);
  const after = load<f32>(next);
  const m = max<f32>(before, after);
  const keep = exp1(before - m);
  const take = exp1(after - m);
  store<f32>(state, m);
  store<f32>(state, load<f32>(state, 4) * keep + load<f32>(next, 4) * take, 4);
  const a = f32x4.splat(keep);
  const b = f32x4.splat(take);
  for (let i: usize = 16, end: usize = 16 + (<usize>headDim << 2); i < end; i += 16) {
    v128.store(state + i, f32x4.add(f32x4.mul(v128.load(state + i), a), f32x4.mul(v128.load(next + i), b)));
  }
}

/** out = Σ / l; [headDim] f32 */
export function finishSpans(out: usize, state: usize, headDim: u32): void {
  const inverse = f32x4.splat(<f32>1 / load<f32>(state, 4));
  for (let i: usize = 0, end = <usize>headDim << 2; i < end; i += 16) v128.store(out + i, f32x4.mul(v128.load(state + i, 16), inverse));
}
