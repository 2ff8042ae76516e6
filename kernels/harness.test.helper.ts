import { COUNTER_BYTES } from "../engine/compute/counters.js";
import { instantiate, type Kernels, type Tier } from "../engine/compute/kernels.js";
import { chooseKernels, tiersHere } from "../engine/compute/tier.js";

/** Those that this Node can run. */
export const TIERS = tiersHere();

/** A tier's kernels over a memory of their own, and addresses in it. */
export class Bench {
  readonly kernels: Kernels;
  readonly memory: WebAssembly.Memory;
  #next: number;

  /** @param from first address handed out */
  constructor(
    readonly tier: Tier,
    bytes: number,
    from = COUNTER_BYTES,
  ) {
    const pages = Math.ceil((from + bytes) / 65536);
    this.memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    this.kernels = instantiate(chooseKernels(tier, true, 0).module, this.memory, tier, 0);
    this.#next = from;
  }

  take(bytes: number): number {
    const at = this.#next;
    this.#next = Math.ceil((at + bytes) / 64) * 64;
    if (this.#next > this.memory.buffer.byteLength) throw new Error("the bench is too small");
    return at;
  }

  f32(at: number, n: number): Float32Array {
    return new Float32Array(this.memory.buffer, at, n);
  }

  u8(at: number, n: number): Uint8Array {
    return new Uint8Array(this.memory.buffer, at, n);
  }

  u32(at: number, n: number): Uint32Array {
    return new Uint32Array(this.memory.buffer, at, n);
  }

  /** Copies numbers in; their address. */
  put(values: ArrayLike<number>): number {
    const at = this.take(values.length * 4);
    this.f32(at, values.length).set(values);
    return at;
  }

  /** Packs rows of `k` codes each, as `ternary` takes them. @returns where, [rows / 4] groups of kPad bytes */
  packedRows(codes: Uint8Array, rows: number, k: number, kPad: number): number {
    const weights = this.take((rows * kPad) / 4);
    const row = this.take(kPad);
    for (let r = 0; r < rows; r++) {
      this.u8(row, kPad).fill(0);
      this.u8(row, k).set(codes.subarray(r * k, (r + 1) * k));
      this.kernels.packRow(weights + Math.floor(r / 4) * kPad, r % 4, row, kPad);
    }
    return weights;
  }
}

/** Numbers of a fixed seed in [−1, 1), f32. */
export function noise(n: number, seed: number): Float32Array {
  let state = seed >>> 0 || 1;
  return Float32Array.from({ length: n }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

/** The bits of floats: what must be equal, so that −0 and NaN count. */
export function bitsOf(values: Float32Array): Uint32Array {
  return new Uint32Array(values.slice().buffer);
}
