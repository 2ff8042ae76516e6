import type { AcceptanceSummary } from "../acceptance/acceptance.js";
import type { Provenance } from "../records/provenance.js";
import { checkRecord } from "../records/records.js";
import { type ArchiveFile, digestOf, type FileDigest, gzip, tar } from "./tar.js";

/** The files that say what is in an archive. */
export const MANIFEST_FILE = "MANIFEST.json";
export const SUMS_FILE = "SHA256SUMS";

/** The npm package of a release, by its hash and contents. */
export interface PackageDigest {
  /** name-version.tgz */
  readonly path: string;
  readonly bytes: number;
  /** As in npm registries: `sha512-` and base64. */
  readonly integrity: string;
  /** Sorted by path. */
  readonly files: readonly FileDigest[];
}

/** What an archive holds. A record: `schemas/manifest.v1.schema.json`. */
export interface Manifest {
  readonly kind: "manifest";
  /** That of the results, with the version of the release: when and how they were packed does not change them. */
  readonly provenance: Provenance;
  readonly version: string;
  readonly package: PackageDigest;
  /** Sorted by path. */
  readonly files: readonly FileDigest[];
}

/** What a release of that version is called, in the names of its files. */
export function releaseNames(
  version: string,
): Record<"archive" | "package" | "sbom" | "statement" | "envelope" | "sigstore" | "checklist", string> {
  const name = `bitnet-ts-v${version}`;
  return {
    archive: `${name}-artifacts.tar.gz`,
    package: `bitnet-ts-${version}.tgz`,
    sbom: `${name}.cdx.json`,
    statement: `${name}.provenance.json`,
    envelope: `${name}.intoto.jsonl`,
    sigstore: `${name}.sigstore.json`,
    checklist: `RELEASE_CHECKLIST_v${version}.md`,
  };
}

/** In the form of `sha256sum`. */
export function sums(digests: readonly Pick<FileDigest, "path" | "sha256">[]): string {
  return digests.map(({ path, sha256 }) => `${sha256}  ${path}\n`).join("");
}

/** The manifest of an archive. */
export function manifestOf(
  summary: AcceptanceSummary,
  version: string,
  npm: PackageDigest,
  files: readonly FileDigest[],
): { readonly record: Manifest; readonly data: Uint8Array } {
  const provenance = { ...summary.provenance, package_version: version };
  const record: Manifest = { kind: "manifest", provenance, version, package: npm, files };
  checkRecord("manifest", record, MANIFEST_FILE);
  return { record, data: Buffer.from(`${JSON.stringify(record, undefined, 2)}\n`) };
}

/** An archive and its manifest. Equal results, time and version give equal bytes, wherever it is packed. @param time seconds since 1970 */
export async function packArtifacts(
  files: readonly ArchiveFile[],
  summary: AcceptanceSummary,
  version: string,
  npm: PackageDigest,
  time: number,
): Promise<{ readonly archive: Uint8Array; readonly manifest: Uint8Array }> {
  const sorted = files.toSorted((a, b) => (a.path < b.path ? -1 : 1));
  const digests = sorted.map(({ path, data }) => digestOf(path, data));
  const { data: manifest } = manifestOf(summary, version, npm, digests);
  const all = [...sorted, { path: MANIFEST_FILE, data: manifest }];
  const list = Buffer.from(sums([...digests, digestOf(MANIFEST_FILE, manifest)]));
  return { archive: gzip(await tar([...all, { path: SUMS_FILE, data: list }], time)), manifest };
}
