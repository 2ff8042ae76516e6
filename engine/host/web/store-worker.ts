/** The program of a worker that downloads one file into the storage of the page's origin. */
import { startSha256 } from "./digest.js";
import { type Entry, folder, nameOf, readEntry, writeEntry } from "./store-folder.js";
import { scope, syncAccess } from "./worker-scope.js";

/** What it is told. */
export interface Order {
  readonly url: string;
}

/** What it tells. */
export type Report =
  | { readonly kind: "progress"; readonly done: number; readonly total: number | undefined }
  | { readonly kind: "whole"; readonly entry: Entry }
  | {
      readonly kind: "failed";
      /** @param again it may go better the next time */
      readonly error: { readonly why: string; readonly status?: number; readonly again: boolean };
    };

/** Progress is told at most this often, ms. */
const PROGRESS_INTERVAL = 50;
/** How much of what is here already is in memory while it is hashed. */
const PIECE_BYTES = 2 ** 20;
/** Room that is left for everything else that the page stores. */
const SPARE_BYTES = 2 ** 20;

const tell = (report: Report): void => scope.postMessage(report);

class Failure extends Error {
  readonly status: number | undefined;
  readonly again: boolean;
  constructor(why: string, again: boolean, status?: number) {
    super(why);
    this.again = again;
    this.status = status;
  }
}

scope.onmessage = async ({ data: { url } }: MessageEvent<Order>) => {
  try {
    tell({ kind: "whole", entry: await downloadFile(url) });
  } catch (error) {
    if (error instanceof Failure) {
      const { message, again, status } = error;
      tell({ kind: "failed", error: { why: message, again, ...(status !== undefined && { status }) } });
      return;
    }
    const { name, message } = error as Error;
    const full = name === "QuotaExceededError";
    const why = full ? "the storage that the browser gives this page is full; remove other downloads" : message;
    tell({ kind: "failed", error: { why, again: false } });
  }
};

async function downloadFile(url: string): Promise<Entry> {
  const directory = await folder();
  if (directory === undefined) throw new Failure("the browser gives the page no storage", false);
  const known = await readEntry(directory, url);
  const file = await directory.getFileHandle(nameOf(url), { create: true });
  const access = await syncAccess(file, "readwrite");
  try {
    // What can't be told from another state of the file is no beginning of it.
    let done = known?.tag === undefined ? 0 : access.getSize();
    let response = await get(url, done);
    if (done > 0 && !goesOn(response, known!, done)) {
      await response.body?.cancel();
      done = 0;
      response = await get(url, 0);
    }
    if (!response.ok)
      throw new Failure(`the server answers ${response.status}`, response.status >= 500 || response.status === 429, response.status);
    // The browser itself unpacks a compressed body: its length is not the file's.
    const length = response.headers.has("content-encoding") ? null : response.headers.get("content-length");
    const size = length === null ? undefined : done + Number(length);
    const tag = tagOf(response);
    access.truncate(done);
    await writeEntry(directory, { url, size, tag, sha256: undefined });
    await requireRoom(size, done);
    const hash = startSha256();
    const piece = new Uint8Array(PIECE_BYTES);
    for (let at = 0; at < done; ) {
      const got = access.read(piece.subarray(0, Math.min(PIECE_BYTES, done - at)), { at });
      hash.update(piece.subarray(0, got));
      at += got;
    }
    let told = 0;
    try {
      for await (const bytes of chunks(response)) {
        for (let written = 0; written < bytes.length; ) written += access.write(bytes.subarray(written), { at: done + written });
        hash.update(bytes);
        done += bytes.length;
        if (performance.now() - told < PROGRESS_INTERVAL) continue;
        told = performance.now();
        tell({ kind: "progress", done, total: size });
      }
    } finally {
      access.flush();
      tell({ kind: "progress", done, total: size }); // what an attempt got decides whether there is another
    }
    if (size !== undefined && done !== size) throw new Failure(`the connection ended after ${done} of ${size} bytes`, true);
    const entry = { url, size: done, tag, sha256: hash.hex() };
    await writeEntry(directory, entry);
    return { ...entry, done };
  } finally {
    access.close();
  }
}

async function get(url: string, from: number): Promise<Response> {
  try {
    // Only a plain range is asked for: with another header a server of another origin would have to be asked first whether it may be sent.
    return await fetch(url, { cache: "no-store", ...(from > 0 && { headers: { Range: `bytes=${from}-` } }) });
  } catch (cause) {
    throw new Failure((cause as Error).message, true);
  }
}

/** What tells states of a file apart; undefined where the server says nothing, or lets a page of another origin see nothing. */
function tagOf(response: Response): string | undefined {
  return response.headers.get("etag") ?? response.headers.get("last-modified") ?? undefined;
}

/** Whether this is the rest of the file that began so. */
function goesOn(response: Response, { tag, size }: Entry, done: number): boolean {
  const rest = Number(response.headers.get("content-length") ?? NaN);
  const range = response.headers.get("content-range");
  const begins = range === null || range.startsWith(`bytes ${done}-`);
  return response.status === 206 && tagOf(response) === tag && begins && (size === undefined || done + rest === size);
}

async function requireRoom(size: number | undefined, done: number): Promise<void> {
  const { quota, usage } = await navigator.storage.estimate();
  if (size === undefined || quota === undefined || usage === undefined) return;
  const [needed, left] = [size - done, quota - usage - SPARE_BYTES];
  if (needed <= left) return;
  const mib = (bytes: number): number => Math.max(0, Math.floor(bytes / 2 ** 20));
  throw new Failure(
    `it needs ${mib(needed)} MiB more, and the browser gives this page only ${mib(left)} MiB; remove other downloads, or free space on the disk`,
    false,
  );
}

async function* chunks(response: Response): AsyncGenerator<Uint8Array> {
  const reader = response.body!.getReader();
  for (;;) {
    const { value, done } = await reader.read().catch((cause: unknown) => {
      throw new Failure(`the connection was interrupted: ${(cause as Error).message}`, true);
    });
    if (done) return;
    yield value;
  }
}
