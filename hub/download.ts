/**
 * Downloads one file into the store: in parts, several at once, each from where it was left; hashed as they come together. Where a server gives no
 * ranges, in one go. Whatever goes wrong ends in another try or in one sentence.
 */
import type { Hash } from "node:crypto";
import { BitnetError } from "../engine/errors.js";
import { type Answer, Fault, get, networkError, pause, persist, type Session } from "./client.js";
import { Partial, TakenOver } from "./partial.js";
import { inOneLine } from "./paths.js";
import type { RemoteFile } from "./repository.js";
import { blobPath, hasBlob, MAX_FILE_BYTES } from "./store.js";

/** Parts that are downloaded at once. */
const CONNECTIONS = 4;
/** Times that a file may begin anew because it has changed on the server, or because an earlier run left wrong bytes. */
const MAX_RESTARTS = 2;
/** How often a process that waits for another one looks, ms. */
const WATCH_MS = 250;
/** Bytes that are hashed at once. */
const PIECE_BYTES = 2 ** 20;

/** A file whose size is known. */
export interface SizedFile extends RemoteFile {
  readonly size: number;
  /** What the server called it when its size was asked for; null: nothing, or nothing that can be relied on. */
  readonly etag: string | null;
}

/** What was made of it. */
export interface Blob {
  readonly sha256: string;
  readonly etag: string | null;
}

/** Where a download is. */
export interface Watcher {
  /** Bytes that are there. */
  done(bytes: number): void;
  /** So many more came over the network. */
  received(bytes: number): void;
  /** Another process is at this file. */
  waiting(): void;
}

/** The file is no longer the one that was begun. */
class Changed extends Error {
  override readonly name = "Changed";
}

/** The server sends all of a file where a part was asked for, or parts could not be trusted to belong together. */
class NoRanges extends Error {
  override readonly name = "NoRanges";
}

/**
 * Asks a server for what is not known of a file: its size, and if it is a hub's its hash.
 * @throws BitnetError usage, network
 */
export async function sizeOf(session: Session, file: RemoteFile, what: string): Promise<SizedFile> {
  if (file.size !== undefined && (isPinned(file) || !file.ofHub)) return { ...file, size: file.size, etag: null };
  return persist(session, async () => {
    const answer = await get(session, file.url, what, { range: "bytes=0-0" });
    answer.close();
    const length = file.size ?? (answer.status === 206 ? rangeOf(answer)?.total : headerNumber(answer, "content-length"));
    if (length === undefined) throw networkError(`${what}: ${hostOf(file)} does not say how long the file is, so it can't be pulled`);
    if (length > MAX_FILE_BYTES) throw networkError(`${what}: the file has ${length} bytes, but at most ${MAX_FILE_BYTES} are supported`);
    const etag = strongTag(answer);
    const sized = { ...file, size: length, etag };
    if (isPinned(file) || !file.ofHub) return sized;
    // Of a file that it sends itself, the hub's tag is Git's hash.
    const pinned = {
      ...sized,
      sha256: answer.linked,
      gitSha1: answer.linked === undefined ? /^"([\da-f]{40})"$/.exec(etag ?? "")?.[1] : undefined,
    };
    if (!isPinned(pinned)) throw networkError(`${what}: ${hostOf(file)} does not say which hash the file has, so it can't be verified`);
    return pinned;
  });
}

/**
 * Makes a file a blob of the store, unless it is one.
 * @param key names its partial: by its content, or by its URL
 * @param owner the model's name, for lists of unfinished downloads
 * @throws BitnetError usage, network, io; file: its bytes are not those that the hub promises
 */
