import type { Signal } from "../options.js";
import type { SamplingOptions } from "../sampling/types.js";
import type { ChatRenderOptions } from "../text/types.js";
import type { GenerationTrace } from "./trace-types.js";

/** Why an answer ended: the model's end of turn; a stop string or id of the caller; `maxTokens`; the context is full; the caller's signal or an abandoned loop. */
export type StopReason = "eos" | "stop" | "length" | "context" | "aborted";

/** How to write. What is left out comes from the model's generation_config, then from the defaults in `defaults.ts`. */
export interface GenerateOptions extends Partial<SamplingOptions> {
  /** Maximum tokens to generate; default 512. Infinity: until the model ends or the context is full. */
  readonly maxTokens?: number;
  /** Texts that end the answer; they are not part of it. */
  readonly stop?: readonly string[];
  /** Token ids that end the answer, besides the model's own. */
  readonly stopIds?: readonly number[];
  /** Keep writing past the model's own end of turn. Default false. */
  readonly ignoreEos?: boolean;
  /**
   * Guess the next tokens from how the text read before, and compute them along with the last: the guesses that are what the model chooses
   * are had in one pass. The answer is the same to the bit. Default false.
   */
  readonly speculate?: boolean;
  /** Note how the answer came about, for `GenerationResult.trace`. Default false. */
  readonly trace?: boolean;
  readonly signal?: Signal;
}

/** How to answer a conversation. */
export interface ChatOptions extends GenerateOptions, Pick<ChatRenderOptions, "template" | "date"> {
  /**
   * Take the last message, the assistant's, as the beginning of the answer and go on from it. Default: true where the assistant spoke last. False
   * begins another answer behind it.
   */
  readonly continueFinalMessage?: boolean;
}

/** Milliseconds and rates of one answer. */
export interface GenerationTimings {
  /** From the call to the last prompt row computed, waiting for other sequences included. */
  readonly prefillMs: number;
  /** From the call to the first token chosen. */
  readonly firstTokenMs: number;
  /** From the first token chosen to the last. */
  readonly decodeMs: number;
  /** Tokens of the prompt. */
  readonly promptTokens: number;
  /** Those of them whose keys and values were in the cache already. */
  readonly cachedTokens: number;
  /** Tokens chosen, the end-of-turn token included. */
  readonly decodedTokens: number;
  /** With `speculate`: tokens guessed and computed. */
  readonly draftedTokens: number;
  /** Those of them that were right: so many passes were saved. */
  readonly acceptedTokens: number;
  /** (promptTokens − cachedTokens) per second of prefillMs */
  readonly prefillTokensPerSecond: number;
  /** (decodedTokens − 1) per second of decodeMs; 0 for fewer than two */
  readonly decodeTokensPerSecond: number;
}

/** How an answer ended. */
export interface GenerationResult {
  readonly promptIds: readonly number[];
  /** Tokens chosen, the one that ended the answer included. */
  readonly ids: readonly number[];
  /** What was streamed, as one text. */
  readonly text: string;
  readonly stopReason: StopReason;
  readonly timings: GenerationTimings;
  /** Where it was asked for. */
  readonly trace?: GenerationTrace;
}

/**
 * An answer under way: loop over its text, or await `result()` alone. Leaving the loop early ends the work; a reader that is slow does not slow
 * it: the text waits.
 */
export interface Generation extends AsyncIterable<string> {
  /** Drives the answer to its end, if no loop does, and says how it ended. */
  result(): Promise<GenerationResult>;
}

/** The rules under which a score was made; written into every report. */
export interface ScoringPolicy {
  /** "kernels": the WASM path; "reference": scalar TypeScript. */
  readonly path: "kernels" | "reference";
  /** Activations of ternary layers quantised to 8 bits per token, as the model defines; false only on the reference path. */
  readonly activationQuant: boolean;
  /** Whether BOS was put first (false for ids given as they are). */
  readonly bosAdded: boolean;
  readonly specialTokensParsed: boolean;
  /** One window over all tokens: a text longer than the context is refused. */
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
