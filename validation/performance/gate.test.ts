import { describe, expect, it } from "vitest";
import { EXAMPLES } from "../records/records.test.helper.js";
import { normals } from "../statistics/normals.test.helper.js";
import { unpairedRatio } from "../statistics/ratio.js";
import { distribution, median } from "../statistics/summary.js";
import { comparePerf, requireMemory, requireNoRegression, requireSamples } from "./gate.js";
import { METRIC_NAMES, METRICS, type Metric, type PerfRecord } from "./perf.js";
import { examplePair } from "./perf.test.helper.js";
import { worseBy } from "./ratios.js";

const [, before] = examplePair({ name: "one", seed: 1 });

/** A record that has a multiple of another's samples. */
function times(of: PerfRecord, factors: Partial<Record<Metric, number>>): PerfRecord {
  const scaled = METRIC_NAMES.map((metric) => {
    const samples = of.metrics[metric].samples.map((value) => value * (factors[metric] ?? 1));
    return [metric, distribution(METRICS[metric].unit, samples)];
  });
  return { ...of, metrics: Object.fromEntries(scaled) as PerfRecord["metrics"] };
}

describe("a baseline", () => {
  it("is compared by intervals; worse is slower, later or larger", () => {
    const compared = comparePerf(
      times(before, { decode_tokens_per_second: 0.8, load_ms: 1.3, first_token_ms: 0.5 }),
      before,
      "before.json",
    );
    const worse = Object.fromEntries(compared.map((one) => [one.metric, worseBy(one)] as const));
    const near = (least: number, most: number): unknown => [expect.closeTo(least, -1), expect.closeTo(most, -1)];
    expect(worse.decode_tokens_per_second).toEqual(near(18, 22));
    expect(worse.load_ms).toEqual(near(27, 33));
    expect(worse.first_token_ms).toEqual(near(-51, -49));
    for (const [least, most] of Object.values(worse)) expect(least).toBeLessThan(most);
    expect(() => requireNoRegression(compared, 50, "before.json")).not.toThrow();
    expect(() => requireNoRegression(compared, 3, "before.json")).toThrow(
      expect.objectContaining({
        code: "regression",
        message: expect.stringMatching(
          /^worse than before\.json by more than 3 %: decode_tokens_per_second [\d.]+ → [\d.]+, 1[\d.]+ to 2[\d.]+ % worse; load_ms [^;]+; nothing was stored$/,
        ),
      }),
    );
    const better = comparePerf(times(before, { decode_tokens_per_second: 9, peak_rss_bytes: 0.1 }), before, "before.json");
    expect(() => requireNoRegression(better, 0, "before.json")).not.toThrow();
  });

  it("needs samples enough for a test", () => {
    expect(() => requireSamples(10, before, "before.json")).not.toThrow();
    const few = { ...before, settings: { ...before.settings, iterations: 9 } };
    expect(() => requireSamples(2, few, "before.json")).toThrow(
      expect.objectContaining({
        code: "usage",
        message: "--baseline needs at least 10 samples on both sides: before.json has 9 samples, --iterations is 2",
      }),
    );
  });

  it("of another model, machine or setting is refused", () => {
    const [safetensors, record] = examplePair({ name: "one", seed: 1 });
    const { provenance, settings } = record;
    const others: [PerfRecord, RegExp][] = [
      [safetensors, /model hash \w+ there, \w+ here; format gguf there, safetensors here/],
      [
        { ...record, provenance: { ...provenance, platform: { ...provenance.platform, cpu: "Other" } } },
        /processor Some CPU there, Other here/,
      ],
      [{ ...record, provenance: { ...provenance, threads: 1 } }, /threads 2 there, 1 here/],
      [{ ...record, provenance: { ...provenance, kernel_tier: "wide" } }, /kernel tier/],
      [{ ...record, settings: { ...settings, kv: "q8" } }, /KV cache/],
    ];
    for (const [other, said] of others) {
      expect(() => comparePerf(other, record, "before.json")).toThrow(
        expect.objectContaining({ code: "usage", message: expect.stringMatching(said) }),
      );
    }
  });

  it("has a limit of memory beside it, which no sample may pass", () => {
    const record = EXAMPLES["perf-record"] as unknown as PerfRecord; // 10 bytes at most
    expect(() => requireMemory(record, 10)).not.toThrow();
    expect(() => requireMemory(record, 9)).toThrow(
      expect.objectContaining({ code: "memory", message: expect.stringContaining("--max-rss") }),
    );
  });
});

/** How often, of so many experiments of 20 samples a side, the gate closes on a decode that has so much of its speed. */
function closes(speed: number, noise: number, tolerance: number, experiments = 100): number {
  let closed = 0;
  for (let seed = 0; seed < experiments; seed++) {
    const all = normals(seed, 40).map((value) => 1000 * Math.exp(noise * value));
    const [now, then] = [all.slice(0, 20).map((value) => value * speed), all.slice(20)];
    const decode = { metric: "decode_tokens_per_second", a: median(now), b: median(then), ratio: unpairedRatio(now, then) } as const;
    try {
      requireNoRegression([decode], tolerance, "");
    } catch {
      closed++;
    }
  }
  return closed / experiments;
}

describe("simulated, with 20 samples a side and a tolerance of 3 %", () => {
  it("a decode that is a tenth slower is seen, and noise is not", () => {
    for (const [noise, power] of [
      [0.02, 1],
      [0.03, 1],
      [0.05, 0.95],
    ] as const) {
      expect(closes(0.9, noise, 3), `a tenth slower, ${noise}`).toBeGreaterThanOrEqual(power);
      expect(closes(1, noise, 3), `as fast, ${noise}`).toBeLessThanOrEqual(0.01);
    }
    expect(closes(1, 0.12, 3)).toBeLessThanOrEqual(0.03);
  });

  it("what is slower by no more than the tolerance closes it in at most 2.5 % of runs", () => {
    // Two standard errors of 100 experiments above it.
    expect(closes(0.97, 0.05, 3)).toBeLessThanOrEqual(0.056);
  });
});
