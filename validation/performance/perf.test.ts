import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { THOROUGH } from "../../engine/thorough.test.helper.js";
import { kernelSha256 } from "../records/provenance.js";
import { EXAMPLES } from "../records/records.test.helper.js";
import { pairedRatio } from "../statistics/ratio.js";
import { distribution } from "../statistics/summary.js";
import { runPair, runPerf } from "./alternate.js";
import { modelName, type PerfRecord, perfPath, readPerf } from "./perf.js";
import { examplePair, paired } from "./perf.test.helper.js";
import { PERF_PAGE, renderPerf } from "./render.js";
import { staleReasons } from "./stale.js";
import { pairFault } from "./stored.js";

const folder = mkdtempSync(join(tmpdir(), "bitnet-perf-"));
afterAll(() => rmSync(folder, { recursive: true }));

const record = EXAMPLES["perf-record"] as unknown as PerfRecord;

/** A record with other samples of one metric. */
function withSamples(metric: keyof PerfRecord["metrics"], samples: readonly number[], of: PerfRecord = record): PerfRecord {
  return { ...of, metrics: { ...of.metrics, [metric]: distribution(of.metrics[metric].unit, samples) } };
}

/** The same model in the other format, with figures of its own. */
const safetensors: PerfRecord = {
  ...withSamples("load_ms", [20, 21, 19, 22, 25]),
  model: {
    ...record.model,
    path: "one-packed",
    format: "safetensors",
    quantisation: { ...record.model.quantisation, linears: "U8 | <x>" },
  },
  provenance: { ...record.provenance, model_hash: "0".repeat(16), model_sha256: "0".repeat(64) },
};

it("names a model, whichever format it is in", () => {
  for (const [path, name] of [
    ["models/stories/ggml-model-i2_s.gguf", "stories"],
    ["models/stories/packed", "stories"],
    ["models/stories/packed/model.safetensors", "stories"],
    ["models/stories/model.safetensors.index.json", "stories"],
    ["/a/2b4t.gguf", "2b4t"],
    ["/a/2b4t-packed", "2b4t"],
    ["/a/Some model-TQ2_0-00001-of-00003.gguf", "Some_model"],
    ["/a/Falcon3-1B-Instruct.F16.gguf", "Falcon3-1B-Instruct"],
    ["/model.gguf", "model"],
  ] as const) {
    expect(modelName(path), path).toBe(name);
  }
  expect(perfPath(safetensors).replaceAll("\\", "/")).toBe("bench/results/perf-one-safetensors.json");
});

it("holds each figure of a stored record against its samples", async () => {
  const path = join(folder, "record.json");
  const read = (value: unknown): Promise<PerfRecord> => {
    writeFileSync(path, JSON.stringify(value));
    return readPerf(path);
  };
  expect(await read(record)).toEqual(record);
  for (const figure of ["median", "p95", "min", "max", "stddev"] as const) {
    const edited = structuredClone(EXAMPLES["perf-record"]);
    edited.metrics.load_ms[figure] *= 0.9;
    await expect(read(edited), figure).rejects.toMatchObject({
      code: "file",
      message: expect.stringContaining(`/metrics/load_ms/${figure} is `),
    });
  }
  await expect(read(withSamples("load_ms", [1, 2]))).rejects.toThrow(/samples has 2 entries, but \/settings\/iterations is \d+/);
});

