/**
 * The store of models, in the user's cache folder:
 *
 *     blobs/SHA256                  contents of files, whole and verified
 *     models/FOLDER/model.json      what is stored under a name (schemas/stored-model.v1.schema.json)
 *     models/FOLDER/REVISION/…      the files of that model under their names: links to blobs
 *     partial/KEY.OWNER/            downloads under way, and unfinished ones (partial.ts)
 *
 * Reading is synchronous: a few small files. No lock: what is renamed into place is whole, and `dropBlobs` says why removing is safe.
 */
import { lstatSync, readdirSync, readFileSync, statSync } from "node:fs";
import { copyFile, link, mkdir, open, rename, rm, stat, symlink } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { BitnetError } from "../engine/errors.js";
import { systemReason } from "../engine/system-reason.js";
import { inOneLine, isSafePath } from "./paths.js";

/** A file of a stored model. */
export interface StoredFile {
  /** Under the model's folder, with `/`. */
  readonly path: string;
  readonly size: number;
  readonly sha256: string;
  /** What its server calls this state of it; null where the hub's hash says it. */
  readonly etag: string | null;
}

/** What `model.json` holds. */
export interface StoredRecord {
  readonly kind: "stored-model";
  readonly schema_version: 1;
  /** As `nameText` spells it. */
  readonly name: string;
  /** The hub, or the host that a URL names. */
  readonly source: string;
  /** The commit of a repository; of a URL, the beginning of the hash of what was there. Also the name of the folder. */
  readonly revision: string;
  /** The file to open: a GGUF or its first part, a SafeTensors file or the index of its shards. */
  readonly main: string;
  readonly files: readonly StoredFile[];
  /** When it was pulled: ISO 8601, UTC. */
  readonly pulled: string;
}

/** A model in the store. */
export interface StoredModel extends Omit<StoredRecord, "kind" | "schema_version"> {
  /** What `loadModel` takes. */
  readonly path: string;
  /** Bytes of its files together. */
  readonly size: number;
}

/** A record and where it is. */
export interface Entry {
  readonly record: StoredRecord;
  readonly folder: string;
}

/** Longest `model.json` that is read, in bytes. */
const MAX_RECORD_BYTES = 2 ** 20;
/** Most files of a model: shards, and what stands beside them. */
export const MAX_FILES = 600;
/** Largest file that is stored, in bytes: a third of a terabyte is more than any model of this kind has. */
export const MAX_FILE_BYTES = 2 ** 38;

const RECORD = "model.json";

export const blobPath = (cache: string, sha256: string): string => join(cache, "blobs", sha256);
export const modelFolder = (cache: string, folder: string): string => join(cache, "models", folder);

/** All that is stored, by name, and records that can't be read. */
export function readStore(cache: string): { readonly entries: readonly Entry[]; readonly damaged: readonly string[] } {
  const entries: Entry[] = [];
  const damaged: string[] = [];
  for (const name of folderNames(join(cache, "models"))) {
    const folder = modelFolder(cache, name);
    const text = readRecord(join(folder, RECORD));
    if (text === undefined) continue; // a pull is about to write it, or ended before
    const record = parseRecord(text);
    if (record) entries.push({ record, folder });
    else damaged.push(join(folder, RECORD));
  }
  return { entries: entries.sort((a, b) => (a.record.name < b.record.name ? -1 : 1)), damaged };
}

/** Names in a folder but those of temporaries; none if there is no folder. @throws BitnetError io */
export function folderNames(path: string): string[] {
  try {
    return readdirSync(path).filter((name) => !name.startsWith("."));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw storeError("read", path, error);
  }
}

function readRecord(path: string): string | undefined {
  try {
    const { size } = statSync(path);
    return size > MAX_RECORD_BYTES ? "" : readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT" || (error as NodeJS.ErrnoException).code === "ENOTDIR") return undefined;
    throw storeError("read", path, error);
  }
}

