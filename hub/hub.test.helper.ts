import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PACE } from "./client.js";
import { type PullOptions, pullWith, type Surroundings } from "./pull.js";
import type { StoredModel } from "./store.js";

export const COMMIT = "0123456789abcdef0123456789abcdef01234567";
export const REPOSITORY = "owner/name";

export function sha256(data: Uint8Array | string): string {
  return createHash("sha256").update(data).digest("hex");
}

export function gitSha1(data: Uint8Array): string {
  return createHash("sha1").update(`blob ${data.length}\0`).update(data).digest("hex");
}

/** A request as a server saw it. */
export interface Seen {
  readonly server: "hub" | "files";
  readonly path: string;
  readonly range: string | undefined;
  readonly authorization: string | undefined;
}

/** Answers in the place of the server; false, with nothing sent: the server shall. */
export type Trick = (request: IncomingMessage, response: ServerResponse, seen: Seen) => unknown;

/** A hub of our own, and the other server to which it sends who wants a large file. Both obey `trick` first. */
export class TestHub {
  readonly files = new Map<string, Buffer>();
  readonly seen: Seen[] = [];
  commit = COMMIT;
  trick: Trick = () => false;
  #servers: readonly Server[] = [];

  static async start(): Promise<TestHub> {
    const hub = new TestHub();
    const listen = (server: Server): Promise<Server> => new Promise((done) => server.listen(0, "127.0.0.1", () => done(server)));
    hub.#servers = await Promise.all([
      listen(createServer((request, response) => hub.#serve("hub", request, response))),
      listen(createServer((request, response) => hub.#serve("files", request, response))),
    ]);
    return hub;
  }

  async stop(): Promise<void> {
    for (const server of this.#servers) {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    }
  }

  /** As before the first test. */
  reset(): void {
    this.files.clear();
    this.seen.length = 0;
    this.commit = COMMIT;
    this.trick = () => false;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.#servers[0]!.address() as AddressInfo).port}`;
  }

  /** The other server: its files have their names as paths. */
  get elsewhere(): string {
    return `http://127.0.0.1:${(this.#servers[1]!.address() as AddressInfo).port}`;
  }

  #serve(server: Seen["server"], request: IncomingMessage, response: ServerResponse): void {
    const path = decodeURIComponent(new URL(request.url!, "http://x").pathname);
    const seen = { server, path, range: request.headers.range, authorization: request.headers.authorization };
    this.seen.push(seen);
    response.on("error", () => {}); // the other side may leave
    if (this.trick(request, response, seen) !== false || response.headersSent) return;
    if (server === "files") this.#send(path.slice(1), request, response, (data) => `"${sha256(data)}"`);
    else if (path.startsWith(`/api/models/${REPOSITORY}/revision/`)) this.#list(response);
    else {
      const file = path.split("/").slice(5).join("/");
      const data = this.files.get(file);
      if (!path.startsWith(`/${REPOSITORY}/resolve/${this.commit}/`) || !data) refuse(response, 404, { "x-error-code": "EntryNotFound" });
      else if (isLarge(file)) {
        const headers = { location: `${this.elsewhere}/${file}?signature=abc`, "x-linked-etag": `"${sha256(data)}"` };
        response.writeHead(302, headers).end();
      } else this.#send(file, request, response, (bytes) => `"${gitSha1(bytes)}"`);
    }
  }

  #list(response: ServerResponse): void {
    const siblings = [...this.files].map(([rfilename, data]) => ({
      ...{ rfilename, size: data.length, blobId: gitSha1(data) },
      ...(isLarge(rfilename) && { lfs: { sha256: sha256(data), size: data.length, pointerSize: 134 } }),
    }));
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ sha: this.commit, siblings }));
  }

  #send(file: string, request: IncomingMessage, response: ServerResponse, tag: (data: Buffer) => string): void {
    const data = this.files.get(file);
    if (data) sendFile(request, response, data, tag(data));
    else refuse(response, 404, {});
  }
}

const isLarge = (file: string): boolean => /\.(?:gguf|safetensors)$/.test(file);

export function refuse(response: ServerResponse, status: number, headers: Readonly<Record<string, string>>): void {
  response.writeHead(status, headers).end("no");
}

/** Sends a piece again and again, as long as anybody listens. */
export function endless(response: ServerResponse, piece: Uint8Array | string): void {
  if (response.destroyed || response.socket === null || response.socket.destroyed) return;
  // Not at once: nothing else would have a turn.
  response.write(piece, () => setImmediate(() => endless(response, piece)));
}

/** A file as a good server sends it: ranges, and `If-Range`. */
export function sendFile(request: IncomingMessage, response: ServerResponse, data: Buffer, tag: string): void {
  const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "") ?? [];
  const fits = request.headers["if-range"] === undefined || request.headers["if-range"] === tag;
  if (first === undefined || !fits) {
    response.writeHead(200, { "content-length": data.length, etag: tag, "accept-ranges": "bytes" }).end(data);
    return;
  }
  const start = Number(first);
  const end = Math.min(last ? Number(last) + 1 : data.length, data.length);
  if (start >= data.length) {
    refuse(response, 416, { "content-range": `bytes */${data.length}` });
    return;
  }
  const headers = { "content-length": end - start, etag: tag, "content-range": `bytes ${start}-${end - 1}/${data.length}` };
  response.writeHead(206, headers).end(data.subarray(start, end));
}

/** Parts of 64 KiB, and short waits. */
export const SMALL: Surroundings = {
  pace: { ...PACE, tries: 4, pauseMs: 2, longestPauseMs: 3000, partBytes: 2 ** 16, gainBytes: 2 ** 13, leastBytes: 1024 },
  freeBytes: async () => 2 ** 40,
};

/** The same without patience for a connection that stalls. */
export const IMPATIENT: Surroundings = { ...SMALL, pace: { ...SMALL.pace, stallMs: 300 } };

/** A file of random bytes that says it is a GGUF. */
export function someModel(bytes: number): Buffer {
  return Buffer.concat([Buffer.from("GGUF"), randomBytes(bytes - 4)]);
}

/** A folder for a store, and what is to be done with it in the end. */
export function temporaryStore(): { readonly cache: string; remove(): void } {
  const cache = mkdtempSync(join(tmpdir(), "bitnet-hub-"));
  return { cache, remove: () => rmSync(cache, { recursive: true, force: true }) };
}

/** Pulls from a hub of our own into a store of our own. */
export function pullFrom(hub: TestHub, cache: string, name: string, more: PullOptions = {}, surroundings = SMALL): Promise<StoredModel> {
  return pullWith(surroundings, name, { cache, endpoint: hub.endpoint, token: "hf_secret", ...more });
}
