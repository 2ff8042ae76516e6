import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { COUNTER_BYTES } from "../compute/counters.js";
import { GROUPS_SCRATCH, instantiate, type Kernels, rowGroup, SCAN_BLOCK, scanScratch, type Tier } from "../compute/kernels.js";
import { chooseKernels, tiersHere } from "../compute/tier.js";
import { dot8, WIDE_LEVELS } from "../numerics.js";
import { type CodedState, codedState, type HeadPlan, scanLevels } from "./head.js";
import { HeadSearch } from "./head-search.js";
import { up } from "./layout.js";
import type { SharedPlan } from "./shared-plan.js";
import type { TableFile } from "./table-file.js";

const N = 64; // hidden size
const K_PAD = SCAN_BLOCK;
const VOCAB = 203;
const LEVELS = scanLevels(N);

const TIERS = tiersHere();
const MODULES = Object.fromEntries(TIERS.map((tier) => [tier, chooseKernels(tier, true, 0).module])) as Record<Tier, WebAssembly.Module>;

interface Setting {
  readonly search: HeadSearch;
  readonly coarse: Float32Array; // [VOCAB]
  readonly exact: Float32Array; // [VOCAB]
  readonly x: number;
  readonly state: CodedState;
}

/** A head and a hidden state; with `spoil` the search believes codes to be exact: of the rows, their upper bits or all, or of the state. */
function setting(
  table: Float32Array,
  hidden: Float32Array,
  tier: Tier = "plain",
  spoil?: "coarse" | "fine" | "state",
  kind: "scan" | "ternary" = "scan",
): Setting {
  const memory = new WebAssembly.Memory({ initial: 4, maximum: 4, shared: true });
  const kernels: Kernels = instantiate(MODULES[tier], memory, tier, 0);
  let next = COUNTER_BYTES;
  const take = (bytes: number): number => {
    const at = next;
    next = Math.ceil((next + bytes) / 64) * 64;
    return at;
  };
  const floats = (at: number, n: number): Float32Array => new Float32Array(memory.buffer, at, n);
  const groups = Math.ceil(VOCAB / 4) * 4;
  const [scales, errors, bounds] = [take(groups * 4), take(groups * 4), take(3 * groups * 4)];
  const [x, y, scratch, rows] = [take(N * 4), take(groups * 4), take(Math.max(GROUPS_SCRATCH, scanScratch(K_PAD))), take(4 * N * 4)];
  floats(x, N).set(hidden);
  const [low, fineErrors] = [take((groups * K_PAD) / 4), take(groups * 4)];
  const head = { kind, rows: groups, kPad: K_PAD, low, scales, errors, fineErrors, bounds };
  const plan = { config: { vocabSize: VOCAB, hiddenSize: N, activations: "float" }, head };
  let state: CodedState;
  if (kind === "scan") {
    const [codes, x16, meta] = [take((groups * K_PAD * 3) / 4), take(K_PAD * 2), take(64)];
    for (let id = 0; id < VOCAB; id++) {
      floats(rows, N).set(table.subarray(id * N, (id + 1) * N));
      const ofRow = id * 4;
      kernels.packScan(
        codes + (id * K_PAD * 3) / 4,
        low + (id * K_PAD) / 4,
        scales + ofRow,
        errors + ofRow,
        fineErrors + ofRow,
        rows,
        N,
        scratch,
      );
    }
    kernels.prepareScan(x16, meta, x, N, LEVELS);
    kernels.scan(codes, scales, groups, K_PAD, x16, 0, meta, 1, y, 0, scratch);
    if (spoil === "coarse") floats(errors, VOCAB).fill(0);
    if (spoil === "fine") floats(fineErrors, VOCAB).fill(0);
    const [, norm, residual] = floats(meta, 3) as unknown as [number, number, number];
    state = { norm, residual, codes: x16, meta };
  } else {
    // A group of columns is a row.
    const inGroup = rowGroup(tier, true);
    const packed = take(up(groups, 16) * (N / 4));
    const [groupScales, codes, x15, meta] = [take(up(groups, 16) * 4), take(N), take(N * 2), take(64)];
    for (let id = 0; id < VOCAB; id++) {
      const row = table.subarray(id * N, (id + 1) * N);
      const scale = row.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      new Uint8Array(memory.buffer, codes, N).set(row.map((value) => Math.sign(value) + 1));
      (kernels.packLane ?? kernels.packRow)(packed + Math.floor(id / inGroup) * (inGroup / 4) * N, id % inGroup, codes, N);
      floats(groupScales, up(groups, 16))[id] = scale;
      floats(scales, groups)[id] = 1.0001 * scale * Math.sqrt(N);
    }
    kernels.quantizeGroups(x15, N * 2, meta, 8, x, N, N, N, 1);
    kernels.ternaryGroups(packed, groupScales, groups, N, N, 1, x15, N * 2, meta, 8, 1, y, groups * 4, scratch);
    state = codedState(memory, { ...plan, scaleBlock: N } as unknown as SharedPlan, plan.head as HeadPlan, x, 0);
    if (spoil === "state") state = { ...state, residual: 0 };
  }
  const file = { rows, row: (id: number, to: number) => floats(to, N).set(table.subarray(id * N, (id + 1) * N)) };
  const search = new HeadSearch(kernels, memory, plan, file as unknown as TableFile, scratch);
  const exact = Float32Array.from({ length: VOCAB }, (_, id) => dot8(hidden, 0, table, id * N, N));
  return { search, coarse: floats(y, VOCAB), exact, x, state };
}

