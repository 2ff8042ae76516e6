/**
 * bitnet.cpp as bench/peers.ts wants it: its `llama-bench`, a process for each turn, which loads the model and warms up before it measures.
 * It measures one sequence; and depths only if its version has `--n-depth`, which llama.cpp has had since May 2025.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { basename } from "node:path";
import { text } from "node:stream/consumers";
import { BitnetError } from "../engine/errors.js";
import type { PeerProcess, PeerReply, PeerTest } from "./peers.js";

/** What is read of a result: an object of the array that `-o json` prints. */
interface LlamaBenchResult {
  readonly build_commit: string;
  /** For example `bitnet-b1.58 2B I2_S - 2 bpw ternary`. */
  readonly model_type: string;
  readonly n_prompt: number;
  readonly n_gen: number;
  /** Tokens per second, one number a repetition. */
  readonly samples_ts: readonly number[];
}

/** The single result of one test. @throws BitnetError unsupported: it is none, or of another test */
export function readLlamaBench(printed: string, nPrompt: number, nGen: number): LlamaBenchResult {
  let results: unknown;
  try {
    results = JSON.parse(printed);
  } catch {
    throw new BitnetError(
      "unsupported",
      "bitnet.cpp: what it printed is not the JSON of llama-bench: give --bitnet-cpp the path of llama-bench",
    );
  }
  const [result] = (Array.isArray(results) && results.length === 1 ? results : [{}]) as [Partial<LlamaBenchResult>];
  const { build_commit, model_type, n_prompt, n_gen, samples_ts } = result ?? {};
  const rate = Array.isArray(samples_ts) && samples_ts.length === 1 ? samples_ts[0] : undefined;
  if (typeof build_commit !== "string" || typeof model_type !== "string" || n_prompt !== nPrompt || n_gen !== nGen || !(rate > 0)) {
    throw new BitnetError("unsupported", `bitnet.cpp: llama-bench printed no result of ${nPrompt} prompt and ${nGen} generated tokens`);
  }
  return { build_commit, model_type, n_prompt, n_gen, samples_ts: [rate] };
}

export class LlamaBench implements PeerProcess {
  readonly one = true;
  engine = "bitnet.cpp";
  readonly #program: string;
  readonly #common: readonly string[];

  /** @param program path of llama-bench @param model path of a GGUF file that it reads */
  constructor(program: string, model: string, threads: number) {
    this.#program = program;
    this.#common = ["-m", model, "-t", String(threads), "-r", "1", "-o", "json"];
  }

  async ready(): Promise<void> {
    const { build_commit, model_type } = await this.#run(8, 0, 0);
    this.engine = `bitnet.cpp ${build_commit}, ${model_type}`;
  }

  async measure({ prefill, tokens, depth }: PeerTest): Promise<PeerReply> {
    const { samples_ts } = prefill ? await this.#run(tokens, 0, 0) : await this.#run(0, tokens, depth);
    return { tokensPerSecond: samples_ts[0]!, idleCpuMs: 0 };
  }

  async #run(nPrompt: number, nGen: number, depth: number): Promise<LlamaBenchResult> {
    const test = ["-p", String(nPrompt), "-n", String(nGen), ...(depth > 0 ? ["-d", String(depth)] : [])];
    const child = spawn(this.#program, [...this.#common, ...test], { stdio: ["ignore", "pipe", "pipe"] });
    const outputs = Promise.all([text(child.stdout), text(child.stderr), once(child, "close")]);
    const [printed, said, [status]] = await outputs.catch((error: Error) => {
      throw new BitnetError("io", `bitnet.cpp: ${basename(this.#program)} can't be run: ${error.message}`);
    });
    if (status !== 0) {
      const line = said.split("\n").find((one) => /error|invalid|fail/i.test(one)) ?? said.trim().split("\n").at(-1)!;
      throw new BitnetError(
        "unsupported",
        `bitnet.cpp: ${basename(this.#program)} ${test.join(" ")} ended with ${String(status)}: ${line.trim()}`,
      );
    }
    return readLlamaBench(printed, nPrompt, nGen);
  }

  close(): void {}
}
