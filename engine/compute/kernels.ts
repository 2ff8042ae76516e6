import { readFileSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import { BitnetError } from "../errors.js";
import { KV_BLOCK, type KvType, outputFactor, quantize, rmsNorm } from "../numerics.js";

/** A build of the kernels: same sums, other instructions and another row layout. */
export type Tier = "plain" | "relaxed";

/** The exports of a kernel module (kernels/assembly). Every address and size is an unsigned 32-bit number; f32 counts are elements. */
export interface Kernels {
  barrier(control: number, threads: number): void;
  nextChunk(control: number): number;
  add(x: number, y: number, n: number): void;
  rmsNorm(out: number, x: number, weight: number, n: number, eps: number): void;
  reluSquaredMul(gate: number, up: number, n: number): void;
  quantize(out: number, meta: number, x: number, n: number, kPad: number): void;
  rope(x: number, heads: number, headDim: number, angles: number): void;
  storeKeyValue(block: number, slot: number, k: number, v: number, headDim: number): void;
  storeKeyValueQ8(block: number, slot: number, k: number, v: number, headDim: number): void;
  attendSpan(...span: AttendSpanArguments): void;
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
  unpackI2s(codes: number, bytes: number, blocks: number): number;
  unpackHf(codes: number, bytes: number, n: number, k: number): number;
  widen(out: number, bytes: number, n: number, type: number): number;
  packRow(out: number, codes: number, kPad: number): void;
  packBf16(out: number, x: number, kPad: number): void;
  embed(out: number, row: number, kPad: number, wide: number): void;
  head(table: number, rows: number, kPad: number, wide: number, x: number, columns: number, y: number, yStride: number): void;
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

/** Bytes of a thread's own scratch for `attendSpan` and `attendSpanQ8`: two heads' probabilities and weights, factors, queries as int16. */
export function attentionScratch(headDim: number): number {
  return 2 * KV_BLOCK * 4 + 2 * KV_BLOCK * 2 + MOST_QUERIES * 4 + MOST_QUERIES * headDim * 2;
}

/** Bytes of one head's keys and values of one block of positions. */
export function cacheHeadBytes(kv: KvType, headDim: number): number {
  return 2 * KV_BLOCK * (kv === "f32" ? headDim * 4 : headDim + 4);
}

/** Columns of a packed ternary row: a multiple of this. */
export const COLUMN_BLOCK = 64;
/** Rows of a group in the packed layouts. */
export const ROW_GROUP = 4;

/** Bytes of one quantised activation, by tier. */
export function activationBytes(tier: Tier): number {
  return tier === "plain" ? 2 : 1;
}

/** Bytes of a thread's own scratch for `ternary` on rows of `kPad` columns. */
export function ternaryScratch(kPad: number): number {
  return 8 * kPad + 256;
}

/** Compiled kernels and why these. */
export interface ChosenKernels {
  readonly tier: Tier;
  readonly why: string;
  readonly module: WebAssembly.Module;
}

const RELAXED_FLAG = "--experimental-wasm-relaxed-simd";

/**
 * Picks the fastest tier that this engine compiles, or the one asked for.
 * @param setFlags may set the process-wide V8 flag that Node 20 needs for relaxed SIMD
 * @throws BitnetError usage: the tier asked for can't run here
 */
export function chooseKernels(wanted: Tier | "auto", setFlags: boolean): ChosenKernels {
  if (wanted === "plain") return compile("plain", "asked for");
  const relaxed = readModule("relaxed");
  // Only where it is needed: newer Nodes know the feature by default and complain about the flag.
  if (!WebAssembly.validate(relaxed) && (setFlags || wanted === "relaxed")) setFlagsFromString(RELAXED_FLAG);
  if (WebAssembly.validate(relaxed)) {
    return {
      tier: "relaxed",
      why: wanted === "auto" ? "fastest that this Node runs" : "asked for",
      module: new WebAssembly.Module(relaxed),
    };
  }
  if (wanted === "relaxed") throw new BitnetError("usage", "this Node has no relaxed SIMD: use --tier auto or plain");
  return compile(
    "plain",
    setFlags ? "this Node has no relaxed SIMD" : "relaxed SIMD needs a V8 flag on this Node, and setting flags was not allowed (v8Flags)",
  );
}

function compile(tier: Tier, why: string): ChosenKernels {
  return { tier, why, module: new WebAssembly.Module(readModule(tier)) };
}

function readModule(tier: Tier): Uint8Array<ArrayBuffer> {
  return new Uint8Array(readFileSync(new URL(`../../kernels/${tier}.wasm`, import.meta.url)));
}

/** One thread's instance. */
export function instantiate(module: WebAssembly.Module, memory: WebAssembly.Memory): Kernels {
  const env = {
    memory,
    // AssemblyScript's trap hook; the kernels are built without assertions and never call it.
    abort: () => {
      throw new Error("kernel abort");
    },
  };
  return new WebAssembly.Instance(module, { env }).exports as unknown as Kernels;
}

/** Bytes of memory that `selfTest` uses. */
export const SELF_TEST_BYTES = 65536;

/**
 * Runs the kernels that a faulty engine has been seen to break against the scalar arithmetic, to the bit: ternary products with all the
 * extremes, quantisation, RMSNorm.
 * @param at start of SELF_TEST_BYTES bytes, which are overwritten
 * @returns what differs, or undefined
 */
export function selfTest(kernels: Kernels, tier: Tier, memory: WebAssembly.Memory, at: number): string | undefined {
  const k = 320; // 5 blocks of 64; one GEMM flush lies inside for either tier
  const rows = 8;
  const columns = 3;
  const buffer = memory.buffer;
  let next = at;
  const take = (bytes: number): number => {
    const address = next;
    next += Math.ceil(bytes / 64) * 64;
    return address;
  };
  const scratch = take(ternaryScratch(k));
  const xBytes = k * activationBytes(tier);
  const x = take((columns + 1) * xBytes);
  const meta = take((columns + 1) * 8);
  const floats = take(columns * k * 4);
  const normed = take(k * 4);
  const weight = take(k * 4);
  const codes = take(rows * k);
  const packed = take((rows * k) / 4);
  const y = take((columns + 1) * rows * 4);
  new Uint8Array(buffer, at, next - at).fill(0);

  const input = new Float32Array(buffer, floats, columns * k);
  const gain = new Float32Array(buffer, weight, k);
  const code = new Uint8Array(buffer, codes, rows * k);
  for (let i = 0; i < k; i++) {
    input[i] = -1; // all −127
    input[k + i] = 1; // all +127
    input[2 * k + i] = Math.fround(((i * 7919) % 2001) / 1000 - 1);
    gain[i] = Math.fround(0.5 + ((i * 31) % 17) / 16);
  }
  for (let i = 0; i < rows * k; i++) code[i] = i < k ? 2 : i < 2 * k ? 0 : (i * 2654435761) % 3;

  const scale = Math.fround(0.0173);
  for (let r = 0; r < rows; r++) kernels.packRow(packed + Math.floor(r / ROW_GROUP) * k + (r % ROW_GROUP) * 16, codes + r * k, k);
  const quantized = Array.from({ length: columns }, (_, c) => quantize(input.subarray(c * k, (c + 1) * k), k));
  for (let c = 0; c < columns; c++) kernels.quantize(x + c * xBytes, meta + c * 8, floats + c * k * 4, k, k);

  const out = new Float32Array(buffer, y, (columns + 1) * rows);
  for (const [first, count] of [
    [0, columns],
    [0, 1],
    [1, 1],
    [2, 1],
  ] as const) {
    out.fill(0);
    kernels.ternary(packed, rows, k, scale, x + first * xBytes, xBytes, meta + first * 8, count, y, rows * 4, scratch);
    for (let c = 0; c < count; c++) {
      const q = quantized[first + c]!;
      for (let r = 0; r < rows; r++) {
        let sum = 0;
        for (let i = 0; i < k; i++) sum += (code[r * k + i]! - 1) * q.values[i]!;
        const expected = Math.fround(Math.fround(sum) * outputFactor(scale, q.max));
        if (!Object.is(out[c * rows + r]! + 0, expected + 0))
          return `ternary product (${count} columns): ${out[c * rows + r]} where ${expected} is right`;
      }
    }
  }

  const expected = new Float32Array(k);
  rmsNorm(expected, input.subarray(2 * k), gain, 1e-5);
  kernels.rmsNorm(normed, floats + 2 * k * 4, weight, k, 1e-5);
  const got = new Float32Array(buffer, normed, k);
  for (let i = 0; i < k; i++) if (got[i] !== expected[i]) return `RMSNorm: ${got[i]} where ${expected[i]} is right`;
  return undefined;
}