/** A ternary head of equal scales, and a state of one large number: which row is best is in what its codes leave out of the others. */
function ternaryAdversarial(seed: number, size: number): { readonly table: Float32Array; readonly hidden: Float32Array } {
  let state = seed;
  const random = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  const table = Float32Array.from({ length: VOCAB * N }, () => (Math.floor(random() * 3) - 1) * 0.5);
  const hidden = Float32Array.from({ length: N }, () => size * (Math.floor(random() * 3) - 1 + (random() < 0.5 ? -0.49 : 0.49)));
  hidden[0] = size * WIDE_LEVELS;
  return { table, hidden };
}

/** A head, and a hidden state that points along what the codes of one of its rows leave out: the worst there is for a coarse scan. */
function adversarial(seed: number, strength: number): { readonly table: Float32Array; readonly hidden: Float32Array } {
  let state = seed;
  const random = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  };
  const table = Float32Array.from({ length: VOCAB * N }, () => random() + random());
  const row = table.subarray(N * (seed % VOCAB), N * ((seed % VOCAB) + 1));
  const scale = row.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / 127;
  const hidden = Float32Array.from(row, (value) => strength * (value - Math.round(value / scale) * scale) + random() * 0.01);
  return { table, hidden };
}

/** The `count` best ids, ties by lower id. */
const top = (logits: Float32Array, count: number): number[] =>
  Array.from(logits, (_, id) => id)
    .sort((a, b) => logits[b]! - logits[a]! || a - b)
    .slice(0, count);

