/**
 * How speed changes with the share of the down projections' inputs that are 0: `bitnet bench` on models of random weights whose gates are
 * shifted, turn by turn. `node dist/bench/zeros.js [--shape 2b4t] [--zeros 0.67,0.8,0.9] [--rounds 5] [-- further flags of bitnet bench]`
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { summarize } from "../validation/statistics/summary.js";
import { readFlags } from "./flags.js";
import type { Rate } from "./growth-report.js";
import { makeModel, SHAPES } from "./make-model.js";
import { beginRecord } from "./record.js";

/** What is read of the report of `bitnet bench --json`. */
interface Bench {
  readonly runs: readonly [
    {
      readonly threads: number;
      readonly tier: string;
      readonly tests: readonly { readonly tokensPerSecond: Rate; readonly skipped?: number }[];
    },
  ];
}

const TOKENS = { prefill: 512, decode: 64 };

const { values, positionals: flags } = readFlags(
  "node dist/bench/zeros.js [--shape 2b4t] [--zeros 0.67,0.8,0.9] [--rounds 5] [-- further flags of bitnet bench]",
  {
    shape: { type: "string", default: "2b4t" },
    zeros: { type: "string", default: "0.67,0.8,0.9" },
    rounds: { type: "string", default: "5" },
  },
  true,
);

/** One round of one model, behind a repetition that isn't counted. */
function measure(path: string): Bench["runs"][0] {
  const cli = fileURLToPath(new URL("../cli/main.js", import.meta.url));
  const tests = ["--pp", String(TOKENS.prefill), "--tg", String(TOKENS.decode), "--depth", "0", "--repetitions", "1"];
  const args = [cli, "bench", "--json", "--model", path, ...tests, ...flags];
  const { status, stdout } = spawnSync(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"], encoding: "utf8" });
  if (status !== 0) throw new Error(`bitnet bench ended with ${String(status)}: see its message above`);
  return (JSON.parse(stdout) as Bench).runs[0];
}

const [shape, rounds] = [SHAPES[values.shape], Number(values.rounds)];
const shares = values.zeros.split(",").map(Number);
if (!shape || shape.llama || !(rounds > 0) || !shares.every((share) => share > 0 && share < 1)) {
  const known = Object.keys(SHAPES).filter((name) => !SHAPES[name]!.llama);
  console.error(`--shape is one of ${known.join(", ")}; --zeros are numbers between 0 and 1, with commas; --rounds is a number`);
  process.exitCode = 2;
} else {
  const record = beginRecord("zeros");
  const folder = mkdtempSync(join(tmpdir(), "bitnet-zeros-"));
  try {
    const models = shares.map((zeros) => ({ zeros, path: join(folder, `${zeros}.gguf`), rounds: [] as Bench["runs"][0][] }));
    for (const { zeros, path } of models) {
      console.error(`writing a model of random weights: ${path}`);
      await makeModel(path, shape, "i2_s", "f16", { zeros });
    }
    for (let round = 0; round < rounds; round++) {
      console.error(`round ${round + 1} of ${rounds}`);
      for (const model of models) model.rounds.push(measure(model.path));
    }
    const rates = (all: readonly Bench["runs"][0][], test: number): Rate => {
      const { median, min, max } = summarize(all.map(({ tests }) => tests[test]!.tokensPerSecond.median));
      return { median, min, max };
    };
    const points = models.map(({ rounds: all }) => ({
      skipped: summarize(all.map(({ tests }) => tests[0]!.skipped ?? 0)).median,
      prefill: rates(all, 0),
      decode: rates(all, 1),
    }));
    const { tier, threads } = models[0]!.rounds[0]!;
    const made = await record({ shape: values.shape, tier, threads, rounds, tokens: TOKENS, flags, points });
    console.log(JSON.stringify(made, undefined, 2));
  } finally {
    rmSync(folder, { recursive: true });
  }
}
