import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { PromptLookup } from "./prompt-lookup.js";

/** A lookup that has seen how well guesses do in a text that repeats itself, then these tokens. */
function sure(tokens: readonly number[]): PromptLookup {
  const given: number[] = [];
  const lookup = new PromptLookup(given);
  for (const id of [...Array.from({ length: 90 }, (_, i) => 1000 + (i % 9)), ...tokens]) {
    given.push(id);
    lookup.grown();
  }
  return lookup;
}

describe("guesses", () => {
  test("are what followed the longest match, of those the latest", () => {
    expect(sure([9, 1, 2, 8, 7, 1, 2]).propose(1, 1)).toEqual([]); // a short match is not enough
    expect(sure([0, 1, 2, 3, 4, 5, 6, 9, 3, 4, 5, 7, 8, 1, 2, 3, 4, 5]).propose(1, 1)).toEqual([6]);
    expect(sure([1, 2, 3, 4, 9, 1, 2, 3, 5, 8, 1, 2, 3]).propose(1, 1)).toEqual([5]);
    const eight = [1, 2, 3, 4, 5, 6, 7, 8];
    expect(sure([...eight, 20, 21, 22, ...eight]).propose(2, 1)).toEqual([20, 21]);
  });

  test("go round where what followed is the end itself", () => {
    const threes = Array.from({ length: 60 }, (_, i) => i % 3);
    expect(sure(threes).propose(7, 1)).toEqual([0, 1, 2, 0, 1, 2, 0]);
  });

  test("are none for what was not there before, and none of nothing", () => {
    for (const tokens of [[], [1], [1, 2], [1, 2, 3], [1, 1], [1, 2, 3, 2, 1]]) {
      expect(new PromptLookup(tokens).propose(9, 1)).toEqual([]);
      expect(sure([...tokens, 0]).propose(9, 1)).toEqual([]);
    }
  });

  test("are tokens of the sequence, at most as many as asked for, however it grew", () => {
    const sequence = fc.array(fc.nat(2), { maxLength: 60 });
    fc.assert(
      fc.property(sequence, sequence, fc.integer({ min: -1, max: 20 }), fc.integer({ min: 1, max: 40 }), (prompt, rest, most, rows) => {
        const tokens = [...prompt];
        const lookup = new PromptLookup(tokens);
        for (const id of rest) {
          tokens.push(id);
          lookup.grown();
          const drafts = lookup.propose(most, rows);
          expect(drafts.length).toBeLessThanOrEqual(Math.max(most, 0));
          // The whole of it, found by looking everywhere.
          const said = [...tokens, ...drafts];
          const found = tokens.some((_, at) => at >= 2 && at < tokens.length && follows(said, at, tokens.length, drafts.length));
          if (drafts.length > 0) expect(found).toBe(true);
        }
      }),
      { numRuns: 100, seed: 3 },
    );
  });

  /** Whether the two tokens before `at` are those before `end`, and as many follow them as were guessed. */
  function follows(said: readonly number[], at: number, end: number, count: number): boolean {
    for (let i = -2; i < count; i++) if (said[at + i] !== said[end + i]) return false;
    return true;
  }
});

describe("how many", () => {
  const period = [1, 2, 3, 4, 5, 6, 7, 8, 9];
  const repeated = (times: number) => Array.from({ length: times }, () => period).flat();

  /** How many guesses there are after each of these tokens, given one by one. */
  function counts(tokens: readonly number[]): number[] {
    const given: number[] = [];
    const lookup = new PromptLookup(given);
    return tokens.map((id) => {
      given.push(id);
      lookup.grown();
      return lookup.propose(99, 1).length;
    });
  }

  test("grows while the text repeats itself", () => {
    const all = counts(repeated(6));
    expect(Math.max(...all.slice(0, 10))).toBe(0);
    expect(all[12]).toBeGreaterThan(0);
    expect(all.at(-1)).toBeGreaterThan(2 * all[12]!);
  });

  test("falls to none where they prove wrong, even if they were not computed, and recovers", () => {
    const strays = Array.from({ length: 20 }, (_, i) => [1, 2, 3, 100 + i]).flat();
    const all = counts([...strays, ...repeated(6)]);
    const atThrees = strays.flatMap((id, at) => (id === 3 ? [all[at]!] : []));
    expect(Math.max(...atThrees.slice(0, 3))).toBeGreaterThan(0);
    expect(Math.max(...atThrees.slice(8))).toBe(0);
    expect(all.at(-1)).toBeGreaterThan(4);
  });

  test("is fewer the fuller the batch is without them", () => {
    const lookup = new PromptLookup(repeated(3));
    const counts = [1, 2, 4, 8, 16, 64].map((rows) => lookup.propose(99, rows).length);
    expect(counts).toEqual(counts.toSorted((a, b) => b - a));
    expect(counts[0]).toBeGreaterThan(0);
    expect(counts.at(-1)).toBe(0);
  });
});