describe("the page", () => {
  const other = { ...record, model: { ...record.model, name: "another" } };

  it("is the same bytes for the same records, in any order", () => {
    const first = renderPerf([record, safetensors, other]);
    expect([...first.keys()]).toEqual([PERF_PAGE, "docs/perf-another.svg", "docs/perf-one.svg"]);
    expect(renderPerf([other, safetensors, record])).toEqual(first);
    expect(renderPerf(JSON.parse(JSON.stringify([safetensors, other, record])) as PerfRecord[])).toEqual(first);
  });

  it("shows environment, policy, figures and ratios, and nothing of a record is markup", () => {
    const page = renderPerf([record, safetensors]).get(PERF_PAGE)!;
    for (const line of [
      "## one",
      "| environment | SafeTensors | GGUF |",
      "| weights | U8 \\| &lt;x>, embedding F16 | I2_S, embedding F16 |",
      "| processor | Some CPU, 2 cores | Some CPU, 2 cores |",
      "| runs | 5 processes, each with 1 warm-up run | 5 processes, each with 1 warm-up run |",
      "| load, ms | SafeTensors | 21.00 | 24.40 | 19.00 | 25.00 | 2.30 | 5 |",
      "| load, ms | GGUF | 3.00 | 8.80 | 1.00 | 10.00 | 3.54 | 5 |",
      "The formats were not measured in alternating rounds of one run, so that no ratios are shown: `bitnet perf compare --record` measures them.",
      "![Samples of each metric for SafeTensors and GGUF](perf-one.svg)",
    ]) {
      expect(page.split("\n")).toContain(line);
    }
    expect(page).not.toContain("÷");
  });

  it("shows ratios of a run's alternating rounds, and no difference where 1 is in the interval", () => {
    const [a, b] = examplePair({ name: "one", seed: 1, ratio: 1.1 });
    const fasterBy = (metric: "load_ms" | "first_token_ms", of: PerfRecord): PerfRecord =>
      withSamples(
        metric,
        of.metrics[metric].samples.map((value) => value / 1.1),
        of,
      );
    const same = fasterBy("load_ms", fasterBy("first_token_ms", a));
    const lines = renderPerf(paired(same, b)).get(PERF_PAGE)!.split("\n");
    const table = lines.slice(lines.findIndex((line) => line.startsWith("| SafeTensors ÷ GGUF")));
    const interval = String.raw`[\d.]+ \| [\d.]+ to [\d.]+`;
    expect(table[2]).toMatch(new RegExp(String.raw`^\| prefill, tokens/s \| more \| ${interval} \| SafeTensors \|$`));
    expect(table[4]).toMatch(new RegExp(String.raw`^\| time to first token, ms \| less \| ${interval} \| no difference shown \|$`));
    expect(table[6]).toMatch(new RegExp(String.raw`^\| peak memory, MiB \| less \| ${interval} \| GGUF \|$`));
    const { ratio, low, high } = pairedRatio(a.metrics.prefill_tokens_per_second.samples, b.metrics.prefill_tokens_per_second.samples);
    expect(table[2]).toContain(`| ${ratio.toFixed(3)} | ${low.toFixed(3)} to ${high.toFixed(3)} |`);
  });

  it("changes with every figure and every field of the provenance that is shown", () => {
    const page = renderPerf([record]).get(PERF_PAGE);
    for (const changed of [
      withSamples("load_ms", [3, 1, 10, 2, 4.1]),
      { ...record, provenance: { ...record.provenance, node: "v24.0.0" } },
      { ...record, provenance: { ...record.provenance, git_dirty: true } },
      { ...record, settings: { ...record.settings, warmup: 2 } },
    ]) {
      expect(renderPerf([changed]).get(PERF_PAGE)).not.toBe(page);
    }
  });

  it("refuses two records of a format, or two models of one name", () => {
    expect(() => renderPerf([record, record])).toThrow(/2 records of one as gguf/);
    const larger = { ...safetensors, model: { ...safetensors.model, parameters: 1 } };
    expect(() => renderPerf([record, larger])).toThrow(/of different models/);
  });

  it("has pictures with every sample inside its panel and axes from zero, in colours for light and dark", () => {
    const svg = renderPerf([record, safetensors]).get("docs/perf-one.svg")!;
    expect(svg).toContain("prefers-color-scheme: dark");
    expect(svg).not.toMatch(/NaN|undefined/);
    const dots = [...svg.matchAll(/<circle cx="([\d.]+)"/g)].map(([, x]) => Number(x));
    expect(dots).toHaveLength(5 * 2 * 5);
    expect(Math.min(...dots)).toBeGreaterThanOrEqual(110);
    expect(Math.max(...dots)).toBeLessThanOrEqual(730);
    expect(svg.match(/>0<\/text>/g)).toHaveLength(5); // every axis begins at zero
  });
});

