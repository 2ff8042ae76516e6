import { describe, expect, it } from "vitest";
import { provenance } from "../records/provenance.js";
import { checkRecord } from "../records/records.js";
import { TIE } from "../statistics/kendall.js";
import { defaultGate, failedGates, gateError, judge, type MeasuredPrompt, PROMISE, parityFailure } from "./gates.js";
import type { Figures, Greedy, LaneReport, ParityReport } from "./types.js";

const FIGURES: Figures = {
  ...{ tau_median: 0.9, tau_p5: 0.8, tau_min: 0.7, informative: 3, uninformative: 0 },
  ...{ nll_a: 1, nll_b: 1.01, delta_nll: 0.01 },
};
const DIFFERS: Greedy = { expected: [1], parts_at: 0, chosen: 2, gap: 1, tie: 0.02 };

describe("a prompt", () => {
  it("passes at its thresholds and fails beyond them", () => {
    expect(failedGates(FIGURES, { tau_median: 0.9, delta_nll: 0.01 })).toEqual([]);
    expect(failedGates(FIGURES, { tau_median: 0.91, delta_nll: 0.01 })).toEqual(["tau"]);
    expect(failedGates(FIGURES, { tau_median: 0.9, delta_nll: 0.009 })).toEqual(["nll"]);
    expect(failedGates({ ...FIGURES, delta_nll: -0.02 }, { tau_median: 0.9, delta_nll: 0.01 })).toEqual(["nll"]);
    expect(failedGates(FIGURES, { tau_median: 0.9, delta_nll: 0.01 }, DIFFERS)).toEqual(["greedy"]);
    expect(failedGates(FIGURES, { tau_median: 0.9, delta_nll: 0.01 }, { ...DIFFERS, gap: 0.02 })).toEqual([]);
  });

  it("fails by single positions, which medians and sums don't show", () => {
    const kl = { positions: 3, mean: 0.01, mean_error: 0.01, p999: 0.1, max: 0.1, same_top: 1, same_top_error: 0 };
    const figures: Figures = { ...FIGURES, kl: { ...kl, delta_p_rms: 0, delta_p_rms_error: 0 } };
    const wide = { tau_median: 0, delta_nll: 9 };
    expect(failedGates(figures, wide)).toEqual([]);
    expect(failedGates(figures, { ...wide, kl_mean: 0.01, kl_max: 0.1 })).toEqual([]);
    expect(failedGates(figures, { ...wide, kl_mean: 0.009 })).toEqual(["kl"]);
    expect(failedGates(figures, { ...wide, kl_max: 0.09 })).toEqual(["kl"]);
    expect(failedGates(FIGURES, { ...wide, kl_max: 9 })).toEqual(["kl"]); // not measured
    expect(failedGates({ ...figures, kl: { ...figures.kl!, max: null } }, { ...wide, kl_max: 9 })).toEqual(["kl"]);
    expect(gateError("kl", "row 1")).toMatchObject({ code: "nll" });
    for (const lane of ["fp32-fp32", "quant-fp32", "oracle"] as const) {
      expect(defaultGate(lane)).toMatchObject({ ...PROMISE[lane], kl_mean: expect.any(Number), kl_max: expect.any(Number) });
    }
  });

  it("fails with figures that are not finite, or without an informative position", () => {
    expect(failedGates({ ...FIGURES, delta_nll: null, tau_median: null }, { tau_median: 0, delta_nll: 9 })).toEqual(["nll", "tau"]);
  });
});

describe("a lane", () => {
  const side = { path: "x", format: "gguf", sha256: "0".repeat(64), kernels: "kernels" };
  const sides = { a: { ...side, kernels: "reference" }, b: side };
  const policy = { bos: true, eos: true, special_tokens: true, window: 256, stride: 255, continuation: 4, top_k: 50, tie: TIE };
  const prompt = (id: string, delta: number, tau = 1, kl = 0): MeasuredPrompt => ({
    id,
    ids: [1, 2],
    measured: { taus: [tau], uninformative: 1, nllA: [1], nllB: [1 + delta], kl: [kl], same: [true] },
  });
  const judged = async (prompts: MeasuredPrompt[]) => {
    const from = await provenance({ cliArgs: [], seed: 42, deterministic: false, date: new Date(0) });
    const { report, rows } = judge(
      { name: "quant-fp32", sides, policy, prompts },
      { tau_median: 0.95, delta_nll: 0.5, delta_nll_mean: 0.25 },
      from,
    );
    for (const row of rows) checkRecord("parity-failure", row, "row");
    const whole: ParityReport = { kind: "parity-report", provenance: from, lanes: [report], skipped: [], verdict: report.verdict };
    checkRecord("parity-report", whole, "report");
    return { report, rows, failure: parityFailure(whole, "rows") };
  };
  const verdicts = ({ prompts }: LaneReport) => prompts.map(({ verdict }) => verdict);

  it("passes with its margins, those of the promise too", async () => {
    const { report, rows, failure } = await judged([prompt("a", 0.25), prompt("b", -0.125)]);
    expect([report.verdict, rows, failure]).toEqual(["PASS", [], undefined]);
    expect(report.totals.delta_nll_mean).toBe(0.1875);
    expect(report.totals.figures.delta_nll).toBe(0.0625);
    expect(report.margins).toEqual({ tau_median: expect.closeTo(0.05, 12), delta_nll: 0.25, delta_nll_mean: 0.0625 });
    expect(report.promise_margins).toEqual({ tau_median: 0.4, delta_nll: 0.02 - 0.25 });
  });

  it("fails by a prompt, which becomes a row, and names the most serious gate", async () => {
    const { report, rows, failure } = await judged([prompt("a", 0, 0.5), prompt("b", 0.75), prompt("c", Number.NaN)]);
    expect(verdicts(report)).toEqual(["FAIL", "FAIL", "FAIL"]);
    expect(report.failed).toEqual(["nll", "tau"]);
    expect(rows.map((row) => [row.prompt.id, row.failed])).toEqual([
      ["a", ["tau"]],
      ["b", ["nll"]],
      ["c", ["nll"]],
    ]);
    expect(failure).toMatchObject({ code: "nll" });
    expect((await judged([prompt("a", 0, 0.5)])).failure).toMatchObject({ code: "tau" });
  });

  it("fails by the mean alone: the prompts above it become rows under its threshold", async () => {
    const { report, rows, failure } = await judged([prompt("a", 0.375), prompt("b", -0.25), prompt("c", 0.4375)]);
    expect([report.verdict, verdicts(report)]).toEqual(["FAIL", ["PASS", "PASS", "PASS"]]);
    expect(rows.map((row) => [row.prompt.id, row.thresholds.delta_nll])).toEqual([
      ["a", 0.25],
      ["c", 0.25],
    ]);
    expect(failure).toMatchObject({ code: "nll" });
  });
});
