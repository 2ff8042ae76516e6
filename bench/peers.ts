/**
 * Measures this engine beside node-llama-cpp, and bitnet.cpp where there is one, on files of the same shape, in one run, turn by turn: A B C A B
 * C … Each engine is a process of its own that keeps its model loaded and sleeps while another works; bitnet.cpp's is one for each turn.
 *
 * `npm run bench:peers -- --embed`: texts per second of embeddings; see embed-peers.ts.
 * `npm run bench:peers -- [--shape 2b4t] [--node PATH]… [--ours FILE] [--peer FILE] [--bitnet-cpp PATH] [--rounds 5] [--threads 2] [--kv f32|q8] [--head exact|two-stage] [--depth 2048]… [--sequences 2,4,8] [--json]`
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { BitnetError } from "../engine/errors.js";
import { ReadBandwidth } from "./bandwidth.js";
import { embedPeers } from "./embed-peers.js";
import { LlamaBench } from "./llama-bench.js";
import { BONSAI_SHAPES, makeBonsai } from "./make-bonsai.js";
import { makeModel, SHAPES } from "./make-model.js";
import { type EngineRates, peersTable } from "./peers-report.js";
import { beginRecord, reportOf } from "./record.js";

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

/** A process that keeps its model loaded. */
class ForkedPeer implements PeerProcess {
  readonly one = false;
  engine = "";
  readonly #child: ChildProcess;
  readonly #failed: Promise<never>;

  constructor(script: URL, node: string, request: object) {
    this.#child = fork(fileURLToPath(script), [JSON.stringify(request)], { execPath: node, execArgv: [] });
    this.#failed = once(this.#child, "exit").then(([code]) => {
      throw new Error(`${fileURLToPath(script)} ended with ${String(code)}: see its message above`);
    });
    this.#failed.catch(() => {}); // it ends when all is done, too
  }

  async ready(): Promise<void> {
    this.engine = (await this.#message<{ engine: string }>()).engine;
  }

  measure(test: PeerTest): Promise<PeerReply> {
    this.#child.send(test);
    return this.#message<PeerReply>();
  }

  #message<T>(): Promise<T> {
    return Promise.race([once(this.#child, "message").then(([message]) => message as T), this.#failed]);
  }

  close(): void {
    this.#child.kill();
  }
}

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
function contextLength(depths: readonly number[], sequences: readonly number[]): number {
  const tokens = Math.max(PREFILL, ...depths.map((depth) => depth + DECODE), ...sequences.map((count) => count * (SHORT + DECODE)));
  return Math.ceil((tokens + 2) / 256) * 256;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      shape: { type: "string", default: "2b4t" },
      node: { type: "string", multiple: true, default: [process.execPath] },
      ours: { type: "string" },
      peer: { type: "string" },
      rounds: { type: "string", default: "5" },
      threads: { type: "string", default: "2" },
      kv: { type: "string" },
      head: { type: "string" },
      "bitnet-cpp": { type: "string" },
      depth: { type: "string", multiple: true, default: [] },
      sequences: { type: "string", default: "1" },
      json: { type: "boolean", default: false },
      embed: { type: "boolean", default: false },
    },
  });
  const { shape, kv, head, "bitnet-cpp": bitnetCpp } = values;
  const [rounds, threads] = [Number(values.rounds), Number(values.threads)];
  const whole = (values: readonly string[], least: number): number[] | undefined => {
    const numbers = values.map(Number);
    return numbers.every((number) => Number.isInteger(number) && number >= least) ? numbers.filter((number) => number > least) : undefined;
  };
  // Of no depth and of one sequence is decode at short context, which is always measured.
  const [depths, sequences] = [whole(values.depth, 0), whole(values.sequences.split(","), 1)];
  const bonsai = BONSAI_SHAPES[shape];
  if (!((shape in SHAPES || bonsai) && rounds > 0 && threads > 0 && depths && sequences && (bitnetCpp === undefined || shape in SHAPES))) {
    console.error(
      `--shape is one of ${[...Object.keys(SHAPES), ...Object.keys(BONSAI_SHAPES)].join(", ")}; --rounds, --threads and --depth are numbers, --sequences numbers with commas; bitnet.cpp has no Bonsai`,
    );
    process.exitCode = 2;
    return;
  }
  if (values.embed) return embedPeers(values.node, rounds, threads);
  const settings = { ...(kv !== undefined && { kv }), ...(head !== undefined && { head }) };

  let folder: string | undefined;
  const file = async (given: string | undefined, of: "ours" | "peer" | "bitnet.cpp"): Promise<string> => {
    if (given !== undefined) return given;
    folder ??= mkdtempSync(join(tmpdir(), "bitnet-peers-"));
    const path = join(folder, `${shape}-${of}.gguf`);
    console.error(`writing a model of random weights: ${path}`);
    if (bonsai) await makeBonsai(path, bonsai, of === "ours" ? bonsai.types[0]! : "tq2_0");
    else await makeModel(path, SHAPES[shape]!, of === "peer" ? "tq2_0" : "i2_s", of === "bitnet.cpp" ? "q6_k" : "f16");
    return path;
  };
  const engines: Engine[] = [];
  const record = beginRecord("peers");
  // Ctrl-C reaches the engines too: their end ends this, and what was written is removed.
  process.once("SIGINT", () => {});
  let bandwidth: ReadBandwidth | undefined;
  try {
    const common = { threads, contextLength: contextLength(depths, sequences) };
    const start = async (process: PeerProcess): Promise<Engine> => {
      const engine = new Engine(process);
      engines.push(engine);
      await process.ready();
      console.error(`ready: ${process.engine}`);
      return engine;
    };
    const forked = (script: string, node: string, request: object): Promise<Engine> =>
      start(new ForkedPeer(new URL(script, import.meta.url), node, request));
    const others: Engine[] = [];
    if (bitnetCpp !== undefined)
      others.push(await start(new LlamaBench(bitnetCpp, await file(undefined, "bitnet.cpp"), "I2_S, Q6_K", threads)));
    const peer = await forked("../../bench/peers/node-llama-cpp.mjs", process.execPath, {
      path: await file(values.peer, "peer"),
      threads,
    });
    const path = await file(values.ours, "ours");
    const ours: Engine[] = [];
    for (const node of values.node) ours.push(await forked("./peers-ours.js", node, { path, ...common, ...settings }));
    bandwidth = new ReadBandwidth(threads);
    const read = await measureAll([peer, ...others, ...ours], bandwidth, rounds, depths, sequences);
    const results = (some: readonly Engine[]): EngineRates[] => some.map((engine) => engine.result());
    const made = await record({
      ...{ shape, threads, rounds, settings, read, peer: peer.result() },
      ...(others.length > 0 && { others: results(others) }),
      ours: results(ours),
    });
    console.log(values.json ? JSON.stringify(made, undefined, 2) : peersTable(reportOf(made)));
  } catch (error) {
    if (!(error instanceof BitnetError)) throw error;
    console.error(`error: ${error.message}`);
    process.exitCode = 1;
  } finally {
    for (const engine of engines) engine.process.close();
    await bandwidth?.close();
    if (folder !== undefined) rmSync(folder, { recursive: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
