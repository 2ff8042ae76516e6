/** Feeds token ids to a running network in given pieces, to see that the pieces don't show in the logits. */
import { createHash } from "node:crypto";
import { expect } from "vitest";
import type { StepBatch, StepRunner } from "../../engine/compute/step.js";
import { openCheckpoint } from "../../engine/container/checkpoint.js";
import { type LoadOptions, startRunner } from "../../engine/generation/runner.js";
import { readConfig } from "../../engine/model/config.js";
import { readWeights } from "../../engine/model/weights.js";

/** Positions whose logits are compared: the last ones, which hang on all before them. */
export const COMPARED = 20;

/** One sequence's rows of a step: `take` more of its tokens. */
export interface Piece {
  readonly sequence: number;
  readonly take: number;
}

/**
 * Feeds sequences to a runner in given pieces.
 * @param steps the make-up of each batch
 * @returns each sequence's compared logits, hashed
 */
export async function feed(
  runner: StepRunner,
  sequences: readonly (readonly number[])[],
  steps: Iterable<readonly Piece[]>,
): Promise<string[]> {
  const { limits } = runner;
  const done = sequences.map(() => 0);
  // Blocks of the sequences alternate, so that neither lies in one piece.
  const tables = sequences.map((ids, s) =>
    Int32Array.from({ length: Math.ceil(ids.length / limits.blockSize) }, (_, i) => i * sequences.length + s),
  );
  const hashes = sequences.map(() => createHash("sha256"));
  for (const pieces of steps) {
    const rows = pieces.flatMap(({ sequence, take }) => {
      const ids = sequences[sequence]!;
      const first = done[sequence]!;
      done[sequence] = Math.min(first + take, ids.length);
      return ids.slice(first, done[sequence]).map((token, i) => ({ token, position: first + i, sequence }));
    });
    const wanted = rows.flatMap((row, at) => (row.position >= sequences[row.sequence]!.length - COMPARED ? [{ ...row, at }] : []));
    const batch: StepBatch = {
      tokens: Int32Array.from(rows, ({ token }) => token),
      positions: Int32Array.from(rows, ({ position }) => position),
      sequences: Int32Array.from(rows, ({ sequence }) => sequence),
      tables,
      ...(limits.states > 0 && { states: Int32Array.from(sequences.keys()) }),
      outputs: wanted.map(({ at }) => ({ row: at, want: "logits" })),
    };
    const outputs = await runner.step(batch);
    for (const [i, { logits }] of outputs.entries()) hashes[wanted[i]!.sequence]!.update(logits!);
  }
  expect(done).toEqual(sequences.map((ids) => ids.length));
  return hashes.map((hash) => hash.digest("hex"));
}

/** One sequence alone, in pieces of these sizes. */
export const alone = (sizes: readonly number[]): Piece[][] => sizes.map((take) => [{ sequence: 0, take }]);

/** Pieces of one size, enough for `length` tokens. */
export const repeat = (size: number, length: number): number[] => new Array<number>(Math.ceil(length / size)).fill(size);

/** A running network, closed in the end. */
export async function withRunner<T>(path: string, options: LoadOptions, use: (runner: StepRunner) => Promise<T>): Promise<T> {
  const checkpoint = await openCheckpoint(path);
  try {
    const config = await readConfig(checkpoint);
    const header = Promise.resolve({ config, sources: readWeights(checkpoint, config) });
    const { runner } = await startRunner(header, { v8Flags: true, ...options });
    try {
      return await use(runner);
    } finally {
      await runner.close();
    }
  } finally {
    await checkpoint.close();
  }
}
