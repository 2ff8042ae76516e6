/** From a name to what is stored under it. */
import { BitnetError } from "../engine/errors.js";
import { knownModel, nearestKnown } from "./catalogue.js";
import { type ModelName, nameText, parseName, requireName } from "./names.js";
import { inOneLine } from "./paths.js";
import { cacheFolder, hubEndpoint } from "./settings.js";
import { type Entry, missingFile, readStore, storedModel } from "./store.js";

/** Where the store is. */
export interface StoreOptions {
  /** Folder of the store; default: `BITNET_CACHE`, or the user's cache folder. */
  readonly cache?: string;
}

/**
 * The path of a stored model, for `loadModel`.
 * @throws BitnetError usage: it is no name, nothing is stored under it, or more than one model; file: its files have been damaged
 */
export function resolve(name: string, options: StoreOptions = {}): string {
  const cache = options.cache ?? cacheFolder();
  const entry = findStored(cache, requireName(name, hubEndpoint()));
  if (entry) return pathOf(entry);
  throw new BitnetError("usage", `no model is stored under the name ${inOneLine(name)}; ${pullHint(name)}`);
}

/**
 * The path that a user means by `text`: itself, if something is there, or that of a stored model. What doesn't have the form of a name is taken for
 * a path, whatever is there.
 * @throws BitnetError as `resolve`
 */
export function pathOrStored(text: string, exists: (path: string) => boolean, options: StoreOptions = {}): string {
  if (exists(text)) return text;
  const name = parseName(text, hubEndpoint());
  if (name === undefined) {
    const meant = nearestKnown(text);
    if (meant === undefined) return text;
    throw new BitnetError("usage", `${inOneLine(text)}: no such file or directory; ${pullHint(meant)}`);
  }
  const entry = findStored(options.cache ?? cacheFolder(), name);
  if (entry) return pathOf(entry);
  throw new BitnetError(
    "usage",
    `${inOneLine(nameText(name))}: no such file or directory, and no stored model of this name; ${pullHint(text)}`,
  );
}

function pullHint(name: string): string {
  return `bitnet pull ${inOneLine(knownModel(name)?.name ?? name)} downloads it`;
}

function pathOf(entry: Entry): string {
  const missing = missingFile(entry);
  if (missing === undefined) return storedModel(entry).path;
  const { name } = entry.record;
  throw new BitnetError(
    "file",
    `${inOneLine(name)}: ${inOneLine(missing)} is missing or damaged in the store; bitnet pull ${inOneLine(name)} repairs it`,
  );
}

/**
 * What is stored under a name: the model that was pulled by just this name, or else the only one of this repository and revision that fits.
 * @throws BitnetError usage: more than one does
 */
export function findStored(cache: string, name: ModelName): Entry | undefined {
  const text = nameText(name);
  const { entries } = readStore(cache);
  const exact = entries.find(({ record }) => record.name === text);
  if (exact || name.kind === "url") return exact;
  const of = nameText({ ...name, file: undefined });
  // Pulled with a file and asked for without one, or the other way round.
  const fitting = entries.filter(({ record }) =>
    name.file === undefined ? record.name.startsWith(`${of}:`) : record.name === of && record.main === name.file,
  );
  const [only, ...others] = fitting;
  if (others.length === 0) return only;
  throw new BitnetError(
    "usage",
    `${inOneLine(text)} could mean several stored models; give one of ${fitting.map(({ record }) => inOneLine(record.name)).join(", ")}`,
  );
}
