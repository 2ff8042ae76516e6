import type { KeyObject } from "node:crypto";
import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { BitnetError } from "../../engine/errors.js";
import { sourceHash } from "../records/build.js";
import { CHANGELOG_FILE } from "../records/changelog.js";
import { ioFailure, readWhole } from "../records/files.js";
import { checklist, commandFacts, listedCommands } from "./checklist.js";
import { buildOf, contentsFault, LICENSES_FILE, packageDigest, textOf } from "./contents.js";
import { bytesOf, demand, type Evidence, type Findings, firstOther, readEvidence } from "./evidence.js";
import { integrity } from "./npm.js";
import { MANIFEST_FILE, releaseNames, SUMS_FILE, sums } from "./pack.js";
import { bundledPackages, sbomClaims } from "./sbom.js";
import { keyId, openEnvelope } from "./signature.js";
import { PREDICATE_TYPE, STATEMENT_TYPE, type Statement, statement } from "./statement.js";
import { digestOf } from "./tar.js";
import { digestsOf, type Files, isPackage, MAX_PACKED, refusal, unpack, unpackPackage } from "./unpack.js";
import { isVersion } from "./version.js";

export interface VerifyOptions {
  /** Path of the npm package of an archive. */
  readonly npm?: string | undefined;
  /** Who must have signed it. */
  readonly key?: KeyObject | undefined;
}

/** A release that was not refused. */
export interface Verified extends Findings {
  readonly kind: "folder" | "archive" | "package";
  readonly version: string;
}

/** Longest record, list or page of a folder that is read. */
const MAX_TEXT = 2 ** 24;

/**
 * Verifies what somebody received of a release, offline: its folder, its artifacts archive, or its npm package.
 * @throws BitnetError acceptance: names the first difference; io, usage: it can't be read
 */
export async function verifyRelease(path: string, { npm, key }: VerifyOptions = {}): Promise<Verified> {
  try {
    const there = await stat(path).catch((error: unknown) => {
      throw ioFailure("read", path, error);
    });
    if (there.isDirectory()) {
      if (npm !== undefined) throw new BitnetError("usage", "the folder of a release has its npm package: --package is for an archive");
      return await verifyFolder(path, key);
    }
    return await verifyTgz(path, npm, key);
  } catch (error) {
    // A damaged part is a refusal of the whole.
    if (error instanceof BitnetError && error.code !== "file") throw error;
    const { message } = error as Error;
    throw refusal(error instanceof BitnetError ? message : `${basename(path)} does not have the form of a release: ${message}`);
  }
}

/** An archive, perhaps with the npm package it names; or an npm package alone. */
async function verifyTgz(path: string, npm: string | undefined, key: KeyObject | undefined): Promise<Verified> {
  const [data, what] = [await readWhole(path, MAX_PACKED), basename(path)];
  const unpacked = await unpack(data, what);
  const found: Findings = { proved: [], claimed: [] };
  if (isPackage(unpacked)) {
    if (npm !== undefined) throw new BitnetError("usage", `${path} is an npm package itself: give its archive first`);
    const contents = await unpackPackage(data, what);
    const version = checkContents(contents, what, undefined, found);
    const files = digestsOf(contents).filter(({ path: file }) => file !== "package.json" && !file.startsWith("dist/"));
    found.claimed.push(
      `its other ${files.length} files, such as models, schemas and pages, and the bytes of ${what} itself: a package can't hold its own hash; the artifacts archive has it (--package), so does the signed statement`,
    );
    await checkSignature(path, version, key, [digestOf(what, data)], found);
    return { kind: "package", version, ...found };
  }
  const evidence = await readEvidence(unpacked, data, what, found);
  const digests = [digestOf(what, data)];
  const { path: name, bytes, integrity: hash } = evidence.manifest.package;
  if (npm === undefined) {
    found.claimed.push(
      `that the npm package is ${name} of ${bytes} bytes, with the files in ${MANIFEST_FILE}: it is not here (--package); its digest must be ${hash}`,
    );
  } else {
    const packed = await readWhole(npm, MAX_PACKED);
    await checkPackage(packed, evidence, found);
    digests.push(digestOf(basename(npm), packed));
  }
  await checkSignature(path, evidence.version, key, digests, found);
  return { kind: "archive", version: evidence.version, ...found };
}

