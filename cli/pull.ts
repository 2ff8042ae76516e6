import type { PullProgress } from "../hub/index.js";
import { bytesInWords } from "../hub/paths.js";
import { interruptible } from "./command.js";
import { printable } from "./failure.js";
import { style, write, writeJson } from "./terminal.js";

export interface PullFlags {
  readonly json?: boolean;
}

/** `bitnet pull`: downloads a model and prints where it is. */
export async function pullCommand(name: string, flags: PullFlags): Promise<void> {
  const { pull } = await import("../hub/index.js");
  const bar = new Bar();
  let received = 0;
  const began = Date.now();
  const stored = await interruptible("asking the hub", async (status, signal) => {
    try {
      return await pull(name, {
        signal,
        onProgress: (progress) => {
          status.end();
          received = progress.received;
          bar.update(progress);
        },
      });
    } finally {
      bar.end();
    }
  });
  if (!stored) {
    await write(`note: stopped; bitnet pull ${printable(name)} continues where it was\n`, process.stderr);
    return;
  }
  if (flags.json) return writeJson(stored);
  const seconds = Math.max(1, Math.round((Date.now() - began) / 1000));
  const how = received > 0 ? `${bytesInWords(received)} in ${duration(seconds)}, verified` : "already stored";
  await write(`${style("dim", `${printable(stored.name)}: ${how}; ${bytesInWords(stored.size)}`, process.stderr)}\n`, process.stderr);
  await write(`${stored.path}\n`);
}

/** How often the line is drawn, ms. */
const DRAW_MS = 200;
/** The speed shown is that of the last so many ms. */
const WINDOW_MS = 10_000;

/** One line on a terminal: how much is there, how fast it comes, how long it will take. */
export class Bar {
  readonly #now: () => number;
  /** Bytes at moments, ms, of the last window. */
  readonly #seen: { readonly at: number; readonly done: number }[] = [];
  #last = 0;
  #drawn = 0;
  #shown = false;

  constructor(now = Date.now) {
    this.#now = now;
  }

  update(progress: PullProgress): void {
    const now = this.#now();
    // A file that begins anew is behind where it was.
    if (progress.done < this.#last) this.#seen.length = 0;
    this.#last = progress.done;
    this.#seen.push({ at: now, done: progress.done });
    while (this.#seen.length > 2 && now - this.#seen[0]!.at > WINDOW_MS) this.#seen.shift();
    if (!process.stderr.isTTY || now - this.#drawn < DRAW_MS) return;
    this.#drawn = now;
    this.#shown = true;
    process.stderr.write(`\r\x1b[K${style("dim", this.line(progress), process.stderr)}`);
  }

  /** `model.gguf  412 MB of 1.19 GB, 34 %, 23.4 MB/s, 33 s left` */
  line({ file, done, total, waiting }: PullProgress): string {
    const name = printable(file).slice(-40);
    if (waiting) return `${name}  another process is downloading it; waiting`;
    const [first] = this.#seen;
    const span = first ? this.#now() - first.at : 0;
    const speed = first && span > 0 ? ((done - first.done) / span) * 1000 : 0;
    const rate = speed > 0 ? `, ${bytesInWords(Math.round(speed))}/s, ${duration(Math.ceil((total - done) / speed))} left` : "";
    return `${name}  ${bytesInWords(done)} of ${bytesInWords(total)}, ${Math.floor((100 * done) / Math.max(total, 1))} %${rate}`;
  }

  end(): void {
    if (this.#shown) process.stderr.write("\r\x1b[K");
    this.#shown = false;
  }
}

/** 75 → "1 min 15 s" */
function duration(seconds: number): string {
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}
