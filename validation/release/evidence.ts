import { createHash } from "node:crypto";
import { dirname } from "node:path";
import { type AcceptanceSummary, BANNER_FILE, FAILURES_FILE, PARITY_FILE, SUMMARY_FILE } from "../acceptance/acceptance.js";
import { performanceFigures } from "../acceptance/sign-off.js";
import type { ParityReport } from "../parity/types.js";
import { appendRelease, HISTORY_FILE, historyFault, readHistory } from "../performance/history.js";
import { checkStatistics, type PerfRecord, perfPath } from "../performance/perf.js";
import { renderPerf } from "../performance/render.js";
import { PERF_RECORD, storedFaults } from "../performance/stored.js";
import { bundleSha256 } from "../records/build.js";
import { CHANGELOG_FILE, changelogFault, releasedVersions } from "../records/changelog.js";
import { PACKAGE_FILE } from "../records/package.js";
import type { Provenance } from "../records/provenance.js";
import { parseRecord, parseRows, type RecordKind } from "../records/records.js";
import { openCriteria } from "./checklist.js";
import { type ShippedHashes, shippedHashes, shippedModel } from "./contents.js";
import { MANIFEST_FILE, type Manifest, manifestOf, releaseNames, SUMS_FILE, sums } from "./pack.js";
import { artifactFault, codeFault, modelFault, outcomeFault, runFault, sealFault } from "./results.js";
import { sbom, sbomClaims } from "./sbom.js";
import { digestsOf, type Files, refusal, requirePackedHere, type Unpacked } from "./unpack.js";
import { isAtMost } from "./version.js";

/** What was found out of a release, in sentences. */
export interface Findings {
  /** Computed here from the bytes. */
  readonly proved: string[];
  /** Written in the release, and not checked here. */
  readonly claimed: string[];
}

/** An archive that holds together. */
export interface Evidence {
  readonly version: string;
  readonly files: Files;
  /** The commit's, seconds since 1970. */
  readonly time: number;
  readonly manifest: Manifest;
  readonly summary: AcceptanceSummary;
}

/** What an archive holds besides records, pages and its own lists. */
const FIXED = [HISTORY_FILE, SUMMARY_FILE, PARITY_FILE, FAILURES_FILE, BANNER_FILE, CHANGELOG_FILE, "docs/release.md"];

/**
 * Checks an artifacts archive: each byte, and that its files follow from each other.
 * @throws BitnetError acceptance: names the first file that does not; file: a record that does not match its schema
 */
export async function readEvidence(unpacked: Unpacked, data: Uint8Array, what: string, { proved, claimed }: Findings): Promise<Evidence> {
  await requirePackedHere(unpacked, data, what);
  const { files, time } = unpacked;
  proved.push(`${what} is packed in the one way there is: the same ${files.size} files always give these ${data.length} bytes`);

  const summary = recordOf<AcceptanceSummary>(files, SUMMARY_FILE, "acceptance-summary");
  const manifest = recordOf<Manifest>(files, MANIFEST_FILE, "manifest");
  const { version } = manifest;
  const names = releaseNames(version);
  const listed = digestsOf(files).filter(({ path }) => path !== MANIFEST_FILE && path !== SUMS_FILE);
  demand(
    manifest.package.path === names.package,
    `${MANIFEST_FILE} names the npm package ${manifest.package.path} instead of ${names.package}`,
  );
  const other = firstOther(manifest.files, listed);
  demand(other === undefined, `${other} is not as ${MANIFEST_FILE} has it`);
  demand(
    same(manifestOf(summary, version, manifest.package, listed).data, files, MANIFEST_FILE),
    `${MANIFEST_FILE} is not that of ${SUMMARY_FILE}`,
  );
  const lines = sums([...listed, ...digestsOf(new Map([[MANIFEST_FILE, bytesOf(files, MANIFEST_FILE)]]))]);
  demand(same(Buffer.from(lines), files, SUMS_FILE), `${SUMS_FILE} in ${what} is not that of its files`);
  proved.push(`${MANIFEST_FILE} and ${SUMS_FILE} name every file in it, with the right hashes`);

  const inside = manifest.package.files.map(({ path }) => path);
  demand(
    inside.every((path, i) => i === 0 || inside[i - 1]! < path),
    `${MANIFEST_FILE} does not list the files of the npm package in order, once each`,
  );
  const shipped = shippedHashes(manifest.package.files);
  checkResults(files, time, summary, manifest, { proved, claimed });
  const records = performance(files, shipped, manifest, summary.provenance.numerics_version);
  checkFigures(summary, records, manifest);
  proved.push(
    `${records.length} performance records are valid: their statistics follow from their samples, both formats of a model are of one run on a calm machine, by its own load average; and the page and its pictures from the records`,
  );
  const pages = [...renderPerf(records, readHistory(textOf(files, HISTORY_FILE))).keys()];
  const expected = new Set([...FIXED, names.sbom, ...records.map(perfPath).map(slashes), ...pages]);
  const strange =
    listed.find(({ path }) => !expected.has(path)) ?? [...expected].map((path) => ({ path })).find(({ path }) => !files.has(path));
  demand(strange === undefined, `${what} should ${strange && files.has(strange.path) ? "not " : ""}have ${strange?.path}`);

  const faultOfLog = changelogFault(textOf(files, CHANGELOG_FILE), version);
  demand(faultOfLog === undefined, String(faultOfLog));
  const lost = historyFault(textOf(files, HISTORY_FILE), releasedVersions(textOf(files, CHANGELOG_FILE)), undefined);
  demand(lost === undefined, String(lost));
  proved.push(`no row of ${HISTORY_FILE} was edited or removed without all that follow, and it ends with these records`);
  checkSbom(files, names.sbom, version, time, manifest);
  proved.push(`the bill of materials has the hashes of the package, kernels and models that ${MANIFEST_FILE} has`);
  const young = [...provenances(files, records)].find(([, from]) => !isAtMost(from.package_version, version));
  demand(young === undefined, `${young?.[0]} is from version ${young?.[1].package_version}, which is newer than ${version}`);
  proved.push(
    `file names, ${MANIFEST_FILE}, changelog and bill of materials have the version ${version}, and no record is from a newer one`,
  );
  for (const path of ["docs/release.md", CHANGELOG_FILE, ...pages]) {
    const twin = manifest.package.files.find((file) => file.path === path);
    demand(
      twin !== undefined && twin.sha256 === listed.find((file) => file.path === path)?.sha256,
      `${path} is not the one in the npm package`,
    );
  }
  claimed.push(
    `commit ${manifest.provenance.git_commit}, ${new Date(time * 1000).toISOString()}: its sources are not here; a clone can be built and compared (bitnet validate)`,
    `where and when it was validated: ${runOf(summary.provenance)}`,
    "the samples of the performance records, and the machines they name",
    "names, licences and hashes of the bundled packages in the bill of materials, and that these packages were what was bundled: they are not here",
  );
  return { version, files, time, manifest, summary };
}

