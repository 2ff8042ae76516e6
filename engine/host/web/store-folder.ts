import { BitnetError } from "../../errors.js";
import { startSha256 } from "./digest.js";

/** What stands beside each stored file, as JSON. */
export interface Entry {
  readonly url: string;
  readonly size: number | undefined;
  readonly done: number;
  /** Of the whole file, in hex; undefined: it is not whole. */
  readonly sha256: string | undefined;
  /** What the server said of this state of the file: its entity tag, or when it was changed. */
  readonly tag: string | undefined;
}

const FOLDER = "bitnet-ts";
const ENTRY = ".json";
/** A browser gives a file free some time after the worker that read it has ended. */
const FREE_AFTER_MS = 3000;
const PAUSE_MS = 100;

/** The folder of downloads in the storage of this origin; undefined: the browser gives none, in a private window say. */
export async function folder(): Promise<FileSystemDirectoryHandle | undefined> {
  try {
    const root = await navigator.storage.getDirectory();
    return await root.getDirectoryHandle(FOLDER, { create: true });
  } catch {
    return undefined;
  }
}

/** The name of the file that is stored of a URL. */
export function nameOf(url: string): string {
  const hash = startSha256();
  hash.update(new TextEncoder().encode(url));
  return hash.hex();
}

async function fileOf(directory: FileSystemDirectoryHandle, name: string): Promise<File | undefined> {
  try {
    return await (await directory.getFileHandle(name)).getFile();
  } catch {
    return undefined;
  }
}

/** What is stored of a URL; undefined: nothing. */
export async function readEntry(directory: FileSystemDirectoryHandle, url: string): Promise<Entry | undefined> {
  return entryNamed(directory, nameOf(url));
}

async function entryNamed(directory: FileSystemDirectoryHandle, name: string): Promise<Entry | undefined> {
  const [file, data] = [await fileOf(directory, name + ENTRY), await fileOf(directory, name)];
  if (file === undefined || data === undefined) return undefined;
  try {
    // Pages of this origin alone can write here; an entry that was cut short is none.
    const entry = JSON.parse(await file.text()) as Partial<Entry>;
    if (typeof entry.url !== "string" || nameOf(entry.url) !== name) return undefined;
    return { url: entry.url, size: entry.size, sha256: entry.sha256, tag: entry.tag, done: data.size };
  } catch {
    return undefined;
  }
}

export async function writeEntry(directory: FileSystemDirectoryHandle, entry: Omit<Entry, "done">): Promise<void> {
  const file = await directory.getFileHandle(nameOf(entry.url) + ENTRY, { create: true });
  const writable = await file.createWritable();
  await writable.write(JSON.stringify(entry));
  await writable.close();
}

/** All that is stored, by URL. */
export async function entriesOf(directory: FileSystemDirectoryHandle): Promise<Omit<Entry, "tag">[]> {
  const found: Omit<Entry, "tag">[] = [];
  for await (const name of directory.keys()) {
    const entry = name.endsWith(ENTRY) ? await entryNamed(directory, name.slice(0, -ENTRY.length)) : undefined;
    if (entry) found.push({ url: entry.url, size: entry.size, done: entry.done, sha256: entry.sha256 });
  }
  return found.sort((a, b) => (a.url < b.url ? -1 : 1));
}

/** @returns whether there was something @throws BitnetError io: it is in use */
export async function removeEntry(directory: FileSystemDirectoryHandle, url: string): Promise<boolean> {
  const name = nameOf(url);
  const removed = await removeFile(directory, name, url);
  return (await removeFile(directory, name + ENTRY, url)) || removed;
}

async function removeFile(directory: FileSystemDirectoryHandle, name: string, url: string): Promise<boolean> {
  const latest = performance.now() + FREE_AFTER_MS;
  for (;;) {
    try {
      await directory.removeEntry(name);
      return true;
    } catch (cause) {
      if ((cause as Error).name === "NotFoundError") return false;
      if (performance.now() > latest)
        throw new BitnetError(
          "io",
          `${url} can't be removed: it is in use; close the models that were loaded from it`,
          { file: url },
          { cause },
        );
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }
}
