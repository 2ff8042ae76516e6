/** What the families' tests share. */
import type { FamilyModel, Shape } from "./model.js";
import type { Difference } from "./outputs.js";

/** What two implementations in full precision may differ by; seen are 1e-4, 1e-5 and 1. */
export const GATE = { logit: 1e-3, nll: 5e-5, tau: 0.995 };

/** The same of a model with GELU, which llama.cpp looks up in a table of f16; seen are 1.4e-3, 3.4e-4 and 1. */
const GELU_GATE = { ...GATE, logit: 5e-3, nll: 1e-3 };

/** The typical logit of the same model beside an implementation with that table; seen are 1.2e-5, and 8e-4 with another form of GELU in it. */
export const GELU_TYPICAL = 5e-5;

/** What a family's outputs of llama.cpp are compared by. */
export function gateOf({ family }: Shape): typeof GATE {
  return family === "gemma3" ? GELU_GATE : GATE;
}

/** The same of a small model with YaRN; seen are 2e-5, 2e-6 and 1. */
export const YARN_GATE = { ...GATE, logit: 1e-4 };

/** Where the kernels give activations that a model does not quantise 15 bits; seen are 3e-3, 4e-4 and 1. */
export const FINE_GATE = { logit: 1e-2, nll: 1e-3, tau: 0.99 };

/** What breaking the gate by a wide margin means. */
export const WIDE = 5;

/** Measures that are beyond `WIDE` times the gate. */
export function misses({ logit, nll, tau }: Difference, gate = GATE): Record<keyof typeof GATE, boolean> {
  return { logit: logit > WIDE * gate.logit, nll: nll > WIDE * gate.nll, tau: 1 - tau > WIDE * (1 - gate.tau) };
}

export const ALL_MISSED = { logit: true, nll: true, tau: true };

/**
 * With inputs in 8 bits, two implementations agree as well until a number that one of them rounds up is rounded down by the other; that moves
 * single logits by hundredths, and those behind it. So the middle position tells.
 */
export const INT8_GATE = 1e-4;

/** Short windows, since differences gather along a window: four pieces of the first tokens. */
export function shortWindows({ windows: [ids], shape }: FamilyModel): number[][] {
  const length = Math.ceil(shape.quick / 6);
  return [0, 1, 2, 3].map((i) => ids!.slice(i * length, (i + 1) * length));
}

/** The scalar path is slow: `npm test` runs the first of the first window's tokens, BITNET_GOLDEN=all every window. */
export function quickWindows({ windows, shape }: FamilyModel): readonly (readonly number[])[] {
  return process.env.BITNET_GOLDEN === "all" ? windows : [windows[0]!.slice(0, shape.quick)];
}
