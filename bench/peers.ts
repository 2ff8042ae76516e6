/**
 * Measures this engine beside node-llama-cpp on files of the same shape, in one run, turn by turn: A B A B … Each engine is a process of its
 * own that keeps its model loaded and sleeps while another works.
 *
 * `npm run bench:peers -- --embed`: texts per second of embeddings; see embed-peers.ts.
 * `npm run bench:peers -- [--shape 2b4t] [--node PATH]… [--ours FILE] [--peer FILE] [--rounds 5] [--threads 2] [--kv f32|k16|q8] [--head exact|two-stage] [--depth 2048] [--json]`
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { KV_TYPES } from "../engine/numerics.js";
import { ReadBandwidth } from "./bandwidth.js";
import { embedPeers } from "./embed-peers.js";
import { BONSAI_SHAPES, makeBonsai } from "./make-bonsai.js";
import { makeModel, SHAPES } from "./make-model.js";
import { type EngineRates, peersTable } from "./peers-report.js";
import { beginRecord, reportOf } from "./record.js";

/** What an engine's process is told to measure. */
export interface PeerTest {
  /** The whole prompt at once; otherwise tokens one by one behind it. */
  readonly prefill: boolean;
  /** Tokens timed. */
  readonly tokens: number;
  readonly prompt: readonly number[];
}

/** What it answers. */
export interface PeerReply {
  readonly tokensPerSecond: number;
  /** Processor time since its last turn: of threads that should have slept. */
  readonly idleCpuMs: number;
}

const PREFILL = 512;
const DECODE = 64;
/** What is in the cache before a decode at "short context". */
const SHORT = 9;
/** Room for the longest test. */
const contextLength = (depth: number): number => Math.ceil((Math.max(PREFILL, depth + DECODE) + 2) / 256) * 256;

/** A loaded engine in a process of its own. */
class Engine {
  readonly #child: ChildProcess;
  readonly #failed: Promise<never>;
  readonly #rates: Record<string, number[]> = {};
  #name = "";
  /** The most of a core that it used while others worked. */
  #idleShare = 0;
  #lastTurn = Number.NaN;

