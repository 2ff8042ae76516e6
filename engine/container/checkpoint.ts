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

/** A value of GGUF metadata. 64-bit integers that a double can't hold are bigint. */
export type MetadataValue = number | bigint | boolean | string | readonly number[] | readonly bigint[] | readonly boolean[] | readonly string[];

/** An open model, whatever its format: named tensors and what stands beside them. Nothing but headers has been read. */
export interface Checkpoint {
  readonly format: "gguf" | "safetensors";
  /** What the user named: a file or a directory. */
  readonly path: string;
  /** The files with tensors in them. */
  readonly files: readonly string[];
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** GGUF's key-value pairs; empty for SafeTensors. */
  readonly metadata: ReadonlyMap<string, MetadataValue>;
  /** Text of a file beside a SafeTensors model, such as `config.json`; undefined if there is none, and always for GGUF. */
  sidecar(name: string): Promise<string | undefined>;
  /** Bytes [start, end) of a tensor, all of them by default. For small ones: weights are read by the workers, in pieces. */
  read(tensor: TensorInfo, start?: number, end?: number): Promise<Uint8Array>;
  /** SHA-256 of the model file, hex; of sharded models, that of the lines "sha256  name\n" of the shards in name order. */
  sha256(): Promise<string>;
  close(): Promise<void>;
}
