import { BUILD_FILE, BUILT, type BuildRecord, sourceHash } from "../records/build.js";
import { CHANGELOG_FILE, changelogFault } from "../records/changelog.js";
import { hashOfHashes } from "../records/hashes.js";
import { parseRecord } from "../records/records.js";
import { integrity, type NpmPackage } from "./npm.js";
import type { PackageDigest } from "./pack.js";
import { bundledPackages, PACKAGE_NAME } from "./sbom.js";
import type { FileDigest } from "./tar.js";
import { digestsOf, type Files, refusal } from "./unpack.js";
import { isVersion } from "./version.js";

/** Names and licences of what is bundled. */
export const LICENSES_FILE = "dist/bundle/LICENSES.txt";

/** What the manifest says of a package. */
export function packageDigest({ file, data }: NpmPackage, contents: Files): PackageDigest {
  return { path: file, bytes: data.length, integrity: integrity(data), files: digestsOf(contents) };
}

/** A text in a package. @throws BitnetError acceptance: it has no such file */
export function textOf(contents: Files, path: string): string {
  const data = contents.get(path);
  if (!data) throw refusal(`the npm package has no ${path}`);
  return new TextDecoder().decode(data);
}

/** The record of the build in a package. @throws BitnetError acceptance, file: it has none, or one of another form */
export function buildOf(contents: Files): BuildRecord {
  textOf(contents, BUILD_FILE);
  return parseRecord<BuildRecord>(contents.get(BUILD_FILE)!, "build-record", BUILD_FILE);
}

/** The hashes by which records name what they ran, from the hashes of a package's files. */
export interface ShippedHashes {
  readonly kernel_sha256: string;
  readonly modules_sha256: string;
  readonly bundle_sha256: string;
}

export function shippedHashes(files: readonly FileDigest[]): ShippedHashes {
  const inside = (folder: string, names: RegExp): string =>
    hashOfHashes(
      files
        .filter(({ path }) => path.startsWith(folder) && names.test(path.slice(folder.length)))
        .map(({ path, sha256 }) => [path.slice(folder.length), sha256] as const)
        .sort(([a], [b]) => (a < b ? -1 : 1)),
    );
  return {
    kernel_sha256: inside("dist/kernels/", /^(?:plain|relaxed)\.wasm$/),
    modules_sha256: inside("dist/kernels/", /^[^/]+\.wasm$/),
    bundle_sha256: inside("dist/bundle/", /^[^/]+$/),
  };
}

/** SHA-256 of a model that a package has, by the path that records show; undefined: it has none there. A folder with shards is hashed as `describeModel` does. */
export function shippedModel(files: readonly FileDigest[], path: string): string | undefined {
  const parts = files.filter((file) => file.path === path || (file.path.startsWith(`${path}/`) && file.path.endsWith(".safetensors")));
  if (parts.length < 2) return parts[0]?.sha256;
  return hashOfHashes(parts.map((part) => [part.path.slice(path.length + 1), part.sha256]));
}

/** Scripts that npm runs where a package is installed. */
const INSTALL_SCRIPTS = ["preinstall", "install", "postinstall"];

/** What is wrong inside an npm package; undefined: its files fit together. */
export function contentsFault(contents: Files, version: string | undefined): string | undefined {
  const manifest = JSON.parse(textOf(contents, "package.json")) as Record<string, unknown> & { readonly scripts?: Record<string, string> };
  if (manifest.name !== PACKAGE_NAME) return `it is the package ${String(manifest.name)}, not ${PACKAGE_NAME}`;
  if (typeof manifest.version !== "string" || !isVersion(manifest.version)) return `its version is ${String(manifest.version)}`;
  if (version !== undefined && manifest.version !== version)
    return `its package.json has version ${manifest.version} instead of ${version}`;
  const runs =
    INSTALL_SCRIPTS.find((name) => manifest.scripts?.[name] !== undefined) ?? (contents.has("binding.gyp") ? "binding.gyp" : undefined);
  if (runs !== undefined) return `it runs ${runs} where it is installed`;
  const needs = ["dependencies", "optionalDependencies", "bundleDependencies", "bundledDependencies"].find(
    (key) => manifest[key] !== undefined,
  );
  if (needs !== undefined) return `its package.json has ${needs}`;
  const strange = [...contents.keys()].find(
    (path) => path.startsWith("node_modules/") || (path.startsWith("dist/") && !BUILT.test(path) && path !== BUILD_FILE),
  );
  if (strange !== undefined) return `it has ${strange}, which the build does not make`;
  const build = buildOf(contents);
  const built = new Map(
    digestsOf(contents)
      .filter(({ path }) => BUILT.test(path))
      .map(({ path, sha256 }) => [path, sha256]),
  );
  const other = [...new Set([...Object.keys(build.files), ...built.keys()])].find((path) => build.files[path] !== built.get(path));
  if (other !== undefined) return `${other} is not the file in ${BUILD_FILE}`;
  if (build.sources["package.json"] !== sourceHash("package.json", contents.get("package.json")!))
    return `package.json is not the one in ${BUILD_FILE}`;
  bundledPackages(textOf(contents, LICENSES_FILE));
  return changelogFault(textOf(contents, CHANGELOG_FILE), manifest.version);
}
