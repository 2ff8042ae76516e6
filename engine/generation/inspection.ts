/**
 * `float`: computed in f32, and no norm; `scale`: of a packed layer, in a tensor of its own; `frequencies`: of RoPE, passed over since they follow from
 * the configuration; `other`: read with the configuration, or not used.
 */
export type TensorRole = "embedding" | "head" | "norm" | "float" | "linear" | "scale" | "frequencies" | "other";

/** One tensor. Plain data. */
export interface TensorInspection {
  readonly name: string;
  readonly role: TensorRole;
  readonly type: string;
  readonly shape: readonly number[];
  readonly file: string;
  /** First byte in the file. */
  readonly offset: number;
  readonly byteLength: number;
  /** √(mean of squares) of the numbers that the network computes with; undefined where they can't be read. */
  readonly rms: number | undefined;
  /** Of a linear layer: what a code of 1 is worth; least and most of its groups, those of nothing but zeros left out. */
  readonly scale: { readonly least: number; readonly most: number } | undefined;
  /** Of a linear layer: how many weights are −1, 0 and 1. */
  readonly codes: readonly [minus: number, zero: number, plus: number] | undefined;
  /** Of a linear layer in plain floats: ternary weights that were written out, or masters to be made ternary. */
  readonly floats: "ternary" | "masters" | undefined;
  /** Of frequencies of RoPE: whether they are those of the configuration, but for the rounding of 16 bits. */
  readonly agrees?: boolean;
  /** Why the numbers can't be read. */
  readonly fault: string | undefined;
}
