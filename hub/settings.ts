/** What the environment says: where the store is, which hub is asked, and with which token. */
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { isAbsolute, join, resolve } from "node:path";
import { BitnetError } from "../engine/errors.js";
import { DEFAULT_ENDPOINT } from "./names.js";

type Environment = Readonly<Record<string, string | undefined>>;

/** Longest token that is read from a file, in bytes. */
const MAX_TOKEN_BYTES = 4096;

/**
 * The folder of the store: `BITNET_CACHE`, or `bitnet-ts` in the user's folder for caches as each system has it.
 * @param system as `process.platform`
 */
export function cacheFolder(env: Environment = process.env, system: NodeJS.Platform = process.platform, home = homedir()): string {
  if (env.BITNET_CACHE) return resolve(env.BITNET_CACHE);
  return join(userCache(env, system, home), "bitnet-ts");
}

function userCache(env: Environment, system: NodeJS.Platform, home: string): string {
  if (system === "win32") return env.LOCALAPPDATA ? env.LOCALAPPDATA : join(home, "AppData", "Local");
  // The specification of XDG: a relative path is to be ignored.
  if (env.XDG_CACHE_HOME && isAbsolute(env.XDG_CACHE_HOME)) return env.XDG_CACHE_HOME;
  return system === "darwin" ? join(home, "Library", "Caches") : join(home, ".cache");
}

/** Address of the hub without a slash at its end: `HF_ENDPOINT`, or the public one. @throws BitnetError usage */
export function hubEndpoint(env: Environment = process.env): string {
  return checkEndpoint(env.HF_ENDPOINT || DEFAULT_ENDPOINT, "HF_ENDPOINT");
}

/** @param what names it in the message */
export function checkEndpoint(address: string, what: string): string {
  const url = URL.canParse(address) ? new URL(address) : undefined;
  if (!url || !/^https?:$/.test(url.protocol) || url.username !== "" || url.password !== "" || url.search !== "")
    throw new BitnetError("usage", `${what} must be the address of a hub, such as ${DEFAULT_ENDPOINT}`);
  return `${url.origin}${url.pathname}`.replace(/\/+$/, "");
}

/**
 * The token for the hub, as the hub's own command line finds it: `HF_TOKEN`, or the file that its login wrote. undefined: there is none.
 * @throws BitnetError usage: it can't be a token; it is never shown
 */
export function hubToken(env: Environment = process.env, home = homedir()): string | undefined {
  const given = env.HF_TOKEN || env.HUGGING_FACE_HUB_TOKEN;
  if (given) return checkToken(given, "HF_TOKEN");
  const hubHome = env.HF_HOME || join(env.XDG_CACHE_HOME || join(home, ".cache"), "huggingface");
  const path = env.HF_TOKEN_PATH || join(hubHome, "token");
  let text: string;
  try {
    text = readFileSync(path, "utf8").slice(0, MAX_TOKEN_BYTES);
  } catch {
    return undefined; // nobody has logged in, or not for us
  }
  return checkToken(text, path);
}

/** @param what names it in the message */
export function checkToken(text: string, what: string): string | undefined {
  const token = text.trim();
  if (token === "") return undefined;
  if (!/^[\x21-\x7e]+$/.test(token))
    throw new BitnetError("usage", `${what} contains no valid token: it may have only letters, digits and signs`);
  return token;
}
