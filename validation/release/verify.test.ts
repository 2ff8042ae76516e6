import { spawnSync } from "node:child_process";
import { createHash, generateKeyPairSync, type KeyObject } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import fc from "fast-check";
import { unpackTar } from "modern-tar";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { THOROUGH } from "../../engine/thorough.test.helper.js";
import { type AcceptanceSummary, BANNER_FILE, PARITY_FILE, SUMMARY_FILE } from "../acceptance/acceptance.js";
import { Clone, ENVIRONMENT } from "../acceptance/clone.test.helper.js";
import { sealSummary } from "../acceptance/seal.js";
import type { ParityReport } from "../parity/types.js";
import { HISTORY_FILE } from "../performance/history.js";
import type { PerfRecord } from "../performance/perf.js";
import { MANIFEST_FILE, type Manifest, packArtifacts, SUMS_FILE, sums } from "./pack.js";
import { packHere } from "./package.test.helper.js";
import { prepareRelease } from "./release.js";
import { readKey, signWithKey } from "./signature.js";
import { digestOf, gzip, tar } from "./tar.js";
import { type Verified, type VerifyOptions, verifyRelease } from "./verify.js";

// A release as `release prepare` leaves it, and what becomes of it in other hands.

const clone = new Clone();
const folder = mkdtempSync(join(tmpdir(), "bitnet-verify-"));
const out = join(folder, "release-v0.2.0");
const ARCHIVE = "bitnet-ts-v0.2.0-artifacts.tar.gz";
const PACKAGE = "bitnet-ts-0.2.0.tgz";
const SBOM = "bitnet-ts-v0.2.0.cdx.json";
const STATEMENT = "bitnet-ts-v0.2.0.provenance.json";
const ENVELOPE = "bitnet-ts-v0.2.0.intoto.jsonl";
const LIST = "RELEASE_CHECKLIST_v0.2.0.md";
const GGUF = "bench/results/perf-bitnet-stories-4m-gguf.json";

/** A new key as PEM files. */
function makeKey(name: string, type: "ed25519" | "ec" = "ed25519"): string {
  const { privateKey, publicKey } =
    type === "ec" ? generateKeyPairSync("ec", { namedCurve: "prime256v1" }) : generateKeyPairSync("ed25519");
  writeFileSync(join(folder, `${name}.pem`), privateKey.export({ type: "pkcs8", format: "pem" }));
  writeFileSync(join(folder, `${name}.pub.pem`), publicKey.export({ type: "spki", format: "pem" }));
  return join(folder, `${name}.pem`);
}

async function prepare(to: string, results: string, keyFile?: string): Promise<void> {
  const sign = keyFile === undefined ? undefined : await signWithKey(keyFile);
  await prepareRelease({
    ...{ version: "0.2.0", dryRun: true, root: clone.root, out: to, results, cliArgs: [], seed: 42, deterministic: true },
    ...{ environment: ENVIRONMENT, date: new Date(), pack: packHere, sign },
  });
}

let key: KeyObject;
/** Files of the release by path, as they were made, and of its archive. */
const files = new Map<string, Buffer>();
let inside: Map<string, Buffer>;
beforeAll(async () => {
  await clone.make();
  await clone.results(join(folder, "results"));
  await prepare(out, join(folder, "results"), makeKey("own"));
  key = await readKey(join(folder, "own.pub.pem"), "public");
  for (const entry of readdirSync(out, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile()) files.set(path.slice(out.length + 1).replaceAll("\\", "/"), readFileSync(path));
  }
  const entries = await unpackTar(gunzipSync(files.get(ARCHIVE)!));
  inside = new Map(entries.map(({ header, data }) => [header.name, Buffer.from(data!)]));
});
afterAll(() => {
  clone.remove();
  rmSync(folder, { recursive: true });
});

/** The release as it was made. The package is large, and nothing here alters it in place. */
function restore(): void {
  for (const name of readdirSync(out)) if (name !== PACKAGE) rmSync(join(out, name), { recursive: true });
  for (const [path, data] of files) {
    if (existsSync(join(out, path))) continue;
    mkdirSync(join(out, path, ".."), { recursive: true });
    writeFileSync(join(out, path), data);
  }
}

const refused = (path: string, said: RegExp | string, options: VerifyOptions = {}): Promise<void> =>
  expect(verifyRelease(path, options)).rejects.toMatchObject({
    code: "acceptance",
    message: typeof said === "string" ? expect.stringContaining(said) : expect.stringMatching(said),
  });

const text = ({ proved, claimed }: Verified): { proved: string; claimed: string } => ({
  proved: proved.join("\n"),
  claimed: claimed.join("\n"),
});

