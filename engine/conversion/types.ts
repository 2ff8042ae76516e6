import { FILE_OPTIONS, type FileOptions } from "../generation/runner.js";
import { CALLBACK, oneOf, type Rules, SIGNAL, type Signal, TRUE_OR_FALSE } from "../options.js";
import type { Rounding } from "./tensors.js";

/** What ternary layers can become: in GGUF one of the first five, in SafeTensors packed codes. */
export const CONVERSION_TYPES = ["i2_s", "tq1_0", "tq2_0", "f16", "f32", "packed"] as const;
export type ConversionType = (typeof CONVERSION_TYPES)[number];

/** What a GGUF's embedding, and an output head of its own, can become. */
export const EMBEDDING_TYPES = ["f16", "f32", "q8_0", "q6_k"] as const;
export type EmbeddingType = (typeof EMBEDDING_TYPES)[number];

/** How to convert a model. */
export interface ConvertOptions extends FileOptions {
  /** Of the ternary layers; default "i2_s" where the output's name ends in .gguf, else "packed": a directory with SafeTensors. */
  readonly type?: ConversionType | undefined;
  /**
   * GGUF only: of the embedding and of an output head of its own; default "f32" for the type "f32", what it is where that is quantised already, and
   * else "f16".
   */
  readonly embedding?: EmbeddingType | undefined;
  /** Replace what is there. */
  readonly force?: boolean | undefined;
  readonly onProgress?: ((progress: { readonly done: number; readonly total: number }) => void) | undefined;
  /** Ends the work; what was written is removed. */
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
  /** Numbers that are not what they were; empty: all weights are the same to the bit. Codes always are. */
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
