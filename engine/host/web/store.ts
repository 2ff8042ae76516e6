/** Files of the web that were downloaded into the storage of the page's origin (OPFS): they are there the next time, without a network too. */
import { BitnetError } from "../../errors.js";
import {
  CALLBACK,
  checkArgument,
  type Given,
  LIVE_SIGNAL,
  type Rules,
  readOptions,
  type Signal,
  TEXT,
  throwIfAborted,
} from "../../options.js";
import { type Entry, entriesOf, folder, nameOf, readEntry, removeEntry } from "./store-folder.js";
import type { Order, Report } from "./store-worker.js";

/** A file that was downloaded, or a part of it. */
export interface Download {
  readonly url: string;
  /** Bytes of the whole file; undefined: the server didn't say. */
  readonly size: number | undefined;
  /** Bytes that are here. */
  readonly done: number;
  /** SHA-256 of the file in hex, once all of it is here. */
  readonly sha256: string | undefined;
}

export interface DownloadOptions {
  /** SHA-256 of the file in hex: any other file is refused and removed. */
  readonly sha256?: string;
  /** Bytes that are here, and in total if the server says so. */
  readonly onProgress?: (progress: { readonly done: number; readonly total: number | undefined }) => void;
  /** Aborts the download; what is here stays, and the next call goes on from it. */
  readonly signal?: Signal;
}

const OPTIONS: Rules<DownloadOptions> = {
  sha256: { wanted: "64 hex digits", holds: (value) => typeof value === "string" && /^[0-9a-f]{64}$/i.test(value) },
  onProgress: CALLBACK,
  signal: LIVE_SIGNAL,
};

/** Attempts that got nothing, one after the other, until a download ends; the pauses between them double. */
const MOST_ATTEMPTS = 5;
const FIRST_PAUSE_MS = 500;

const absolute = (url: string): string => new URL(url, globalThis.location?.href).href;

/**
 * Downloads a file into the storage of the page's origin, unless it is there. An interrupted download goes on where it ended, if the server still has
 * the same file. `loadModel(url)` does this by itself; call it first to show progress.
 * @throws BitnetError io: the server or the storage refuses, or the connection fails again and again; file: another SHA-256 than was asked for; usage;
 *   the signal's reason
 */
export async function download(url: string, given?: Given<DownloadOptions>): Promise<Download> {
  checkArgument("url", url, TEXT);
  const options = readOptions<DownloadOptions>("download()", given, OPTIONS);
  const directory = await folder();
  if (directory === undefined)
    throw new BitnetError(
      "unsupported",
      "this browser gives the page no storage of its own (OPFS): load the model from a File, or from the URL each time",
    );
  return downloadInto(directory, absolute(url), options);
}

/** All that was downloaded, whole or in part. */
export async function listDownloads(): Promise<Download[]> {
  const directory = await folder();
  return directory === undefined ? [] : entriesOf(directory);
}

/** Removes a download. @returns whether there was one @throws BitnetError io: it is in use */
export async function removeDownload(url: string): Promise<boolean> {
  checkArgument("url", url, TEXT);
  const directory = await folder();
  return directory !== undefined && (await removeEntry(directory, absolute(url)));
}

/** The file at a URL: from the storage, into which it is downloaded first; without a storage, in memory. @throws BitnetError io */
export async function storedFile(url: string): Promise<FileSystemFileHandle | Blob> {
  const directory = await folder();
  if (directory === undefined) return fetchBlob(url);
  await downloadInto(directory, url, {});
  return directory.getFileHandle(nameOf(url));
}

async function fetchBlob(url: string): Promise<Blob> {
  try {
    const response = await fetch(url);
    if (response.ok) return await response.blob();
    throw refusal(url, response.status);
  } catch (cause) {
    throw cause instanceof BitnetError ? cause : unreachable(url, (cause as Error).message, cause);
  }
}

