import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ArenaPlan } from "../compute/arena.js";
import { TIERS } from "../compute/kernels.js";
import { BitnetError } from "../errors.js";
import type { ModelConfig } from "../model/config.js";
import { PLAIN } from "../model/plain.test.helper.js";
import { KV_TYPES } from "../numerics.js";
import type { PlanOptions } from "./layout.js";
import { type NetworkPlan, planNetwork } from "./plan.js";

/** The shape of the 2B4T model. */
const SHAPE_2B4T: ModelConfig = {
  architecture: "bitnet-b1.58",
  layers: 30,
  hiddenSize: 2560,
  heads: 20,
  kvHeads: 5,
  headDim: 128,
  attentionSize: 2560,
  ffnSize: 6912,
  vocabSize: 128256,
  contextLength: 131072,
  ropeTheta: 500000,
  ropeSize: 128,
  ...PLAIN,
  rmsNormEps: 1e-5,
  activation: "relu2",
  subNorms: true,
  rope: "neox",
  activations: "int8",
  activationsAssumed: false,
  masters: true,
  tiedHead: true,
  packing: undefined,
};

const OPTIONS: PlanOptions = {
  tier: "plain",
  kv: "f32",
  scaleBlock: undefined,
  head: "bf16",
  threads: 4,
  contextLength: 4096,
  states: 0,
  stagingBytes: 2 ** 21,
  statPieces: 0,
};

const plan = (changes: Partial<PlanOptions> = {}, config: Partial<ModelConfig> = {}, from?: number): NetworkPlan =>
  planNetwork(new ArenaPlan(from), { ...SHAPE_2B4T, ...config }, { ...OPTIONS, ...changes });

const refused = (changes: Partial<PlanOptions>, config: Partial<ModelConfig> = {}, from?: number): BitnetError =>
  thrownBy(() => plan(changes, config, from));

function thrownBy(make: () => NetworkPlan): BitnetError {
  try {
    make();
  } catch (error) {
    if (error instanceof BitnetError) return error;
    throw error;
  }
  throw new Error("it fits");
}

const MOST_PAGES = 65536;
const fittingIn = (error: BitnetError): number =>
  Number(/: a context of (\d+) tokens would fit \(contextLength, --ctx\)(?:, or with|$)/.exec(error.message)?.[1]);
/** The cache that is said to hold all, and how much that is. */
function allIn(error: BitnetError): [kv: PlanOptions["kv"], all: number] | undefined {
  const match = /, or with an? (?:16|8)-bit cache \(kv: "(k16|q8)", --kv \1\) all (\d+)$/.exec(error.message);
  return match ? [match[1] as PlanOptions["kv"], Number(match[2])] : undefined;
}

describe("a plan that fits", () => {
  test("has the size that the parts of 2B4T add up to", () => {
    const { pages } = plan();
    const linears = 30 * (2 * 2560 * 2560 + 2 * 640 * 2560 + 3 * 6912 * 2560);
    const weights = linears / 4 + 128256 * 2560 * 2;
    const cache = 4096 * 30 * 5 * 2 * 128 * 4;
    expect(pages * 65536).toBeGreaterThan(weights + cache);
    expect(pages * 65536).toBeLessThan(weights + cache + 80 * 2 ** 20); // activations, logits, staging
  });
});

