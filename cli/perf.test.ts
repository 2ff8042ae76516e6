import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type PerfRecord, readPerf } from "../validation/performance/perf.js";
import { PERF_PAGE, renderPerf } from "../validation/performance/render.js";

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
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout).toMatch(
    /^bitnet-stories-4m, gguf: prompt of 47, 16 tokens behind it, 2 processes; \w+ kernels, 1 thread\n\n +median +p95/,
  );
  expect(stdout.replaceAll("\\", "/")).toContain(`\nbench/results/${NAME}\n`);
  record = await readPerf(RECORD);
});

it("stores what it measured, with the command", () => {
  expect(record.provenance.cli_args).toEqual(small);
  expect(readdirSync(join(folder, "bench/results"))).toEqual([NAME]);
});

/** The record with every figure a hundred times as good. */
function better(): string {
  const text = JSON.stringify(record, (key, value: unknown) => {
    if (!/_(?:second|ms|bytes)$/.test(key) || key === "memory_bytes") return value;
    const factor = key.endsWith("second") ? 100 : 0.01;
    return JSON.parse(JSON.stringify(value), (_, figure: unknown) => (typeof figure === "number" ? figure * factor : figure)) as unknown;
  });
  const path = join(folder, "better.json");
  writeFileSync(path, text);
  return path;
}

it("exits with 9 when it is slower than its baseline by more than the tolerance, and with 10 above the limit of memory", () => {
  const out = join(folder, "gated.json");
  const slower = bitnet(...small, "--out", out, "--baseline", better(), "--tolerance", "50");
  expect(slower.code).toBe(9);
  expect(slower.stdout).toMatch(/change\n.* % worse$/ms);
  expect(slower.stdout).not.toMatch(/-[\d.]+ %/);
  expect(slower.stderr).toMatch(
    /^error: worse than \S+better\.json by more than 50 %: prefill_tokens_per_second .*; nothing was stored\n$/,
  );
  const larger = bitnet(...small, "--out", out, "--max-rss", "1", "--baseline", RECORD, "--tolerance", "1000");
  expect(larger.code).toBe(10);
  expect(larger.stderr).toMatch(/^error: peak memory was [\d.]+ MiB, above --max-rss 1\.0 MiB; nothing was stored\n$/);
  expect(existsSync(out)).toBe(false);
});

it("refuses a baseline that was edited, is missing, or has no provenance, before it measures", () => {
  const path = join(folder, "edited.json");
  const { provenance: _, ...bare } = record;
  const edited = structuredClone(record) as unknown as { metrics: { load_ms: { median: number } } };
  edited.metrics.load_ms.median /= 2;
  for (const [text, said] of [
    [JSON.stringify(bare), /\/ must have required property 'provenance'/],
    [JSON.stringify(edited), /\/metrics\/load_ms\/median is /],
  ] as const) {
    writeFileSync(path, text);
    expect(bitnet(...small, "--baseline", path)).toEqual({ code: 11, stdout: "", stderr: expect.stringMatching(said) });
  }
  expect(bitnet(...small, "--baseline", "none.json").code).toBe(2);
});

it("leaves no part of a record whenever it is killed, and the next run cleans up and succeeds", async () => {
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

it("renders the page from the records, and checks it", () => {
  expect(bitnet("perf", "render", "--check")).toMatchObject({
    code: 1,
    stderr: expect.stringContaining(`${PERF_PAGE} is not what the records give`),
  });
  expect(bitnet("perf", "render")).toEqual({ code: 0, stdout: `${PERF_PAGE}\ndocs/perf-bitnet-stories-4m.svg\n`, stderr: "" });
  const page = join(folder, PERF_PAGE);
  const text = readFileSync(page, "utf8");
  expect(text).toBe(renderPerf([record]).get(PERF_PAGE));
  expect(bitnet("perf", "render", "--check", RECORD)).toMatchObject({ code: 0, stderr: "" });

  writeFileSync(
    page,
    text.replace(/\d(?= \|)/, (digit) => String((Number(digit) + 1) % 10)),
  );
  const edited = bitnet("perf", "render", "--check");
  expect(edited).toMatchObject({ code: 1, stdout: "", stderr: expect.stringContaining(`${PERF_PAGE} is not what the records give`) });
  expect(edited.stderr).not.toContain("svg");
  writeFileSync(page, text);
});

it("says which record is stale", () => {
  const path = join(folder, "stale.json");
  writeFileSync(path, JSON.stringify({ ...record, provenance: { ...record.provenance, kernel_sha256: "1".repeat(64) } }));
  expect(bitnet("perf", "render", path)).toMatchObject({
    code: 0,
    stderr: expect.stringMatching(/stale\.json is stale: it is of the kernels 1{16}/),
  });
  expect(bitnet("perf", "render", "--check", path)).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/^error: \S*stale\.json is stale: /),
  });
  writeFileSync(path, JSON.stringify({ ...record, provenance: { ...record.provenance, schema_version: 2 } }));
  expect(bitnet("perf", "render", "--check", path)).toMatchObject({
    code: 11,
    stderr: expect.stringContaining("/provenance/schema_version"),
  });
  rmSync(RECORD);
  expect(bitnet("perf", "render")).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("there is no bench/results/perf-*.json here"),
  });
});

it("committed: the page and its pictures are what the committed records give", async () => {
  const names = readdirSync("bench/results").filter((name) => /^perf-.*\.json$/.test(name));
  expect(names).toEqual(expect.arrayContaining(["perf-bitnet-stories-4m-gguf.json", "perf-bitnet-stories-4m-safetensors.json"]));
  const rendered = renderPerf(await Promise.all(names.map((name) => readPerf(join("bench/results", name)))));
  for (const [path, text] of rendered) expect(readFileSync(path, "utf8"), path).toBe(text);
  const pictures = readdirSync("docs").filter((name) => /^perf-.*\.svg$/.test(name));
  expect(pictures.map((name) => `docs/${name}`).sort()).toEqual([...rendered.keys()].filter((path) => path !== PERF_PAGE).sort());
});
