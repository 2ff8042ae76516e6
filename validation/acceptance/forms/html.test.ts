import { createHash } from "node:crypto";
import fc from "fast-check";
import { expect, it } from "vitest";
import type { ParityReport } from "../../parity/types.js";
import type { PlatformBanner } from "../../records/banner.js";
import { EXAMPLES } from "../../records/records.test.helper.js";
import type { CheckReport } from "../seal.js";
import { CHECKS, type Element, HOSTILE_RUN, laneOf, legal, parityOf, parseXml, runOf } from "./forms.test.helper.js";
import { html } from "./html.js";
import { rowsOf } from "./rows.js";
import { PALETTES } from "./style.js";

const BANNER = EXAMPLES["platform-banner"] as unknown as PlatformBanner;
const HASH = "0123456789abcdef".repeat(4);
const DETERMINISM: CheckReport = {
  ...{ id: "d.logits", title: "same bits", ship: true, status: "FAIL", reason: "wide gives other logits" },
  runs: [
    { tier: "plain", threads: 1, logits: HASH },
    { tier: "plain", threads: 1, logits: HASH },
    { tier: "wide", threads: 3, logits: "f".repeat(64) },
  ],
};
const run = runOf([...CHECKS, DETERMINISM]);

/** A prompt with figures of its own, for the pictures. */
function prompt(id: string, tau: number | null, delta: number | null, kl: number): ParityReport["lanes"][0]["prompts"][0] {
  const { figures, ...more } = laneOf().prompts[0]!;
  const interval = delta === null ? null : ([delta - 0.001, delta + 0.002] as const);
  const own = { tau_median: tau, tau_p5: 0.9, tau_min: 0.85, delta_nll: delta, delta_nll_interval: interval };
  return {
    ...more,
    id,
    figures: { ...figures, ...own, kl: { ...figures.kl!, mean: kl, max: kl * 10 } },
    verdict: tau === null ? "FAIL" : "PASS",
  };
}

const LANE = { ...laneOf(), prompts: [prompt("one", 0.99, 0.003, 1e-4), prompt("two", 0.92, -0.004, 2e-3), prompt("none", null, null, 0)] };
const page = (of = run, parity: ParityReport | undefined = parityOf([LANE])): string => html(rowsOf(of, parity), of, parity, BANNER);
const text = page();
const root = parseXml(text);

/** What an element holds: those of a name, or all. */
function all({ children }: Element, name?: string): Element[] {
  return children.flatMap((child) => [...(name === undefined || child.name === name ? [child] : []), ...all(child, name)]);
}

/** Everything that is written in an element. */
const words = ({ whole }: Element): string => whole.replace(/\s+/g, " ").trim();

