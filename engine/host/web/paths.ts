import { BitnetError } from "../../errors.js";
import { classOf, type Rule, shown } from "../../options.js";
import { isBlob, isHandle, isMounted, mount } from "./mounts.js";

const isUrl = (value: unknown): value is URL => classOf(value) === "URL";
const isFiles = (value: unknown): value is readonly Blob[] => Array.isArray(value) && value.length > 0 && value.every(isBlob);

export const PATH: Rule = {
  wanted: "a URL, a File or Blob, a handle of a file or directory, or a list of the Files of a directory",
  holds: (value) => (typeof value === "string" && value !== "") || isUrl(value) || isBlob(value) || isHandle(value) || isFiles(value),
};

/**
 * The name under which what was given can be opened: an absolute URL, or the name of a file or directory. `what` names the argument in messages.
 * @throws BitnetError usage
 */
export function pathFrom(what: string, given: unknown): string {
  if (!PATH.holds(given)) throw new BitnetError("usage", `${what} must be ${PATH.wanted}, not ${shown(given)}`);
  if (isBlob(given) || isHandle(given) || isFiles(given)) return mount(given);
  const text = isUrl(given) ? given.href : (given as string);
  if (isMounted(text)) return text;
  try {
    return new URL(text, globalThis.location?.href).href;
  } catch (cause) {
    throw new BitnetError("usage", `${text} is no URL: ${what} must be ${PATH.wanted}`, {}, { cause });
  }
}
