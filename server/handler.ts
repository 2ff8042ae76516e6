import { randomUUID } from "node:crypto";
import { BitnetError } from "../engine/errors.js";
import { type GenerationResult, NUMERICS_VERSION, type StopReason } from "../engine/index.js";
import { type AccessOptions, checkHost, checkKey, corsHeaders, preflight } from "./access.js";
import { type Asked, type Heading, streamedAnswer, usageOf, wholeAnswer } from "./answers.js";
import { type JsonObject, readBody } from "./body.js";
import { readChat } from "./chat.js";
import { readCompletion } from "./completions.js";
import { embeddings } from "./embeddings.js";
import { ApiError, toApiError } from "./errors.js";
import { Metrics } from "./metrics.js";
import { LoadedModels, listModels, type Models, modelName, oneModel, type ServedModel } from "./models.js";
import { page, pagePolicy } from "./page.js";
import { readResponse } from "./responses.js";

/** How requests are answered. */
export interface HandlerOptions extends AccessOptions {
  /** Bytes that a request's body may have; default 8 MiB, which is more than any context holds. */
  readonly maxBodyBytes?: number;
  /**
   * Aborted when the server is to stop: new requests are refused with 503, answers that are not streamed are finished, and streams end with a
   * finish reason within `streamGraceMs`.
   */
  readonly stopping?: AbortSignal;
  /** Default 5000. */
  readonly streamGraceMs?: number;
  /** Hears of each request when it has been answered: a stream, when it has ended. */
  readonly onRequest?: (request: RequestLog) => void;
  /** Hears of failures that are the server's own fault. */
  readonly onError?: (error: unknown, requestId: string) => void;
}

/** What is known of a request that has been answered; nothing of what was said. */
export interface RequestLog {
  readonly id: string;
  readonly method: string;
  /** The address, or "other" where there is none. */
  readonly path: string;
  readonly status: number;
  /** From the request to the end of its answer. */
  readonly ms: number;
  readonly model?: string;
  readonly promptTokens?: number;
  readonly cachedTokens?: number;
  readonly completionTokens?: number;
  /** Why each answer ended. */
  readonly stopReasons?: readonly StopReason[];
}

export type Handler = (request: Request) => Promise<Response>;

const MAX_BODY_BYTES = 8 * 2 ** 20;
const STREAM_GRACE_MS = 5_000;

/** Of responses that answer no client: it has gone. */
const CLIENT_GONE = 499;

/** Answers are the same wherever these are: see docs/numerics.md. */
const FINGERPRINT = `fp_bitnet_ts_numerics_${NUMERICS_VERSION}`;

/** The same for every response. Nothing that is said here is for a cache, or is anything but what its type says. */
const COMMON_HEADERS = { "cache-control": "no-store", "x-content-type-options": "nosniff" } as const;

/**
 * OpenAI's API for these models, as one function from a request to a response, for any framework that has the two.
 *
 * `GET /v1/models`, `/v1/models/{name}`; `POST /v1/chat/completions`, `/v1/responses`, `/v1/completions`, `/v1/embeddings`; `GET /health`,
 * `/metrics`; a page to chat at `/`. A request whose signal is aborted, and a stream that is cancelled, end the work. It never rejects.
 */
export function createHandler(models: Models | ReadonlyMap<string, ServedModel>, options: HandlerOptions = {}): Handler {
  return new Server("use" in models ? models : new LoadedModels(models), options).handle;
}

class Server {
  readonly #models: Models;
  readonly #options: HandlerOptions;
  readonly #metrics = new Metrics();
  /** Seconds since 1970. */
  readonly #created = Math.floor(Date.now() / 1000);
  /** What ends each stream that is open. */
  readonly #streams = new Set<AbortController>();

