import { enterTeam } from "#host/threads.js";
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

/** Runs this thread's part of a program until the main thread ends it. @param create makes the program: a thread without others may be in several teams */
export function serveWorker(create: () => WorkerProgram): void {
  enterTeam(({ thread, threads, main, others }) => {
    const program = create();
    const role: WorkerRole = { thread, threads };
    const post = (reply: Reply, transfer?: ArrayBuffer[]): void => main.post(reply, transfer);
    if (thread > 0) {
      others[0]!.receive((message) => {
        try {
          program.follow(message, role);
        } catch (error) {
          post({ kind: "error", id: undefined, error: toPlain(error) });
        }
      });
      return;
    }
    const send = (message: unknown): void => {
      for (const other of others) other.post(message);
    };
    main.receive((message) => {
      const request = message as Request;
      try {
        const { value, transfer } = program.lead(request, role, send, (event) => post({ kind: "event", value: event }));
        post({ kind: "done", id: request.id, value }, transfer);
      } catch (error) {
        post({ kind: "error", id: request.id, error: toPlain(error) });
      }
    });
  });
}
