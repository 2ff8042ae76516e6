import { sha256Hex } from "../../engine/compute/digest.js";
import type { GenerationResult, GenerationTrace, KernelCalls, LoadOptions, Model, TraceSettings, TraceStep } from "../../engine/index.js";
import { DEFAULT_KV } from "../../engine/numerics.js";
import type { PageProvenance } from "../records/origin.js";
import type { Provenance } from "../records/provenance.js";
import { tokenizerSha256 } from "../records/tokenizer-hash.js";

/** How a text was written. Fields as in `schemas/receipt.v1.schema.json`. */
export interface Receipt {
  readonly kind: "receipt";
  readonly provenance: Provenance | PageProvenance;
  readonly model: {
    /** As it was given; null: the embedded model. */
    readonly path: string | null;
    readonly tokenizer: string | null;
    readonly activation: NonNullable<LoadOptions["activation"]> | null;
    /** Only where it was given. */
    readonly activations?: NonNullable<LoadOptions["activations"]>;
    readonly i2s_layout: NonNullable<LoadOptions["i2sLayout"]> | null;
    readonly context_length: number;
    readonly kv: NonNullable<LoadOptions["kv"]>;
    readonly head: NonNullable<LoadOptions["head"]>;
  };
  readonly prompt_ids: readonly number[];
  readonly settings: ReceiptSettings;
  readonly steps: readonly TraceStep[];
  readonly chain: string;
  readonly text: string;
  readonly stop_reason: GenerationResult["stopReason"];
  readonly kernel_calls: KernelCalls;
  readonly digest: string;
}

interface ReceiptSettings {
  readonly temperature: number;
  readonly top_k: number;
  readonly top_p: number;
  readonly min_p: number;
  readonly repetition_penalty: number;
  /** Only if it was given, as frequency_penalty. */
  readonly presence_penalty?: number;
  readonly frequency_penalty?: number;
  readonly seed: number;
  readonly max_tokens: number | null;
  readonly stop: readonly string[];
  readonly stop_ids: readonly number[];
  readonly eos_ids: readonly number[];
  readonly speculate: boolean;
}

/** The options of `loadModel` that can change what is written, or are the way to the model. */
export type ReceiptLoad = Pick<LoadOptions, "tokenizer" | "activation" | "activations" | "i2sLayout" | "kv" | "head">;

/** What only the caller knows. */
export interface ReceiptOptions {
  /** undefined: the embedded model. */
  readonly path: string | undefined;
  readonly load: ReceiptLoad;
  /** Where the receipt comes from, of what ran. */
  readonly provenance: (ran: Ran) => Promise<Receipt["provenance"]>;
}

/** What wrote an answer. */
export interface Ran {
  readonly seed: number;
  readonly model: { readonly sha256: string; readonly tokenizerSha256: string; readonly tier: string; readonly threads: number };
}

/** The receipt of an answer that was traced. Reads the whole model file once, for its hash. */
export async function makeReceipt(
  model: Model,
  result: GenerationResult & { readonly trace: GenerationTrace },
  options: ReceiptOptions,
): Promise<Receipt> {
  const { path, load, provenance } = options;
  const { settings, steps, chain, kernelCalls } = result.trace;
  const { sha256, kernels, threads } = await model.describe();
  const receipt = {
    kind: "receipt" as const,
    provenance: await provenance({
      seed: settings.seed,
      model: { sha256, tokenizerSha256: tokenizerSha256(model.tokenizer), tier: kernels.tier, threads },
    }),
    model: {
      path: path ?? null,
      tokenizer: load.tokenizer ?? null,
      activation: load.activation ?? null,
      ...(load.activations != null && { activations: load.activations }),
      i2s_layout: load.i2sLayout ?? null,
      context_length: model.contextLength,
      kv: load.kv ?? DEFAULT_KV,
      head: load.head ?? "auto",
    },
    prompt_ids: result.promptIds,
    settings: receiptSettings(settings),
    steps,
    chain,
    text: result.text,
    stop_reason: result.stopReason,
    kernel_calls: kernelCalls,
  };
  return { ...receipt, digest: receiptDigest(receipt) };
}

/** The settings of an answer, by their names in a receipt. */
export function receiptSettings(settings: TraceSettings): ReceiptSettings {
  const { temperature, topK, topP, minP, repetitionPenalty, seed, maxTokens, stop, stopIds, eosIds, speculate } = settings;
  const { presencePenalty, frequencyPenalty } = settings;
  return {
    ...{ temperature, top_k: topK, top_p: topP, min_p: minP, repetition_penalty: repetitionPenalty, seed },
    ...(presencePenalty !== undefined && { presence_penalty: presencePenalty }),
    ...(frequencyPenalty !== undefined && { frequency_penalty: frequencyPenalty }),
    ...{ max_tokens: maxTokens, stop, stop_ids: stopIds, eos_ids: eosIds, speculate },
  };
}

/** SHA-256 of a receipt without its digest, in canonical form. */
export function receiptDigest(receipt: object): string {
  const { digest: _own, ...rest } = receipt as { readonly digest?: unknown };
  return sha256Hex(new TextEncoder().encode(canonicalJson(rest)));
}

/** JSON without spaces, keys sorted by their UTF-16 units: equal values give equal texts. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([key, inside]) => `${JSON.stringify(key)}:${canonicalJson(inside)}`).join(",")}}`;
}
