import { createHash, timingSafeEqual } from "node:crypto";
import { ApiError } from "./errors.js";

/** Who may ask. */
export interface AccessOptions {
  /** Asked for as `Authorization: Bearer …` everywhere but at `/`, `/health` and in preflights. Default: none is asked for. */
  readonly apiKey?: string;
  /** The origin whose pages may read answers, or "*" for all. Default: none but the server's own. */
  readonly cors?: string;
  /**
   * Refuse requests whose `Host` is not a name of this machine for itself. A page of another site can make its own name lead here, and would then
   * count as the same origin. Default false.
   */
  readonly loopbackOnly?: boolean;
}

const hash = (text: string): Buffer => createHash("sha256").update(text).digest();

/** @throws ApiError 401. The time that it takes tells nothing about the key. */
export function checkKey(request: Request, apiKey: string | undefined): void {
  if (apiKey === undefined) return;
  const [, given = ""] = /^Bearer +(.*)$/i.exec(request.headers.get("authorization") ?? "") ?? [];
  if (timingSafeEqual(hash(given), hash(apiKey))) return;
  throw new ApiError(401, "a valid API key is required: send it as Authorization: Bearer …", {
    type: "authentication_error",
    code: "invalid_api_key",
    headers: { "www-authenticate": "Bearer" },
  });
}

const LOOPBACK = /^(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])$/;

/** Whether only this machine reaches a server that listens there. */
export function isLoopback(host: string): boolean {
  return LOOPBACK.test(host) || host === "::1";
}

/** @throws ApiError 403 */
export function checkHost(request: Request, loopbackOnly: boolean): void {
  const { hostname } = new URL(request.url);
  if (!loopbackOnly || LOOPBACK.test(hostname)) return;
  throw new ApiError(403, `this server answers only as localhost, not as ${hostname.slice(0, 100)}: call it so, or give it an API key`, {
    code: "wrong_host",
  });
}

/** What is told to a browser about pages of other origins; nothing, where none may read. */
export function corsHeaders(request: Request, cors: string | undefined): Readonly<Record<string, string>> {
  if (cors === undefined) return {};
  const origin = request.headers.get("origin");
  if (cors !== "*" && cors !== origin) return { vary: "origin" };
  return {
    vary: "origin",
    "access-control-allow-origin": cors,
    "access-control-expose-headers": "x-request-id, retry-after",
  };
}

/** A browser's question whether a page may send a request. */
export function preflight(request: Request): Response {
  const asked = request.headers.get("access-control-request-headers") ?? "";
  const headers = {
    "access-control-allow-methods": "GET, POST",
    "access-control-max-age": "600",
    ...(/^[\w\-, ]{1,1000}$/.test(asked) && { "access-control-allow-headers": asked }), // the official client has a dozen of its own
  };
  return new Response(null, { status: 204, headers });
}
