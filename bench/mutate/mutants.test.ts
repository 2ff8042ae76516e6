import { describe, expect, it } from "vitest";
import { type Candidate, choose, mutantsOf, mutate } from "./mutants.js";
import { type Result, reportOf, tableOf } from "./report.js";

const changes = (text: string): string[] => mutantsOf("a.ts", text).map(({ kind, after }) => `${kind}: ${after}`);

describe("changes of a text", () => {
  it.each<readonly [text: string, ...changes: string[]]>([
    ["x = a + b;", "removed: ;", "operator: x = a - b;"],
    ["const y = a < b;", "bound: const y = a <= b;"],
    ["const y = a === b && c;", "condition: const y = a !== b && c;", "condition: const y = a === b || c;"],
    ["if (a) f();", "condition: if (!(a)) f();", "removed: if (a) ;"],
    [
      "const y = !a ? 0.5 : 7;",
      "condition: const y = !(!a) ? 0.5 : 7;",
      "condition: const y = a ? 0.5 : 7;",
      "constant: const y = !a ? (0.5 * 1.01) : 7;",
      "constant: const y = !a ? 0.5 : (7 + 1);",
    ],
    ["const y = Math.floor(a);", "rounding: const y = Math.ceil(a);"],
    ["const y = f(a);", "rounding: const y = (a);"],
    ["const y = Math.max(a, b);", "extremum: const y = Math.min(a, b);"],
    ["const y = g(a, b);", "arguments: const y = g(b, a);"],
    ["const y = a[i];", "index: const y = a[i + 1];"],
    ['const y = "relu2";', 'activation: const y = "silu";'],
    ["const y = a ?? b;", "condition: const y = a;"],
    [
      "const y = f32x4.add(f32x4.add(a, b), c);",
      "order of a sum: const y = f32x4.add(a, f32x4.add(b, c));",
      "operator: const y = f32x4.sub(f32x4.add(a, b), c);",
      "operator: const y = f32x4.add(f32x4.sub(a, b), c);",
    ],
    [
      "for (let i = 0; i < n; i++) g();",
      "constant: for (let i = 1; i < n; i++) g();",
      "bound: for (let i = 0; i <= n; i++) g();",
      "removed: for (let i = 0; i < n; i++) ;",
    ],
  ])("%s", (text, ...expected) => {
    expect(changes(text).sort()).toEqual(expected.sort());
  });

  it.each([
    "throw new RangeError(String(n + 1));",
    'const y = fail("at " + (n + 1));',
    'import { a } from "relu2";',
    "let x: 1 | 2;",
    "@inline function f(): void {}",
    'const y = "a" + b;',
    "const y = a.toString();",
  ])("none of %s", (text) => {
    expect(changes(text)).toEqual([]);
  });

  it("each is one change, at its place", () => {
    const text = "let s = 0;\nfor (let i = 0; i < n; i += 2) s += a[i] * b[i];\n";
    const all = mutantsOf("a.ts", text);
    expect(all.length).toBeGreaterThan(6);
    expect(new Set(all.map((mutant) => mutate(text, mutant))).size).toBe(all.length);
    for (const mutant of all) expect(mutate(text, mutant)).toContain(mutant.after);
  });
});

describe("the choice", () => {
  const candidates = (text: string): Candidate[] => mutantsOf("a.ts", text).map((mutant) => ({ room: "a", file: "engine/a/a.ts", mutant }));
  const text = Array.from({ length: 40 }, (_, i) => `const a${i} = b + ${i + 2} < c(d, e);`).join("\n");
  const names = (seed: number, more = ""): string[] =>
    choose(candidates(text + more), seed)
      .get("a")!
      .map(({ mutant }) => mutant.after);

  it("hangs on the seed alone, and has everything", () => {
    expect(names(1)).toEqual(names(1));
    expect(names(1)).not.toEqual(names(2));
    expect(names(1).toSorted()).toEqual(names(2).toSorted());
  });

  it("takes the kinds in turn", () => {
    const kinds = choose(candidates(text), 1)
      .get("a")!
      .map(({ mutant }) => mutant.kind);
    for (let i = 0; i < 160; i += 4) expect(new Set(kinds.slice(i, i + 4)).size).toBe(4);
  });

  it("of other lines stays when one is added", () => {
    const ofKind = (all: readonly string[], operator: string): string[] => all.filter((after) => after.includes(operator));
    const more = names(1, "\nconst more = x + y;").filter((after) => !after.includes("more"));
    for (const operator of [" - ", "<=", "c(e, d)"]) expect(ofKind(more, operator)).toEqual(ofKind(names(1), operator));
  });
});

it("the score is what was noticed of what could be, by room", () => {
  const result = (room: string, outcome: Result["outcome"]): Result => ({
    ...{ room, file: `engine/${room}/a.ts`, line: 3, kind: "bound", before: "a < b", after: "a <= b", outcome, ran: 2, left: 1 },
  });
  const results = [result("text", "killed"), result("text", "hung"), result("text", "equivalent"), result("model", "survived")];
  const report = reportOf(results, { seed: 1, candidates: 9, tests: 4 });
  expect(report).toMatchObject({ survived: 1, score: 2 / 3 });
  expect(report.rooms).toEqual([
    { name: "model", tried: 1, killed: 0, equivalent: 0, survived: 1 },
    { name: "text", tried: 3, killed: 2, equivalent: 1, survived: 0 },
  ]);
  const table = tableOf(report);
  expect(table).toContain("survived engine/model/a.ts:3 (bound; 2 of 3 test files)\n  - a < b\n  + a <= b\n");
  expect(table).toContain("4 of 9 changes tried, seed 1: 66.7 % noticed (1 because the tests hung)");
});
