import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { Readable } from "node:stream";
import type { ReadableStream as NodeReadableStream } from "node:stream/web";
import { ApiError } from "./errors.js";
import type { Handler } from "./handler.js";

/** Where Node's HTTP server listens. */
export interface ListenOptions {
  readonly host: string;
  /** 0: any that is free. */
  readonly port: number;
  /** Milliseconds after which a client that does not read its answer is cut off. Default 60000. */
  readonly stallMs?: number;
}

/** A server that listens. */
export interface Listening {
  /** `http://127.0.0.1:8080` */
  readonly url: string;
  /**
   * Accepts nothing more, and waits for the answers that are being written. After `graceMs`, streams that are still open and requests that are not
   * complete are cut off; answers that are not streamed are not.
   */
  close(graceMs: number): Promise<void>;
}

/** Clients that are connected at a time; more are turned away. */
const MOST_CONNECTIONS = 1024;
const STALL_MS = 60_000;
/** How often connections that may be closed are looked for while the server closes. */
const CLOSING_CHECK_MS = 50;

/** Times that a client has: for the headers, for the whole request, and between two requests. */
const TIMEOUTS = { headersTimeout: 10_000, requestTimeout: 60_000, keepAliveTimeout: 10_000, connectionsCheckingInterval: 5_000 } as const;

/** Serves a handler with `node:http`. Rejects with the system's error where it can't listen. */
export async function listen(handler: Handler, { host, port, stallMs = STALL_MS }: ListenOptions): Promise<Listening> {
  /** Responses that are not written to their end. */
  const open = new Set<ServerResponse>();
  const server = createServer(TIMEOUTS, (request, response) => {
    open.add(response);
    response.once("close", () => open.delete(response));
    // Nothing is left to tell where this fails: the connection is.
    answer(handler, request, response, stallMs).catch(() => response.destroy());
  });
  server.maxConnections = MOST_CONNECTIONS;
  const sockets = new Set<Socket>();
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      resolve();
    });
  });
  const { port: listening } = server.address() as AddressInfo;
  return {
    url: `http://${host.includes(":") ? `[${host}]` : host}:${listening}`,
    close: (graceMs) => close(server, sockets, open, graceMs),
  };
}

async function close(server: Server, sockets: ReadonlySet<Socket>, open: ReadonlySet<ServerResponse>, graceMs: number): Promise<void> {
  const cut = performance.now() + graceMs;
  // Node closes connections that are idle now, but not those that become so later, or that clients opened to have them ready. Nor has it an eye on
  // its times any more: a client that never finishes its request would keep the server for ever.
  const check = setInterval(() => {
    server.closeIdleConnections();
    const isCut = performance.now() >= cut;
    const owed = new Set([...open].filter(isOwed).map(({ req }) => req.socket));
    for (const socket of sockets) if (socket.bytesRead === 0 || (isCut && !owed.has(socket))) socket.destroy();
  }, CLOSING_CHECK_MS);
  await new Promise<void>((resolve) => server.close(() => resolve()));
  clearInterval(check);
}

/** Whether it answers a complete request, and is no stream. */
function isOwed(response: ServerResponse): boolean {
  return response.req.complete && (!response.headersSent || response.hasHeader("content-length"));
}

async function answer(handler: Handler, incoming: IncomingMessage, outgoing: ServerResponse, stallMs: number): Promise<void> {
  const gone = new AbortController();
  outgoing.once("close", () => {
    if (!outgoing.writableFinished) gone.abort();
  });
  const request = requestOf(incoming, gone.signal);
  if (!request) {
    const { status, body } = new ApiError(400, "the request's method, address or host is not valid");
    outgoing.writeHead(status, { "content-type": "application/json", connection: "close" }).end(JSON.stringify(body));
    return;
  }
  const response = await handler(request);
  if (outgoing.destroyed) {
    await response.body?.cancel();
    return;
  }
  outgoing.writeHead(response.status, Object.fromEntries(response.headers));
  // Its status is known long before the answer is.
  if (!response.headers.has("content-length")) outgoing.flushHeaders();
  await write(response, outgoing, stallMs);
}

/** undefined: it has a method or an address that no request can have. */
function requestOf(incoming: IncomingMessage, signal: AbortSignal): Request | undefined {
  const { method = "", url = "", headers, headersDistinct } = incoming;
  // Of several hosts, a proxy may have looked at another one than is looked at here.
  if (!url.startsWith("/") || (headersDistinct.host ?? []).length > 1) return undefined;
  const given = new Headers();
  try {
    for (const [name, value] of Object.entries(headers)) {
      for (const one of Array.isArray(value) ? value : [value ?? ""]) given.append(name, one);
    }
    const hasBody = method !== "GET" && method !== "HEAD";
    return new Request(new URL(`http://${headers.host ?? "localhost"}${url}`), {
      method,
      headers: given,
      signal,
      ...(hasBody && { body: Readable.toWeb(incoming) as NodeReadableStream as ReadableStream, duplex: "half" }),
    } as RequestInit);
  } catch {
    return undefined;
  }
}

/** Writes as fast as the client reads, and no faster: what it has not read is not taken from the response. */
async function write({ body }: Response, outgoing: ServerResponse, stallMs: number): Promise<void> {
  const reader = body?.getReader();
  outgoing.once("close", () => void reader?.cancel().catch(() => {})); // nobody is left to tell
  while (reader) {
    const { done, value } = await reader.read();
    if (done || outgoing.destroyed) break;
    if (!outgoing.write(value)) await drained(outgoing, stallMs);
  }
  outgoing.end();
}

async function drained(outgoing: ServerResponse, stallMs: number): Promise<void> {
  const stalled = setTimeout(() => outgoing.destroy(), stallMs);
  await new Promise<void>((resolve) => {
    const go = (): void => {
      outgoing.off("drain", go).off("close", go);
      resolve();
    };
    outgoing.once("drain", go).once("close", go);
    if (outgoing.destroyed) go();
  });
  clearTimeout(stalled);
}
