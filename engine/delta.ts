/**
 * The float arithmetic of Gated DeltaNet layers (Yang, Kautz, Hatamizadeh 2024, eq. 10, as Qwen3.5 has it) in one fixed order, as all of
 * `numerics.ts`: token by token, so that what a sequence gives doesn't hang on how it was cut into batches.
 */
import { exp64, log64 } from "./math.js";
import { dot8, sigmoid } from "./numerics.js";

const f = Math.fround;

/** Above it softplus(x) is x in f32. */
const SOFTPLUS_LINEAR = 20;

/**
 * A causal convolution of four taps over each channel, and SiLU. The kernel takes many positions at a time, in the same order.
 * @param out [channels] f32
 * @param x [channels] f32: this position's input
 * @param before [3, channels] f32: the inputs of the three before it, the oldest first; moved on by one
 * @param weights [channels, 4] f32: the last is this position's
 */
export function convolve(out: Float32Array, x: Float32Array, before: Float32Array, weights: Float32Array): void {
  const channels = x.length;
  for (let c = 0; c < channels; c++) {
    const [a, b, d, now] = [before[c]!, before[channels + c]!, before[2 * channels + c]!, x[c]!];
    const w = 4 * c;
    const sum = f(f(f(f(weights[w]! * a) + f(weights[w + 1]! * b)) + f(weights[w + 2]! * d)) + f(weights[w + 3]! * now));
    out[c] = sum * sigmoid(sum);
    before[c] = b;
    before[channels + c] = d;
    before[2 * channels + c] = now;
  }
}

/** In place: x · 1/√(Σx² + eps). @param x [n] f32 at `from` */
export function l2Norm(x: Float32Array, from: number, n: number, eps: number): void {
  const factor = f(1 / f(Math.sqrt(f(dot8(x, from, x, from, n) + f(eps)))));
  for (let i = from; i < from + n; i++) x[i] = x[i]! * factor;
}

/**
 * How much a head's state keeps, e^(rate · softplus(alpha + bias)), and how much it takes of what is new, σ(beta). In f64, rounded to f32 at the end.
 * @param rate negative
 */
export function deltaGates(alpha: number, beta: number, bias: number, rate: number): readonly [decay: number, take: number] {
  const x = f(alpha + bias);
  const softplus = x > SOFTPLUS_LINEAR ? x : log64(1 + exp64(x));
  return [f(exp64(rate * softplus)), f(1 / (1 + exp64(-beta)))];
}

/**
 * One position of one head: S ← decay·S; d = take·(v − S k); S ← S + d kᵀ; out = S q / √n.
 * @param out [n] f32 at `outFrom`
 * @param state S, [n of v, n of k] f32 at `stateFrom`
 * @param qkv q, k and v, each [n] f32 at its place
 */
export function deltaRule(
  out: Float32Array,
  outFrom: number,
  state: Float32Array,
  stateFrom: number,
  qkv: Float32Array,
  { q, k, v }: { readonly q: number; readonly k: number; readonly v: number },
  decay: number,
  take: number,
  n: number,
): void {
  const scale = f(1 / Math.sqrt(n));
  for (let row = 0; row < n; row++) {
    const at = stateFrom + row * n;
    for (let i = 0; i < n; i++) state[at + i] = state[at + i]! * decay;
    const d = f(take * f(qkv[v + row]! - dot8(state, at, qkv, k, n)));
    for (let i = 0; i < n; i++) state[at + i] = state[at + i]! + f(d * qkv[k + i]!);
    out[outFrom + row] = dot8(state, at, qkv, q, n) * scale;
  }
}
