import { pathKind } from "#host/files.js";
import { prepareKernels } from "#host/kernel-files.js";
import { chooseKernels } from "../compute/tier.js";
import { type Checkpoint, openCheckpoint } from "../container/checkpoint.js";
import { BitnetError } from "../errors.js";
import { argumentSchemas, type ToolDefinition } from "../grammar/calls.js";
import type { FilePath } from "../host/files.js";
import { type ModelConfig, readConfig } from "../model/config.js";
import { allLinears } from "../model/layers.js";
import { type LinearSource, readWeights } from "../model/weights.js";
import {
  BYTES,
  CALLBACK,
  checkArgument,
  either,
  type Given,
  IDS,
  type Rules,
  readOptions,
  reasonOf,
  SIGNAL,
  type Signal,
  TEXT,
  throwIfAborted,
} from "../options.js";
import { requireTernary } from "../packing/dense.js";
import { loadChatTemplate } from "../text/find-template.js";
import { loadTokenizer, openTokenizerFiles } from "../text/load.js";
import { type ToolCallForm, toolCallForm } from "../text/tool-calls/form.js";
import { createToolCallParser, type ToolCallParser } from "../text/tool-calls/parser.js";
import type { ChatMessage, ChatTemplate, Tokenizer } from "../text/types.js";
import { AnswerFormats } from "./answer-format.js";
import { ChatMemory, type ChatPrompt } from "./chat.js";
import { pathOf } from "./default-model.js";
import { type GenerationDefaults, generationDefaults, readChatOptions, resolveOptions } from "./defaults.js";
import { configNotes, describe, type ModelDescription } from "./describe.js";
import { EMBED_OPTIONS, type EmbedOptions, embed, type Pooling, statedPooling, TEXTS } from "./embed.js";
import {
  FILE_OPTIONS,
  type FileOptions,
  LOAD_OPTIONS,
  type LoadOptions,
  type RunningKernels,
  startRunner,
  threadsOf,
  withThreads,
} from "./runner.js";
import { type Admission, Scheduler } from "./scheduler.js";
import { type AnswerOptions, generate } from "./stream.js";
import { checkTextLength } from "./text-length.js";
import type { ChatOptions, GenerateOptions, Generation, ModelStats, Score, ScoringPolicy } from "./types.js";

/** How a text is scored. */
export interface ScoreOptions {
  readonly signal?: Signal;
  /** Called with each position's logits, [vocab] f32, in order, including the last position's. */
  readonly onLogits?: (position: number, logits: Float32Array) => void;
}

const SCORE_OPTIONS: Rules<ScoreOptions> = { signal: SIGNAL, onLogits: CALLBACK };
const LOGITS_OPTIONS: Rules<Pick<ScoreOptions, "signal">> = { signal: SIGNAL };

/** A tokenizer without its model's weights. */
export interface OpenTokenizer {
  /** What was opened. */
  readonly path: string;
  readonly format: Checkpoint["format"];
  readonly tokenizer: Tokenizer;
  readonly chatTemplate: ChatTemplate | undefined;
  /** Assumptions about what the files don't state, each a sentence. */
  readonly notes: readonly string[];
}

/** A loaded model. Calls can run at the same time: they share batches, and no answer depends on what runs beside it. */
export class Model {
  /** What was opened. */
  readonly path: string;
  readonly config: ModelConfig;
  /** Maximum length of a sequence in tokens, as loaded: at most the model's own. */
  readonly contextLength: number;
  readonly tokenizer: Tokenizer;
  /** The file's own; undefined if it has none. */
  readonly chatTemplate: ChatTemplate | undefined;
  /** Assumptions about what the files don't state, each a sentence. */
  readonly notes: readonly string[];
  /** How `embed` makes one vector of a text's tokens, unless told otherwise: as the file states, otherwise "mean". */
  readonly pooling: Pooling;
  /** Memory of the weights, the cache and what is computed, bytes; 0 on the reference path. */
  readonly memoryBytes: number;
  /** From the call of `loadModel` to ready, ms. */
  readonly loadMs: number;
  readonly #checkpoint: Checkpoint;
  readonly #defaults: GenerationDefaults;
  readonly #running: RunningKernels;
  readonly #scheduler: Scheduler;
  readonly #memory: ChatMemory | undefined;
  readonly #formats: AnswerFormats;
  /** How the template writes calls of tools, once it was looked at. */
  #calls: { readonly form: ToolCallForm | undefined } | undefined;

