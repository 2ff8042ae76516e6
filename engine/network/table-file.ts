import { openSourceSync } from "#host/files.js";
import { type Kernels, ROW_GROUP } from "../compute/kernels.js";
import type { TensorInfo } from "../container/checkpoint.js";
import type { FileStamp, SyncSource } from "../host/files.js";
import { floatBytes, notFinite } from "../packing/dense.js";
import { PIECE_BYTES } from "../packing/packing.js";

/** Types of numbers, in the numbering of the kernel `widen`, and what it answers. */
const FLOAT_TYPES = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q6_K", "Q4_K", "Q2_0", "Q2_0_128", "PTQ1_0", "Q1_0"];
/** PQ2_0 has the same blocks as this type. */
const SAME_BLOCKS = "Q2_0_128";
const NOT_FINITE = 1;
const NOT_BF16 = 2;

/** Rows that one read of a table takes: whole groups. */
export function tablePieceRows(hiddenSize: number): number {
  return Math.max(1, Math.floor(PIECE_BYTES / (hiddenSize * 4 * ROW_GROUP))) * ROW_GROUP;
}

/** Bytes of staging that a `TableFile` uses: a piece as it is in the file, and the same as f32. */
export function tableStaging(hiddenSize: number): number {
  return 2 * tablePieceRows(hiddenSize) * hiddenSize * 4;
}

/** Reads numbers of a tensor as f32 into linear memory. @param first, count whole blocks of the tensor's type */
export function readWidened(
  kernels: Kernels,
  file: Reader,
  tensor: TensorInfo,
  first: number,
  count: number,
  staging: number,
  to: number,
): number {
  const start = floatBytes(tensor.type, first);
  file(tensor, start, floatBytes(tensor.type, count), staging);
  const found = kernels.widen(to, staging, count, FLOAT_TYPES.indexOf(tensor.type === "PQ2_0" ? SAME_BLOCKS : tensor.type));
  if (found & NOT_FINITE) throw notFinite(tensor, tensor.offset + start);
  return found;
}

/** Puts `length` bytes of a tensor, from byte `start` on, into linear memory at `to`. */
export type Reader = (tensor: TensorInfo, start: number, length: number, to: number) => Uint8Array;

/** A thread's own handles of the model's files. */
export class ModelFiles {
  readonly #memory: WebAssembly.Memory;
  readonly #stamps: ReadonlyMap<string, FileStamp>;
  readonly #files = new Map<string, SyncSource>();

  /** @param stamps what state each file was in when its header was read */
  constructor(memory: WebAssembly.Memory, stamps: ReadonlyMap<string, FileStamp> = new Map()) {
    this.#memory = memory;
    this.#stamps = stamps;
  }

  readonly read: Reader = (tensor, start, length, to) => {
    const bytes = new Uint8Array(this.#memory.buffer, to, length);
    this.#open(tensor.file).readInto(bytes, tensor.offset + start);
    return bytes;
  };

  /** Throws `file` if one of the files that have been read, or one that holds one of these tensors, is not as its header was read. */
  check(...tensors: readonly TensorInfo[]): void {
    for (const { file } of tensors) this.#open(file);
    for (const file of this.#files.values()) file.check();
  }

  /** Gives what `work` gives, if the files are still as they were: what it read of others, or why it failed, says nothing. */
  checked<T>(work: () => T): T {
    try {
      return work();
    } finally {
      this.check();
    }
  }

  #open(path: string): SyncSource {
    let file = this.#files.get(path);
    if (file === undefined) {
      file = openSourceSync(path, this.#stamps.get(path));
      this.#files.set(path, file);
    }
    return file;
  }

  close(): void {
    for (const file of this.#files.values()) file.close();
  }
}

/** The exact rows of an embedding table, read from its file when they are wanted: it need not be in memory. */
export class TableFile {
  readonly #kernels: Kernels;
  readonly #read: Reader;
  readonly #tensor: TensorInfo;
  readonly #staging: number;
  readonly #hiddenSize: number;
  /** Where `piece` puts its rows: [rows][hidden] f32. */
  readonly rows: number;

  /** @param staging `tableStaging` bytes of this thread's own */
  constructor(kernels: Kernels, read: Reader, tensor: TensorInfo, staging: number) {
    this.#kernels = kernels;
    this.#read = read;
    this.#tensor = tensor;
    this.#hiddenSize = tensor.shape[1]!;
    this.rows = staging;
    this.#staging = staging + tablePieceRows(this.#hiddenSize) * this.#hiddenSize * 4;
  }

  /** One row, [hidden] f32, to `to`. @throws BitnetError file: not finite; io */
  row(id: number, to: number): void {
    readWidened(this.#kernels, this.#read, this.#tensor, id * this.#hiddenSize, this.#hiddenSize, this.#staging, to);
  }

  /** Rows first … first + count − 1, at most `tablePieceRows`, to `rows`. @returns whether bf16 holds all their numbers */
  piece(first: number, count: number): boolean {
    const n = this.#hiddenSize;
    return !(readWidened(this.#kernels, this.#read, this.#tensor, first * n, count * n, this.#staging, this.rows) & NOT_BF16);
  }
}
