import type { Checkpoint } from "../container/checkpoint.js";
import { show } from "../container/quote.js";
import { type JsonObject, readJsonSidecar } from "../container/sidecar.js";
import { BitnetError } from "../errors.js";
import {
  ANYTHING,
  classOf,
  type Given,
  isListOf,
  type Rule,
  type Rules,
  readOptions,
  SIGNAL,
  type Signal,
  shown,
  TRUE_OR_FALSE,
  wholeNumber,
} from "../options.js";
import { checkSampling, MOST_BIAS, MOST_BIASES } from "../sampling/sampler.js";
import type { SamplingOptions } from "../sampling/types.js";
import { endTokens } from "../text/control-tokens.js";
import type { Tokenizer } from "../text/types.js";
import { FORMAT } from "./answer-format.js";
import type { AnswerFormat, ChatOptions, GenerateOptions } from "./types.js";

/** Always the likeliest token: what Hugging Face's library does where generation_config.json does not ask for sampling. */
const GREEDY: SamplingOptions = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 42 };

/**
 * A model without a generation_config.json (every GGUF): greedy decoding makes small models repeat themselves for ever. These values are the
 * usual ones; of a hundred short prompts to the embedded model, one still ends in a loop with them, and six without the penalty.
 */
const DEFAULTS: SamplingOptions = { temperature: 0.7, topK: 50, topP: 0.9, minP: 0, repetitionPenalty: 1.1, seed: 42 };

/** Maximum tokens of an answer where the caller names none: about 400 words. An answer that finds no end of its own must not run on. */
const DEFAULT_MAX_TOKENS = 512;

/** Alternatives to each token: as many as OpenAI's API gives. */
const MOST_LOGPROBS = 20;

/** generation_config.json's names of the sampling options. */
const CONFIG_NAMES = {
  temperature: "temperature",
  topK: "top_k",
  topP: "top_p",
  minP: "min_p",
  repetitionPenalty: "repetition_penalty",
} as const satisfies Partial<Record<keyof SamplingOptions, string>>;

/** A model's own way of writing. */
export interface GenerationDefaults {
  readonly sampling: SamplingOptions;
  /** Tokens that end the model's turn. */
  readonly eosIds: ReadonlySet<number>;
}

/** All that an answer is written by, checked. */
export interface ResolvedOptions {
  readonly sampling: SamplingOptions;
  /** Infinity: until the model ends or the context is full. */
  readonly maxTokens: number;
  readonly eosIds: ReadonlySet<number>;
  readonly stopIds: ReadonlySet<number>;
  readonly stop: readonly string[];
  readonly speculate: boolean;
  readonly logprobs: number | undefined;
  readonly trace: boolean;
  readonly format: AnswerFormat | undefined;
  readonly signal: Signal | undefined;
}

/** How many tokens Hugging Face's library chooses among where generation_config.json samples and does not say. */
const HF_TOP_K = 50;

/** The sampling that generation_config.json asks for, with the defaults of Hugging Face's library: greedy without `do_sample`. */
function samplingOf(config: JsonObject, file: string): SamplingOptions {
  const options: Partial<Record<keyof SamplingOptions, unknown>> = { ...GREEDY };
  if (config.do_sample === true) {
    options.temperature = 1;
    if (config.top_k !== null) options.topK = HF_TOP_K;
  }
  for (const [option, name] of Object.entries(CONFIG_NAMES)) {
    const value = config[name] ?? undefined;
    if (value === undefined || (option === "temperature" && config.do_sample !== true)) continue;
    options[option as keyof SamplingOptions] = value;
  }
  try {
    checkSampling(options as SamplingOptions); // types are checked too
  } catch (cause) {
    if (!(cause instanceof BitnetError)) throw cause;
    throw new BitnetError("file", `${file}: generation_config.json: ${cause.message}`, { file }, { cause });
  }
  return options as SamplingOptions;
}

