import type ts from "typescript";
import { type Fault, isShipped, type Source } from "./source.js";

// What is left over from looking for a fault.

const PRINTS = /^(?:console\.\w+|process\.(?:stdout|stderr)\.write|process\._rawDebug)$/;
/** Programs; helpers of tests that are programs print for the test that starts them. */
const MAY_PRINT = /^(?:bench|scripts)\/|\.test\.helper\.ts$/;
const EXITS = /^process\.(?:exit|exitCode|abort|stdin)$/;
const PROGRAMS = /^(?:cli|bench|scripts)\//;
const NOTE = /\b(?:TODO|FIXME|XXX|HACK)\b/;
const OWN_PLACE = /^(?:\/(?:home|Users|root|tmp|var|opt)\/|[A-Z]:\\Users\\)/;
const EXPLAINED = /(?:^|\s)(?:@ts-(?:ignore|expect-error)|biome-ignore\s+[\w/]+|(?:c8|v8|istanbul) ignore\s+\w+)\s*(?::|--?|—)\s*\w{3}/;
const SILENCES = /(?:^|\s)(?:@ts-(?:ignore|expect-error|nocheck)|biome-ignore|eslint-disable|(?:c8|v8|istanbul) ignore)/;

/** Traces of debugging in a source. */
export function traces(source: Source): Fault[] {
  const found: Fault[] = [];
  for (const node of source.nodes()) {
    const what = statement(source, node) ?? printed(source, node) ?? place(source, node);
    if (what !== undefined) found.push(source.fault(node, what));
  }
  for (const { start, text } of source.comments) {
    if (NOTE.test(text)) found.push(source.fault(start, `a to-do note: ${text.match(NOTE)![0]}`));
    if (SILENCES.test(text) && !EXPLAINED.test(text))
      found.push(source.fault(start, `silences a checker without a reason: ${text.slice(0, 40)}`));
  }
  return [...found, ...code(source)];
}

function statement(source: Source, node: ts.Node): string | undefined {
  const { ts } = source;
  if (ts.isDebuggerStatement(node)) return "a breakpoint";
  // `while (true)` and `for (;;)` are loops.
  const condition = ts.isIfStatement(node) ? node.expression : ts.isConditionalExpression(node) ? node.condition : undefined;
  if (condition && source.condition(condition) !== undefined) return `is always the same: ${condition.getText(source.file)}`;
  if (ts.isWhileStatement(node) && source.condition(node.expression) === false) return "never runs";
  if (ts.isBinaryExpression(node) && /^(?:&&|\|\|)$/.test(node.operatorToken.getText(source.file))) {
    const isFixed = (one: ts.Node): boolean => one.kind === ts.SyntaxKind.TrueKeyword || one.kind === ts.SyntaxKind.FalseKeyword;
    if (isFixed(node.left) || isFixed(node.right)) return `is always the same: ${node.getText(source.file).slice(0, 40)}`;
  }
  if (ts.isBlock(node) || ts.isSourceFile(node) || ts.isCaseClause(node) || ts.isDefaultClause(node)) {
    const ends = node.statements.findIndex(
      (one) => ts.isReturnStatement(one) || ts.isThrowStatement(one) || ts.isBreakStatement(one) || ts.isContinueStatement(one),
    );
    // Functions and types may be declared behind.
    const behind = ends < 0 ? [] : node.statements.slice(ends + 1);
    const dead = behind.find((one) => !ts.isFunctionDeclaration(one) && !ts.isInterfaceDeclaration(one) && !ts.isTypeAliasDeclaration(one));
    if (dead && !ts.isBreakStatement(dead)) return `never reaches: ${dead.getText(source.file).slice(0, 40)}`;
  }
  return undefined;
}

function printed(source: Source, node: ts.Node): string | undefined {
  const { ts, path } = source;
  if (!ts.isPropertyAccessExpression(node) && !ts.isElementAccessExpression(node)) return undefined;
  const name = source.dotted(node) ?? "";
  // What a command prints goes through its streams.
  if (PRINTS.test(name) && !MAY_PRINT.test(path) && (!path.startsWith("cli/") || name.startsWith("console."))) return `prints: ${name}`;
  if (EXITS.test(name) && isShipped(path) && !PROGRAMS.test(path)) return `is no program, but uses ${name}`;
  return undefined;
}

/** A folder of somebody's own machine. */
function place(source: Source, node: ts.Node): string | undefined {
  if (!isShipped(source.path) || !source.ts.isStringLiteralLike(node)) return undefined;
  return OWN_PLACE.test(node.text) ? `names a folder of one machine: ${node.text.slice(0, 40)}` : undefined;
}

/** Statements in comments: they parse, and English does not. */
function code(source: Source): Fault[] {
  const { ts } = source;
  const found: Fault[] = [];
  for (const { start, text } of source.comments) {
    if (!/[;}{]$/.test(text)) continue;
    const parsed = ts.createSourceFile("comment.ts", text.endsWith("{") ? `${text}}` : text, ts.ScriptTarget.Latest, true);
    const { parseDiagnostics } = parsed as unknown as { readonly parseDiagnostics: readonly unknown[] };
    if (parseDiagnostics.length === 0 && parsed.statements.length > 0)
      found.push(source.fault(start, `code in a comment: ${text.slice(0, 40)}`));
  }
  return found;
}
