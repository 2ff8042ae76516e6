import { BitnetError } from "../errors.js";
import { buildAutomaton } from "./automaton.js";
import { type Automaton, canEndIn, canGoOnIn, type Expression } from "./expression.js";
import { connect, type Graph } from "./graph.js";
import { Budget, grammarLimits } from "./limits.js";

/** A rule as it was read. */
export interface Rule {
  /** For messages: "rule list", "the schema at #/items". */
  readonly name: string;
  readonly expression: Expression;
}

/** Ways out of a state. */
export interface State {
  readonly links: number[];
  /** Regular stretches: the automaton, and the state behind it. */
  readonly stretches: (readonly [automaton: number, next: number])[];
  /** Rules, and the state behind each. */
  readonly calls: (readonly [rule: number, next: number])[];
  /** Nothing more of the rule follows but its end. */
  isEnd: boolean;
  /** Nothing follows but the end: a call that comes back here need not. */
  returns: boolean;
  /** How much deeper an answer must at least be nested from here. */
  need: number;
}

/**
 * A compiled grammar: a pushdown automaton. Stretches without references are deterministic automata over bytes; what lies between them are states
 * and calls of rules, whose ways back are a stack. From each state an end can be reached: the others are gone.
 */
export interface Grammar {
  readonly automata: readonly Automaton[];
  readonly states: readonly State[];
  /** The first state. */
  readonly start: number;
  /** First state of each rule that is called. */
  readonly starts: readonly number[];
}

/**
 * Compiles rules, the first of which is the whole. A rule that refers to no other is a stretch of its own, so that what is much used should be one.
 * @throws BitnetError usage: no text fits, a rule begins with itself, or a limit is exceeded
 */
export function compileRules(rules: readonly Rule[]): Grammar {
  const structure = new Structure(rules);
  const root = structure.whole();
  const { states, starts, automata } = structure;
  settle(states, starts, (index) => {
    const need = needOf(states[index]!, states, starts);
    const isLess = need < states[index]!.need;
    if (isLess) states[index]!.need = need;
    return isLess;
  });
  const { need } = states[root]!;
  if (need === Infinity)
    throw new BitnetError("usage", `no text can fit ${rules[0]!.name}: its conditions exclude each other, or it contains itself`);
  if (need > grammarLimits.depth) {
    throw new BitnetError(
      "usage",
      `every text that fits ${rules[0]!.name} is nested ${need} levels deep, but the limit is ${grammarLimits.depth}`,
    );
  }
  for (const state of states) {
    const lives = ([, next]: readonly [number, number]): boolean => states[next]!.need < Infinity;
    state.links.splice(0, Infinity, ...state.links.filter((next) => states[next]!.need < Infinity));
    state.stretches.splice(0, Infinity, ...state.stretches.filter(lives));
    state.calls.splice(0, Infinity, ...state.calls.filter((call) => lives(call) && states[starts[call[0]]!]!.need < Infinity));
  }
  settle(states, starts, (index) => {
    const { isEnd, returns, links, stretches, calls } = states[index]!;
    const isOnlyEnd =
      stretches.length + calls.length === 0 && links.length === (isEnd ? 0 : 1) && links.every((next) => states[next]!.returns);
    states[index]!.returns = isOnlyEnd;
    return isOnlyEnd && !returns;
  });
  refuseLeftRecursion(rules, states, starts);
  return { automata, states, starts, start: root };
}

/** Looks at each state, and again at those that lead to one that changed, until nothing does: a fixed point. */
function settle(states: readonly State[], starts: readonly number[], changes: (index: number) => boolean): void {
  const sources: number[][] = states.map(() => []);
  states.forEach(({ links, stretches, calls }, index) => {
    for (const next of links) sources[next]!.push(index);
    for (const [, next] of stretches) sources[next]!.push(index);
    for (const [rule, next] of calls) {
      sources[next]!.push(index);
      sources[starts[rule]!]!.push(index);
    }
  });
  const waiting = new Set(states.keys());
  for (const index of waiting) {
    waiting.delete(index);
    if (changes(index)) for (const source of sources[index]!) waiting.add(source);
  }
}

/** What is the least depth that ends from here: of the ways out the best one's, of a call the rule's or what follows. */
function needOf({ isEnd, links, stretches, calls }: State, states: readonly State[], starts: readonly number[]): number {
  let need = isEnd ? 0 : Infinity;
  for (const next of links) need = Math.min(need, states[next]!.need);
  for (const [, next] of stretches) need = Math.min(need, states[next]!.need);
  for (const [rule, next] of calls) need = Math.min(need, Math.max(states[starts[rule]!]!.need + 1, states[next]!.need));
  return need;
}

/** The states of all rules. */
class Structure implements Graph {
  readonly automata: Automaton[] = [];
  readonly states: State[] = [];
  readonly starts: number[] = []; // −1: the rule is regular
  readonly #rules: readonly Rule[];
  readonly #budget = new Budget();
  readonly #regular = new Map<Expression, boolean>();
  /** Numbers of the automata of regular rules, and of texts. */
  readonly #ofRule = new Map<number, number>();
  readonly #ofText = new Map<string, number>();

  constructor(rules: readonly Rule[]) {
    this.#rules = rules;
    if (rules.length > grammarLimits.rules) {
      throw new BitnetError("usage", `the grammar has ${rules.length} rules, but the limit is ${grammarLimits.rules}`);
    }
    for (const { expression } of rules) this.starts.push(this.isLeaf(expression) ? -1 : this.state());
    rules.forEach(({ name, expression }, index) => {
      if (this.starts[index]! < 0) return;
      this.#budget.subject = name;
      const end = this.state();
      this.states[end]!.isEnd = true;
      connect(this, expression, this.starts[index]!, end);
    });
  }

