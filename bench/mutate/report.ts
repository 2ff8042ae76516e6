import type { Kind } from "./mutants.js";

/** What came of one change. */
export interface Result {
  readonly room: string;
  readonly file: string;
  readonly line: number;
  readonly kind: Kind;
  readonly before: string;
  readonly after: string;
  readonly outcome: "killed" | "hung" | "survived" | "equivalent";
  /** Test files that ran, and those that were too slow to. */
  readonly ran: number;
  readonly left: number;
  readonly by?: string;
  readonly reason?: string;
}

export interface Row {
  readonly name: string;
  readonly tried: number;
  readonly killed: number;
  readonly equivalent: number;
  readonly survived: number;
}

export interface Report {
  readonly seed: number;
  /** Changes that could have been tried. */
  readonly candidates: number;
  /** Test files that may notice them. */
  readonly tests: number;
  readonly survived: number;
  /** Killed of all but the equivalent ones, 0 … 1. */
  readonly score: number;
  readonly rooms: readonly Row[];
  readonly kinds: readonly Row[];
  readonly results: readonly Result[];
}

function rowsBy(results: readonly Result[], key: "room" | "kind"): Row[] {
  return [...new Set(results.map((one) => one[key]))].sort().map((name) => {
    const here = results.filter((one) => one[key] === name);
    const count = (...outcomes: readonly Result["outcome"][]): number => here.filter(({ outcome }) => outcomes.includes(outcome)).length;
    return { name, tried: here.length, killed: count("killed", "hung"), equivalent: count("equivalent"), survived: count("survived") };
  });
}

export function reportOf(results: readonly Result[], more: Pick<Report, "seed" | "candidates" | "tests">): Report {
  const rooms = rowsBy(results, "room");
  const sum = (key: "killed" | "survived"): number => rooms.reduce((total, row) => total + row[key], 0);
  const killed = sum("killed");
  const survived = sum("survived");
  const sorted = results.toSorted((a, b) => (a.file === b.file ? a.line - b.line : a.file < b.file ? -1 : 1));
  const score = killed + survived === 0 ? 1 : killed / (killed + survived);
  return { ...more, survived, score, rooms, kinds: rowsBy(results, "kind"), results: sorted };
}

const percent = (killed: number, survived: number): string =>
  killed + survived === 0 ? "–" : `${((100 * killed) / (killed + survived)).toFixed(0)} %`;

/** For a person: the rooms, the kinds, and each survivor with what was changed. */
export function tableOf({ rooms, kinds, results, score, seed, candidates }: Report): string {
  const lines: string[] = [];
  for (const [title, rows] of [
    ["room", rooms],
    ["kind of change", kinds],
  ] as const) {
    lines.push(`${title.padEnd(16)} tried killed same survived  score`);
    for (const { name, tried, killed, equivalent, survived } of rows) {
      const numbers = [String(tried).padStart(5), String(killed).padStart(6), String(equivalent).padStart(4), String(survived).padStart(8)];
      lines.push(`${name.padEnd(16)} ${numbers.join(" ")} ${percent(killed, survived).padStart(6)}`);
    }
    lines.push("");
  }
  for (const { outcome, file, line, kind, before, after, ran, left } of results) {
    if (outcome === "survived")
      lines.push(`survived ${file}:${line} (${kind}; ${ran} of ${ran + left} test files)`, `  - ${before}`, `  + ${after}`);
  }
  const hung = results.filter(({ outcome }) => outcome === "hung").length;
  const summary = `${results.length} of ${candidates} changes tried, seed ${seed}: ${(100 * score).toFixed(1)} % noticed`;
  lines.push("", `${summary}${hung > 0 ? ` (${hung} because the tests hung)` : ""}`);
  return `${lines.join("\n")}\n`;
}
