import { type Counters, callsBetween, type KernelCalls, type SkippedProducts, skippedBetween } from "../compute/counters.js";
import { BitnetError } from "../errors.js";
import type { Constraint } from "../grammar/constraint.js";
import type { Tokenizer } from "../text/types.js";
import type { ResolvedOptions } from "./defaults.js";
import type { GenerationOutcome } from "./jobs.js";
import { PieceWriter } from "./pieces.js";
import type { Scheduler } from "./scheduler.js";
import { chainOf, settingsOf } from "./trace.js";
import type { Generation, GenerationPiece, GenerationResult } from "./types.js";

/**
 * UTF-16 units of an answer: 64 for each token of the longest contexts there are, 2^18 tokens; real text has 3 to 5. A vocabulary of long tokens
 * would fill the memory.
 */
export const maxAnswerLength = 2 ** 24;

/** All that an answer is written by. */
export interface AnswerOptions extends ResolvedOptions {
  /** Begins the constraint that `format` is, told the prompt's last token. */
  readonly constrain?: ((after: number | undefined) => Constraint) | undefined;
  /** Whether this special token is written into the text: by default none is. Asked when the prompt is known. */
  readonly shows?: ((id: number) => boolean) | undefined;
}

/**
 * An answer to these token ids, or to those that a function will give. Throws a `usage` error for a prompt that can't be used, where it is
 * known by then; the work, the function's too, begins when its text or its result is first asked for. `onResult` hears how it ended before
 * anybody else does.
 */
export function generate(
  scheduler: Scheduler,
  tokenizer: Tokenizer,
  prompt: readonly number[] | (() => Promise<readonly number[]>),
  options: AnswerOptions,
  onResult?: (result: GenerationResult) => void,
): Generation {
  if (typeof prompt === "function") return new Reader(new Answer(scheduler, tokenizer, prompt, options, onResult));
  const ids = [...prompt]; // as they are now
  scheduler.checkPrompt(ids);
  return new Reader(new Answer(scheduler, tokenizer, ids, options, onResult));
}

/** Ends answers that can't be read any more: their reader was garbage-collected. */
const lost = new FinalizationRegistry<Answer>((answer) => {
  if (!answer.awaited) answer.cancel();
});

/** What the caller and its loop hold. The work holds only the answer, so that a lost reader is collected. */
class Reader implements Generation {
  readonly #answer: Answer;
  #iterated = false;

  constructor(answer: Answer) {
    this.#answer = answer;
  }

  result(): Promise<GenerationResult> {
    this.#answer.awaited = true;
    return this.#answer.result();
  }

