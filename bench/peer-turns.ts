/** Turns of engines at the same tests, round by round, for bench/peers.ts. */
import type { ReadBandwidth } from "./bandwidth.js";
import type { EngineRates } from "./peers-report.js";

/** What an engine's process is told to measure. */
export interface PeerTest {
  /** The whole prompt at once; otherwise tokens one by one behind it. */
  readonly prefill: boolean;
  /** Tokens timed, of each sequence. */
  readonly tokens: number;
  /** Tokens of a prompt that every turn has in common; 0: each prompt is new. */
  readonly depth: number;
  /** One for each sequence. */
  readonly prompts: readonly (readonly number[])[];
}

/** What it answers. */
export interface PeerReply {
  /** Of all sequences together: when several decode, from the first token of any to the last token of all. */
  readonly tokensPerSecond: number;
  /** Processor time since its last turn: of threads that should have slept. */
  readonly idleCpuMs: number;
}

/** An engine outside this process. */
export interface PeerProcess {
  /** Its name and version. */
  readonly engine: string;
  /** It computes one sequence at a time. */
  readonly one: boolean;
  ready(): Promise<void>;
  measure(test: PeerTest): Promise<PeerReply>;
  close(): void;
}

const PREFILL = 512;
const DECODE = 64;
/** What is in the cache before a decode at "short context". */
const SHORT = 9;

/** An engine and what it did. */
export class Engine {
  readonly process: PeerProcess;
  readonly #rates: Record<string, number[]> = {};
  /** The most of a core that it used while others worked. */
  #idleShare = 0;
  #lastTurn = Number.NaN;

  constructor(process: PeerProcess) {
    this.process = process;
  }

  /** One turn; kept unless it is to warm up. */
  async measure(name: string, test: PeerTest, keep: boolean): Promise<void> {
    const idle = performance.now() - this.#lastTurn;
    const { tokensPerSecond, idleCpuMs } = await this.process.measure(test);
    this.#lastTurn = performance.now();
    if (!keep) return;
    this.#rates[name] ??= [];
    this.#rates[name].push(Number(tokensPerSecond.toFixed(3)));
    this.#idleShare = Math.max(this.#idleShare, idleCpuMs / idle);
    console.error(`${name.padEnd(12)}${tokensPerSecond.toFixed(2).padStart(8)}  ${this.process.engine}`);
  }

  result(): EngineRates {
    return { engine: this.process.engine, rates: this.#rates, idleShare: Number(this.#idleShare.toFixed(4)) };
  }
}

/** Ids that no cache has seen: spread over the vocabulary by a multiplicative hash, short of the special tokens at its end. */
let asked = 0;
function prompt(length: number): number[] {
  return Array.from({ length }, () => (Math.imul(++asked, 2654435761) >>> 0) % 128_000);
}

/** Every engine's turn at every test, round by round, the first not counted. @returns GB/s that as many threads read, one number a round */
export async function measureAll(
  engines: readonly Engine[],
  bandwidth: Pick<ReadBandwidth, "measure">,
  rounds: number,
  depths: readonly number[],
  sequences: readonly number[],
): Promise<number[]> {
  const decode = { prefill: false, tokens: DECODE, depth: 0, length: SHORT, sequences: 1 };
  const tests = [
    { name: `pp${PREFILL}`, ...decode, prefill: true, tokens: PREFILL, length: PREFILL },
    { name: `tg${DECODE}`, ...decode },
    ...depths.map((depth) => ({ name: `tg${DECODE}@d${depth}`, ...decode, depth })),
    ...sequences.map((count) => ({ name: `tg${DECODE}x${count}`, ...decode, sequences: count })),
  ];
  const read: number[] = [];
  const deep = prompt(Math.max(0, ...depths)); // the same in every turn: what is timed begins behind it
  for (let round = -1; round < rounds; round++) {
    console.error(round < 0 ? "warming up" : `round ${round + 1} of ${rounds}`);
    if (round >= 0) read.push(Number((await bandwidth.measure()).toFixed(2)));
    for (const { name, length, sequences: count, ...test } of tests) {
      for (const engine of engines) {
        if (count > 1 && engine.process.one) continue;
        const prompts = Array.from({ length: count }, () => (test.depth > 0 ? deep.slice(0, test.depth) : prompt(length)));
        await engine.measure(name, { ...test, prompts }, round >= 0);
      }
    }
  }
  return read;
}

/** Room for the longest test of each sequence; sequences share this engine's cache. */
export function contextLength(depths: readonly number[], sequences: readonly number[]): number {
  const tokens = Math.max(PREFILL, ...depths.map((depth) => depth + DECODE), ...sequences.map((count) => count * (SHORT + DECODE)));
  return Math.ceil((tokens + 2) / 256) * 256;
}