  constructor(models: Models, options: HandlerOptions) {
    this.#models = models;
    this.#options = options;
    const { stopping, streamGraceMs = STREAM_GRACE_MS } = options;
    const stop = (): void => {
      setTimeout(() => {
        for (const stream of this.#streams) stream.abort();
      }, streamGraceMs).unref();
    };
    stopping?.addEventListener("abort", stop, { once: true });
    if (stopping?.aborted) stop();
  }

  readonly handle: Handler = async (request) => {
    const id = requestId(request);
    const { pathname } = new URL(request.url);
    const route = this.#routes(pathname);
    const seen: Seen = { id, start: performance.now(), path: route?.name ?? "other", streams: false, facts: {} };
    let response: Response;
    try {
      response = await this.#route(request, route, seen);
    } catch (error) {
      response = this.#failed(error, id, request);
    }
    this.#metrics.responded(seen.path, response.status);
    if (!seen.streams) this.#tell(request, seen, response.status);
    const headers = { ...COMMON_HEADERS, "x-request-id": id, ...corsHeaders(request, this.#options.cors) };
    for (const [name, value] of Object.entries(headers)) response.headers.set(name, value);
    return response;
  };

  #tell({ method }: Request, { id, path, start, facts }: Seen, status: number): void {
    this.#options.onRequest?.({ id, method, path, status, ms: Math.round(performance.now() - start), ...facts });
  }

  #failed(error: unknown, id: string, request: Request): Response {
    const failure = toApiError(error);
    this.#note(failure, id);
    if (request.signal.aborted) return new Response(null, { status: CLIENT_GONE });
    return json(failure.body, failure.status, failure.details.headers);
  }

  /** What is the server's own fault is told to who runs it. */
  #note(failure: ApiError, id: string): void {
    if (failure.status < 500) return;
    const { cause } = failure;
    if (cause !== undefined) this.#options.onError?.(cause, id);
  }