/** `eos_token_id` of a config: one id, a list, or nothing. */
function eosOf(config: JsonObject, file: string, name: string, vocabulary: number): number[] {
  const value = config.eos_token_id ?? [];
  const ids: unknown[] = Array.isArray(value) ? value : [value];
  for (const id of ids) {
    if (typeof id === "number" && Number.isInteger(id) && id >= 0 && id < vocabulary) continue;
    const message = `${file}: ${name}: eos_token_id must contain ids of the vocabulary, which has ${vocabulary}, not ${show(id)}`;
    throw new BitnetError("file", message, { file });
  }
  return ids as number[];
}

/**
 * What the model's files say about writing. The end of a turn is the union of the tokenizer's ends, the configs' lists, and control tokens
 * that are known to end one: the metadata alone often name only `<|end_of_text|>`. Throws `file` errors that name the file and the field.
 */
export async function generationDefaults(checkpoint: Checkpoint, tokenizer: Tokenizer): Promise<GenerationDefaults> {
  const [generationName, configName] = ["generation_config.json", "config.json"];
  const generation = await readJsonSidecar(checkpoint, generationName, "file");
  const config = (await readJsonSidecar(checkpoint, configName, "file")) ?? {};
  const file = checkpoint.path;
  const ends = endTokens.map((token) => tokenizer.idOf(token)).filter((id) => id !== undefined);
  return {
    sampling: generation ? samplingOf(generation, file) : DEFAULTS,
    eosIds: new Set<number>([
      ...tokenizer.eosIds,
      ...tokenizer.endIds,
      ...eosOf(generation ?? {}, file, generationName, tokenizer.size),
      ...eosOf(config, file, configName, tokenizer.size),
      ...ends.filter((id) => tokenizer.isSpecial(id)),
    ]),
  };
}

const TEXTS: Rule = {
  wanted: "a list of strings, none of them empty",
  holds: (value) => isListOf(value, (text) => typeof text === "string" && text !== ""),
};

/** Of this vocabulary: see `biasOf`. */
const BIAS: Rule = {
  wanted: `an object { [token id]: a number from -${MOST_BIAS} to ${MOST_BIAS} } of up to ${MOST_BIASES} tokens`,
  holds: (value) => classOf(value) === "Object" && Object.keys(value as object).length <= MOST_BIASES,
};

const LIMIT: Rule = {
  wanted: "a whole number of at least 0",
  holds: (value) => value === Infinity || (Number.isSafeInteger(value) && (value as number) >= 0),
};

/** What each option of an answer must be. */
const GENERATE_OPTIONS: Rules<GenerateOptions> = {
  maxTokens: LIMIT,
  // `checkSampling` knows their ranges.
  temperature: ANYTHING,
  topK: ANYTHING,
  topP: ANYTHING,
  minP: ANYTHING,
  repetitionPenalty: ANYTHING,
  presencePenalty: ANYTHING,
  frequencyPenalty: ANYTHING,
  logitBias: BIAS,
  seed: ANYTHING,
  stop: TEXTS,
  stopIds: ANYTHING, // of this vocabulary: see below
  ignoreEos: TRUE_OR_FALSE,
  speculate: TRUE_OR_FALSE,
  logprobs: wholeNumber(0, MOST_LOGPROBS),
  trace: TRUE_OR_FALSE,
  format: FORMAT,
  signal: SIGNAL,
};

/** What is asked of a conversation's text: `ChatMemory` checks it with the messages. */
type Asked = Pick<ChatOptions, "template" | "date" | "continueFinalMessage">;

const CHAT_OPTIONS: Rules<ChatOptions> = {
  ...GENERATE_OPTIONS,
  template: ANYTHING,
  date: ANYTHING,
  continueFinalMessage: TRUE_OR_FALSE,
  remember: TRUE_OR_FALSE,
};