it("is stale when kernels or model are others, not when the commit is", async () => {
  const model = { ...record.model, path: "models/bitnet-stories-4m/ggml-model-i2_s.gguf" };
  const present: PerfRecord = {
    ...record,
    model,
    provenance: { ...record.provenance, kernel_sha256: kernelSha256(), git_commit: "0".repeat(12) },
  };
  expect(await staleReasons(present)).toEqual([]);
  expect(await staleReasons({ ...present, model: { ...model, path: "nowhere/one.gguf" } })).toEqual([]);
  const other = {
    ...present,
    provenance: { ...present.provenance, kernel_sha256: "1".repeat(64), model_sha256: "2".repeat(64), model_hash: "2".repeat(16) },
  };
  expect(await staleReasons(other)).toEqual([
    expect.stringMatching(/^it was measured with the kernels 1{16}, and these are [0-9a-f]{16}$/),
    expect.stringMatching(/^it was measured with the model 2{16}, and models.*gguf is 3b6ffbad956fd373$/),
  ]);
});

describe("a measurement", () => {
  const asked = { load: { threads: 1, contextLength: 64 }, seed: 1, iterations: 2, cliArgs: [], deterministic: false, date: new Date(0) };

  it("has a sample of every metric from each process, within the context it was given", async () => {
    const steps: number[] = [];
    const measured = await runPerf({ ...asked, onProgress: (done) => steps.push(done) });
    expect(steps).toEqual([1, 2]);
    expect(measured.settings).toEqual({
      ...{ context_length: 64, kv: "f32", head: "auto", prompt_tokens: 47, decode_tokens: 16, warmup: 1, iterations: 2 },
    });
    expect(measured.model).toMatchObject({
      path: "models/bitnet-stories-4m/ggml-model-i2_s.gguf",
      name: "bitnet-stories-4m",
      format: "gguf",
    });
    expect(measured.provenance).toMatchObject({ model_hash: "3b6ffbad956fd373", threads: 1, seed: 1, date: "1970-01-01T00:00:00.000Z" });
    for (const { samples } of Object.values(measured.metrics)) expect(samples).toHaveLength(2);
    // More than Node alone takes, and less than would be a mistake of the unit.
    const { min, max } = measured.metrics.peak_rss_bytes;
    expect(min).toBeGreaterThan(30 * 2 ** 20);
    expect(max).toBeLessThan(2 ** 30);
  });

  // Takes seconds: CI runs it.
  it.runIf(THOROUGH)("of two formats in turn gives records that belong together", async () => {
    const [a, b] = await runPair(asked, [
      { model: "models/bitnet-stories-4m/packed", load: asked.load },
      { model: "models/bitnet-stories-4m/ggml-model-i2_s.gguf", load: asked.load },
    ]);
    expect([a.pair?.first, b.pair?.first]).toEqual([true, false]);
    expect(pairFault(["a", a], ["b", b])).toBeUndefined();
    for (const { load_average_after: after, steal_share: steal } of [a, b]) {
      expect(after).toBeGreaterThanOrEqual(0);
      expect(steal === null || (steal !== undefined && steal >= 0 && steal <= 1)).toBe(true);
    }
  });

  it("ends with the error of the process that measures, and when it is aborted", async () => {
    await expect(runPerf({ ...asked, model: "README.md" })).rejects.toMatchObject({ name: "BitnetError", code: "file" });
    const abort = new AbortController();
    const running = runPerf({ ...asked, iterations: 100, signal: abort.signal, onProgress: () => abort.abort() });
    await expect(running).rejects.toThrow(/abort/);
  });
});
