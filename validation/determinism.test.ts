import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import type { Tier } from "../engine/compute/kernels.js";
import { defaultThreads } from "../engine/compute/pool.js";
import type { StepBatch, StepRunner } from "../engine/compute/step.js";
import { openCheckpoint } from "../engine/container/checkpoint.js";
import { type LoadOptions, startRunner } from "../engine/generation/runner.js";
import { readConfig } from "../engine/model/config.js";
import { readWeights } from "../engine/model/weights.js";
import { type KvType, NUMERICS_VERSION } from "../engine/numerics.js";
import { EMBEDDED } from "./derive.test.helper.js";
import { golden } from "./golden.test.helper.js";
import { logitsInProcess } from "./in-process.test.helper.js";

/** Over the ends of blocks (32) and of the first span (256). */
const LENGTH = 290;
/** Positions whose logits are compared: the last ones, which hang on all before them. */
const COMPARED = 20;
const text = golden.requests.find(({ id }) => id === "long00")!.ids;
const IDS = text.slice(0, LENGTH);
const STRANGER = text.slice(500, 500 + LENGTH - 3);

/**
 * SHA-256 of the compared logits of IDS. It may change only with NUMERICS_VERSION: every machine, Node and tier must give it.
 */
const HASH = { version: 1, sha256: "33649a1f127f582688cde4ba87be190d7872e8df268afc961fb7eb9dfd31495e" };
/** The same with an 8-bit cache of keys and values. */
const HASH_Q8 = "d131ce154c13d62864040fe472b74669ef702b8a0ecbcb92c6e083b8ae922092";

/** One sequence's rows of a step: `take` more of its tokens. */
interface Piece {
  readonly sequence: number;
  readonly take: number;
}

/**
 * Feeds sequences to a runner in given pieces.
 * @param steps the make-up of each batch
 * @returns each sequence's compared logits, hashed
 */
async function feed(runner: StepRunner, sequences: readonly (readonly number[])[], steps: Iterable<readonly Piece[]>): Promise<string[]> {
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
      outputs: wanted.map(({ at }) => ({ row: at, want: "logits" })),
    };
    const outputs = await runner.step(batch);
    for (const [i, { logits }] of outputs.entries()) hashes[wanted[i]!.sequence]!.update(logits!);
  }
  expect(done).toEqual(sequences.map((ids) => ids.length));
  return hashes.map((hash) => hash.digest("hex"));
}

const alone = (sizes: readonly number[]): Piece[][] => sizes.map((take) => [{ sequence: 0, take }]);
const repeat = (size: number): number[] => new Array<number>(Math.ceil(LENGTH / size)).fill(size);

async function withRunner<T>(options: LoadOptions, use: (runner: StepRunner) => Promise<T>): Promise<T> {
  const checkpoint = await openCheckpoint(EMBEDDED);
  const config = await readConfig(checkpoint);
  const { runner } = await startRunner(Promise.resolve({ config, sources: readWeights(checkpoint, config) }), {
    contextLength: 1024,
    v8Flags: true,
    ...options,
  });
  try {
    return await use(runner);
  } finally {
    await Promise.all([runner.close(), checkpoint.close()]);
  }
}