export async function download(
  cache: string,
  key: string,
  owner: string,
  sized: SizedFile,
  session: Session,
  watcher: Watcher,
): Promise<Blob> {
  let file = sized;
  const what = `${inOneLine(owner)}: ${inOneLine(file.path)}`;
  for (let restarts = 0, waits = 0; ; ) {
    if (file.sha256 !== undefined && (await hasBlob(cache, file.sha256, file.size))) {
      watcher.done(file.size);
      return { sha256: file.sha256, etag: file.etag };
    }
    const partial = await Partial.take(cache, key, { name: owner, file: file.path, size: file.size, part_bytes: session.pace.partBytes });
    if (!partial) {
      if (waits++ === 0) watcher.waiting();
      await pause(WATCH_MS, session.signal);
      continue;
    }
    if (!isPinned(file) && (file.etag === null || partial.etag !== file.etag)) partial.reset(file.etag);
    const inherited = partial.done > 0;
    let isOver = false;
    try {
      const hashes = await fill(partial, file, session, watcher, what);
      const fault = wrongHash(file, hashes);
      if (fault === undefined) {
        await partial.finish(blobPath(cache, hashes.sha256));
        isOver = true;
        return { sha256: hashes.sha256, etag: partial.etag };
      }
      await partial.discard();
      isOver = true;
      // Bytes that a run left which ended with the power are not always those it wrote.
      if (!inherited || restarts++ >= MAX_RESTARTS) {
        throw new BitnetError(
          "file",
          `${what}: the bytes from ${hostOf(file)} are not those of the file: ${fault}; a server or a proxy on the way damages them, so nothing was stored`,
        );
      }
    } catch (error) {
      if (error instanceof Changed) {
        if (restarts++ >= MAX_RESTARTS)
          throw networkError(`${what}: the file changes on ${hostOf(file)} while it is downloaded; try again later`);
        partial.reset(null);
        if (!isPinned(file)) file = await sizeOf(session, { ...file, size: undefined }, what);
      } else if (!(error instanceof TakenOver)) throw error;
    } finally {
      if (!isOver) await partial.release();
    }
  }
}

/** Whether its hash is known, so that wrong bytes are found. Of any other file, bytes of two answers fit together only if its tag says so. */
function isPinned(file: RemoteFile): boolean {
  return file.sha256 !== undefined || file.gitSha1 !== undefined;
}

/** What is wrong with the hashes of a file; undefined: nothing, or nothing is known. */
export function wrongHash(file: RemoteFile, { sha256, gitSha1 }: Hashes): string | undefined {
  if (file.sha256 !== undefined && file.sha256 !== sha256) return `SHA-256 ${sha256} instead of ${file.sha256}`;
  if (file.gitSha1 !== undefined && file.gitSha1 !== gitSha1) return `Git's hash ${gitSha1} instead of ${file.gitSha1}`;
  return undefined;
}

/** Gets all that is missing. @returns the hashes of the whole */
async function fill(partial: Partial, file: SizedFile, session: Session, watcher: Watcher, what: string): Promise<Hashes> {
  const abort = new AbortController();
  const listener = (): void => abort.abort(session.signal?.reason);
  session.signal?.addEventListener("abort", listener);
  if (session.signal?.aborted) listener();
  const own: Session = { ...session, signal: abort.signal };
  const transfer = new Transfer(partial, file, own, watcher, what);
  try {
    return await transfer.run();
  } catch (error) {
    abort.abort(error);
    await transfer.settled();
    throw error;
  } finally {
    session.signal?.removeEventListener("abort", listener);
  }
}

/** One run over the parts of a file. */
class Transfer {
  readonly #partial: Partial;
  readonly #file: SizedFile;
  readonly #session: Session;
  readonly #watcher: Watcher;
  readonly #what: string;
  readonly #queue: number[];
  readonly #workers: Promise<void>[] = [];
  /** Rejects with the first error of a worker. */
  readonly #failed: Promise<never>;
  #fail: (error: unknown) => void = () => {};
  #hasher: Hasher;

