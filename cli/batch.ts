import { basename, dirname } from "node:path";
import { BitnetError } from "../engine/errors.js";
import type { Model } from "../engine/index.js";
import { printable, SOME_FAILED } from "./failure.js";
import { type ModelFlags, openModel } from "./model.js";
import { nameOf } from "./model-path.js";
import { requireOutput, Status, write } from "./terminal.js";
import { readEnvironment } from "./values.js";

export interface BatchFlags extends ModelFlags {
  readonly out: string;
  readonly queue?: string;
}

export interface WorkerFlags extends ModelFlags {
  readonly queue: string;
}

/** Requests at work at a time: enough that answers of different lengths keep batches of 32 full. */
const WINDOW = 64;
/** The same where workers compute: several of them. */
const QUEUE_WINDOW = 256;
/** Answers and texts of all requests at work that wait at most; each request has up to 32. */
const MAX_WAITING = 32 * WINDOW;

/** `bitnet batch`: the results of a file of requests, in their order; after an end of any kind, the same command goes on. */
export async function batch(requests: string, flags: BatchFlags): Promise<void> {
  if (flags.queue !== undefined && flags.model !== undefined)
    throw new BitnetError("usage", "with --queue, workers have the model: give --model to bitnet worker, not here");
  await requireOutput("--out", flags.out);
  const { openQueue, runBatch } = await import("../server/batch/index.js");
  const run = async (window: number, work: Pick<Parameters<typeof runBatch>[0], "work" | "written">): Promise<void> => {
    const status = new Status("answering");
    let ended: Awaited<ReturnType<typeof runBatch>>;
    try {
      ended = await runBatch({ requests, out: flags.out, window, ...work, onProgress: (share) => status.update(share) });
    } finally {
      status.end();
    }
    const { answered, failed } = ended;
    await note(`${answered} answered${failed > 0 ? `, ${failed} with an error` : ""}: ${flags.out}`);
    if (failed > 0) process.exitCode = SOME_FAILED;
  };
  if (flags.queue === undefined) return withHandler(flags, ({ answer }) => run(WINDOW, { work: answer }));
  const client = await openQueue(flags.queue);
  try {
    await run(QUEUE_WINDOW, { work: (line) => client.work(line), written: (line) => client.written(line) });
  } finally {
    await client.close();
  }
}

/** `bitnet worker`: answers requests of a queue until SIGTERM or Ctrl-C. A second one ends the process at once. */
export async function worker(flags: WorkerFlags): Promise<void> {
  const stopping = new AbortController();
  for (const [name, number] of Object.entries({ SIGINT: 2, SIGTERM: 15 })) {
    process.on(name, () => {
      if (stopping.signal.aborted) process.exit(128 + number);
      stopping.abort();
    });
  }
  await withHandler(flags, async ({ handler, name }) => {
    const { workOn } = await import("../server/batch/index.js");
    const { host } = new URL(flags.queue);
    const onReady = (): void => void note(`${name} works for ${host}; Ctrl-C stops it`);
    await workOn(flags.queue, handler, { window: WINDOW, stopping: stopping.signal, onReady });
  });
}

/** Runs with the server's handler for the model of the flags, whose answers are the same on every day. */
async function withHandler(flags: ModelFlags, run: (served: Served) => Promise<void>): Promise<void> {
  const model: Model = await openModel(flags, readEnvironment(process.env), { maxWaiting: MAX_WAITING });
  try {
    const { createHandler } = await import("../server/index.js");
    const { answerLine, undated } = await import("../server/batch/index.js");
    const name = flags.model === undefined ? basename(dirname(model.path)) : nameOf(flags.model);
    const handler = createHandler(new Map([[name, undated(model)]]));
    await run({ name, handler, answer: (line) => answerLine(handler, line) });
  } finally {
    await model.close();
  }
}

interface Served {
  readonly name: string;
  readonly handler: (request: Request) => Promise<Response>;
  readonly answer: (line: Parameters<typeof import("../server/batch/index.js").answerLine>[1]) => Promise<string>;
}

function note(text: string): Promise<void> {
  return write(`${printable(text)}\n`, process.stderr);
}
