import { lstatSync } from "node:fs";
import { pathOrStored } from "../hub/index.js";
import { nonEmpty } from "./values.js";

/** An argument parser for a model: a path, or the name of a stored one. What exists as a path is one. */
export function modelPath(text: string): string {
  return pathOrStored(nonEmpty(text), exists);
}

/** The same for an argument that can be repeated. */
export function modelPaths(text: string, before: string[] | undefined): string[] {
  return [...(before ?? []), modelPath(text)];
}

/** Whether anything has this path, a broken link too: the engine says what is wrong with it. */
function exists(path: string): boolean {
  try {
    return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch {
    return true; // what may not be looked at is there, or can't be told: the engine says why
  }
}
