import { basename, resolve } from "node:path";
import { findModel } from "../hub/index.js";
import { nonEmpty } from "./values.js";

/** An argument parser for a model: a path, or the name of a stored one. What exists as a path is one. */
export function modelPath(text: string): string {
  return findModel(nonEmpty(text));
}

/** A model, and what it is called. */
export interface NamedModel {
  /** Its name in the store, or its file's or folder's. */
  readonly name: string;
  readonly path: string;
}

/** What a model is called that has no other name: its file or folder. */
export function nameOf(path: string): string {
  return basename(resolve(path)).replace(/\.(?:gguf|safetensors)$/, "");
}

/** The same as `modelPath` for a flag that can be repeated, with names. */
export function namedModels(text: string, before: NamedModel[] | undefined): NamedModel[] {
  const path = modelPath(text);
  const name = path === text ? nameOf(path) : text.replace(/^hf:/, "");
  return [...(before ?? []), { name, path }];
}

/** The same for an argument that can be repeated. */
export function modelPaths(text: string, before: string[] | undefined): string[] {
  return [...(before ?? []), modelPath(text)];
}