/** The folder that `release prepare` makes, or what is published of it: without `tree`. */
async function verifyFolder(folder: string, key: KeyObject | undefined): Promise<Verified> {
  const found: Findings = { proved: [], claimed: [] };
  const entries = await readdir(folder, { withFileTypes: true });
  const tree = entries.find((entry) => entry.name === "tree" && entry.isDirectory());
  const strange = entries.find((entry) => entry !== tree && !entry.isFile());
  demand(strange === undefined, `${strange?.name} is not a plain file`);
  const present = entries.filter((entry) => entry.isFile()).map(({ name }) => name);
  demand(present.includes(SUMS_FILE), `the folder has no ${SUMS_FILE}: it is not a release`);
  const listed = readSums(await readWhole(join(folder, SUMS_FILE), MAX_TEXT));
  const version = listed.map(({ path }) => path.match(/^bitnet-ts-v(.+)-artifacts\.tar\.gz$/)?.[1]).find((one) => one !== undefined);
  demand(version !== undefined && isVersion(version), `${SUMS_FILE} names no artifacts archive of a version`);
  const names = releaseNames(version);
  const optional = [names.envelope, names.sigstore].filter((name) => listed.some(({ path }) => path === name));
  const expected = [names.archive, names.package, names.sbom, MANIFEST_FILE, names.checklist, names.statement, ...optional];
  const off = expected.find((name, i) => listed[i]?.path !== name) ?? listed[expected.length]?.path;
  demand(off === undefined, `${SUMS_FILE} should ${expected.includes(off ?? "") ? "have" : "not have"} ${off} in this place`);
  const missing = expected.find((name) => !present.includes(name));
  demand(missing === undefined, `${missing} is missing`);
  const extra = present.find((name) => name !== SUMS_FILE && !expected.includes(name));
  demand(extra === undefined, `${extra} is not in ${SUMS_FILE}`);
  const files = new Map<string, Uint8Array>();
  for (const name of expected) {
    const data = await readWhole(join(folder, name), [names.archive, names.package].includes(name) ? MAX_PACKED : MAX_TEXT);
    demand(
      digestOf(name, data).sha256 === listed.find(({ path }) => path === name)?.sha256,
      `${name} is not the file that ${SUMS_FILE} names`,
    );
    files.set(name, data);
  }
  found.proved.push(`${SUMS_FILE}: all ${expected.length} files are there, unchanged, and no other`);

  const archive = bytesOf(files, names.archive);
  const evidence = await readEvidence(await unpack(archive, names.archive), archive, names.archive, found);
  demand(evidence.version === version, `${names.archive} is of version ${evidence.version}`);
  for (const name of [names.sbom, MANIFEST_FILE])
    demand(Buffer.from(bytesOf(files, name)).equals(bytesOf(evidence.files, name)), `${name} is not the one in ${names.archive}`);
  const contents = await checkPackage(bytesOf(files, names.package), evidence, found);
  const added = checkChecklist(files, evidence, found);
  if (files.has(names.sigstore)) {
    const payload = sigstorePayload(bytesOf(files, names.sigstore));
    demand(payload?.equals(bytesOf(files, names.statement)) === true, `${names.sigstore} is not a Sigstore bundle of ${names.statement}`);
  }
  const treeFiles = tree ? await readTree(join(folder, tree.name)) : undefined;
  checkStatement(files, contents, evidence, treeFiles, added, found);
  await checkSignature(
    join(folder, names.archive),
    version,
    key,
    digestsOf(files).filter(({ path }) => !optional.includes(path)),
    found,
  );
  return { kind: "folder", version, ...found };
}

/** The lines of `sha256sum`. */
function readSums(data: Uint8Array): { readonly path: string; readonly sha256: string }[] {
  const lines = new TextDecoder().decode(data).split("\n");
  const listed = lines.slice(0, -1).map((line, i) => {
    const [, sha256, path] = line.match(/^([0-9a-f]{64}) {2}([\w.-]+)$/) ?? [];
    if (sha256 === undefined || path === undefined) throw refusal(`${SUMS_FILE}, line ${i + 1} is not a SHA-256 and a file name`);
    return { path, sha256 };
  });
  // Nothing else: no byte-order mark, no second form of an invalid character, no line without an end.
  demand(Buffer.from(sums(listed)).equals(data), `${SUMS_FILE} does not have the form that sha256sum writes`);
  return listed;
}

/** @returns its version */
function checkContents(contents: Files, what: string, version: string | undefined, { proved }: Findings): string {
  const fault = contentsFault(contents, version);
  demand(fault === undefined, `${what}: ${fault}`);
  const build = buildOf(contents);
  proved.push(
    `${what}: the ${Object.keys(build.files).length} files of the build (bundle, kernels, declarations) and package.json are those of its dist/build.json`,
    `${what} runs no script where it is installed, and depends on no other package`,
  );
  return (JSON.parse(textOf(contents, "package.json")) as { version: string }).version;
}

