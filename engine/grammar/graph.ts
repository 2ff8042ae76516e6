import type { Expression } from "./expression.js";

/** States and edges that an expression becomes (Thompson 1968). */
export interface Graph {
  state(): number;
  /** An edge that takes no text. */
  link(from: number, to: number): void;
  /** Whatever is no sequence, choice, chain or list. */
  leaf(expression: Expression, from: number, to: number): void;
  /** Whether the expression is taken as one leaf. */
  isLeaf(expression: Expression): boolean;
}

/** Adds edges for the expression's texts, from one state to another. */
export function connect(graph: Graph, expression: Expression, from: number, to: number): void {
  if (graph.isLeaf(expression)) {
    graph.leaf(expression, from, to);
    return;
  }
  switch (expression.kind) {
    case "sequence":
      connectAll(graph, expression.parts, from, to);
      return;
    case "choice":
      for (const option of together(graph, expression.options, (options) => ({ kind: "choice", options })))
        connect(graph, option, from, to);
      return;
    case "chain": {
      const { parts, least, loop } = expression;
      let at = graph.state();
      graph.link(from, at);
      parts.forEach((part, index) => {
        if (index >= least) graph.link(at, to);
        const next = graph.state();
        connect(graph, part, at, next);
        at = next;
      });
      if (loop !== undefined) {
        const again = graph.state();
        graph.link(at, again);
        connect(graph, loop, again, again);
        graph.link(again, to);
      }
      graph.link(at, to);
      return;
    }
    case "list":
      connectList(graph, expression, from, to);
      return;
    default:
      graph.leaf(expression, from, to);
  }
}

/** Parts one after another. */
function connectAll(graph: Graph, parts: readonly Expression[], from: number, to: number): void {
  const joined = together(graph, parts, (parts) => ({ kind: "sequence", parts }));
  let at = from;
  joined.forEach((part, index) => {
    const next = index === joined.length - 1 ? to : graph.state();
    connect(graph, part, at, next);
    at = next;
  });
  if (joined.length === 0) graph.link(from, to);
}

/** Two rows of states: before the first item, where none needs a separator, and after it. */
function connectList(graph: Graph, list: Extract<Expression, { kind: "list" }>, from: number, to: number): void {
  const { items, more, most, separator } = list;
  let before = graph.state();
  let after = graph.state();
  graph.link(from, before);
  const add = (body: Expression, isOptional: boolean): void => {
    const next = graph.state();
    connectAll(graph, partsOf(body), before, next);
    connectAll(graph, [separator, ...partsOf(body)], after, next);
    if (isOptional) {
      const skipped = graph.state();
      graph.link(before, skipped);
      graph.link(after, next);
      before = skipped;
    } else {
      before = graph.state(); // nothing leads here
    }
    after = next;
  };
  for (const { body, optional } of items) add(body, optional);
  if (more !== undefined && most !== Infinity) for (let i = 0; i < most; i++) add(more, true);
  if (more !== undefined && most === Infinity) {
    const again = graph.state();
    connectAll(graph, partsOf(more), before, again);
    graph.link(after, again);
    connectAll(graph, [separator, ...partsOf(more)], again, again);
    graph.link(again, to);
  }
  graph.link(before, to);
  graph.link(after, to);
}

const partsOf = (expression: Expression): readonly Expression[] => (expression.kind === "sequence" ? expression.parts : [expression]);

/** Neighbours that are leaves as one: its text is then followed by one automaton. */
function together(graph: Graph, parts: readonly Expression[], join: (leaves: readonly Expression[]) => Expression): readonly Expression[] {
  const joined: Expression[] = [];
  let leaves: Expression[] = [];
  const flush = (): void => {
    if (leaves.length > 0) joined.push(leaves.length === 1 ? leaves[0]! : join(leaves));
    leaves = [];
  };
  for (const part of parts) {
    if (graph.isLeaf(part)) {
      leaves.push(part);
    } else {
      flush();
      joined.push(part);
    }
  }
  flush();
  return joined;
}
