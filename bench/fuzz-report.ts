import type { Outcome } from "../validation/fuzz/run-case.js";

/** Progress comes at most this often, ms. */
const INTERVAL = 10_000;

interface Extreme {
  readonly value: number;
  readonly what: string;
}

/** Counts what came of the cases, and tells findings as they come. */
export class FuzzReport {
  /** Cases that ended as none may. */
  findings = 0;
  readonly #seed: number;
  readonly #cases: number;
  readonly #tell: (line: string) => void;
  readonly #start = performance.now();
  readonly #counts = new Map<string, Map<string, number>>(); // kind → result → cases
  readonly #stops = { crash: 0, hang: 0 };
  #done = 0;
  #told = performance.now();
  #slowest: Extreme = { value: 0, what: "" };
  #largest: Extreme = { value: 0, what: "" };
  #maxRss = 0;
  #last = "";

  constructor(seed: number, cases: number, tell: (line: string) => void) {
    this.#seed = seed;
    this.#cases = cases;
    this.#tell = tell;
  }

  ended(index: number, what: string, kind: string, outcome: Outcome): void {
    const { result, finding, detail, cpuMs, bytes } = outcome;
    const place = `${this.#seed}:${index} (${what})`;
    this.#last = `${place}: ${result}, ${Math.round(cpuMs)} ms, ${mib(bytes)} MiB\n${detail ?? ""}`;
    if (finding !== undefined) this.#finding(`${place}: ${finding}${detail === undefined ? "" : `\n    ${detail.slice(0, 1500)}`}`);
    if (cpuMs > this.#slowest.value) this.#slowest = { value: cpuMs, what: place };
    if (bytes > this.#largest.value) this.#largest = { value: bytes, what: place };
    this.#count(kind, finding === undefined ? result : "finding");
  }

  /** The process ended with the case. */
  stopped(index: number, what: string, kind: string, how: "crash" | "hang", detail: string): void {
    this.#stops[how]++;
    this.#last = `${this.#seed}:${index} (${what}): ${how} ${detail}`;
    this.#finding(this.#last);
    this.#count(kind, how);
  }

  /** The most memory that a process has had. */
  resident(bytes: number): void {
    this.#maxRss = Math.max(this.#maxRss, bytes);
  }

  #finding(text: string): void {
    this.findings++;
    this.#tell(text);
  }

  #count(kind: string, result: string): void {
    const counts = this.#counts.get(kind) ?? new Map<string, number>();
    counts.set(result, (counts.get(result) ?? 0) + 1);
    this.#counts.set(kind, counts);
    this.#done++;
    const now = performance.now();
    if (now - this.#told < INTERVAL) return;
    this.#told = now;
    this.#tell(`${this.#done} of ${this.#cases} cases, ${this.findings} findings`);
  }

  /** What came of the last case. */
  last(): string {
    return this.#last;
  }

  summary(): string {
    const results = [...new Set([...this.#counts.values()].flatMap((counts) => [...counts.keys()]))].sort();
    const row = (name: string, cells: readonly (string | number)[]): string =>
      name.padEnd(16) + cells.map((cell) => String(cell).padStart(12)).join("");
    const lines = [...this.#counts]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([kind, counts]) => row(kind, [...results.map((result) => counts.get(result) ?? 0), sum(counts)]));
    const totals = results.map((result) => [...this.#counts.values()].reduce((all, counts) => all + (counts.get(result) ?? 0), 0));
    const seconds = (performance.now() - this.#start) / 1000;
    return [
      row("", [...results, "cases"]),
      ...lines,
      row("all", [...totals, this.#done]),
      `seed ${this.#seed}, ${seconds.toFixed(0)} s, ${(this.#done / seconds).toFixed(0)} cases/s`,
      `findings ${this.findings}, of them crashes ${this.#stops.crash}, hangs ${this.#stops.hang}`,
      `slowest ${Math.round(this.#slowest.value)} ms of processor time: ${this.#slowest.what}`,
      `largest allocation ${mib(this.#largest.value)} MiB: ${this.#largest.what}`,
      `largest process ${mib(this.#maxRss)} MiB`,
    ].join("\n");
  }
}

function sum(counts: ReadonlyMap<string, number>): number {
  return [...counts.values()].reduce((all, count) => all + count, 0);
}

function mib(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(0);
}