describe("the same bits", () => {
  const cases: readonly (readonly [tier: Tier, threads: number, kv: KvType, hash: string])[] = [
    ["relaxed", 1, "f32", HASH.sha256],
    ["relaxed", 2, "f32", HASH.sha256],
    ["plain", 2, "f32", HASH.sha256],
    ["plain", 3, "f32", HASH.sha256],
    ["wide", 1, "f32", HASH.sha256],
    ["wide", 3, "f32", HASH.sha256],
    ["plain", 1, "q8", HASH_Q8],
    ["relaxed", 3, "q8", HASH_Q8],
    ["wide", 2, "q8", HASH_Q8],
  ];
  it.each(cases)(
    "%s kernels, %i threads, %s cache: in large batches, in pieces, token by token, among strangers",
    async (tier, threads, kv, hash) => {
      await withRunner({ tier, threads, kv }, async (runner) => {
        expect(await feed(runner, [IDS], alone(repeat(runner.limits.maxRows)))).toEqual([hash]);
        expect(await feed(runner, [IDS], alone([1, 31, 7, 64, 33, 5, 64, 2, 64, 15, 4]))).toEqual([hash]);
        expect(await feed(runner, [IDS], alone(repeat(1)))).toEqual([hash]);
        const [stranger] = await feed(runner, [STRANGER], alone(repeat(runner.limits.maxRows)));
        // Two sequences in every batch, of changing make-up, and both decoding at the end.
        const mixed = Array.from({ length: 2 * LENGTH }, (_, i): Piece[] => [
          { sequence: 0, take: 1 + (i % 3) },
          { sequence: 1, take: 1 + ((i * 7) % 5) },
        ]);
        expect(await feed(runner, [IDS, STRANGER], trimmed(mixed))).toEqual([hash, stranger]);
      });
    },
  );

  it.each(["relaxed", "wide"] as const)("%s kernels, with a two-stage head that reads all rows from the file", async (tier) => {
    await withRunner({ tier, threads: 2, head: "two-stage" }, async (runner) => {
      expect(await feed(runner, [IDS], alone(repeat(runner.limits.maxRows)))).toEqual([HASH.sha256]);
      expect(await feed(runner, [IDS], alone(repeat(1)))).toEqual([HASH.sha256]);
    });
  });

  it.each([
    ["f32", HASH.sha256],
    ["q8", HASH_Q8],
  ] as const)("the scalar reference too, %s cache", async (kv, hash) => {
    await withRunner({ reference: true, kv }, async (runner) => {
      expect(await feed(runner, [IDS], alone(repeat(runner.limits.maxRows)))).toEqual([hash]);
    });
  });

  it("the hash belongs to this version of the numerics", () => {
    expect(HASH.version).toBe(NUMERICS_VERSION);
    expect(defaultThreads()).toBeGreaterThan(0);
  });
});

/** Cuts the steps off where both sequences are done. */
function trimmed(steps: readonly (readonly Piece[])[]): (readonly Piece[])[] {
  const left = [IDS.length, STRANGER.length];
  return steps.flatMap((pieces) => {
    const kept = pieces.filter(({ sequence }) => left[sequence]! > 0);
    for (const { sequence, take } of kept) left[sequence] = Math.max(0, left[sequence]! - take);
    return kept.length > 0 ? [kept] : [];
  });
}

describe("the check sees a changed kernel", () => {
  const ids = IDS.slice(0, 48);
  const hash = (rows: readonly Float32Array[]): string => {
    const sha = createHash("sha256");
    for (const row of rows) sha.update(row);
    return sha.digest("hex");
  };

  it.each(["plain", "relaxed"] as const)("%s: ln 2 in e^x off by its last bit", async (tier) => {
    const right = hash(await logitsInProcess(EMBEDDED, ids, { tier }));
    expect(hash(await logitsInProcess(EMBEDDED, ids, { tier: tier === "plain" ? "relaxed" : "plain" }))).toBe(right);
    const wasm = new Uint8Array(readFileSync(fileURLToPath(new URL(`../kernels/${tier}.wasm`, import.meta.url))));
    const changed = changeConstant(wasm, 0.693359375);
    expect(hash(await logitsInProcess(EMBEDDED, ids, { tier, module: new WebAssembly.Module(changed) }))).not.toBe(right);
  });
});

/** Adds one to the last bit of an f32 constant wherever the module has it. */
function changeConstant(wasm: Uint8Array, value: number): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(wasm);
  const pattern = new Uint8Array(Float32Array.of(value).buffer);
  let found = 0;
  for (let i = 0; i + 4 <= out.length; i++) {
    if (pattern.every((byte, j) => out[i + j] === byte)) {
      out[i]! ^= 1;
      found++;
    }
  }
  expect(found).toBeGreaterThan(0);
  return out;
}
