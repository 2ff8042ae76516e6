import { createHash } from "node:crypto";
import ts from "typescript";

/** What a small change does. */
export type Kind =
  | "operator"
  | "bound"
  | "condition"
  | "constant"
  | "index"
  | "rounding"
  | "extremum"
  | "activation"
  | "order of a sum"
  | "arguments"
  | "removed"
  | "literal";

/** One small change of a text. */
export interface Mutant {
  readonly kind: Kind;
  /** Where, from 0. */
  readonly start: number;
  readonly end: number;
  readonly mutated: string;
  /** The lines it touches, without and with it, white space collapsed: what names it as long as those lines stay as they are. */
  readonly before: string;
  readonly after: string;
}

const OPERATORS: ReadonlyMap<ts.SyntaxKind, readonly [Kind, string]> = new Map([
  [ts.SyntaxKind.PlusToken, ["operator", "-"]],
  [ts.SyntaxKind.MinusToken, ["operator", "+"]],
  [ts.SyntaxKind.AsteriskToken, ["operator", "/"]],
  [ts.SyntaxKind.SlashToken, ["operator", "*"]],
  [ts.SyntaxKind.PercentToken, ["operator", "*"]],
  [ts.SyntaxKind.AmpersandToken, ["operator", "|"]],
  [ts.SyntaxKind.BarToken, ["operator", "&"]],
  [ts.SyntaxKind.CaretToken, ["operator", "&"]],
  [ts.SyntaxKind.LessThanLessThanToken, ["operator", ">>"]],
  [ts.SyntaxKind.GreaterThanGreaterThanToken, ["operator", "<<"]],
  [ts.SyntaxKind.GreaterThanGreaterThanGreaterThanToken, ["operator", ">>"]],
  [ts.SyntaxKind.PlusEqualsToken, ["operator", "-="]],
  [ts.SyntaxKind.MinusEqualsToken, ["operator", "+="]],
  [ts.SyntaxKind.AsteriskEqualsToken, ["operator", "/="]],
  [ts.SyntaxKind.LessThanToken, ["bound", "<="]],
  [ts.SyntaxKind.LessThanEqualsToken, ["bound", "<"]],
  [ts.SyntaxKind.GreaterThanToken, ["bound", ">="]],
  [ts.SyntaxKind.GreaterThanEqualsToken, ["bound", ">"]],
  [ts.SyntaxKind.EqualsEqualsEqualsToken, ["condition", "!=="]],
  [ts.SyntaxKind.ExclamationEqualsEqualsToken, ["condition", "==="]],
  [ts.SyntaxKind.EqualsEqualsToken, ["condition", "!="]],
  [ts.SyntaxKind.ExclamationEqualsToken, ["condition", "=="]],
  [ts.SyntaxKind.AmpersandAmpersandToken, ["condition", "||"]],
  [ts.SyntaxKind.BarBarToken, ["condition", "&&"]],
]);

/** Methods of `Math`, and of AssemblyScript's vectors and numbers. */
const METHODS: ReadonlyMap<string, readonly [Kind, string]> = new Map<string, readonly [Kind, string]>(
  Object.entries({
    floor: ["rounding", "ceil"],
    ceil: ["rounding", "floor"],
    round: ["rounding", "floor"],
    trunc: ["rounding", "ceil"],
    nearest: ["rounding", "floor"],
    min: ["extremum", "max"],
    max: ["extremum", "min"],
    pmin: ["extremum", "pmax"],
    pmax: ["extremum", "pmin"],
    min_s: ["extremum", "max_s"],
    max_s: ["extremum", "min_s"],
    add: ["operator", "sub"],
    sub: ["operator", "add"],
    mul: ["operator", "add"],
    shl: ["operator", "shr_s"],
    shr_s: ["operator", "shl"],
    shr_u: ["operator", "shl"],
    and: ["operator", "or"],
    or: ["operator", "and"],
    lt: ["bound", "le"],
    le: ["bound", "lt"],
    gt: ["bound", "ge"],
    ge: ["bound", "gt"],
  } as const),
);
const VECTORS = /^(?:Math|v128|[if](?:8x16|16x8|32x4|64x2|32|64))$/;

const ACTIVATIONS: ReadonlyMap<string, string> = new Map(
  Object.entries({
    relu2: "silu",
    silu: "relu2",
    reluSquaredMul: "siluMul",
    siluMul: "reluSquaredMul",
  }),
);

