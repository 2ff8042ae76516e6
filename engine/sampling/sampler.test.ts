import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { exp64 } from "../math.js";
import { allowedIds, biased, isAllowed, masked, type TokenMask } from "./mask.js";
import { uniform } from "./rng.js";
import { checkSampling, logNll, logprobsOf, sampleToken } from "./sampler.js";
import type { SamplingOptions } from "./types.js";

const neutral: SamplingOptions = { temperature: 1, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 42 };
const none = new Int32Array(0);

/** The same rules with nothing clever: sort everything, filter, draw. What may be drawn, in order, with the weights. */
function plainKept(logits: Float32Array, options: SamplingOptions, history: History): { ids: number[]; weights: number[] } {
  const { repetitionPenalty, presencePenalty = 0, frequencyPenalty = 0, logitBias = {} } = options;
  const scores = Array.from(logits, (logit, id) => {
    const biased = Math.fround(logit + (logitBias[id] ?? 0));
    const times = history.generated.filter((one) => one === id).length;
    if (times === 0 && !history.prompt.includes(id)) return biased;
    const penalised = biased > 0 ? biased / repetitionPenalty : biased * repetitionPenalty;
    return Math.fround(penalised - (times * frequencyPenalty + (times > 0 ? presencePenalty : 0)));
  });
  let ids = scores.map((_, id) => id).sort((a, b) => scores[b]! - scores[a]! || a - b);
  if (options.temperature === 0) return { ids: ids.slice(0, 1), weights: [1] };
  const weight = (id: number) => exp64((scores[id]! - scores[ids[0]!]!) / options.temperature);
  const sum = (list: readonly number[]) => list.reduce((total, id) => total + weight(id), 0);
  if (options.topK > 0) ids = ids.slice(0, options.topK);
  if (options.topP < 1) {
    const all = ids.length === scores.length ? sum(scores.map((_, id) => id)) : sum(ids);
    let keep = 1;
    for (let mass = weight(ids[0]!); keep < ids.length && mass < options.topP * all; keep++) mass += weight(ids[keep]!);
    ids = ids.slice(0, keep);
  }
  ids = ids.filter((id) => weight(id) >= options.minP);
  return { ids, weights: ids.map(weight) };
}

/** The tokens before the next. */
interface History {
  readonly prompt: readonly number[];
  readonly generated: readonly number[];
}

const blank: History = { prompt: [], generated: [] };

function plainSample(logits: Float32Array, options: SamplingOptions, index: number, history: History): number {
  const { ids, weights } = plainKept(logits, options, history);
  const untouched = ids.length === logits.length && options.topP === 1 && options.minP === 0;
  const inOrder = untouched
    ? ids
        .map((id, i) => [id, weights[i]!] as const)
        .sort((a, b) => a[0] - b[0])
        .map((pair) => pair[1])
    : weights;
  const target = uniform(options.seed, index) * inOrder.reduce((total, w) => total + w, 0);
  let sum = 0;
  for (const [i, id] of ids.entries()) {
    sum += weights[i]!;
    if (sum > target) return id;
  }
  return ids[weights.findLastIndex((w) => w > 0)]!;
}

/** Logits with many ties, zeros of both signs, and −Infinity; `size` up to some thousands would make every chunk border show. */
const logitsOf = (maxLength: number) =>
  fc
    .array(
      fc.oneof(
        { weight: 4, arbitrary: fc.float({ min: -12, max: 12, noNaN: true }) },
        { weight: 2, arbitrary: fc.integer({ min: -3, max: 3 }) },
        { weight: 1, arbitrary: fc.constantFrom(-0, 0, -Infinity, 5, Math.fround(5.0001)) },
      ),
      { minLength: 1, maxLength },
    )
    .map((list) => Float32Array.from(list))
    .filter((list) => list.some(Number.isFinite));

