// Attention over a cache of blocks of 32 positions. A head's block, f32, in the order in which it is read:
//   keys   [2 halves][headDim][16 positions]
//   values [headDim/16][32 positions][16 dims]; the last headDim mod 16 dims in groups of 4 instead
// So scores and weighted sums both run along vectors, without sums across lanes. Softmax is online, block by block; blocks are gathered in
// spans of 256 positions, each computed from nothing and then merged in order. Blocks and spans begin at fixed positions: how the work was
// divided can't show in the result. Query heads that share keys and values are computed together, so that a block is fetched once; each of
// them alone would give the same bits.
import { ATTEND_SPAN, FINISH_SPANS, STORE_KEY_VALUE, called } from "./count";
import { BLOCK, exp1, softmax } from "./softmax";

/** Puts a position's key and value into its block. @param block of this head @param slot position mod 32 @param k, v [headDim] f32 */
export function storeKeyValue(block: usize, slot: u32, k: usize, v: usize, headDim: u32): void {
  called(STORE_KEY_VALUE);
  const bytes = <usize>headDim << 2;
  const at = <usize>slot;
  let to = block + (at >> 4) * (bytes << 4) + ((at & 15) << 2);
  for (let i: usize = 0; i < bytes; i += 4, to += 64) store<f32>(to, load<f32>(k + i));
  const values = block + bytes * BLOCK;
  const whole = bytes & ~63;
  for (let i: usize = 0; i < bytes; i += 16) {
    // The row of 16 dims, or of 4, in its group.
    const row = i < whole ? (i & ~63) * BLOCK + (at << 6) + (i & 63) : i * BLOCK + (at << 4);
    v128.store(values + row, v128.load(v + i));
  }
}

/**
 * One span of adjacent query heads that share one head of the cache: of each the softmax-weighted sum of its values, not yet divided.
 * @param states out, one each `stateBytes`: maximum m, sum l, two unused, then Σ e^(s−m)·v [headDim]; f32
 * @param q [queries][headDim] f32
 * @param queries 1…8
 * @param table u32 block numbers of the sequence, from the span's first
 * @param cache this layer's and head's part of block 0
 * @param blockBytes from block to block
 * @param count positions of the span that these queries see, 1…256
 * @param scale 1/√headDim
 * @param scratch of this thread's own: [2][32] f32
 */
export function attendSpan(
  states: usize,
  stateBytes: u32,
  q: usize,
  queries: u32,
  headDim: u32,
  table: usize,
  cache: usize,
  blockBytes: u32,
  count: u32,
  scale: f32,
  scratch: usize,
): void {
  called(ATTEND_SPAN);
  const bytes = <usize>headDim << 2;
  const end = states + <usize>queries * <usize>stateBytes;
  for (let state = states; state < end; state += stateBytes) clearState(state, bytes);
  for (let first: u32 = 0; first < count; first += <u32>BLOCK, table += 4) {
    const keys = cache + <usize>load<u32>(table) * <usize>blockBytes;
    const values = keys + bytes * BLOCK;
    const seen = min<u32>(count - first, <u32>BLOCK);
    let state = states;
    let x = q;
    for (; state + stateBytes < end; state += stateBytes << 1, x += bytes << 1) {
      scoresOfTwo(scratch, x, keys, bytes, scale);
      const a = softmax(state, scratch, seen);
      const b = softmax(state + stateBytes, scratch + 128, seen);
      gatherTwo(state + 16, state + stateBytes + 16, scratch, values, bytes, seen, f32x4.splat(a), f32x4.splat(b));
    }
    if (state < end) {
      scores(scratch, x, keys, bytes, scale);
      const a = softmax(state, scratch, seen);
      gather(state + 16, scratch, values, 0, bytes, seen, f32x4.splat(a));
    }
  }
}

/** A state before its first block. @param bytes of its sums */
export function clearState(state: usize, bytes: usize): void {
  store<f32>(state, -Infinity);
  store<f32>(state, 0, 4);
  memory.fill(state + 16, 0, bytes);
}

