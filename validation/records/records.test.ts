import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { checkRecord, type RecordKind, readRecord, readRows, schemaFault, writeRecord, writeRows } from "./records.js";
import { EXAMPLES, WEIGHTS_ROW } from "./records.test.helper.js";

const folder = mkdtempSync(join(tmpdir(), "bitnet-records-"));
afterAll(() => rmSync(folder, { recursive: true }));

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
type Path = readonly (string | number)[];

/** Every place in a record. */
function places(value: Json, at: Path = []): Path[] {
  if (value === null || typeof value !== "object") return [at];
  const inside = Array.isArray(value)
    ? value.flatMap((item, i) => places(item, [...at, i]))
    : Object.entries(value).flatMap(([key, item]) => places(item, [...at, key]));
  return [at, ...inside];
}

/** A copy with one place changed. */
function altered(record: object, at: Path, change: (parent: Record<string | number, Json>, key: string | number) => void): Json {
  const copy = structuredClone(record) as Json;
  let parent = copy as Record<string | number, Json>;
  for (const key of at.slice(0, -1)) parent = parent[key] as Record<string | number, Json>;
  change(parent, at.at(-1)!);
  return copy;
}

/** What may be left out, and where any key may stand. */
const OPTIONAL =
  /\/checks\/0\/(?:reason|figures|seconds|runs$|places$|places\/0\/(?:path|line|name)$)|^\/greedy$|\/options\b|\/(?:thresholds|promise|\w*margins)\/(?:delta_nll_mean|kl_mean|kl_max)$|\/figures\/(?:delta_nll_interval|kl)$|\/kernel_calls\/|^\/model\/activations$|^\/weights$|^\/artifacts\/|\/provenance\/(?:modules|bundle)_sha256$|^\/(?:load_average_after|steal_share|throttled_share|pair)$/;
const OPEN = /\/checks\/\d+\/figures$|^\/artifacts$/;

describe.each(Object.keys(EXAMPLES) as (keyof typeof EXAMPLES)[])("the schema of %s", (kind) => {
  const example = EXAMPLES[kind];
  const refused = (value: Json): string => {
    try {
      checkRecord(kind, value, "x.json");
    } catch (error) {
      expect(error).toMatchObject({ code: "file", file: "x.json", message: expect.stringMatching(/^x\.json: \/\S* /) });
      return (error as Error).message;
    }
    throw new Error("was not refused");
  };

  it("takes a sound record, and says its draft", () => {
    expect(() => checkRecord(kind, example, "x.json")).not.toThrow();
    const schema = JSON.parse(readFileSync(`schemas/${kind}.v1.schema.json`, "utf8")) as Record<string, unknown>;
    expect(schema).toMatchObject({ $schema: "https://json-schema.org/draft/2020-12/schema", $id: `${kind}.v1.schema.json` });
  });

  it("refuses one that lacks any field, has one more, or another kind of value in any", () => {
    const all = places(example as unknown as Json).filter((at) => at.length > 0);
    expect(all.length).toBeGreaterThan(20);
    for (const at of all) {
      const pointer = `/${at.join("/")}`;
      if (!OPTIONAL.test(pointer) && typeof at.at(-1) === "string") {
        const lacking = altered(example, at, (parent, key) => delete parent[key]);
        expect(refused(lacking), `without ${pointer}`).toContain(String(at.at(-1)));
      }
      const other = altered(example, at, (parent, key) => {
        parent[key] = typeof parent[key] === "object" && parent[key] !== null ? 1 : { other: [] };
      });
      expect(refused(other), `another ${pointer}`).toContain(`/${at[0]}`);
      const more = altered(example, at, (parent, key) => {
        const value = parent[key];
        if (value !== null && typeof value === "object" && !Array.isArray(value)) value.surplus = 1;
        else parent[`${key}_2`] = 1;
      });
      const holder = typeof at.at(-1) === "string" && !OPEN.test(pointer) && !OPEN.test(pointer.replace(/\/[^/]+$/, ""));
      if (holder) expect(refused(more), `more in ${pointer}`).toMatch(/surplus|_2/);
    }
  });

  it("refuses one without provenance, or with a short hash of another model", () => {
    const { provenance, ...rest } = example;
    expect(refused(rest as Json)).toBe(`x.json: / must have required property 'provenance' (schemas/${kind}.v1.schema.json)`);
    const other = { ...rest, provenance: { ...provenance, model_hash: "0123456789abcdef" } };
    expect(refused(other as Json)).toMatch(/model_hash does not match the beginning of model_sha256/);
  });
});

it("has schemas that are sound themselves", () => {
  expect(schemaFault()).toBeUndefined();
});

