import { MessageChannel, type MessagePort, parentPort, Worker, workerData } from "node:worker_threads";
import { BitnetError } from "../../errors.js";
import { systemReason } from "../../system-reason.js";
import type { Place, Port, Team, TeamEvents } from "../threads.js";
import { type KernelFiles, kernelFiles, useKernelFiles } from "./kernel-files.js";

interface Start {
  readonly thread: number;
  readonly threads: number;
  readonly ports: readonly MessagePort[];
  readonly kernels: KernelFiles;
}

/** Starts worker threads that all run one program; it calls `enterTeam`. @param entry its path */
export function startTeam(entry: string, threads: number, { take, died }: TeamEvents): Team {
  const workers: Worker[] = [];
  const channels = Array.from({ length: threads - 1 }, () => new MessageChannel());
  const kernels = kernelFiles();
  for (let thread = 0; thread < threads; thread++) {
    const ports = thread === 0 ? channels.map((channel) => channel.port1) : [channels[thread - 1]!.port2];
    try {
      // The process's own flags are for its main program: --input-type, say, would keep a worker from starting.
      const worker = new Worker(entry, {
        workerData: { thread, threads, ports, kernels } satisfies Start,
        transferList: ports,
        execArgv: [],
        name: `bitnet ${thread}`,
      });
      worker.on("message", take);
      worker.on("error", (cause) => died(deathOf(thread, threads, cause)));
      worker.on("exit", (code) => died(new BitnetError("internal", `worker ${thread} ended with code ${code}`)));
      workers.push(worker);
    } catch (cause) {
      queueMicrotask(() => died(deathOf(thread, threads, cause as Error))); // when who started it has it
      break;
    }
  }
  return {
    post: (value) => workers[0]?.postMessage(value),
    end: () => Promise.all(workers.map((worker) => worker.terminate())).then(() => undefined),
  };
}

/** In a worker: takes its place in the team. */
export function enterTeam(begin: (place: Place) => void): void {
  const { thread, threads, ports, kernels } = workerData as Start;
  useKernelFiles(kernels);
  begin({ thread, threads, main: portOf(parentPort!), others: ports.map(portOf) });
}

function portOf(port: MessagePort): Port {
  return {
    post: (value, transfer = []) => port.postMessage(value, transfer),
    receive: (take) => void port.on("message", take),
  };
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
