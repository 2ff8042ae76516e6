import { BitnetError } from "../engine/errors.js";

/** What OpenAI's errors say beside their message. */
export interface ErrorDetails {
  /** Default: "invalid_request_error" below status 500, otherwise "server_error". */
  readonly type?: string;
  /** The field of the request that is wrong. */
  readonly param?: string;
  readonly code?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A request that is not answered as asked: an HTTP status, and a body in the form of OpenAI's API. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly details: ErrorDetails = {},
    options?: ErrorOptions,
  ) {
    super(message, options);
  }

  /** `{ error: { message, type, param, code } }` */
  get body(): object {
    const { type = this.status < 500 ? "invalid_request_error" : "server_error", param = null, code = null } = this.details;
    return { error: { message: this.message, type, param, code } };
  }
}

/** Seconds after which a client may try again, where too much is waiting. A queue moves with every answer, so they are few. */
const RETRY_SECONDS = 2;

/** A mistake in a field of the request. */
export function badField(param: string, wanted: string): ApiError {
  return new ApiError(400, `${param} must be ${wanted}`, { param, code: "invalid_value" });
}

/**
 * What a client is told of anything that was thrown. The engine's `usage` errors are about `subject`, the field that holds the texts: all others
 * were checked before. Its `tokenizer` errors are about the model's chat template. Paths of this machine stay here: a model is called by its
 * name. What else fails is the server's own fault, and said without details.
 */
export function toApiError(error: unknown, subject?: string, model = "the model"): ApiError {
  if (error instanceof ApiError) return error;
  const cause = { cause: error };
  if (!(error instanceof BitnetError)) return new ApiError(500, "the server failed to answer this request", {}, cause);
  const message = error.file === undefined ? error.message : error.message.replaceAll(error.file, model);
  switch (error.code) {
    case "usage": {
      const code = message.includes("the context") ? "context_length_exceeded" : "invalid_value";
      return new ApiError(400, message, { ...(subject !== undefined && { param: subject }), code }, cause);
    }
    case "tokenizer":
      return new ApiError(400, message, { code: "unsupported", ...(subject !== undefined && { param: subject }) }, cause);
    case "busy": {
      const headers = { "retry-after": String(RETRY_SECONDS) };
      return new ApiError(
        429,
        "too many requests are waiting: try again later",
        { type: "rate_limit_error", code: "busy", headers },
        cause,
      );
    }
    case "closed":
      return new ApiError(503, "the server is stopping", { code: "stopping" }, cause);
    default:
      return new ApiError(500, "the server failed to answer this request", {}, cause);
  }
}
