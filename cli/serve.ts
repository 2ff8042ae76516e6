import { basename, dirname, resolve } from "node:path";
import type { Model } from "../engine/index.js";
import { ioError, printable } from "./failure.js";
import { type ModelFlags, openModel } from "./model.js";
import { style, write } from "./terminal.js";
import { readEnvironment } from "./values.js";

export interface ServeFlags extends ModelFlags {
  readonly host: string;
  readonly port: number;
  readonly apiKey?: string;
  readonly cors?: string;
  readonly parallel?: number;
  readonly maxWaiting: number;
  readonly cacheTokens?: number;
}

/** Milliseconds that streams may go on after SIGTERM; a supervisor such as Docker waits ten seconds before it kills. */
const STREAM_GRACE_MS = 5_000;
/** Milliseconds that a client then has to read the end of its stream. */
const LAST_WORDS_MS = 2_000;
const SIGNALS = { SIGINT: 2, SIGTERM: 15 } as const;

/** `bitnet serve`: OpenAI's API for a model, until SIGTERM or Ctrl-C. A second one ends the process at once. */
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
  const limits = {
    maxWaiting: flags.maxWaiting,
    ...(flags.parallel !== undefined && { maxRunning: flags.parallel }),
    ...(flags.cacheTokens !== undefined && { cacheTokens: flags.cacheTokens }),
  };
  const opening = openModel(flags, readEnvironment(process.env), { ...limits, signal: stopping.signal });
  const model = await opening.catch((error: unknown) => {
    if (!stopping.signal.aborted) throw error;
    return undefined; // stopped before it served anything
  });
  if (!model) return;
  try {
    const { createHandler, isLoopback, listen } = await import("../server/index.js");
    const name =
      flags.model === undefined ? basename(dirname(model.path)) : basename(resolve(flags.model)).replace(/\.(?:gguf|safetensors)$/, "");
    const handler = createHandler(new Map([[name, model]]), {
      ...(apiKey !== undefined && { apiKey }),
      ...(flags.cors !== undefined && { cors: flags.cors }),
      loopbackOnly: isLoopback(flags.host),
      stopping: stopping.signal,
      streamGraceMs: STREAM_GRACE_MS,
      onError: (error, id) => void note(`request ${id} failed: ${error instanceof Error ? error.message : String(error)}`),
    });
    const listening = await listen(handler, flags).catch((error: unknown) => {
      throw ioError(`listen on ${flags.host}:${flags.port}`, error);
    });
    await note(`serving ${name} at ${listening.url}; Ctrl-C stops it`);
    await note(`try it: ${example(listening.url, name, model, apiKey !== undefined)}`);
    if (!isLoopback(flags.host) && apiKey === undefined) {
      await note(style("bold", "anyone who reaches this port can use the model: give it a key with --api-key", process.stderr));
    }
    await stopped;
    await listening.close(STREAM_GRACE_MS + LAST_WORDS_MS);
  } finally {
    await model.close();
  }
}

function note(text: string): Promise<void> {
  return write(`${printable(text)}\n`, process.stderr);
}

/** A request that this model can answer. */
function example(url: string, model: string, { config, chatTemplate }: Model, hasKey: boolean): string {
  const [path, body] = config.innerNorms
    ? ["embeddings", { model, input: "The dog ran." }]
    : chatTemplate
      ? ["chat/completions", { model, messages: [{ role: "user", content: "Tell me a story." }] }]
      : ["completions", { model, prompt: "Once upon a time" }];
  const key = hasKey ? ' -H "authorization: Bearer $BITNET_API_KEY"' : "";
  return `curl ${url}/v1/${path}${key} -H "content-type: application/json" -d '${JSON.stringify(body).replaceAll("'", "\\u0027")}'`;
}