/** The files of the validation. */
function checkResults(files: Files, time: number, summary: AcceptanceSummary, manifest: Manifest, { proved, claimed }: Findings): void {
  const parity = recordOf<ParityReport>(files, PARITY_FILE, "parity-report");
  const banner = recordOf<{ readonly provenance: Provenance }>(files, BANNER_FILE, "platform-banner");
  const failures = parseRows(bytesOf(files, FAILURES_FILE), "parity-failure", FAILURES_FILE);
  const shipped = shippedHashes(manifest.package.files);
  const models = summary.models.map(({ path }) => shippedModel(manifest.package.files, path));
  const hashes = [PARITY_FILE, FAILURES_FILE, BANNER_FILE].map((name) => [name, sha256(bytesOf(files, name))] as const);
  const open = openCriteria(summary);
  const fault =
    sealFault(summary, Object.fromEntries(hashes)) ??
    originFault(summary, shipped) ??
    modelFault(summary, parity, models) ??
    artifactFault(summary, parity, banner.provenance, failures.length) ??
    outcomeFault(summary) ??
    runFault(summary, time) ??
    (open.length > 0 ? `ship criteria are not met: ${open.join("; ")}` : undefined);
  demand(fault === undefined, `the results: ${fault}`);
  proved.push(
    `${SUMMARY_FILE} is sealed, with the hashes of ${hashes.map(([name]) => name).join(", ")}; all are from one run, not a quick one, in the deterministic environment`,
    `all ${summary.checks.length} checks passed, every ship criterion follows from them, and the verdicts of parity follow from its figures`,
    "the validated kernels, modules, bundle and both models are those in the npm package, by their hashes",
  );
  claimed.push(
    "the outcome of each check, and the figures of parity: nothing is computed again here; bitnet validate and bitnet parity do that",
  );
  // Another version of this package has other checks.
  if (summary.provenance.bundle_sha256 === bundleSha256(dirname(PACKAGE_FILE))) {
    const other = codeFault(summary, parity);
    demand(other === undefined, `the results: ${other}`);
    proved.push("checks, texts and gates are all those of this code");
  } else
    claimed.push(`that these are all checks of version ${manifest.version}: this is another build of bitnet, whose list may be different`);
}

/** What was validated must be what the package has. */
function originFault({ provenance: from }: AcceptanceSummary, shipped: ShippedHashes): string | undefined {
  const other = (Object.keys(shipped) as (keyof ShippedHashes)[]).find((name) => from[name] !== shipped[name]);
  if (other !== undefined) return `${other} is ${from[other] ?? "missing"}, but that of the npm package is ${shipped[other]}`;
  // Whether the tree was clean is said by g.clean-tree: an earlier run of the release may have changed its own files.
  return from.git_commit === null ? "they are not from a clone" : undefined;
}

