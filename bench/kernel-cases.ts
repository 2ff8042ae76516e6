import {
  activationBytes,
  attentionKernels,
  attentionScratch,
  cacheHeadBytes,
  GROUPS_SCRATCH,
  type Kernels,
  listBytes,
  ROW_GROUP,
  scanScratch,
  sparseScratch,
  type Tier,
  ternaryScratch,
  tileColumnBytes,
} from "../engine/compute/kernels.js";
import {
  attend,
  attendCodes,
  dot8,
  groupedProduct,
  KV_BLOCK,
  KV_SPAN,
  type KvType,
  quantize,
  quantizeGroups,
  reluSquaredMul,
  rmsNorm,
} from "../engine/numerics.js";
import { rope } from "../engine/rope.js";

/** Kernels over a memory that holds no zeros, and places in it. */
export interface Setting {
  readonly tier: Tier;
  readonly kernels: Kernels;
  readonly memory: WebAssembly.Memory;
  /** Address of so many bytes. */
  take(bytes: number): number;
}

/** A kernel on a real shape. A call works on one slab of its data. */
export interface KernelCase {
  readonly name: string;
  /** A tier that has no such kernel. */
  readonly notIn?: Tier;
  /** Multiply-adds of a call; 0: it is about bytes. */
  readonly macs: number;
  /** Bytes of a call that are read from weights or cache, or else read and written. */
  bytes(tier: Tier): number;
  /** Bytes of weights or cache in a slab, to measure with more of them than fit in the caches; 0: always cached in use. */
  slabBytes(tier: Tier): number;
  /** Which instruction multiplies: the tier's dot product of integers, or f32's. */
  readonly multiplier: "dot" | "f32" | undefined;
  /** Multiply-adds that share one lane of it; default 1. */
  perLane?(tier: Tier): number;
  /** Lays out `slabs` slabs; what it returns works on one. */
  prepare(setting: Setting, slabs: number): (slab: number) => void;
  /** The same work in the scalar arithmetic. */
  scalar?(): () => void;
}

/** 2B4T: rows and columns of its ternary layers (q and o, gate and up, down), heads, vocabulary. */
const LAYERS = [
  [2560, 2560],
  [6912, 2560],
  [2560, 6912],
] as const;
const [HIDDEN, FFN, HEADS, KV_HEADS, HEAD_DIM] = [2560, 6912, 20, 5, 128];
/** Rows that a thread takes at a time, as in the network: of a ternary layer, of the output head, of its coarse pass. */
const [ROWS, HEAD_ROWS, SCAN_ROWS] = [128, 256, 128];
/** Columns of a whole tile of prefill. */
const TILE = 64;

const floats = (n: number): Float32Array => Float32Array.from({ length: n }, (_, i) => ((i * 7919) % 2001) / 1000 - 1);

/** `n` quantised rows of activations, as the kernels want them, each of `values`. */
function activations(
  { tier, kernels, memory, take }: Setting,
  k: number,
  n: number,
  values = floats(k),
): { x: number; stride: number; meta: number } {
  const stride = k * activationBytes(tier);
  const [x, meta, from] = [take((n + 1) * stride), take((n + 1) * 8), take(k * 4)];
  new Float32Array(memory.buffer, from, k).set(values);
  for (let i = 0; i < n; i++) kernels.quantize(x + i * stride, meta + i * 8, from, k, k);
  return { x, stride, meta };
}

/** Rows of a ternary layer times `columns` rows of activations: 1 is decoding, more is prefill. */
function ternary(rows: number, k: number, columns: number): KernelCase {
  const bytes = (ROWS * k) / 4;
  return {
    name: `ternary ${rows}×${k}${columns > 1 ? ` × ${columns}` : ""}`,
    macs: ROWS * k * columns,
    bytes: () => bytes,
    slabBytes: () => bytes,
    multiplier: "dot",
    // Prefill on plain SIMD multiplies two rows' weights at once, packed into one 16-bit lane.
    perLane: (tier) => (tier === "plain" && columns > 1 ? 2 : 1),
    prepare(setting, slabs) {
      const { kernels, take } = setting;
      const weights = take(slabs * bytes);
      const { x, stride, meta } = activations(setting, k, columns);
      const y = take((columns + 1) * ROWS * 4);
      const scratch = take(ternaryScratch(k));
      return (slab) => kernels.ternary(weights + slab * bytes, ROWS, k, 0.01, x, stride, meta, columns, y, ROWS * 4, scratch);
    },
    scalar() {
      const codes = Int8Array.from({ length: ROWS * k }, (_, i) => (i % 3) - 1);
      const { values } = quantize(floats(k), k);
      const out = new Float32Array(ROWS);
      return () => {
        for (let column = 0; column < columns; column++) {
          for (let row = 0; row < ROWS; row++) {
            let sum = 0;
            for (let i = 0, w = row * k; i < k; i++, w++) sum = (sum + Math.imul(codes[w]!, values[i]!)) | 0;
            out[row] = sum;
          }
        }
      };
    },
  };
}