/** out[j] = scale · Σ_d q[d]·k[d][j] for the block's 32 positions, d ascending. */
// @ts-ignore: decorator
@inline
function scores(out: usize, q: usize, keys: usize, bytes: usize, scale: f32): void {
  const s = f32x4.splat(scale);
  for (let half: usize = 0; half < 128; half += 64) {
    let a0 = f32x4.splat(0), a1 = f32x4.splat(0), a2 = f32x4.splat(0), a3 = f32x4.splat(0);
    for (let p = q, end = q + bytes; p < end; p += 4, keys += 64) {
      const x = v128.load32_splat(p);
      a0 = f32x4.add(a0, f32x4.mul(x, v128.load(keys)));
      a1 = f32x4.add(a1, f32x4.mul(x, v128.load(keys, 16)));
      a2 = f32x4.add(a2, f32x4.mul(x, v128.load(keys, 32)));
      a3 = f32x4.add(a3, f32x4.mul(x, v128.load(keys, 48)));
    }
    v128.store(out + half, f32x4.mul(a0, s));
    v128.store(out + half, f32x4.mul(a1, s), 16);
    v128.store(out + half, f32x4.mul(a2, s), 32);
    v128.store(out + half, f32x4.mul(a3, s), 48);
  }
}

/** `scores` of two adjacent queries: out [2][32]. 8 sums, 4 loads and 2 splats stay in registers. */
// @ts-ignore: decorator
@inline
function scoresOfTwo(out: usize, q: usize, keys: usize, bytes: usize, scale: f32): void {
  const s = f32x4.splat(scale);
  for (let half: usize = 0; half < 128; half += 64) {
    let a0 = f32x4.splat(0), a1 = f32x4.splat(0), a2 = f32x4.splat(0), a3 = f32x4.splat(0);
    let b0 = f32x4.splat(0), b1 = f32x4.splat(0), b2 = f32x4.splat(0), b3 = f32x4.splat(0);
    for (let p = q, end = q + bytes; p < end; p += 4, keys += 64) {
      const x = v128.load32_splat(p);
      const y = v128.load32_splat(p + bytes);
      const k0 = v128.load(keys), k1 = v128.load(keys, 16), k2 = v128.load(keys, 32), k3 = v128.load(keys, 48);
      a0 = f32x4.add(a0, f32x4.mul(x, k0));
      a1 = f32x4.add(a1, f32x4.mul(x, k1));
      a2 = f32x4.add(a2, f32x4.mul(x, k2));
      a3 = f32x4.add(a3, f32x4.mul(x, k3));
      b0 = f32x4.add(b0, f32x4.mul(y, k0));
      b1 = f32x4.add(b1, f32x4.mul(y, k1));
      b2 = f32x4.add(b2, f32x4.mul(y, k2));
      b3 = f32x4.add(b3, f32x4.mul(y, k3));
    }
    v128.store(out + half, f32x4.mul(a0, s));
    v128.store(out + half, f32x4.mul(a1, s), 16);
    v128.store(out + half, f32x4.mul(a2, s), 32);
    v128.store(out + half, f32x4.mul(a3, s), 48);
    v128.store(out + half, f32x4.mul(b0, s), 128);
    v128.store(out + half, f32x4.mul(b1, s), 144);
    v128.store(out + half, f32x4.mul(b2, s), 160);
    v128.store(out + half, f32x4.mul(b3, s), 176);
  }
}

