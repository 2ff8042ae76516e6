import type { BitnetError } from "../errors.js";

/** One end of a channel between two threads. */
export interface Port {
  /** @param transfer buffers in `value` that move with it */
  post(value: unknown, transfer?: ArrayBuffer[]): void;
  /** Takes what the other end has posted and will post, in order. */
  receive(take: (value: unknown) => void): void;
}

/** The worker threads of a pool, seen from the thread that started them. */
export interface Team {
  /** Posts something to the leader, which is thread 0. @param files paths of open files that the threads will read to answer it */
  post(value: unknown, files?: readonly string[]): void;
  /** Ends all threads; resolves when they are gone. */
  end(): Promise<void>;
}

/** What the threads of a team tell the thread that started them. */
export interface TeamEvents {
  take(value: unknown): void;
  /** A thread couldn't be started, or ended. Told at most once a thread, and during `end` too. */
  died(error: BitnetError): void;
}

/** What a worker thread finds when it begins. */
export interface Place {
  readonly thread: number;
  readonly threads: number;
  /** The thread that started the team. */
  readonly main: Port;
  /** The leader's way to each follower; a follower's to the leader. */
  readonly others: readonly Port[];
}