  async #route(request: Request, route: Route | undefined, seen: Seen): Promise<Response> {
    const { apiKey, cors, loopbackOnly = false, stopping } = this.#options;
    checkHost(request, loopbackOnly && apiKey === undefined);
    if (request.method === "OPTIONS" && cors !== undefined && request.headers.has("access-control-request-method"))
      return preflight(request);
    if (!route) throw new ApiError(404, "there is nothing at this address", { code: "not_found" });
    const method = request.method === "HEAD" ? "GET" : request.method;
    if (method !== route.method) {
      throw new ApiError(405, `this address takes ${route.method}, not ${request.method}`, { headers: { allow: route.method } });
    }
    if (!route.open) checkKey(request, apiKey);
    if (route.method === "POST" && stopping?.aborted) {
      throw new ApiError(503, "the server is stopping", { code: "stopping", headers: { connection: "close", "retry-after": "5" } });
    }
    const response = await route.answer(request, seen);
    return request.method === "HEAD" ? new Response(null, response) : response;
  }

  #routes(path: string): Route | undefined {
    const get = (name: string, answer: () => Response, open = false): Route => ({
      name,
      method: "GET",
      open,
      answer: async () => answer(),
    });
    const post = (name: string, answer: (request: Request, body: JsonObject, seen: Seen) => Promise<Response>): Route => ({
      name,
      method: "POST",
      open: false,
      answer: async (request, seen) => answer(request, await readBody(request, this.#options.maxBodyBytes ?? MAX_BODY_BYTES), seen),
    });
    switch (path) {
      case "/":
        return get(path, () => new Response(page, { headers: { "content-type": "text/html; charset=utf-8", ...pagePolicy } }), true);
      case "/health":
        return get(path, () => this.#health(), true);
      case "/metrics":
        return get(path, () => {
          return new Response(this.#metrics.write(this.#models), {
            headers: { "content-type": "text/plain; version=0.0.4; charset=utf-8" },
          });
        });
      case "/v1/models":
        return get(path, () => json(listModels(this.#models, this.#created)));
      case "/v1/chat/completions":
        return post(path, (request, body, seen) => this.#answer(request, readChat, body, seen));
      case "/v1/responses":
        return post(path, (request, body, seen) => this.#answer(request, readResponse, body, seen));
      case "/v1/completions":
        return post(path, (request, body, seen) => this.#answer(request, readCompletion, body, seen));
      case "/v1/embeddings":
        return post(path, (request, body, seen) => this.#embed(request, body, seen));
      default: {
        const [, name] = /^\/v1\/models\/(.+)$/.exec(path) ?? [];
        return name === undefined ? undefined : get("/v1/models/{name}", () => json(oneModel(this.#models, decoded(name), this.#created)));
      }
    }
  }

  #health(): Response {
    const status = this.#options.stopping?.aborted ? "stopping" : this.#models.failed ? "failed" : "ok";
    return json({ status }, status === "ok" ? 200 : 503);
  }

  /** Ends the work on a request when its client goes. */
  #work(request: Request): AbortController {
    const work = new AbortController();
    request.signal.addEventListener("abort", () => work.abort(), { once: true });
    if (request.signal.aborted) work.abort();
    return work;
  }

  async #embed(request: Request, body: JsonObject, seen: Seen): Promise<Response> {
    const { signal } = this.#work(request);
    const name = modelName(this.#models, body);
    seen.facts = { model: name };
    const { model, release } = await this.#models.use(name, signal);
    let failure: unknown;
    try {
      return json(await embeddings(name, model, body, signal));
    } catch (error) {
      failure = error;
      throw error;
    } finally {
      release(isBroken(failure));
    }
  }

  async #answer(
    request: Request,
    read: (name: string, model: ServedModel, body: JsonObject) => Asked,
    body: JsonObject,
    seen: Seen,
  ): Promise<Response> {
    const work = this.#work(request);
    const name = modelName(this.#models, body);
    seen.facts = { model: name };
    const { model, release } = await this.#models.use(name, work.signal);
    const answered = (results: readonly GenerationResult[], n: number): void => {
      this.#metrics.answerSeconds.observe((performance.now() - seen.start) / 1000);
      for (const { timings } of results) this.#metrics.firstTokenSeconds.observe(timings.firstTokenMs / 1000);
      const { prompt, cached, completion } = usageOf(results, n);
      const stopReasons = results.map(({ stopReason }) => stopReason);
      seen.facts = { model: name, promptTokens: prompt, cachedTokens: cached, completionTokens: completion, stopReasons };
    };
    let subject: string | undefined;
    try {
      const asked = read(name, model, body);
      subject = asked.subject;
      const heading: Heading = {
        id: `${asked.form.prefix}${randomUUID().replaceAll("-", "")}`,
        created: Math.floor(Date.now() / 1000),
        model: name,
        system_fingerprint: FINGERPRINT,
      };
      if (!asked.writing.stream) {
        const { body, results } = await wholeAnswer(asked, heading, work);
        release(false);
        answered(results, asked.writing.n);
        return json(body);
      }
      this.#streams.add(work);
      const stream = await streamedAnswer(asked, heading, work, (results, failure) => {
        this.#streams.delete(work);
        release(isBroken(failure));
        answered(results, asked.writing.n);
        if (failure) this.#note(failure, seen.id);
        this.#tell(request, seen, failure ? failure.status : 200);
      });
      seen.streams = true;
      return new Response(stream, { headers: { "content-type": "text/event-stream; charset=utf-8", "x-accel-buffering": "no" } });
    } catch (error) {
      this.#streams.delete(work);
      release(isBroken(error));
      throw toApiError(error, subject, name);
    }
  }
}

/** Whether the model that failed so can't answer any more. */
function isBroken(failure: unknown): boolean {
  const cause = failure instanceof ApiError ? failure.cause : failure;
  return cause instanceof BitnetError && (cause.code === "closed" || cause.code === "internal");
}

/** A request that is being answered. */
interface Seen {
  readonly id: string;
  /** On the clock of `performance`. */
  readonly start: number;
  readonly path: string;
  /** Its answer is a stream, which ends later. */
  streams: boolean;
  /** What there is to tell of its answer. */
  facts: Omit<RequestLog, "id" | "method" | "path" | "status" | "ms">;
}

/** What answers at an address. */
interface Route {
  /** For the metrics. */
  readonly name: string;
  readonly method: "GET" | "POST";
  /** No key is asked for. */
  readonly open: boolean;
  readonly answer: (request: Request, seen: Seen) => Promise<Response>;
}

function json(value: object, status = 200, headers: Readonly<Record<string, string>> = {}): Response {
  const body = Buffer.from(JSON.stringify(value));
  return new Response(body, { status, headers: { "content-type": "application/json", "content-length": String(body.length), ...headers } });
}

/** The client's own id of its request, where it can be put into a header or a log as it is; otherwise a new one. */
function requestId(request: Request): string {
  const given = request.headers.get("x-request-id") ?? "";
  return /^[\w.:-]{1,128}$/.test(given) ? given : `req_${randomUUID().replaceAll("-", "")}`;
}

/** A part of an address; as it is, where it is badly encoded: there is no such model. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