describe("a plan over 4 GiB", () => {
  test("names its largest parts and the longest context that fits", () => {
    const error = refused({ contextLength: 131072 });
    expect(error.code).toBe("memory");
    expect(error.message).toMatch(
      /^the model needs \d+ MiB of memory, but WebAssembly can address 4096 MiB \(KV cache 19200 MiB, output head 627 MiB, weights \d+ MiB\): /,
    );
    const fitting = fittingIn(error);
    expect(fitting % 32).toBe(0);
    expect(plan({ contextLength: fitting }).pages).toBeLessThanOrEqual(MOST_PAGES);
    expect(fittingIn(refused({ contextLength: fitting + 1 }))).toBe(fitting);
  });

  test("the longest context is right for any shape, tier, number of threads and first address", () => {
    const shape = fc.record({
      layers: fc.integer({ min: 1, max: 40 }),
      kvHeads: fc.constantFrom(1, 2, 5, 20),
      ffnSize: fc.integer({ min: 100, max: 900 }).map((n) => 8 * n),
      vocabSize: fc.integer({ min: 1, max: 500_000 }),
      tiedHead: fc.boolean(),
    });
    const options = fc.record({
      tier: fc.constantFrom(...TIERS),
      threads: fc.integer({ min: 1, max: 64 }),
      head: fc.constantFrom<PlanOptions["head"]>("bf16", "f32", "scan"),
      kv: fc.constantFrom(...KV_TYPES),
      contextLength: fc.integer({ min: 1, max: 1_000_000 }),
    });
    const first = fc.option(fc.constant(2 ** 31 + 4096), { nil: undefined });
    fc.assert(
      fc.property(shape, options, first, (config, changes, from) => {
        let error: BitnetError;
        try {
          expect(plan(changes, config, from).pages).toBeLessThanOrEqual(MOST_PAGES);
          return;
        } catch (caught) {
          if (!(caught instanceof BitnetError)) throw caught;
          error = caught;
        }
        const fitting = fittingIn(error);
        if (Number.isNaN(fitting)) {
          const small = /: with an 8-bit cache \(kv: "q8", --kv q8\) a context of (\d+) tokens would fit$/.exec(error.message)?.[1];
          if (small) expect(() => plan({ ...changes, kv: "q8", contextLength: Number(small) }, config, from)).not.toThrow();
          else expect(error.message).toMatch(/: even a context of 32 tokens wouldn't fit, so the model is too large$/);
          expect(() => plan({ ...changes, contextLength: 32 }, config, from)).toThrow(BitnetError);
          return;
        }
        expect(fitting).toBeLessThan(changes.contextLength);
        expect(() => plan({ ...changes, contextLength: fitting }, config, from)).not.toThrow();
        expect(() => plan({ ...changes, contextLength: fitting + 32 }, config, from)).toThrow(BitnetError);
        const [kv, all] = allIn(error) ?? ["q8"];
        if (all === undefined) expect(() => plan({ ...changes, kv }, config, from)).toThrow(BitnetError);
        else {
          expect(all).toBe(changes.contextLength);
          expect(() => plan({ ...changes, kv }, config, from)).not.toThrow();
          // It is the largest that does.
          const larger = KV_TYPES[KV_TYPES.indexOf(kv) - 1]!;
          expect(() => plan({ ...changes, kv: larger }, config, from)).toThrow(BitnetError);
        }
      }),
    );
  });

  test("a cache of its own size: its largest that fits is named, or the context's where that alone is too much", () => {
    const large = { contextLength: 2048, cacheTokens: 60_000 };
    expect(plan({ ...large, cacheTokens: 2048 }).pages).toBe(plan({ contextLength: 2048 }).pages);
    const { message } = refused(large);
    const fitting = Number(/: a cache of (\d+) tokens would fit \(cacheTokens, --cache-tokens\)/.exec(message)?.[1]);
    expect(plan({ ...large, cacheTokens: fitting }).limits).toMatchObject({ blocks: fitting / 32, contextLength: 2048 });
    refused({ ...large, cacheTokens: fitting + 32 });
    expect(message).toMatch(/, or with an 8-bit cache \(kv: "q8", --kv q8\) all 60000$/);
    plan({ ...large, kv: "q8" });
    refused({ ...large, kv: "k16" });
    const both = refused({ contextLength: 60_000, cacheTokens: 60_000 });
    expect(plan({ contextLength: fittingIn(both) }).limits.blocks).toBe(fittingIn(both) / 32);
  });

  test("a limit on the memory of this process counts, wherever the plan begins", () => {
    const bytes = plan().pages * 65536;
    for (const from of [undefined, 2 ** 31]) {
      const limited = (limit: number, contextLength = OPTIONS.contextLength) =>
        planNetwork(new ArenaPlan(from, limit), SHAPE_2B4T, { ...OPTIONS, contextLength });
      expect(limited(bytes).pages).toBeGreaterThan(0);
      const fitting = fittingIn(thrownBy(() => limited(bytes - 2 ** 24)));
      expect(fitting).toBeLessThan(OPTIONS.contextLength);
      expect(limited(bytes - 2 ** 24, fitting).pages).toBeGreaterThan(0);
      const error = thrownBy(() => limited(2 ** 20));
      expect(error).toMatchObject({ code: "memory", message: expect.stringMatching(/ but the cgroup of this process allows 1 MiB \(/) });
    }
  });

  test("sizes that no memory has", () => {
    const most = 2 ** 24; // what a config can say
    const error = refused(
      { contextLength: 1_000_000 },
      { hiddenSize: most, heads: 4, kvHeads: 4, headDim: most / 4, ffnSize: most, vocabSize: most },
    );
    expect(error.code).toBe("memory");
    expect(error.message).toContain("even a context of 32 tokens wouldn't fit");
  });
});
