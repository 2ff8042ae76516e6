import { BitnetError } from "../errors.js";
import { type Automaton, canEndIn, type Expression, normalRanges, stepIn } from "./expression.js";
import { connect, type Graph } from "./graph.js";
import type { Budget } from "./limits.js";
import { utf8Ranges } from "./utf8.js";

const utf8 = new TextEncoder();

/** A nondeterministic automaton over bytes. */
class Parts implements Graph {
  readonly links: number[][] = [];
  /** Of each state: first byte, last byte, next state, and so on. */
  readonly edges: number[][] = [];
  /** Of each state: next states where the text begins, and where it ends. */
  readonly begins = new Map<number, number[]>();
  readonly ends = new Map<number, number[]>();
  readonly #budget: Budget;

  constructor(budget: Budget) {
    this.#budget = budget;
  }

  state(): number {
    this.#budget.part();
    this.links.push([]);
    return this.edges.push([]) - 1;
  }

  link(from: number, to: number): void {
    if (from !== to) this.links[from]!.push(to);
  }

  isLeaf(): boolean {
    return false;
  }

  leaf(expression: Expression, from: number, to: number): void {
    switch (expression.kind) {
      case "characters":
        for (const bytes of utf8Ranges(normalRanges(expression.ranges))) this.#bytes(bytes, from, to);
        return;
      case "text":
        this.#bytes(
          Array.from(utf8.encode(expression.text), (byte) => [byte, byte] as const),
          from,
          to,
        );
        return;
      case "begin":
      case "end": {
        const asserted = expression.kind === "begin" ? this.begins : this.ends;
        asserted.set(from, [...(asserted.get(from) ?? []), to]);
        return;
      }
      case "anchored":
        this.#anchored(expression.body, from, to);
        return;
      case "both":
      case "without": {
        const [left, right] = [expression.left, expression.right].map((side) => buildAutomaton(side, this.#budget));
        this.#embed(product(left!, right!, expression.kind === "without", this.#budget), from, to);
        return;
      }
      case "automaton":
        this.#embed(expression.automaton, from, to);
        return;
      default:
        throw new BitnetError("internal", `a grammar's ${expression.kind} is not regular`);
    }
  }

  #bytes(bytes: readonly (readonly [first: number, last: number])[], from: number, to: number): void {
    let at = from;
    bytes.forEach(([first, last], index) => {
      const next = index === bytes.length - 1 ? to : this.state();
      this.edges[at]!.push(first, last, next);
      at = next;
    });
    if (bytes.length === 0) this.link(from, to);
  }

  /** A copy of the body's states for each of what is known of the place: 1: the text begins here; 2: it must end here. */
  #anchored(body: Expression, from: number, to: number): void {
    const inner = new Parts(this.#budget);
    const [first, last] = [inner.state(), inner.state()];
    connect(inner, body, first, last);
    const copies = new Map<number, number>();
    const waiting: (readonly [state: number, known: number, copy: number])[] = [];
    const copyOf = (state: number, known: number): number => {
      let copy = copies.get(4 * state + known);
      if (copy === undefined) {
        copy = this.state();
        copies.set(4 * state + known, copy);
        waiting.push([state, known, copy]);
      }
      return copy;
    };
    this.link(from, copyOf(first, 1));
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      const [state, known, copy] = next;
      for (const target of inner.links[state]!) this.link(copy, copyOf(target, known));
      if (known & 1) for (const target of inner.begins.get(state) ?? []) this.link(copy, copyOf(target, known));
      for (const target of inner.ends.get(state) ?? []) this.link(copy, copyOf(target, known | 2));
      if (state === last) this.link(copy, to);
      if (known & 2) continue;
      const edges = inner.edges[state]!;
      for (let i = 0; i < edges.length; i += 3) this.edges[copy]!.push(edges[i]!, edges[i + 1]!, copyOf(edges[i + 2]!, 0));
    }
  }

  #embed({ states, classes, classCount, next, accepting }: Automaton, from: number, to: number): void {
    const copies = Array.from({ length: states }, () => this.state());
    if (states > 0) this.link(from, copies[0]!);
    for (let state = 0; state < states; state++) {
      if (accepting[state] === 1) this.link(copies[state]!, to);
      for (let byte = 0; byte < 256; byte++) {
        const first = byte;
        const target = next[state * classCount + classes[byte]!]!;
        while (byte < 255 && next[state * classCount + classes[byte + 1]!] === target) byte++;
        if (target >= 0) this.edges[copies[state]!]!.push(first, byte, copies[target]!);
      }
    }
  }
}

