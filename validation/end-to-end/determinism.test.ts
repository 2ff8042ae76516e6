import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { defaultThreads } from "../../engine/compute/cpus.js";
import type { Tier } from "../../engine/compute/kernels.js";
import { tiersHere } from "../../engine/compute/tier.js";
import { type KvType, NUMERICS_VERSION } from "../../engine/numerics.js";
import { some } from "../../engine/thorough.test.helper.js";
import { EMBEDDED } from "./derive.test.helper.js";
import { alone, feed, type Piece, repeat, withRunner } from "./feed.test.helper.js";
import { golden } from "./golden.test.helper.js";
import { logitsInProcess } from "./in-process.test.helper.js";

/** Over the ends of blocks (32) and of the first span (256). */
const LENGTH = 290;
const CONTEXT = 1024;
const text = golden.requests.find(({ id }) => id === "long00")!.ids;
const IDS = text.slice(0, LENGTH);
const STRANGER = text.slice(500, 500 + LENGTH - 3);

/**
 * SHA-256 of the compared logits of IDS. It may change only with NUMERICS_VERSION: every machine, Node and tier must give it.
 */
const HASH = { version: 1, sha256: "33649a1f127f582688cde4ba87be190d7872e8df268afc961fb7eb9dfd31495e" };
/** The same with a cache of keys and values in 16 and in 8 bits. */
const HASH_K16 = "5ef2213e2a06b1164da1ee9641877fab070f7952a53f56e7956cf6d10fd3de1d";
const HASH_Q8 = "d131ce154c13d62864040fe472b74669ef702b8a0ecbcb92c6e083b8ae922092";

describe("the same bits", () => {
  const cases: readonly (readonly [tier: Tier, threads: number, kv: KvType, hash: string])[] = [
    ["relaxed", 1, "f32", HASH.sha256],
    ["relaxed", 2, "f32", HASH.sha256],
    ["plain", 2, "f32", HASH.sha256],
    ["plain", 3, "f32", HASH.sha256],
    ["wide", 1, "f32", HASH.sha256],
    ["wide", 3, "f32", HASH.sha256],
    ["vnni", 2, "f32", HASH.sha256],
    ["plain", 3, "k16", HASH_K16],
    ["relaxed", 2, "k16", HASH_K16],
    ["wide", 3, "k16", HASH_K16],
    ["plain", 1, "q8", HASH_Q8],
    ["relaxed", 3, "q8", HASH_Q8],
    ["wide", 2, "q8", HASH_Q8],
  ];
  it.each(some(cases, 1, 3, 5, 6, 7, 8, 9, 10, 11, 12).filter(([tier]) => tiersHere().includes(tier)))(
    "%s kernels, %i threads, %s cache: in large batches, in pieces, token by token, among strangers",
    async (tier, threads, kv, hash) => {
      await withRunner(EMBEDDED, { contextLength: CONTEXT, tier, threads, kv, crowded: true }, async (runner) => {
        expect(await feed(runner, [IDS], alone(repeat(runner.limits.maxRows, LENGTH)))).toEqual([hash]);
        expect(await feed(runner, [IDS], alone([1, 31, 7, 64, 33, 5, 64, 2, 64, 15, 4]))).toEqual([hash]);
        expect(await feed(runner, [IDS], alone(repeat(1, LENGTH)))).toEqual([hash]);
        const [stranger] = await feed(runner, [STRANGER], alone(repeat(runner.limits.maxRows, LENGTH)));
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
    await withRunner(EMBEDDED, { contextLength: CONTEXT, tier, threads: 2, crowded: true, head: "two-stage" }, async (runner) => {
      expect(await feed(runner, [IDS], alone(repeat(runner.limits.maxRows, LENGTH)))).toEqual([HASH.sha256]);
      expect(await feed(runner, [IDS], alone(repeat(1, LENGTH)))).toEqual([HASH.sha256]);
    });
  });

  const scalar = [
    ["f32", HASH.sha256],
    ["k16", HASH_K16],
    ["q8", HASH_Q8],
  ] as const;
  it.each(some(scalar, 0))("the scalar reference too, %s cache", async (kv, hash) => {
    await withRunner(EMBEDDED, { contextLength: CONTEXT, reference: true, kv }, async (runner) => {
      expect(await feed(runner, [IDS], alone(repeat(runner.limits.maxRows, LENGTH)))).toEqual([hash]);
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
    const wasm = new Uint8Array(readFileSync(fileURLToPath(new URL(`../../kernels/${tier}.wasm`, import.meta.url))));
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