describe("a release as it was made", () => {
  it("is verified from its folder, with the key of its signature", async () => {
    const verified = await verifyRelease(out, { key });
    expect(verified).toMatchObject({ kind: "folder", version: "0.2.0" });
    const { proved, claimed } = text(verified);
    for (const name of [ARCHIVE, PACKAGE, STATEMENT, ENVELOPE, LIST, "tree: its 7 files"]) expect(proved).toContain(name);
    expect(claimed).not.toContain("who made it");
    expect(claimed).toContain(`commit ${clone.commit.slice(0, 12)}`);
  });

  it("what is not signed, or signed by nobody known, is claimed", async () => {
    expect(text(await verifyRelease(out)).claimed).toMatch(/who made it: it is signed with the key [0-9a-f]{64}, which was not checked/);
    const alone = join(folder, "alone");
    mkdirSync(alone);
    cpSync(join(out, ARCHIVE), join(alone, ARCHIVE));
    expect(text(await verifyRelease(join(alone, ARCHIVE))).claimed).toContain("who made it: it is not signed");
    await refused(join(alone, ARCHIVE), `it is not signed: there is no ${ENVELOPE}`, { key });
    cpSync(join(out, ENVELOPE), join(alone, ENVELOPE));
    expect(text(await verifyRelease(join(alone, ARCHIVE), { key })).proved).toContain("was signed with the key");
  });

  it("from its archive alone, or with the package, which it names", async () => {
    const alone = await verifyRelease(join(out, ARCHIVE));
    expect(alone).toMatchObject({ kind: "archive", version: "0.2.0" });
    expect(text(alone).claimed).toContain(`that the npm package is ${PACKAGE}`);
    const both = text(await verifyRelease(join(out, ARCHIVE), { npm: join(out, PACKAGE) }));
    expect(both.proved).toContain(`${PACKAGE} is the npm package of the archive, byte for byte`);
    expect(both.claimed).not.toContain(PACKAGE);
  });

  it("from its package alone: what the build made", async () => {
    const verified = await verifyRelease(join(out, PACKAGE), { key });
    expect(verified).toMatchObject({ kind: "package", version: "0.2.0" });
    expect(text(verified).proved).toContain("dist/build.json");
    expect(text(verified).claimed).toContain("a package can't hold its own hash");
  });

  it("what is published of it has no tree", async () => {
    const published = join(folder, "published");
    cpSync(out, published, { recursive: true });
    rmSync(join(published, "tree"), { recursive: true });
    expect(text(await verifyRelease(published, { key })).claimed).toContain("they are not here");
  });
});

describe("altered in any byte it is refused", () => {
  /** Another value for a byte at a place of a file; ends and beginnings are tried often. */
  const place = fc.record({
    at: fc.oneof(
      fc.nat(),
      fc.nat(600),
      fc.nat(600).map((back) => -1 - back),
    ),
    xor: fc.integer({ min: 1, max: 255 }),
  });
  const altered = (data: Buffer, { at, xor }: { at: number; xor: number }): Buffer => {
    const copy = Buffer.from(data);
    const index = ((at % data.length) + data.length) % data.length;
    copy[index]! ^= xor;
    return copy;
  };

  it("in any file of the folder", async () => {
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...files.keys()), place, async (path, where) => {
        writeFileSync(join(out, path), altered(files.get(path)!, where));
        try {
          await refused(out, /./);
        } finally {
          writeFileSync(join(out, path), files.get(path)!);
        }
      }),
      { numRuns: THOROUGH ? 100 : 15 },
    );
  });

  it("in the archive alone", async () => {
    const path = join(folder, ARCHIVE);
    await fc.assert(
      fc.asyncProperty(place, async (where) => {
        writeFileSync(path, altered(files.get(ARCHIVE)!, where));
        await refused(path, /./);
      }),
      { numRuns: THOROUGH ? 300 : 50 },
    );
  });

  it("in the signature or what it signs", async () => {
    const alone = join(folder, "signed");
    mkdirSync(alone);
    writeFileSync(join(alone, ARCHIVE), files.get(ARCHIVE)!);
    await fc.assert(
      fc.asyncProperty(place, async (where) => {
        writeFileSync(join(alone, ENVELOPE), altered(files.get(ENVELOPE)!, where));
        await refused(join(alone, ARCHIVE), ENVELOPE, { key });
      }),
      { numRuns: THOROUGH ? 100 : 10 },
    );
  });

  it("cut off anywhere, or with something behind it", async () => {
    const path = join(folder, ARCHIVE);
    const data = files.get(ARCHIVE)!;
    for (const length of [0, 1, 10, 700, data.length >> 1, data.length - 9, data.length - 1]) {
      writeFileSync(path, data.subarray(0, length));
      await refused(path, /not a gzip file|cut off|truncated|readable/);
    }
    for (const more of [Buffer.alloc(1), Buffer.from("x"), gzipSync(""), gzipSync(Buffer.alloc(1024)), data]) {
      writeFileSync(path, Buffer.concat([data, more]));
      await refused(path, /./);
    }
    // The same contents, packed in another way.
    writeFileSync(path, gzipSync(gunzipSync(data)));
    await refused(path, "its gzip format is different");
  });
});

