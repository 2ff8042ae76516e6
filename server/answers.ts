import type { Generation, GenerationPiece, GenerationResult, StopReason } from "../engine/index.js";
import { type ApiError, toApiError } from "./errors.js";
import type { Writing } from "./fields.js";
import type { TokenDetails } from "./token-details.js";

/** A request for text, checked: what is to be written, and in which form it is told. */
export interface Asked {
  /** The model's name. */
  readonly model: string;
  /** The field that holds the texts, for errors. */
  readonly subject: string;
  readonly writing: Writing;
  /** Begins each answer, in the order of their numbers; answers to the same prompt are neighbours. */
  readonly starts: readonly ((signal: AbortSignal) => Generation)[];
  readonly form: Form;
  /** What is said of tokens beside the text. */
  readonly details: TokenDetails;
}

/** How an endpoint writes answers as JSON; `finish` is null until an answer has ended. */
export interface Form {
  readonly object: string;
  readonly chunkObject: string;
  /** First letters of the answer's id. */
  readonly prefix: string;
  whole(index: number, text: string, finish: Finish): object;
  /** The first chunk of an answer, before it has text. */
  opening?(index: number): object;
  piece(index: number, text: string, finish: Finish | null): object;
}

/** OpenAI's words for how an answer ended. */
export type Finish = "stop" | "length";

/** What all bodies of a response have in common. */
export interface Heading {
  readonly id: string;
  /** Seconds since 1970. */
  readonly created: number;
  readonly system_fingerprint: string;
}

type Event = { readonly index: number; readonly piece: GenerationPiece } | { readonly index: number; readonly result: GenerationResult };

/** An answer that was cut off (by `maxTokens`, the end of the context, or a server that stops) has the same word as in OpenAI's API. */
function finishOf(reason: StopReason): Finish {
  return reason === "eos" || reason === "stop" ? "stop" : "length";
}

/** Tokens of a request: those of a prompt count once, however many answers it has. @param n answers to each prompt */
function usageOf(results: readonly GenerationResult[], n: number): object {
  const sum = (numbers: readonly number[]): number => numbers.reduce((total, one) => total + one, 0);
  const prompts = results.filter((_, i) => i % n === 0);
  const promptTokens = sum(prompts.map(({ promptIds }) => promptIds.length));
  const completionTokens = sum(results.map(({ ids }) => ids.length));
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: sum(prompts.map(({ timings }) => timings.cachedTokens)) },
  };
}

/** All answers as one JSON body. The first that fails ends the others. @param end aborted here, so that nothing goes on unread */
export async function wholeAnswer(
  asked: Asked,
  heading: Heading,
  end: AbortController,
): Promise<{ body: object; results: GenerationResult[] }> {
  const { form, writing, model, details } = asked;
  try {
    const results = await Promise.all(asked.starts.map((start) => start(end.signal).result()));
    const choices = results.map((result, i) => {
      details.add(i, result);
      return { ...form.whole(i, result.text, finishOf(result.stopReason)), ...details.take(i), ...details.prompt("choice", result) };
    });
    const { id, created, system_fingerprint } = heading;
    const body = { id, object: form.object, created, model, system_fingerprint, choices, usage: usageOf(results, writing.n) };
    return { body: { ...body, ...details.prompt("body", results[0]!) }, results };
  } catch (error) {
    end.abort();
    throw error;
  }
}

/** Milliseconds for which the first word of an answer is awaited before the response begins: until then, an error can have its own status. */
const FIRST_WORD_MS = 2_000;
/** Milliseconds of silence after which a stream says that it is alive: proxies close those that say nothing for a minute. */
const ALIVE_MS = 15_000;

/**
 * All answers as server-sent events, as they are written. Text is taken from the engine only as fast as it is read.
 * @param onEnd hears how it ended, once: the results that there are, and what failed
 */
