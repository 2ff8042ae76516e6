/** Which file to open where a directory is named, or a part of a model. */

import { directoryOf, fileName, inDirectory, listDirectory } from "#host/files.js";
import { BitnetError } from "../errors.js";
import { firstPart } from "./gguf-parts.js";
import { quote } from "./quote.js";
import { INDEX_SUFFIX, OTHER_FORMATS, SAVE_ANEW } from "./sniff.js";
import { kindIfAny, readText } from "./source.js";

/** Names that a message lists. */
const MAX_LISTED = 12;

/** Names of incomplete downloads. */
const UNFINISHED = /\.(?:safetensors|gguf)\.(?:part|partial|crdownload|download|incomplete|aria2|tmp|\w+\.tmp)$|\.incomplete$/i;

/** A commit's id has 40 characters, a branch's name may have some more. */
const MAX_REF_BYTES = 1000;

/** `model-00001-of-00002.safetensors`: shards, which their index puts together. */
const SHARD = /^(?<stem>.+)-(?<number>\d{5})-of-(?<count>\d{5})\.safetensors$/i;

function usage(path: string, message: string): never {
  throw new BitnetError("usage", `${path} ${message}`, { file: path });
}

const list = (names: readonly string[]): string =>
  names.slice(0, MAX_LISTED).map(quote).join(", ") + (names.length > MAX_LISTED ? ` and ${names.length - MAX_LISTED} more` : "");

/** In a directory: the file to open. @throws BitnetError usage: there is none, or none stands out */
export async function chooseFile(directory: string, isSnapshot = false): Promise<string> {
  const names = await listDirectory(directory);
  for (const name of ["model.safetensors", `model.safetensors${INDEX_SUFFIX}`]) {
    if (names.includes(name)) return inDirectory(directory, name);
  }
  const models = names.filter((name) => /\.(?:safetensors|gguf)$/i.test(name));
  const [only] = models;
  if (only === undefined) {
    const snapshot = isSnapshot ? undefined : await snapshotIn(directory, names);
    return snapshot === undefined ? noModel(directory, names) : chooseFile(snapshot, true);
  }
  const index = indexName(only);
  if (index !== undefined && new Set(models.map(modelOfShard)).size === 1) {
    return names.includes(index) ? inDirectory(directory, index) : noIndex(directory, models, index);
  }
  if (models.length === 1) return inDirectory(directory, only);
  const part = firstPart(models);
  if (part !== undefined) return inDirectory(directory, part);
  return usage(directory, `contains more than one model, ${list(models)}; give the path of one file`);
}

/** What the names of all shards of one model have in common. */
function modelOfShard(name: string): string | undefined {
  const { stem, count } = SHARD.exec(name)?.groups ?? {};
  return stem && `${stem}/${count}`;
}

/** The index of a shard; undefined for what is a whole model by its name. */
function indexName(name: string): string | undefined {
  const { stem, count } = SHARD.exec(name)?.groups ?? {};
  return Number(count) > 1 ? `${stem}.safetensors${INDEX_SUFFIX}` : undefined;
}

/** Of a SafeTensors file that is a shard by its name: the path of its index. @throws BitnetError usage: there is none */
export async function indexOfShard(path: string): Promise<string | undefined> {
  const index = indexName(fileName(path));
  if (index === undefined) return undefined;
  const beside = inDirectory(directoryOf(path), index);
  return (await kindIfAny(beside)) === "file" ? beside : noIndex(path, [fileName(path)], index);
}

function noIndex(path: string, parts: readonly string[], index: string): never {
  const { number, count } = SHARD.exec(parts[0]!)!.groups!;
  const some =
    parts.length === 1
      ? `part ${Number(number)} of ${Number(count)} of a model; the other parts and their index, ${quote(index)}, are missing`
      : parts.length < Number(count)
        ? `${parts.length} of the ${Number(count)} parts of a model; the other parts and their index, ${quote(index)}, are missing`
        : `the parts of a model, ${list(parts)}, but their index, ${quote(index)}, is missing`;
  return usage(path, `${fileName(path) === parts[0] ? "is" : "contains"} ${some}: download the missing files, too`);
}

const NO_SNAPSHOT = "is a download cache without a snapshot; the download is incomplete";

/**
 * The snapshot in a hub's cache of a model (`models--ORG--NAME`, with blobs, refs and snapshots in it): the one that refs/main names, or the
 * only one. undefined: the directory is no such cache.
 */
async function snapshotIn(directory: string, names: readonly string[]): Promise<string | undefined> {
  if (fileName(directory) === "snapshots" && (await kindIfAny(inDirectory(directoryOf(directory), "blobs"))) === "directory")
    return snapshotIn(directoryOf(directory), ["snapshots"]);
  const snapshots = inDirectory(directory, "snapshots");
  if (!names.includes("snapshots") || (await kindIfAny(snapshots)) !== "directory") {
    return names.includes("blobs") ? usage(directory, NO_SNAPSHOT) : undefined;
  }
  const revisions = await listDirectory(snapshots);
  const main = (await readText(inDirectory(inDirectory(directory, "refs"), "main"), MAX_REF_BYTES))?.trim();
  const [only] = revisions;
  if (main !== undefined && revisions.includes(main)) return inDirectory(snapshots, main);
  if (only !== undefined && revisions.length === 1) return inDirectory(snapshots, only);
  const which = revisions.map((name) => inDirectory("snapshots", name));
  return usage(
    directory,
    only === undefined
      ? NO_SNAPSHOT
      : `is a download cache with several snapshots, and refs/main names none of them; give the path of one: ${list(which)}`,
  );
}

/** Says what is in a directory without a model. */
async function noModel(directory: string, names: readonly string[]): Promise<never> {
  const unfinished = names.find((name) => UNFINISHED.test(name));
  if (unfinished !== undefined) usage(directory, `contains no model; the download of ${quote(unfinished)} is incomplete`);
  for (const [pattern, what] of OTHER_FORMATS) {
    const name = names.find((one) => pattern.test(one));
    if (name !== undefined) usage(directory, `contains no supported model, only ${quote(name)} in ${what} format; ${SAVE_ANEW}`);
  }
  // A hub keeps its cache in a directory of its own, beside other things.
  const isHome = names.includes("hub") && (await kindIfAny(inDirectory(directory, "hub"))) === "directory";
  const inHub = isHome ? (await listDirectory(inDirectory(directory, "hub"))).map((name) => inDirectory("hub", name)) : [];
  const caches = [...names, ...inHub].filter((name) => fileName(name).startsWith("models--"));
  if (caches.length > 0) usage(directory, `is a download cache of several models; give the directory of one: ${list(caches)}`);
  const found = names.length === 0 ? "nothing" : `only ${list(names)}`;
  return usage(directory, `contains no model; a .gguf or .safetensors file is needed, found ${found}`);
}