  constructor(script: URL, node: string, request: object) {
    this.#child = fork(fileURLToPath(script), [JSON.stringify(request)], { execPath: node, execArgv: [] });
    this.#failed = once(this.#child, "exit").then(([code]) => {
      throw new Error(`${fileURLToPath(script)} ended with ${String(code)}: see its message above`);
    });
    this.#failed.catch(() => {}); // it ends when all is done, too
  }

  async ready(): Promise<void> {
    this.#name = (await this.#message<{ engine: string }>()).engine;
    console.error(`ready: ${this.#name}`);
  }

  /** One turn; kept unless it is to warm up. */
  async measure(name: string, test: PeerTest, keep: boolean): Promise<void> {
    const idle = performance.now() - this.#lastTurn;
    this.#child.send(test);
    const { tokensPerSecond, idleCpuMs } = await this.#message<PeerReply>();
    this.#lastTurn = performance.now();
    if (!keep) return;
    this.#rates[name] ??= [];
    this.#rates[name].push(Number(tokensPerSecond.toFixed(3)));
    this.#idleShare = Math.max(this.#idleShare, idleCpuMs / idle);
    console.error(`${name.padEnd(12)}${tokensPerSecond.toFixed(2).padStart(8)}  ${this.#name}`);
  }

  result(): EngineRates {
    return { engine: this.#name, rates: this.#rates, idleShare: Number(this.#idleShare.toFixed(4)) };
  }

  #message<T>(): Promise<T> {
    return Promise.race([once(this.#child, "message").then(([message]) => message as T), this.#failed]);
  }

  close(): void {
    this.#child.kill();
  }
}

/** Ids that no cache has seen: spread over the vocabulary by a multiplicative hash, short of the special tokens at its end. */
let asked = 0;
function prompt(length: number): number[] {
  return Array.from({ length }, () => (Math.imul(++asked, 2654435761) >>> 0) % 128_000);
}

async function measureAll(
  engines: { readonly peer: Engine; readonly ours: readonly Engine[] },
  bandwidth: ReadBandwidth,
  rounds: number,
  depth: number,
): Promise<number[]> {
  const tests = [
    { name: `pp${PREFILL}`, prefill: true, tokens: PREFILL, prompt: PREFILL, all: true },
    { name: `tg${DECODE}`, prefill: false, tokens: DECODE, prompt: SHORT, all: true },
    ...(depth > 0 ? [{ name: `tg${DECODE}@d${depth}`, prefill: false, tokens: DECODE, prompt: depth, all: false }] : []),
  ];
  const read: number[] = [];
  const { peer, ours } = engines;
  const deep = prompt(depth); // computed once: what is timed begins behind it
  for (let round = -1; round < rounds; round++) {
    console.error(round < 0 ? "warming up" : `round ${round + 1} of ${rounds}`);
    if (round >= 0) read.push(Number((await bandwidth.measure()).toFixed(2)));
    for (const { name, prefill, tokens, prompt: length, all } of tests) {
      for (const engine of all ? [peer, ...ours] : ours) {
        const test: PeerTest = { prefill, tokens, prompt: all ? prompt(length) : deep };
        await engine.measure(name, test, round >= 0);
      }
    }
  }
  return read;
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
      depth: { type: "string", default: "0" },
      json: { type: "boolean", default: false },
      embed: { type: "boolean", default: false },
    },
  });
  const { shape, head } = values;
  const kv = KV_TYPES.find((type) => type === values.kv);
  const [rounds, threads, depth] = [values.rounds, values.threads, values.depth].map(Number) as [number, number, number];
  const bonsai = BONSAI_SHAPES[shape];
  if (!((shape in SHAPES || bonsai) && rounds > 0 && threads > 0 && depth >= 0)) {
    console.error(
      `--shape is one of ${[...Object.keys(SHAPES), ...Object.keys(BONSAI_SHAPES)].join(", ")}; --rounds, --threads and --depth are numbers`,
    );
    process.exitCode = 2;
    return;
  }
  if (values.kv !== undefined && !kv) {
    console.error(`--kv is one of ${KV_TYPES.join(", ")}`);
    process.exitCode = 2;
    return;
  }
  if (values.embed) return embedPeers(values.node, rounds, threads);
  const settings = { ...(kv !== undefined && { kv }), ...(head !== undefined && { head }) };

  let folder: string | undefined;
  const file = async (given: string | undefined, of: "ours" | "peer"): Promise<string> => {
    if (given !== undefined) return given;
    folder ??= mkdtempSync(join(tmpdir(), "bitnet-peers-"));
    const path = join(folder, `${shape}-${of}.gguf`);
    console.error(`writing a model of random weights: ${path}`);
    if (bonsai) await makeBonsai(path, bonsai, of === "ours" ? bonsai.types[0]! : "tq2_0");
    else await makeModel(path, SHAPES[shape]!, of === "ours" ? "i2_s" : "tq2_0", "f16");
    return path;
  };
  const engines: Engine[] = [];
  const record = beginRecord("peers");
  // Ctrl-C reaches the engines too: their end ends this, and what was written is removed.
  process.once("SIGINT", () => {});
  let bandwidth: ReadBandwidth | undefined;
  try {
    const common = { threads, contextLength: contextLength(depth) };
    const start = async (script: string, node: string, request: object): Promise<Engine> => {
      const engine = new Engine(new URL(script, import.meta.url), node, request);
      engines.push(engine);
      await engine.ready();
      return engine;
    };
    const peer = await start("../../bench/peers/node-llama-cpp.mjs", process.execPath, {
      path: await file(values.peer, "peer"),
      ...common,
    });
    const path = await file(values.ours, "ours");
    const ours: Engine[] = [];
    for (const node of values.node) ours.push(await start("./peers-ours.js", node, { path, ...common, ...settings }));
    bandwidth = new ReadBandwidth(threads);
    const read = await measureAll({ peer, ours }, bandwidth, rounds, depth);
    const made = await record({
      ...{ shape, threads, rounds, settings, read },
      ...{ peer: peer.result(), ours: ours.map((engine) => engine.result()) },
    });
    console.log(values.json ? JSON.stringify(made, undefined, 2) : peersTable(reportOf(made)));
  } finally {
    for (const engine of engines) engine.close();
    await bandwidth?.close();
    if (folder !== undefined) rmSync(folder, { recursive: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
