import { findModel } from "../hub/index.js";
import { nonEmpty } from "./values.js";

/** An argument parser for a model: a path, or the name of a stored one. What exists as a path is one. */
export function modelPath(text: string): string {
  return findModel(nonEmpty(text));
}

/** The same for an argument that can be repeated. */
export function modelPaths(text: string, before: string[] | undefined): string[] {
  return [...(before ?? []), modelPath(text)];
}
