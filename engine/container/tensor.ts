/** What every format has in common: tensors, and the values of metadata. */
import type { StringList } from "./string-list.js";

/** How a tensor's bytes encode numbers: GGUF's names, SafeTensors' `U8` for packed weights. */
export type TensorType = string;

/** One tensor of a checkpoint: where its bytes lie. Already checked against the size of the file. */
export interface TensorInfo {
  readonly name: string;
  /** Extent of each axis, slowest first: `[out, in]` for a linear layer (PyTorch's order; GGUF's is the reverse). */
  readonly shape: readonly number[];
  /** "F32" | "F16" | "BF16" | "I2_S" | "U8" | … ; a type this engine can't unpack still has its name here. */
  readonly type: TensorType;
  /** The file that holds it. */
  readonly file: string;
  /** First byte in the file. */
  readonly offset: number;
  /** Bytes, the tail that some encodings carry included. */
  readonly byteLength: number;
}

/** Numbers in GGUF metadata. Of a file they are typed arrays, but for 64-bit integers. */
export type NumberList =
  | readonly number[]
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | Float64Array;

/** A list in GGUF metadata. Of a file, strings are a `StringList`. */
export type ListValue = NumberList | readonly bigint[] | readonly boolean[] | readonly string[] | StringList;

/** A value of GGUF metadata. 64-bit integers that a double can't hold are bigint. */
export type MetadataValue = number | bigint | boolean | string | ListValue;

/** A tensor for a writer. */
export interface NewTensor {
  readonly name: string;
  /** Slowest axis first. */
  readonly shape: readonly number[];
  readonly type: TensorType;
  /** Exactly the bytes that type and shape take, at once or in pieces (an async generator; it runs when the tensor is written). */
  readonly data: Uint8Array | AsyncIterable<Uint8Array>;
}