/** Whether a node says something to a person: no test should hang on the numbers in it. */
function isMessage(node: ts.Node): boolean {
  if (ts.isThrowStatement(node) || ts.isTemplateExpression(node)) return true;
  if (!ts.isCallExpression(node) && !ts.isNewExpression(node)) return false;
  return ts.isIdentifier(node.expression) && /^fail$|Error$/.test(node.expression.text);
}

const isText = (node: ts.Node): boolean =>
  ts.isStringLiteralLike(node) ||
  ts.isTemplateExpression(node) ||
  (ts.isBinaryExpression(node) && node.operatorToken.kind === ts.SyntaxKind.PlusToken && (isText(node.left) || isText(node.right)));

/** `X.add(a, b)`, or `f(a + b)`, which rounds it to f32: what is added, and how it is written. */
function sumOf(
  node: ts.Node,
): { readonly left: ts.Expression; readonly right: ts.Expression; write(a: string, b: string): string } | undefined {
  if (!ts.isCallExpression(node)) return undefined;
  const { expression, arguments: args } = node;
  const [a, b] = args;
  if (ts.isPropertyAccessExpression(expression) && /^(?:f32x4|f64x2)\.add$/.test(expression.getText()) && a && b)
    return { left: a, right: b, write: (x, y) => `${expression.getText()}(${x}, ${y})` };
  if (!ts.isIdentifier(expression) || expression.text !== "f" || !a || args.length > 1 || !ts.isBinaryExpression(a)) return undefined;
  if (a.operatorToken.kind !== ts.SyntaxKind.PlusToken) return undefined;
  return { left: a.left, right: a.right, write: (x, y) => `f(${x} + ${y})` };
}