const optionsOf: fc.Arbitrary<SamplingOptions> = fc.record(
  {
    temperature: fc.constantFrom(0, 1e-300, 0.1, 0.7, 1, 1.5, 30),
    topK: fc.constantFrom(0, 0, 1, 2, 5, 40, 1000),
    topP: fc.constantFrom(1, 1, 0, 0.1, 0.5, 0.9, 0.999),
    minP: fc.constantFrom(0, 0, 0.05, 0.5, 1),
    repetitionPenalty: fc.constantFrom(1, 1, 1.1, 2, 0.5),
    seed: fc.maxSafeNat(),
    presencePenalty: fc.constantFrom(0, 0.5, 2, -2),
    frequencyPenalty: fc.constantFrom(0, 0.1, 2, -1.5),
    logitBias: fc.dictionary(
      fc.nat(59).map(String),
      fc.oneof(fc.constantFrom(-99, 99, 1, 0.1), fc.double({ min: -100, max: 100, noNaN: true })),
      { maxKeys: 5 },
    ),
  },
  { requiredKeys: ["temperature", "topK", "topP", "minP", "repetitionPenalty", "seed"] },
);

describe("sampleToken", () => {
  test("chooses as the plain full sort does", () => {
    fc.assert(
      fc.property(
        ...([logitsOf(60), optionsOf, fc.nat(1000), fc.array(fc.nat(59)), fc.array(fc.nat(59))] as const),
        (logits, options, index, prompt, generated) => {
          const isId = (id: number) => id < logits.length;
          const history = { prompt: prompt.filter(isId), generated: generated.filter(isId) };
          const seen = [...new Set([...history.generated, ...history.prompt])];
          const counts = seen.map((id) => history.generated.filter((one) => one === id).length);
          const before = logits.slice();
          const chosen = sampleToken(logits, options, index, Int32Array.from(seen), Int32Array.from(counts));
          expect(chosen).toBe(plainSample(logits, options, index, history));
          expect(logits).toEqual(before);
        },
      ),
      { numRuns: 4000, seed: 3 },
    );
  });

  test("and over vocabularies larger than its first selection", () => {
    const sizes = fc.integer({ min: 250, max: 9000 });
    const flat: SamplingOptions[] = [
      neutral,
      { ...neutral, temperature: 50 },
      { ...neutral, minP: 0.2 },
      { ...neutral, topK: 5000 },
      { ...neutral, topP: 0.3 },
      { ...neutral, topP: 0.97 },
    ];
    fc.assert(
      fc.property(sizes, fc.constantFrom(...flat), fc.nat(), fc.constantFrom(0.01, 1, 8), (size, options, seed, spread) => {
        const logits = Float32Array.from({ length: size }, (_, i) => Math.round(uniform(seed, i) * 5000) * 0.001 * spread - 3);
        for (let index = 0; index < 4; index++) {
          expect(sampleToken(logits, { ...options, seed }, index, none)).toBe(plainSample(logits, { ...options, seed }, index, blank));
        }
      }),
      { numRuns: 60, seed: 4 },
    );
  });

  test("top-k 1, top-p 0 and greedy are the same token", () => {
    fc.assert(
      fc.property(logitsOf(300), fc.nat(100), (logits, index) => {
        const greedy = sampleToken(logits, { ...neutral, temperature: 0 }, index, none);
        expect(greedy).toBe(logits.indexOf(Math.max(...logits)));
        expect(sampleToken(logits, { ...neutral, topK: 1 }, index, none)).toBe(greedy);
        expect(sampleToken(logits, { ...neutral, topP: 0 }, index, none)).toBe(greedy);
      }),
    );
  });

  test("draws each token as often as its probability says", () => {
    const draws = 20_000;
    const logits = Float32Array.of(1, -2, 0.5, 3, 2, 2, -1, 0);
    for (const temperature of [0.7, 1, 2]) {
      const counts = new Float64Array(logits.length);
      for (let index = 0; index < draws; index++) counts[sampleToken(logits, { ...neutral, temperature }, index, none)]!++;
      const weights = Array.from(logits, (logit) => Math.exp(logit / temperature));
      const total = weights.reduce((a, b) => a + b);
      const chi2 = weights.reduce((sum, w, id) => sum + (counts[id]! - (draws * w) / total) ** 2 / ((draws * w) / total), 0);
      expect(chi2).toBeLessThan(24.3); // 7 degrees of freedom, p = 0.001
    }
  });

  test("is right at 128256 tokens", () => {
    const logits = Float32Array.from({ length: 128_256 }, (_, i) => uniform(1, i) * 10);
    const order = Array.from(logits.keys()).sort((a, b) => logits[b]! - logits[a]! || a - b);
    for (let index = 0; index < 5; index++) {
      const id = sampleToken(logits, { ...neutral, topK: 40 }, index, none);
      expect(order.indexOf(id)).toBeLessThan(40);
      const weights = order.map((rank) => exp64(logits[rank]! - logits[order[0]!]!));
      const target = uniform(42, index) * logits.reduce((sum, logit) => sum + exp64(logit - logits[order[0]!]!), 0);
      let rank = 0;
      for (let sum = weights[0]!; sum <= target; rank++) sum += weights[rank + 1]!;
      expect(sampleToken(logits, neutral, index, none)).toBe(order[rank]);
    }
  });

  test("refuses logits that are not numbers", () => {
    for (const bad of [
      [1, NaN],
      [NaN, 1],
      [Infinity, 1],
      [-Infinity, -Infinity],
    ]) {
      for (const temperature of [0, 1]) {
        expect(() => sampleToken(Float32Array.from(bad), { ...neutral, temperature }, 0, none)).toThrow(
          expect.objectContaining({ code: "file" }),
        );
      }
      expect(() => logNll(Float32Array.from(bad), 0)).toThrow(expect.objectContaining({ code: "file" }));
    }
  });
});

