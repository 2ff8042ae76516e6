import { startTeam } from "#host/threads.js";
import { BitnetError } from "../errors.js";
import type { Team } from "../host/threads.js";
import { fromPlain, type Reply, type Request } from "./messages.js";

/**
 * The worker threads, seen from the main thread: requests go to the leader, which drives the others. The main thread holds neither the
 * module nor the memory, so ending the workers frees both at once. Any error ends the pool: threads that wait for a lost one can't go on.
 */
export class WorkerPool {
  readonly #team: Team;
  readonly #onEvent: (value: unknown) => void;
  readonly #pending = new Map<number, { resolve: (value: unknown) => void; reject: (error: BitnetError) => void }>();
  #nextId = 0;
  #end: { readonly error: BitnetError; readonly done: Promise<void> } | undefined;

  /**
   * @param entry where the program of every worker is; it calls `serveWorker`
   * @param onEvent what the leader tells unasked
   */
  constructor(entry: string, threads: number, onEvent: (value: unknown) => void) {
    this.#onEvent = onEvent;
    this.#team = startTeam(entry, threads, {
      take: (reply) => this.#receive(reply as Reply),
      died: (error) => void this.#finish(error), // requests reject with it
    });
  }

  /**
   * Asks the leader; its answer. Rejects with the leader's error, after which the pool is closed.
   * @param files paths of open files that the threads read for it, now or later
   */
  request<T>(kind: string, payload: unknown, files?: readonly string[]): Promise<T> {
    if (this.#end) return Promise.reject(this.#end.error);
    const id = this.#nextId++;
    const request: Request = { id, kind, payload };
    return new Promise<T>((resolve, reject) => {
      this.#pending.set(id, { resolve: resolve as (value: unknown) => void, reject });
      this.#team.post(request, files);
    });
  }

  /** Ends the workers; what is pending rejects with a `closed` error. Resolves when all threads are gone. */
  close(): Promise<void> {
    return this.#finish(new BitnetError("closed", "the model was closed"));
  }

  #receive(reply: Reply): void {
    if (reply.kind === "event") {
      this.#onEvent(reply.value);
      return;
    }
    if (reply.kind === "error") {
      void this.#finish(fromPlain(reply.error));
      return;
    }
    const pending = this.#pending.get(reply.id);
    this.#pending.delete(reply.id);
    pending?.resolve(reply.value);
  }

  #finish(error: BitnetError): Promise<void> {
    if (!this.#end) {
      this.#end = { error, done: this.#team.end() };
      for (const { reject } of this.#pending.values()) reject(error);
      this.#pending.clear();
    }
    return this.#end.done;
  }
}