it("refuses what a schema can say beyond types", () => {
  const wrong: [RecordKind, Path, Json][] = [
    ["manifest", ["files", 0, "path"], "/etc/passwd"],
    ["manifest", ["files", 0, "path"], "a/../../b"],
    ["manifest", ["files", 0, "sha256"], "00"],
    ["acceptance-summary", ["checks", 0, "status"], "OK"],
    ["acceptance-summary", ["checks"], []],
    ["perf-record", ["metrics", "load_ms", "samples"], [1]],
    // An interval takes all pairs of samples.
    ["perf-record", ["metrics", "load_ms", "samples"], Array.from({ length: 1001 }, () => 1)],
    ["perf-record", ["settings", "iterations"], 1001],
    ["perf-record", ["metrics", "load_ms", "median"], Number.NaN],
    ["perf-record", ["provenance", "date"], "yesterday"],
    ["perf-record", ["provenance", "schema_version"], 2],
    ["parity-failure", ["verdict"], "PASS"],
    ["parity-report", ["lanes", 0, "name"], "other"],
  ];
  for (const [kind, at, value] of wrong) {
    const record = altered(EXAMPLES[kind as keyof typeof EXAMPLES], at, (parent, key) => {
      parent[key] = value;
    });
    expect(() => checkRecord(kind, record, "x.json"), `${kind} /${at.join("/")}`).toThrow(/^x\.json: \//);
  }
  const failed = altered(EXAMPLES["acceptance-summary"], ["checks", 0, "reason"], (parent, key) => delete parent[key]);
  expect(() => checkRecord("acceptance-summary", failed, "x.json")).toThrow(/reason/);
});

it("takes a tensor that failed parity as a row, with all that it needs and nothing of a prompt's", () => {
  expect(() => checkRecord("parity-failure", WEIGHTS_ROW, "x.json")).not.toThrow();
  for (const key of ["exact", "tensor", "sides"] as const) {
    const { [key]: _, ...lacking } = WEIGHTS_ROW;
    expect(() => checkRecord("parity-failure", lacking, "x.json"), key).toThrow(new RegExp(key));
  }
  for (const wrong of [
    { ...WEIGHTS_ROW, prompt: EXAMPLES["parity-failure"].prompt },
    { ...WEIGHTS_ROW, lane: "oracle" },
    { ...EXAMPLES["parity-failure"], tensor: WEIGHTS_ROW.tensor },
  ]) {
    expect(() => checkRecord("parity-failure", wrong, "x.json")).toThrow(/^x\.json: \//);
  }
  const nothing = { ...EXAMPLES["parity-report"], lanes: [] };
  expect(() => checkRecord("parity-report", nothing, "x.json")).not.toThrow(); // the weights alone
  expect(() => checkRecord("parity-report", { ...nothing, weights: undefined }, "x.json")).toThrow(/^x\.json: \//);
});

it("writes canonical JSON, makes the folder, and reads what it wrote", async () => {
  const path = join(folder, "artifacts/manifest.json");
  await writeRecord(path, "manifest", EXAMPLES.manifest);
  expect(readFileSync(path, "utf8")).toBe(`${JSON.stringify(EXAMPLES.manifest, undefined, 2)}\n`);
  expect(await readRecord(path, "manifest")).toEqual(EXAMPLES.manifest);
  expect(readdirSync(join(folder, "artifacts"))).toEqual(["manifest.json"]);
});

it("writes nothing that does not fit, and reads nothing that was edited", async () => {
  const path = join(folder, "broken.json");
  await expect(writeRecord(path, "manifest", { ...EXAMPLES.manifest, version: 1 })).rejects.toThrow(/\/version must be string/);
  expect(existsSync(path)).toBe(false);
  for (const [text, said] of [
    [JSON.stringify(EXAMPLES.manifest).replace('"version"', '"versoin"'), /must have required property 'version'/],
    ["{", /is not JSON/],
    ["", /is not JSON/],
  ] as const) {
    writeFileSync(path, text);
    await expect(readRecord(path, "manifest")).rejects.toMatchObject({ code: "file", file: path, message: expect.stringMatching(said) });
  }
  await expect(readRecord(join(folder, "none.json"), "manifest")).rejects.toMatchObject({ code: "io" });
});

it("writes and reads JSON lines, and names the row that is wrong", async () => {
  const path = join(folder, "rows.jsonl");
  const row = EXAMPLES["parity-failure"];
  await writeRows(path, "parity-failure", [row, row]);
  expect(await readRows(path, "parity-failure")).toEqual([row, row]);
  await writeRows(path, "parity-failure", []);
  expect(await readRows(path, "parity-failure")).toEqual([]);
  writeFileSync(path, `${JSON.stringify(row)}\n{}\n`);
  await expect(readRows(path, "parity-failure")).rejects.toThrow(/rows\.jsonl, row 2: \/ must have required property 'kind'/);
  await expect(writeRows(path, "parity-failure", [row, {}])).rejects.toThrow(/row 2/);
});