  /** The state before the first rule. */
  whole(): number {
    const first = this.state();
    const end = this.state();
    this.states[end]!.isEnd = true;
    this.#refer(0, first, end);
    return first;
  }

  state(): number {
    this.#budget.part();
    return this.states.push({ links: [], stretches: [], calls: [], isEnd: false, returns: false, need: Infinity }) - 1;
  }

  link(from: number, to: number): void {
    if (from !== to) this.states[from]!.links.push(to);
  }

  /** Whether it refers to no rule. */
  isLeaf(expression: Expression): boolean {
    let regular = this.#regular.get(expression);
    if (regular === undefined) {
      regular = childrenOf(expression)?.every((child) => this.isLeaf(child)) ?? false;
      this.#regular.set(expression, regular);
    }
    return regular;
  }

  leaf(expression: Expression, from: number, to: number): void {
    if (expression.kind === "rule") {
      this.#refer(expression.rule, from, to);
      return;
    }
    const text = textOf(expression);
    let automaton = text === undefined ? undefined : this.#ofText.get(text);
    automaton ??= this.#automaton(expression);
    if (text !== undefined) this.#ofText.set(text, automaton);
    this.#stretch(automaton, from, to);
  }

  #refer(rule: number, from: number, to: number): void {
    if (this.starts[rule]! >= 0) {
      this.states[from]!.calls.push([rule, to]);
      return;
    }
    let automaton = this.#ofRule.get(rule);
    if (automaton === undefined) {
      const { name, expression } = this.#rules[rule]!;
      const before = this.#budget.subject;
      this.#budget.subject = name;
      automaton = this.#automaton(expression);
      this.#budget.subject = before;
      this.#ofRule.set(rule, automaton);
    }
    this.#stretch(automaton, from, to);
  }

  #automaton(expression: Expression): number {
    return this.automata.push(buildAutomaton(expression, this.#budget)) - 1;
  }

  /** An empty stretch is a link as well. */
  #stretch(automaton: number, from: number, to: number): void {
    const entered = this.automata[automaton]!;
    if (entered.states === 0) return;
    if (canEndIn(entered, 0)) this.link(from, to);
    if (canGoOnIn(entered, 0)) this.states[from]!.stretches.push([automaton, to]);
  }
}

/** Expressions in an expression; undefined: it refers to a rule. */
function childrenOf(expression: Expression): readonly Expression[] | undefined {
  switch (expression.kind) {
    case "rule":
      return undefined;
    case "sequence":
      return expression.parts;
    case "choice":
      return expression.options;
    case "chain":
      return [...expression.parts, expression.loop ?? []].flat();
    case "list":
      return [...expression.items.map(({ body }) => body), expression.separator, expression.more ?? []].flat();
    case "anchored":
      return [expression.body];
    case "both":
    case "without":
      return [expression.left, expression.right];
    case "counted":
      return [expression.string];
    default:
      return [];
  }
}

/** The one text that an expression stands for, if that is quickly seen. */
function textOf(expression: Expression): string | undefined {
  if (expression.kind === "text") return expression.text;
  if (expression.kind !== "sequence") return undefined;
  const texts = expression.parts.map(textOf);
  return texts.includes(undefined) ? undefined : texts.join("");
}

/** A rule that can begin with itself would be called without end. */
function refuseLeftRecursion(rules: readonly Rule[], states: readonly State[], starts: readonly number[]): void {
  const isEmpty = emptyRules(states, starts);
  const status = new Uint8Array(rules.length); // 1: on the way, 2: done
  const visit = (rule: number, depth: number): void => {
    if (status[rule] === 2) return;
    if (status[rule] === 1 || depth > grammarLimits.depth) {
      const fault = status[rule] === 1 ? "begins with itself" : `begins with more than ${grammarLimits.depth} rules in each other`;
      throw new BitnetError(
        "usage",
        `${rules[rule]!.name} ${fault}, so that reading it would never end: put something before it, or take the reference out`,
      );
    }
    status[rule] = 1;
    for (const called of callsAtStart(starts[rule]!, states, isEmpty)) visit(called, depth + 1);
    status[rule] = 2;
  };
  rules.forEach((_, rule) => {
    if (starts[rule]! >= 0) visit(rule, 0);
  });
}

/** Whether each rule can be the empty text. */
function emptyRules(states: readonly State[], starts: readonly number[]): Uint8Array {
  const empty = new Uint8Array(states.length); // from the state to its rule's end
  settle(states, starts, (index) => {
    const { isEnd, links, calls } = states[index]!;
    if (empty[index] === 1) return false;
    const isEmpty =
      isEnd || links.some((next) => empty[next] === 1) || calls.some(([rule, next]) => empty[starts[rule]!] === 1 && empty[next] === 1);
    if (isEmpty) empty[index] = 1;
    return isEmpty;
  });
  return Uint8Array.from(starts, (start) => (start < 0 ? 0 : empty[start]!));
}

/** Rules that are called before any text is taken. */
function callsAtStart(start: number, states: readonly State[], isEmpty: Uint8Array): Set<number> {
  const called = new Set<number>();
  const seen = new Set<number>([start]);
  for (const state of seen) {
    for (const next of states[state]!.links) seen.add(next);
    for (const [rule, next] of states[state]!.calls) {
      called.add(rule);
      if (isEmpty[rule] === 1) seen.add(next);
    }
  }
  return called;
}
