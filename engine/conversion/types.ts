import { FILE_OPTIONS, type FileOptions } from "../generation/runner.js";
import { CALLBACK, oneOf, type Rules, SIGNAL, type Signal, TRUE_OR_FALSE } from "../options.js";
import type { Rounding } from "./tensors.js";

/** What ternary layers can become: in GGUF one of the first seven, in SafeTensors packed codes. */
export const CONVERSION_TYPES = ["i2_s", "tq1_0", "tq2_0", "ptq1_0", "pq2_0", "f16", "f32", "packed"] as const;
export type ConversionType = (typeof CONVERSION_TYPES)[number];

/** What a GGUF's embedding, and a separate output head, can become. */
export const EMBEDDING_TYPES = ["f16", "f32", "q8_0", "q6_k"] as const;
export type EmbeddingType = (typeof EMBEDDING_TYPES)[number];

/** How to convert a model. */
export interface ConvertOptions extends FileOptions {
  /** Type of the ternary layers; default "i2_s" if the output's name ends in .gguf, otherwise "packed": a directory with SafeTensors. */
  readonly type?: ConversionType | undefined;
  /**
   * GGUF only: type of the embedding and of a separate output head; default: unchanged if it is quantised, "f32" with the type "f32",
   * otherwise "f16".
   */
  readonly embedding?: EmbeddingType | undefined;
  /** Replace an existing output. */
  readonly force?: boolean | undefined;
  readonly onProgress?: ((progress: { readonly done: number; readonly total: number }) => void) | undefined;
  /** Aborts the conversion; what was written is removed. */
  readonly signal?: Signal | undefined;
}

export const CONVERT_OPTIONS: Rules<ConvertOptions> = {
  type: oneOf(CONVERSION_TYPES),
  embedding: oneOf(EMBEDDING_TYPES),
  force: TRUE_OR_FALSE,
  ...FILE_OPTIONS,
  onProgress: CALLBACK,
  signal: SIGNAL,
};

/** What became of a model's tensors. */
export interface ConversionTarget {
  /** As the output names it. */
  readonly architecture: string;
  /** Types of the ternary layers and of the embedding, as the output names them. */
  readonly layers: string;
  readonly embedding: string;
  /** Numbers that were rounded; empty: all weights are bit-identical. Codes always are. */
  readonly rounded: readonly Rounding[];
}

/** What was written. Plain data. */
export interface Conversion extends ConversionTarget {
  /** The file or the directory. */
  readonly path: string;
  readonly format: "gguf" | "safetensors";
  /** Bytes of the file with the weights. */
  readonly bytes: number;
}