  pieces(): AsyncIterable<GenerationPiece> {
    return { [Symbol.asyncIterator]: () => this.#iterate((piece) => piece) };
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<string> {
    return this.#iterate(({ text }) => text || undefined);
  }

  /** @param of what is handed out of a piece; undefined: nothing */
  #iterate<T>(of: (piece: GenerationPiece) => T | undefined): AsyncIterableIterator<T> {
    if (this.#iterated)
      throw new BitnetError("usage", "an answer can be iterated only once, and it already was: use result() for its text");
    this.#iterated = true;
    const pieces = this.#answer.read(of);
    const iterator: AsyncIterableIterator<T> = {
      next: () => pieces.next(),
      // Not the generator's own, which waits for a piece that is asked for already: that may be long in coming.
      return: async () => {
        this.#answer.cancel();
        await pieces.return();
        return { done: true, value: undefined };
      },
      [Symbol.asyncIterator]: () => iterator,
    };
    lost.register(this, this.#answer);
    return iterator;
  }
}

/** The work on an answer, and its text so far. */
class Answer {
  /** result() is awaited, with or without a reader. */
  awaited = false;
  readonly #scheduler: Scheduler;
  readonly #tokenizer: Tokenizer;
  readonly #prompt: readonly number[] | (() => Promise<readonly number[]>);
  readonly #options: AnswerOptions;
  readonly #onResult: ((result: GenerationResult) => void) | undefined;
  /** All pieces so far. */
  readonly #pieces: GenerationPiece[] = [];
  #result: Promise<GenerationResult> | undefined;
  /** Set when there is work to cancel. */
  #stop: () => void = () => {};
  /** The reader has gone. */
  #left = false;
  /** Wakes the loop that waits for a piece or the end. */
  #wake: () => void = () => {};
  #ended = false;

  constructor(
    scheduler: Scheduler,
    tokenizer: Tokenizer,
    prompt: readonly number[] | (() => Promise<readonly number[]>),
    options: AnswerOptions,
    onResult: ((result: GenerationResult) => void) | undefined,
  ) {
    this.#scheduler = scheduler;
    this.#tokenizer = tokenizer;
    this.#prompt = prompt;
    this.#options = options;
    this.#onResult = onResult;
  }

  result(): Promise<GenerationResult> {
    this.#result ??= this.#run();
    return this.#result;
  }

  cancel(): void {
    this.#left = true;
    this.#stop();
  }

  async *read<T>(of: (piece: GenerationPiece) => T | undefined): AsyncGenerator<T, void, undefined> {
    const result = this.result();
    result.catch(() => {}); // thrown below, unless the reader has left
    try {
      for (let read = 0; ; ) {
        while (read < this.#pieces.length) {
          const item = of(this.#pieces[read++]!);
          if (item !== undefined) yield item;
        }
        if (this.#ended) break;
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
      await result;
    } finally {
      this.cancel();
      await result.catch(() => {}); // once the loop is left, the work has ended
    }
  }

  async #run(): Promise<GenerationResult> {
    const { stop, constrain, shows, ...options } = this.#options;
    let length = 0;
    const add = (piece: GenerationPiece | undefined) => {
      if (!piece) return;
      length += piece.text.length;
      if (length > maxAnswerLength) {
        throw new BitnetError(
          "tokenizer",
          `the answer has more than ${maxAnswerLength} characters, because the model's tokens are longer than those of real text: generate fewer tokens`,
        );
      }
      this.#pieces.push(piece);
      this.#wake();
    };
    try {
      let promptIds = this.#prompt;
      if (typeof promptIds === "function") {
        promptIds = await promptIds();
        this.#scheduler.checkPrompt(promptIds);
      }
      const before = this.#scheduler.counters;
      let prefilled: Counters | undefined;
      const writer = new PieceWriter(this.#tokenizer, promptIds.at(-1), stop, shows);
      const { done, cancel } = this.#scheduler.generate({
        ...options,
        promptIds,
        constraint: constrain?.(promptIds.at(-1)),
        onToken: (id, logprobs) => {
          prefilled ??= this.#scheduler.counters;
          add(writer.push(id, logprobs));
          return writer.stopped;
        },
      });
      this.#stop = cancel;
      if (this.#left) cancel();
      const outcome = await done;
      add(writer.end(outcome.ids, options.logprobs === undefined ? undefined : outcome.logprobs));
      const skipped = skippedBetween(before, prefilled ?? before);
      const calls = options.trace ? callsBetween(before, this.#scheduler.counters) : {};
      const result = this.#summary(promptIds, outcome, skipped, calls);
      this.#onResult?.(result);
      return result;
    } finally {
      this.#ended = true;
      this.#wake();
    }
  }

  #summary(promptIds: readonly number[], outcome: GenerationOutcome, skipped: SkippedProducts, kernelCalls: KernelCalls): GenerationResult {
    const { ids, stopReason, cachedTokens, prefillMs, firstTokenMs, decodeMs, draftedTokens, acceptedTokens } = outcome;
    const promptTokens = promptIds.length;
    const steps = outcome.hidden.map((hidden, i) => ({ id: ids[i]!, hidden }));
    const perSecond = (count: number, ms: number) => (count > 0 && ms > 0 ? (count * 1000) / ms : 0);
    return {
      promptIds,
      ids,
      ...(this.#options.logprobs !== undefined && { logprobs: outcome.logprobs }),
      text: this.#pieces.map((piece) => piece.text).join(""),
      stopReason,
      timings: {
        prefillMs,
        firstTokenMs,
        decodeMs,
        promptTokens,
        cachedTokens,
        decodedTokens: ids.length,
        draftedTokens,
        acceptedTokens,
        ...skipped,
        prefillTokensPerSecond: perSecond(promptTokens - cachedTokens, prefillMs),
        decodeTokensPerSecond: perSecond(ids.length - 1, decodeMs),
      },
      ...(this.#options.trace && { trace: { settings: settingsOf(this.#options), steps, chain: chainOf(steps), kernelCalls } }),
    };
  }
}
