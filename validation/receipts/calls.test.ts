import { readFileSync } from "node:fs";
import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { COUNTED_KERNELS } from "../../engine/compute/counters.js";
import { tiersHere } from "../../engine/compute/tier.js";
import { loadModel } from "../../engine/index.js";
import { type CountedCalls, callsImplausible } from "./calls.js";

// What the kernels themselves counted, with several threads and tiers: each must be possible in the eyes of each other.
const runs: CountedCalls[] = [];
beforeAll(async () => {
  for (const [tier, threads] of [
    ["plain", 1],
    ["relaxed", 1],
    ["relaxed", 2],
    ["wide", 5],
    [tiersHere().at(-1)!, 2],
  ] as const) {
    const model = await loadModel(undefined, { tier, threads, crowded: true, head: "two-stage", contextLength: 96, v8Flags: true });
    const prompt = Array.from({ length: 40 }, (_, i) => 300 + i);
    const { trace } = await model.generate(prompt, { maxTokens: 3, temperature: 0, trace: true }).result();
    runs.push({ calls: trace!.kernelCalls, tier, threads });
    await model.close();
  }
});
afterAll(() => {
  runs.length = 0;
});

it("what was counted with other threads and tiers is possible", () => {
  expect(runs[0]!.calls).not.toEqual(runs[2]!.calls);
  for (const a of runs) for (const b of runs) expect(callsImplausible(a, b), `${a.tier} ${b.tier}`).toBeUndefined();
});

it("with as many threads, another tier must have called its kernels exactly as often, and its ternary products nearly so", () => {
  const [plain, relaxed] = runs as [CountedCalls, CountedCalls];
  const ternary = relaxed.calls.ternaryRelaxed!;
  fc.assert(
    fc.property(fc.constantFrom(...Object.keys(plain.calls)), fc.integer({ min: 1, max: 1e9 }), (name, count) => {
      fc.pre(plain.calls[name as "add"] !== count);
      fc.pre(name !== "ternaryPlain" || count < ternary / 4 || count > ternary * 4);
      expect(callsImplausible({ ...plain, calls: { ...plain.calls, [name]: count } }, relaxed)).toMatch(
        /^kernel_calls\/\w+\* is \d+, which 1 threads/,
      );
    }),
  );
});

it("with as many threads, the same tier must have called its ternary products exactly as often", () => {
  const [, relaxed] = runs as [CountedCalls, CountedCalls];
  const ternaryRelaxed = relaxed.calls.ternaryRelaxed! + 1;
  expect(callsImplausible({ ...relaxed, calls: { ...relaxed.calls, ternaryRelaxed } }, relaxed)).toMatch(/^kernel_calls\/ternary\* is/);
});

it("with other threads, a kernel that was not called, or far too often, is seen", () => {
  const [plain, , relaxed] = runs as [CountedCalls, CountedCalls, CountedCalls];
  const { scan: _none, ...without } = relaxed.calls;
  expect(callsImplausible({ ...relaxed, calls: without }, plain)).toMatch(/^kernel_calls\/scan\* is 0/);
  expect(callsImplausible({ ...relaxed, calls: { ...relaxed.calls, siluMul: 4 } }, plain)).toMatch(/^kernel_calls\/siluMul\* is 4/);
  expect(callsImplausible({ ...relaxed, calls: { ...relaxed.calls, add: plain.calls.add! * 4 + 1 } }, plain)).toMatch(
    /^kernel_calls\/add\*/,
  );
  expect(callsImplausible({ ...relaxed, calls: { ...relaxed.calls, add: 1 } }, plain)).toMatch(/^kernel_calls\/add\* is 1,/);
  expect(callsImplausible({ ...relaxed, tier: "none" }, plain)).toBeUndefined(); // the scalar reference counts nothing
});

it("a receipt can name every kernel that counts its calls", () => {
  const { properties } = JSON.parse(readFileSync("schemas/receipt.v1.schema.json", "utf8")) as {
    properties: { kernel_calls: { properties: object } };
  };
  expect(Object.keys(properties.kernel_calls.properties)).toEqual(COUNTED_KERNELS);
});