function refusal(url: string, status: number): BitnetError {
  const missing = status === 404 || status === 410;
  return new BitnetError(
    missing ? "usage" : "io",
    `${url}: ${missing ? "there is no such file on the server" : `the server answers ${status}`}`,
    { file: url },
  );
}

const unreachable = (url: string, why: string, cause?: unknown): BitnetError =>
  new BitnetError(
    "io",
    `${url} can't be downloaded: ${why}; check the address and the connection, and that the server lets this page read it (CORS)`,
    { file: url },
    { cause },
  );

/** One page at a time downloads a file; the others wait, and find it. */
async function downloadInto(directory: FileSystemDirectoryHandle, url: string, options: DownloadOptions): Promise<Download> {
  const whole = (entry: Entry | undefined): entry is Entry => entry?.sha256 !== undefined && entry.done === entry.size;
  const there = await readEntry(directory, url);
  if (whole(there)) return checked(directory, there, options);
  const locked = async (): Promise<Entry> => {
    const entry = await readEntry(directory, url);
    return whole(entry) ? entry : attempts(url, options);
  };
  const entry = await (navigator.locks ? navigator.locks.request(`bitnet-ts ${url}`, locked) : locked());
  return checked(directory, entry, options);
}

async function checked(
  directory: FileSystemDirectoryHandle,
  { url, size, done, sha256 }: Entry,
  options: DownloadOptions,
): Promise<Download> {
  if (options.sha256 !== undefined && options.sha256.toLowerCase() !== sha256) {
    await removeEntry(directory, url);
    throw new BitnetError("file", `${url} has the SHA-256 ${sha256}, not ${options.sha256}: it is another file, and was removed`, {
      file: url,
    });
  }
  return { url, size, done, sha256 };
}

async function attempts(url: string, options: DownloadOptions): Promise<Entry> {
  // So that the browser removes nothing when the disk is full. Not awaited: Firefox asks the user.
  navigator.storage.persist?.().catch(() => false);
  let last = -1;
  for (let attempt = 1, pause = FIRST_PAUSE_MS; ; attempt++, pause *= 2) {
    throwIfAborted(options.signal);
    const { entry, error, done } = await attemptOnce(url, options);
    if (entry) return entry;
    throwIfAborted(options.signal);
    if (done > last) [last, attempt, pause] = [done, 1, FIRST_PAUSE_MS];
    if (!error!.again || attempt >= MOST_ATTEMPTS) throw asError(url, error!);
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

function asError(url: string, { why, status, again }: NonNullable<Extract<Report, { kind: "failed" }>["error"]>): BitnetError {
  if (status !== undefined) return refusal(url, status);
  return again ? unreachable(url, why) : new BitnetError("io", `${url} can't be stored: ${why}`, { file: url });
}

interface Attempt {
  readonly entry?: Entry;
  readonly error?: Extract<Report, { kind: "failed" }>["error"];
  readonly done: number;
}

/** A worker of its own: only there files can be written in place. Ending it ends the download wherever it is. */
function attemptOnce(url: string, { signal, onProgress }: DownloadOptions): Promise<Attempt> {
  const worker = new Worker(new URL("./store-worker.js", import.meta.url), { type: "module", name: "bitnet download" });
  let done = 0;
  return new Promise<Attempt>((resolve, reject) => {
    signal?.addEventListener("abort", () => resolve({ done }));
    worker.onerror = (event) => {
      event.preventDefault();
      resolve({ done, error: { why: event.message ?? "the worker that downloads can't be loaded", again: false } });
    };
    worker.onmessage = ({ data }: MessageEvent<Report>) => {
      if (data.kind === "failed") return resolve({ done, error: data.error });
      if (data.kind === "whole") return resolve({ done, entry: data.entry });
      ({ done } = data);
      try {
        onProgress?.({ done, total: data.total });
      } catch (error) {
        reject(error);
      }
    };
    worker.postMessage({ url } satisfies Order);
  }).finally(() => worker.terminate());
}
