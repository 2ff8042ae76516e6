import { ApiError } from "./errors.js";
import type { Lease, ModelState, Models, ServedModel } from "./models.js";

/** A model that was loaded for a pool. */
export interface PooledModel {
  readonly model: ServedModel & { close(): Promise<void> };
  /** Memory that it takes. */
  readonly bytes: number;
}

/** Where a model comes from. */
export interface ModelSource {
  /** Memory that it will take, as far as is known. */
  readonly bytes: number;
  load(): Promise<PooledModel>;
}

/** What a pool may take up. */
export interface PoolLimits {
  /** Bytes of memory of all loaded models together. */
  readonly memory: number;
  /** Milliseconds after which a model that nobody uses is unloaded. */
  readonly idleMs: number;
  /** Milliseconds for which a request waits until models that are in use make room; default 60000. */
  readonly waitMs?: number;
}

/** A client that waits longer has usually gone. */
const WAIT_MS = 60_000;
/** Seconds after which a refused client may try again. */
const RETRY_SECONDS = 10;

interface Entry {
  readonly name: string;
  readonly source: ModelSource;
  /** As soon as it is to be loaded. */
  ready: Promise<PooledModel> | undefined;
  loaded: PooledModel | undefined;
  bytes: number;
  /** Requests that use it or wait for it. */
  users: number;
  /** When it was used last, on a counter. */
  used: number;
  idle: NodeJS.Timeout | undefined;
  loads: number;
}

/**
 * Models that are loaded when they are asked for, one after another, within a memory budget. Where there is no room, the one that was not used
 * for longest is unloaded; models in use are not. Who needs room that others use waits for it, and then has the next turn: requests for other
 * models wait behind it, so that a model that is always busy can't keep out the others.
 */
export class ModelPool implements Models {
  readonly failed = false;
  readonly #entries: ReadonlyMap<string, Entry>;
  readonly #limits: Required<PoolLimits>;
  #clock = 0;
  /** The last load to come. */
  #queue: Promise<unknown> = Promise.resolve();
  /** While a load waits for room. */
  #turn: Promise<unknown> | undefined;
  /** Called when a model is no longer in use. */
  #onRelease: (() => void) | undefined;
  #closed = false;

  constructor(sources: ReadonlyMap<string, ModelSource>, limits: PoolLimits) {
    this.#limits = { waitMs: WAIT_MS, ...limits };
    const entryOf = (name: string, source: ModelSource): Entry => ({
      ...{ name, source, ready: undefined, loaded: undefined, bytes: source.bytes },
      ...{ users: 0, used: 0, idle: undefined, loads: 0 },
    });
    this.#entries = new Map([...sources].map(([name, source]) => [name, entryOf(name, source)]));
  }

  states(): readonly ModelState[] {
    return [...this.#entries.values()].map(({ name, loaded, loads }) => ({ name, model: loaded?.model, loads }));
  }

  async use(name: string, signal: AbortSignal): Promise<Lease> {
    const entry = this.#entries.get(name)!;
    while (this.#turn) await within(this.#turn, signal);
    signal.throwIfAborted();
    entry.users++;
    clearTimeout(entry.idle);
    let released = false;
    const release = (failed: boolean): void => {
      if (released) return;
      released = true;
      this.#release(entry, failed);
    };
    try {
      entry.ready ??= this.#load(entry);
      const { model } = await within(entry.ready, signal);
      return { model, release };
    } catch (error) {
      release(false);
      throw error;
    }
  }

  /** Unloads all models: answers that are not finished fail. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#onRelease?.();
    await this.#queue;
    await Promise.all([...this.#entries.values()].map((entry) => this.#unload(entry)));
  }

  #release(entry: Entry, failed: boolean): void {
    entry.users--;
    entry.used = ++this.#clock;
    if (failed) void this.#unload(entry);
    if (entry.users === 0) this.#rest(entry);
  }

  /** A model that nobody uses may be unloaded. */
  #rest(entry: Entry): void {
    clearTimeout(entry.idle);
    if (entry.loaded) entry.idle = setTimeout(() => void this.#unload(entry), this.#limits.idleMs).unref();
    this.#onRelease?.();
  }

  /** Loads come one after another. */
  #load(entry: Entry): Promise<PooledModel> {
    const loading = this.#queue.then(async () => {
      await this.#makeRoom(entry.bytes, entry);
      const loaded = await entry.source.load();
      entry.bytes = loaded.bytes; // now it is known
      entry.loads++;
      try {
        await this.#makeRoom(entry.bytes, entry);
      } catch (error) {
        await loaded.model.close();
        throw error;
      }
      entry.loaded = loaded;
      if (entry.users === 0) this.#rest(entry); // those who asked have gone
      return loaded;
    });
    const failed = (): void => {
      entry.ready = undefined;
    };
    this.#queue = loading.catch(failed);
    return loading;
  }

  /** Unloads others until these bytes fit. @throws ApiError they can't */
  async #makeRoom(bytes: number, entry: Entry): Promise<void> {
    const { memory, waitMs } = this.#limits;
    if (bytes > memory) {
      throw new ApiError(503, `${entry.name} needs ${inMiB(bytes)} of memory, more than the ${inMiB(memory)} that models may take`, {
        code: "no_memory",
      });
    }
    const until = performance.now() + waitMs;
    let turn: (() => void) | undefined;
    try {
      for (;;) {
        if (this.#closed) throw new ApiError(503, "the server is stopping", { code: "stopping" });
        const loaded = [...this.#entries.values()].filter((one) => one.loaded !== undefined);
        if (loaded.reduce((sum, one) => sum + one.bytes, bytes) <= memory) return;
        const [oldest] = loaded.filter((one) => one.users === 0).sort((a, b) => a.used - b.used);
        if (oldest) {
          await this.#unload(oldest);
          continue;
        }
        const left = until - performance.now();
        if (left <= 0) {
          const headers = { "retry-after": String(RETRY_SECONDS) };
          throw new ApiError(503, "other models use the memory: try again later", { code: "busy", headers });
        }
        this.#turn ??= new Promise<void>((resolve) => {
          turn = resolve;
        });
        await this.#released(left);
      }
    } finally {
      this.#turn = undefined;
      turn?.();
    }
  }

  /** Waits until some model is no longer in use. */
  async #released(milliseconds: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#onRelease = resolve;
      timer = setTimeout(resolve, milliseconds);
    });
    clearTimeout(timer);
    this.#onRelease = undefined;
  }

  async #unload(entry: Entry): Promise<void> {
    const { loaded } = entry;
    if (!loaded) return;
    clearTimeout(entry.idle);
    entry.loaded = undefined;
    entry.ready = undefined;
    await loaded.model.close();
  }
}

const inMiB = (bytes: number): string => `${Math.ceil(bytes / 2 ** 20)} MiB`;

/** What a promise gives, or the signal's reason if that is first. */
async function within<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  let abort!: () => void;
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
