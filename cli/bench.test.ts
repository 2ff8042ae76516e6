import { expect, it } from "vitest";
import { summarize } from "../validation/statistics/summary.js";
import { planTests } from "./bench.js";
import { type BenchReport, benchMarkdown, benchTable } from "./bench-table.js";

it("plans every prefill, then every decode at every depth; 0 tokens are no test", () => {
  const names = (pp: number[], tg: number[], depth: number[]): string[] => planTests({ pp, tg, depth }).map(({ name }) => name);
  expect(names([128, 512], [64], [0, 512])).toEqual(["pp128", "pp512", "tg64", "tg64@d512"]);
  expect(names([0], [8, 16], [0, 4])).toEqual(["tg8", "tg8@d4", "tg16", "tg16@d4"]);
  expect(names([32], [0], [0, 512])).toEqual(["pp32"]);
});

const report: BenchReport = {
  version: "0.1.0",
  date: "2026-01-02T03:04:05.678Z",
  node: "v20.0.0",
  system: { platform: "linux", arch: "x64", cpu: "Some CPU", cores: 2 },
  model: {
    ...{ path: "a|\u001b[2Jb.gguf", name: undefined, architecture: "bitnet-b1.58", parameters: 2_412_820_480, fileSize: 1_183_186_432 },
    ...{ sha256: "00ff", quantisation: { linears: "I2_S", embedding: "F16", norms: "F32", activations: "int8 per token" } },
  },
  settings: { ctx: 1024 },
  contextLength: 1024,
  repetitions: 3,
  runs: [
    {
      ...{ threads: 2, tier: "plain", why: "asked for", loadMs: 900.1 },
      tests: [
        { name: "pp512", depth: 0, tokens: 512, prefill: true, tokensPerSecond: summarize([120.44, 99.987, 121]) },
        { name: "tg64", depth: 0, tokens: 64, prefill: false, tokensPerSecond: summarize([9.004, 9.1, 8.5]) },
      ],
    },
  ],
  leftOut: [],
};

const FACTS = [
  "model: a|\\x1b[2Jb.gguf, 2.41 billion parameters, 1183.2 MB, I2_S, embedding F16",
  "kernels: plain (asked for); context 1024; --ctx 1024",
  "bitnet-ts 0.1.0, Node v20.0.0, linux x64, Some CPU, 2 cores, 2026-01-02",
  "tokens per second, median of 3",
];

it("shows a report to a person, in columns", () => {
  expect(benchTable(report).split("\n")).toEqual([
    ...FACTS,
    "",
    "test   threads  tokens/s    min    max",
    "pp512        2     120.4  99.99  121.0",
    "tg64         2      9.00   8.50   9.10",
    "",
  ]);
});

it("shows what was left out, where something was looked for", () => {
  const [run] = report.runs;
  const tests = run!.tests.map((test) => (test.prefill ? { ...test, skipped: 0.7849 } : test));
  expect(
    benchTable({ ...report, runs: [{ ...run!, tests }] })
      .split("\n")
      .slice(5),
  ).toEqual([
    "test   threads  tokens/s    min    max  zeros left out",
    "pp512        2     120.4  99.99  121.0            78 %",
    "tg64         2      9.00   8.50   9.10",
    "",
  ]);
});

it("shows a report as Markdown", () => {
  expect(benchMarkdown(report).split("\n")).toEqual([
    ...FACTS.map((fact) => `- ${fact}`),
    "",
    "| test | threads | tokens/s | min | max |",
    "|---|---:|---:|---:|---:|",
    "| pp512 | 2 | 120.4 | 99.99 | 121.0 |",
    "| tg64 | 2 | 9.00 | 8.50 | 9.10 |",
    "",
  ]);
});
