import { BitnetError } from "../../errors.js";
import { classOf, type Rule, shown } from "../../options.js";
import { pathOfUrl } from "./files.js";

const isUrl = (value: unknown): value is URL => classOf(value) === "URL";

/** Two letters or more: `C:` is a drive. */
const SCHEME = /^([a-z][a-z0-9+.-]+):\/\//i;

export const PATH: Rule = {
  wanted: "a path or a file: URL",
  holds: (value) => (typeof value === "string" && value !== "") || isUrl(value),
};

/**
 * The path that was meant. `what` names the argument in messages, `path` say.
 * @throws BitnetError usage: it is not a path, or a URL of what is not a file on this machine
 */
export function pathFrom(what: string, given: unknown): string {
  if (!PATH.holds(given)) throw new BitnetError("usage", `${what} must be ${PATH.wanted}, not ${shown(given)}`);
  const text = isUrl(given) ? given.href : (given as string);
  const scheme = text.match(SCHEME)?.[1]?.toLowerCase() ?? (isUrl(given) ? given.protocol.slice(0, -1) : undefined);
  if (scheme === undefined) return text;
  if (scheme !== "file") {
    throw new BitnetError("usage", `${text}: only files on this machine can be opened; download it, and give the path of the file`);
  }
  try {
    return pathOfUrl(new URL(text));
  } catch (cause) {
    const reason = (cause as Error).message;
    throw new BitnetError("usage", `${text} can't be converted to a path: ${reason}; give the path itself`, {}, { cause });
  }
}
