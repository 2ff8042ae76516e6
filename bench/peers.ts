/**
 * Measures this engine beside node-llama-cpp, and bitnet.cpp where there is one, on files of the same shape, in one run, turn by turn: A B C A B
 * C … Each engine is a process of its own that keeps its model loaded and sleeps while another works; bitnet.cpp's is one for each turn.
 *
 * `npm run bench:peers -- --embed`: texts per second of embeddings; see embed-peers.ts.
 * `npm run bench:peers -- [--shape 2b4t] [--node PATH]… [--ours FILE] [--peer FILE] [--bitnet-cpp PATH] [--rounds 5] [--threads 2] [--kv f32|k16|q8] [--head exact|two-stage] [--depth 2048]… [--sequences 2,4,8] [--json]`
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { BitnetError } from "../engine/errors.js";
import { KV_TYPES } from "../engine/numerics.js";
import { ReadBandwidth } from "./bandwidth.js";
import { embedPeers } from "./embed-peers.js";
import { readFlags } from "./flags.js";
import { LlamaBench } from "./llama-bench.js";
import { BONSAI_SHAPES, makeBonsai } from "./make-bonsai.js";
import { makeModel, SHAPES } from "./make-model.js";
import { contextLength, Engine, measureAll, type PeerProcess, type PeerReply, type PeerTest } from "./peer-turns.js";
import { type EngineRates, peersTable } from "./peers-report.js";
import { beginRecord, reportOf } from "./record.js";

/** A process that keeps its model loaded. */
class ForkedPeer implements PeerProcess {
  readonly one = false;
  engine = "";
  readonly #child: ChildProcess;
  readonly #failed: Promise<never>;

  constructor(script: URL, node: string, request: object) {
    this.#child = fork(fileURLToPath(script), [JSON.stringify(request)], { execPath: node, execArgv: [] });
    this.#failed = once(this.#child, "exit").then(([code]) => {
      throw new BitnetError("internal", `${fileURLToPath(script)} ended with ${String(code)}: see its message above`);
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

async function main(): Promise<void> {
  const { values } = readFlags(
    "npm run bench:peers -- [--shape 2b4t] [--node PATH]… [--ours FILE] [--peer FILE] [--bitnet-cpp PATH] [--rounds 5] [--threads 2] [--kv f32|k16|q8] [--head exact|two-stage] [--depth 2048]… [--sequences 2,4,8] [--json] | --embed",
    {
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
  );
  const { shape, head, "bitnet-cpp": bitnetCpp } = values;
  const kv = KV_TYPES.find((type) => type === values.kv);
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
  if (values.kv !== undefined && !kv) {
    console.error(`--kv is one of ${KV_TYPES.join(", ")}`);
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
    if (!existsSync(fileURLToPath(new URL("../../bench/peers/node_modules/node-llama-cpp", import.meta.url))))
      throw new BitnetError("usage", "node-llama-cpp is not installed: npm run bench:peers installs it");
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