  constructor(partial: Partial, file: SizedFile, session: Session, watcher: Watcher, what: string) {
    [this.#partial, this.#file, this.#session, this.#watcher, this.#what] = [partial, file, session, watcher, what];
    this.#queue = partial.reached.flatMap((bytes, part) => (bytes < partial.length(part) ? [part] : []));
    this.#hasher = new Hasher(partial);
    this.#failed = new Promise((_, reject) => {
      this.#fail = reject;
    });
    this.#failed.catch(() => {}); // looked at while the workers run
    watcher.done(partial.done);
  }

  async run(): Promise<Hashes> {
    this.#hasher.follow();
    try {
      if (!isPinned(this.#file) && this.#partial.etag === null) throw new NoRanges();
      // The first answer tells whether there are ranges, and which state of the file this is; only then do the others begin.
      const others = (): void => {
        while (this.#workers.length < CONNECTIONS && this.#queue.length > 0) this.#start(() => {});
      };
      await Promise.race([this.#failed, this.#start(others)]);
      await Promise.race([this.#failed, Promise.all(this.#workers)]);
    } catch (error) {
      if (!(error instanceof NoRanges)) throw error;
      await this.settled();
      this.#partial.reset(this.#partial.etag);
      this.#hasher = new Hasher(this.#partial);
      await persist(this.#session, () => this.#whole());
    }
    return this.#hasher.end();
  }

  /** Starts a worker; its error ends the run. */
  #start(opened: () => void): Promise<void> {
    const worker = this.#work(opened);
    worker.catch((error: unknown) => this.#fail(error));
    this.#workers.push(worker);
    return worker;
  }

  /** Waits until nothing writes any more. */
  async settled(): Promise<void> {
    await Promise.allSettled([...this.#workers, this.#hasher.settled()]);
  }

  /** Gets parts as long as there are any. @param opened called when a part's answer has begun */
  async #work(opened: () => void): Promise<void> {
    for (let part = this.#queue.shift(); part !== undefined; part = this.#queue.shift()) {
      const one = part;
      let before = this.#partial.reached[one]!;
      await persist(
        this.#session,
        () => this.#part(one, opened),
        () => {
          const now = this.#partial.reached[one]!;
          const gained = now - before >= this.#session.pace.gainBytes;
          if (gained) before = now;
          return gained;
        },
      );
      this.#hasher.follow();
    }
  }

  /** Gets what is missing of a part, or some of it. @throws Fault, Changed, NoRanges */
  async #part(part: number, opened: () => void): Promise<void> {
    const { size } = this.#file;
    const start = this.#partial.begin(part) + this.#partial.reached[part]!;
    const end = this.#partial.begin(part) + this.#partial.length(part);
    const all = start === 0 && end === size;
    const tag = this.#partial.etag;
    const range = { range: `bytes=${start}-${end - 1}`, ...(tag !== null && { "if-range": tag }) };
    const answer = await this.#get(all ? {} : range);
    try {
      if (answer.status === 200 && !all) {
        const now = strongTag(answer);
        throw tag !== null && now !== null && now !== tag ? new Changed() : new NoRanges();
      }
      this.#check(answer, start, end);
      opened();
      for await (const piece of answer.pieces()) {
        if (this.#partial.begin(part) + this.#partial.reached[part]! + piece.length > end)
          throw new Fault(`${this.#what}: ${hostOf(this.#file)} sends more bytes than it says`);
        await this.#partial.append(part, piece);
        this.#watcher.received(piece.length);
        this.#watcher.done(this.#partial.done);
      }
      if (this.#partial.begin(part) + this.#partial.reached[part]! < end) throw this.#ended();
    } finally {
      answer.close();
    }
  }

  /** Gets all of the file in one go. @throws Fault, Changed */
  async #whole(): Promise<void> {
    const { size } = this.#file;
    this.#partial.reset(this.#partial.etag);
    const answer = await this.#get({});
    try {
      this.#check(answer, 0, size);
      for await (const piece of answer.pieces()) {
        if (this.#partial.done + piece.length > size) throw new Fault(`${this.#what}: ${hostOf(this.#file)} sends more bytes than it says`);
        for (let rest = piece; rest.length > 0; ) {
          const part = Math.floor(this.#partial.done / this.#session.pace.partBytes);
          const fits = rest.subarray(0, this.#partial.length(part) - this.#partial.reached[part]!);
          await this.#partial.append(part, fits);
          rest = rest.subarray(fits.length);
        }
        this.#watcher.received(piece.length);
        this.#watcher.done(this.#partial.done);
      }
      if (this.#partial.done < size) throw this.#ended();
    } finally {
      answer.close();
    }
  }

  async #get(headers: Readonly<Record<string, string>>): Promise<Answer> {
    return get(this.#session, this.#file.url, this.#what, headers).catch((error: unknown) => {
      // A range that the file does not have: it is shorter now.
      throw error instanceof BitnetError && / \(HTTP 416\)$/.test(error.message) ? new Changed() : error;
    });
  }

  #ended(): Fault {
    return new Fault(`${this.#what}: the connection to ${hostOf(this.#file)} ended early`);
  }

  /** Whether an answer is what was asked for: bytes [start, end) of this very file. */
  #check(answer: Answer, start: number, end: number): void {
    const tag = strongTag(answer);
    if (this.#partial.etag !== null && tag !== null && tag !== this.#partial.etag) throw new Changed();
    const { size } = this.#file;
    if (answer.status === 206) {
      const range = rangeOf(answer);
      if (!range || range.first !== start || range.last >= end)
        throw new Fault(`${this.#what}: ${hostOf(this.#file)} sends other bytes than those asked for`);
      if (range.total !== undefined && range.total !== size) throw this.#otherSize(range.total);
    } else {
      const length = headerNumber(answer, "content-length");
      if (length !== undefined && length !== size) throw this.#otherSize(length);
    }
    if (this.#partial.etag === null) this.#partial.etag = tag;
  }

  #otherSize(length: number): Error {
    if (!isPinned(this.#file)) return new Changed();
    return new Fault(
      `${this.#what}: ${hostOf(this.#file)} sends a file of ${length} bytes, but the hub says that it has ${this.#file.size}`,
    );
  }
}

export interface Hashes {
  readonly sha256: string;
  readonly gitSha1: string;
}

interface OpenHashes {
  readonly sha256: Hash;
  readonly sha1: Hash;
}

async function openHashes(size: number): Promise<OpenHashes> {
  const { createHash } = await import("node:crypto");
  return { sha256: createHash("sha256"), sha1: createHash("sha1").update(`blob ${size}\0`) };
}

function digest({ sha256, sha1 }: OpenHashes): Hashes {
  return { sha256: sha256.digest("hex"), gitSha1: sha1.digest("hex") };
}

/** The hashes of what is in memory. */
export async function hashesOf(bytes: Uint8Array): Promise<Hashes> {
  const { sha256, sha1 } = await openHashes(bytes.length);
  return digest({ sha256: sha256.update(bytes), sha1: sha1.update(bytes) });
}

/** Hashes a file as it grows together, from the disk: what is hashed is what is stored, whichever run wrote it. */
class Hasher {
  readonly #partial: Partial;
  readonly #ready: Promise<OpenHashes>;
  #work: Promise<void> = Promise.resolve();
  #at = 0;

  constructor(partial: Partial) {
    this.#partial = partial;
    this.#ready = openHashes(partial.size);
  }

  /** Hashes what has become whole since. */
  follow(): void {
    this.#work = this.#work.then(() => this.#advance());
    this.#work.catch(() => {}); // `end` throws it
  }

  async settled(): Promise<void> {
    await this.#work.catch(() => {}); // `end` throws it
  }

  async end(): Promise<Hashes> {
    this.follow();
    await this.#work;
    return digest(await this.#ready);
  }

  async #advance(): Promise<void> {
    const { sha256, sha1 } = await this.#ready;
    const piece = new Uint8Array(PIECE_BYTES);
    for (let left = this.#partial.front - this.#at; left > 0; left = this.#partial.front - this.#at) {
      const got = await this.#partial.read(this.#at, piece.subarray(0, Math.min(left, PIECE_BYTES)));
      if (got === 0) return; // shorter than it should be: its hash will say so
      sha256.update(piece.subarray(0, got));
      sha1.update(piece.subarray(0, got));
      this.#at += got;
    }
  }
}

/** What tells this state of the file from every other one; null: nothing does. A weak one (`W/"…"`) allows other bytes. */
function strongTag(answer: Answer): string | null {
  const tag = answer.headers.get("etag");
  return tag !== null && /^"[\x21\x23-\x7e]{1,200}"$/.test(tag) ? tag : null;
}

/** `Content-Range: bytes 0-99/1000`; a total of `*` is not known. */
function rangeOf(answer: Answer): { readonly first: number; readonly last: number; readonly total: number | undefined } | undefined {
  const { first, last, total } =
    /^bytes (?<first>\d{1,15})-(?<last>\d{1,15})\/(?<total>\d{1,15}|\*)$/.exec(answer.headers.get("content-range") ?? "")?.groups ?? {};
  if (first === undefined) return undefined;
  return { first: Number(first), last: Number(last), total: total === "*" ? undefined : Number(total) };
}

function headerNumber(answer: Answer, name: string): number | undefined {
  const text = answer.headers.get(name);
  return text !== null && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}

function hostOf(file: RemoteFile): string {
  return new URL(file.url).host;
}