  /** @internal use `loadModel` */
  constructor(parts: {
    checkpoint: Checkpoint;
    config: ModelConfig;
    tokenizer: Tokenizer;
    chatTemplate: ChatTemplate | undefined;
    defaults: GenerationDefaults;
    running: RunningKernels;
    loadMs: number;
    admission: Admission;
  }) {
    this.path = parts.checkpoint.path;
    this.config = parts.config;
    this.contextLength = parts.running.runner.limits.contextLength;
    this.tokenizer = parts.tokenizer;
    this.chatTemplate = parts.chatTemplate;
    this.notes = [...configNotes(parts.config), ...parts.tokenizer.notes, ...(parts.chatTemplate?.notes ?? [])];
    this.pooling = statedPooling(parts.checkpoint, parts.config) ?? "mean";
    this.memoryBytes = parts.running.memoryBytes;
    this.loadMs = parts.loadMs;
    this.#checkpoint = parts.checkpoint;
    this.#defaults = parts.defaults;
    this.#running = parts.running;
    this.#scheduler = new Scheduler(parts.running.runner, parts.config.vocabSize, parts.tokenizer.size, parts.admission);
    this.#formats = new AnswerFormats(parts.tokenizer, parts.defaults.eosIds, () => this.#callForm);
    this.#memory = parts.chatTemplate && new ChatMemory(parts.tokenizer, parts.chatTemplate, this.contextLength);
  }

