import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { appendRelease, HISTORY_FILE } from "../performance/history.js";
import type { PerfRecord } from "../performance/perf.js";
import { buildFault, writeBuildRecord } from "../records/build.js";
import { EXAMPLES } from "../records/records.test.helper.js";
import type { CheckReport } from "./acceptance.js";
import type { Check } from "./check.js";
import { Clone } from "./clone.test.helper.js";
import { SIGN_OFF } from "./sign-off.js";

// Every gate passes on a clone in order, and fails when what it guards against is there.

const clone = new Clone();
afterAll(() => clone.remove());
const GGUF = "bench/results/perf-bitnet-stories-4m-gguf.json";
const OTHER = "bench/results/perf-2b4t-random-gguf.json";

async function only(id: string, release = false): Promise<CheckReport> {
  const summary = await clone.check(
    SIGN_OFF.filter((check) => check.id === id),
    { release },
  );
  return summary.checks[0]!;
}

describe("a clone in order", () => {
  beforeAll(() => clone.make());

  it("passes every gate, in a release too", async () => {
    const { checks, verdict } = await clone.check(SIGN_OFF, { release: true });
    expect(checks.filter(({ status }) => status !== "PASS")).toEqual([]);
    expect(verdict).toBe("PASS");
  });
});

const kernel = (scale: number): void => clone.edit("kernels/assembly/ternary.ts", "127", String(scale));
const append = (path: string): void => clone.put(path, `${clone.read(path)}\n`);