/** The npm package must be the one of the archive. @returns its files */
async function checkPackage(data: Uint8Array, { version, manifest, files }: Evidence, found: Findings): Promise<Files> {
  const { path: name } = manifest.package;
  demand(
    integrity(data) === manifest.package.integrity,
    `the npm package is not ${name} of ${MANIFEST_FILE}: its SHA-512 is ${integrity(data)}`,
  );
  const contents = await unpackPackage(data, name);
  const digest = packageDigest({ file: name, data }, contents);
  const other = firstOther(digest.files, manifest.package.files);
  demand(other === undefined, `${other} in ${name} is not as ${MANIFEST_FILE} has it`);
  demand(JSON.stringify(digest) === JSON.stringify(manifest.package), `${name} is not as ${MANIFEST_FILE} has it`);
  found.proved.push(
    `${name} is the npm package of the archive, byte for byte, with the ${digest.files.length} files that ${MANIFEST_FILE} lists`,
  );
  checkContents(contents, name, version, found);
  const { sbom } = releaseNames(version);
  const { libraries, description, license } = sbomClaims(bytesOf(files, sbom), sbom);
  const list = (of: readonly { readonly name: string; readonly version: string }[]): string =>
    of.map((one) => `${one.name} ${one.version}`).join();
  demand(
    list(libraries) === list(bundledPackages(textOf(contents, LICENSES_FILE))),
    `${sbom} does not list the packages in ${LICENSES_FILE}`,
  );
  const own = JSON.parse(textOf(contents, "package.json")) as { readonly description?: string; readonly license?: string };
  demand(own.description === description && own.license === license, `${sbom} does not describe the package as package.json does`);
  return contents;
}

/** Boxes follow from the results; the commands are those of this release. @returns the files to commit */
function checkChecklist(files: Files, { version, summary, manifest }: Evidence, { proved, claimed }: Findings): readonly string[] {
  const names = releaseNames(version);
  const text = bytesOf(files, names.checklist);
  const commands = listedCommands(new TextDecoder().decode(text));
  const facts = commandFacts(commands, `v${version}`, manifest.package.path);
  demand(facts !== undefined, `${names.checklist} has other commands than bitnet release prepare prints`);
  const artifacts = [names.archive, names.package, names.sbom, MANIFEST_FILE].map((name) => digestOf(name, bytesOf(files, name)));
  const own = checklist({ version, tag: `v${version}`, summary, artifacts, commands });
  demand(Buffer.from(own).equals(text), `${names.checklist} does not follow from ${MANIFEST_FILE} and the results`);
  proved.push(`${names.checklist}: every tick follows from the results, and the hashes are those of the files`);
  claimed.push("what is to be done by hand: nothing says that it has been done");
  return facts.add;
}

/** The statement must be the one of these files; only what it says of the sources is its own. */
function checkStatement(
  files: Files,
  contents: Files,
  evidence: Evidence,
  tree: Files | undefined,
  added: readonly string[],
  { proved, claimed }: Findings,
): void {
  const { version, summary, manifest } = evidence;
  const names = releaseNames(version);
  const data = bytesOf(files, names.statement);
  const said = JSON.parse(new TextDecoder().decode(data)) as Statement;
  let own: Uint8Array;
  let commit = "";
  let lockSha256 = "";
  let byproducts: readonly { readonly path: string; readonly sha256: string; readonly bytes: number }[] = [];
  try {
    const [source, lock] = said.predicate.buildDefinition.resolvedDependencies;
    [commit, lockSha256] = [String(source?.digest.gitCommit), String(lock?.digest.sha256)];
    byproducts = said.predicate.runDetails.byproducts.map(({ name, digest }) => ({
      path: String(name),
      sha256: String(digest.sha256),
      bytes: 0,
    }));
    own = statement({
      ...{ version, npm: { path: names.package, data: bytesOf(files, names.package) } },
      files: [names.archive, names.sbom, MANIFEST_FILE, names.checklist].map((path) => ({ path, data: bytesOf(files, path) })),
      ...{ contents, build: buildOf(contents), summary, commit, lockSha256, tree: byproducts },
    });
  } catch (error) {
    throw refusal(`${names.statement} is not a statement of bitnet: ${(error as Error).message}`);
  }
  demand(Buffer.from(own).equals(data), `${names.statement} is not that of these files`);
  demand(
    /^[0-9a-f]{40}(?:[0-9a-f]{24})?$/.test(commit) && commit.startsWith(manifest.provenance.git_commit ?? "none"),
    `${names.statement} names the commit ${commit}, and the results ${manifest.provenance.git_commit}`,
  );
  demand(
    byproducts.map(({ path }) => path).join() === [...added].sort().join(),
    `${names.checklist} adds other files to the commit than ${names.statement} names`,
  );
  proved.push(
    `${names.statement}: its subjects are these files, the kernels and the models, by their hashes; its commit begins as that of the results`,
  );
  if (!tree) {
    claimed.push("the hashes of package-lock.json and of the files that go into the tree: they are not here");
    return;
  }
  const other = firstOther(byproducts, digestsOf(tree));
  demand(other === undefined, `tree/${other} is not as ${names.statement} has it`);
  for (const [path, content] of tree) {
    const twin = path === names.checklist ? bytesOf(files, path) : (evidence.files.get(path) ?? contents.get(path));
    const lock = path === "package-lock.json";
    demand(twin !== undefined || lock, `tree/${path} is in neither the archive nor the npm package`);
    if (twin) demand(Buffer.from(twin).equals(content), `tree/${path} is not the one in the archive or the npm package`);
    if (!lock) continue;
    demand(digestOf(path, content).sha256 === lockSha256, `tree/${path} is not the one that ${names.statement} names`);
    demand(buildOf(contents).sources[path] === sourceHash(path, content), `tree/${path} is not the one in dist/build.json`);
  }
  for (const path of [CHANGELOG_FILE, names.checklist, "package.json", "package-lock.json"])
    demand(tree.has(path), `tree/${path} is missing`);
  proved.push(`tree: its ${tree.size} files are those in the archive, the npm package and the statement`);
}