it("is one file without a script, from which no request leaves", () => {
  const names = all(root).map(({ name }) => name);
  for (const name of ["script", "link", "img", "iframe", "object", "embed", "form", "image", "use", "foreignObject"])
    expect(names).not.toContain(name);
  expect(text.match(/\b(?:https?:|data:(?! )|url\(|@import)[^"]*/g)?.filter((found) => found !== "http://www.w3.org/2000/svg")).toEqual([]);
  expect([...text.matchAll(/ (?:src|href|style|on\w+)="([^"]*)"/g)].every(([, to]) => to!.startsWith("#"))).toBe(true);
  const policy = all(root, "meta").find(({ attributes }) => attributes["http-equiv"] === "Content-Security-Policy")!.attributes.content!;
  const style = all(root, "style")[0]!.text;
  expect(policy).toContain(`default-src 'none'; style-src 'sha256-${createHash("sha256").update(style).digest("base64")}'`);
  expect(page()).toBe(text);
});

it("gives the verdict first, then what failed with its places, all checks, parity and determinism", () => {
  const body = all(root, "body")[0]!;
  expect(words(body)).toMatch(/^bitnet validate FAIL: 5 of 8 checks failed /);
  expect(all(root, "h2").map(words)).toEqual(["Failed", "Checks", "Parity", "Determinism", "Evidence"]);
  const [failed, checks, gates, prompts, matrix] = all(root, "tbody").map(({ children }) => children.map(words));
  expect(failed).toHaveLength(5);
  expect(failed![3]).toContain("g.sources sources two places engine/a b.ts:3 pretends cli/x.ts:7 sleeps");
  expect(checks).toHaveLength(8);
  expect(checks![0]).toBe("PASS a.weights weights are sound checks 14 share 0.1235 0.3");
  expect(gates![0]).toBe("oracle hf-packed");
  expect(gates![1]).toBe("τ-b, median of a prompt 0.9400 ≥ 0.9500 -0.01000 0.04000");
  expect(prompts![1]).toContain("two 10 0.9200 0.9000 0.8500 -4.0e-3 -5.0e-3 to -2.0e-3 2.0e-3 0.02000 90.0 %");
  expect(matrix).toEqual(["plain same × 2 01234567 –", "wide – differs ffffffff"]);
  expect(words(body)).toContain(`seal ${run.seal}`); // folded, but there
  const green = runOf(CHECKS.filter(({ status }) => status === "PASS"));
  expect(words(all(parseXml(page(green, undefined)), "header")[0]!)).toContain("PASS: all acceptance tests passed (2 checks)");
});

it("can be read by a screen reader: headers of tables, names of pictures, one id each", () => {
  for (const header of all(root, "th")) expect(header.attributes.scope).toMatch(/^(?:col|row|colgroup)$/);
  const ids = [...text.matchAll(/ id="([^"]*)"/g)].map(([, id]) => id);
  expect(new Set(ids).size).toBe(ids.length);
  const pictures = all(root, "svg");
  expect(pictures).toHaveLength(3);
  for (const { attributes, children } of pictures) {
    expect(attributes["aria-labelledby"]!.split(" ")).toEqual([children[0]!.attributes.id, children[1]!.attributes.id]);
    expect(children.slice(0, 2).map(({ name }) => name)).toEqual(["title", "desc"]);
  }
  expect(words(pictures[0]!.children[1]!)).toMatch(/^one: median 0\.9900, .*; none: median none, .*\. gate of median ≥ 0\.95\.$/);
});

/** Relative luminance and contrast as WCAG 2.2 defines them. */
function contrast(one: string, other: string): number {
  const [a, b] = [one, other].map((colour) => {
    const [r, g, b] = [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16) / 255);
    const [x, y, z] = [r!, g!, b!].map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x! + 0.7152 * y! + 0.0722 * z!;
  });
  return (Math.max(a!, b!) + 0.05) / (Math.min(a!, b!) + 0.05);
}

it("has a contrast of at least 4.5 in every colour of text, light and dark", () => {
  expect(contrast("#000000", "#ffffff")).toBeCloseTo(21);
  for (const { page: back, panel, line: _, ...colours } of Object.values(PALETTES)) {
    for (const colour of Object.values(colours))
      for (const behind of [back, panel]) expect(contrast(colour, behind), colour).toBeGreaterThanOrEqual(4.5);
  }
});

/** What the axis says of a place in a picture, by two of its ticks. */
function axis(picture: Element, log: boolean): (x: number) => number {
  const value = (label: string): number => Number(label.replaceAll("−", "-"));
  const ticks = picture.children
    .filter(({ attributes }) => attributes.class === "tick")
    .map((one) => [Number(one.attributes.x), value(one.text)]);
  const [[x0, v0], [x1, v1]] = ticks.filter(([, v]) => !log || v! > 0).slice(-2) as [[number, number], [number, number]];
  const [from, to] = log ? [Math.log10(v0), Math.log10(v1)] : [v0, v1];
  return (x) => from + ((x - x0) / (x1 - x0)) * (to - from);
}

it("draws each value where its axis says, the gate too, and a failure as a cross", () => {
  const [tau, nll, kl] = all(root, "svg") as [Element, Element, Element];
  const dots = (picture: Element): number[] => all(picture, "circle").map(({ attributes }) => Number(attributes.cx));
  const gates = (picture: Element): number[] =>
    all(picture, "line").flatMap(({ attributes }) => (attributes.class === "gate" ? [Number(attributes.x1)] : []));
  const read = (picture: Element, places: readonly number[], log = false): number[] => places.map(axis(picture, log));
  const near = (found: readonly number[], values: readonly number[], by: number): void => {
    expect(found).toHaveLength(values.length);
    for (const [i, value] of values.entries()) expect(Math.abs(found[i]! - value), `${found[i]} for ${value}`).toBeLessThan(by);
  };
  near(read(tau, dots(tau)), [0.99, 0.92], 1e-4);
  near(read(tau, gates(tau)), [0.95], 1e-4);
  near(read(nll, dots(nll)), [0.003, -0.004], 1e-5);
  near(read(nll, gates(nll)), [-0.01, 0.01], 1e-5);
  near(read(kl, dots(kl), true), [1e-4, 2e-3].map(Math.log10), 0.01);
  near(read(kl, gates(kl), true), [-1], 0.01);
  for (const picture of [tau, nll, kl]) {
    expect(all(picture, "g").map(({ attributes }) => attributes.class)).toEqual([undefined, undefined, "bad"]);
    expect(all(picture, "path").map(({ attributes }) => attributes.class)).toEqual(["cross"]);
  }
});

it("draws any finite figures inside of the picture, without NaN", () => {
  const figure = fc.double({ min: -20, max: 20, noNaN: true });
  const divergence = fc.oneof(fc.constant(0), fc.double({ min: 1e-300, max: 1e3, noNaN: true }));
  fc.assert(
    fc.property(fc.array(fc.tuple(figure, figure, divergence), { minLength: 1, maxLength: 5 }), (values) => {
      const lane = { ...laneOf(), prompts: values.map(([tau, delta, kl], i) => prompt(`p${i}`, tau, delta, kl)) };
      const drawn = parityOf([lane]);
      const found = page(run, drawn);
      expect(found).not.toMatch(/NaN|Infinity|undefined/);
      for (const [, x] of found.matchAll(/ (?:cx|x1|x2)="([^"]*)"/g)) {
        expect(Number(x)).toBeGreaterThanOrEqual(88);
        expect(Number(x)).toBeLessThanOrEqual(336);
      }
    }),
    { numRuns: 40 },
  );
});

it("stays readable with many prompts and tensors: the failed ones are drawn first", () => {
  const many = Array.from({ length: 100 }, (_, i) => prompt(`p${i}`, i === 99 ? null : 0.99, 0, 1e-4));
  const [tau] = all(parseXml(page(run, parityOf([{ ...laneOf(), prompts: many }]))), "svg");
  const drawn = all(tau!, "g");
  expect(drawn).toHaveLength(60);
  expect(drawn[0]!.attributes.class).toBe("bad");
  expect(tau!.children[1]!.text).toContain("40 more prompts are not drawn");
});

it("is well-formed whatever a file says, and says it", () => {
  fc.assert(
    fc.property(HOSTILE_RUN, ({ run: hostile, parity, reason }) => {
      const found = page(hostile, parity);
      expect(found).not.toMatch(/<script|<img|[\u202a-\u202e\u2066-\u2069]/);
      const spaces = (one: string): string => one.replace(/\s+/g, " ").trim();
      const marks = /[\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;
      const shown = legal(reason.replace(marks, (char) => `\\u${char.charCodeAt(0).toString(16)}`));
      const [skipped] = all(parseXml(found), "p").filter(({ attributes }) => attributes.class === "reason soft");
      expect(words(skipped!)).toBe(spaces(`${shown} (not required here)`));
    }),
    { numRuns: 60 },
  );
});
