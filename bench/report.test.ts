import { existsSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { type GrowthReport, growthPicture, growthTable, ticksOf } from "./growth-report.js";
import { fillPage, PAGE, PICTURE, picture, readResult } from "./report.js";

const point = (at: number, median: number) => ({ at, rate: { median, min: median * 0.9, max: median * 1.2 } });
const growth: GrowthReport = {
  machine: { date: "2026-01-02", node: "v20.0.0", platform: "linux x64", cpu: "CPU <2>", cores: 2, load: 0.5 },
  ...{ tier: "relaxed", threads: 2, flags: ["--kv", "q8"] },
  series: [
    { shape: "125m", parameters: 183e6, decode: [point(0, 180), point(4000, 120.4)], prefill: [point(256, 900), point(4000, 700)] },
    { shape: "2b4t", parameters: 2.41e9, decode: [point(0, 19), point(4000, 11)], prefill: [point(256, 60.26), point(4000, 45)] },
  ],
};

it("the page on performance and its picture show the recorded results", () => {
  const page = readFileSync(PAGE, "utf8");
  expect(fillPage(page, readResult)).toBe(page);
  expect(existsSync(PICTURE) ? readFileSync(PICTURE, "utf8") : undefined).toBe(picture(readResult));
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
  expect(() => fillPage("<!-- result other -->\n<!-- end -->", () => growth)).toThrow(/other is no kind of result/);
});

it("shows growth as tables", () => {
  expect(growthTable(growth).split("\n")).toEqual([
    "CPU <2>, 2 cores, Node v20.0.0, 2026-01-02; relaxed kernels, 2 threads, --kv q8. Tokens per second; columns are tokens in the cache, or of the prompt.",
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

it("draws growth: higher is faster, every point inside its panel, nothing of the text is markup", () => {
  const svg = growthPicture(growth);
  expect(svg).toContain("CPU &lt;2>");
  expect(svg).not.toContain("NaN");
  const lines = [...svg.matchAll(/<polyline points="([^"]+)"/g)].map(([, points]) =>
    points!.split(" ").map((p) => p.split(",").map(Number)),
  );
  expect(lines).toHaveLength(4);
  for (const [[x0, y0], [x1, y1]] of lines as [[number, number], [number, number]][]) {
    expect(x1).toBeGreaterThan(x0);
    expect(y1).toBeGreaterThan(y0); // each of these falls, and y counts downwards
    for (const y of [y0, y1]) {
      expect(y).toBeGreaterThan(48);
      expect(y).toBeLessThan(308);
    }
  }
  // The small model's decode lies above the large one's.
  expect(lines[0]![0]![1]).toBeLessThan(lines[1]![0]![1]!);
});

it("places ticks around what is shown", () => {
  expect(ticksOf(11, 180)).toEqual([10, 20, 50, 100, 200]);
  expect(ticksOf(10, 10)).toEqual([10, 20]);
  expect(ticksOf(0.3, 4)).toEqual([0.2, 0.5, 1, 2, 5]);
});