/** sums[d] = sums[d]·shrink + Σ_j p[j]·v[j][d], j ascending over the `seen` positions; from byte `i` of the sums on. */
// @ts-ignore: decorator
@inline
function gather(sums: usize, p: usize, values: usize, i: usize, bytes: usize, seen: u32, shrink: v128): void {
  const pEnd = p + (<usize>seen << 2);
  for (const whole = bytes & ~63; i < whole; i += 64) {
    let a0 = f32x4.mul(v128.load(sums + i), shrink);
    let a1 = f32x4.mul(v128.load(sums + i, 16), shrink);
    let a2 = f32x4.mul(v128.load(sums + i, 32), shrink);
    let a3 = f32x4.mul(v128.load(sums + i, 48), shrink);
    for (let j = p, v = values + i * BLOCK; j < pEnd; j += 4, v += 64) {
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
    for (let j = p, v = values + i * BLOCK; j < pEnd; j += 4, v += 16) a = f32x4.add(a, f32x4.mul(v128.load32_splat(j), v128.load(v)));
    v128.store(sums + i, a);
  }
}

/** `gather` of two queries, p [2][32]. */
// @ts-ignore: decorator
@inline
function gatherTwo(sumsA: usize, sumsB: usize, p: usize, values: usize, bytes: usize, seen: u32, shrinkA: v128, shrinkB: v128): void {
  const pEnd = p + (<usize>seen << 2);
  let i: usize = 0;
  for (const whole = bytes & ~63; i < whole; i += 64) {
    let a0 = f32x4.mul(v128.load(sumsA + i), shrinkA);
    let a1 = f32x4.mul(v128.load(sumsA + i, 16), shrinkA);
    let a2 = f32x4.mul(v128.load(sumsA + i, 32), shrinkA);
    let a3 = f32x4.mul(v128.load(sumsA + i, 48), shrinkA);
    let b0 = f32x4.mul(v128.load(sumsB + i), shrinkB);
    let b1 = f32x4.mul(v128.load(sumsB + i, 16), shrinkB);
    let b2 = f32x4.mul(v128.load(sumsB + i, 32), shrinkB);
    let b3 = f32x4.mul(v128.load(sumsB + i, 48), shrinkB);
    for (let j = p, v = values + i * BLOCK; j < pEnd; j += 4, v += 64) {
      const x = v128.load32_splat(j);
      const y = v128.load32_splat(j, 128);
      const v0 = v128.load(v), v1 = v128.load(v, 16), v2 = v128.load(v, 32), v3 = v128.load(v, 48);
      a0 = f32x4.add(a0, f32x4.mul(x, v0));
      a1 = f32x4.add(a1, f32x4.mul(x, v1));
      a2 = f32x4.add(a2, f32x4.mul(x, v2));
      a3 = f32x4.add(a3, f32x4.mul(x, v3));
      b0 = f32x4.add(b0, f32x4.mul(y, v0));
      b1 = f32x4.add(b1, f32x4.mul(y, v1));
      b2 = f32x4.add(b2, f32x4.mul(y, v2));
      b3 = f32x4.add(b3, f32x4.mul(y, v3));
    }
    v128.store(sumsA + i, a0);
    v128.store(sumsA + i, a1, 16);
    v128.store(sumsA + i, a2, 32);
    v128.store(sumsA + i, a3, 48);
    v128.store(sumsB + i, b0);
    v128.store(sumsB + i, b1, 16);
    v128.store(sumsB + i, b2, 32);
    v128.store(sumsB + i, b3, 48);
  }
  if (i < bytes) {
    gather(sumsA, p, values, i, bytes, seen, shrinkA);
    gather(sumsB, p + 128, values, i, bytes, seen, shrinkB);
  }
}

/**
 * out = Σ / l of all spans, merged in order; the states stay as they are. [headDim] f32
 * @param states of consecutive spans, one each `stateBytes`
 */
export function finishSpans(out: usize, states: usize, spans: u32, stateBytes: u32, headDim: u32): void {
  called(FINISH_SPANS);
  const bytes = <usize>headDim << 2;
  let m = load<f32>(states);
  let l = load<f32>(states, 4);
  memory.copy(out, states + 16, bytes);
  for (let span: u32 = 1; span < spans; span++) {
    states += stateBytes;
    const before = m;
    const after = load<f32>(states);
    m = max<f32>(before, after);
    const keep = exp1(before - m);
    const take = exp1(after - m);
    l = l * keep + load<f32>(states, 4) * take;
    const a = f32x4.splat(keep);
    const b = f32x4.splat(take);
    for (let i: usize = 0; i < bytes; i += 16) {
      v128.store(out + i, f32x4.add(f32x4.mul(v128.load(out + i), a), f32x4.mul(v128.load(states + i, 16), b)));
    }
  }
  const inverse = f32x4.splat(<f32>1 / l);
  for (let i: usize = 0; i < bytes; i += 16) v128.store(out + i, f32x4.mul(v128.load(out + i), inverse));
}
