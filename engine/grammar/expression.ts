/** Ascending, disjoint ranges of code points, both ends included. */
export type Ranges = readonly (readonly [first: number, last: number])[];

/**
 * A language over bytes. What refers to no rule is regular.
 *
 * - `characters`: one character of the set, as UTF-8
 * - `text`: these characters
 * - `chain`: the parts in their order, after the first `least` of them as few as wanted; after all of them any number of `loop`
 * - `list`: those items in their order, optional ones or not, then at most `most` of `more`, with the separator between any two
 * - `rule`: what the rule of that number stands for
 * - `anchored`: the body, in which `begin` holds before the first character only, and `end` after the last
 * - `both`: what is in both regular languages
 * - `without`: what is in the first regular language and not in the second
 * - `counted`: a JSON string of `least` to `most` characters, by its automaton; it stands alone
 * - `automaton`: a regular language, ready made
 */
export type Expression =
  | { readonly kind: "characters"; readonly ranges: Ranges }
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "sequence"; readonly parts: readonly Expression[] }
  | { readonly kind: "choice"; readonly options: readonly Expression[] }
  | { readonly kind: "chain"; readonly parts: readonly Expression[]; readonly least: number; readonly loop?: Expression | undefined }
  | ({ readonly kind: "list" } & List)
  | { readonly kind: "rule"; readonly rule: number }
  | { readonly kind: "anchored"; readonly body: Expression }
  | { readonly kind: "begin" | "end" }
  | { readonly kind: "both" | "without"; readonly left: Expression; readonly right: Expression }
  | { readonly kind: "counted"; readonly string: Expression; readonly least: number; readonly most: number }
  | { readonly kind: "automaton"; readonly automaton: Automaton };

/** Items with a separator between them. */
interface List {
  readonly items: readonly { readonly body: Expression; readonly optional: boolean }[];
  readonly more?: Expression | undefined;
  /** Infinity: any number. */
  readonly most: number;
  readonly separator: Expression;
}

/** A deterministic automaton over bytes. Each state leads to an accepting one; without a state it accepts nothing. State 0 is the first. */
export interface Automaton {
  readonly states: number;
  /** [256] class of each byte */
  readonly classes: Uint8Array;
  readonly classCount: number;
  /** [states, classCount] the next state, −1: none */
  readonly next: Int32Array;
  /** [states] 1: the text may end here */
  readonly accepting: Uint8Array;
  /**
   * Characters are counted: those that begin in the state `between`, but for the closing quote, which leads to `closed` when there are enough. A
   * state then is its number plus `states` for each character so far.
   */
  readonly counted?: { readonly least: number; readonly most: number; readonly between: number; readonly closed: number };
}

/** The state behind a byte, −1: none. */
export function stepIn({ states, classes, classCount, next, counted }: Automaton, at: number, byte: number): number {
  if (counted === undefined) return next[at * classCount + classes[byte]!]!;
  const state = at % states;
  const count = (at - state) / states;
  const to = next[state * classCount + classes[byte]!]!;
  if (to < 0 || state !== counted.between) return to < 0 ? -1 : to + count * states;
  if (to === counted.closed) return count >= counted.least ? to : -1;
  return count < counted.most ? to + (count + 1) * states : -1;
}

/** Whether a text can end in a state, and whether it can go on. */
export const canEndIn = ({ states, accepting }: Automaton, at: number): boolean => accepting[at % states] === 1;

export function canGoOnIn({ states, classCount, next }: Automaton, at: number): boolean {
  const first = (at % states) * classCount;
  for (let i = first; i < first + classCount; i++) if (next[i]! >= 0) return true;
  return false;
}

/** The last code point. */
export const LAST_CHARACTER = 0x10ffff;

export const nothing: Expression = { kind: "sequence", parts: [] };
/** No text at all, not even the empty one. */
export const never: Expression = { kind: "choice", options: [] };

export const text = (text: string): Expression => ({ kind: "text", text });
export const characters = (ranges: Ranges): Expression => ({ kind: "characters", ranges });
export const sequence = (...parts: readonly Expression[]): Expression => ({ kind: "sequence", parts });
export const choice = (...options: readonly Expression[]): Expression => ({ kind: "choice", options });
export const rule = (rule: number): Expression => ({ kind: "rule", rule });
export const both = (left: Expression, right: Expression): Expression => ({ kind: "both", left, right });
export const without = (left: Expression, right: Expression): Expression => ({ kind: "without", left, right });
export const optional = (body: Expression): Expression => repeat(body, 0, 1);

/** The body `least` to `most` times; Infinity: any number of times. */
export function repeat(body: Expression, least: number, most: number): Expression {
  const isEndless = most === Infinity;
  const parts = new Array<Expression>(isEndless ? least : most).fill(body);
  return { kind: "chain", parts, least, loop: isEndless ? body : undefined };
}

/** Any ranges in their order, without overlaps. */
export function normalRanges(ranges: Ranges): Ranges {
  const sorted = ranges.toSorted((a, b) => a[0] - b[0]);
  const joined: [number, number][] = [];
  for (const [first, last] of sorted) {
    const before = joined.at(-1);
    if (before !== undefined && first <= before[1] + 1) before[1] = Math.max(before[1], last);
    else joined.push([first, last]);
  }
  return joined;
}

/** All characters but these. @param ranges normal ones */
export function otherThan(ranges: Ranges): Ranges {
  const others: [number, number][] = [];
  let next = 0;
  for (const [first, last] of ranges) {
    if (first > next) others.push([next, first - 1]);
    next = last + 1;
  }
  if (next <= LAST_CHARACTER) others.push([next, LAST_CHARACTER]);
  return others;
}

/** What is in both. @param a normal ones @param b normal ones */
export function inBoth(a: Ranges, b: Ranges): Ranges {
  const common: [number, number][] = [];
  for (const [first, last] of a) {
    for (const [start, end] of b) {
      if (start <= last && end >= first) common.push([Math.max(first, start), Math.min(last, end)]);
    }
  }
  return common;
}
