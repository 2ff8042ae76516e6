import { BitnetError } from "../../errors.js";
import type { Place, Port, Team, TeamEvents } from "../threads.js";
import { type OpenFile, openFiles, prepareFiles } from "./files.js";
import { type KernelFiles, useKernels, usualKernels } from "./kernel-files.js";
import { canShare } from "./limits.js";
import { scope } from "./worker-scope.js";

/** The first message of each worker. */
interface Start {
  readonly thread: number;
  readonly threads: number;
  readonly ports: readonly MessagePort[];
}

/** The others: what the worker needs, or what the engine posts. */
type Message = { readonly kernels: KernelFiles } | { readonly files: ReadonlyMap<string, OpenFile> } | { readonly value: unknown };

const NOT_ISOLATED =
  "more than one thread requires a page that is cross-origin isolated: serve it with the headers Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp";

/** Starts workers that all run one program; it calls `enterTeam`. @param entry its URL */
export function startTeam(entry: string, threads: number, { take, died }: TeamEvents): Team {
  const workers: Worker[] = [];
  const tell = (message: Message): void => {
    for (const worker of workers) worker.postMessage(message);
  };
  const channels = Array.from({ length: threads - 1 }, () => new MessageChannel());
  try {
    if (threads > 1 && !canShare()) throw new BitnetError("usage", NOT_ISOLATED);
    for (let thread = 0; thread < threads; thread++) {
      const ports = thread === 0 ? channels.map((channel) => channel.port1) : [channels[thread - 1]!.port2];
      const worker = new Worker(entry, { type: "module", name: `bitnet ${thread}` });
      workers.push(worker);
      worker.onmessage = ({ data }) => take(data);
      worker.onerror = (event) => {
        event.preventDefault();
        died(new BitnetError("internal", `worker ${thread} died: ${event.message ?? `it can't be loaded from ${entry}`}`));
      };
      worker.onmessageerror = () => died(new BitnetError("internal", `worker ${thread} got a message that it can't read`));
      worker.postMessage({ thread, threads, ports } satisfies Start, ports);
    }
  } catch (cause) {
    const why = `a worker can't be started from ${entry}: ${(cause as Error).message}`;
    const error = cause instanceof BitnetError ? cause : new BitnetError("io", why, {}, { cause });
    queueMicrotask(() => died(error)); // when who started it has it
  }
  const ready = usualKernels().then((kernels) => tell({ kernels }));
  ready.catch(died);
  return {
    async post(value, files = []) {
      await ready;
      // All get the files through the channel that their kernels came through, before anything makes them wait.
      if (files.length > 0) tell({ files: openFiles(files) });
      workers[0]?.postMessage({ value } satisfies Message);
    },
    async end() {
      for (const worker of workers) worker.terminate();
    },
  };
}

/** In a worker: takes its place in the team. What comes before the files that it reads are ready waits for them. */
export function enterTeam(begin: (place: Place) => void): void {
  let opened: () => void = () => {};
  /** Fulfilled when there are files: what the leader sends a follower may come before them, through another channel. */
  const files = new Promise<void>((resolve) => {
    opened = resolve;
  });
  /** Fulfilled when all that came from the page before is done. */
  let done: Promise<void> = Promise.resolve();
  let takeFromMain: (value: unknown) => void = () => {};
  scope.onmessage = ({ data: { thread, threads, ports } }: MessageEvent<Start>) => {
    scope.onmessage = ({ data }: MessageEvent<Message>) => {
      if ("kernels" in data) useKernels(data.kernels);
      else if ("files" in data) done = done.then(() => prepareFiles(data.files, thread === 0)).then(opened);
      else done = done.then(() => takeFromMain(data.value));
      done.catch(reportError); // an error of the program itself it has told
    };
    const main: Port = {
      post: (value, transfer = []) => scope.postMessage(value, transfer),
      receive: (take) => {
        takeFromMain = take;
      },
    };
    const others = ports.map(
      (port): Port => ({
        post: (value, transfer = []) => port.postMessage(value, transfer),
        receive: (take) => {
          port.onmessage = ({ data }) => void files.then(() => take(data)).catch(reportError);
        },
      }),
    );
    begin({ thread, threads, main, others });
  };
}
