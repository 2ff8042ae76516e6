/** What a model is called by: a repository of a hub, or a URL. */
import { BitnetError } from "../engine/errors.js";
import { inOneLine, isSafePath } from "./paths.js";

/** A repository of a hub: `[hf:]owner/name[@revision][:file]`. */
export interface HubName {
  readonly kind: "hub";
  /** `owner/name` */
  readonly repository: string;
  /** A branch, a tag or a commit; "main" where none is given. */
  readonly revision: string;
  /** Path of a file in the repository; undefined: `choose` finds it. */
  readonly file: string | undefined;
}

/** A GGUF file anywhere on the web. */
export interface UrlName {
  readonly kind: "url";
  /** With its query, which may hold a secret: it is neither stored nor shown. */
  readonly url: string;
  /** Name of the file. */
  readonly file: string;
}

export type ModelName = HubName | UrlName;

export const DEFAULT_ENDPOINT = "https://huggingface.co";
const DEFAULT_REVISION = "main";

/** Longest text that is looked at. */
const MAX_NAME = 2048;

/** Owner and name as the hub allows them: no `--` and no `..`, neither `-` nor `.` at an end. */
const PART = "(?![-.])(?![\\w.-]*(?:--|\\.\\.))[\\w.-]{1,96}(?<![-.])";
const HUB_NAME = new RegExp(`^(?<prefix>hf:)?(?<repository>${PART}/${PART})(?:@(?<revision>[^:@]+))?(?::(?<file>.+))?$`, "s");
const REVISION = /^(?![-/.])(?!.*(?:\.\.|\/\/))[\w.+/-]{1,200}(?<![/.])$/;
const URL_START = /^https?:\/\//i;

/** Paths of files that look like the name of a repository. */
const FILE_PATH = /\.(?:gguf|safetensors|json)$/i;

/**
 * The name that a text is, undefined if it doesn't have the form of one, as a path hasn't. `some/model.gguf` is a path, `hf:some/model.gguf` a name.
 * @param endpoint address of the hub; URLs of its pages are names of their repositories
 * @throws BitnetError usage: it has the form, but can't be used
 */
export function parseName(text: string, endpoint = DEFAULT_ENDPOINT): ModelName | undefined {
  if (text.length > MAX_NAME) return undefined;
  if (URL_START.test(text)) return parseUrl(text, endpoint);
  const { prefix, repository, revision, file } = HUB_NAME.exec(text)?.groups ?? {};
  if (repository === undefined) {
    if (!text.startsWith("hf:")) return undefined;
    throw new BitnetError(
      "usage",
      `"${inOneLine(text)}" is no name of a model: it must have the form hf:owner/name, hf:owner/name:file or hf:owner/name@revision`,
    );
  }
  if (prefix === undefined && revision === undefined && file === undefined && FILE_PATH.test(repository)) return undefined;
  return hubName(text, repository, revision, file);
}

/** @throws BitnetError usage: it is no name */
export function requireName(text: string, endpoint = DEFAULT_ENDPOINT): ModelName {
  const name = parseName(text, endpoint);
  if (name) return name;
  throw new BitnetError(
    "usage",
    `"${inOneLine(text)}" is no name of a model: give owner/name, hf:owner/name:file or the URL of a .gguf file; bitnet list --known lists models`,
  );
}

/** The one spelling of a name: what is stored, listed and compared. Of a URL it is all before the query. */
export function nameText(name: ModelName): string {
  if (name.kind === "url") return name.url.replace(/[?#].*$/s, "");
  const revision = name.revision === DEFAULT_REVISION ? "" : `@${name.revision}`;
  return `${name.repository}${revision}${name.file === undefined ? "" : `:${name.file}`}`;
}

function hubName(text: string, repository: string, revision = DEFAULT_REVISION, file?: string): HubName {
  if (!REVISION.test(revision))
    throw new BitnetError("usage", `"${inOneLine(text)}": "${inOneLine(revision)}" is no name of a branch, a tag or a commit`);
  if (file !== undefined && !isSafePath(file))
    throw new BitnetError("usage", `"${inOneLine(text)}": "${inOneLine(file)}" is no path of a file in a repository`);
  return { kind: "hub", repository, revision, file };
}

function parseUrl(text: string, endpoint: string): ModelName {
  const shown = inOneLine(text.replace(/[?#].*$/s, "").replace(/\/\/[^/]*@/, "//"));
  let url: URL;
  try {
    url = new URL(text);
  } catch (cause) {
    throw new BitnetError("usage", `${shown} is not a valid URL`, {}, { cause });
  }
  if (url.username !== "" || url.password !== "")
    throw new BitnetError("usage", `${shown}: a URL with a user name or a password can't be used; leave them out`);
  url.hash = "";
  const hub = hubPage(url, endpoint);
  if (hub) return hub;
  let file = "";
  try {
    file = decodeURIComponent(url.pathname.split("/").at(-1) ?? "");
  } catch {
    // No UTF-8 in its escapes: no usable name either.
  }
  if (!/\.gguf$/i.test(file) || !isSafePath(file)) {
    throw new BitnetError(
      "usage",
      `${shown}: only .gguf files can be pulled from a URL; a SafeTensors model needs the files beside it, so give its repository as hf:owner/name`,
    );
  }
  return { kind: "url", url: url.href, file };
}

/** A page or a file of the hub, as browsers show its address: `/owner/name`, with `/tree/REVISION`, `/blob/REVISION/FILE` or `/resolve/…`. */
function hubPage(url: URL, endpoint: string): HubName | undefined {
  const base = [endpoint, DEFAULT_ENDPOINT].map((one) => new URL(one)).find((one) => isUnder(url, one));
  if (!base) return undefined;
  let parts: string[];
  try {
    parts = url.pathname
      .slice(base.pathname.replace(/\/$/, "").length + 1)
      .replace(/\/$/, "")
      .split("/")
      .map(decodeURIComponent);
  } catch {
    return undefined; // escapes that are no UTF-8
  }
  const [owner, name, what, revision, ...file] = parts;
  const repository = `${owner}/${name ?? ""}`;
  if (HUB_NAME.exec(repository)?.groups?.repository !== repository) return undefined;
  if (what !== undefined && !["tree", "blob", "resolve"].includes(what)) return undefined;
  const isFile = what === "blob" || what === "resolve";
  return hubName(url.pathname, repository, revision, isFile && file.length > 0 ? file.join("/") : undefined);
}

function isUnder(url: URL, base: URL): boolean {
  return url.origin === base.origin && `${url.pathname}/`.startsWith(base.pathname.endsWith("/") ? base.pathname : `${base.pathname}/`);
}
