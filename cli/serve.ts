import { readdirSync, statSync } from "node:fs";
import { totalmem } from "node:os";
import { basename, dirname, join } from "node:path";
import { BitnetError } from "../engine/errors.js";
import type { LoadOptions, Model } from "../engine/index.js";
import type { ModelSource, Models, PooledModel, RequestLog } from "../server/index.js";
import { ioError, printable } from "./failure.js";
import { type ModelFlags, openModel } from "./model.js";
import type { NamedModel } from "./model-path.js";
import { style, write } from "./terminal.js";
import { readEnvironment } from "./values.js";

export interface ServeFlags extends Omit<ModelFlags, "model"> {
  readonly model?: readonly NamedModel[];
  readonly memory?: number;
  readonly idle: number;
  readonly host: string;
  readonly port: number;
  readonly apiKey?: string;
  readonly cors?: string;
  readonly parallel?: number;
  readonly maxWaiting: number;
  readonly log?: boolean;
  readonly cacheTokens?: number;
}

/** Milliseconds that streams may go on after SIGTERM; a supervisor such as Docker waits ten seconds before it kills. */
const STREAM_GRACE_MS = 5_000;
/** Milliseconds that a client then has to read the end of its stream. */
const LAST_WORDS_MS = 2_000;
const SIGNALS = { SIGINT: 2, SIGTERM: 15 } as const;

/** `bitnet serve`: OpenAI's API for models, until SIGTERM or Ctrl-C. A second one ends the process at once. */
export async function serve(flags: ServeFlags): Promise<void> {
  const stopping = new AbortController();
  const stopped = new Promise<void>((resolve) => stopping.signal.addEventListener("abort", () => resolve(), { once: true }));
  for (const [name, number] of Object.entries(SIGNALS)) {
    process.on(name, () => {
      if (stopping.signal.aborted) process.exit(128 + number);
      stopping.abort();
    });
  }
  // An empty variable is none: it would be a key that everybody knows.
  const apiKey = flags.apiKey ?? (process.env.BITNET_API_KEY || undefined);
  const models = await openModels(flags, stopping.signal).catch((error: unknown) => {
    if (!stopping.signal.aborted) throw error;
    return undefined; // stopped before it served anything
  });
  if (!models) return;
  try {
    const { createHandler, isLoopback, listen } = await import("../server/index.js");
    const handler = createHandler(models.served, {
      ...(apiKey !== undefined && { apiKey }),
      ...(flags.cors !== undefined && { cors: flags.cors }),
      ...(flags.log && { onRequest: (request: RequestLog) => void note(JSON.stringify({ time: new Date().toISOString(), ...request })) }),
      loopbackOnly: isLoopback(flags.host),
      stopping: stopping.signal,
      streamGraceMs: STREAM_GRACE_MS,
      onError: (error, id) => void note(`request ${id} failed: ${error instanceof Error ? error.message : String(error)}`),
    });
    const listening = await listen(handler, flags).catch((error: unknown) => {
      throw ioError(`listen on ${flags.host}:${flags.port}`, error);
    });
    await note(`serving ${models.names.join(", ")} at ${listening.url}; Ctrl-C stops it`);
    await note(`try it: ${example(listening.url, models.names[0]!, models.only, apiKey !== undefined)}`);
    if (!isLoopback(flags.host) && apiKey === undefined) {
      await note(style("bold", "anyone who reaches this port can use the model: give it a key with --api-key", process.stderr));
    }
    await stopped;
    await listening.close(STREAM_GRACE_MS + LAST_WORDS_MS);
  } finally {
    await models.close();
  }
}

/** What is served. */
interface OpenModels {
  readonly served: Models;
  readonly names: readonly string[];
  /** If there is only one. */
  readonly only?: Model;
  close(): Promise<void>;
}

/** One model is loaded at once and stays; several are loaded when they are asked for. */
async function openModels(flags: ServeFlags, signal: AbortSignal): Promise<OpenModels> {
  const { model: given = [], memory, idle, ...rest } = flags;
  const limits = {
    maxWaiting: flags.maxWaiting,
    ...(flags.parallel !== undefined && { maxRunning: flags.parallel }),
    ...(flags.cacheTokens !== undefined && { cacheTokens: flags.cacheTokens }),
  };
  const open = (path: string | undefined, more: LoadOptions): Promise<Model> =>
    openModel({ ...rest, ...(path !== undefined && { model: path }) }, readEnvironment(process.env), { ...limits, ...more });
  const { LoadedModels, ModelPool } = await import("../server/index.js");
  if (given.length <= 1) {
    const model = await open(given[0]?.path, { signal });
    const name = given[0]?.name ?? basename(dirname(model.path));
    return { served: new LoadedModels(new Map([[name, model]])), names: [name], only: model, close: () => model.close() };
  }
  const sources = new Map<string, ModelSource>();
  for (const { name, path } of given) {
    if (sources.has(name)) throw new BitnetError("usage", `--model: two models are called ${printable(name)}; rename a file or folder`);
    const load = async (): Promise<PooledModel> => {
      const model = await open(path, {});
      return { model, bytes: model.memoryBytes };
    };
    sources.set(name, { bytes: bytesOf(path), load });
  }
  const most = memory === undefined ? 0.75 * machineMemory() : memory * 2 ** 30;
  const pool = new ModelPool(sources, { memory: most, idleMs: idle * 60_000 });
  return { served: pool, names: [...sources.keys()], close: () => pool.close() };
}

/** Bytes of a model's files: about what it takes in memory. What isn't there is refused before anything is served. */
function bytesOf(path: string): number {
  const size = (file: string): number => statSync(file).size;
  try {
    if (!statSync(path).isDirectory()) return size(path);
    const files = readdirSync(path).filter((name) => /\.(?:gguf|safetensors)$/.test(name));
    return files.reduce((sum, name) => sum + size(join(path, name)), 0);
  } catch (error) {
    throw ioError(`read ${path}`, error);
  }
}

/** What a container allows, if it is less than the machine has. */
function machineMemory(): number {
  const limit = process.constrainedMemory();
  return limit > 0 && limit < totalmem() ? limit : totalmem();
}

function note(text: string): Promise<void> {
  return write(`${printable(text)}\n`, process.stderr);
}

/** A request that the model can answer. @param only it, if it is loaded */
function example(url: string, model: string, only: Model | undefined, hasKey: boolean): string {
  const [path, body] = only?.config.innerNorms
    ? ["embeddings", { model, input: "The dog ran." }]
    : !only || only.chatTemplate
      ? ["chat/completions", { model, messages: [{ role: "user", content: "Tell me a story." }] }]
      : ["completions", { model, prompt: "Once upon a time" }];
  const key = hasKey ? ' -H "authorization: Bearer $BITNET_API_KEY"' : "";
  return `curl ${url}/v1/${path}${key} -H "content-type: application/json" -d '${JSON.stringify(body).replaceAll("'", "\\u0027")}'`;
}
