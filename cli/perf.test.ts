import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { THOROUGH } from "../engine/thorough.test.helper.js";
import { HISTORY_FILE, readHistory } from "../validation/performance/history.js";
import { METRIC_NAMES, METRICS, type PerfRecord, perfPath, readPerf } from "../validation/performance/perf.js";
import { examplePair } from "../validation/performance/perf.test.helper.js";
import { PERF_PAGE, renderPerf, strangePictures } from "../validation/performance/render.js";
import { checkStored, pairFault, perfRecordPaths } from "../validation/performance/stored.js";
import { kernelSha256 } from "../validation/records/provenance.js";
import { writeRecord } from "../validation/records/records.js";
import { distribution } from "../validation/statistics/summary.js";
import { bitnetHere, type Ended } from "./here.test.helper.js";

// `bitnet perf` and `bitnet perf render` as a user meets them, in a folder of their own.

const MAIN = resolve("dist/bundle/bitnet.cjs");
const folder = mkdtempSync(join(tmpdir(), "bitnet-cli-perf-"));
afterAll(() => rmSync(folder, { recursive: true }));

function bitnet(...args: string[]): { code: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], { cwd: folder, encoding: "utf8", timeout: 600_000 });
  return { code: status, stdout, stderr };
}

const small = ["perf", "--ctx", "64", "--threads", "1", "--iterations", "2"];
const NAME = "perf-bitnet-stories-4m-gguf.json";
const RECORD = join(folder, "bench/results", NAME);
let record: PerfRecord;

beforeAll(async () => {
  const { code, stdout, stderr } = bitnet(...small);
  // Whatever else this machine does, two samples are too few.
  expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringMatching(/^(?:note: not valid as evidence: .*\n)*$/) });
  expect(stderr).toContain("/settings/iterations is 2, but at least 10 samples are needed");
  expect(stdout).toMatch(
    /^bitnet-stories-4m, gguf: prompt of 47 tokens, 16 generated, 2 processes; \w+ kernels, 1 thread\n\n +median +p95/,
  );
  expect(stdout.replaceAll("\\", "/")).toContain(`\nbench/results/${NAME}\n`);
  record = await readPerf(RECORD);
});

it("stores what it measured, with the command", () => {
  expect(record.provenance.cli_args).toEqual(small);
  expect(readdirSync(join(folder, "bench/results"))).toEqual([NAME]);
});

/** A record of ten samples, every one a hundred times as good. */
function better(): string {
  const metrics = METRIC_NAMES.map((metric) => {
    const factor = METRICS[metric].more ? 100 : 0.01;
    const samples = Array.from({ length: 10 }, (_, i) => record.metrics[metric].median * factor * (1 + i / 100));
    return [metric, distribution(METRICS[metric].unit, samples)];
  });
  const path = join(folder, "better.json");
  const settings = { ...record.settings, iterations: 10 };
  writeFileSync(path, JSON.stringify({ ...record, settings, metrics: Object.fromEntries(metrics) as object }));
  return path;
}

// Measurements take seconds, these and those below: CI runs them.
it.runIf(THOROUGH)(
  "exits with 9 when it is slower than its baseline by more than the tolerance, and with 10 above the limit of memory",
  async () => {
    const out = join(folder, "gated.json");
    const slower = bitnet(...small.slice(0, -1), "10", "--out", out, "--baseline", better(), "--tolerance", "50");
    expect(slower.code).toBe(9);
    expect(slower.stdout).toMatch(/change \(95 % interval\)\n.* % worse$/ms);
    expect(slower.stdout).not.toMatch(/-[\d.]+ %/);
    expect(slower.stderr).toMatch(
      /^error: worse than \S+better\.json by more than 50 %: prefill_tokens_per_second .*; nothing was stored\n$/,
    );
    const larger = bitnet(...small, "--out", out, "--max-rss", "1");
    expect(await bitnetHere(...small, "--baseline", RECORD)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("--baseline needs at least 10 samples"),
    });
    expect(larger.code).toBe(10);
    expect(larger.stderr).toMatch(/^error: peak memory was [\d.]+ MiB, above --max-rss 1\.0 MiB; nothing was stored\n$/);
    expect(existsSync(out)).toBe(false);
  },
);

it("refuses a baseline that was edited, is missing, or has no provenance, before it measures", async () => {
  const path = join(folder, "edited.json");
  const { provenance: _, ...bare } = record;
  const edited = structuredClone(record) as unknown as { metrics: { load_ms: { median: number } } };
  edited.metrics.load_ms.median /= 2;
  for (const [text, said] of [
    [JSON.stringify(bare), /\/ must have required property 'provenance'/],
    [JSON.stringify(edited), /\/metrics\/load_ms\/median is /],
  ] as const) {
    writeFileSync(path, text);
    expect(await bitnetHere(...small, "--baseline", path)).toEqual({ code: 11, stdout: "", stderr: expect.stringMatching(said) });
  }
  expect((await bitnetHere(...small, "--baseline", "none.json")).code).toBe(2);
});

