import { randomInt } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import type { GenerateOptions } from "../engine/index.js";
import type { JsonObject } from "./body.js";
import { ApiError, badField } from "./errors.js";

/**
 * Fields of OpenAI's API that are not supported yet, with the values that ask for nothing (null always does). To support one, remove its line
 * here and read it.
 */
const NOT_YET: Readonly<Record<string, readonly unknown[]>> = {
  functions: [[]],
  function_call: ["none"],
  best_of: [1],
  echo: [false],
  suffix: [""],
  dimensions: [],
  modalities: [["text"]],
  audio: [],
  prediction: [],
  reasoning_effort: [],
  verbosity: [],
  web_search_options: [],
};

/** Fields that change no answer: who asks, how it is billed, stored or cached. */
const WITHOUT_EFFECT: ReadonlySet<string> = new Set([
  ...["user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"],
]);

/**
 * Refuses what would not be done as asked: fields that nobody knows, and those that are not supported yet.
 * @param known fields that the endpoint reads
 * @param notYet fields that are not supported, with the values that ask for nothing
 * @throws ApiError 400
 */
export function checkFields(body: JsonObject, known: ReadonlySet<string>, notYet = NOT_YET): void {
  for (const [name, value] of Object.entries(body)) {
    if (known.has(name) || WITHOUT_EFFECT.has(name)) continue;
    if (!Object.hasOwn(notYet, name)) {
      throw new ApiError(400, `unknown field ${JSON.stringify(name.slice(0, 60))}`, {
        param: name.slice(0, 60),
        code: "unknown_parameter",
      });
    }
    if (value === null || notYet[name]!.some((neutral) => isDeepStrictEqual(value, neutral))) continue;
    throw new ApiError(400, `${name} is not supported yet: leave it out`, { param: name, code: "unsupported_parameter" });
  }
}

/** What a field must be. */
interface Kind<T> {
  readonly wanted: string;
  holds(value: unknown): value is T;
}

/** A field's value; undefined: it is missing or null. @throws ApiError 400 */
export function field<T>(body: JsonObject, name: string, { wanted, holds }: Kind<T>): T | undefined {
  const value = Object.hasOwn(body, name) ? body[name] : undefined;
  if (value === undefined || value === null) return undefined;
  if (!holds(value)) throw badField(name, wanted);
  return value;
}

export function numberFrom(least: number, most: number): Kind<number> {
  return {
    wanted: `a number from ${least} to ${most}`,
    holds: (value): value is number => typeof value === "number" && value >= least && value <= most,
  };
}

export function wholeNumber(least: number, most: number): Kind<number> {
  return {
    wanted: `a whole number from ${least} to ${most}`,
    holds: (value): value is number => Number.isInteger(value) && (value as number) >= least && (value as number) <= most,
  };
}

export function oneOf<T extends string>(...choices: readonly T[]): Kind<T> {
  return {
    wanted: `one of ${choices.map((choice) => JSON.stringify(choice)).join(", ")}`,
    holds: (value): value is T => choices.includes(value as T),
  };
}

export const TRUE_OR_FALSE: Kind<boolean> = { wanted: "true or false", holds: (value) => typeof value === "boolean" };
export const TEXT: Kind<string> = { wanted: "a string", holds: (value) => typeof value === "string" };
export const OBJECT: Kind<JsonObject> = {
  wanted: "an object",
  holds: (value): value is JsonObject => typeof value === "object" && value !== null && !Array.isArray(value),
};

/** Texts that may end an answer: each is looked for in every piece of it. */
const MOST_STOPS = 16;
const STOP: Kind<string | readonly string[]> = {
  wanted: `a string that is not empty, or a list of up to ${MOST_STOPS} of them`,
  holds: (value): value is string | readonly string[] =>
    Array.isArray(value)
      ? value.length <= MOST_STOPS && value.every((text) => typeof text === "string" && text !== "")
      : typeof value === "string" && value !== "",
};

/** The engine's own limits. */
const MOST_BIAS = 100;
const MOST_BIASES = 1024;