describe("the two-stage head", () => {
  it("finds the exact logits of the best, whatever hides in the rounding of the codes", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 2 ** 31 }),
        fc.constantFrom(0, 1, 30, 1e6),
        fc.constantFrom(1, 2, 40, VOCAB),
        fc.constantFrom(...TIERS),
        (seed, strength, count, tier) => {
          const { table, hidden } = adversarial(seed, strength);
          const { search, coarse, exact, x, state } = setting(table, hidden, tier);
          const found = search.best(coarse, x, state, count, undefined);
          expect(top(found, count)).toEqual(top(exact, count));
          for (const id of top(exact, count)) expect(Object.is(found[id], exact[id])).toBe(true);
        },
      ),
      { numRuns: 200 },
    );
  });

  it("finds them among the allowed tokens alone, and computes exactly those it is told to", () => {
    const check = fc.property(
      fc.integer({ min: 1, max: 2 ** 31 }),
      fc.constantFrom(1, 3),
      fc.uniqueArray(fc.nat(VOCAB - 1), { minLength: 3 }),
      fc.constantFrom(...TIERS),
      (seed, count, allowed, tier) => {
        const { table, hidden } = adversarial(seed, 30);
        const { search, coarse, exact, x, state } = setting(table, hidden, tier);
        const isAllowed = new Set(allowed);
        const rest = exact.map((logit, id) => (isAllowed.has(id) ? logit : Number.NEGATIVE_INFINITY));
        const found = search.best(coarse, x, state, count, undefined, VOCAB, (id) => isAllowed.has(id));
        expect(top(found, count)).toEqual(top(rest, count));
        for (const id of top(rest, count)) expect(Object.is(found[id], exact[id])).toBe(true);
        expect(search.exactly(allowed, x)).toEqual(rest);
        expect(search.computed).toEqual(allowed);
      },
    );
    fc.assert(check, { numRuns: 100 });
  });

  it("… of a ternary head, whatever hides in the rounding of the state", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 2 ** 31 }),
        fc.constantFrom(1e-12, 1, 1e6),
        fc.constantFrom(1, 2, 40, VOCAB),
        fc.constantFrom(...TIERS),
        (seed, size, count, tier) => {
          const { table, hidden } = ternaryAdversarial(seed, size);
          const { search, coarse, exact, x, state } = setting(table, hidden, tier, undefined, "ternary");
          const found = search.best(coarse, x, state, count, undefined);
          expect(top(found, count)).toEqual(top(exact, count));
          for (const id of top(exact, count)) expect(Object.is(found[id], exact[id])).toBe(true);
        },
      ),
      { numRuns: 200 },
    );
  });

  it("… also when some logits are changed, as penalties and biases do", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 2 ** 31 }),
        fc.array(fc.integer({ min: 0, max: VOCAB - 1 }), { maxLength: 300 }),
        fc.constantFrom(0.5, 1.3, 5),
        fc.constantFrom(0, 0, 0.5, -20, 99),
        (seed, ids, penalty, bias) => {
          const { table, hidden } = adversarial(seed, 30);
          const { search, coarse, exact, x, state } = setting(table, hidden);
          const adjust = (logits: Float32Array): void => {
            for (const id of new Set(ids)) logits[id] = bias + (logits[id]! > 0 ? logits[id]! / penalty : logits[id]! * penalty);
          };
          const change = (logits: Float32Array): Float32Array => {
            const changed = logits.slice();
            adjust(changed);
            return changed;
          };
          const found = change(search.best(coarse, x, state, 5, adjust));
          expect(top(found, 5)).toEqual(top(change(exact), 5));
        },
      ),
    );
  });

  it("… also when a change lifts any one barely above the best, or lowers the best barely below any", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 2 ** 31 }),
        fc.nat(VOCAB - 1),
        fc.boolean(),
        fc.boolean(),
        fc.constantFrom("scan" as const, "ternary" as const),
        fc.constantFrom(...TIERS),
        (seed, any, lifts, clear, kind, tier) => {
          const { table, hidden } = kind === "scan" ? adversarial(seed, 30) : ternaryAdversarial(seed, 1);
          // No longer adversarial, logits are far from one another, compared with their bounds.
          if (clear) for (let i = 0; i < N; i += 2) hidden[i]! += hidden[0]! / (i + 1);
          const { search, coarse, exact, x, state } = setting(table, hidden, tier, undefined, kind);
          const [best] = top(exact, 1) as [number];
          const [id, other] = lifts ? [any, best] : [best, any];
          const wanted = exact[other]! + (lifts ? 1 : -1) * 1e-6 * Math.abs(exact[other]!);
          const adjust = (logits: Float32Array): void => {
            logits[id]! += wanted - exact[id]!;
          };
          const changed = exact.slice();
          adjust(changed);
          const found = search.best(coarse, x, state, 1, adjust).slice();
          adjust(found);
          expect(top(found, 1)).toEqual(top(changed, 1));
        },
      ),
    );
  });

  it("… also when only the first ids are sought, however high the others are", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 2 ** 31 }),
        fc.integer({ min: 1, max: VOCAB }),
        fc.constantFrom(1, 5),
        fc.boolean(),
        (seed, ids, count, changes) => {
          const { table, hidden } = adversarial(seed, 30);
          for (let i = ids * N; i < table.length; i++) table[i]! *= 100;
          const { search, coarse, exact, x, state } = setting(table, hidden);
          const lowerLast = (logits: Float32Array): void => {
            logits[VOCAB - 1]! -= 1;
          };
          const found = search.best(coarse, x, state, count, changes ? lowerLast : undefined, ids).subarray(0, ids);
          if (changes && ids === VOCAB) return; // the test above
          expect(top(found, Math.min(count, ids))).toEqual(top(exact.subarray(0, ids), Math.min(count, ids)));
        },
      ),
    );
  });

  it("leaves out no row for being too small or too large for its codes", () => {
    const { table } = adversarial(3, 0);
    const hidden = new Float32Array(N).fill(1);
    for (let i = 0; i < table.length; i++) table[i] = -Math.abs(table[i]!) - 0.01; // every logit is negative
    for (const value of [1e-38, 1e-42, 1e30, 3e37]) {
      const row = 17;
      table.fill(value / N, row * N, (row + 1) * N);
      table[row * N] = 0;
      for (const tier of TIERS) {
        const { search, coarse, exact, x, state } = setting(table, hidden, tier);
        expect(top(search.best(coarse, x, state, 1, undefined), 1)).toEqual([row]);
        expect(top(exact, 1)).toEqual([row]);
      }
    }
  });

  it("computes few rows where one stands out, and more where many are close", () => {
    const { table, hidden } = adversarial(7, 0);
    const clear = setting(table, Float32Array.from(table.subarray(5 * N, 6 * N)));
    clear.search.best(clear.coarse, clear.x, clear.state, 1, undefined);
    expect(clear.search.computed).toEqual([5]);
    const all = setting(table, hidden);
    all.search.best(all.coarse, all.x, all.state, 40, undefined);
    expect(all.search.computed!.length).toBeGreaterThanOrEqual(40);
  });

  it.each(["coarse", "fine", "state"] as const)("would choose wrongly without its bound: %s", (spoil) => {
    const kind = spoil === "state" ? "ternary" : "scan";
    const wrong = Array.from({ length: 300 }, (_, i) => i + 1).find((seed) => {
      const { table, hidden } = kind === "scan" ? adversarial(seed, 30) : ternaryAdversarial(seed, 1);
      const { search, coarse, exact, x, state } = setting(table, hidden, "plain", spoil, kind);
      return top(search.best(coarse, x, state, 40, undefined), 40).some((id, i) => id !== top(exact, 40)[i]);
    });
    expect(wrong).toBeDefined();
  });

  it("a hidden state that isn't finite gives logits that aren't either", () => {
    const { table } = adversarial(1, 0);
    const { search, coarse, x, state } = setting(table, new Float32Array(N).fill(Number.NaN));
    expect(search.best(coarse, x, state, 1, undefined).every(Number.isNaN)).toBe(true);
  });
});

it.each(TIERS)("a hidden state's codes are the nearest, half to even: %s", (tier) => {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const kernels = instantiate(MODULES[tier], memory, tier, 0);
  const [x, codes, meta] = [COUNTER_BYTES, COUNTER_BYTES + 1024, COUNTER_BYTES + 2048];
  // The largest makes a step of 1, so that halves stay halves.
  const values = Float32Array.from({ length: N }, (_, i) => (i === 0 ? LEVELS : (i % 2 ? 1 : -1) * (i + (i % 4) / 4)));
  new Float32Array(memory.buffer, x, N).set(values);
  kernels.prepareScan(codes, meta, x, N, LEVELS);
  const even = (v: number): number => (Math.abs(v % 1) === 0.5 ? 2 * Math.round(v / 2) : Math.round(v));
  expect([...new Int16Array(memory.buffer.slice(codes, codes + 2 * N))]).toEqual([...values].map((v) => even(v) + 0));
  expect(new Float32Array(memory.buffer.slice(meta, meta + 4))[0]).toBe(1);
});