export async function streamedAnswer(
  asked: Asked,
  heading: Heading,
  end: AbortController,
  onEnd: (results: readonly GenerationResult[], failure?: ApiError) => void,
): Promise<ReadableStream<Uint8Array>> {
  const events = merged(asked.starts.map((start) => start(end.signal)));
  const first = events.next();
  const timer = new Timer();
  try {
    await Promise.race([first, timer.after(FIRST_WORD_MS)]);
  } catch (error) {
    end.abort();
    throw error;
  } finally {
    timer.stop();
  }
  const texts = written(asked, heading, first, events, onEnd);
  const encoder = new TextEncoder();
  let next: Promise<IteratorResult<string>> | undefined;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        next ??= texts.next();
        const item = await Promise.race([next, timer.after(ALIVE_MS)]);
        timer.stop();
        if (item === undefined) {
          controller.enqueue(encoder.encode(": waiting\n\n"));
          return;
        }
        next = undefined;
        if (item.done) controller.close();
        else controller.enqueue(encoder.encode(item.value));
      },
      cancel() {
        end.abort();
        void texts.return(undefined).catch(() => {}); // who would read it has gone
      },
    },
    { highWaterMark: 0 },
  );
}

/** A time that can be waited for, or not any more. */
class Timer {
  #timer: NodeJS.Timeout | undefined;

  after(milliseconds: number): Promise<undefined> {
    return new Promise((resolve) => {
      this.#timer = setTimeout(() => resolve(undefined), milliseconds);
    });
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}

/** The events as text. An error behind the first of them can't have a status any more: it is an event of its own, and the last. */
async function* written(
  { form, writing, model, details }: Asked,
  heading: Heading,
  first: Promise<IteratorResult<Event>>,
  events: AsyncGenerator<Event>,
  onEnd: (results: readonly GenerationResult[], failure?: ApiError) => void,
): AsyncGenerator<string, void, undefined> {
  const results: GenerationResult[] = [];
  let failure: ApiError | undefined;
  const data = (choices: readonly object[], usage: object | null, more: object = {}): string => {
    const { id, created, system_fingerprint } = heading;
    const body = { id, object: form.chunkObject, created, model, system_fingerprint, choices, ...more };
    return `data: ${JSON.stringify(writing.includeUsage ? { ...body, usage } : body)}\n\n`;
  };
  const opened = new Set<number>();
  try {
    for (let item = await first; !item.done; item = await events.next()) {
      const event = item.value;
      const { index } = event;
      if (!opened.has(index) && form.opening) yield data([form.opening(index)], null);
      opened.add(index);
      if ("piece" in event) {
        details.add(index, event.piece);
        const { text } = event.piece;
        if (text !== "") yield data([{ ...form.piece(index, text, null), ...details.take(index) }], null);
      } else {
        const { result } = event;
        results[index] = result;
        const last = { ...form.piece(index, "", finishOf(result.stopReason)), ...details.take(index), ...details.prompt("choice", result) };
        yield data([last], null, index === 0 ? details.prompt("body", result) : {});
      }
    }
    if (writing.includeUsage) yield data([], usageOf(results, writing.n));
    yield "data: [DONE]\n\n";
  } catch (error) {
    failure = toApiError(error, undefined, model);
    yield `data: ${JSON.stringify(failure.body)}\n\n`;
  } finally {
    await events.return(undefined);
    onEnd(
      results.filter((result) => result !== undefined),
      failure,
    );
  }
}

/** Several answers as one sequence: their pieces as they come, and behind the last piece of each its result. */
async function* merged(generations: readonly Generation[]): AsyncGenerator<Event, void, undefined> {
  const readers = generations.map((generation) => generation.pieces()[Symbol.asyncIterator]());
  const next = (index: number): Promise<{ index: number; item: IteratorResult<GenerationPiece> }> => {
    const reading = readers[index]!.next().then((item) => ({ index, item }));
    reading.catch(() => {}); // seen in its turn, or another failed before
    return reading;
  };
  const waiting = new Map(readers.map((_, index) => [index, next(index)]));
  try {
    while (waiting.size > 0) {
      const { index, item } = await Promise.race(waiting.values());
      if (item.done) {
        waiting.delete(index);
        yield { index, result: await generations[index]!.result() };
      } else {
        waiting.set(index, next(index));
        yield { index, piece: item.value };
      }
    }
  } finally {
    for (const reader of readers) reader.return?.().catch(() => {}); // the first failure is the one that is told
  }
}