const moves: readonly (readonly [what: string, said: RegExp, move: () => void])[] = [
  ["a file added", /^extra\.txt is not in SHA256SUMS$/, () => writeFileSync(join(out, "extra.txt"), "x")],
  ["a folder added", /^extra is not a plain file$/, () => mkdirSync(join(out, "extra"))],
  [
    "a link in place of a file",
    /is not a plain file$/,
    () => {
      renameSync(join(out, SBOM), join(folder, SBOM));
      symlinkSync(join(folder, SBOM), join(out, SBOM));
    },
  ],
  ["a file removed", /^MANIFEST\.json is missing$/, () => rmSync(join(out, MANIFEST_FILE))],
  ["the signature removed", /intoto\.jsonl is missing$/, () => rmSync(join(out, ENVELOPE))],
  ["no list of sums", /has no SHA256SUMS: it is not a release$/, () => rmSync(join(out, SUMS_FILE))],
  ["a file renamed", /is missing$/, () => renameSync(join(out, PACKAGE), join(out, "bitnet-ts-0.3.0.tgz"))],
  [
    "two files swapped",
    /is not the file that SHA256SUMS names$/,
    () => {
      writeFileSync(join(out, SBOM), files.get(MANIFEST_FILE)!);
      writeFileSync(join(out, MANIFEST_FILE), files.get(SBOM)!);
    },
  ],
  [
    "a file and its line removed",
    /should have RELEASE_CHECKLIST_v0\.2\.0\.md in this place$/,
    () => {
      rmSync(join(out, LIST));
      writeFileSync(
        join(out, SUMS_FILE),
        files
          .get(SUMS_FILE)!
          .toString()
          .replace(/^.*CHECKLIST.*\n/m, ""),
      );
    },
  ],
  [
    "a file and its line added",
    /should not have extra\.txt/,
    () => {
      writeFileSync(join(out, "extra.txt"), "x");
      writeFileSync(join(out, SUMS_FILE), `${files.get(SUMS_FILE)}${sums([digestOf("extra.txt", Buffer.from("x"))])}`);
    },
  ],
  [
    "lines in another order",
    /should have .* in this place$/,
    () => writeFileSync(join(out, SUMS_FILE), `${files.get(SUMS_FILE)!.toString().trimEnd().split("\n").reverse().join("\n")}\n`),
  ],
  [
    "another end of lines",
    /line 1 is not/,
    () => writeFileSync(join(out, SUMS_FILE), files.get(SUMS_FILE)!.toString().replaceAll("\n", "\r\n")),
  ],
  [
    "a path that leads out",
    /line 7 is not/,
    () =>
      writeFileSync(
        join(out, SUMS_FILE),
        files
          .get(SUMS_FILE)!
          .toString()
          .replace(/ {2}\S+\n$/, "  ../x\n"),
      ),
  ],
  ["a file added to tree", /^tree\/x\.ts is not as .*provenance\.json has it$/, () => writeFileSync(join(out, "tree/x.ts"), "x")],
  ["a file removed from tree", /^tree\/CHANGELOG\.md is not as/, () => rmSync(join(out, "tree/CHANGELOG.md"))],
  [
    "two files of tree swapped",
    /^tree\/package-lock\.json is not as/,
    () => {
      writeFileSync(join(out, "tree/package-lock.json"), files.get("tree/package.json")!);
      writeFileSync(join(out, "tree/package.json"), files.get("tree/package-lock.json")!);
    },
  ],
  ["a link in tree", /^tree\/README\.md is not a plain file$/, () => symlinkSync(join(out, LIST), join(out, "tree/README.md"))],
];
it.each(moves)("refuses %s", async (_, said, move) => {
  move();
  try {
    await refused(out, said);
  } finally {
    restore();
  }
});

type Inside = Map<string, Buffer>;
const json = <T>(of: Inside, path: string): T => JSON.parse(of.get(path)!.toString()) as T;
const put = (of: Inside, path: string, value: object): void => void of.set(path, Buffer.from(`${JSON.stringify(value, undefined, 2)}\n`));

