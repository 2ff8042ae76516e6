import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { kernelSha256 } from "../records/provenance.js";
import { writeRecord } from "../records/records.js";
import { distribution } from "../statistics/summary.js";
import { type Metric, type PerfRecord, perfPath } from "./perf.js";
import { examplePair, paired } from "./perf.test.helper.js";
import { checkStored, perfRecordPaths, storedFaults } from "./stored.js";
import { TIMINGS, validityFaults } from "./validity.js";

const one = examplePair({ name: "one", seed: 1 });
const two = examplePair({ name: "two", seed: 2 });
const [SAFETENSORS, GGUF] = ["safetensors", "gguf"].map((format) => `bench/results/perf-one-${format}.json`) as [string, string];
const OTHER = "bench/results/perf-two-gguf.json";

const pathOf = (record: PerfRecord): string => perfPath(record).replaceAll("\\", "/");
const byPath = (records: readonly PerfRecord[]): Map<string, PerfRecord> => new Map(records.map((record) => [pathOf(record), record]));

const from = (record: PerfRecord, edit: Partial<PerfRecord["provenance"]>): PerfRecord => ({
  ...record,
  provenance: { ...record.provenance, ...edit },
});
function withSamples(record: PerfRecord, metrics: readonly Metric[], samples: (old: readonly number[]) => readonly number[]): PerfRecord {
  const edited = metrics.map((metric) => [metric, distribution(record.metrics[metric].unit, samples(record.metrics[metric].samples))]);
  return { ...record, metrics: { ...record.metrics, ...(Object.fromEntries(edited) as PerfRecord["metrics"]) } };
}
const halfTwice = (samples: readonly number[]): number[] => [...samples.slice(0, 10), ...samples.slice(0, 10)];

it("records of two models, each in both formats of one run, are sound", () => {
  expect(storedFaults(byPath([...one, ...two]))).toEqual([]);
  expect(storedFaults(new Map())).toEqual([]);
});