describe("logNll", () => {
  test("is the negative logarithm of the softmax", () => {
    fc.assert(
      fc.property(logitsOf(100), fc.nat(99), (logits, at) => {
        const target = at % logits.length;
        const max = Math.max(...logits);
        const expected = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - max), 0)) - (logits[target]! - max);
        if (expected === Infinity) expect(logNll(logits, target)).toBe(Infinity);
        else expect(logNll(logits, target)).toBeCloseTo(expected, 12);
      }),
    );
  });
});

describe("logprobsOf", () => {
  test("is the logarithm of the softmax, the likeliest first", () => {
    fc.assert(
      fc.property(logitsOf(100), fc.nat(99), fc.nat(20), fc.nat(100), (logits, at, count, some) => {
        const ids = Math.max(1, Math.min(some, logits.length));
        const chosen = at % ids;
        const { id, logprob, top } = logprobsOf(logits, chosen, count, ids);
        const max = Math.max(...logits);
        const logSum = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - max), 0));
        const plain = Array.from(logits.subarray(0, ids), (logit, one) => ({ id: one, logprob: logit - max - logSum }));
        const sorted = plain.toSorted((a, b) => logits[b.id]! - logits[a.id]! || a.id - b.id).slice(0, count);
        expect([id, ...top.map((one) => one.id)]).toEqual([chosen, ...sorted.map((one) => one.id)]);
        for (const one of [{ id, logprob }, ...top]) {
          expect(one.logprob).toBe(0 - logNll(logits, one.id)); // to the bit
          if (plain[one.id]!.logprob === -Infinity) expect(one.logprob).toBe(-Infinity);
          else expect(one.logprob).toBeCloseTo(plain[one.id]!.logprob, 11);
        }
        expect(top.reduce((sum, one) => sum + Math.exp(one.logprob), 0)).toBeLessThan(1 + 1e-12);
      }),
    );
  });
});

describe("checkSampling", () => {
  test("takes what is in range", () => {
    for (const options of fc.sample(optionsOf, 100)) expect(() => checkSampling(options)).not.toThrow();
  });
  test.each([
    ["temperature", -1],
    ["temperature", Infinity],
    ["temperature", NaN],
    ["topK", 1.5],
    ["topK", -1],
    ["topP", 1.1],
    ["topP", -0.1],
    ["minP", 2],
    ["repetitionPenalty", 0],
    ["repetitionPenalty", NaN],
    ["seed", -1],
    ["seed", 2 ** 53],
    ["seed", 0.5],
    ["presencePenalty", 2.1],
    ["presencePenalty", NaN],
    ["frequencyPenalty", -2.1],
  ])("names %s = %d", (name, value) => {
    expect(() => checkSampling({ ...neutral, [name]: value })).toThrow(
      expect.objectContaining({ code: "usage", message: expect.stringContaining(name) as string }),
    );
  });
});