/** All changes of a source, TypeScript, JavaScript or AssemblyScript, in the order of the text. */
export function mutantsOf(path: string, text: string): Mutant[] {
  const file = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
  const found: Mutant[] = [];
  const change = (kind: Kind, start: number, end: number, mutated: string): void => {
    if (text.slice(start, end) === mutated) return;
    const from = text.lastIndexOf("\n", start - 1) + 1;
    const next = text.indexOf("\n", end);
    const to = next < 0 ? text.length : next;
    const collapse = (one: string): string => one.replace(/\s+/g, " ").trim();
    const before = collapse(text.slice(from, to));
    const after = collapse(text.slice(from, start) + mutated + text.slice(end, to));
    if (before !== after) found.push({ kind, start, end, mutated, before, after });
  };
  const replace = (kind: Kind, node: ts.Node, mutated: string): void => change(kind, node.getStart(file), node.getEnd(), mutated);

  const visit = (node: ts.Node): void => {
    if (isMessage(node) || ts.isTypeNode(node) || ts.isDecorator(node) || ts.isImportDeclaration(node) || ts.isExportDeclaration(node))
      return;
    if (ts.isBinaryExpression(node)) {
      const [kind, other] = OPERATORS.get(node.operatorToken.kind) ?? [];
      if (kind !== undefined && other !== undefined && !isText(node)) replace(kind, node.operatorToken, other);
      if (node.operatorToken.kind === ts.SyntaxKind.QuestionQuestionToken) replace("condition", node, node.left.getText());
    } else if (ts.isPrefixUnaryExpression(node) && node.operator === ts.SyntaxKind.ExclamationToken) {
      replace("condition", node, node.operand.getText());
    } else if (ts.isPrefixUnaryExpression(node) && node.operator === ts.SyntaxKind.MinusToken) {
      replace("operator", node, node.operand.getText());
      return;
    } else if ((ts.isPrefixUnaryExpression(node) || ts.isPostfixUnaryExpression(node)) && !ts.isForStatement(node.parent)) {
      const to = node.operator === ts.SyntaxKind.PlusPlusToken ? "--" : node.operator === ts.SyntaxKind.MinusMinusToken ? "++" : undefined;
      if (to !== undefined) replace("operator", node, node.getText().replace(/\+\+|--/, to));
    } else if (ts.isIfStatement(node)) {
      replace("condition", node.expression, `!(${node.expression.getText()})`);
    } else if (ts.isConditionalExpression(node)) {
      replace("condition", node.condition, `!(${node.condition.getText()})`);
    } else if (ts.isNumericLiteral(node) || ts.isBigIntLiteral(node)) {
      const one = node.getText();
      if (ts.isBigIntLiteral(node)) replace("constant", node, `(${one} + 1n)`);
      else if (/^(?!0x).*(?:[.]|e-)/i.test(one)) replace("constant", node, `(${one} * 1.01)`);
      else replace("constant", node, one === "1" ? "0" : one === "0" ? "1" : `(${one} + 1)`);
    } else if (node.kind === ts.SyntaxKind.TrueKeyword || node.kind === ts.SyntaxKind.FalseKeyword) {
      replace("literal", node, node.kind === ts.SyntaxKind.TrueKeyword ? "false" : "true");
    } else if (ts.isElementAccessExpression(node) && ts.isIdentifier(node.argumentExpression)) {
      replace("index", node.argumentExpression, `${node.argumentExpression.text} + 1`);
    } else if (ts.isStringLiteral(node) && ACTIVATIONS.has(node.text)) {
      replace("activation", node, JSON.stringify(ACTIVATIONS.get(node.text)));
    } else if (ts.isCallExpression(node)) {
      const { expression, arguments: args } = node;
      if (ts.isPropertyAccessExpression(expression) && VECTORS.test(expression.expression.getText())) {
        const [kind, other] = METHODS.get(expression.name.text) ?? [];
        if (kind !== undefined && other !== undefined) replace(kind, expression.name, other);
      }
      const name = ts.isPropertyAccessExpression(expression) ? expression.name : expression;
      if (ts.isIdentifier(name) && ACTIVATIONS.has(name.text)) replace("activation", name, ACTIVATIONS.get(name.text)!);
      if (/^(?:f|Math\.fround)$/.test(expression.getText()) && args.length === 1) replace("rounding", expression, "");
      const [a, b] = args;
      const commutes = /\.(?:add|mul|min|max|pmax|pmin|max_s|min_s|imul|and|or|xor|mulPairs)$/.test(expression.getText());
      if (a && b && a.getText() !== b.getText() && !isText(a) && !isText(b) && !commutes) {
        change("arguments", a.getStart(file), b.getEnd(), `${b.getText()}, ${a.getText()}`);
      }
      const outer = sumOf(node);
      const inner = outer && sumOf(outer.left);
      if (outer && inner)
        replace("order of a sum", node, outer.write(inner.left.getText(), outer.write(inner.right.getText(), outer.right.getText())));
    } else if (ts.isExpressionStatement(node) && !/^["']use /.test(node.getText())) {
      const { expression } = node;
      const assigns = ts.isBinaryExpression(expression) && expression.operatorToken.kind === ts.SyntaxKind.EqualsToken;
      const called = ts.isAwaitExpression(expression) ? expression.expression : expression;
      if ((assigns || ts.isCallExpression(called)) && !/^super\b/.test(node.getText())) replace("removed", node, ";");
    }
    ts.forEachChild(node, visit);
  };
  visit(file);
  return found.sort((a, b) => a.start - b.start);
}

/** A text with a change made. */
export function mutate(text: string, { start, end, mutated }: Mutant): string {
  return text.slice(0, start) + mutated + text.slice(end);
}

/** What a choice is made from. */
export interface Candidate {
  readonly room: string;
  /** Of the source, from the root. */
  readonly file: string;
  readonly mutant: Mutant;
}

/**
 * Some of the candidates of each room, by the seed alone: an edit of one line moves no choice but that line's. The kinds take turns, so that
 * rare ones are tried as often as common ones. @returns each room's candidates in the order in which they are to be tried
 */
export function choose(candidates: readonly Candidate[], seed: number): Map<string, Candidate[]> {
  const place = ({ file, mutant }: Candidate): string =>
    createHash("sha256").update([seed, file, mutant.kind, mutant.before, mutant.after].join("\0")).digest("hex");
  const rooms = new Map<string, Candidate[]>();
  for (const room of new Set(candidates.map((one) => one.room))) {
    const sorted = candidates
      .filter((one) => one.room === room)
      .map((one) => ({ one, at: place(one) }))
      .sort((a, b) => (a.at < b.at ? -1 : 1));
    const turn = new Map<Kind, number>();
    const turns = sorted.map(({ one }) => {
      const n = turn.get(one.mutant.kind) ?? 0;
      turn.set(one.mutant.kind, n + 1);
      return { one, n };
    });
    rooms.set(
      room,
      turns.sort((a, b) => a.n - b.n).map(({ one }) => one),
    ); // stable: within a turn by hash
  }
  return rooms;
}