describe("a record is no evidence", () => {
  const [, gguf] = one;
  const broken: readonly (readonly [cause: string, record: PerfRecord, said: string])[] = [
    [
      "measured under load",
      { ...gguf, load_average: 40 },
      "/load_average is 40, but at most 1 on 2 cores counts as a calm machine (0.5 for each)",
    ],
    [
      "with load that came later",
      { ...gguf, load_average_after: 40 },
      "/load_average_after is 40, but at most 3 counts as a calm machine (its own threads, and 0.5 for each core)",
    ],
    [
      "by an older version",
      { ...gguf, load_average_after: undefined } as unknown as PerfRecord,
      "/load_average_after is missing: it was measured by an older version",
    ],
    ["on a machine lent to others", { ...gguf, steal_share: 0.1 }, "/steal_share is 0.1, but at most 0.02 counts as a calm machine"],
    ["stopped by a quota", { ...gguf, throttled_share: 0.3 }, "/throttled_share is 0.3, but at most 0.02 counts as a calm machine"],
    ["with other numerics", from(gguf, { numerics_version: 99 }), "/provenance/numerics_version is 99, but that of this engine is 1"],
    [
      "before there was a package",
      from(gguf, { date: "1970-01-01T00:00:00.000Z" }),
      "/provenance/date is 1970-01-01T00:00:00.000Z, before the first version of this package (2026-11-22)",
    ],
    [
      "in the future",
      from(gguf, { date: "2999-01-01T00:00:00.000Z" }),
      "/provenance/date is 2999-01-01T00:00:00.000Z, which is in the future",
    ],
    ["on a Node that is too old", from(gguf, { node: "v18.20.0" }), "/provenance/node is v18.20.0, older than Node 20.19"],
    [
      "with few samples",
      examplePair({ name: "one", seed: 1, samples: 9 })[1],
      "/settings/iterations is 9, but at least 10 samples are needed",
    ],
    [
      "with every run counted twice",
      withSamples(gguf, [...TIMINGS, "peak_rss_bytes"], halfTwice),
      "samples 1 and 11 are the same in every timing: a run was counted twice",
    ],
    [
      "with the samples of one metric doubled, in another order",
      withSamples(gguf, ["decode_tokens_per_second"], (old) => halfTwice(old).toSorted()),
      "10 of 20 /metrics/decode_tokens_per_second/samples repeat an earlier one, but at most 10 % may",
    ],
  ];
  it.each(broken)("%s", (_, record, said) => {
    expect(validityFaults(record, GGUF)).toContain(`${GGUF}: ${said}`);
    expect(storedFaults(byPath([one[0], record, ...two])).join("\n")).toContain(said);
  });

  it("but pages of memory may be equal, and two timings may meet", () => {
    const [first, , third, ...rest] = gguf.metrics.load_ms.samples;
    const equal = withSamples(
      withSamples(gguf, ["peak_rss_bytes"], (old) => old.map(() => 8192)),
      ["load_ms"],
      () => [first!, first!, third!, ...rest],
    );
    expect(validityFaults(equal, GGUF)).toEqual([]);
  });

  it("limits are for the machine's cores and the record's threads, and the clock may be a little slow", () => {
    const platform = { ...gguf.provenance.platform, cores: 64 };
    const large = { ...from(gguf, { platform, threads: 16 }), load_average: 32, load_average_after: 48 };
    expect(validityFaults(large, GGUF)).toEqual([]);
    expect(validityFaults({ ...large, load_average_after: 48.1 }, GGUF)).toHaveLength(1);
    expect(validityFaults(gguf, GGUF, { now: Date.parse(gguf.provenance.date) - 3600e3 })).toEqual([]);
    expect(validityFaults(gguf, GGUF, { now: Date.parse(gguf.provenance.date) - 48 * 3600e3 })).toHaveLength(1);
    expect(validityFaults(from(gguf, { numerics_version: 99 }), GGUF, { numerics: 99 })).toEqual([]);
  });
});

describe("stored records do not belong together", () => {
  const [safetensors, gguf] = one;
  const again = examplePair({ name: "one", seed: 3 });
  const faults = (...records: readonly PerfRecord[]): string[] => storedFaults(byPath([...records, ...two]));

  it("where one was deleted", () => {
    expect(faults(safetensors)).toEqual([`${GGUF} does not exist, but ${SAFETENSORS} does: both formats of a model are measured together`]);
    expect(faults(gguf)).toEqual([`${SAFETENSORS} does not exist, but ${GGUF} does: both formats of a model are measured together`]);
  });

  it("where files were swapped, between formats or between models", () => {
    expect(storedFaults(new Map([...byPath([...one, ...two]), [SAFETENSORS, gguf], [GGUF, safetensors]]))).toEqual([
      `${SAFETENSORS} is the record of one as gguf: it was renamed or swapped`,
      `${GGUF} is the record of one as safetensors: it was renamed or swapped`,
    ]);
    expect(storedFaults(new Map([...byPath([...one, ...two]), [OTHER, gguf], [GGUF, two[1]]]))).toEqual(
      expect.arrayContaining([`${OTHER} is the record of one as gguf: it was renamed or swapped`]),
    );
    // Contents under another's name are of another model still.
    const dressed = { ...two[1], model: { ...two[1].model, name: "one", parameters: 5 } };
    expect(faults(safetensors, dressed)[0]).toBe(`${GGUF} and ${SAFETENSORS} are of different models: /model/parameters differs`);
  });

  it("where they are of different runs, machines or settings", () => {
    const both = `${GGUF} and ${SAFETENSORS} are not from one run`;
    const others: readonly (readonly [PerfRecord, string])[] = [
      [again[1], "/pair is not that of their models and samples"],
      [from(gguf, { date: "2026-11-23T03:04:05.678Z" }), "/provenance/date differs"],
      [from(gguf, { platform: { ...gguf.provenance.platform, cpu: "Other" } }), "/provenance/platform differs"],
      [from(gguf, { node: "v24.0.0" }), "/provenance/node differs"],
      [from(gguf, { threads: 1 }), "/provenance/threads differs"],
      [{ ...gguf, settings: { ...gguf.settings, kv: "q8" } }, "/settings/kv differs"],
      [{ ...gguf, load_average: 0.2 }, "/load_average differs"],
      [from(gguf, { model_sha256: "0".repeat(64), model_hash: "0".repeat(16) }), "/pair is not that of their models and samples"],
      [withSamples(gguf, ["load_ms"], (old) => [...old.slice(1), old[0]!]), "/pair is not that of their models and samples"],
    ];
    for (const [other, said] of others) expect(faults(safetensors, other)).toEqual([`${both}: ${said}`]);
    const { pair: _, ...alone } = gguf;
    expect(faults(safetensors, alone)).toEqual([
      `${GGUF} has no /pair: measure both formats in alternating rounds with bitnet perf compare`,
    ]);
  });

  it("where one has the samples of another", () => {
    const same = withSamples(gguf, ["load_ms"], () => safetensors.metrics.load_ms.samples.toReversed());
    expect(storedFaults(byPath(paired(safetensors, same)))).toEqual([
      `${SAFETENSORS} and ${GGUF} have the same /metrics/load_ms/samples: one was copied`,
    ]);
    const model = { ...two[0].model, name: "three" };
    const copies = paired({ ...two[0], model }, { ...two[1], model: { ...two[1].model, name: "three" } });
    expect(storedFaults(byPath([...two, ...copies]))).toHaveLength(2);
  });
});