/** The performance records, each valid and under its own name, beside that of the other format; all of the package's kernels and models. */
function performance(files: Files, { kernel_sha256 }: ShippedHashes, manifest: Manifest, numerics: number): PerfRecord[] {
  const records: PerfRecord[] = [];
  for (const path of [...files.keys()].filter((one) => PERF_RECORD.test(one)).sort()) {
    const record = recordOf<PerfRecord>(files, path, "perf-record");
    checkStatistics(record, path);
    demand(slashes(perfPath(record)) === path, `${path} is the record of ${record.model.name} as ${record.model.format}`);
    demand(record.provenance.kernel_sha256 === kernel_sha256, `${path} was measured with other kernels than those in the npm package`);
    const model = shippedModel(manifest.package.files, record.model.path);
    demand(
      model === undefined || model === record.provenance.model_sha256,
      `${path} was measured with another ${record.model.path} than that in the npm package`,
    );
    records.push(record);
  }
  for (const format of ["safetensors", "gguf"]) {
    const own = records.some(({ model }) => model.format === format && shippedModel(manifest.package.files, model.path) !== undefined);
    demand(own, `there is no performance record of the embedded model as ${format}`);
  }
  const [fault] = storedFaults(new Map(records.map((record) => [slashes(perfPath(record)), record])), { numerics });
  demand(fault === undefined, String(fault));
  const history = textOf(files, HISTORY_FILE);
  const rows = readHistory(history);
  const before = rows.filter(({ version }) => version !== manifest.version).length;
  const lines = history.split(/(?<=\n)/).slice(0, before);
  demand(
    appendRelease(lines.join(""), manifest.version, records) === history,
    `${HISTORY_FILE} does not end with the records of ${manifest.version}`,
  );
  for (const [path, text] of renderPerf(records, rows))
    demand(same(Buffer.from(text), files, path), `${path} is not rendered from the performance records`);
  return records;
}

/** The check of performance must have seen the records that are here. */
function checkFigures({ checks }: AcceptanceSummary, records: readonly PerfRecord[], manifest: Manifest): void {
  const figures: Record<string, unknown> = checks.find(({ id }) => id === "f.performance")?.figures ?? {};
  for (const record of records.filter(({ model }) => shippedModel(manifest.package.files, model.path) !== undefined)) {
    const other = Object.entries(performanceFigures(record)).find(([name, value]) => figures[name] !== value);
    demand(other === undefined, `f.performance: ${other?.[0]} is ${String(figures[other?.[0] ?? ""])}, but the record has ${other?.[1]}`);
  }
}

function checkSbom(files: Files, path: string, version: string, time: number, { package: npm }: Manifest): void {
  const sha512 = Buffer.from(npm.integrity.replace(/^sha512-/, ""), "base64").toString("hex");
  let own: Uint8Array;
  try {
    own = sbom({ version, time, sha512, files: npm.files, ...sbomClaims(bytesOf(files, path), path) });
  } catch (error) {
    throw refusal(`${path}: ${(error as Error).message}`);
  }
  demand(same(own, files, path), `${path} is not the bill of materials of this package, its kernels, models and version`);
}

/** Every provenance in an archive, with the file it is in. */
function* provenances(files: Files, records: readonly PerfRecord[]): Generator<readonly [path: string, from: Provenance]> {
  for (const record of records) yield [slashes(perfPath(record)), record.provenance];
  for (const [path, kind] of [
    [SUMMARY_FILE, "acceptance-summary"],
    [PARITY_FILE, "parity-report"],
    [BANNER_FILE, "platform-banner"],
  ] as const)
    yield [path, recordOf<{ readonly provenance: Provenance }>(files, path, kind).provenance];
}

/** A record, written as bitnet writes it: a key given twice, or an invalid character, would be read in different ways. */
function recordOf<T>(files: Files, path: string, kind: RecordKind): T {
  const data = bytesOf(files, path);
  const record = parseRecord<T>(data, kind, path);
  demand(same(Buffer.from(`${JSON.stringify(record, undefined, 2)}\n`), files, path), `${path} is not written as bitnet writes records`);
  return record;
}

/** @throws BitnetError acceptance: there is none */
export function bytesOf(files: Files, path: string): Uint8Array {
  const data = files.get(path);
  if (!data) throw refusal(`${path} is missing`);
  return data;
}

function textOf(files: Files, path: string): string {
  return new TextDecoder().decode(bytesOf(files, path));
}

function same(own: Uint8Array, files: Files, path: string): boolean {
  return Buffer.from(own).equals(bytesOf(files, path));
}

/** @throws BitnetError acceptance */
export function demand(holds: boolean, message: string): asserts holds {
  if (!holds) throw refusal(message);
}

type Digest = Readonly<Record<"path" | "sha256", string>>;

/** The first path that two lists have differently. */
export function firstOther(one: readonly Digest[], other: readonly Digest[]): string | undefined {
  const [a, b] = [one, other].map((list) => new Map(list.map(({ path, sha256: hash }) => [path, hash])));
  return [...a!.keys(), ...b!.keys()].sort().find((path) => a!.get(path) !== b!.get(path));
}

function runOf({ platform, node, date }: Provenance): string {
  return `${platform.os} ${platform.arch}, ${platform.cpu}, Node ${node}, ${date}`;
}

const slashes = (path: string): string => path.replaceAll("\\", "/");

const sha256 = (data: Uint8Array): string => createHash("sha256").update(data).digest("hex");