/** As `ternary`, of activations of which two thirds are 0 and left out. What is left out counts as multiplied, to compare with the whole product. */
function sparse(rows: number, k: number, columns: number): KernelCase {
  const { slabBytes, scalar, ...whole } = ternary(rows, k, columns);
  return {
    ...whole,
    slabBytes,
    ...(scalar && { scalar }),
    name: `${whole.name}, ⅔ zeros`,
    notIn: "plain",
    multiplier: undefined,
    prepare(setting, slabs) {
      const { tier, kernels, take } = setting;
      const bytes = slabBytes(tier);
      const weights = take(slabs * bytes);
      const third = floats(k).map((value, i) => ((Math.imul(i, 2654435761) >>> 0) % 3 === 0 ? value : 0));
      const { x, stride, meta } = activations(setting, k, columns, third);
      const y = take(columns * ROWS * 4);
      const scratch = take(sparseScratch(tier, columns, k));
      const lists = take(columns * listBytes(k));
      for (let i = 0; i < columns; i++) kernels.listColumns!(lists + i * listBytes(k), x + i * stride, k, tileColumnBytes(tier));
      return (slab) => {
        const from = weights + slab * bytes;
        kernels.ternarySparse!(from, ROWS, k, 0.01, meta, columns, y, ROWS * 4, scratch, lists, listBytes(k));
      };
    },
  };
}

/** Columns that share a scale. */
const GROUP = 128;

/** Rows of a ternary layer with a scale for each group of columns, times `columns` rows of activations. */
function groups(rows: number, k: number, columns: number, inputs: "int8" | "float"): KernelCase {
  const codeBytes = (ROWS * k) / 4;
  const bytes = codeBytes + (ROWS * k * 4) / GROUP;
  const wide = inputs === "float" ? 1 : 0;
  return {
    name: `groups ${rows}×${k}${columns > 1 ? ` × ${columns}` : ""}, ${wide ? 15 : 8} bits`,
    macs: ROWS * k * columns,
    bytes: () => bytes,
    slabBytes: () => bytes,
    multiplier: "dot",
    // 15 bits are two products of 8, except where a product is of 16.
    perLane: (tier) => (wide && tier !== "plain" ? 0.5 : 1),
    prepare({ tier, kernels, memory, take }, slabs) {
      const weights = take(slabs * bytes);
      const column = GROUP * activationBytes(tier, inputs);
      const [xGroup, metaGroup] = [(columns + 1) * column + 64, (columns + 1) * 8];
      const [x, meta] = [take((k / GROUP) * xGroup), take((k / GROUP) * metaGroup)];
      const from = take(k * 4);
      new Float32Array(memory.buffer, from, k).set(floats(k));
      for (let i = 0; i < columns; i++) kernels.quantizeGroups(x + i * column, xGroup, meta + i * 8, metaGroup, from, k, k, GROUP, wide);
      const y = take((columns + 1) * ROWS * 4);
      const scratch = take(GROUPS_SCRATCH);
      return (slab) => {
        const w = weights + slab * bytes;
        kernels.ternaryGroups(w, w + codeBytes, ROWS, k, GROUP, wide, x, xGroup, meta, metaGroup, columns, y, ROWS * 4, scratch);
      };
    },
    scalar() {
      const codes = Int8Array.from({ length: ROWS * k }, (_, i) => (i % 3) - 1);
      const scales = new Float32Array((ROWS * k) / GROUP).fill(0.01);
      const quantised = quantizeGroups(floats(k), k, GROUP, inputs);
      const out = new Float32Array(ROWS);
      return () => {
        for (let column = 0; column < columns; column++) {
          for (let row = 0; row < ROWS; row++) {
            out[row] = groupedProduct(codes, row * k, scales, (row * k) / GROUP, GROUP, quantised);
          }
        }
      };
    },
  };
}