// Processes that are killed take seconds: CI runs it.
it.runIf(THOROUGH)("leaves no part of a record whenever it is killed, and the next run cleans up and succeeds", async () => {
  const place = join(folder, "killed");
  mkdirSync(place);
  const out = join(place, "record.json");
  const args = [MAIN, ...small, "--out", out];
  for (let run = 0; run < 3; run++) {
    const child = spawn(process.execPath, args, { cwd: folder, stdio: "ignore" });
    await new Promise((done) => setTimeout(done, Math.random() * 1500));
    child.kill("SIGKILL");
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    for (const name of readdirSync(place)) expect(name).toMatch(/^record\.json$|^\.record\.json\.\d+-[0-9a-f]{8}\.tmp$/);
    if (existsSync(out)) await readPerf(out);
  }
  // What a run leaves that is killed while it writes: half a record, of a process that has ended.
  const { pid } = spawnSync(process.execPath, ["-e", ""]);
  writeFileSync(join(place, `.record.json.${pid}-01234567.tmp`), JSON.stringify(record).slice(0, 400));
  expect(bitnet(...small, "--out", out).code).toBe(0);
  expect(readdirSync(place)).toEqual(["record.json"]);
  await readPerf(out);
});

// Takes seconds: CI runs it.
it.runIf(THOROUGH)("compares both formats of a model in alternating rounds, and stores a pair", async () => {
  const out = join(folder, "compare");
  mkdirSync(out);
  const args = [MAIN, "perf", "compare", "--ctx", "64", "--threads", "1", "--iterations", "6", "--record"];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: out, encoding: "utf8" });
  expect({ status, stderr }).toEqual({
    status: 0,
    stderr: expect.stringContaining("/settings/iterations is 6, but at least 10 samples are needed"),
  });
  expect(stdout).toMatch(
    /^A: models\/\S+\/packed, safetensors\nB: models\/\S+\.gguf, gguf\n6 alternating rounds; medians\n\n +A +B +A ÷ B +95 % interval +better\n/,
  );
  expect(stdout.match(/[\d.]+ to [\d.]+ +(?:A|B|no difference shown)$/gm)).toHaveLength(5);
  const paths = ["gguf", "safetensors"].map((format) => `bench/results/perf-bitnet-stories-4m-${format}.json`) as [string, string];
  const [gguf, safetensors] = await Promise.all(paths.map((path) => readPerf(join(out, path))));
  expect(pairFault([paths[0], gguf!], [paths[1], safetensors!])).toBeUndefined();
});

// Takes seconds: CI runs it.
it.runIf(THOROUGH)("compares two builds with one model, and refuses what is none, or can't be compared", async () => {
  const [root, few] = [resolve("."), ["--ctx", "64", "--threads", "1", "--iterations", "2"]];
  const { code, stdout } = bitnet("perf", "compare", "--against", root, ...few, "--json");
  expect(code).toBe(0);
  const { a, b, rounds, metrics } = JSON.parse(stdout) as Record<string, unknown> & { metrics: Record<string, object> };
  expect([a, b, rounds]).toEqual([expect.stringMatching(/^this build, /), expect.stringContaining(root), 2]);
  expect(Object.keys(metrics)).toEqual(METRIC_NAMES);
  expect(metrics.load_ms).toEqual({
    a: expect.any(Number),
    b: expect.any(Number),
    ratio: expect.any(Number),
    interval: null,
    difference: false,
  });
  const gguf = join(root, "models/bitnet-stories-4m/ggml-model-i2_s.gguf");
  for (const [args, said] of [
    [[gguf], "takes two models"],
    [["--against", folder], "is not a folder of bitnet-ts"],
    [["--against", root, "--record"], "--record can't be combined with --against"],
    [["--against", root, gguf, gguf], "takes one model"],
    [[gguf, gguf, "--record"], "--record is for both formats of one model, but both are gguf"],
  ] as const) {
    const refused = await bitnetHere("perf", "compare", ...args);
    expect(refused).toEqual({ code: 2, stdout: "", stderr: expect.stringMatching(/^error: [^\n]*\n$/) });
    expect(refused.stderr).toContain(said);
  }
});

/** A folder with records of both formats of two models, as they are stored. */
async function clone(name: string): Promise<string> {
  const root = join(folder, name);
  const pairs = [1, 2].map((seed) => examplePair({ name: seed === 1 ? "one" : "two", seed, kernels: kernelSha256() }));
  for (const stored of pairs.flat()) await writeRecord(join(root, perfPath(stored)), "perf-record", stored);
  return root;
}

