// How often each kernel was called, as the kernels themselves note it: [kernels] u64, this thread's own, in the order of COUNTED_KERNELS
// (engine/compute/counters.ts). The names say which build of a product ran, and in which layout. Behind them: [2] u64 of what products of lists
// (sparse.ts) computed.

// @ts-ignore: decorator
@external("env", "counters")
declare const counters: usize;

export const ADD: usize = 0;
export const AT_LEAST: usize = 1;
export const ATTEND_SPAN: usize = 2;
export const ATTEND_SPAN_Q8: usize = 3;
export const BOUNDS: usize = 4;
export const FINISH_SPANS: usize = 5;
export const HEAD: usize = 6;
export const PREPARE_SCAN: usize = 7;
export const QUANTIZE: usize = 8;
export const QUANTIZE_GROUPS: usize = 9;
export const RELU_SQUARED_MUL: usize = 10;
export const RMS_NORM: usize = 11;
export const ROPE: usize = 12;
export const SCAN: usize = 13;
export const SCAN_WIDE: usize = 14;
export const SILU_MUL: usize = 15;
export const STORE_KEY_VALUE: usize = 16;
export const STORE_KEY_VALUE_Q8: usize = 17;
export const TERNARY: usize = ASC_FEATURE_RELAXED_SIMD ? 19 : 18;
export const TERNARY_GROUPS: usize = ASC_FEATURE_RELAXED_SIMD ? 21 : 20;
export const TERNARY_WIDE: usize = 22;
export const CONVOLVE: usize = 23;
export const DELTA_RULE: usize = 24;
export const L2_NORM: usize = 25;
export const ROTATE: usize = 26;
export const SIGMOID_MUL: usize = 27;
export const ADD_SCALED: usize = 28;
export const SCALE: usize = 29;
export const TERNARY_GROUPS_WIDE: usize = 30;
export const GELU_MUL: usize = 31;
export const TERNARY_VNNI: usize = 32;
export const ATTEND_SPAN_K16: usize = 33;
export const STORE_KEY_VALUE_K16: usize = 34;
export const SCAN_VNNI: usize = 35;
export const REFINE: usize = 36;
/** Outputs computed from lists, and what they multiplied. */
export const LISTED_OUTPUTS: usize = 37;
export const LISTED_PRODUCTS: usize = 38;

/** Notes one call. */
// @ts-ignore: decorator
@inline
export function called(kernel: usize): void {
  counted(kernel, 1);
}

/** Adds to a counter. */
// @ts-ignore: decorator
@inline
export function counted(counter: usize, more: u64): void {
  const at = counters + (counter << 3);
  store<u64>(at, load<u64>(at) + more);
}
