import { outputFactor, quantize, rmsNorm } from "../numerics.js";
import { activationBytes, type Kernels, ROW_GROUP, type Tier, ternaryScratch } from "./kernels.js";

/** Bytes of memory that `selfTest` uses. */
export const SELF_TEST_BYTES = 65536;

/**
 * Runs the kernels that a faulty engine has been seen to break against the scalar arithmetic, to the bit: ternary products with all the
 * extremes, quantisation, RMSNorm.
 * @param at start of SELF_TEST_BYTES bytes, which are overwritten
 * @returns what differs, or undefined
 */
export function selfTest(kernels: Kernels, tier: Tier, memory: WebAssembly.Memory, at: number): string | undefined {
  const k = 384; // whole blocks of every layout; one GEMM flush lies inside for the plain tier
  const rows = 8;
  const columns = 9; // a batch, with an odd number
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
  input.fill(-1, 0, k); // all −127
  input.fill(1, k, 2 * k); // all +127
  for (let i = 2 * k; i < columns * k; i++) input[i] = Math.fround(((i * 7919) % 2001) / 1000 - 1);
  for (let i = 0; i < k; i++) gain[i] = Math.fround(0.5 + ((i * 31) % 17) / 16);
  for (let i = 0; i < rows * k; i++) code[i] = i < k ? 2 : i < 2 * k ? 0 : (i * 2654435761) % 3;

  const scale = Math.fround(0.0173);
  for (let r = 0; r < rows; r++) kernels.packRow(packed + Math.floor(r / ROW_GROUP) * k, r % ROW_GROUP, codes + r * k, k);
  const quantized = Array.from({ length: columns }, (_, c) => quantize(input.subarray(c * k, (c + 1) * k), k));
  for (let c = 0; c < columns; c++) kernels.quantize(x + c * xBytes, meta + c * 8, floats + c * k * 4, k, k);

  const out = new Float32Array(buffer, y, (columns + 1) * rows);
  for (const [first, count] of [
    [0, columns],
    [0, 3],
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
  rmsNorm(expected, input.subarray(2 * k, 3 * k), gain, 1e-5);
  kernels.rmsNorm(normed, floats + 2 * k * 4, weight, k, 1e-5);
  const got = new Float32Array(buffer, normed, k);
  for (let i = 0; i < k; i++) if (got[i] !== expected[i]) return `RMSNorm: ${got[i]} where ${expected[i]} is right`;
  return undefined;
}