/** Files of a folder's folders, by path. */
async function readTree(folder: string): Promise<Files> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true });
  const files = new Map<string, Uint8Array>();
  for (const entry of entries) {
    if (entry.isDirectory()) continue;
    const path = join(entry.parentPath, entry.name);
    const name = path.slice(folder.length + 1).replaceAll("\\", "/");
    demand(entry.isFile(), `tree/${name} is not a plain file`);
    files.set(name, await readWhole(path, MAX_TEXT));
  }
  return files;
}

/**
 * The signed statement beside a file must name the files that were verified.
 * @param digests of files; those of an archive or package are enough
 */
async function checkSignature(
  beside: string,
  version: string,
  key: KeyObject | undefined,
  digests: readonly { readonly path: string; readonly sha256: string }[],
  { proved, claimed }: Findings,
): Promise<void> {
  const names = releaseNames(version);
  const folder = dirname(beside);
  const there = await readdir(folder);
  const signed = there.includes(names.envelope);
  if (key === undefined && !signed)
    claimed.push(
      `who made it: ${there.includes(names.sigstore) ? "" : "it is not signed, so "}anyone could have made or rewritten all of it`,
    );
  if (there.includes(names.sigstore))
    claimed.push(`the Sigstore bundle ${names.sigstore}: it is checked online, by cosign verify-blob-attestation or gh attestation verify`);
  if (!signed) {
    demand(key === undefined, `it is not signed: there is no ${names.envelope}`);
    return;
  }
  const { payload, keyid } = open(await readWhole(join(folder, names.envelope), MAX_TEXT), key, names.envelope);
  const said = JSON.parse(new TextDecoder().decode(payload)) as Statement & Readonly<Record<"_type" | "predicateType", string>>;
  demand(
    said._type === STATEMENT_TYPE && said.predicateType === PREDICATE_TYPE && Array.isArray(said.subject),
    `${names.envelope} signs no statement of a release`,
  );
  for (const { path, sha256 } of digests) {
    if (path === names.statement) {
      demand(digestOf(path, payload).sha256 === sha256, `${names.envelope} signs another statement than ${path}`);
      continue;
    }
    const named = said.subject.some(({ digest }) => digest.sha256 === sha256);
    demand(named, `${path} is not a subject of the statement in ${names.envelope}`);
  }
  if (key === undefined)
    claimed.push(`who made it: it is signed with the key ${keyid}, which was not checked (--key), so anyone could have made it`);
  else proved.push(`${names.envelope} was signed with the key ${keyId(key)}, and names these files`);
}

/** What a Sigstore bundle signs. */
function sigstorePayload(data: Uint8Array): Buffer | undefined {
  const { dsseEnvelope } = JSON.parse(new TextDecoder().decode(data)) as { readonly dsseEnvelope?: { readonly payload?: unknown } };
  return typeof dsseEnvelope?.payload === "string" ? Buffer.from(dsseEnvelope.payload, "base64") : undefined;
}

function open(data: Uint8Array, key: KeyObject | undefined, name: string): ReturnType<typeof openEnvelope> {
  try {
    return openEnvelope(data, key);
  } catch (error) {
    throw refusal(`${name}: ${(error as Error).message}`);
  }
}