/** Seals the results again, after an edit of the summary or the files it was sealed with. */
function reseal(of: Inside, edit: (summary: AcceptanceSummary) => Partial<AcceptanceSummary> = () => ({})): void {
  const summary = json<AcceptanceSummary>(of, SUMMARY_FILE);
  const artifacts = Object.fromEntries(Object.keys(summary.artifacts).map((name) => [name, digestOf(name, of.get(name)!).sha256]));
  const edited = { ...summary, artifacts, ...edit(summary) };
  put(of, SUMMARY_FILE, sealSummary({ ...edited, checks: edited.checks.map(({ chain: _, ...check }) => check) }));
}

const provenance = (of: Inside, edit: object, names = [SUMMARY_FILE, PARITY_FILE, BANNER_FILE]): void => {
  for (const name of names) {
    const record = json<{ provenance: object }>(of, name);
    put(of, name, { ...record, provenance: { ...record.provenance, ...edit } });
  }
  reseal(of);
};

/** An archive of edited files whose manifest and sums are right. */
async function forge(edit: (of: Inside) => void, editManifest: (manifest: Manifest) => Partial<Manifest> = () => ({})): Promise<Buffer> {
  const of = new Map(inside);
  edit(of);
  const { version, package: npm } = { ...json<Manifest>(of, MANIFEST_FILE), ...editManifest(json<Manifest>(of, MANIFEST_FILE)) };
  of.delete(MANIFEST_FILE);
  of.delete(SUMS_FILE);
  const list = [...of].map(([path, data]) => ({ path, data }));
  const { archive } = await packArtifacts(list, json<AcceptanceSummary>(of, SUMMARY_FILE), version, npm, 1_700_000_100);
  return Buffer.from(archive);
}

const edited = (path: string, from: string | RegExp, to: string) => (of: Inside) => {
  const before = of.get(path)!.toString();
  expect(before).toMatch(from);
  of.set(path, Buffer.from(before.replace(from, to)));
};