/** The deterministic automaton of a regular expression. @throws BitnetError usage: beyond the budget */
export function buildAutomaton(expression: Expression, budget: Budget): Automaton {
  if (expression.kind === "counted") return counted(expression, budget);
  const parts = new Parts(budget);
  const [first, last] = [parts.state(), parts.state()];
  connect(parts, expression, first, last);
  return determinize(parts, first, last, budget);
}

/** Bytes that no edge tells apart, as classes. */
function classesOf(edges: readonly (readonly number[])[]): { classes: Uint8Array; classCount: number } {
  const starts = new Uint8Array(257);
  for (const list of edges) {
    for (let i = 0; i < list.length; i += 3) {
      starts[list[i]!] = 1;
      starts[list[i + 1]! + 1] = 1;
    }
  }
  const classes = new Uint8Array(256);
  for (let byte = 1; byte < 256; byte++) classes[byte] = classes[byte - 1]! + starts[byte]!;
  return { classes, classCount: classes[255]! + 1 };
}

/** Subset construction (Rabin & Scott 1959), of the states alone that have edges or end the text. */
function determinize({ links, edges }: Parts, first: number, last: number, budget: Budget): Automaton {
  const { classes, classCount } = classesOf(edges);
  const numbers = new Map<string, number>();
  const subsets: Int32Array[] = [];
  const seen = new Int32Array(edges.length).fill(-1); // by the number of the search
  let searches = 0;
  const numberOf = (from: readonly number[]): number => {
    const search = searches++;
    const found: number[] = [];
    const waiting = [...from];
    for (let state = waiting.pop(); state !== undefined; state = waiting.pop()) {
      if (seen[state] === search) continue;
      seen[state] = search;
      if (state === last || edges[state]!.length > 0) found.push(state);
      for (const next of links[state]!) waiting.push(next);
    }
    const subset = Int32Array.from(found).sort();
    const key = subset.join();
    let number = numbers.get(key);
    if (number === undefined) {
      number = subsets.push(subset) - 1;
      numbers.set(key, number);
    }
    budget.work(found.length);
    return number;
  };
  numberOf([first]);
  const next: number[] = [];
  const accepting: number[] = [];
  for (let number = 0; number < subsets.length; number++) {
    budget.state();
    const subset = subsets[number]!;
    accepting.push(subset.includes(last) ? 1 : 0);
    const targets: (number[] | undefined)[] = new Array(classCount).fill(undefined);
    for (const state of subset) {
      const list = edges[state]!;
      for (let i = 0; i < list.length; i += 3) {
        budget.work(1 + classes[list[i + 1]!]! - classes[list[i]!]!);
        for (let c = classes[list[i]!]!; c <= classes[list[i + 1]!]!; c++) {
          const target = targets[c] ?? [];
          target.push(list[i + 2]!);
          targets[c] = target;
        }
      }
    }
    // Neighbouring classes mostly have the same targets.
    let before: readonly number[] | undefined;
    let beforeNumber = -1;
    for (const target of targets) {
      if (target !== undefined && !(before !== undefined && isSame(before, target))) beforeNumber = numberOf(target);
      before = target;
      next.push(target === undefined ? -1 : beforeNumber);
    }
  }
  return trimmed({ states: subsets.length, classes, classCount, next: Int32Array.from(next), accepting: Uint8Array.from(accepting) });
}

const isSame = (a: readonly number[], b: readonly number[]): boolean => a.length === b.length && a.every((value, i) => value === b[i]);