  /**
   * Continues a text. A string is encoded (with BOS if the tokenizer adds it), and special tokens in it are recognised; ids are used as
   * they are.
   * @throws BitnetError usage: an empty prompt, one longer than the context, an option out of its range
   */
  generate(prompt: string | readonly number[], options?: Given<GenerateOptions>): Generation {
    checkArgument("prompt", prompt, either(TEXT, IDS));
    this.#requireWriter();
    if (typeof prompt === "string") checkTextLength(prompt, "the prompt", this.tokenizer, this.contextLength);
    const ids = typeof prompt === "string" ? this.tokenizer.encode(prompt) : prompt;
    return generate(this.#scheduler, this.tokenizer, ids, this.#answerOptions(options));
  }

  /**
   * Answers a conversation, rendered with the model's chat template. Control tokens in the messages are plain text. The next turn of the
   * same conversation does not compute the history again. Errors in the messages or the template, and a conversation longer than the context,
   * are thrown when the answer is first read.
   * @throws BitnetError tokenizer: the model has no chat template; usage: an option out of its range
   */
  chat(messages: readonly ChatMessage[], options?: Given<ChatOptions>): Generation {
    this.#requireWriter();
    if (!this.#memory) throw noTemplate(this.#checkpoint.path);
    const { asked, remember, writing } = readChatOptions(options);
    const memory = remember ? this.#memory : new ChatMemory(this.tokenizer, this.chatTemplate!, this.contextLength);
    const resolved = this.#answerOptions(writing, "chat()");
    const compose = memory.later(messages, asked);
    let prompt: ChatPrompt;
    const render = async () => {
      prompt = compose();
      return prompt.ids;
    };
    // In some vocabularies what marks a call is a special token: with tools it is text of the answer.
    const shows = (id: number): boolean => {
      return prompt.hasTools && this.tokenizer.isSpecial(id) && this.#callForm?.marks.includes(this.tokenizer.textOf(id)) === true;
    };
    return generate(this.#scheduler, this.tokenizer, render, { ...resolved, shows }, (result) => memory.remember(prompt, result));
  }

  /**
   * What finds the calls of tools in one answer of `chat` with `template: { tools }`: each answer needs its own. Undefined: the model has no chat
   * template, or one that knows no tools or whose form of calls is not known here.
   * @param tools those that were offered: some templates write numbers and texts alike, and only the tools' schemas tell which is which
   */
  toolCallParser(tools: readonly ToolDefinition[] = []): ToolCallParser | undefined {
    return this.#callForm && createToolCallParser(this.#callForm, argumentSchemas(tools));
  }

  get #callForm(): ToolCallForm | undefined {
    this.#calls ??= { form: this.chatTemplate && toolCallForm(this.chatTemplate) };
    return this.#calls.form;
  }

  /** Teacher-forced likelihood of a text (encoded as by `generate`), of any bytes, or of ids as they are. @throws BitnetError usage */
  async score(text: string | Uint8Array | readonly number[], options?: Given<ScoreOptions>): Promise<Score> {
    const { signal, onLogits } = readOptions<ScoreOptions>("score()", options, SCORE_OPTIONS);
    checkArgument("text", text, either(TEXT, BYTES, IDS));
    this.#requireWriter();
    const given = IDS.holds(text);
    const ids = given
      ? [...(text as readonly number[])]
      : typeof text === "string"
        ? this.tokenizer.encode(text)
        : this.tokenizer.encodeBytes(text as Uint8Array);
    if (ids.length < 2) throw new BitnetError("usage", `a text of ${ids.length} tokens has no likelihood: at least 2 tokens are required`);
    const nll: number[] = [];
    await this.#scheduler.rows({
      ids,
      want: onLogits ? "nll+logits" : "nll",
      signal,
      onRow: (position, output) => {
        if (output.nll !== undefined) nll.push(output.nll);
        if (output.logits) onLogits?.(position, output.logits);
      },
    });
    const meanNll = nll.reduce((sum, value) => sum + value, 0) / nll.length;
    const policy: ScoringPolicy = {
      path: this.#running.tier === "none" ? "reference" : "kernels",
      activationQuant: this.#running.activationQuant && this.config.activations === "int8",
      bosAdded: !given && this.tokenizer.addsBos,
      specialTokensParsed: !given,
      window: ids.length,
    };
    return { ids, nll, meanNll, perplexity: Math.exp(meanNll), policy };
  }

  /** Logits of every position of these ids, [ids, vocab] f32. @throws BitnetError usage */
  async logits(ids: readonly number[], options?: Given<Pick<ScoreOptions, "signal">>): Promise<Float32Array> {
    const { signal } = readOptions<Pick<ScoreOptions, "signal">>("logits()", options, LOGITS_OPTIONS);
    checkArgument("ids", ids, IDS);
    this.#requireWriter();
    const { vocabSize } = this.config;
    const rows: Float32Array[] = []; // as they come: nothing is allocated for ids that are refused
    await this.#scheduler.rows({ ids, want: "logits", signal, onRow: (_, { logits }) => rows.push(logits!) });
    const all = new Float32Array(rows.length * vocabSize);
    for (const [position, row] of rows.entries()) all.set(row, position * vocabSize);
    return all;
  }

