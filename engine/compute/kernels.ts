import { KV_BLOCK, type KvType } from "../numerics.js";

/**
 * A build of the kernels: same sums, other instructions and another layout of packed rows. `plain`: SIMD; `relaxed`: relaxed SIMD; `wide`:
 * the module of `relaxed` in the layout that the engine can turn into 256-bit code; `vnni`: `wide`, with batches in the instruction that
 * processors with AVX-VNNI have.
 */
export type Tier = "plain" | "relaxed" | "wide" | "vnni";
export const TIERS: readonly Tier[] = ["plain", "relaxed", "wide", "vnni"];

/** Whether a tier's rows lie as 256-bit code needs them. */
export function isWide(tier: Tier): boolean {
  return tier === "wide" || tier === "vnni";
}

/** The exports of a kernel module (kernels/assembly). Every address and size is an unsigned 32-bit number; f32 counts are elements. */
export interface Kernels {
  barrier(control: number, threads: number): void;
  nextChunk(control: number): number;
  add(x: number, y: number, n: number): void;
  addScaled(x: number, y: number, n: number, factor: number): void;
  scale(x: number, n: number, factor: number): void;
  rmsNorm(out: number, x: number, weight: number, n: number, eps: number): void;
  reluSquaredMul(out: number, gate: number, up: number, n: number): void;
  siluMul(out: number, gate: number, up: number, n: number): void;
  geluMul(out: number, gate: number, up: number, n: number): void;
  quantize(out: number, meta: number, x: number, n: number, kPad: number): void;
  sigmoidMul(x: number, gate: number, n: number): void;
  rope(out: number, x: number, heads: number, headDim: number, rotated: number, angles: number): void;
  rotate(out: number, x: number, signs: number, n: number, block: number, factor: number, back: number): void;
  convolve(
    out: number,
    outStride: number,
    x: number,
    xStride: number,
    rows: number,
    before: number,
    beforeStride: number,
    fresh: number,
    weights: number,
    channels: number,
  ): void;
  l2Norm(x: number, n: number, eps: number): void;
  deltaRule(
    out: number,
    outStride: number,
    state: number,
    count: number,
    n: number,
    fresh: number,
    q: number,
    k: number,
    v: number,
    stride: number,
    gates: number,
    rows: number,
    scale: number,
  ): void;
  storeKeyValue(block: number, slot: number, k: number, v: number, headDim: number): void;
  storeKeyValueK16(block: number, slot: number, k: number, v: number, headDim: number): void;
  storeKeyValueQ8(block: number, slot: number, k: number, v: number, headDim: number): void;
  attendSpan(...span: AttendSpanArguments): void;
  attendSpanK16(...span: AttendSpanArguments): void;
  attendSpanQ8(...span: AttendSpanArguments): void;
  finishSpans(out: number, states: number, spans: number, stateBytes: number, headDim: number): void;
  ternary(
    w: number,
    rows: number,
    kPad: number,
    scale: number,
    x: number,
    xStride: number,
    meta: number,
    columns: number,
    y: number,
    yStride: number,
    scratch: number,
  ): void;
  /** The product of activations that are mostly 0, on tiles of columns. The plain tier has none, nor the two below. */
  ternarySparse:
    | ((
        w: number,
        rows: number,
        kPad: number,
        scale: number,
        meta: number,
        columns: number,
        y: number,
        yStride: number,
        scratch: number,
        lists: number,
        listStride: number,
      ) => void)
    | undefined;
  listColumns: ((out: number, x: number, kPad: number, bytes: number) => void) | undefined;
  turnTile: ((w: number, from: number, kPad: number, scratch: number) => void) | undefined;
  quantizeGroups(
    out: number,
    outGroup: number,
    meta: number,
    metaGroup: number,
    x: number,
    n: number,
    kPad: number,
    group: number,
    wide: number,
  ): void;
  ternaryGroups(
    w: number,
    scales: number,
    rows: number,
    kPad: number,
    group: number,
    wide: number,
    x: number,
    xGroup: number,
    meta: number,
    metaGroup: number,
    columns: number,
    y: number,
    yStride: number,
    scratch: number,
  ): void;
  unpackI2s(codes: number, bytes: number, blocks: number): number;
  unpackTq1(codes: number, bytes: number, blocks: number): number;
  unpackTq2(codes: number, bytes: number, blocks: number): number;
  unpackPtq1(codes: number, bytes: number, blocks: number): number;
  unpackQ1(codes: number, bytes: number, blocks: number): number;
  unpackQ2(codes: number, bytes: number, blocks: number, group: number): number;
  /** Not in the plain tier, whose layout is another: there codes lie between. */
  repackI2s: ((group: number, row: number, bytes: number, n: number) => number) | undefined;
  unpackHf(codes: number, bytes: number, n: number, k: number): number;
  widen(out: number, bytes: number, n: number, type: number): number;
  packRow(group: number, row: number, codes: number, kPad: number): void;
  /** `packRow` for `ternaryGroups`; not in the plain tier, where it is the same. */
  packLane: ((group: number, row: number, codes: number, kPad: number) => void) | undefined;
  packBf16(out: number, x: number, kPad: number): void;
  head(table: number, rows: number, kPad: number, wide: number, x: number, columns: number, y: number, yStride: number): void;
  packScan(out: number, low: number, scale: number, error: number, fineError: number, x: number, n: number, scratch: number): void;
  prepareScan(out: number, meta: number, x: number, n: number, levels: number): void;
  scan(
    codes: number,
    scales: number,
    rows: number,
    kPad: number,
    x: number,
    xStride: number,
    meta: number,
    columns: number,
    y: number,
    yStride: number,
    scratch: number,
  ): void;
  bounds(
    lower: number,
    upper: number,
    coarse: number,
    scales: number,
    errors: number,
    rows: number,
    perError: number,
    perScale: number,
    slack: number,
  ): number;
  refine(
    lower: number,
    upper: number,
    ids: number,
    count: number,
    low: number,
    scales: number,
    errors: number,
    x: number,
    meta: number,
    kPad: number,
    coarse: number,
    perError: number,
    perScale: number,
    slack: number,
  ): void;
  atLeast(out: number, values: number, rows: number, least: number): number;
}

