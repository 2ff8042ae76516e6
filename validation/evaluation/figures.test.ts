import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { choiceFigures, choose, textFigures } from "./figures.js";
import { windowsOf } from "./windows.js";

type Figures = Readonly<Record<string, number>>;
interface Fixture {
  readonly texts: readonly { readonly nll: readonly number[]; readonly figures: Figures }[];
  readonly choices: {
    readonly rows: readonly {
      readonly loglikelihoods: readonly number[];
      readonly choices: readonly string[];
      readonly gold: number;
      readonly acc: boolean;
      readonly acc_norm: boolean;
    }[];
    readonly figures: Figures;
  };
}

// By numpy and scipy: evaluation.py beside it.
const fixture = JSON.parse(readFileSync("validation/fixtures/evaluation.json", "utf8")) as Fixture;

function expectClose(found: object, right: Figures): void {
  expect(Object.keys(found).sort()).toEqual(Object.keys(right).sort());
  for (const [name, value] of Object.entries(right)) expect((found as Figures)[name]! / value, name).toBeCloseTo(1, 12);
}

describe("figures", () => {
  it("of a text are numpy's", () => {
    for (const { nll, figures } of fixture.texts) expectClose(textFigures(nll, figures.bytes!), figures);
    expect(textFigures([1], 4)).toMatchObject({ tokens: 1, mean_nll_error: null, perplexity_error: null });
  });

  it("of choices are numpy's: the first of equal ones, lengths in code points, standard errors of a sample", () => {
    const { rows, figures } = fixture.choices;
    for (const { loglikelihoods, choices, gold, acc, acc_norm } of rows)
      expect(choose(loglikelihoods, choices, gold), JSON.stringify(choices)).toEqual({ acc, acc_norm });
    expect(rows.some(({ acc, acc_norm }) => acc !== acc_norm)).toBe(true);
    expectClose(choiceFigures(rows), figures);
    expect(choiceFigures([{ acc: true, acc_norm: false }])).toEqual({
      items: 1,
      acc: 1,
      acc_stderr: null,
      acc_norm: 0,
      acc_norm_stderr: null,
    });
  });
});

describe("windows", () => {
  const shape = fc
    .record({ count: fc.integer({ min: 0, max: 200 }), window: fc.integer({ min: 2, max: 40 }), led: fc.boolean() })
    .chain((of) => fc.record({ of: fc.constant(of), stride: fc.integer({ min: 1, max: of.led ? of.window : of.window - 1 }) }));

  it("score every token once, in order, each with the context that it has", () => {
    fc.assert(
      fc.property(shape, ({ of: { count, window, led }, stride }) => {
        const windows = windowsOf(count, window, stride, led);
        const scored = windows.flatMap(({ first, to }) => Array.from({ length: to - first }, (_, i) => first + i));
        expect(scored).toEqual(Array.from({ length: Math.max(0, count - (led ? 0 : 1)) }, (_, i) => i + (led ? 0 : 1)));
        for (const { from, to, first } of windows) {
          expect(to - from).toBeLessThanOrEqual(window);
          if (!led) expect(first).toBeGreaterThan(from);
          // What is scored behind the first window has at least what two windows share.
          if (from > 0) expect(first - from).toBe(window - stride);
        }
      }),
    );
  });

  it("are those of Hugging Face's guide", () => {
    expect(windowsOf(10, 4, 2, false)).toEqual([
      { from: 0, to: 4, first: 1 },
      { from: 2, to: 6, first: 4 },
      { from: 4, to: 8, first: 6 },
      { from: 6, to: 10, first: 8 },
    ]);
  });
});