describe("a mask of tokens", () => {
  const allowed = (length: number) => fc.uniqueArray(fc.nat(length - 1), { minLength: 1, maxLength: length });
  const maskOf = (ids: readonly number[], vocab: number): Uint32Array => {
    const mask = new Uint32Array(Math.ceil(vocab / 32));
    for (const id of ids) mask[id >>> 5]! |= 1 << (id & 31);
    return mask;
  };

  test("leaves the choice that a vocabulary of the allowed tokens alone would have", () => {
    const check = fc.property(
      fc.array(fc.integer({ min: -8, max: 8 }), { minLength: 1, maxLength: 90 }),
      fc.nat(),
      fc.nat(),
      (values, seed, index) => {
        const [ids] = fc.sample(allowed(values.length), { seed, numRuns: 1 });
        const sorted = ids!.toSorted((a, b) => a - b);
        const logits = Float32Array.from(values, (value, id) => value + id / 128);
        for (const options of [
          neutral,
          { ...neutral, temperature: 0 },
          { ...neutral, topK: 3 },
          { ...neutral, topP: 0.7 },
          { ...neutral, minP: 0.2 },
        ]) {
          const few = { ...options, seed };
          const rest = masked(logits, maskOf(ids!, values.length));
          const chosen = sampleToken(rest, few, index % 1000, none);
          // Told which are left, it looks at no others.
          for (const penalty of [1, 1.4]) {
            const penalised = { ...few, repetitionPenalty: penalty };
            const seen = Int32Array.from(values.keys()).filter((id) => id % 3 === 0);
            const all = sampleToken(rest, penalised, index % 1000, seen);
            expect(sampleToken(rest, penalised, index % 1000, seen, undefined, sorted)).toBe(all);
          }
          const among = sampleToken(
            Float32Array.from(sorted, (id) => logits[id]!),
            few,
            index % 1000,
            none,
          );
          expect(chosen).toBe(sorted[among]);
        }
      },
    );
    fc.assert(check);
  });

  test("is read as bits", () => {
    const check = fc.property(fc.uniqueArray(fc.nat(199)), (ids) => {
      const mask = maskOf(ids, 200);
      const sorted = ids.toSorted((a, b) => a - b);
      expect(allowedIds(mask, 200)).toEqual(sorted);
      if (ids.length > 0) expect(allowedIds(mask, ids.length - 1)).toBeUndefined();
      expect(Array.from({ length: 230 }, (_, id) => id).filter((id) => isAllowed(mask, id))).toEqual(sorted);
    });
    fc.assert(check);
  });

  const few = (length: number) => fc.uniqueArray(fc.nat(length + 40), { maxLength: 6 });

  test("is narrowed by biases of 100 and -100, unless nothing is left", () => {
    const check = fc.property(fc.nat(90), fc.boolean(), few(90), few(90), fc.nat(2 ** 31), (more, isMasked, chosen, unwanted, seed) => {
      const ids = 1 + more;
      const banned = unwanted.filter((id) => !chosen.includes(id));
      const all = Array.from({ length: ids }, (_, id) => id);
      const may = isMasked ? fc.sample(allowed(ids), { seed, numRuns: 1 })[0]!.toSorted((a, b) => a - b) : all;
      const mask = isMasked ? maskOf(may, ids) : undefined;
      const picked = may.filter((id) => chosen.includes(id));
      const left = picked.length > 0 ? picked : may.filter((id) => !banned.includes(id));
      const result = biased(mask, { chosen, banned }, ids);
      if (result === undefined) expect([isMasked, left.length === ids || left.length === 0]).toEqual([false, true]);
      else expect(allowedIds(result, ids)).toEqual(left.length > 0 ? left : may);
      if (mask) expect(allowedIds(mask, ids)).toEqual(may); // not changed
    });
    fc.assert(check);
  });

  test("with such biases, one token is chosen always, and others never, however hot and whatever else is asked", () => {
    const check = fc.property(logitsOf(60), optionsOf, fc.nat(59), fc.nat(1000), (logits, options, at, index) => {
      const id = at % logits.length;
      const choose = (mask: TokenMask | undefined) => sampleToken(mask ? masked(logits, mask) : logits, options, index, none);
      if (logits[id]! > -Infinity) expect(choose(biased(undefined, { chosen: [id], banned: [] }, logits.length))).toBe(id);
      const others = logits.filter((logit, other) => logit > -Infinity && other !== id);
      if (others.length > 0) expect(choose(biased(undefined, { chosen: [], banned: [id] }, logits.length))).not.toBe(id);
    });
    fc.assert(check);
  });
});
