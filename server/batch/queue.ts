import type { ConnectionOptions, Job, Queue } from "bullmq";
import { BitnetError } from "../../engine/errors.js";
import type { Handler } from "../handler.js";
import { answerLine } from "./answer.js";
import { digestOf } from "./lines.js";
import { type BatchLine, readBatchLine, resultLine } from "./request.js";

/** The queue's name on its server. */
const NAME = "bitnet-batch";
/** Times that a request is tried where the worker said that it failed. */
const ATTEMPTS = 3;
/** Times that a request may be taken from a worker that was silent before it counts as one that ends workers. */
const MAX_STALLED = 5;
/** Milliseconds of a worker's silence after which its requests are given to others. */
const LOCK_MS = 30_000;
/** Seconds that requests and results stay on the queue's server if nobody collects them. */
const KEEP_SECONDS = 24 * 60 * 60;
/** Events that the queue's server keeps, each with a result in it. Nobody here reads them. */
const MAX_EVENTS = 100;
/** Milliseconds between two looks at a request, at first and at most. */
const FIRST_LOOK_MS = 20;
const LAST_LOOK_MS = 1_000;
/** Milliseconds for which the queue's server is looked for at the start. */
const CONNECT_MS = 3_000;
/** Milliseconds between two tries to reach it when it has gone, at first and at most. */
const RECONNECT_MS = 100;
const MAX_RECONNECT_MS = 2_000;
/** Times that a command is sent where the connection broke before its answer came. */
const MAX_SENT = 20;

interface Data {
  /** A line of a batch. */
  readonly line: string;
}

/** A request's way through a queue of workers: `work` and `written` of `runBatch`. */
export interface QueueClient {
  /** @throws BitnetError network: the queue's server refuses; internal: it gives what is no result of this line */
  work(line: BatchLine): Promise<string>;
  /** Removes what the queue's server knows of it. */
  written(line: BatchLine): Promise<void>;
  close(): Promise<void>;
}

/** @param url `redis://` or `rediss://`, of a Redis or Valkey server. @throws BitnetError usage: packages are missing; network */
export async function openQueue(url: string): Promise<QueueClient> {
  const { Queue: QueueOf } = await loadBullmq();
  const connected = connectionTo(url);
  const queue: Queue<Data, string> = new QueueOf(NAME, { connection: connected.options, streams: { events: { maxLen: MAX_EVENTS } } });
  await connected.ready(queue);
  const keep = { age: KEEP_SECONDS };
  const options = { attempts: ATTEMPTS, backoff: { type: "fixed", delay: RECONNECT_MS }, removeOnComplete: keep, removeOnFail: keep };
  return {
    async work(line) {
      if ("code" in line.request) return resultLine(line, line.request);
      // Adding what is there changes nothing: a run that was killed finds its requests again.
      const add = (): Promise<unknown> => sent(() => queue.add("request", { line: line.text }, { ...options, jobId: line.id }));
      await add();
      for (let wait = FIRST_LOOK_MS; ; wait = Math.min(1.5 * wait, LAST_LOOK_MS)) {
        const job: Job<Data, string> | undefined = await sent(() => queue.getJob(line.id));
        if (!job)
          await add(); // collected by another run of the same requests, or lost by a server that restarted
        else if (job.finishedOn !== undefined) return resultOf(line, job);
        await new Promise((resolve) => setTimeout(resolve, wait));
      }
    },
    async written(line) {
      if (!("code" in line.request)) await sent(() => queue.remove(line.id));
    },
    close: () => queue.close(),
  };
}

/** What a worker returned, if it is a result of this line. */
function resultOf(line: BatchLine, { returnvalue }: Job<Data, string>): string {
  // Of a job that failed. The reasons differ, and the results must not.
  if (typeof returnvalue !== "string") return resultLine(line, { code: "worker_failed", message: "no worker could answer this request" });
  const found = parsed(returnvalue);
  if (returnvalue.includes("\n") || found?.id !== line.id || found.custom_id !== line.customId) {
    throw new BitnetError(
      "internal",
      `a worker's result does not belong to the request ${JSON.stringify(line.customId)}: all must run the same version`,
    );
  }
  return returnvalue;
}

