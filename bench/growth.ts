/**
 * How speed changes with the length of the context and the size of the model: `bitnet bench` on models of random weights.
 * `node dist/bench/growth.js [--shapes 125m,0.7b,2b4t] [--lengths 256,512,1024,2048,4000] [--repetitions 3] [-- further flags of bitnet bench]`
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readFlags } from "./flags.js";
import type { GrowthPoint, GrowthSeries, Rate } from "./growth-report.js";
import { makeModel, SHAPES } from "./make-model.js";
import { beginRecord } from "./record.js";

/** What is read of the report of `bitnet bench --json`. */
interface Bench {
  readonly model: { readonly parameters: number };
  readonly runs: readonly {
    readonly threads: number;
    readonly tier: string;
    readonly tests: readonly {
      readonly depth: number;
      readonly tokens: number;
      readonly prefill: boolean;
      readonly tokensPerSecond: Rate;
    }[];
  }[];
}

/** Tokens that are timed at each depth. */
const DECODE = 32;

const { values, positionals: flags } = readFlags(
  "node dist/bench/growth.js [--shapes 125m,0.7b,2b4t] [--lengths 256,512] [--repetitions 3] [-- further flags of bitnet bench]",
  {
    shapes: { type: "string", default: "125m,0.7b,2b4t" },
    lengths: { type: "string", default: "256,512,1024,2048,4000" },
    repetitions: { type: "string", default: "3" },
  },
  true,
);

function bench(path: string): Bench {
  const cli = fileURLToPath(new URL("../cli/main.js", import.meta.url));
  const tests = ["--pp", values.lengths, "--tg", String(DECODE), "--depth", `0,${values.lengths}`, "--repetitions", values.repetitions];
  const args = [cli, "bench", "--json", "--model", path, ...tests, ...flags];
  const { status, stdout } = spawnSync(process.execPath, args, {
    stdio: ["ignore", "pipe", "inherit"],
    encoding: "utf8",
    maxBuffer: 1 << 24,
  });
  if (status !== 0) throw new Error(`bitnet bench ended with ${String(status)}: see its message above`);
  return JSON.parse(stdout) as Bench;
}

const record = beginRecord("growth");
const folder = mkdtempSync(join(tmpdir(), "bitnet-growth-"));
try {
  const series: GrowthSeries[] = [];
  let run: Bench["runs"][number] | undefined;
  for (const shape of values.shapes.split(",")) {
    const known = SHAPES[shape];
    if (!known) throw new Error(`--shapes: ${shape} is none of ${Object.keys(SHAPES).join(", ")}`);
    console.error(shape);
    const path = join(folder, `${shape}.gguf`);
    await makeModel(path, known, "i2_s", "f16");
    const { model, runs } = bench(path);
    rmSync(path);
    run = runs[0]!;
    const points = (prefill: boolean): GrowthPoint[] =>
      run!.tests
        .filter((test) => test.prefill === prefill)
        .map(({ depth, tokens, tokensPerSecond: { median, min, max } }) => ({ at: prefill ? tokens : depth, rate: { median, min, max } }));
    series.push({ shape, parameters: model.parameters, prefill: points(true), decode: points(false) });
  }
  console.log(JSON.stringify(await record({ tier: run!.tier, threads: run!.threads, flags, series }), undefined, 2));
} finally {
  rmSync(folder, { recursive: true });
}
