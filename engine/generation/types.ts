import type { SkippedProducts } from "../compute/counters.js";
import type { CallsFormat } from "../grammar/calls.js";
import type { Signal } from "../options.js";
import type { SamplingOptions, TokenLogprob } from "../sampling/types.js";
import type { ChatRenderOptions } from "../text/types.js";
import type { GenerationTrace } from "./trace-types.js";

/** Why an answer ended: the model's end of turn; a stop string or id of the caller; `maxTokens`; the context is full; the caller's signal or an abandoned loop. */
export type StopReason = "eos" | "stop" | "length" | "context" | "aborted";

/**
 * What an answer is held to: JSON under a JSON Schema; a text of a grammar in GBNF; or calls of tools, in the form that the model's chat template
 * writes.
 */
export type AnswerFormat = { readonly schema: unknown } | { readonly grammar: string } | { readonly calls: CallsFormat };

/** How to generate text. Defaults come from the model's generation_config, otherwise from `defaults.ts`. */
export interface GenerateOptions extends Partial<SamplingOptions> {
  /** Maximum tokens to generate; default 512. Infinity: until the model ends its answer or the context is full. */
  readonly maxTokens?: number;
  /** Texts that end the answer and are not included in it. */
  readonly stop?: readonly string[];
  /** Token ids that end the answer, besides the model's own. */
  readonly stopIds?: readonly number[];
  /** Continue after the model's own end token. Default false. */
  readonly ignoreEos?: boolean;
  /**
   * Guess the next tokens from earlier text, and check them in one pass. The answer is bit-identical, and faster where text repeats itself.
   * Default false.
   */
  readonly speculate?: boolean;
  /**
   * Choose only tokens with which the answer fits. One that ends with "eos" does; one that ends for another reason may be a beginning only. Default:
   * any text.
   */
  readonly format?: AnswerFormat;
  /**
   * Say how likely each token was, and so many of the likeliest tokens there: a whole number from 0 to 20. With a two-stage head it is slower, because
   * all logits are computed. Default: don't.
   */
  readonly logprobs?: number;
  /** Record how the answer is computed, for `GenerationResult.trace`. Default false. */
  readonly trace?: boolean;
  readonly signal?: Signal;
}

/** How to answer a conversation. */
export interface ChatOptions extends GenerateOptions, Pick<ChatRenderOptions, "template" | "date"> {
  /**
   * Continue the last message, which must be the assistant's, instead of starting a new one. Default: true if the last message is the
   * assistant's.
   */
  readonly continueFinalMessage?: boolean;
  /**
   * Whether replies that this model wrote before keep the token ids they had, so that nothing of them is computed again. false: they are encoded
   * from their text, and the answer depends on the messages alone. Default: true.
   */
  readonly remember?: boolean;
}

/**
 * Milliseconds and rates of one answer; and what was left out of prefill because it is 0 (`SkippedProducts`), by all that was computed from the
 * call until the first token, of other calls too. How much is left out hangs on the kernels and on the rows of a batch; results never do.
 */
export interface GenerationTimings extends SkippedProducts {
  /** From the call until the last prompt row is computed, including waiting for other sequences. */
  readonly prefillMs: number;
  /** From the call until the first token is chosen. */
  readonly firstTokenMs: number;
  /** From the first token to the last. */
  readonly decodeMs: number;
  /** Tokens of the prompt. */
  readonly promptTokens: number;
  /** Those of them whose keys and values were in the cache already. */
  readonly cachedTokens: number;
  /** Generated tokens, including the token that ended the answer. */
  readonly decodedTokens: number;
  /** With `speculate`: tokens guessed and computed. */
  readonly draftedTokens: number;
  /** Those of them that were right: each saved a pass. */
  readonly acceptedTokens: number;
  /** (promptTokens − cachedTokens) per second of prefillMs */
  readonly prefillTokensPerSecond: number;
  /** (decodedTokens − 1) per second of decodeMs; 0 for fewer than two */
  readonly decodeTokensPerSecond: number;
}

/** How an answer ended. */
export interface GenerationResult {
  readonly promptIds: readonly number[];
  /** Generated tokens, including the one that ended the answer. */
  readonly ids: readonly number[];
  /** With `logprobs`: of each of `ids`. */
  readonly logprobs?: readonly TokenLogprob[];
  /** What was streamed, as one text. */
  readonly text: string;
  readonly stopReason: StopReason;
  readonly timings: GenerationTimings;
  /** If it was requested. */
  readonly trace?: GenerationTrace;
}

/** Text of an answer, and its tokens. The pieces of an answer together have all of its text and its tokens, each once, in order. */
export interface GenerationPiece {
  readonly text: string;
  /** The tokens whose text is complete with this piece. In the last piece all that are left: the one that ended the answer, and those of a stop text. */
  readonly ids: readonly number[];
  /** With `logprobs`: of each of `ids`. */
  readonly logprobs?: readonly TokenLogprob[];
}

/**
 * A running answer: iterate over its text, over its `pieces()`, or only await `result()`. Leaving the loop early ends the work. A slow reader does not slow it
 * down: the text waits.
 */
export interface Generation extends AsyncIterable<string> {
  /** The text with its tokens. It takes the place of a loop over the answer itself: only one of them can be had, once. */
  pieces(): AsyncIterable<GenerationPiece>;
  /** Waits for the end of the answer, with or without a loop, and returns the result. */
  result(): Promise<GenerationResult>;
}

/** What a model is doing, and what it has done since it was loaded. */
export interface ModelStats {
  /** Answers, scores and embeddings that are being computed. */
  readonly running: number;
  /** Those that wait for their turn. */
  readonly waiting: number;
  /** Those that were refused because too many were waiting. */
  readonly refused: number;
  /** Passes through the network, and tokens that they computed. */
  readonly steps: number;
  readonly computedTokens: number;
  /** Tokens of prompts that had their turn, and those of them whose keys and values were in the cache. */
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly generatedTokens: number;
  /** Tokens that the cache of keys and values has room for, and has: of running sequences, and of ended ones that may be gone on from. */
  readonly cacheSize: number;
  readonly cacheUsed: number;
}

/** The rules under which a score was made; written into every report. */
export interface ScoringPolicy {
  /** "kernels": the WASM path; "reference": scalar TypeScript. */
  readonly path: "kernels" | "reference";
  /** Activations of ternary layers quantised to 8 bits per token, as the model defines; false only on the reference path. */
  readonly activationQuant: boolean;
  /** Whether BOS was added (false for ids). */
  readonly bosAdded: boolean;
  readonly specialTokensParsed: boolean;
  /** One window over all tokens: a text longer than the context is an error. */
  readonly window: number;
}

/** Teacher-forced likelihood of a text. */
export interface Score {
  readonly ids: readonly number[];
  /** [ids − 1] nll[t] = −ln p(ids[t+1] | ids[0..t]) */
  readonly nll: readonly number[];
  readonly meanNll: number;
  /** exp(meanNll) */
  readonly perplexity: number;
  readonly policy: ScoringPolicy;
}
