import type { Checkpoint } from "../container/checkpoint.js";
import { BitnetError } from "../errors.js";
import type { ModelConfig } from "../model/config.js";
import { isListOf, oneOf, type Rules, SIGNAL, type Signal, shown, TEXT, TRUE_OR_FALSE } from "../options.js";
import type { Tokenizer } from "../text/types.js";
import type { Scheduler } from "./scheduler.js";
import { checkTextLength } from "./text-length.js";

export const POOLINGS = ["mean", "last"] as const;
/** How the vectors of a text's tokens become one: their mean, or the last token's. */
export type Pooling = (typeof POOLINGS)[number];

/** How texts become vectors. */
export interface EmbedOptions {
  /** Default: what the model's file states (`Model.pooling`), otherwise "mean". */
  readonly pooling?: Pooling;
  /** Scale each vector to length 1, so that the dot product of two is their cosine similarity. Default true. */
  readonly normalize?: boolean;
  /** Put before each text as it is: some models ask for "query: " before questions. */
  readonly instruction?: string;
  readonly signal?: Signal;
}

export const EMBED_OPTIONS: Rules<EmbedOptions> = {
  pooling: oneOf(POOLINGS),
  normalize: TRUE_OR_FALSE,
  instruction: TEXT,
  signal: SIGNAL,
};

export const TEXTS = {
  wanted: "a list of strings",
  holds: (value: unknown): boolean => isListOf(value, (text) => typeof text === "string"),
};

/** Texts at work at a time: enough to fill every batch with the shortest, and few enough that a long list waits here. */
const AT_ONCE = 64;

/**
 * A vector of each text, [hidden] f32: the hidden states behind the last norm, pooled. Sums are in f64, in the order of the tokens, so that
 * whatever runs beside a text never changes its vector.
 * @throws BitnetError usage: a text without tokens, or one longer than the context; else what `signal` gives as its reason
 */
export async function embed(
  scheduler: Scheduler,
  tokenizer: Tokenizer,
  limits: { readonly contextLength: number; readonly hiddenSize: number },
  texts: readonly string[],
  { pooling = "mean", normalize = true, instruction = "", signal }: EmbedOptions,
): Promise<Float32Array[]> {
  const end = tokenizer.addsEos ? [tokenizer.eosIds[0]!] : [];
  const all = texts.map((text) => {
    checkTextLength(text, `the text ${shown(text)}`, tokenizer, limits.contextLength);
    const ids = [...tokenizer.encode(instruction + text), ...end];
    if (text === "" || ids.length === 0) throw new BitnetError("usage", "one of the texts is empty: it has no vector");
    if (ids.length > limits.contextLength) {
      const most = `the context only ${limits.contextLength}: shorten it, or raise the context length (contextLength, --ctx)`;
      throw new BitnetError("usage", `the text ${shown(text)} has ${ids.length} tokens, but ${most}`);
    }
    return ids;
  });
  const vectors: Float32Array[] = new Array(texts.length);
  let next = 0;
  const work = async (): Promise<void> => {
    while (next < all.length) {
      const i = next++;
      const ids = all[i]!;
      const sum = new Float64Array(limits.hiddenSize);
      const first = pooling === "last" ? ids.length - 1 : 0;
      const onRow = (_: number, { state }: { readonly state?: Float32Array }): void => {
        for (let k = 0; k < sum.length; k++) sum[k]! += state![k]!;
      };
      await scheduler.rows({ ids, want: "state", first, signal, onRow });
      vectors[i] = finished(sum, ids.length - first, normalize);
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, all.length) }, work));
  } finally {
    next = all.length; // nothing more begins when one has failed
  }
  return vectors;
}

function finished(sum: Float64Array, count: number, normalize: boolean): Float32Array {
  const mean = sum.map((value) => value / count);
  const length = normalize ? Math.sqrt(mean.reduce((squares, value) => squares + value * value, 0)) : 1;
  return Float32Array.from(mean, (value) => (length === 0 ? 0 : value / length));
}

/** `{arch}.pooling_type` of a GGUF (llama.cpp's enum llama_pooling_type). */
const GGUF_POOLING: ReadonlyMap<unknown, Pooling> = new Map([
  [1, "mean"],
  [3, "last"],
]);

/**
 * What a model's metadata state; undefined: nothing that is known here. The publisher's documentation of bitnet-embedding says "last", its GGUF files
 * say "mean": each form is taken at its word.
 */
export function statedPooling({ metadata, format }: Pick<Checkpoint, "metadata" | "format">, config: ModelConfig): Pooling | undefined {
  if (format === "safetensors") return config.innerNorms ? "last" : undefined;
  return GGUF_POOLING.get(metadata.get(`${config.architecture}.pooling_type`));
}