/** One span of up to MOST_QUERIES adjacent query heads that share one head of the cache; see kernels/assembly/attention.ts. */
export type AttendSpanArguments = [
  states: number,
  stateBytes: number,
  q: number,
  queries: number,
  headDim: number,
  table: number,
  cache: number,
  blockBytes: number,
  count: number,
  scale: number,
  scratch: number,
];

/** Query heads that one call of `attendSpan` takes. */
export const MOST_QUERIES = 8;

/** Bytes of a thread's own scratch for `attendSpan` and its kinds: two heads' probabilities and weights, factors, queries as int16. */
export function attentionScratch(headDim: number): number {
  return 2 * KV_BLOCK * 4 + 2 * KV_BLOCK * 2 + MOST_QUERIES * 4 + MOST_QUERIES * headDim * 2;
}

/** Bytes of one head's keys and values of one block of positions. */
export function cacheHeadBytes(kv: KvType, headDim: number): number {
  const bytes = { f32: headDim * 4, k16: headDim * 2 + 4, q8: headDim + 4 }[kv];
  return 2 * KV_BLOCK * bytes;
}

/** The kernels of a type of cache. */
export function attentionKernels(kernels: Kernels, kv: KvType): { store: Kernels["storeKeyValue"]; attendSpan: Kernels["attendSpan"] } {
  return {
    f32: { store: kernels.storeKeyValue, attendSpan: kernels.attendSpan },
    k16: { store: kernels.storeKeyValueK16, attendSpan: kernels.attendSpanK16 },
    q8: { store: kernels.storeKeyValueQ8, attendSpan: kernels.attendSpanQ8 },
  }[kv];
}

/** Columns of a packed ternary row: a multiple of this. */
export function columnBlock(tier: Tier): number {
  return isWide(tier) ? 128 : 64;
}

/** Rows of a group in the packed layouts, and in the output head. */
export const ROW_GROUP = 4;

/** Rows of a group of packed ternary rows. @param inGroups scales are of groups of columns */
export function rowGroup(tier: Tier, inGroups: boolean): number {
  return inGroups && tier !== "plain" ? 16 : ROW_GROUP;
}