describe("a gate closes on", () => {
  const causes: readonly (readonly [cause: string, id: string, said: RegExp, breakIt: () => void])[] = [
    [
      "a pretended path in the sources",
      "g.sources",
      /engine\/bad\.ts:2 pretends/,
      () => clone.put("engine/bad.ts", `\nexport function mockLogits() {}\n`),
    ],
    [
      "one in the bundle",
      "g.bundle",
      /dist\/bundle\/worker\.cjs:\d+ pretends/,
      () => clone.put("dist/bundle/worker.cjs", `${clone.read("dist/bundle/worker.cjs")}\nconst simulated = 1;\n`),
    ],
    [
      "a constant of a kernel",
      "g.build",
      /^kernels\/assembly\/ternary\.ts has changed since the build: run npm run build$/,
      () => kernel(126),
    ],
    [
      "another activation function",
      "g.build",
      /^engine\/network\/feed-forward\.ts has changed/,
      () => clone.edit("engine/network/feed-forward.ts", "relu2", "silu"),
    ],
    [
      "a source that is not built",
      "g.build",
      /^cli\/more\.ts has been added since the build/,
      () => clone.put("cli/more.ts", "export const a = 1;\n"),
    ],
    [
      "a removed source",
      "g.build",
      /^engine\/gone\.ts has been removed since the build/,
      () => {
        clone.put("engine/gone.ts", "export const a = 1;\n");
        clone.build();
        rmSync(join(clone.root, "engine/gone.ts"));
      },
    ],
    [
      "another version of a tool",
      "g.build",
      /^package-lock\.json has changed/,
      () => clone.edit("package-lock.json", /("node_modules\/rolldown": \{\s*"version": ")[^"]*/, "$19.9.9"),
    ],
    [
      "bytes appended to the bundle",
      "g.build",
      /^dist\/bundle\/index\.js has changed since the build/,
      () => append("dist/bundle/index.js"),
    ],
    [
      "bytes appended to the library for require()",
      "g.build",
      /^dist\/bundle\/index\.cjs has changed/,
      () => append("dist/bundle/index.cjs"),
    ],
    ["bytes appended to a module", "g.build", /^dist\/kernels\/products\.wasm has changed/, () => append("dist/kernels/products.wasm")],
    ["bytes appended to a declaration", "g.build", /^dist\/engine\/index\.d\.ts has changed/, () => append("dist/engine/index.d.ts")],
    ["an extra file in the bundle", "g.build", /^dist\/bundle\/more\.js has been added/, () => clone.put("dist/bundle/more.js", "1;\n")],
    [
      "a missing module",
      "g.build",
      /^dist\/kernels\/relaxed\.wasm has been removed/,
      () => rmSync(join(clone.root, "dist/kernels/relaxed.wasm")),
    ],
    [
      "a build that failed",
      "g.build",
      /^dist\/build\.json does not exist: the last build failed/,
      () => {
        clone.put("engine/index.ts", "export const one =;\n");
        clone.build();
      },
    ],
    [
      "a bundle whose record was made to fit",
      "g.build",
      /^a new build of the sources changes dist\/bundle\/index\.js/,
      () => {
        append("dist/bundle/index.js");
        writeBuildRecord(clone.root, {});
      },
    ],
    [
      "a kernel whose record was made to fit",
      "g.build",
      /^a new build of the sources changes dist\/kernels\/plain\.wasm/,
      () => {
        kernel(126);
        writeBuildRecord(clone.root, {});
      },
    ],
    [
      "sources that can't be built",
      "g.build",
      /^the sources can't be built .*: .*Syntax error/,
      () => {
        clone.put("engine/index.ts", "export const one =;\n");
        writeBuildRecord(clone.root, {});
      },
    ],
    [
      "an edited record of the build",
      "g.build",
      /build\.json: \/sources\/.* must match pattern/,
      () => clone.edit("dist/build.json", /": "\w{64}"/, '": "0"'),
    ],
    [
      "a bundle that is not there",
      "g.bundle",
      /dist\/bundle\/index\.js does not exist/,
      () => rmSync(join(clone.root, "dist/bundle/index.js")),
    ],
    ["a print", "g.debugging", /engine\/bad\.ts:1 prints/, () => clone.put("engine/bad.ts", `console.log(1);\n`)],
    ["a breakpoint", "g.debugging", /cli\/bad\.ts:2 a breakpoint/, () => clone.put("cli/bad.ts", `\n  debugger;\n`)],
    [
      "a test that leaves others out",
      "g.tests",
      /cli\/x\.test\.ts:2 it\.only/,
      () => clone.put("cli/x.test.ts", `import { it } from "vitest";\nit.only("x", () => {});\n`),
    ],
    ["something to be done", "g.debugging", /scripts\/x\.mjs:1/, () => clone.put("scripts/x.mjs", `// TODO: more\n`)],
    [
      "a missing record",
      "f.performance",
      /^bench\/results\/perf-bitnet-stories-4m-gguf\.json does not exist/,
      () => rmSync(join(clone.root, GGUF)),
    ],
    [
      "a record of other kernels",
      "f.performance",
      /perf-bitnet-stories-4m-gguf\.json is stale: it was measured with the kernels 0123456789abcdef/,
      () => clone.edit(GGUF, /"kernel_sha256": "\w{16}/, '"kernel_sha256": "0123456789abcdef'),
    ],
    [
      "a record of another model",
      "f.performance",
      /is stale: it was measured with the model 0123456789abcdef.* measure again with bitnet perf/,
      () => clone.edit(GGUF, /("model_(?:hash|sha256)": ")\w{16}(\w*",\s+"model_sha256": ")\w{16}/, "$10123456789abcdef$20123456789abcdef"),
    ],
    [
      "a stale record of a model that is not in the package",
      "f.performance",
      /perf-2b4t-random-gguf\.json is stale: it was measured with the kernels 0123456789abcdef/,
      () => clone.edit(OTHER, /"kernel_sha256": "\w{16}/, '"kernel_sha256": "0123456789abcdef'),
    ],
    [
      "a deleted record of such a model",
      "f.performance",
      /^bench\/results\/perf-2b4t-random-gguf\.json does not exist, but bench\/results\/perf-2b4t-random-safetensors\.json does/,
      () => rmSync(join(clone.root, OTHER)),
    ],
    [
      "swapped records of such a model",
      "f.performance",
      /^bench\/results\/perf-2b4t-random-gguf\.json is the record of 2b4t-random as safetensors: it was renamed or swapped/,
      () => {
        const [gguf, safetensors] = [OTHER, OTHER.replace("gguf", "safetensors")].map((path) => clone.read(path));
        clone.put(OTHER, safetensors!);
        clone.put(OTHER.replace("gguf", "safetensors"), gguf!);
      },
    ],
    [
      "a measurement under load",
      "f.performance",
      /perf-2b4t-random-gguf\.json: \/load_average is 40, but at most 1 on 2 cores counts as a calm machine/,
      () => clone.edit(OTHER, /"load_average": [\d.]+/, '"load_average": 40'),
    ],
    [
      "other numerics",
      "f.performance",
      /^bench\/results\/perf-bitnet-stories-4m-gguf\.json: \/provenance\/numerics_version is 99, but that of this engine is 1/,
      () => clone.edit(GGUF, /"numerics_version": \d+/, '"numerics_version": 99'),
    ],
    [
      "an edited history",
      "f.performance",
      /history\.jsonl, row 2: \/chain does not follow from the rows up to it/,
      () => {
        const record = JSON.parse(clone.read(GGUF)) as PerfRecord;
        const other = JSON.parse(clone.read(GGUF.replace("gguf", "safetensors"))) as PerfRecord;
        clone.put(HISTORY_FILE, appendRelease("", "0.1.0", [record, other]));
        clone.edit(HISTORY_FILE, /(\n.*"load_ms":)/, "$11");
      },
    ],
    [
      "a history without a release of the changelog",
      "f.performance",
      /history\.jsonl has no row of version 0\.2\.0, which is in the changelog/,
      () => clone.edit("CHANGELOG.md", "## [0.1.0]", "## [0.2.0] - 2026-01-01\n\n### Added\n\n- More.\n\n## [0.1.0]"),
    ],
    [
      "a picture of a model without records",
      "f.render",
      /^docs\/perf-gone\.svg: there are no records of this model/,
      () => clone.put("docs/perf-gone.svg", "<svg/>"),
    ],
    ["a record without provenance", "g.records", /provenance/, () => clone.edit(GGUF, '"provenance"', '"origin"')],
    [
      "a benchmark without provenance",
      "g.records",
      /growth\.json: \/ must have required property 'provenance' \(schemas\/bench-record/,
      () => {
        const { provenance: _, ...bare } = EXAMPLES["bench-record"];
        clone.put("bench/results/growth.json", JSON.stringify(bare));
      },
    ],
    [
      "a benchmark under load",
      "g.records",
      /^bench\/results\/growth\.json: \/load_average is 40, but at most 1 on 2 cores counts as a calm machine/,
      () => clone.put("bench/results/growth.json", JSON.stringify({ ...EXAMPLES["bench-record"], load_average: 40 })),
    ],
    [
      "a result of unknown form",
      "g.records",
      /notes\.json: \/ must have required property/,
      () => clone.put("bench/results/notes.json", "{}"),
    ],
    ["an edited record", "g.records", /\/metrics\/\w+\/median is /, () => clone.edit(GGUF, /"median": \d/, '"median": 9')],
    [
      "an edited page",
      "f.render",
      /docs\/PERF_COMPARISON\.md does not match the records/,
      () => clone.edit("docs/PERF_COMPARISON.md", "4.2", "4.3"),
    ],
    ["a picture that is not there", "f.render", /\.svg does not match/, () => rmSync(join(clone.root, "docs/perf-bitnet-stories-4m.svg"))],
    ["a page that is not there", "g.docs", /docs\/release\.md: missing/, () => rmSync(join(clone.root, "docs/release.md"))],
    ["an empty page", "g.docs", /README\.md: missing or empty/, () => clone.put("README.md", "")],
    ["a link that leads nowhere", "g.docs", /none\.md in docs\/cli\.md/, () => clone.put("docs/cli.md", "[x](none.md)\n")],
    [
      "a version without changes",
      "g.changelog",
      /no section "## \[9\.9\.9\]/,
      () => clone.edit("package.json", /"version": "[^"]*"/, '"version": "9.9.9"'),
    ],
    ["a changelog that is not there", "g.changelog", /CHANGELOG\.md does not exist/, () => rmSync(join(clone.root, "CHANGELOG.md"))],
    [
      "an untracked source",
      "g.clean-tree",
      /changed since the commit: engine\/new\.ts \(not tracked\)$/,
      () => clone.put("engine/new.ts", "1;\n"),
    ],
    ["an untracked file", "g.clean-tree", /notes\.txt \(not tracked\)/, () => clone.put("notes.txt", "1;\n")],
    ["an ignored file that is published", "g.clean-tree", /models\/x\.tgz \(not tracked\)/, () => clone.put("models/x.tgz", "1")],
    [
      "an ignored source",
      "g.clean-tree",
      /engine\/hidden\.ts \(not tracked\)/,
      () => {
        clone.put(".git/info/exclude", "hidden.ts\n");
        clone.put("engine/hidden.ts", "1;\n");
      },
    ],
    ["a changed file", "g.clean-tree", /changed since the commit: a\.txt/, () => clone.put("a.txt", "4\n")],
  ];
  it.each(causes)("%s", async (_, id, said, breakIt) => {
    await clone.make();
    breakIt();
    expect(await only(id, true)).toMatchObject({ id, status: "FAIL", reason: expect.stringMatching(said) });
  });

  it("and outside of a release a changed file is a warning", async () => {
    await clone.make();
    clone.put("a.txt", "4\n");
    expect(await only("g.clean-tree")).toMatchObject({ status: "SKIP", ship: false, reason: expect.stringContaining("a.txt") });
  });
});

it("a quick run compares hashes and says so; versions and tests are not part of the build", async () => {
  await clone.make();
  const quick = async (): Promise<CheckReport> =>
    (
      await clone.check(
        SIGN_OFF.filter(({ id }) => id === "g.build"),
        { quick: true },
      )
    ).checks[0]!;
  clone.edit("package.json", /"version": "[^"]*"/, '"version": "9.9.9"');
  clone.put("engine/index.test.ts", "1;\n");
  expect(await quick()).toMatchObject({ status: "PASS", figures: { built_again: false }, reason: expect.stringContaining("--quick") });
  kernel(126);
  expect(await quick()).toMatchObject({ status: "FAIL", reason: expect.stringContaining("kernels/assembly/ternary.ts has changed") });
});

it("this repository is built from its sources", async () => {
  expect(await buildFault(".", true)).toBeUndefined();
});

it("what is installed has no sources to look at, says so, and needs none", async () => {
  await clone.make();
  for (const path of ["engine", ".git", "bench"]) rmSync(join(clone.root, path), { recursive: true });
  const { checks, verdict } = await clone.check(SIGN_OFF);
  const skipped = checks.filter(({ status }) => status === "SKIP");
  expect(skipped.map(({ id }) => id)).toEqual([
    "f.performance",
    "f.render",
    "g.sources",
    "g.bundle",
    "g.debugging",
    "g.tests",
    "g.clean-tree",
  ]);
  for (const { ship, reason } of skipped)
    expect({ ship, reason }).toEqual({ ship: false, reason: expect.stringContaining("only in a clone") });
  expect(verdict).toBe("PASS");
  append("dist/kernels/products.wasm");
  expect(await only("g.build")).toMatchObject({ status: "FAIL", reason: expect.stringContaining("install the package again") });
});

it("an artifact of this run that is not of its schema is found", async () => {
  await clone.make();
  const writes: Check = {
    ...{ id: "c.fp32-fp32", title: "parity" },
    run: ({ out }) => {
      writeFileSync(join(out, "parity_report.json"), "{}\n");
      return { status: "PASS" };
    },
  };
  const { checks } = await clone.check([writes, ...SIGN_OFF.filter(({ id }) => id === "g.records")]);
  expect(checks[1]).toMatchObject({ status: "FAIL", reason: expect.stringContaining("parity_report.json") });
});
