import { BitnetError } from "../errors.js";
import type { Tokenizer } from "../text/types.js";
import type { ResolvedOptions } from "./defaults.js";
import type { GenerationOutcome } from "./jobs.js";
import type { Scheduler } from "./scheduler.js";
import { StopText } from "./stop-text.js";
import type { Generation, GenerationResult } from "./types.js";

/**
 * An answer to these token ids. Throws a `usage` error for a prompt that can't be used; the work begins when its text or its result is
 * first asked for. `onResult` hears how it ended before anybody else does.
 */
export function generate(
  scheduler: Scheduler,
  tokenizer: Tokenizer,
  promptIds: readonly number[],
  options: ResolvedOptions,
  onResult?: (result: GenerationResult) => void,
): Generation {
  scheduler.checkPrompt(promptIds);
  return new TextGeneration(scheduler, tokenizer, [...promptIds], options, onResult);
}

class TextGeneration implements Generation {
  readonly #scheduler: Scheduler;
  readonly #tokenizer: Tokenizer;
  readonly #promptIds: readonly number[];
  readonly #options: ResolvedOptions;
  readonly #onResult: ((result: GenerationResult) => void) | undefined;
  /** All pieces so far, none of them empty. */
  readonly #pieces: string[] = [];
  #result: Promise<GenerationResult> | undefined;
  #cancel: () => void = () => {};
  /** Wakes the loop that waits for a piece or the end. */
  #wake: () => void = () => {};
  #ended = false;
  #iterated = false;

  constructor(
    scheduler: Scheduler,
    tokenizer: Tokenizer,
    promptIds: readonly number[],
    options: ResolvedOptions,
    onResult: ((result: GenerationResult) => void) | undefined,
  ) {
    this.#scheduler = scheduler;
    this.#tokenizer = tokenizer;
    this.#promptIds = promptIds;
    this.#options = options;
    this.#onResult = onResult;
  }

  result(): Promise<GenerationResult> {
    this.#result ??= this.#run();
    return this.#result;
  }

  [Symbol.asyncIterator](): AsyncIterator<string> {
    if (this.#iterated)
      throw new BitnetError("usage", "an answer can be read once: it was already iterated over; ask result() for its text");
    this.#iterated = true;
    return this.#read();
  }

  async *#read(): AsyncGenerator<string, void, undefined> {
    const result = this.result();
    result.catch(() => {}); // thrown below, unless the reader has left
    try {
      for (let read = 0; ; ) {
        while (read < this.#pieces.length) yield this.#pieces[read++]!;
        if (this.#ended) break;
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
      await result;
    } finally {
      this.#cancel();
      await result.catch(() => {}); // once the loop is left, the work has ended
    }
  }

  async #run(): Promise<GenerationResult> {
    const { stop, ...options } = this.#options;
    const decoder = this.#tokenizer.decoder();
    const stopText = new StopText(stop);
    const add = (piece: string) => {
      if (piece === "") return;
      this.#pieces.push(piece);
      this.#wake();
    };
    try {
      const { done, cancel } = this.#scheduler.generate({
        ...options,
        promptIds: this.#promptIds,
        onToken: (id) => {
          add(stopText.push(decoder.push(id)));
          return stopText.stopped;
        },
      });
      this.#cancel = cancel;
      const outcome = await done;
      add(stopText.push(decoder.end()));
      add(stopText.end());
      const result = this.#summary(outcome);
      this.#onResult?.(result);
      return result;
    } finally {
      this.#ended = true;
      this.#wake();
    }
  }

  #summary({
    ids,
    stopReason,
    cachedTokens,
    prefillMs,
    firstTokenMs,
    decodeMs,
    draftedTokens,
    acceptedTokens,
  }: GenerationOutcome): GenerationResult {
    const promptTokens = this.#promptIds.length;
    const perSecond = (count: number, ms: number) => (count > 0 && ms > 0 ? (count * 1000) / ms : 0);
    return {
      promptIds: this.#promptIds,
      ids,
      text: this.#pieces.join(""),
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
        prefillTokensPerSecond: perSecond(promptTokens - cachedTokens, prefillMs),
        decodeTokensPerSecond: perSecond(ids.length - 1, decodeMs),
      },
    };
  }
}
