import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it, vi } from "vitest";
import { LlamaBench, readLlamaBench } from "./llama-bench.js";
import { Engine, measureAll, type PeerProcess, type PeerTest } from "./peer-turns.js";

const folder = mkdtempSync(join(tmpdir(), "bitnet-llama-bench-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** The object of llama-bench's README (`-o json`), of this test. */
const result = (nPrompt: number, nGen: number, nDepth: number, rate: number) => ({
  ...{ build_commit: "8cf427ff", build_number: 5163, cpu_info: "Some CPU", gpu_info: "", backends: "CPU" },
  ...{
    model_filename: "model.gguf",
    model_type: "bitnet-b1.58 2B I2_S - 2 bpw ternary",
    model_size: 812128128,
    model_n_params: 2412820480,
  },
  ...{ n_batch: 2048, n_ubatch: 512, n_threads: 2, cpu_mask: "0x0", cpu_strict: false, poll: 50, type_k: "f16", type_v: "f16" },
  ...{ n_gpu_layers: 99, split_mode: "layer", main_gpu: 0, no_kv_offload: false, flash_attn: false, tensor_split: "0.00", use_mmap: true },
  ...{ embeddings: false, n_prompt: nPrompt, n_gen: nGen, n_depth: nDepth, test_time: "2025-04-24T11:58:50Z" },
  ...{ avg_ns: 72135640, stddev_ns: 0, avg_ts: rate, stddev_ts: 0, samples_ns: [72135640], samples_ts: [rate] },
});

/** A stand-in for llama-bench: notes its arguments, and answers as the real one does. @param code what it does; `value(flag)` is an argument */
function standIn(name: string, code: string): string {
  const path = join(folder, name);
  const log = JSON.stringify(join(folder, `${name}.log`));
  const prelude = `const args = process.argv.slice(2); const value = (flag) => Number(args[args.indexOf(flag) + 1]);
    require("node:fs").appendFileSync(${log}, args.join(" ") + "\\n");`;
  writeFileSync(path, `#!${process.execPath}\n${prelude}\n${code}\n`, { mode: 0o755 });
  return path;
}

const ANSWER = `const depth = args.includes("-d") ? value("-d") : 0;
  const [p, n] = [value("-p"), value("-n")];
  console.log(JSON.stringify([{ ...${JSON.stringify(result(0, 0, 0, 1))}, n_prompt: p, n_gen: n, n_depth: depth, samples_ts: [p > 0 ? 70.5 : depth > 0 ? 16.8 : 25.5] }], undefined, 2));`;

it("reads a result, and refuses what is none or of another test", () => {
  const printed = JSON.stringify([result(512, 0, 0, 70.5)]);
  const test = { prompt: 512, generated: 0, depth: 0 };
  expect(readLlamaBench(printed, test)).toEqual({ commit: "8cf427ff", tokensPerSecond: 70.5 });
  const { n_depth: _none, ...old } = result(512, 0, 0, 70.5);
  expect(readLlamaBench(JSON.stringify([old]), test).tokensPerSecond).toBe(70.5);
  for (const bad of [
    "",
    "usage: x",
    "[]",
    "null",
    "[null]",
    "{}",
    JSON.stringify([result(512, 0, 0, 0)]),
    `[${printed.slice(1, -1)},${printed.slice(1)}`,
  ]) {
    expect(() => readLlamaBench(bad, test), bad).toThrow(/^bitnet\.cpp: [^\n]+$/);
  }
  const said = "bitnet.cpp: llama-bench printed no result of 0 prompt and 64 generated tokens at depth 9";
  expect(() => readLlamaBench(printed, { prompt: 0, generated: 64, depth: 9 })).toThrow(said);
  expect(() => readLlamaBench(printed, { ...test, depth: 2048 })).toThrow(/at depth 2048$/);
});

it("takes turns with the others in each round, and is not asked for several sequences", async () => {
  vi.spyOn(console, "error").mockImplementation(() => {}); // its progress
  const program = standIn("llama-bench", ANSWER);
  const turns: string[] = [];
  const noting = (engine: string, inner?: LlamaBench): PeerProcess => ({
    ...{ engine, one: inner !== undefined, ready: async () => {}, close: () => {} },
    measure: async (test: PeerTest) => {
      turns.push(`${engine} ${test.prefill ? "pp" : "tg"}${test.tokens}@${test.depth}x${test.prompts.length}`);
      return inner ? inner.measure(test) : { tokensPerSecond: 10, idleCpuMs: 0 };
    },
  });
  const bench = new LlamaBench(program, "model.gguf", "I2_S, Q6_K", 2);
  await bench.ready();
  expect(bench.engine).toBe("bitnet.cpp 8cf427ff, I2_S, Q6_K");
  const engines = [noting("a"), noting("b", bench), noting("c")].map((process) => new Engine(process));
  expect(await measureAll(engines, { measure: async () => 25 }, 2, [2048], [4])).toEqual([25, 25]);
  const round = ["pp512@0x1", "tg64@0x1", "tg64@2048x1"].flatMap((test) => [`a ${test}`, `b ${test}`, `c ${test}`]);
  const all = [...round, "a tg64@0x4", "c tg64@0x4"];
  expect(turns).toEqual([...all, ...all, ...all]); // the first warms up
  expect(engines[1]!.result().rates).toEqual({ pp512: [70.5, 70.5], tg64: [25.5, 25.5], "tg64@d2048": [16.8, 16.8] });
  expect(engines[0]!.result().rates.tg64x4).toEqual([10, 10]);
  const common = "-m model.gguf -t 2 -r 1 -o json";
  const asked = ["-p 512 -n 0", "-p 0 -n 64", "-p 0 -n 64 -d 2048"].map((test) => `${common} ${test}`);
  expect(readFileSync(`${program}.log`, "utf8").trim().split("\n")).toEqual([`${common} -p 8 -n 0`, ...asked, ...asked, ...asked]);
});

it("says in one sentence what went wrong", async () => {
  const failing = standIn(
    "old-llama-bench",
    `console.error("error: invalid parameter for argument: -d\\nusage: llama-bench [options]"); process.exit(1);`,
  );
  const test: PeerTest = { prefill: false, tokens: 64, depth: 2048, prompts: [[1]] };
  await expect(new LlamaBench(failing, "m", "I2_S", 2).measure(test)).rejects.toThrow(
    /^bitnet\.cpp: old-llama-bench -p 0 -n 64 -d 2048 ended with 1: error: invalid parameter for argument: -d$/,
  );
  await expect(new LlamaBench(join(folder, "none"), "m", "I2_S", 2).ready()).rejects.toThrow(
    /^bitnet\.cpp: none can't be run: [^\n]*ENOENT$/,
  );
  await expect(new LlamaBench(standIn("llama-cli", `console.log("> hello")`), "m", "I2_S", 2).ready()).rejects.toThrow(
    /not the JSON of llama-bench/,
  );
});
