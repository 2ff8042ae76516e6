/** bitnet-ts/hub: from names to files: download, verify, store, list, remove. Its public API; everything else is internal. */
import { BitnetError } from "../engine/errors.js";
import { checkArgument, type Given, readOptions, TEXT } from "../engine/options.js";
import { nameText, requireName } from "./names.js";
import { partials, removePartials, type Unfinished } from "./partial.js";
import { inOneLine } from "./paths.js";
import { findStored, STORE_RULES, type StoreOptions } from "./resolve.js";
import { cacheFolder, hubEndpoint } from "./settings.js";
import { readStore, removeModel, type StoredModel, storedModel } from "./store.js";

export type { Given, Signal } from "../engine/options.js";
export { CATALOGUE, type KnownModel } from "./catalogue.js";
export type { Unfinished } from "./partial.js";
export { type PullOptions, type PullProgress, pull } from "./pull.js";
export { findModel, resolve, type StoreOptions } from "./resolve.js";
export type { StoredFile, StoredModel } from "./store.js";

/** What is in the store. */
export interface Listing {
  /** Its folder. */
  readonly cache: string;
  /** By name. */
  readonly models: readonly StoredModel[];
  /** Downloads that are not finished. */
  readonly unfinished: readonly Unfinished[];
  /** Records that can't be read. */
  readonly damaged: readonly string[];
}

/** What is in the store. @throws BitnetError io */
export async function list(options?: Given<StoreOptions>): Promise<Listing> {
  const { cache = cacheFolder() } = readOptions<StoreOptions>("list", options, STORE_RULES);
  const { entries, damaged } = readStore(cache);
  const begun = (await partials(cache)).filter(({ name }) => name !== "");
  return {
    cache,
    models: entries.map(storedModel),
    unfinished: begun.map(({ name, file, done, size, active }) => ({ name, file, done, size, active })),
    damaged,
  };
}

/**
 * Removes a model from the store, what only it needs, and what is there of its unfinished downloads.
 * @returns bytes freed
 * @throws BitnetError usage: nothing is stored under this name, or the name could mean several; io
 */
export async function remove(name: string, options?: Given<StoreOptions>): Promise<number> {
  checkArgument("name", name, TEXT);
  const { cache = cacheFolder() } = readOptions<StoreOptions>("remove", options, STORE_RULES);
  const wanted = requireName(name, hubEndpoint());
  const entry = findStored(cache, wanted);
  const freed = entry ? await removeModel(cache, entry) : 0;
  const begun = await removePartials(cache, nameText(wanted));
  if (entry || begun > 0) return freed + begun;
  throw new BitnetError("usage", `no model is stored under the name ${inOneLine(name)}; bitnet list shows what is`);
}
