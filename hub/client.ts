/** Requests to servers that may do anything: redirects by hand, time limits, tries, and what an answer means in one sentence. */
import { BitnetError } from "../engine/errors.js";
import { reasonOf, type Signal } from "../engine/options.js";
import { inOneLine } from "./paths.js";

/** Waits, tries and sizes; tests make them smaller. */
export interface Pace {
  /** Tries in a row that bring nothing. */
  readonly tries: number;
  /** Wait before the second try, ms; doubled before each further one. */
  readonly pauseMs: number;
  /** Longest wait that a server may ask for, ms. */
  readonly longestPauseMs: number;
  /** A connection that brings less than `leastBytes` in this time, ms, is given up. */
  readonly stallMs: number;
  readonly leastBytes: number;
  /** A file is downloaded in parts of so many bytes. */
  readonly partBytes: number;
  /** So many bytes make a try count as one that brought something. */
  readonly gainBytes: number;
}

export const PACE: Pace = {
  ...{ tries: 6, pauseMs: 500, longestPauseMs: 120_000, stallMs: 30_000, leastBytes: 8192 },
  ...{ partBytes: 16 * 2 ** 20, gainBytes: 2 ** 20 },
};

/** What all requests of a pull share. */
export interface Session {
  /** Address of the hub. */
  readonly endpoint: string;
  /** Sent to the hub's own address and nowhere else. */
  readonly token: string | undefined;
  readonly signal: Signal | undefined;
  readonly pace: Pace;
}

/** Most redirects that are followed. */
const MAX_HOPS = 10;

/** A failure that another try may mend. Its message is the beginning of a sentence. */
export class Fault extends Error {
  override readonly name = "Fault";
  /** @param waitMs how long the server asks to wait, ms */
  constructor(
    message: string,
    readonly waitMs?: number,
  ) {
    super(message);
  }
}

/** The failure of a server or of the network. */
export function networkError(message: string, cause?: unknown): BitnetError {
  return new BitnetError("network", message, {}, { cause });
}

/** An open answer. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  /** What the hub said before it sent us elsewhere: SHA-256 of the file, 64 hex digits; undefined: nothing. */
  readonly linked: string | undefined;
  /** Pieces of the body. @throws Fault: it broke off, or stalls */
  pieces(): AsyncGenerator<Uint8Array>;
  /** Ends the connection. */
  close(): void;
}

/**
 * Gets a URL. Answers but 200 and 206 are thrown, as a Fault or as a BitnetError.
 * @param what is asked for, for messages
 */
export async function get(session: Session, url: string, what: string, headers: Readonly<Record<string, string>> = {}): Promise<Answer> {
  const hub = new URL(session.endpoint);
  let at = new URL(url);
  let token = at.origin === hub.origin ? session.token : undefined;
  let linked: string | undefined;
  for (let hop = 0; hop <= MAX_HOPS; hop++) {
    const guard = new Guard(session);
    let response: Response;
    try {
      response = await fetch(at, {
        redirect: "manual",
        signal: guard.signal,
        headers: {
          "user-agent": "bitnet-ts",
          // Lengths and ranges are those of the file itself.
          "accept-encoding": "identity",
          ...headers,
          ...(token !== undefined && { authorization: `Bearer ${token}` }),
        },
      });
    } catch (error) {
      guard.end();
      throw guard.failure(error, `${what}: ${at.host}`);
    }
    const { status } = response;
    const location = response.headers.get("location");
    if (at.origin === hub.origin) linked ??= /^"?([\da-f]{64})"?$/.exec(response.headers.get("x-linked-etag") ?? "")?.[1];
    const opened = answer(response, guard, `${what}: ${at.host}`, linked);
    if (status >= 300 && status < 400 && location !== null) {
      opened.close();
      const next = URL.canParse(location, at) ? new URL(location, at) : undefined;
      if (!next || !/^https?:$/.test(next.protocol) || next.username !== "")
        throw networkError(`${what}: ${at.host} redirects to "${inOneLine(location)}", which can't be followed`);
      if (at.protocol === "https:" && next.protocol === "http:")
        throw networkError(`${what}: ${at.host} redirects from https to http, which is not followed`);
      // What signs an address elsewhere is in the address; who knows the token could read everything its owner can.
      if (next.origin !== at.origin) token = undefined;
      at = next;
      continue;
    }
    if (status === 200 || status === 206) {
      const encoding = response.headers.get("content-encoding");
      if (encoding === null || encoding === "identity") return opened;
      opened.close();
      throw new Fault(`${what}: ${at.host} sends it compressed, although that was not asked for`);
    }
    opened.close();
    throw refusal(session, response, at, new URL(url).origin === hub.origin, what);
  }
  throw networkError(`${what}: ${hub.origin === at.origin ? "the hub" : at.host} redirects more than ${MAX_HOPS} times`);
}

