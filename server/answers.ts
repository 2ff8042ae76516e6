import type { Generation, GenerationPiece, GenerationResult, StopReason, ToolCallParser } from "../engine/index.js";
import { type AnswerPart, AnswerReader, type Finish } from "./answer-reader.js";
import { type ApiError, toApiError } from "./errors.js";
import type { Writing } from "./fields.js";

/** A request for text, checked: what is to be written, and in which form it is told. */
export interface Asked {
  /** The model's name. */
  readonly model: string;
  /** The field that holds the texts, for errors. */
  readonly subject: string;
  readonly writing: Writing;
  /** Begins each answer, in the order of their numbers; answers to the same prompt are neighbours. */
  readonly starts: readonly ((signal: AbortSignal) => Generation)[];
  /** What finds calls of tools in an answer; undefined: it is text. */
  readonly parser?: (() => ToolCallParser) | undefined;
  readonly form: Form;
}

/** How an endpoint writes answers. */
export interface Form {
  /** First letters of the id of what it writes. */
  readonly prefix: string;
  /** All answers as one JSON body. */
  whole(heading: Heading, answers: readonly Answer[], usage: Usage): object;
  /** The events of one stream. */
  events(heading: Heading): Events;
}

/** An answer that has ended. */
export interface Answer {
  readonly parts: readonly AnswerPart[];
  readonly finish: Finish;
  readonly result: GenerationResult;
}

/** Writes a stream: each function gives text of the stream, which may be empty. */
export interface Events {
  /** Begins the stream. */
  open(): string;
  /** Hears of the tokens of the answer with this number, before it is given the parts that they are. */
  tokens?(index: number, piece: GenerationPiece): void;
  /** More of the answer with this number. */
  part(index: number, part: AnswerPart): string;
  /** The answer with this number has ended. */
  end(index: number, finish: Finish, result: GenerationResult): string;
  /** All answers have ended. */
  close(usage: Usage): string;
  failed(failure: ApiError): string;
}

/** What all bodies of a response have in common. */
export interface Heading {
  readonly id: string;
  /** Seconds since 1970. */
  readonly created: number;
  readonly model: string;
  readonly system_fingerprint: string;
}

/** Tokens of a request. */
export interface Usage {
  readonly prompt: number;
  /** Those of the prompt that did not have to be computed. */
  readonly cached: number;
  readonly completion: number;
}

type Event = { readonly index: number; readonly piece: GenerationPiece } | { readonly index: number; readonly result: GenerationResult };

/** An answer that was cut off (by `maxTokens`, the end of the context, or a server that stops) has the same word as in OpenAI's API. */
function finishOf(reason: StopReason, reader: AnswerReader): Finish {
  if (reason !== "eos" && reason !== "stop") return "length";
  return reader.calls > 0 ? "tool_calls" : "stop";
}

/** Tokens of a request: those of a prompt count once, however many answers it has. @param n answers to each prompt */
export function usageOf(results: readonly GenerationResult[], n: number): Usage {
  const sum = (numbers: readonly number[]): number => numbers.reduce((total, one) => total + one, 0);
  const prompts = results.filter((_, i) => i % n === 0);
  return {
    prompt: sum(prompts.map(({ promptIds }) => promptIds.length)),
    cached: sum(prompts.map(({ timings }) => timings.cachedTokens)),
    completion: sum(results.map(({ ids }) => ids.length)),
  };
}

/** All answers as one JSON body. The first that fails ends the others. @param end aborted here, so that nothing goes on unread */
export async function wholeAnswer(
  asked: Asked,
  heading: Heading,
  end: AbortController,
): Promise<{ body: object; results: GenerationResult[] }> {
  const { form, writing, parser } = asked;
  try {
    const results = await Promise.all(asked.starts.map((start) => start(end.signal).result()));
    const answers = results.map((result): Answer => {
      const reader = new AnswerReader(parser?.());
      const parts = [...reader.push(result.text), ...reader.end()];
      return { parts, finish: finishOf(result.stopReason, reader), result };
    });
    return { body: form.whole(heading, answers, usageOf(results, writing.n)), results };
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
        next ??= texts.next(); // what has not begun would hear nothing of its end
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
  { form, writing, parser, model, starts }: Asked,
  heading: Heading,
  first: Promise<IteratorResult<Event>>,
  events: AsyncGenerator<Event>,
  onEnd: (results: readonly GenerationResult[], failure?: ApiError) => void,
): AsyncGenerator<string, void, undefined> {
  const results: GenerationResult[] = [];
  let failure: ApiError | undefined;
  const readers = starts.map(() => new AnswerReader(parser?.()));
  const stream = form.events(heading);
  try {
    yield stream.open();
    for (let item = await first; !item.done; item = await events.next()) {
      const event = item.value;
      const { index } = event;
      const reader = readers[index]!;
      const isEnd = "result" in event;
      if (!isEnd) stream.tokens?.(index, event.piece);
      for (const part of isEnd ? reader.end() : reader.push(event.piece.text)) yield stream.part(index, part);
      if (!isEnd) continue;
      results[index] = event.result;
      yield stream.end(index, finishOf(event.result.stopReason, reader), event.result);
    }
    yield stream.close(usageOf(results, writing.n));
  } catch (error) {
    failure = toApiError(error, undefined, model);
    yield stream.failed(failure);
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
