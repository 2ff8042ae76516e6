/** Something in a source that must not go out. */
export interface Fault {
  readonly path: string;
  /** From 1. */
  readonly line: number;
  readonly what: string;
}

/** What a rule looks for, and in which files, by their path from the root. */
interface Rule {
  readonly what: string;
  readonly pattern: RegExp;
  readonly applies: (path: string) => boolean;
}

const isTest = (path: string): boolean => path.includes(".test.");
const isShipped = (path: string): boolean => /^(?:engine|kernels|validation|cli)\//.test(path) && !isTest(path);
const always = (): boolean => true;

// Each pattern has a class of one letter in it, so that this file does not match itself.

/** Things that pretend to compute. Comments count, too: what is named so is meant so. */
const PRETENDED: Rule = {
  what: "pretends to be something",
  pattern: /\w*(?:mo[c]k|fa[k]e|st[u]b|simul[a]t|dumm[y])\w*/i,
  applies: isShipped,
};

/** What is left over from looking for a fault. */
const LEFT_OVER: readonly Rule[] = [
  { what: "a breakpoint", pattern: /^\s*debugge[r]\b/, applies: always },
  { what: "prints", pattern: /\bconsol[e]\s*\.\s*\w+\s*\(/, applies: (path) => isShipped(path) && !path.startsWith("cli/") },
  { what: "runs only some of the tests", pattern: /\b(?:describe|it|test|suite)\.onl[y]\b/, applies: isTest },
  { what: "a to-do note", pattern: /\b(?:TOD[O]|FIXM[E]|XX[X]|HAC[K])\b/, applies: always },
];

/** Pretended implementations in a source or in a bundle. */
export function pretended(path: string, text: string): Fault[] {
  return faults(path, text, [PRETENDED]);
}

/** The same in a bundle, whose names are those of the sources; where it comes from does not matter. */
export function pretendedInBundle(path: string, text: string): Fault[] {
  return faults(path, text, [{ ...PRETENDED, applies: always }]);
}

/** Traces of debugging in a source. */
export function leftOver(path: string, text: string): Fault[] {
  return faults(path, text, LEFT_OVER);
}

function faults(path: string, text: string, rules: readonly Rule[]): Fault[] {
  const active = rules.filter(({ applies }) => applies(path));
  if (active.length === 0) return [];
  return text.split("\n").flatMap((line, i) =>
    active.flatMap(({ what, pattern }) => {
      const found = line.match(pattern);
      return found ? [{ path, line: i + 1, what: `${what}: ${found[0].trim().slice(0, 60)}` }] : [];
    }),
  );
}

/** In one line: the first few, and how many there are. */
export function faultText(found: readonly Fault[]): string {
  const shown = found.slice(0, 5).map(({ path, line, what }) => `${path}:${line} ${what}`);
  return `${shown.join("; ")}${found.length > shown.length ? `; and ${found.length - shown.length} more` : ""}`;
}
