/** From a name to what is stored under it. */
import { lstatSync } from "node:fs";
import { BitnetError } from "../engine/errors.js";
import { checkArgument, type Given, type Rule, type Rules, readOptions, TEXT } from "../engine/options.js";
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

export const FILLED: Rule = { wanted: "a string that is not empty", holds: (value) => typeof value === "string" && value !== "" };
export const STORE_RULES: Rules<StoreOptions> = { cache: FILLED };

/**
 * The path of a stored model, for `loadModel`.
 * @throws BitnetError usage: it is no name, nothing is stored under it, or more than one model; file: its files have been damaged
 */
export function resolve(name: string, options?: Given<StoreOptions>): string {
  checkArgument("name", name, TEXT);
  const { cache = cacheFolder() } = readOptions<StoreOptions>("resolve", options, STORE_RULES);
  const entry = findStored(cache, requireName(name, hubEndpoint()));
  if (entry) return pathOf(entry);
  throw new BitnetError("usage", `no model is stored under the name ${inOneLine(name)}; ${pullHint(name)}`);
}

/**
 * The path that a user means by `text`: itself, if there is anything, or that of a stored model. What doesn't have the form of a name is taken for a
 * path, whatever is there.
 * @throws BitnetError as `resolve`
 */
export function findModel(text: string, options?: Given<StoreOptions>): string {
  checkArgument("text", text, TEXT);
  const { cache = cacheFolder() } = readOptions<StoreOptions>("findModel", options, STORE_RULES);
  if (isPath(text)) return text;
  const name = parseName(text, hubEndpoint());
  const nowhere = `${inOneLine(name ? nameText(name) : text)}: no such file or directory`;
  if (name === undefined) {
    const meant = nearestKnown(text);
    if (meant === undefined) return text;
    throw new BitnetError("usage", `${nowhere}; ${pullHint(meant)}`);
  }
  const entry = findStored(cache, name);
  if (entry) return pathOf(entry);
  throw new BitnetError("usage", `${nowhere}, and no stored model of this name; ${pullHint(text)}`);
}

/** Whether anything has this path, a broken link too: the engine says what is wrong with it. */
function isPath(text: string): boolean {
  try {
    return lstatSync(text, { throwIfNoEntry: false }) !== undefined;
  } catch {
    return true; // what may not be looked at is there, or can't be told: the engine says why
  }
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