/** Bytes of a thread's own scratch for `ternaryGroups`: unpacked codes, and sums of 66 columns. */
export const GROUPS_SCRATCH = 4096 + 66 * 64;

/** Bytes of one quantised activation: int8 or, in the plain tier, int16, which also holds the 15 bits that are two int8 in the others. */
export function activationBytes(tier: Tier, activations: "int8" | "float" = "int8"): number {
  return tier === "plain" || activations === "float" ? 2 : 1;
}

/** Bytes of a thread's own scratch for `ternary` on rows of `kPad` columns. */
export function ternaryScratch(kPad: number): number {
  return 12 * kPad + 768;
}

/** Columns of a block of `scan`'s codes. */
export const SCAN_BLOCK = 128;

/** Bytes of a thread's own scratch for `scan` of states of `kPad` numbers: sums, eight states in halves, twice, and the codes of eight rows. */
export function scanScratch(kPad: number): number {
  return 384 + 40 * kPad;
}

/** Bytes of the list of a row's columns that aren't 0, for `ternarySparse`. */
export function listBytes(kPad: number): number {
  return 4 * kPad + 64;
}

/**
 * Rows of activations from which on `ternarySparse` is faster than `ternary`. With a single one, 256-bit code waits for the memory whether
 * columns are left out or not, and reads rows faster.
 */
export function leastSparse(tier: Tier): number {
  return isWide(tier) ? 2 : 1;
}

/** Rows of a tile of `ternarySparse`. */
export function tileRows(tier: Tier): number {
  return isWide(tier) ? 128 : 64;
}

/** Bytes of a column in such a tile: four rows a byte. */
export function tileColumnBytes(tier: Tier): number {
  return tileRows(tier) / 4;
}

/** Bytes of a thread's own scratch for `ternarySparse` of so many columns of activations, and for `turnTile`. */
export function sparseScratch(tier: Tier, columns: number, kPad: number): number {
  return 512 + Math.max(4 * columns, tileColumnBytes(tier) * kPad);
}

/**
 * One thread's instance of the tier's module. @param counters COUNTER_BYTES of this thread's own, where the kernels count their calls
 * @internal not in the published types
 */
export function instantiate(module: WebAssembly.Module, memory: WebAssembly.Memory, tier: Tier, counters: number): Kernels {
  const env = {
    memory,
    counters,
    // AssemblyScript's trap hook; the kernels are built without assertions and never call it.
    abort: () => {
      throw new Error("kernel abort");
    },
  };
  const {
    ternaryWide,
    ternaryVnni,
    ternarySparseWide,
    ternarySparseVnni,
    turnTileWide,
    ternaryGroupsWide,
    packRowWide,
    repackI2sWide,
    packScanWide,
    scanWide,
    scanVnni,
    ...kernels
  } = new WebAssembly.Instance(module, { env }).exports as unknown as Kernels & Wide;
  if (isWide(tier)) {
    return {
      ...kernels,
      ternary: tier === "vnni" ? ternaryVnni : ternaryWide,
      ternarySparse: tier === "vnni" ? ternarySparseVnni : ternarySparseWide,
      turnTile: turnTileWide,
      ternaryGroups: ternaryGroupsWide,
      packRow: packRowWide,
      repackI2s: repackI2sWide,
      packScan: packScanWide,
      scan: tier === "vnni" ? scanVnni : scanWide,
    };
  }
  const missing = { listColumns: undefined, ternarySparse: undefined, turnTile: undefined, repackI2s: undefined, packLane: undefined };
  return tier === "plain" ? { ...kernels, ...missing } : kernels;
}

/** Functions that the wide tiers have instead of others. */
interface Wide {
  readonly ternaryWide: Kernels["ternary"];
  readonly ternaryVnni: Kernels["ternary"];
  readonly ternarySparseWide: Kernels["ternarySparse"];
  readonly ternarySparseVnni: Kernels["ternarySparse"];
  readonly turnTileWide: Kernels["turnTile"];
  readonly ternaryGroupsWide: Kernels["ternaryGroups"];
  readonly packRowWide: Kernels["packRow"];
  readonly repackI2sWide: Kernels["repackI2s"];
  readonly packScanWide: Kernels["packScan"];
  readonly scanWide: Kernels["scan"];
  readonly scanVnni: Kernels["scan"];
}
