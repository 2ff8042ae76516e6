import { MessageChannel, type MessagePort, Worker } from "node:worker_threads";
import { BitnetError } from "../errors.js";
import { systemReason } from "../system-reason.js";
import { kernelFiles } from "./kernel-files.js";
import { fromPlain, type Reply, type Request, type WorkerRole } from "./messages.js";

/**
 * The worker threads, seen from the main thread: requests go to the leader, which drives the others. The main thread holds neither the
 * module nor the memory, so ending the workers frees both at once. Any error ends the pool: threads that wait for a lost one can't go on.
 */
export class WorkerPool {
  readonly #workers: Worker[] = [];
  readonly #onEvent: (value: unknown) => void;
  readonly #pending = new Map<number, { resolve: (value: unknown) => void; reject: (error: BitnetError) => void }>();
  #nextId = 0;
  #end: { readonly error: BitnetError; readonly done: Promise<void> } | undefined;

  /**
   * @param entry path of the program of every worker; it calls `serveWorker`
   * @param onEvent what the leader tells unasked
   */
  constructor(entry: string, threads: number, onEvent: (value: unknown) => void) {
    this.#onEvent = onEvent;
    const channels = Array.from({ length: threads - 1 }, () => new MessageChannel());
    const kernels = kernelFiles();
    for (let thread = 0; thread < threads; thread++) {
      const ports: MessagePort[] = thread === 0 ? channels.map((channel) => channel.port1) : [channels[thread - 1]!.port2];
      const role: WorkerRole = { thread, threads };
      try {
        // The process's own flags are for its main program: --input-type, say, would keep a worker from starting.
        const worker = new Worker(entry, {
          workerData: { role, ports, kernels },
          transferList: ports,
          execArgv: [],
          name: `bitnet ${thread}`,
        });
        worker.on("message", (reply: Reply) => this.#receive(reply));
        worker.on("error", (cause) => void this.#finish(deathOf(thread, threads, cause)));
        worker.on("exit", (code) => void this.#finish(new BitnetError("internal", `worker ${thread} ended with code ${code}`)));
        this.#workers.push(worker);
      } catch (cause) {
        void this.#finish(deathOf(thread, threads, cause as Error)); // requests reject with it
        return;
      }
    }
  }

  /** Asks the leader; its answer. Rejects with the leader's error, after which the pool is closed. */
  request<T>(kind: string, payload: unknown): Promise<T> {
    if (this.#end) return Promise.reject(this.#end.error);
    const id = this.#nextId++;
    const request: Request = { id, kind, payload };
    return new Promise<T>((resolve, reject) => {
      this.#pending.set(id, { resolve: resolve as (value: unknown) => void, reject });
      this.#workers[0]!.postMessage(request);
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
      const done = Promise.all(this.#workers.map((worker) => worker.terminate())).then(() => undefined);
      this.#end = { error, done };
      for (const { reject } of this.#pending.values()) reject(error);
      this.#pending.clear();
    }
    return this.#end.done;
  }
}

/** Why a worker died, as an error for the user. */
export function deathOf(thread: number, threads: number, cause: Error & { readonly code?: unknown }): BitnetError {
  switch (cause.code) {
    case "ERR_WORKER_OUT_OF_MEMORY":
      return new BitnetError(
        "memory",
        "a worker ran out of the JavaScript memory that Node gives a thread: start Node with more (NODE_OPTIONS=--max-old-space-size=4096, in MiB)",
        {},
        { cause },
      );
    case "ERR_WORKER_INIT_FAILED":
      return new BitnetError(
        "memory",
        `the system refused to start thread ${thread + 1} of ${threads}: choose fewer threads (threads, --threads), or raise the limit on processes (ulimit -u), open files (ulimit -n) or memory`,
        {},
        { cause },
      );
    case "ERR_ACCESS_DENIED":
      return new BitnetError(
        "io",
        "Node's permission model does not allow workers, and the kernels run in them: start Node with --allow-worker",
        {},
        { cause },
      );
    case "EMFILE":
    case "ENFILE":
      return new BitnetError(
        "io",
        `worker ${thread + 1} of ${threads} can't read its program: ${systemReason(cause)} (ulimit -n)`,
        {},
        { cause },
      );
    default:
      return new BitnetError("internal", `worker ${thread} died: ${cause.message}`, {}, { cause });
  }
}