/** undefined: it is not what `schemas/stored-model.v1.schema.json` describes. */
export function parseRecord(text: string): StoredRecord | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined; // said by whoever asked
  }
  const { kind, schema_version, name, source, revision, main, files, pulled, ...more } = Object(value) as Record<string, unknown>;
  const isSound =
    kind === "stored-model" &&
    schema_version === 1 &&
    isText(name) &&
    isText(source) &&
    isText(revision) &&
    /^[\da-f]{16,64}$/.test(revision) &&
    isText(main) &&
    isText(pulled) &&
    /^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(pulled) &&
    Array.isArray(files) &&
    files.length <= MAX_FILES &&
    files.every(isStoredFile) &&
    files.some(({ path }) => path === main) &&
    Object.keys(more).length === 0;
  return isSound ? (value as StoredRecord) : undefined;
}

const isText = (value: unknown): value is string => typeof value === "string" && value !== "" && value.length <= 2048;

function isStoredFile(value: unknown): value is StoredFile {
  const { path, size, sha256, etag, ...more } = Object(value) as Record<string, unknown>;
  return (
    isText(path) &&
    isSafePath(path) &&
    Number.isSafeInteger(size) &&
    (size as number) >= 0 &&
    isText(sha256) &&
    /^[\da-f]{64}$/.test(sha256) &&
    (etag === null || isText(etag)) &&
    Object.keys(more).length === 0
  );
}

/** How users see it. */
export function storedModel({ record, folder }: Entry): StoredModel {
  const { kind: _, schema_version: __, ...rest } = record;
  return { ...rest, path: join(folder, record.revision, record.main), size: record.files.reduce((sum, { size }) => sum + size, 0) };
}

/** The first file of a model that is not there as it was stored; undefined: all are. */
export function missingFile({ record, folder }: Entry): string | undefined {
  return record.files.find(({ path, size }) => {
    try {
      return statSync(join(folder, record.revision, path)).size !== size;
    } catch {
      return true; // gone, or not to be read: either way it can't be used
    }
  })?.path;
}

/** Whether a blob is there with the size it must have. One of another size is not: it was not this program that wrote it. */
export async function hasBlob(cache: string, sha256: string, size: number): Promise<boolean> {
  try {
    return (await stat(blobPath(cache, sha256))).size === size;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw storeError("read", blobPath(cache, sha256), error);
  }
}

/** A name of its own in a folder, for what is not whole yet. */
async function temporaryIn(folder: string): Promise<string> {
  const { randomUUID } = await import("node:crypto"); // slow to load, and only pulling needs it
  return join(folder, `.${randomUUID()}.tmp`);
}

/**
 * Puts a model into the store, or its new revision in the place of the old one. Its blobs must be there.
 * @param folder name of its folder in `models`
 * @throws BitnetError io
 */
export async function storeModel(cache: string, folder: string, record: StoredRecord): Promise<void> {
  const home = modelFolder(cache, folder);
  const snapshot = join(home, record.revision);
  try {
    await mkdir(home, { recursive: true });
    const temporary = await temporaryIn(home);
    try {
      for (const { path, sha256 } of record.files) {
        const at = join(temporary, path);
        await mkdir(dirname(at), { recursive: true });
        // Relative, so that the whole store can be moved; the temporary folder is as deep as the one it becomes.
        await linkFile(blobPath(cache, sha256), relative(dirname(at), blobPath(cache, sha256)), at);
      }
      await replaceFolder(temporary, snapshot, home);
    } finally {
      await rm(temporary, { recursive: true, force: true });
    }
    await writeWhole(home, RECORD, `${JSON.stringify(record, undefined, 2)}\n`);
    for (const name of folderNames(home)) {
      if (name !== RECORD && name !== record.revision) await rm(join(home, name), { recursive: true, force: true }); // earlier revisions
    }
    for (const place of [home, join(cache, "models"), join(cache, "blobs")]) await sweep(place);
  } catch (error) {
    throw storeError("write", home, error);
  }
}

/** Gives a folder a name that another one may have, as if at once: other processes may do the same. */
async function replaceFolder(from: string, to: string, home: string): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      return await rename(from, to);
    } catch (error) {
      if (tries === MAX_REPLACES) throw error;
      const away = await temporaryIn(home);
      await rename(to, away).catch(() => undefined); // another process took it away: the next try tells
      await rm(away, { recursive: true, force: true });
    }
  }
}

