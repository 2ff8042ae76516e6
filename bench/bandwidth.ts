/** How fast this machine's memory can be read by wasm threads: the limit of decoding. `node dist/bench/bandwidth.js [threads]` */
import { once } from "node:events";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { median } from "../validation/statistics/summary.js";

/** What a reading thread gets. */
export interface Reading {
  readonly memory: WebAssembly.Memory;
  /** `ARRIVED` and `NEXT` of the round under way. */
  readonly control: Int32Array;
  readonly threads: number;
  readonly thread: number;
  readonly chunks: number;
}

/** How many threads are ready. */
export const ARRIVED = 0;
/** The next piece to take. */
export const NEXT = 1;
/** Bytes that a thread takes at a time. */
export const CHUNK = 1 << 22;
/** First byte that is read; each thread has 64 bytes before. */
export const FIRST = 1 << 16;
/** Far beyond any cache. */
const BYTES = 1 << 30;

/** Threads that read 1 GiB when asked, and sleep in between. */
export class ReadBandwidth {
  readonly #workers: readonly Worker[];
  readonly #control = new Int32Array(new SharedArrayBuffer(8));

  constructor(threads: number) {
    const pages = (FIRST + BYTES) / 65536;
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    // Pages that were never written are all the same page of zeros, and would be read from the cache.
    new Uint8Array(memory.buffer).fill(1);
    const control = this.#control;
    this.#workers = Array.from({ length: threads }, (_, thread) => {
      const workerData: Reading = { memory, control, threads, thread, chunks: BYTES / CHUNK };
      return new Worker(new URL("./bandwidth-worker.js", import.meta.url), { workerData });
    });
  }

  /** GB/s of all threads together, median of some rounds after two that don't count. */
  async measure(rounds = 5): Promise<number> {
    const rates: number[] = [];
    for (let i = -2; i < rounds; i++) {
      const rate = await this.#read();
      if (i >= 0) rates.push(rate);
    }
    return median(rates);
  }

  async #read(): Promise<number> {
    this.#control.fill(0);
    const replies = this.#workers.map((worker) => once(worker, "message") as Promise<[{ start: bigint; end: bigint }]>);
    for (const worker of this.#workers) worker.postMessage("read");
    const times = (await Promise.all(replies)).map(([time]) => time);
    const start = times.reduce((least, time) => (time.start < least ? time.start : least), times[0]!.start);
    const end = times.reduce((most, time) => (time.end > most ? time.end : most), times[0]!.end);
    return BYTES / Number(end - start); // bytes a nanosecond
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const threads = Number(process.argv[2] ?? availableParallelism());
  const bandwidth = new ReadBandwidth(threads);
  console.log(`${(await bandwidth.measure()).toFixed(1)} GB/s, ${threads} threads`);
  await bandwidth.close();
}
