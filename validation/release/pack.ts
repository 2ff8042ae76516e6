import { createHash } from "node:crypto";
import type { AcceptanceSummary } from "../acceptance/acceptance.js";
import { checkRecord } from "../records/records.js";
import { integrity, type NpmPackage } from "./npm.js";
import { type ArchiveFile, gzip, tar } from "./tar.js";

/** A file, by its size and hash. */
export interface FileDigest {
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
}

/** The files that say what is in an archive. */
export const MANIFEST_FILE = "MANIFEST.json";
export const SUMS_FILE = "SHA256SUMS";

export function digestOf(path: string, data: Uint8Array): FileDigest {
  return { path, bytes: data.length, sha256: createHash("sha256").update(data).digest("hex") };
}

/** In the form of `sha256sum`. */
export function sums(digests: readonly FileDigest[]): string {
  return digests.map(({ path, sha256 }) => `${sha256}  ${path}\n`).join("");
}

/** An archive and its manifest. Equal results, time and version give equal bytes, wherever it is packed. @param time seconds since 1970 */
export async function packArtifacts(
  files: readonly ArchiveFile[],
  {
    summary,
    version,
    time,
    npm,
  }: { readonly summary: AcceptanceSummary; readonly version: string; readonly time: number; readonly npm: NpmPackage },
): Promise<{ readonly archive: Uint8Array; readonly manifest: Uint8Array }> {
  const sorted = files.toSorted((a, b) => (a.path < b.path ? -1 : 1));
  const digests = sorted.map(({ path, data }) => digestOf(path, data));
  // Its provenance is that of the results, with the version of the release: when and how they were packed does not change them.
  const provenance = { ...summary.provenance, package_version: version };
  const record = {
    kind: "manifest",
    provenance,
    version,
    package: { path: npm.file, bytes: npm.data.length, integrity: integrity(npm.data) },
    files: digests,
  };
  checkRecord("manifest", record, MANIFEST_FILE);
  const manifest = Buffer.from(`${JSON.stringify(record, undefined, 2)}\n`);
  const all = [...sorted, { path: MANIFEST_FILE, data: manifest }];
  const list = Buffer.from(sums([...digests, digestOf(MANIFEST_FILE, manifest)]));
  return { archive: gzip(await tar([...all, { path: SUMS_FILE, data: list }], time)), manifest };
}