/** As many processes may store one model at the same moment. */
const MAX_REPLACES = 8;

/** No temporary is in use for longer, ms. */
const STALE_MS = 3_600_000;

/** Removes what killed runs left in a folder under temporary names. */
async function sweep(folder: string): Promise<void> {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    const made = lstatSync(path, { throwIfNoEntry: false })?.mtimeMs;
    if (name.startsWith(".") && made !== undefined && Date.now() - made > STALE_MS) await rm(path, { recursive: true, force: true });
  }
}

/** A way to make a file appear under a second name. */
export type LinkWay = (blob: string, target: string, path: string) => Promise<void>;

/** Symbolic links need a privilege on Windows, and some file systems have no links at all. */
export const LINK_WAYS: readonly LinkWay[] = [
  (_, target, path) => symlink(target, path, "file"),
  (blob, _, path) => link(blob, path),
  (blob, _, path) => copyFile(blob, path),
];

/** Makes a file appear under a second name, in the first way that works. @param target the blob's path, relative to the folder of `path` */
export async function linkFile(blob: string, target: string, path: string, ways: readonly LinkWay[] = LINK_WAYS): Promise<void> {
  for (const [i, way] of ways.entries()) {
    try {
      return await way(blob, target, path);
    } catch (error) {
      if (i === ways.length - 1) throw error;
    }
  }
}

/** Writes a small file whole or not at all. @param lasting also if the power fails */
export async function writeWhole(folder: string, name: string, text: string, lasting = true): Promise<void> {
  const temporary = await temporaryIn(folder);
  try {
    const handle = await open(temporary, "wx");
    try {
      await handle.writeFile(text);
      if (lasting) await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, join(folder, name));
  } finally {
    await rm(temporary, { force: true });
  }
}

/** Takes a model out of the store, and the blobs that no other one has. @returns bytes freed @throws BitnetError io */
export async function removeModel(cache: string, { record, folder }: Entry): Promise<number> {
  try {
    const away = await temporaryIn(join(cache, "models"));
    await rename(folder, away);
    await rm(away, { recursive: true, force: true });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw storeError("remove", folder, error); // else another process was faster
  }
  return dropBlobs(
    cache,
    record.files.map(({ sha256 }) => sha256),
  );
}

/**
 * Removes those of the blobs that no record names. A pull that finds a blob there writes its record first and then looks whether its blobs are
 * still there; here a blob is moved away first and then the records are read. So one of the two sees what the other does, whichever is first: the
 * record is seen and the blob put back, or the blob is missed and pulled again.
 * @returns bytes freed
 */
export async function dropBlobs(cache: string, hashes: readonly string[]): Promise<number> {
  let freed = 0;
  for (const sha256 of new Set(hashes)) {
    const blob = blobPath(cache, sha256);
    try {
      const size = lstatSync(blob, { throwIfNoEntry: false })?.size;
      if (size === undefined || isNamed(cache, sha256)) continue;
      const away = await temporaryIn(join(cache, "blobs"));
      await rename(blob, away);
      if (isNamed(cache, sha256)) await rename(away, blob);
      else {
        await rm(away);
        freed += size;
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw storeError("remove", blob, error); // else another process was faster
    }
  }
  return freed;
}

function isNamed(cache: string, sha256: string): boolean {
  return readStore(cache).entries.some(({ record }) => record.files.some((file) => file.sha256 === sha256));
}

/** The system's refusal, in one sentence. */
export function storeError(doing: "read" | "write" | "remove", path: string, error: unknown): BitnetError {
  if (error instanceof BitnetError) return error;
  const hint = ["ENOSPC", "EDQUOT", "EACCES", "EPERM", "EROFS"].includes(String((error as NodeJS.ErrnoException).code))
    ? "; BITNET_CACHE names another folder"
    : "";
  return new BitnetError("io", `can't ${doing} ${inOneLine(path)}: ${systemReason(error)}${hint}`, { file: path }, { cause: error });
}