/** Rows of the output head, each number in bf16. */
const head: KernelCase = {
  name: `head 128256×${HIDDEN} bf16`,
  macs: HEAD_ROWS * HIDDEN,
  bytes: () => HEAD_ROWS * HIDDEN * 2,
  slabBytes: () => HEAD_ROWS * HIDDEN * 2,
  multiplier: "f32",
  prepare({ kernels, memory, take }, slabs) {
    const bytes = HEAD_ROWS * HIDDEN * 2;
    const [table, x, y] = [take(slabs * bytes), take(HIDDEN * 4), take(HEAD_ROWS * 4)];
    new Float32Array(memory.buffer, x, HIDDEN).set(floats(HIDDEN));
    return (slab) => kernels.head(table + slab * bytes, HEAD_ROWS, HIDDEN, 0, x, 1, y, HEAD_ROWS * 4);
  },
  scalar() {
    const [table, x, y] = [floats(HEAD_ROWS * HIDDEN), floats(HIDDEN), new Float32Array(HEAD_ROWS)];
    return () => {
      for (let row = 0; row < HEAD_ROWS; row++) y[row] = dot8(x, 0, table, row * HIDDEN, HIDDEN);
    };
  },
};

/** Products of 16 bits, that every tier multiplies alike: in the tiers whose dot instruction takes 8 bits, half as many at a time. */
const in16Bits = (tier: Tier): number => (tier === "plain" ? 1 : 0.5);

/** The coarse pass over the output head: 6-bit codes, `columns` hidden states of 14 bits. */
function scan(columns: number): KernelCase {
  const bytes = (SCAN_ROWS * HIDDEN * 3) / 4;
  return {
    name: `head scan 128256×${HIDDEN} 6 bits${columns > 1 ? ` × ${columns}` : ""}`,
    macs: SCAN_ROWS * HIDDEN * columns,
    bytes: () => bytes,
    slabBytes: () => bytes,
    multiplier: "dot",
    perLane: in16Bits,
    prepare({ kernels, memory, take }, slabs) {
      const stride = HIDDEN * 2 + 64;
      const [codes, scales, y] = [take(slabs * bytes), take(SCAN_ROWS * 4), take(columns * SCAN_ROWS * 4)];
      const [x, from, scratch] = [take(columns * stride), take(HIDDEN * 4), take(scanScratch(HIDDEN))];
      const meta = x + HIDDEN * 2;
      new Float32Array(memory.buffer, from, HIDDEN).set(floats(HIDDEN));
      for (let i = 0; i < columns; i++) kernels.prepareScan(x + i * stride, meta + i * stride, from, HIDDEN, 6605);
      return (slab) => kernels.scan(codes + slab * bytes, scales, SCAN_ROWS, HIDDEN, x, stride, meta, columns, y, SCAN_ROWS * 4, scratch);
    },
  };
}

/** The query heads that share a head of the cache, over `count` positions: a key and a value each. */
function attention(count: number, kv: KvType): KernelCase {
  const queries = HEADS / KV_HEADS;
  const blocks = count / KV_BLOCK;
  const spans = Math.ceil(count / KV_SPAN);
  const blockBytes = cacheHeadBytes(kv, HEAD_DIM);
  const stateBytes = 64 + HEAD_DIM * 4;
  return {
    name: `attention ${count} ${kv}`,
    macs: 2 * count * HEAD_DIM * queries,
    bytes: () => blocks * blockBytes,
    slabBytes: () => blocks * blockBytes,
    multiplier: kv === "f32" ? "f32" : "dot",
    perLane: (tier) => (kv === "f32" ? 1 : in16Bits(tier)),
    prepare({ kernels, memory, take }, slabs) {
      const { attendSpan } = attentionKernels(kernels, kv);
      const cache = take(slabs * blocks * blockBytes);
      const [table, q, scratch] = [take(blocks * 4), take(queries * HEAD_DIM * 4), take(attentionScratch(HEAD_DIM))];
      const [states, out] = [take(queries * spans * stateBytes), take(HEAD_DIM * 4)];
      new Uint32Array(memory.buffer, table, blocks).set(Array.from({ length: blocks }, (_, i) => i));
      new Float32Array(memory.buffer, q, queries * HEAD_DIM).set(floats(queries * HEAD_DIM));
      return (slab) => {
        const from = cache + slab * blocks * blockBytes;
        for (let span = 0; span < spans; span++) {
          const blocksFrom = table + ((span * KV_SPAN) / KV_BLOCK) * 4;
          const seen = Math.min(count - span * KV_SPAN, KV_SPAN);
          const to = states + span * stateBytes;
          const factor = 1 / Math.sqrt(HEAD_DIM);
          attendSpan(to, spans * stateBytes, q, queries, HEAD_DIM, blocksFrom, from, blockBytes, seen, factor, scratch);
        }
        for (let query = 0; query < queries; query++) {
          kernels.finishSpans(out, states + query * spans * stateBytes, spans, stateBytes, HEAD_DIM);
        }
      };
    },
    scalar() {
      const [q, out] = [floats(HEAD_DIM), new Float32Array(HEAD_DIM)];
      const [keys, values] = [floats(count * HEAD_DIM), floats(count * HEAD_DIM)];
      const codes = Array.from({ length: count * HEAD_DIM }, (_, i) => (i % 255) - 127);
      const coded = { codes: kv === "q8" ? Int8Array.from(codes) : Int16Array.from(codes), scales: new Float32Array(count).fill(0.01) };
      return () => {
        for (let query = 0; query < queries; query++) {
          if (kv === "f32") attend(out, 0, q, 0, keys, values, 0, HEAD_DIM, count, HEAD_DIM);
          else attendCodes(kv, out, 0, q, 0, coded, coded, 0, 1, count, HEAD_DIM);
        }
      };
    },
  };
}

