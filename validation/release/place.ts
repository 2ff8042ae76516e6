import { copyFile, link, mkdir, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { BitnetError } from "../../engine/errors.js";
import { ioFailure, removeStale, temporaryPath } from "../records/files.js";

/** A file to put into a tree. */
export interface PlacedFile {
  /** Relative to the root. */
  readonly path: string;
  /** null: there is no such file yet. */
  readonly before: Uint8Array | null;
  readonly after: Uint8Array;
}

/** A file, the temporary path of its new version, and a second name of the old one. */
interface Step {
  readonly target: string;
  readonly fresh: string;
  readonly old: string | null;
}

/**
 * Puts files into a tree, all or none. First each is written under a temporary name next to its target, and the old file gets a second name: missing
 * space or permission is found here, before anything changes. Then the files are renamed; renaming them back needs no space.
 * @throws BitnetError io: the tree is unchanged, or the message names each file that is not, and where its old content is
 */
export async function placeFiles(root: string, files: readonly PlacedFile[]): Promise<void> {
  const steps: Step[] = [];
  const done: Step[] = [];
  const kept = new Set<string>();
  let at = root;
  try {
    for (const { path, before, after } of files) {
      at = join(root, path);
      const step = { target: at, fresh: temporaryPath(at), old: before === null ? null : temporaryPath(at) };
      steps.push(step);
      await mkdir(dirname(at), { recursive: true });
      await removeStale(at);
      await writeFile(step.fresh, after, { flag: "wx", flush: true });
      if (step.old !== null) await link(at, step.old).catch(() => copyFile(at, step.old!)); // some file systems have no hard links
    }
    for (const step of steps) {
      at = step.target;
      await rename(step.fresh, step.target);
      done.push(step);
    }
  } catch (error) {
    const failure = ioFailure("write", at, error);
    const left: string[] = [];
    for (const { target, old } of done) {
      await (old === null ? rm(target) : rename(old, target)).catch(() => {
        left.push(old === null ? `${target} is new` : `the old content of ${target} is in ${old}`);
        if (old !== null) kept.add(old);
      });
    }
    if (left.length === 0) throw failure;
    throw new BitnetError("io", `${failure.message}; these changes could not be undone: ${left.join("; ")}`, {}, { cause: error });
  } finally {
    for (const path of steps.flatMap(({ fresh, old }) => [fresh, ...(old === null || kept.has(old) ? [] : [old])]))
      await rm(path, { force: true }).catch(() => undefined); // if the folder can't be written, nothing was
  }
}
