import { readFileSync } from "node:fs";
import { join } from "node:path";
import { compileKernels } from "./kernels.js";
import { type Fixed, readFixed } from "./lists.js";
import { mutantsOf, mutate } from "./mutants.js";
import type { Scratch } from "./scratch.js";
import { isKernel, moduleOf } from "./trial.js";

/** No test of the set takes so long without news. */
const silentMs = (): number => 300_000;

/** The files of dist/ with a change of the set made. @throws Error if the change is no longer one of those that are generated */
async function changedFiles(
  root: string,
  { file, before, after }: Fixed,
): Promise<readonly (readonly [path: string, data: string | Uint8Array])[]> {
  const text = readFileSync(join(root, moduleOf(file)), "utf8");
  const mutant = mutantsOf(file, text).find((one) => one.before === before && one.after === after);
  if (!mutant)
    throw new Error(`${file} no longer has the line "${before}", or it is not changed so: choose another for bench/mutate/fixed.json`);
  const changed = mutate(text, mutant);
  if (!isKernel(file)) return [[moduleOf(file), changed]];
  const made = await compileKernels(root, { file, text: changed });
  if (!made) throw new Error(`${file} does not compile with "${after}"`);
  return Object.entries(made);
}

/** Runs the small set: each change must be noticed by a test that passes without it. @returns the exit code */
export async function runFixed(root: string, scratches: readonly Scratch[]): Promise<number> {
  const set = readFixed(root);
  const start = performance.now();
  const files = [...new Set(set.flatMap(({ tests }) => tests))];
  const unchanged = await scratches[0]!.run(files, { isolate: false, bail: false, silentMs });
  if (!unchanged.passed) throw new Error(`the tests fail before anything is changed: ${unchanged.failed ?? unchanged.output}`);
  const left = [...set];
  const missed: Fixed[] = [];
  const work = async (scratch: Scratch): Promise<void> => {
    for (let one = left.shift(); one; one = left.shift()) {
      const changed = await changedFiles(root, one);
      for (const [path, data] of changed) scratch.put(path, data);
      const { passed, timedOut, failed, output } = await scratch.run(one.tests, { isolate: false, bail: true, silentMs });
      for (const [path] of changed) scratch.restore(path);
      // A run that ends badly without a failed test is no proof.
      if (!passed && !timedOut && failed === undefined) throw new Error(`the tests of ${one.file} could not be run:\n${output}`);
      if (passed || timedOut) missed.push(one);
      process.stdout.write(`${passed ? "SURVIVED" : timedOut ? "HUNG" : "noticed"}  ${one.file}: ${one.before} → ${one.after}\n`);
    }
  };
  await Promise.all(scratches.map(work));
  const seconds = ((performance.now() - start) / 1000).toFixed(0);
  process.stdout.write(`${set.length - missed.length} of ${set.length} changes noticed, in ${seconds} s\n`);
  return missed.length > 0 || set.length === 0 ? 1 : 0;
}