/** Options of `chat()`: what is asked of the conversation's text, and of the answer. Throws a `usage` error as `resolveOptions` does. */
export function readChatOptions(given: Given<ChatOptions> | undefined): { asked: Asked; remember: boolean; writing: GenerateOptions } {
  const { template, date, continueFinalMessage, remember = true, ...writing } = readOptions<ChatOptions>("chat()", given, CHAT_OPTIONS);
  return { asked: { template, date, continueFinalMessage }, remember, writing };
}

/** The biases that a caller gave, without those that do nothing. @throws BitnetError usage: no id of the vocabulary, or no number in range */
function biasOf(given: NonNullable<GenerateOptions["logitBias"]>, vocabSize: number): Record<number, number> {
  const biases: Record<number, number> = {};
  for (const [key, bias] of Object.entries<unknown>(given)) {
    if (!/^(?:0|[1-9]\d{0,9})$/.test(key) || Number(key) >= vocabSize) {
      throw new BitnetError("usage", `logitBias must have ids of the vocabulary, which has ${vocabSize}, not ${shown(key)}`);
    }
    if (typeof bias !== "number" || !(Math.abs(bias) <= MOST_BIAS)) {
      throw new BitnetError("usage", `logitBias of token ${key} must be a number from -${MOST_BIAS} to ${MOST_BIAS}, not ${shown(bias)}`);
    }
    if (bias !== 0) biases[Number(key)] = bias;
  }
  return biases;
}

/**
 * The caller's options over the model's. A caller's temperature of 0 switches off all of a model's sampling, its penalty too: what is left is
 * the likeliest token. Throws a `usage` error that names the first bad option, or one that `call` does not have.
 * `vocabSize`: ids there are.
 */
export function resolveOptions(
  given: Given<GenerateOptions> | undefined,
  defaults: GenerationDefaults,
  vocabSize: number,
  call = "generate()",
): ResolvedOptions {
  const options = readOptions<GenerateOptions>(call, given, GENERATE_OPTIONS);
  const {
    maxTokens = DEFAULT_MAX_TOKENS,
    stop = [],
    stopIds = [],
    ignoreEos = false,
    speculate = false,
    logprobs,
    trace = false,
    format,
    signal,
  } = options;
  const own = options.temperature === 0 && defaults.sampling.temperature > 0 ? GREEDY : defaults.sampling;
  const sampling: SamplingOptions = {
    temperature: options.temperature ?? own.temperature,
    topK: options.topK ?? own.topK,
    topP: options.topP ?? own.topP,
    minP: options.minP ?? own.minP,
    repetitionPenalty: options.repetitionPenalty ?? own.repetitionPenalty,
    seed: options.seed ?? own.seed,
    ...(options.presencePenalty !== undefined && { presencePenalty: options.presencePenalty }),
    ...(options.frequencyPenalty !== undefined && { frequencyPenalty: options.frequencyPenalty }),
    ...(options.logitBias !== undefined && { logitBias: biasOf(options.logitBias, vocabSize) }),
  };
  checkSampling(sampling);
  const bad = Array.isArray(stopIds) ? stopIds.findIndex((id) => !(Number.isInteger(id) && id >= 0 && id < vocabSize)) : 0;
  if (bad >= 0) {
    const wrong: unknown = Array.isArray(stopIds) ? stopIds[bad] : stopIds;
    throw new BitnetError("usage", `stopIds must be a list of ids of the vocabulary, which has ${vocabSize}, not ${show(wrong)}`);
  }
  if (format !== undefined && ignoreEos) {
    throw new BitnetError("usage", "ignoreEos can't be combined with format: an answer that fits must be able to end");
  }
  if (format !== undefined && trace) {
    throw new BitnetError("usage", "trace (--receipt) can't be combined with format: a receipt does not record what an answer was held to");
  }
  const eosIds = ignoreEos ? new Set<number>() : defaults.eosIds;
  return { sampling, maxTokens, eosIds, stopIds: new Set(stopIds), stop: [...stop], speculate, logprobs, trace, format, signal };
}