  /**
   * A vector of each text, [hidden] f32 (encoded as by `generate`): the hidden states that logits would be made of, pooled. The same bits for any
   * threads, tier and batch. @throws BitnetError usage, naming the text: it is empty, or longer than the context
   */
  async embed(texts: readonly string[], options?: Given<EmbedOptions>): Promise<Float32Array[]> {
    const asked = readOptions<EmbedOptions>("embed()", options, EMBED_OPTIONS);
    checkArgument("texts", texts, TEXTS);
    const limits = { contextLength: this.contextLength, hiddenSize: this.config.hiddenSize };
    return embed(this.#scheduler, this.tokenizer, limits, texts, { pooling: this.pooling, ...asked });
  }

  /** What it is doing, and what it has done since it was loaded. */
  get stats(): ModelStats {
    return this.#scheduler.stats;
  }

  /** What computes, without reading the file as `describe` does: its `kernels` and `threads`. */
  get kernels(): ModelDescription["kernels"] & Pick<ModelDescription, "threads"> {
    const { tier, why, threads } = this.#running;
    return { tier, why, threads };
  }

  /** What the file contains and how it runs here. Reads the whole file once, for its hash. */
  describe(): Promise<ModelDescription> {
    const { tier, why, threads } = this.#running;
    return describe(this.#checkpoint, this.config, this.tokenizer, this.chatTemplate, this.#defaults, { tier, why }, threads);
  }

  #answerOptions(given: Given<GenerateOptions> | undefined, call?: string): AnswerOptions {
    const resolved = resolveOptions(given, this.#defaults, this.config.vocabSize, call);
    const { format } = resolved;
    return format === undefined ? resolved : { ...resolved, constrain: this.#formats.constraint(format) };
  }

  /** @throws BitnetError usage: the model has no output head */
  #requireWriter(): void {
    if (!this.config.innerNorms) return;
    const { path } = this.#checkpoint;
    throw new BitnetError("usage", `${path}: this is an embedding model, which writes no text: use embed() or bitnet embed`, {
      file: path,
    });
  }

  /** Ends the workers and frees the memory; running answers reject with a `closed` error. Idempotent. */
  async close(): Promise<void> {
    await Promise.all([this.#scheduler.close(), this.#checkpoint.close()]);
  }
}

/**
 * Opens and loads a model: a GGUF or SafeTensors file, or a directory with one; without a path the one in the package.
 * @throws BitnetError, with nothing left running; if `signal` aborts the load, its reason
 */
export async function loadModel(path?: FilePath | null, given?: Given<LoadOptions>): Promise<Model> {
  const start = performance.now();
  const options = readOptions<LoadOptions>("loadModel()", given, LOAD_OPTIONS);
  throwIfAborted(options.signal);
  await pathKind(pathOf(path)); // for a path that leads nowhere nothing is started
  const failed = new AbortController();
  const abort = (): void => failed.abort(reasonOf(options.signal));
  options.signal?.addEventListener("abort", abort);
  if (options.signal?.aborted) abort(); // while the path was looked at
  const opening = openCheckpoint(pathOf(path));
  const reading = opening.then(async (checkpoint) => {
    const config = await readConfig(checkpoint, options);
    const sources = readWeights(checkpoint, config, options);
    await requireTernary(allLinears(sources.layers), checkpoint.read);
    return { config, sources, stamps: checkpoint.stamps };
  });
  reading.catch(() => {}); // seen below; an error in the options does not wait for it
  // The workers start while this thread reads the header, and read the weights while it builds the tokenizer.
  const starting = startRunner(reading, { ...options, signal: failed.signal });
  starting.catch(() => {}); // seen below, after the file's and the tokenizer's own errors
  try {
    const checkpoint = await opening;
    const { config } = await reading;
    const files = await openTokenizerFiles(options.tokenizer);
    const tokenizer = await loadTokenizer(checkpoint, files);
    checkVocabulary(files?.path ?? checkpoint.path, tokenizer, config);
    const chatTemplate = await loadChatTemplate(checkpoint, tokenizer, files);
    const defaults = await generationDefaults(checkpoint, tokenizer);
    const running = await starting;
    throwIfAborted(options.signal);
    // The lists of tokens and merges are the tokenizer's now: of a large vocabulary they are tens of MB.
    const metadata = new Map([...checkpoint.metadata].filter(([, value]) => typeof value !== "object"));
    return new Model({
      checkpoint: { ...checkpoint, metadata },
      config,
      tokenizer,
      chatTemplate,
      defaults,
      running,
      loadMs: performance.now() - start,
      admission: { maxRunning: options.maxRunning, maxWaiting: options.maxWaiting },
    });
  } catch (error) {
    failed.abort();
    const running = await starting.catch(() => undefined);
    await running?.runner.close();
    const checkpoint = await opening.catch(() => undefined);
    await checkpoint?.close();
    throw error;
  } finally {
    options.signal?.removeEventListener("abort", abort);
  }
}

/** Opens a model's tokenizer alone: no weights are read. @throws BitnetError */
export async function openTokenizer(path?: FilePath | null, given?: Given<Pick<FileOptions, "tokenizer">>): Promise<OpenTokenizer> {
  const options = readOptions<Pick<FileOptions, "tokenizer">>("openTokenizer()", given, { tokenizer: FILE_OPTIONS.tokenizer });
  const checkpoint = await openCheckpoint(pathOf(path));
  try {
    const files = await openTokenizerFiles(options.tokenizer);
    const tokenizer = await loadTokenizer(checkpoint, files);
    const chatTemplate = await loadChatTemplate(checkpoint, tokenizer, files);
    return {
      path: checkpoint.path,
      format: checkpoint.format,
      tokenizer,
      chatTemplate,
      notes: [...tokenizer.notes, ...(chatTemplate?.notes ?? [])],
    };
  } finally {
    await checkpoint.close();
  }
}

type DescribeOptions = FileOptions & Pick<LoadOptions, "threads" | "tier" | "v8Flags">;
const DESCRIBE_OPTIONS: Rules<DescribeOptions> = {
  ...FILE_OPTIONS,
  threads: LOAD_OPTIONS.threads,
  tier: LOAD_OPTIONS.tier,
  v8Flags: LOAD_OPTIONS.v8Flags,
};

/** Describes a model without loading its weights; `tier` is the one that would be tried first. @throws BitnetError */
export async function describeModel(path?: FilePath | null, given?: Given<DescribeOptions>): Promise<ModelDescription> {
  const options = readOptions<DescribeOptions>("describeModel()", given, DESCRIBE_OPTIONS);
  const checkpoint = await openCheckpoint(pathOf(path));
  try {
    const config = await readConfig(checkpoint, options);
    const linears = allLinears(readWeights(checkpoint, config, options).layers);
    const files = await openTokenizerFiles(options.tokenizer);
    const tokenizer = await loadTokenizer(checkpoint, files);
    checkVocabulary(files?.path ?? checkpoint.path, tokenizer, config);
    const template = await loadChatTemplate(checkpoint, tokenizer, files);
    const defaults = await generationDefaults(checkpoint, tokenizer);
    const weightBytes = linears.reduce((sum, { rows, columns }) => sum + (rows * columns) / 4, 0);
    await prepareKernels();
    const kernels = chooseKernels(options.tier ?? "auto", options.v8Flags ?? false, weightBytes);
    return await describe(
      checkpoint,
      config,
      tokenizer,
      template,
      defaults,
      { tier: kernels.tier, why: withThreads(kernels.why) },
      threadsOf(options),
      await refusalOf(linears, checkpoint),
    );
  } finally {
    await checkpoint.close();
  }
}

/** Why the weights can't be loaded, if they are not ternary; undefined: they can. */
async function refusalOf(linears: readonly LinearSource[], { read }: Checkpoint): Promise<string | undefined> {
  try {
    await requireTernary(linears, read);
    return undefined;
  } catch (error) {
    if (error instanceof BitnetError && error.code !== "io") return error.message;
    throw error;
  }
}

function noTemplate(file: string): BitnetError {
  return new BitnetError("tokenizer", `${file}: the model has no chat template, so it can continue text but not chat`, { file });
}

/** The network must have a row for each id that the tokenizer can give, and go on where a text ends. @throws BitnetError tokenizer */
export function checkVocabulary(file: string, tokenizer: Tokenizer, config: ModelConfig): void {
  if (tokenizer.size > config.vocabSize) {
    throw new BitnetError("tokenizer", `${file}: the tokenizer has ${tokenizer.size} ids, but the model has only ${config.vocabSize}`, {
      file,
    });
  }
  if (tokenizer.addsEos && !config.innerNorms) {
    throw new BitnetError(
      "tokenizer",
      `${file}: the tokenizer puts EOS behind each text (add_eos_token, post_processor), which is supported only for embedding models`,
      { file },
    );
  }
}