describe("in a clone", () => {
  const root = mkdtempSync(join(tmpdir(), "bitnet-stored-"));
  const fresh = [
    ...examplePair({ name: "one", seed: 1, kernels: kernelSha256() }),
    ...examplePair({ name: "two", seed: 2, kernels: kernelSha256() }),
  ];
  const write = (record: PerfRecord): Promise<void> => writeRecord(join(root, pathOf(record)), "perf-record", record);
  afterAll(() => rmSync(root, { recursive: true }));
  beforeEach(async () => {
    rmSync(join(root, "bench"), { recursive: true, force: true });
    for (const record of fresh) await write(record);
  });

  it("all are read, of every model", async () => {
    const { records, faults } = await checkStored(root);
    expect(faults).toEqual([]);
    expect([...records.keys()]).toEqual(perfRecordPaths(root));
    expect(records.size).toBe(4);
    expect(await checkStored(join(root, "none"))).toEqual({ records: new Map(), faults: [] });
  });

  it("one of another model that is stale is found", async () => {
    await write(from(fresh[3]!, { kernel_sha256: "1".repeat(64) }));
    expect((await checkStored(root)).faults).toEqual([
      expect.stringMatching(/^bench\/results\/perf-two-gguf\.json is stale: it was measured with the kernels 1{16}, and these are \w{16}$/),
      expect.stringContaining("/provenance/kernel_sha256 differs"),
    ]);
  });

  it("one whose figures are not those of its samples is refused", async () => {
    const edited = { ...fresh[3]!, metrics: { ...fresh[3]!.metrics, load_ms: { ...fresh[3]!.metrics.load_ms, median: 1 } } };
    await write(edited);
    await expect(checkStored(root)).rejects.toMatchObject({
      code: "file",
      message: expect.stringContaining("/metrics/load_ms/median is 1"),
    });
  });

  it("a file may be elsewhere, as in a release that is being prepared", async () => {
    const put = from(fresh[3]!, { numerics_version: 99 });
    await writeRecord(join(root, "overlay", OTHER), "perf-record", put);
    const { faults } = await checkStored(root, join(root, "overlay"));
    expect(faults[0]).toBe(`${OTHER}: /provenance/numerics_version is 99, but that of this engine is 1`);
  });
});
