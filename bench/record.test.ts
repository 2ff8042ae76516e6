import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, expect, it } from "vitest";
import { THOROUGH } from "../engine/thorough.test.helper.js";
import { checkRecord } from "../validation/records/records.js";
import { EXAMPLES } from "../validation/records/records.test.helper.js";
import { type BenchRecord, type BenchReports, beginRecord, reportOf } from "./record.js";
import { readResult } from "./report.js";

const folder = mkdtempSync(join(tmpdir(), "bitnet-bench-"));
afterAll(() => rmSync(folder, { recursive: true }));

const example = EXAMPLES["bench-record"] as unknown as BenchRecord;
const engine = { engine: "one", rates: { pp512: [50, 51], tg64: [10, 11] }, idleShare: 0 };
const rate = { median: 160, min: 150, max: 170 };
const results: { readonly [Bench in keyof BenchReports]: BenchRecord<Bench>["result"] } = {
  growth: example.result as BenchRecord<"growth">["result"],
  kernels: {
    tiers: { plain: { read: 18, dot: 50, f32: 24 } },
    results: [
      {
        ...{ kernel: "rope", tier: "plain", data: "cached", microseconds: 1, gmacs: 0, gbytes: 20 },
        ...{ ofRead: undefined, ofMultipliers: undefined, timesScalar: 4 },
      },
    ],
  },
  peers: {
    ...{ shape: "2b4t", threads: 2, rounds: 2, settings: { kv: "q8" }, read: [30, 31] },
    ...{ peer: engine, others: [engine], ours: [{ ...engine, rates: { ...engine.rates, "tg64@d4000": [5, 6], tg64x8: [20, 21] } }] },
  },
  startup: {
    threads: 2,
    context: 2048,
    nodes: [{ node: "v20.0.0", first: rate, loads: [{ kv: "q8", milliseconds: 700, megabytes: 1000 }] }],
  },
  zeros: {
    ...{ shape: "2b4t", tier: "relaxed", threads: 2, rounds: 5, tokens: { prefill: 512, decode: 64 }, flags: [] },
    points: [{ skipped: 0.67, prefill: rate, decode: rate }],
  },
};

it("a record has provenance, the machine's state, and the report in it", async () => {
  for (const bench of Object.keys(results) as (keyof BenchReports)[]) {
    const record = await beginRecord(bench)(results[bench]);
    expect(record).toMatchObject({
      kind: "bench-record",
      bench,
      provenance: { schema_version: 1, node: process.version, numerics_version: 1 },
    });
    const { machine, ...rest } = reportOf(record);
    expect(machine).toMatchObject({ node: process.version, date: record.provenance.date.slice(0, 10) });
    expect(rest).toEqual(results[bench]);
    // A report belongs to its own benchmark.
    for (const other of Object.keys(results)) {
      const asOther = { ...record, bench: other };
      if (other === bench) expect(() => checkRecord("bench-record", asOther, "x.json")).not.toThrow();
      else expect(() => checkRecord("bench-record", asOther, "x.json"), `${bench} as ${other}`).toThrow(/^x\.json: \/result /);
    }
  }
  await expect(beginRecord("startup")({ ...results.startup, threads: 0 })).rejects.toMatchObject({
    code: "file",
    message: expect.stringContaining("/result/threads must be >= 1"),
  });
});

it("a record shows programs and models by their names alone", () => {
  const script = `import(${JSON.stringify(new URL("./record.js", import.meta.url).href)}).then(async ({ beginRecord }) => {
    const record = await beginRecord("growth")(${JSON.stringify(results.growth)});
    console.log(JSON.stringify(record.provenance.cli_args));
  });`;
  const args = ["--node", "/opt/node26/bin/node", "--ours", "../models/2b4t.gguf", "--depth", "2048"];
  const { stdout } = spawnSync(process.execPath, ["-e", script, "bench.js", ...args], { encoding: "utf8" });
  expect(JSON.parse(stdout)).toEqual(["--node", "node", "--ours", "2b4t.gguf", "--depth", "2048"]);
});

it("results without schema or provenance, or that are not valid, never reach the page", () => {
  const root = join(folder, "clone");
  mkdirSync(join(root, "bench/results"), { recursive: true });
  const put = (name: string, record: object): void => writeFileSync(join(root, `bench/results/${name}.json`), JSON.stringify(record));
  const { provenance, ...bare } = example;
  const refusals: readonly (readonly [name: string, record: object, said: string])[] = [
    ["growth", bare, "bench/results/growth.json: / must have required property 'provenance'"],
    ["growth", { machine: {}, series: [] }, "bench/results/growth.json: / must have required property 'kind'"],
    ["growth", { ...example, provenance: { ...provenance, schema_version: 2 } }, "bench/results/growth.json: /provenance/schema_version"],
    ["growth", { ...example, load_average: 40 }, "bench/results/growth.json: /load_average is 40, but at most 1 on 2 cores"],
    ["growth", { ...example, provenance: { ...provenance, numerics_version: 99 } }, "/provenance/numerics_version is 99"],
    ["peers-q8", example, "bench/results/peers-q8.json is the record of growth: it was renamed or swapped"],
  ];
  for (const [name, record, said] of refusals) {
    put(name, record);
    expect(() => readResult(name, root), said).toThrow(said);
  }
  put("growth", example);
  expect(readResult("growth", root)).toMatchObject({ machine: { cpu: "Some CPU" }, series: [{ shape: "125m" }] });
  expect(readResult("none", root)).toBeUndefined();

  put("growth", bare);
  mkdirSync(join(root, "docs"));
  writeFileSync(join(root, "docs/performance.md"), "<!-- result growth -->\n<!-- end -->\n");
  const { status, stderr } = spawnSync(process.execPath, [resolve("dist/bench/report.js")], { cwd: root, encoding: "utf8" });
  expect({ status, stderr }).toEqual({
    status: 1,
    stderr: expect.stringMatching(/^error: bench\/results\/growth\.json: \/ must have required property 'provenance'[^\n]*\n$/),
  });
});

// Takes seconds: CI runs it.
it.runIf(THOROUGH)("a benchmark prints a record", () => {
  const args = ["dist/bench/kernels.js", "--json", "--tier", "plain", "--only", "rope", "--time", "1"];
  const { status, stdout } = spawnSync(process.execPath, args, { encoding: "utf8" });
  expect(status).toBe(0);
  const record = JSON.parse(stdout) as BenchRecord<"kernels">;
  expect(() => checkRecord("bench-record", record, "x.json")).not.toThrow();
  expect(record.provenance.cli_args).toEqual(args.slice(1));
});
