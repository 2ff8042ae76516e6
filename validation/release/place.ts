import { copyFile, link, mkdir, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { BitnetError } from "../../engine/errors.js";
import { ioFailure, removeStale, temporaryPath } from "../records/files.js";

/** A file that is to be put into a tree. */
export interface PlacedFile {
  /** From the root. */
  readonly path: string;
  /** null: there is none yet. */
  readonly before: Uint8Array | null;
  readonly after: Uint8Array;
}

/** A file, the new one beside it, and another name of the old one. */
interface Step {
  readonly target: string;
  readonly fresh: string;
  readonly old: string | null;
}

/**
 * Puts files into a tree, all or none. First each is written under a temporary name beside its place, and the old one gets a second name: what needs
 * space or a permission fails here, with nothing changed. Then names are exchanged; to put them back needs no space.
 * @throws BitnetError io: the tree is as it was, or the message says which file is not, and where its old content lies
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
      if (step.old !== null) await link(at, step.old).catch(() => copyFile(at, step.old!)); // some disks have no second names
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
        left.push(old === null ? `${target} is new` : `the old ${target} is ${old}`);
        if (old !== null) kept.add(old);
      });
    }
    if (left.length === 0) throw failure;
    throw new BitnetError("io", `${failure.message}; and what was changed could not be put back: ${left.join("; ")}`, {}, { cause: error });
  } finally {
    for (const path of steps.flatMap(({ fresh, old }) => [fresh, ...(old === null || kept.has(old) ? [] : [old])]))
      await rm(path, { force: true }).catch(() => undefined); // where nothing can be written nothing was
  }
}
