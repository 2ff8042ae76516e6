import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { appendRelease, HISTORY_FILE, type HistoryRow, historyFault, readHistory } from "./history.js";
import { examplePair } from "./perf.test.helper.js";
import { PERF_PAGE, renderPerf } from "./render.js";

const one = examplePair({ name: "one", seed: 1 });
const two = examplePair({ name: "two", seed: 2 });
const first = appendRelease("", "0.2.0", [...two, ...one]);
const second = appendRelease(first, "0.3.0", examplePair({ name: "one", seed: 3, ratio: 1.2 }));
const text = appendRelease(second, "0.10.0", examplePair({ name: "one", seed: 4 }));
const lines = text.trimEnd().split("\n");

const joined = (rows: readonly string[]): string => rows.map((row) => `${row}\n`).join("");

it("has a row for each format of a model in a release, which name the record", () => {
  const rows = readHistory(text);
  expect(rows.map(({ version, model }) => `${version} ${model.name} ${model.format}`)).toEqual([
    ...["0.2.0 one gguf", "0.2.0 one safetensors", "0.2.0 two gguf", "0.2.0 two safetensors"],
    ...["0.3.0 one gguf", "0.3.0 one safetensors", "0.10.0 one gguf", "0.10.0 one safetensors"],
  ]);
  expect(rows[1]).toMatchObject({ provenance: one[0].provenance, medians: { load_ms: one[0].metrics.load_ms.median } });
  expect(text.startsWith(first)).toBe(true);
  expect(appendRelease("", "0.2.0", [...one, ...two])).toBe(first); // in whatever order they come
  expect(readHistory("")).toEqual([]);
  expect(historyFault(text, ["0.10.0", "0.3.0", "0.2.0", "0.1.0"], second)).toBeUndefined();
});

describe("is refused", () => {
  const refused = (edited: string): void =>
    expect(() => readHistory(edited)).toThrow(expect.objectContaining({ code: "file", message: expect.stringContaining(HISTORY_FILE) }));

  it("where a row was edited, the last one too", () => {
    for (const at of [0, 3, lines.length - 1]) {
      const { medians, ...row } = JSON.parse(lines[at]!) as HistoryRow;
      const faster = JSON.stringify({ ...row, medians: { ...medians, decode_tokens_per_second: 9999 } });
      expect(() => readHistory(joined(lines.with(at, faster)))).toThrow(
        `${HISTORY_FILE}, row ${at + 1}: /chain does not follow from the rows up to it: a row was edited, removed or inserted`,
      );
    }
    refused(joined(lines.with(2, lines[2]!.replace(":", ": ")))); // another form of the same
  });

  it("where rows were removed, inserted or exchanged", () => {
    refused(joined(lines.toSpliced(2, 1)));
    refused(joined(lines.slice(1)));
    refused(joined(lines.toSpliced(2, 0, lines[0]!)));
    refused(joined([lines[1]!, lines[0]!, ...lines.slice(2)]));
  });

  it("where any byte was altered", () => {
    fc.assert(
      fc.property(fc.nat(text.length - 1), fc.integer({ min: 0x20, max: 0x7e }), (at, code) => {
        const byte = String.fromCharCode(code);
        fc.pre(text[at] !== byte);
        refused(text.slice(0, at) + byte + text.slice(at + 1));
      }),
      { numRuns: 60 },
    );
  });

  it("where it was cut off behind a row, which no chain shows", () => {
    const versions = ["0.10.0", "0.3.0", "0.2.0", "0.1.0"];
    expect(historyFault(second, versions, undefined)).toBe(`${HISTORY_FILE} has no row of version 0.10.0, which is in the changelog`);
    expect(historyFault("", versions, undefined)).toBe(`${HISTORY_FILE} has no row of version 0.10.0, which is in the changelog`);
    expect(historyFault(joined(lines.slice(0, -1)), versions, undefined)).toBe(`${HISTORY_FILE} has only gguf of one in version 0.10.0`);
    expect(historyFault(second, ["0.3.0"], text)).toBe(
      `${HISTORY_FILE} does not begin with the rows that are committed: rows are only ever added`,
    );
    expect(historyFault("", ["0.1.0"], undefined)).toBeUndefined();
    expect(historyFault(appendRelease(text, "0.3.0", one), [], undefined)).toBe(`${HISTORY_FILE} has one as gguf in version 0.3.0 twice`);
  });
});

describe("on the page", () => {
  const PICTURE = "docs/performance-history.svg";

  it("is a table and a picture, the same bytes for the same rows", () => {
    const files = renderPerf([...one, ...two], readHistory(text));
    expect([...files.keys()]).toContain(PICTURE);
    expect(renderPerf([...two, ...one], readHistory(text))).toEqual(files);
    const page = files.get(PERF_PAGE)!;
    expect(page).toContain("![Medians of each metric over the versions](performance-history.svg)");
    expect(page.match(/^\| 0\.\d+\.0 \| /gm)).toHaveLength(8);
    expect(renderPerf([...one, ...two]).has(PICTURE)).toBe(false);
  });

  it("joins what was measured alike, on axes from zero", () => {
    const svg = renderPerf(one, readHistory(text)).get(PICTURE)!;
    expect(svg).not.toMatch(/NaN|undefined/);
    expect(svg.match(/>0<\/text>/g)).toHaveLength(6); // three metrics of two models
    expect(svg.match(/<circle /g)).toHaveLength(8 * 3);
    // one has three versions in a line for each format and metric; two has one.
    const points = [...svg.matchAll(/<polyline points="([^"]+)"/g)].map(([, list]) => list!.split(" ").length);
    expect(points.toSorted()).toEqual([...Array<number>(6).fill(1), ...Array<number>(6).fill(3)]);
    const elsewhere = examplePair({ name: "one", seed: 5 }).map((record) => ({
      ...record,
      provenance: { ...record.provenance, platform: { ...record.provenance.platform, cpu: "Other <1>" } },
    }));
    const more = renderPerf(one, readHistory(appendRelease(text, "0.11.0", elsewhere))).get(PICTURE)!;
    expect(more.match(/<polyline /g)).toHaveLength(18);
  });
});
