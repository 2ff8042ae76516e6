import { resolve } from "node:path";
import { BitnetError } from "../../engine/errors.js";
import { inOrder } from "./in-order.js";
import { Known } from "./known.js";
import { readLines, sizeOf } from "./lines.js";
import { type BatchLine, MAX_LINE_BYTES, matchResult, readBatchLine } from "./request.js";
import { ResultsFile } from "./results.js";

/** Lines of a batch: what is remembered of their ids takes up to 512 MiB then. */
export const MAX_LINES = 10_000_000;

/** Bytes of requests that are at work at a time, so that long ones don't fill the memory. */
const MAX_WINDOW_BYTES = 64 * 2 ** 20;

export interface BatchOptions {
  /** File of requests, one JSON object a line. */
  readonly requests: string;
  /** File of results, which is gone on with if it is there. */
  readonly out: string;
  /** Requests at work at a time. */
  readonly window: number;
  /** A line of the results for a line of the requests. */
  readonly work: (line: BatchLine) => Promise<string>;
  /** Hears of each line whose result is in the file, also of the last that was there already. */
  readonly written?: (line: BatchLine) => Promise<void>;
  /** Hears how much is done, 0 … 1. */
  readonly onProgress?: (share: number) => void;
}

/** How a batch ended. All its results are in the file. */
export interface BatchSummary {
  /** Requests with status 200. */
  readonly answered: number;
  /** Requests with another status, and lines that are none. */
  readonly failed: number;
}

/**
 * Answers a file of requests, in their order. It can be killed at any moment: the next run with the same files goes on.
 * @throws BitnetError usage: the results belong to other requests, or another run writes them; what `work` throws
 */
export async function runBatch({ requests, out, window, work, written, onProgress }: BatchOptions): Promise<BatchSummary> {
  const size = await sizeOf(requests);
  if (resolve(requests) === resolve(out)) throw new BitnetError("usage", "--out must be another file than the requests");
  const results = await ResultsFile.open(out);
  try {
    const counts = { answered: 0, failed: 0 };
    const lines = numbered(requests);
    let last: Numbered | undefined;
    for await (const head of results.heads()) {
      const { value } = await lines.next();
      const match = value ? matchResult(value.line, Buffer.from(head, "latin1").toString()) : "other";
      if (match === "other") throw notOfThese(requests, out, counts.answered + counts.failed + 1);
      counts[match === "answered" ? "answered" : "failed"]++;
      last = value as Numbered;
    }
    await results.cut();
    if (last) await written?.(last.line);
    const done = async ({ line, end }: Numbered, result: string): Promise<void> => {
      await results.add(result);
      await written?.(line);
      counts[matchResult(line, result) === "answered" ? "answered" : "failed"]++;
      onProgress?.(end / size);
    };
    const limits = { items: window, size: MAX_WINDOW_BYTES, sizeOf: ({ line }: Numbered) => line.text.length };
    await inOrder(lines, limits, ({ line }) => work(line), done);
    return counts;
  } finally {
    await results.close();
  }
}

interface Numbered {
  readonly line: BatchLine;
  /** Byte offset behind it. */
  readonly end: number;
}

/** The lines of a batch; empty ones are none. One whose `custom_id` came before can't be answered. */
async function* numbered(path: string): AsyncGenerator<Numbered, void, undefined> {
  const known = new Known();
  let count = 0;
  for await (const read of readLines(path, MAX_LINE_BYTES)) {
    if (read.length <= MAX_LINE_BYTES && read.bytes.toString("latin1").trim() === "") continue;
    if (++count > MAX_LINES) throw new BitnetError("usage", `${path} has more than ${MAX_LINES} requests: split it`, { file: path });
    const line = readBatchLine(read);
    const isNew = line.customId === null || known.add(line.customId);
    const error = { code: "duplicate_custom_id", message: "an earlier line has the same custom_id" };
    yield { line: isNew ? line : { ...line, request: error }, end: read.end };
  }
}

function notOfThese(requests: string, out: string, line: number): BitnetError {
  const message = `line ${line} of ${out} is not the result of request ${line} of ${requests}: give --out another file, or the requests that it was made of`;
  return new BitnetError("usage", message, { file: out });
}