const forgeries: readonly (readonly [what: string, said: RegExp, edit: (of: Inside) => void])[] = [
  [
    "an edited outcome",
    /the chain breaks at check a\.weights/,
    edited(SUMMARY_FILE, /"id": "a.weights",\s+"title": "[^"]+",/, '"id": "a.weights",\n      "title": "other",'),
  ],
  [
    "a check less",
    /check 1 is a\.weights, but should be a\.introspection/,
    (of) => reseal(of, ({ checks }) => ({ checks: checks.slice(1) })),
  ],
  [
    "a check that failed",
    /d\.logits did not pass \(FAIL: no\)/,
    (of) =>
      reseal(of, ({ checks }) => ({
        checks: checks.map((one) => (one.id === "d.logits" ? { ...one, status: "FAIL", reason: "no" } : one)),
      })),
  ],
  ["a quick run", /they are from a quick run, or from other models/, (of) => reseal(of, () => ({ quick: true }))],
  [
    "a run outside of the deterministic environment",
    /d\.environment: the deterministic environment is not set \(BITNET_SEED\): run export/,
    (of) =>
      reseal(of, ({ checks }) => ({
        checks: checks.map((one) =>
          one.id === "d.environment"
            ? { ...one, figures: { ...one.figures, environment: ENVIRONMENT.replace(" BITNET_SEED=42", "") } }
            : one,
        ),
      })),
  ],
  ["other kernels", /kernel_sha256 is 0{64}, but that of the npm package is/, (of) => provenance(of, { kernel_sha256: "0".repeat(64) })],
  ["another bundle", /bundle_sha256 is 0{64}/, (of) => provenance(of, { bundle_sha256: "0".repeat(64) })],
  [
    "another model",
    /they are from the model models\/.*, not the embedded one/,
    (of) => reseal(of, ({ models }) => ({ models: [models[0]!, { ...models[1]!, sha256: "0".repeat(64) }] })),
  ],
  [
    "parity of another run",
    /parity_report\.json and acceptance_summary\.json are from different runs: date differs/,
    (of) => provenance(of, { date: "2026-11-22T03:04:05.679Z" }, [PARITY_FILE]),
  ],
  [
    "parity whose figures fail",
    /lane quant-fp32 \(reference\): prompt-1 has the verdict PASS, but its figures say FAIL/,
    (of) => {
      const report = json<ParityReport>(of, PARITY_FILE);
      const lanes = report.lanes.map((lane) =>
        lane.name !== "quant-fp32"
          ? lane
          : { ...lane, prompts: lane.prompts.map((one) => ({ ...one, figures: { ...one.figures, tau_median: 0.1 } })) },
      );
      put(of, PARITY_FILE, { ...report, lanes });
      reseal(of);
    },
  ],
  [
    "a gate below the promise",
    /its gate is looser than the promise/,
    (of) => {
      const report = json<ParityReport>(of, PARITY_FILE);
      put(of, PARITY_FILE, {
        ...report,
        lanes: report.lanes.map((lane) => ({ ...lane, thresholds: { ...lane.thresholds, delta_nll: 1 } })),
      });
      reseal(of);
    },
  ],
  [
    "two models that are one",
    /both of their models are the same file/,
    (of) => reseal(of, ({ models }) => ({ models: [models[1]!, models[1]!] })),
  ],
  [
    "other figures of performance than those of the records",
    /f\.performance: gguf\.decode is 9, but the record has/,
    (of) =>
      reseal(of, ({ checks }) => ({
        checks: checks.map((one) => (one.id === "f.performance" ? { ...one, figures: { ...one.figures, "gguf.decode": 9 } } : one)),
      })),
  ],
  [
    "a key given twice",
    /parity_report\.json is not written as bitnet writes records/,
    (of) => {
      edited(PARITY_FILE, '"kind"', '"verdict": "FAIL",\n  "kind"')(of);
      reseal(of);
    },
  ],
  [
    "records of a newer version",
    /is from version 9\.9\.9, which is newer than 0\.2\.0/,
    (of) => provenance(of, { package_version: "9.9.9" }),
  ],
  [
    "a median that is none",
    /decode_tokens_per_second\/median is 1e9|median is 1000000000, but its samples give/,
    (of) => {
      const record = json<PerfRecord>(of, GGUF);
      const { decode_tokens_per_second: decode } = record.metrics;
      put(of, GGUF, { ...record, metrics: { ...record.metrics, decode_tokens_per_second: { ...decode, median: 1e9 } } });
    },
  ],
  [
    "an edited page",
    /docs\/PERF_COMPARISON\.md is not rendered from the performance records/,
    edited("docs/PERF_COMPARISON.md", "Performance", "Swiftness"),
  ],
  [
    "a record of performance less",
    /PERF_COMPARISON\.md is not rendered|no performance record of the embedded model as gguf/,
    (of) => of.delete(GGUF),
  ],
  [
    "an edited row of the history",
    /^bench\/results\/history\.jsonl, row 1: \/chain does not follow from the rows up to it/,
    edited(HISTORY_FILE, '"load_ms":', '"load_ms":1'),
  ],
  [
    "a history without this release",
    /history\.jsonl does not end with the records of 0\.2\.0/,
    (of) => of.set(HISTORY_FILE, Buffer.alloc(0)),
  ],
  [
    "a record of another model less",
    /^bench\/results\/perf-2b4t-random-gguf\.json does not exist, but /,
    (of) => of.delete("bench/results/perf-2b4t-random-gguf.json"),
  ],
  [
    "a measurement under load",
    /perf-bitnet-stories-4m-gguf\.json: \/load_average is 40/,
    edited(GGUF, '"load_average": 0.1', '"load_average": 40'),
  ],
  [
    "a record under another name",
    /is the record of bitnet-stories-4m as gguf/,
    (of) => {
      of.set(GGUF.replace("4m", "5m"), of.get(GGUF)!);
      of.delete(GGUF);
    },
  ],
  [
    "kernels in the bill of materials",
    /is not the bill of materials of this package/,
    edited(SBOM, /"alg": "SHA-256",\s+"content": "\w/, '"alg": "SHA-256",\n          "content": "0'),
  ],
  [
    "a version in the bill of materials",
    /is not the bill of materials of this package/,
    edited(SBOM, /"version": "0\.2\.0"/, '"version": "0.2.1"'),
  ],
  ["a bill of materials of another form", /cdx\.json is not a bill of materials/, (of) => of.set(SBOM, Buffer.from("[]"))],
  ["a changelog without the version", /CHANGELOG\.md has no section "## \[0\.2\.0\]/, edited("CHANGELOG.md", "[0.2.0]", "[0.3.0]")],
  [
    "a changelog that the package does not have",
    /CHANGELOG\.md is not the one in the npm package/,
    edited("CHANGELOG.md", "Wings", "Wheels"),
  ],
  ["a file more", /should not have docs\/more\.md/, (of) => of.set("docs/more.md", Buffer.from("x"))],
  ["a file less", /should have docs\/release\.md/, (of) => of.delete("docs/release.md")],
];
it.each(forgeries)("an archive whose sums are right is refused for %s", async (_, said, edit) => {
  const path = join(folder, ARCHIVE);
  writeFileSync(path, await forge(edit));
  await refused(path, said);
});

it("a manifest of another version or package is refused", async () => {
  const path = join(folder, ARCHIVE);
  const none = (): void => undefined;
  writeFileSync(path, await forge(none, () => ({ version: "0.3.0" })));
  await refused(path, /MANIFEST\.json names the npm package bitnet-ts-0\.2\.0\.tgz instead of bitnet-ts-0\.3\.0\.tgz/);
  writeFileSync(path, await forge(none, ({ package: npm }) => ({ package: { ...npm, integrity: `sha512-${"A".repeat(86)}==` } })));
  await refused(path, /is not the bill of materials of this package/);
  writeFileSync(path, await forge(none, ({ package: npm }) => ({ package: { ...npm, files: npm.files.slice(1) } })));
  await refused(path, /CHANGELOG\.md is not the one in the npm package/);
  // Files and manifest in another time.
  const later = [...inside].map(([name, data]) => ({ path: name, data }));
  writeFileSync(path, gzip(await tar(later, 1_700_000_101)));
  await refused(path, /is not the bill of materials/);
});

describe("somebody rewrites all of it", () => {
  const forged = join(folder, "forged");
  beforeAll(async () => {
    await clone.results(join(folder, "other-results"), { date: "2026-02-03T04:05:06.789Z" });
    await prepare(forged, join(folder, "other-results"), makeKey("theirs", "ec"));
  });

  it("that passes where nobody asks who signed, which it says, and fails with the key", async () => {
    expect(text(await verifyRelease(forged)).claimed).toContain("so anyone could have made it");
    await refused(forged, /intoto\.jsonl: it has no valid signature of the key/, { key });
    expect(text(await verifyRelease(forged, { key: await readKey(join(folder, "theirs.pub.pem"), "public") })).proved).toContain(
      "was signed with",
    );
  });

  it("with the signature of the true one it fails, with or without the key", async () => {
    writeFileSync(join(forged, ENVELOPE), files.get(ENVELOPE)!);
    const names = readdirSync(forged).filter((name) => name !== SUMS_FILE && name !== "tree");
    const order = files
      .get(SUMS_FILE)!
      .toString()
      .trimEnd()
      .split("\n")
      .map((line) => line.slice(66));
    names.sort((a, b) => order.indexOf(a) - order.indexOf(b));
    writeFileSync(join(forged, SUMS_FILE), sums(names.map((name) => digestOf(name, readFileSync(join(forged, name))))));
    await refused(forged, /is not a subject of the statement|signs another statement/, { key });
    await refused(forged, /is not a subject of the statement|signs another statement/);
  });
});

describe("hostile archives are refused, and quickly", () => {
  /** A header by hand, as POSIX has it. */
  function header(name: string, size: number | string, type = "0", more: readonly (readonly [at: number, text: string])[] = []): Buffer {
    const block = Buffer.alloc(512);
    block.write(name, 0);
    block.write("0000644\0", 100);
    block.write("0000000\0".repeat(2), 108);
    block.write(typeof size === "string" ? size : `${size.toString(8).padStart(11, "0")}\0`, 124, "latin1");
    block.write("00000000010\0", 136);
    block.write(type, 156);
    block.write("ustar\x0000", 257);
    for (const [at, value] of more) block.write(value, at);
    block.write(" ".repeat(8), 148);
    const sum = block.reduce((a, b) => a + b);
    block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
    return block;
  }
  const END = Buffer.alloc(1024);
  const body = (content: string): Buffer => Buffer.concat([Buffer.from(content), Buffer.alloc(512 - content.length)]);
  const plain = Buffer.concat([header("package/a", 1), body("x")]);
  /** Cheap to make: many members of one file. */
  const bomb = (): Buffer => Buffer.concat(Array<Buffer>(300).fill(gzipSync(Buffer.alloc(2 ** 20))));

  const hostile: readonly (readonly [what: string, said: RegExp, make: () => Buffer])[] = [
    ["a bomb", /has more than \d+ bytes when unpacked/, bomb],
    ["a size beyond the end", /not a readable archive|cut off/, () => gzipSync(Buffer.concat([header("package/a", 8 ** 11 - 1), END]))],
    [
      "a size in 256s",
      /not a readable archive|cut off/,
      () => gzipSync(Buffer.concat([header("package/a", "\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"), END])),
    ],
    ["a negative size", /not a readable archive|cut off/, () => gzipSync(Buffer.concat([header("package/a", "-0000000001\0"), END]))],
    ["a link", /contains package\/b as symlink/, () => gzipSync(Buffer.concat([plain, header("package/b", 0, "2", [[157, "../x"]]), END]))],
    ["a hard link", /as link/, () => gzipSync(Buffer.concat([plain, header("package/b", 0, "1", [[157, "package/a"]]), END]))],
    ["a folder", /as directory/, () => gzipSync(Buffer.concat([header("package/", 0, "5"), plain, END]))],
    ["a device", /as character-device/, () => gzipSync(Buffer.concat([plain, header("package/b", 0, "3"), END]))],
    ["a type that readers skip", /only plain files/, () => gzipSync(Buffer.concat([header("package/a", 1, "Q"), body("x"), END]))],
    [
      "an extended header",
      /only plain files|something besides/,
      () => gzipSync(Buffer.concat([header("package/p", 23, "x"), body("23 path=package/b.txt\n\0"), plain, END])),
    ],
    [
      "a long name of GNU",
      /only plain files|something besides/,
      () => gzipSync(Buffer.concat([header("././@LongLink", 10, "L"), body("package/b\0"), plain, END])),
    ],
    [
      "a path that leads out",
      /unsafe name: "package\/\.\.\/x"/,
      () => gzipSync(Buffer.concat([header("package/../x", 1), body("x"), END])),
    ],
    ["an absolute path", /unsafe name: "\/x"/, () => gzipSync(Buffer.concat([header("/x", 1), body("x"), END]))],
    ["a drive", /unsafe name: "C:\/x"/, () => gzipSync(Buffer.concat([header("C:/x", 1), body("x"), END]))],
    ["a backslash", /unsafe name/, () => gzipSync(Buffer.concat([header("package\\a", 1), body("x"), END]))],
    [
      "a name that steers a terminal",
      /unsafe name: "package\/\\u001b\[2J"/,
      () => gzipSync(Buffer.concat([header("package/\x1b[2J", 1), body("x"), END])),
    ],
    ["a name twice", /contains package\/a twice/, () => gzipSync(Buffer.concat([plain, plain, END]))],
    [
      "a name twice but for capitals",
      /contains package\/A twice/,
      () => gzipSync(Buffer.concat([plain, header("package/A", 1), body("x"), END])),
    ],
    ["no end", /cut off|something besides|readable/, () => gzipSync(plain)],
    ["a file behind the end", /something besides|not a readable archive/, () => gzipSync(Buffer.concat([plain, END, plain]))],
    ["no files", /no files/, () => gzipSync(END)],
    [
      "very many files",
      /has more than 10000 files/,
      () => gzipSync(Buffer.concat([...Array.from({ length: 10_001 }, (_, i) => header(`package/${i}`, 0)), END])),
    ],
    [
      "a wrong checksum",
      /not a readable archive/,
      () => {
        const tarred = Buffer.concat([plain, END]);
        tarred[0] = 0x71;
        return gzipSync(tarred);
      },
    ],
    ["no archive at all", /not a gzip file/, () => Buffer.from("<html>")],
    [
      "a package of another name",
      /it is the package evil, not bitnet-ts/,
      () => {
        const text = '{"name":"evil"}';
        return gzipSync(Buffer.concat([header("package/package.json", text.length), body(text), END]));
      },
    ],
  ];
  it.each(hostile)("%s", async (_, said, make) => {
    const path = join(folder, "hostile.tgz");
    writeFileSync(path, make());
    await refused(path, said);
  });
});

it("the statement has the form of in-toto and SLSA, and names package, archive, kernels and models", () => {
  const said = JSON.parse(files.get(STATEMENT)!.toString()) as {
    readonly subject: readonly { readonly name: string; readonly digest: Readonly<Record<string, string>> }[];
  };
  const hash = (algorithm: string, data: Buffer): string => createHash(algorithm).update(data).digest("hex");
  const npm = files.get(PACKAGE)!;
  expect(said).toMatchObject({
    _type: "https://in-toto.io/Statement/v1",
    predicateType: "https://slsa.dev/provenance/v1",
    predicate: {
      buildDefinition: {
        buildType: expect.stringMatching(/^https:/),
        externalParameters: { version: "0.2.0" },
        resolvedDependencies: [
          { uri: expect.stringMatching(/^git\+https:.*@[0-9a-f]{40}$/), digest: { gitCommit: clone.commit } },
          { name: "package-lock.json", digest: { sha256: hash("sha256", files.get("tree/package-lock.json")!) } },
        ],
      },
      runDetails: { builder: { id: expect.stringMatching(/^https:/) }, metadata: { startedOn: "2026-11-22T03:04:05.678Z" } },
    },
  });
  expect(said.subject[0]).toEqual({
    name: "pkg:npm/bitnet-ts@0.2.0",
    digest: { sha256: hash("sha256", npm), sha512: hash("sha512", npm) },
  });
  const names = said.subject.map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
  for (const path of [
    "dist/kernels/plain.wasm",
    "models/bitnet-stories-4m/ggml-model-i2_s.gguf",
    "models/bitnet-stories-4m/packed/model.safetensors",
  ]) {
    const data = readFileSync(path);
    expect(said.subject).toContainEqual({ name: path, digest: { sha256: hash("sha256", data), sha512: hash("sha512", data) } });
  }
  for (const name of [ARCHIVE, SBOM, MANIFEST_FILE, LIST])
    expect(said.subject).toContainEqual({
      name,
      digest: { sha256: hash("sha256", files.get(name)!), sha512: hash("sha512", files.get(name)!) },
    });
});

it("bitnet release verify: exit code 0 with both lists, 1 for a refusal, 2 for what is not there", () => {
  const bitnet = (...args: string[]): { code: number | null; stdout: string; stderr: string } => {
    const { status, stdout, stderr } = spawnSync(process.execPath, ["dist/bundle/bitnet.cjs", "release", "verify", ...args], {
      encoding: "utf8",
    });
    return { code: status, stdout, stderr };
  };
  const good = bitnet(out, "--key", join(folder, "own.pub.pem"));
  expect(good).toMatchObject({ code: 0, stderr: "" });
  expect(good.stdout).toMatch(/^bitnet-ts 0\.2\.0, a whole release: its parts fit together\nproved [\s\S]*\nonly claimed /);
  const other = join(folder, ARCHIVE);
  writeFileSync(other, files.get(ARCHIVE)!.subarray(1));
  expect(bitnet(other, "--json")).toEqual({ code: 1, stdout: "", stderr: expect.stringMatching(/^error: .* is not a gzip file[^\n]*\n$/) });
  expect(bitnet(join(folder, "none"))).toMatchObject({ code: 2 });
});

it("a package is refused if it runs something where it is installed, or has what its build did not make", async () => {
  const path = join(folder, PACKAGE);
  const entries = await unpackTar(gunzipSync(files.get(PACKAGE)!));
  const contents = entries.map(({ header, data }) => ({ path: header.name, data: Buffer.from(data!) }));
  const packed = async (edit: (list: { path: string; data: Buffer }[]) => void): Promise<string> => {
    const list = contents.map(({ path: name, data }) => ({ path: name, data: Buffer.from(data) }));
    edit(list);
    writeFileSync(path, gzip(await tar(list, 8)));
    return path;
  };
  const at = (list: { path: string; data: Buffer }[], name: string): { path: string; data: Buffer } =>
    list.find((one) => one.path === `package/${name}`)!;
  const manifest = (edit: object) => (list: { path: string; data: Buffer }[]) => {
    const own = at(list, "package.json");
    own.data = Buffer.from(JSON.stringify({ ...(JSON.parse(own.data.toString()) as object), ...edit }));
  };
  await refused(await packed(manifest({ scripts: { postinstall: "x" } })), "it runs postinstall where it is installed");
  await refused(await packed(manifest({ dependencies: { evil: "1.0.0" } })), "its package.json has dependencies");
  await refused(await packed(manifest({ main: "./other.js" })), "package.json is not the one in dist/build.json");
  await refused(await packed(manifest({ version: "v1.0.0" })), "its version is v1.0.0");
  await refused(await packed((list) => list.push({ path: "package/binding.gyp", data: Buffer.from("{}") })), "it runs binding.gyp");
  await refused(
    await packed((list) => list.push({ path: "package/dist/x.js", data: Buffer.from("") })),
    "it has dist/x.js, which the build does not make",
  );
  await refused(
    await packed((list) => list.push({ path: "package/dist/bundle/x.js", data: Buffer.from("") })),
    "dist/bundle/x.js is not the file in dist/build.json",
  );
  await refused(
    await packed((list) => (at(list, "dist/kernels/plain.wasm").data[100]! ^= 1)),
    "dist/kernels/plain.wasm is not the file in dist/build.json",
  );
  // The archive knows all of it.
  const docs = await packed((list) => (at(list, "README.md").data = Buffer.from("other")));
  expect(await verifyRelease(docs)).toMatchObject({ kind: "package" });
  await refused(join(out, ARCHIVE), `the npm package is not ${PACKAGE} of MANIFEST.json`, { npm: docs });
});