function parsed(text: string): { readonly id?: unknown; readonly custom_id?: unknown } | undefined {
  try {
    return JSON.parse(text) ?? undefined;
  } catch {
    return undefined;
  }
}

export interface WorkerOptions {
  /** Requests at work at a time. */
  readonly window: number;
  /** Aborted when the worker is to stop: it finishes what it has begun. */
  readonly stopping: AbortSignal;
  /** Hears once that it is connected. */
  readonly onReady?: () => void;
  /** Milliseconds of silence after which its requests are given to others; default: 30 000 */
  readonly lockMs?: number;
}

/** Answers requests of a queue until it is to stop. @throws BitnetError usage: packages are missing; network; internal: the model failed */
export async function workOn(url: string, handler: Handler, options: WorkerOptions): Promise<void> {
  const { Worker } = await loadBullmq();
  const { window, stopping, onReady, lockMs = LOCK_MS } = options;
  const connected = connectionTo(url);
  let fail: (error: unknown) => void = () => {};
  const failed = new Promise<never>((_, reject) => {
    fail = reject;
  });
  const answer = async ({ data }: Job<Data, string>): Promise<string> => {
    const line = Buffer.from(String(data.line));
    try {
      return await answerLine(handler, readBatchLine({ bytes: line, length: line.length, digest: digestOf(line) }));
    } catch (error) {
      fail(error);
      throw error;
    }
  };
  const worker = new Worker<Data, string>(NAME, answer, {
    connection: connected.options,
    concurrency: window,
    lockDuration: lockMs,
    stalledInterval: lockMs,
    maxStalledCount: MAX_STALLED,
  });
  await connected.ready(worker);
  onReady?.();
  const stopped = new Promise<void>((resolve) => {
    if (stopping.aborted) resolve();
    stopping.addEventListener("abort", () => resolve(), { once: true });
  });
  try {
    await Promise.race([stopped, failed]);
  } finally {
    await worker.close();
  }
}

/** Sends a command that may be sent twice, until it is answered. */
async function sent<T>(command: () => Promise<T>): Promise<T> {
  for (let times = 1; ; times++) {
    try {
      return await command();
    } catch (cause) {
      if (times === MAX_SENT) throw new BitnetError("network", `the queue's server fails: ${(cause as Error).message}`, {}, { cause });
      await new Promise((resolve) => setTimeout(resolve, times * RECONNECT_MS));
    }
  }
}

/** What is used of a queue's or a worker's connection. */
interface Connected {
  on(event: "error", listener: (error: Error) => void): unknown;
  waitUntilReady(): Promise<unknown>;
  close(): Promise<void>;
}

/** A connection that comes back whenever it breaks, but must be there at the start. */
function connectionTo(url: string): { options: ConnectionOptions; ready(user: Connected): Promise<void> } {
  const { host } = new URL(url);
  let givenUp = false;
  const retryStrategy = (times: number): number | null => (givenUp ? null : Math.min(times * RECONNECT_MS, MAX_RECONNECT_MS));
  return {
    options: { url, maxRetriesPerRequest: null, retryStrategy },
    async ready(user) {
      let last: Error | undefined;
      user.on("error", (error) => {
        last = error;
      });
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<"late">((resolve) => {
        timer = setTimeout(() => resolve("late"), CONNECT_MS);
      });
      const ready = user.waitUntilReady();
      ready.catch(() => {}); // heard by the race, or told as `last`
      const outcome = await Promise.race([ready, late]).catch((error: Error) => {
        last = error;
        return "late";
      });
      clearTimeout(timer);
      if (outcome !== "late") return;
      givenUp = true;
      void user.close().catch(() => {}); // it never was connected
      const reason = last === undefined ? "no answer" : last.message || String((last as NodeJS.ErrnoException).code);
      throw new BitnetError("network", `can't reach the queue's server ${host}: ${reason}`, {}, { cause: last });
    },
  };
}

async function loadBullmq(): Promise<typeof import("bullmq")> {
  try {
    await import("ioredis");
    return await import("bullmq");
  } catch (cause) {
    const message = "--queue needs the packages bullmq and ioredis, which are not installed: npm install bullmq ioredis";
    throw new BitnetError("usage", message, {}, { cause });
  }
}