/** Biases by token ids below `vocabulary`. */
function biases(vocabulary: number): Kind<Readonly<Record<number, number>>> {
  return {
    wanted: `an object of up to ${MOST_BIASES} of the model's token ids, from 0 to ${vocabulary - 1}, each with a number from -${MOST_BIAS} to ${MOST_BIAS}`,
    holds: (value): value is Readonly<Record<number, number>> =>
      OBJECT.holds(value) &&
      Object.keys(value).length <= MOST_BIASES &&
      Object.entries(value).every(
        ([id, bias]) =>
          /^(?:0|[1-9]\d{0,9})$/.test(id) && Number(id) < vocabulary && typeof bias === "number" && Math.abs(bias) <= MOST_BIAS,
      ),
  };
}

/** Alternatives to each token: as many as the engine gives, and OpenAI's API. */
export const TOP_LOGPROBS = wholeNumber(0, 20);

/** Answers to one request: as many as the engine computes at once. */
export const MOST_CHOICES = 32;
export const MOST_TOKENS = 2 ** 31 - 1;
/** Seeds are 0 … 2^53 − 1. */
const SEEDS = 2 ** 53;

/** Fields that say how an answer is written. */
export const WRITING_FIELDS = [
  ...["model", "stream", "stream_options", "n", "seed", "stop", "max_tokens", "temperature", "top_p"],
  ...["top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty", "logit_bias", "return_token_ids"],
] as const;

/** How the answers to a request are written. */
export interface Writing {
  readonly stream: boolean;
  /** Streamed: the usage comes in a chunk of its own behind the last. */
  readonly includeUsage: boolean;
  /** Answers to each prompt. */
  readonly n: number;
  /** Ids of tokens are told beside the text. */
  readonly tokenIds: boolean;
  readonly options: Omit<GenerateOptions, "seed" | "signal">;
  /** Of the answer with this number, from 0; the first has the seed that was asked for. */
  seed(index: number): number;
}

/**
 * The fields of `WRITING_FIELDS`, and `max_completion_tokens`. What is left out is the model's own.
 * @param vocabulary ids that the model has
 * @throws ApiError 400
 */
export function readWriting(body: JsonObject, vocabulary: number): Writing {
  const stream = field(body, "stream", TRUE_OR_FALSE) ?? false;
  const streamOptions = field(body, "stream_options", OBJECT);
  if (streamOptions && !stream) throw badField("stream_options", "left out where stream is not true");
  const stop = field(body, "stop", STOP);
  const maxTokens =
    field(body, "max_completion_tokens", wholeNumber(0, MOST_TOKENS)) ?? field(body, "max_tokens", wholeNumber(0, MOST_TOKENS));
  const given = {
    maxTokens,
    temperature: field(body, "temperature", numberFrom(0, 2)),
    topP: field(body, "top_p", numberFrom(0, 1)),
    topK: field(body, "top_k", wholeNumber(0, MOST_TOKENS)),
    minP: field(body, "min_p", numberFrom(0, 1)),
    repetitionPenalty: field(body, "repetition_penalty", numberFrom(0.01, 100)),
    presencePenalty: field(body, "presence_penalty", numberFrom(-2, 2)),
    frequencyPenalty: field(body, "frequency_penalty", numberFrom(-2, 2)),
    logitBias: field(body, "logit_bias", biases(vocabulary)),
    stop: typeof stop === "string" ? [stop] : stop,
  };
  const asked = field(body, "seed", wholeNumber(-Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)) ?? randomInt(2 ** 47);
  const first = asked < 0 ? SEEDS + asked : asked;
  return {
    stream,
    includeUsage: (streamOptions && field(streamOptions, "include_usage", TRUE_OR_FALSE)) ?? false,
    n: field(body, "n", wholeNumber(1, MOST_CHOICES)) ?? 1,
    tokenIds: field(body, "return_token_ids", TRUE_OR_FALSE) ?? false,
    options: Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
    seed: (index) => (first >= SEEDS - index ? first - (SEEDS - index) : first + index),
  };
}
