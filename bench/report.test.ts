import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { ticksFromZero } from "../validation/performance/svg.js";
import { type GrowthReport, growthPicture, growthTable } from "./growth-report.js";
import { type PeersReport, peersPicture } from "./peers-report.js";
import { fillPage, PAGE, pictures, readResult } from "./report.js";

const point = (at: number, median: number) => ({ at, rate: { median, min: median * 0.9, max: median * 1.2 } });
const growth: GrowthReport = {
  machine: { date: "2026-01-02", node: "v20.0.0", platform: "linux x64", cpu: "CPU <2>", cores: 2 },
  ...{ tier: "relaxed", threads: 2, flags: ["--kv", "q8"] },
  series: [
    { shape: "125m", parameters: 183e6, decode: [point(0, 180), point(4000, 120.4)], prefill: [point(256, 900), point(4000, 700)] },
    { shape: "2b4t", parameters: 2.41e9, decode: [point(0, 19), point(4000, 11)], prefill: [point(256, 60.26), point(4000, 45)] },
  ],
};

it("the page on performance and its pictures show the recorded results", () => {
  const page = readFileSync(PAGE, "utf8");
  expect(fillPage(page, readResult)).toBe(page);
  const drawn = pictures(readResult);
  expect([...drawn.keys()]).toEqual(["docs/growth.svg", "docs/peers.svg"]);
  for (const [path, picture] of drawn) expect(readFileSync(path, "utf8"), path).toBe(picture);
});

it("fills a page between its marks, again and again", () => {
  const page = "# a\n\n<!-- result growth -->\nold\n<!-- end -->\n\nb\n\n<!-- result peers -->\n<!-- end -->\n";
  const read = (name: string): unknown => (name === "growth" ? growth : undefined);
  const filled = fillPage(page, read);
  const image = "![Tokens per second over the length of the context, for models of several sizes](growth.svg)";
  expect(filled).toBe(
    `# a\n\n<!-- result growth -->\n\n${image}\n\n${growthTable(growth)}\n\n<!-- end -->\n\nb\n\n<!-- result peers -->\n<!-- end -->\n`,
  );
  expect(fillPage(filled, read)).toBe(filled);
  expect(() => fillPage("<!-- result other -->\n<!-- end -->", () => growth)).toThrow(/other is not a known result/);
});

it("shows growth as tables", () => {
  expect(growthTable(growth).split("\n")).toEqual([
    "CPU <2>, 2 cores, Node v20.0.0, 2026-01-02; relaxed kernels, 2 threads, --kv q8. Tokens per second; columns are tokens in the cache (decode) or in the prompt (prefill).",
    "",
    "| decode | 0 | 4000 |",
    "|---|---:|---:|",
    "| 125m | 180 | 120 |",
    "| 2b4t | 19.0 | 11.0 |",
    "",
    "| prefill | 256 | 4000 |",
    "|---|---:|---:|",
    "| 125m | 900 | 700 |",
    "| 2b4t | 60.3 | 45.0 |",
  ]);
});

/** Numbers on an axis: what stands in texts of one number. */
const numbersIn = (svg: string): number[] =>
  [...svg.matchAll(/<text class="soft"[^>]*>([\d.]+)<\/text>/g)].map(([, number]) => Number(number));

it("draws growth: higher is faster, axes from zero with their names, nothing of the text is markup", () => {
  const svg = growthPicture({ ...growth, machine: { ...growth.machine, cpu: "CPU <2>" } });
  expect(svg).toContain("CPU &lt;2>");
  expect(svg).not.toContain("NaN");
  expect(svg.match(/decode, tokens per second/g)).toHaveLength(2);
  expect(svg.match(/tokens in the prompt/g)).toHaveLength(2);
  const lines = [...svg.matchAll(/<polyline points="([^"]+)"/g)].map(([, points]) =>
    points!.split(" ").map((p) => p.split(",").map(Number) as [number, number]),
  );
  expect(lines).toHaveLength(4);
  // decode of 125m: 180 and 120.4, on an axis from 0 (bottom at 226) to 300 (top at 56)
  expect(lines[0]!.map(([, y]) => y)).toEqual([180, 120.4].map((value) => Number((56 + 170 * (1 - value / 300)).toFixed(1))));
  expect(numbersIn(svg).filter((number) => number === 0)).toHaveLength(8); // each of four panels: both axes
});

it("draws bars whose lengths are the medians, from zero", () => {
  const report: PeersReport = {
    machine: growth.machine,
    ...{ shape: "other", threads: 2, rounds: 1, settings: {}, read: [25] },
    peer: { engine: "peer <1>", rates: { pp512: [50], tg64: [10] }, idleShare: 0 },
    ours: [{ engine: "ours", rates: { pp512: [100], tg64: [30] }, idleShare: 0 }],
  };
  const svg = peersPicture(report);
  expect(svg).toContain("peer &lt;1>");
  const widths = [...svg.matchAll(/<rect [^>]*width="([\d.]+)"/g)].map(([, width]) => Number(width));
  expect(widths[1]! / widths[0]!).toBeCloseTo(3);
  expect(widths[3]! / widths[2]!).toBeCloseTo(2);
  expect(numbersIn(svg).filter((number) => number === 0)).toHaveLength(2);
  expect(svg.match(/tokens per second \(more is better\)/g)).toHaveLength(2);
});

it("places ticks from zero to what is shown", () => {
  expect(ticksFromZero(180)).toEqual([0, 50, 100, 150, 200]);
  expect(ticksFromZero(100)).toEqual([0, 25, 50, 75, 100]);
  expect(ticksFromZero(33)).toEqual([0, 10, 20, 30, 40]);
  expect(ticksFromZero(0.3)).toEqual([0, 0.1, 0.2, 0.3]);
  expect(ticksFromZero(0).at(0)).toBe(0);
});