/** Without states that lead to no accepting one. */
function trimmed({ states, classes, classCount, next, accepting }: Automaton): Automaton {
  const sources: number[][] = Array.from({ length: states }, () => []);
  for (let state = 0; state < states; state++) {
    for (const target of new Set(next.subarray(state * classCount, (state + 1) * classCount)))
      if (target >= 0) sources[target]!.push(state);
  }
  const live = accepting.slice();
  const waiting = Array.from(live.keys()).filter((state) => live[state] === 1);
  for (let state = waiting.pop(); state !== undefined; state = waiting.pop()) {
    for (const source of sources[state]!) {
      if (live[source] === 0) {
        live[source] = 1;
        waiting.push(source);
      }
    }
  }
  const kept = live[0] === 1 ? Array.from(live.keys()).filter((state) => live[state] === 1) : [];
  const numbers = new Int32Array(states).fill(-1);
  kept.forEach((state, number) => {
    numbers[state] = number;
  });
  const ours = new Int32Array(kept.length * classCount);
  kept.forEach((state, number) => {
    for (let c = 0; c < classCount; c++) {
      const target = next[state * classCount + c]!;
      ours[number * classCount + c] = target < 0 ? -1 : numbers[target]!;
    }
  });
  return { states: kept.length, classes, classCount, next: ours, accepting: Uint8Array.from(kept, (state) => accepting[state]!) };
}

/** What both accept, or the left one and not the right one. */
function product(left: Automaton, right: Automaton, isWithout: boolean, budget: Budget): Automaton {
  const classes = new Uint8Array(256);
  const classPairs = new Map<number, number>(); // class of the left · 256 + class of the right → class
  for (let byte = 0; byte < 256; byte++) {
    const pair = 256 * left.classes[byte]! + right.classes[byte]!;
    if (!classPairs.has(pair)) classPairs.set(pair, classPairs.size);
    classes[byte] = classPairs.get(pair)!;
  }
  const classCount = classPairs.size;
  const numbers = new Map<number, number>();
  const pairs: (readonly [left: number, right: number])[] = [];
  const numberOf = (a: number, b: number): number => {
    if (a < 0 || (b < 0 && !isWithout)) return -1;
    const key = a * (right.states + 1) + b + 1;
    let number = numbers.get(key);
    if (number === undefined) {
      number = pairs.push([a, b]) - 1;
      numbers.set(key, number);
    }
    return number;
  };
  numberOf(left.states > 0 ? 0 : -1, right.states > 0 ? 0 : -1);
  const next: number[] = [];
  const accepting: number[] = [];
  for (let number = 0; number < pairs.length; number++) {
    budget.state();
    budget.work(classCount);
    const [a, b] = pairs[number]!;
    const isRight = b >= 0 && right.accepting[b] === 1;
    accepting.push(left.accepting[a] === 1 && isRight !== isWithout ? 1 : 0);
    for (const pair of classPairs.keys()) {
      const [leftClass, rightClass] = [pair >> 8, pair & 255];
      next.push(numberOf(left.next[a * left.classCount + leftClass]!, b < 0 ? -1 : right.next[b * right.classCount + rightClass]!));
    }
  }
  return trimmed({ states: pairs.length, classes, classCount, next: Int32Array.from(next), accepting: Uint8Array.from(accepting) });
}

/** A counted string: a state for each of some thousand characters would be as large as many schemas. */
function counted({ string, least, most }: Extract<Expression, { kind: "counted" }>, budget: Budget): Automaton {
  const automaton = buildAutomaton(string, budget);
  const between = stepIn(automaton, 0, QUOTE_BYTE);
  return { ...automaton, counted: { least, most, between, closed: stepIn(automaton, between, QUOTE_BYTE) } };
}

const QUOTE_BYTE = 0x22;

/** Whether an automaton accepts a text. */
export function accepts(automaton: Automaton, text: string): boolean {
  let state = automaton.states > 0 ? 0 : -1;
  for (const byte of utf8.encode(text)) if (state >= 0) state = stepIn(automaton, state, byte);
  return state >= 0 && canEndIn(automaton, state);
}