function answer(response: Response, guard: Guard, where: string, linked: string | undefined): Answer {
  const reader = response.body?.getReader();
  // Ends the connection, too, if the body has not been read to its end.
  const close = (): void => {
    guard.end();
    reader?.cancel().catch(() => {}); // whoever closes no longer cares
  };
  return {
    status: response.status,
    headers: response.headers,
    linked,
    async *pieces() {
      try {
        for (;;) {
          // fetch does not always wake up a reader when it is told to stop.
          const read = await Promise.race([reader?.read(), guard.stopped]);
          if (read === undefined || read.done) return;
          guard.got(read.value.length);
          yield read.value;
        }
      } catch (error) {
        throw guard.failure(error, where);
      } finally {
        close();
      }
    },
    close,
  };
}

/** Ends a request that stalls, or whose caller has given up. */
class Guard {
  readonly #abort = new AbortController();
  readonly #session: Session;
  readonly #timer: NodeJS.Timeout;
  readonly #listener = (): void => this.#abort.abort();
  /** Rejects when the request is to end. */
  readonly stopped: Promise<never>;
  #bytes = 0;
  #stalled = false;

  constructor(session: Session) {
    this.#session = session;
    const { signal, pace } = session;
    this.stopped = new Promise((_, reject) => this.#abort.signal.addEventListener("abort", () => reject(new Error("stopped"))));
    this.stopped.catch(() => {}); // looked at while a body is read
    signal?.addEventListener("abort", this.#listener);
    if (signal?.aborted) this.#abort.abort();
    this.#timer = setInterval(() => {
      if (this.#bytes < pace.leastBytes) {
        this.#stalled = true;
        this.#abort.abort();
      }
      this.#bytes = 0;
    }, pace.stallMs);
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  got(bytes: number): void {
    this.#bytes += bytes;
  }

  end(): void {
    clearInterval(this.#timer);
    this.#session.signal?.removeEventListener("abort", this.#listener);
    this.#abort.abort();
  }

  /** What an error of `fetch` means. @param where beginning of the sentence */
  failure(error: unknown, where: string): unknown {
    if (this.#session.signal?.aborted) return reasonOf(this.#session.signal);
    if (this.#stalled) return new Fault(`${where} sends next to nothing`);
    if (error instanceof BitnetError || error instanceof Fault) return error;
    const { cause } = Object(error) as { readonly cause?: unknown };
    const { code } = Object(cause) as { readonly code?: unknown };
    if (typeof code === "string" && CERTIFICATE.test(code))
      return networkError(`${where}: its certificate can't be trusted (${code})`, error);
    if (String((cause as Error | undefined)?.message) === "bad port")
      return networkError(`${where}: this port can't be used for the web`, error);
    const reason = typeof code === "string" ? (REASONS[code] ?? code) : "the connection broke off";
    return new Fault(`${where}: ${reason}`);
  }
}

const CERTIFICATE = /CERT|SELF_SIGNED|UNABLE_TO_VERIFY|ERR_TLS|ERR_SSL/;

/** Causes of a failed request, in words; others are shown by their code. */
const REASONS: Readonly<Record<string, string>> = {
  ENOTFOUND: "there is no such host, or no network",
  EAI_AGAIN: "its address can't be looked up; is there a network?",
  ECONNREFUSED: "the connection was refused",
  ECONNRESET: "the connection broke off",
  UND_ERR_SOCKET: "the connection broke off",
  UND_ERR_CONNECT_TIMEOUT: "it does not answer",
  UND_ERR_HEADERS_TIMEOUT: "it does not answer",
  ETIMEDOUT: "it does not answer",
  EHOSTUNREACH: "it can't be reached",
  ENETUNREACH: "there is no network",
};

/**
 * What an answer that is no success means. What the server says itself is not shown: it could be anything.
 * @param sent the hub has sent us there
 */
function refusal(session: Session, response: Response, at: URL, sent: boolean, what: string): Error {
  const { status, headers } = response;
  const isHub = at.origin === new URL(session.endpoint).origin;
  const host = at.host;
  if (status === 429 || status === 503) {
    const waitMs = askedToWait(headers);
    if (waitMs !== undefined && waitMs > session.pace.longestPauseMs) {
      return networkError(
        `${what}: ${host} asks to wait ${Math.ceil(waitMs / 1000)} seconds (HTTP ${status}); try again later${isHub && session.token === undefined ? ", or set HF_TOKEN" : ""}`,
      );
    }
    return new Fault(`${what}: ${host} has too much to do (HTTP ${status})`, waitMs);
  }
  if (status === 408 || status === 425 || status >= 500) return new Fault(`${what}: ${host} failed (HTTP ${status})`);
  const code = headers.get("x-error-code");
  if (code === "GatedRepo") {
    return networkError(
      `${what}: its publisher asks you to accept its terms: do so on the model's page, then set HF_TOKEN to a token of your account (HTTP ${status})`,
    );
  }
  if (code === "RevisionNotFound")
    return new BitnetError("usage", `${what}: the repository has no such revision; check what follows the @`);
  if (code === "EntryNotFound") return new BitnetError("usage", `${what}: the repository has no such file`);
  // The hub answers 401 for what does not exist, too: whether it does is not everybody's to know.
  if (isHub && status === 401 && session.token === undefined)
    return new BitnetError("usage", `${what}: there is no such model on ${host}, or it is private; check the name, or set HF_TOKEN`);
  if (isHub && (status === 401 || status === 403)) {
    return networkError(
      session.token === undefined
        ? `${what}: ${host} does not allow it (HTTP ${status}); set HF_TOKEN if you have access`
        : `${what}: ${host} does not allow it with this token (HTTP ${status}); check HF_TOKEN, and whether its owner has access`,
    );
  }
  if (status === 404 || status === 410)
    return new BitnetError("usage", `${what}: ${host} has nothing of this name (HTTP ${status}); check it`);
  // A signed address that has run out: the hub gives a new one.
  if (!isHub && sent && status === 403) return new Fault(`${what}: ${host} does not allow it (HTTP 403)`);
  return networkError(`${what}: ${host} ${status === 401 || status === 403 ? "does not allow it" : "does not send it"} (HTTP ${status})`);
}

/** Milliseconds that `Retry-After` (seconds or a date) or `RateLimit` asks to wait. */
export function askedToWait(headers: Headers, now = Date.now()): number | undefined {
  const after = headers.get("retry-after");
  if (after !== null && /^\d{1,9}$/.test(after)) return Number(after) * 1000;
  if (after !== null && !Number.isNaN(Date.parse(after))) return Math.max(0, Date.parse(after) - now);
  const reset = /;\s*t=(\d{1,9})/.exec(headers.get("ratelimit") ?? "")?.[1];
  return reset === undefined ? undefined : Number(reset) * 1000;
}

/**
 * Tries until it works. A try that brought something starts the count anew.
 * @param gained whether something has been gained since it was last asked
 * @throws BitnetError network: too many tries in a row brought nothing
 */
export async function persist<T>(session: Session, attempt: () => Promise<T>, gained: () => boolean = () => false): Promise<T> {
  const { tries, pauseMs, longestPauseMs } = session.pace;
  for (let failed = 1; ; failed++) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      if (gained()) failed = 1;
      if (failed >= tries) throw networkError(`${error.message}; ${tries} tries in a row failed: try again later`, error);
      await pause(Math.min(error.waitMs ?? pauseMs * 2 ** (failed - 1), longestPauseMs), session.signal);
    }
  }
}

/** Waits. @throws the signal's reason */
export async function pause(ms: number, signal: Signal | undefined): Promise<void> {
  let listener = (): void => {};
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, ms);
    listener = () => {
      clearTimeout(timer);
      resolve();
    };
    signal?.addEventListener("abort", listener);
    if (signal?.aborted) listener();
  });
  signal?.removeEventListener("abort", listener);
  if (signal?.aborted) throw reasonOf(signal);
}

/** All of a small body. @throws BitnetError network: it is over `maxBytes` */
export async function readBody(answer: Answer, maxBytes: number, what: string): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of answer.pieces()) {
    length += piece.length;
    if (length > maxBytes) throw networkError(`${what}: the answer has more than ${maxBytes} bytes, which is the limit`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}
