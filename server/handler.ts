import { randomUUID } from "node:crypto";
import { BitnetError } from "../engine/errors.js";
import { type GenerationResult, NUMERICS_VERSION } from "../engine/index.js";
import { type AccessOptions, checkHost, checkKey, corsHeaders, preflight } from "./access.js";
import { type Asked, type Heading, streamedAnswer, wholeAnswer } from "./answers.js";
import { type JsonObject, readBody } from "./body.js";
import { readChat } from "./chat.js";
import { readCompletion } from "./completions.js";
import { embeddings } from "./embeddings.js";
import { ApiError, toApiError } from "./errors.js";
import { Metrics } from "./metrics.js";
import { listModels, type Models, oneModel } from "./models.js";
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
  /** Hears of failures that are the server's own fault. */
  readonly onError?: (error: unknown, requestId: string) => void;
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
export function createHandler(models: Models, options: HandlerOptions = {}): Handler {
  return new Server(models, options).handle;
}

class Server {
  readonly #models: Models;
  readonly #options: HandlerOptions;
  readonly #metrics = new Metrics();
  /** Seconds since 1970. */
  readonly #created = Math.floor(Date.now() / 1000);
  /** What ends each stream that is open. */
  readonly #streams = new Set<AbortController>();
  /** A model can't answer any more. */
  #broken = false;

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
    const routes = this.#routes(pathname);
    let response: Response;
    try {
      response = await this.#route(request, routes, id);
    } catch (error) {
      response = this.#failed(error, id, request);
    }
    this.#metrics.responded(routes?.name ?? "other", response.status);
    const headers = { ...COMMON_HEADERS, "x-request-id": id, ...corsHeaders(request, this.#options.cors) };
    for (const [name, value] of Object.entries(headers)) response.headers.set(name, value);
    return response;
  };

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
    if (cause instanceof BitnetError && (cause.code === "closed" || cause.code === "internal")) this.#broken = true;
    if (cause !== undefined) this.#options.onError?.(cause, id);
  }

  async #route(request: Request, route: Route | undefined, id: string): Promise<Response> {
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
    const response = await route.answer(request, id);
    return request.method === "HEAD" ? new Response(null, response) : response;
  }

  #routes(path: string): Route | undefined {
    const get = (name: string, answer: () => Response, open = false): Route => ({
      name,
      method: "GET",
      open,
      answer: async () => answer(),
    });
    const post = (name: string, answer: (request: Request, body: JsonObject, id: string) => Promise<Response>): Route => ({
      name,
      method: "POST",
      open: false,
      answer: async (request, id) => answer(request, await readBody(request, this.#options.maxBodyBytes ?? MAX_BODY_BYTES), id),
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
        return post(path, (request, body, id) => this.#answer(request, readChat(this.#models, body), id));
      case "/v1/responses":
        return post(path, (request, body, id) => this.#answer(request, readResponse(this.#models, body), id));
      case "/v1/completions":
        return post(path, (request, body, id) => this.#answer(request, readCompletion(this.#models, body), id));
      case "/v1/embeddings":
        return post(path, async (request, body) => {
          const work = this.#work(request);
          return json(await embeddings(this.#models, body, work.signal));
        });
      default: {
        const [, name] = /^\/v1\/models\/(.+)$/.exec(path) ?? [];
        return name === undefined ? undefined : get("/v1/models/{name}", () => json(oneModel(this.#models, decoded(name), this.#created)));
      }
    }
  }

  #health(): Response {
    const status = this.#options.stopping?.aborted ? "stopping" : this.#broken ? "failed" : "ok";
    return json({ status }, status === "ok" ? 200 : 503);
  }

  /** Ends the work on a request when its client goes. */
  #work(request: Request): AbortController {
    const work = new AbortController();
    request.signal.addEventListener("abort", () => work.abort(), { once: true });
    if (request.signal.aborted) work.abort();
    return work;
  }

  async #answer(request: Request, asked: Asked, id: string): Promise<Response> {
    const start = performance.now();
    const work = this.#work(request);
    const heading: Heading = {
      id: `${asked.form.prefix}${randomUUID().replaceAll("-", "")}`,
      created: Math.floor(Date.now() / 1000),
      model: asked.model,
      system_fingerprint: FINGERPRINT,
    };
    const answered = (results: readonly GenerationResult[]): void => {
      this.#metrics.answerSeconds.observe((performance.now() - start) / 1000);
      for (const { timings } of results) this.#metrics.firstTokenSeconds.observe(timings.firstTokenMs / 1000);
    };
    try {
      if (!asked.writing.stream) {
        const { body, results } = await wholeAnswer(asked, heading, work);
        answered(results);
        return json(body);
      }
      this.#streams.add(work);
      const stream = await streamedAnswer(asked, heading, work, (results, failure) => {
        this.#streams.delete(work);
        answered(results);
        if (failure) this.#note(failure, id);
      });
      return new Response(stream, { headers: { "content-type": "text/event-stream; charset=utf-8", "x-accel-buffering": "no" } });
    } catch (error) {
      this.#streams.delete(work);
      throw toApiError(error, asked.subject, asked.model);
    }
  }
}

/** What answers at an address. */
interface Route {
  /** For the metrics. */
  readonly name: string;
  readonly method: "GET" | "POST";
  /** No key is asked for. */
  readonly open: boolean;
  readonly answer: (request: Request, id: string) => Promise<Response>;
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
