import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { type KernelFiles, useKernelFiles } from "./kernel-files.js";
import { type Reply, type Request, toPlain, type WorkerRole } from "./messages.js";

/** What the program of the workers does. */
export interface WorkerProgram {
  /**
   * The leader answers a request.
   * @param send posts something to every follower
   * @param tell tells the main thread something unasked
   */
  lead(
    request: { readonly kind: string; readonly payload: unknown },
    role: WorkerRole,
    send: (message: unknown) => void,
    tell: (value: unknown) => void,
  ): Answer;
  /** A follower acts on what the leader sent; it may block until the leader lets it go. */
  follow(message: unknown, role: WorkerRole): void;
}

/** An answer and the buffers that move with it. */
export interface Answer {
  readonly value: unknown;
  readonly transfer?: ArrayBuffer[];
}

/** Runs this thread's part of the program until the main thread ends it. */
export function serveWorker(program: WorkerProgram): void {
  const main = parentPort!;
  const { role, ports, kernels } = workerData as { role: WorkerRole; ports: MessagePort[]; kernels: KernelFiles };
  useKernelFiles(kernels);
  const post = (reply: Reply, transfer: ArrayBuffer[] = []): void => main.postMessage(reply, transfer);

  if (role.thread > 0) {
    ports[0]!.on("message", (message: unknown) => {
      try {
        program.follow(message, role);
      } catch (error) {
        post({ kind: "error", id: undefined, error: toPlain(error) });
      }
    });
    return;
  }
  const send = (message: unknown): void => {
    for (const port of ports) port.postMessage(message);
  };
  main.on("message", (request: Request) => {
    try {
      const { value, transfer } = program.lead(request, role, send, (event) => post({ kind: "event", value: event }));
      post({ kind: "done", id: request.id, value }, transfer);
    } catch (error) {
      post({ kind: "error", id: request.id, error: toPlain(error) });
    }
  });
}
