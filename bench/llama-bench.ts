/**
 * bitnet.cpp as bench/peers.ts wants it: its `llama-bench`, a process for each turn, which loads the model and warms up before it measures.
 * It measures one sequence; and depths only if its version has `--n-depth`, which llama.cpp has had since May 2025.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { basename } from "node:path";
import { text } from "node:stream/consumers";
import { BitnetError } from "../engine/errors.js";
import type { PeerProcess, PeerReply, PeerTest } from "./peer-turns.js";

/** Which test: a prompt of `prompt` tokens, or `generated` tokens one by one; behind `depth` others. */
interface LlamaBenchTest {
  readonly prompt: number;
  readonly generated: number;
  readonly depth: number;
}

/** What is read of a result. */
interface LlamaBenchResult {
  readonly commit: string;
  readonly tokensPerSecond: number;
}

/** The only result of an array as `-o json` prints it. @throws BitnetError unsupported: there is none, or it is of another test */
export function readLlamaBench(printed: string, { prompt, generated, depth }: LlamaBenchTest): LlamaBenchResult {
  let results: unknown;
  try {
    results = JSON.parse(printed);
  } catch {
    throw new BitnetError(
      "unsupported",
      "bitnet.cpp: what it printed is not the JSON of llama-bench: give --bitnet-cpp the path of llama-bench",
    );
  }
  const [result] = (Array.isArray(results) && results.length === 1 ? results : [undefined]) as [
    Readonly<Record<string, unknown>> | undefined,
  ];
  // Older versions know no depth.
  const { build_commit: commit, n_prompt, n_gen, n_depth = 0, samples_ts } = result ?? {};
  const rate: unknown = Array.isArray(samples_ts) && samples_ts.length === 1 ? samples_ts[0] : undefined;
  const same = n_prompt === prompt && n_gen === generated && n_depth === depth;
  if (!same || typeof commit !== "string" || typeof rate !== "number" || !(rate > 0)) {
    const test = `${prompt} prompt and ${generated} generated tokens at depth ${depth}`;
    throw new BitnetError("unsupported", `bitnet.cpp: llama-bench printed no result of ${test}`);
  }
  return { commit, tokensPerSecond: rate };
}

export class LlamaBench implements PeerProcess {
  readonly one = true;
  engine = "bitnet.cpp";
  readonly #program: string;
  readonly #types: string;
  readonly #common: readonly string[];

  /** @param program path of llama-bench @param model path of a GGUF file that it reads @param types of the file's weights, for its name */
  constructor(program: string, model: string, types: string, threads: number) {
    this.#program = program;
    this.#types = types;
    this.#common = ["-m", model, "-t", String(threads), "-r", "1", "-o", "json"];
  }

  async ready(): Promise<void> {
    const { commit } = await this.#run({ prompt: 8, generated: 0, depth: 0 });
    this.engine = `bitnet.cpp ${commit}, ${this.#types}`;
  }

  async measure({ prefill, tokens, depth }: PeerTest): Promise<PeerReply> {
    const test = prefill ? { prompt: tokens, generated: 0, depth } : { prompt: 0, generated: tokens, depth };
    return { tokensPerSecond: (await this.#run(test)).tokensPerSecond, idleCpuMs: 0 };
  }

  async #run(of: LlamaBenchTest): Promise<LlamaBenchResult> {
    const { prompt, generated, depth } = of;
    const test = ["-p", String(prompt), "-n", String(generated), ...(depth > 0 ? ["-d", String(depth)] : [])];
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
    return readLlamaBench(printed, of);
  }

  close(): void {}
}
