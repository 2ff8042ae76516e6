import { BitnetError } from "../errors.js";

/** A sound file that says something this engine doesn't do. */
export function refuse(file: string, what: string): never {
  throw new BitnetError("unsupported", `${file}: ${what}`, { file });
}