/** `bitnet perf render` in a folder. */
const render = async (folder: string, ...args: string[]): Promise<Ended> => {
  const before = process.cwd();
  process.chdir(folder);
  try {
    return await bitnetHere("perf", "render", ...args);
  } finally {
    process.chdir(before);
  }
};

it("renders the page from the records, and checks it", async () => {
  const root = await clone("render");
  expect(await render(root, "--check")).toMatchObject({
    code: 1,
    stderr: expect.stringContaining(`${PERF_PAGE} does not match the records`),
  });
  expect(await render(root)).toEqual({ code: 0, stdout: `${PERF_PAGE}\ndocs/perf-one.svg\ndocs/perf-two.svg\n`, stderr: "" });
  const page = join(root, PERF_PAGE);
  const text = readFileSync(page, "utf8");
  const records = await Promise.all(perfRecordPaths(root).map((path) => readPerf(join(root, path))));
  expect(text).toBe(renderPerf(records).get(PERF_PAGE));
  expect(await render(root, "--check")).toMatchObject({ code: 0, stderr: "" });

  writeFileSync(
    page,
    text.replace(/\d(?= \|)/, (digit) => String((Number(digit) + 1) % 10)),
  );
  const edited = await render(root, "--check");
  expect(edited).toMatchObject({ code: 1, stdout: "", stderr: expect.stringContaining(`${PERF_PAGE} does not match the records`) });
  expect(edited.stderr).not.toContain("svg");
  writeFileSync(page, text);
  for (const format of ["gguf", "safetensors"]) rmSync(join(root, `bench/results/perf-two-${format}.json`));
  expect((await render(root, "--check")).stderr).toContain("docs/perf-two.svg has no records: remove it");
});

it("--check refuses a stored record that is not valid, in one sentence; without it, the page is rendered all the same", async () => {
  const root = await clone("refused");
  await render(root);
  const path = "bench/results/perf-two-gguf.json";
  const other = await readPerf(join(root, path));
  const put = (edited: object): void => writeFileSync(join(root, path), `${JSON.stringify({ ...other, ...edited }, undefined, 2)}\n`);
  put({ load_average: 40 });
  expect(await render(root, "--check")).toEqual({
    ...{ code: 1, stdout: "" },
    stderr: expect.stringMatching(
      /^error: [^\n]*bench\/results\/perf-two-gguf\.json: \/load_average is 40, but at most 1 on 2 cores [^\n]*\n$/,
    ),
  });
  expect(await render(root)).toMatchObject({ code: 0, stderr: expect.stringContaining("/load_average is 40") });
  rmSync(join(root, path));
  expect(await render(root, "--check")).toMatchObject({ code: 1, stderr: expect.stringContaining(`${path} does not exist, but `) });
  // Under its own name it is checked alone.
  writeFileSync(join(root, "alone.json"), JSON.stringify(other));
  expect((await render(root, "--check", "alone.json")).stderr).not.toContain("does not exist");
});

it("says which record is stale", async () => {
  const path = join(folder, "stale.json");
  writeFileSync(path, JSON.stringify({ ...record, provenance: { ...record.provenance, kernel_sha256: "1".repeat(64) } }));
  expect(await render(folder, path)).toMatchObject({
    code: 0,
    stderr: expect.stringMatching(/stale\.json is stale: it was measured with the kernels 1{16}/),
  });
  expect(await render(folder, "--check", path)).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/^error: \S*stale\.json is stale: /),
  });
  writeFileSync(path, JSON.stringify({ ...record, provenance: { ...record.provenance, schema_version: 2 } }));
  expect(await render(folder, "--check", path)).toMatchObject({
    code: 11,
    stderr: expect.stringContaining("/provenance/schema_version"),
  });
  rmSync(RECORD);
  expect(await render(folder)).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("no bench/results/perf-*.json here"),
  });
});

it("committed: the records are valid, and the page and its pictures are what they give", async () => {
  const { records, faults } = await checkStored(".");
  expect(faults).toEqual([]);
  expect([...records.keys()]).toEqual(
    expect.arrayContaining(["gguf", "safetensors"].map((format) => `bench/results/perf-bitnet-stories-4m-${format}.json`)),
  );
  const rendered = renderPerf([...records.values()], existsSync(HISTORY_FILE) ? readHistory(readFileSync(HISTORY_FILE, "utf8")) : []);
  for (const [path, text] of rendered) expect(readFileSync(path, "utf8"), path).toBe(text);
  expect(strangePictures(".", rendered)).toEqual([]);
});