/** Work on one row of activations, which is always in the cache: `buffers` of `n` f32 are read or written. */
function row(
  name: string,
  n: number,
  buffers: number,
  call: (setting: Setting, at: readonly number[]) => () => void,
  scalar: (x: readonly Float32Array[]) => () => void,
): KernelCase {
  return {
    ...{ name: `${name} ${n}`, macs: 0, bytes: () => buffers * n * 4, slabBytes: () => 0, multiplier: undefined },
    prepare(setting) {
      const at = Array.from({ length: 3 }, () => setting.take(n * 4));
      for (const address of at) new Float32Array(setting.memory.buffer, address, n).set(floats(n));
      return call(setting, at);
    },
    scalar: () => scalar(Array.from({ length: 3 }, () => floats(n))),
  };
}

/** Rows of I2_S to codes to the kernels' layout, as the loader does it. */
const packing: KernelCase = {
  name: `packing I2_S ${ROWS}×${HIDDEN}`,
  macs: 0,
  bytes: () => (ROWS * HIDDEN) / 4,
  slabBytes: () => (ROWS * HIDDEN) / 4,
  multiplier: undefined,
  prepare({ kernels, take }, slabs) {
    const bytes = (ROWS * HIDDEN) / 4;
    const [from, codes, packed] = [take(slabs * bytes), take(ROWS * HIDDEN), take(bytes)];
    return (slab) => {
      kernels.unpackI2s(codes, from + slab * bytes, bytes / 32);
      for (let r = 0; r < ROWS; r++) {
        kernels.packRow(packed + Math.floor(r / ROW_GROUP) * HIDDEN, r % ROW_GROUP, codes + r * HIDDEN, HIDDEN);
      }
    };
  },
};

/** All that is measured. A new kernel is a new line. */
export const KERNEL_CASES: readonly KernelCase[] = [
  ...LAYERS.map(([rows, k]) => ternary(rows, k, 1)),
  ...[2, 4, 8, TILE].flatMap((columns) => LAYERS.map(([rows, k]) => ternary(rows, k, columns))),
  ...[1, 2, 4, 8, TILE].map((columns) => sparse(HIDDEN, FFN, columns)),
  ...[1, TILE].flatMap((columns) => [groups(HIDDEN, HIDDEN, columns, "int8"), groups(HIDDEN, HIDDEN, columns, "float")]),
  head,
  scan(1),
  scan(4),
  ...[512, 2048].flatMap((count) => [attention(count, "f32"), attention(count, "k16"), attention(count, "q8")]),
  row(
    "rmsNorm",
    HIDDEN,
    3,
    ({ kernels }, [x, weight, out]) =>
      () =>
        kernels.rmsNorm(out!, x!, weight!, HIDDEN, 1e-5),
    ([x, weight, out]) =>
      () =>
        rmsNorm(out!, x!, weight!, 1e-5),
  ),
  row(
    "quantize",
    FFN,
    1,
    ({ kernels, take }, [x]) => {
      const [out, meta] = [take(FFN * 2), take(8)];
      return () => kernels.quantize(out, meta, x!, FFN, FFN);
    },
    ([x]) =>
      () =>
        quantize(x!, FFN),
  ),
  row(
    "reluSquaredMul",
    FFN,
    3,
    ({ kernels }, [gate, up, out]) =>
      () =>
        kernels.reluSquaredMul(out!, gate!, up!, FFN),
    ([gate, up]) =>
      () =>
        reluSquaredMul(gate!, up!, FFN),
  ),
  row(
    "rope",
    HEADS * HEAD_DIM,
    2,
    ({ kernels }, [x, angles, out]) =>
      () =>
        kernels.rope(out!, x!, HEADS, HEAD_DIM, HEAD_DIM, angles!),
    ([x, angles]) =>
      () =>
        rope(x!, 0, HEADS, HEAD_DIM, angles!),
  ),
  packing,
];
