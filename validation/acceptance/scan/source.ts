import { createRequire } from "node:module";
import { resolve } from "node:path";
import type ts from "typescript";

/** Something in a source that must not go out. */
export interface Fault {
  readonly path: string;
  /** From 1. */
  readonly line: number;
  readonly what: string;
}

/** TypeScript's own parser, as a clone has it: it is not part of the package. */
export type TypeScript = typeof ts;

export interface Comment {
  readonly start: number;
  readonly end: number;
  /** Without its slashes and stars. */
  readonly text: string;
}

/** @throws Error if it is not installed */
export function loadTypeScript(root: string): TypeScript {
  try {
    return createRequire(resolve(root, "package.json"))("typescript") as TypeScript;
  } catch {
    throw new Error("TypeScript, which parses the sources, is not installed: run npm ci");
  }
}

export const isTest = (path: string): boolean => path.includes(".test.");
/** The code of the package, and the oracles of its tests. */
export const isShipped = (path: string): boolean => /^(?:engine|kernels|validation|cli|hub|server)\//.test(path) && !isTest(path);

/** A parsed file. */
export class Source {
  readonly file: ts.SourceFile;
  readonly comments: readonly Comment[];

  /** @param path from the root of the clone, with `/` */
  constructor(
    readonly ts: TypeScript,
    readonly path: string,
    readonly text: string,
  ) {
    this.file = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
    this.comments = this.#findComments();
  }

  /** All nodes in another, in the order of the text. */
  nodes(from: ts.Node = this.file): readonly ts.Node[] {
    const found: ts.Node[] = [];
    const visit = (node: ts.Node): void => {
      found.push(node);
      this.ts.forEachChild(node, visit);
    };
    this.ts.forEachChild(from, visit);
    return found;
  }

  fault(at: ts.Node | number, what: string): Fault {
    const start = typeof at === "number" ? at : at.getStart(this.file);
    return { path: this.path, line: this.file.getLineAndCharacterOfPosition(start).line + 1, what };
  }

  /** Whether a comment gives a reason: on the lines of the node's beginning, or just above them. */
  hasReason(node: ts.Node): boolean {
    const lineOf = (at: number): number => this.file.getLineAndCharacterOfPosition(at).line;
    const line = lineOf(node.getStart(this.file));
    return this.comments.some(({ start, end, text }) => /\w{3}/.test(text) && lineOf(end) >= line - 1 && lineOf(start) <= line);
  }

  /** A text that is known before it runs: a literal, or several put together; undefined: none. */
  constant(node: ts.Node): string | undefined {
    const { ts } = this;
    if (ts.isStringLiteralLike(node)) return node.text;
    if (ts.isParenthesizedExpression(node)) return this.constant(node.expression);
    if (!ts.isBinaryExpression(node) || node.operatorToken.kind !== ts.SyntaxKind.PlusToken) return undefined;
    const [left, right] = [this.constant(node.left), this.constant(node.right)];
    return left === undefined || right === undefined ? undefined : left + right;
  }

  /** `true`, `false`, or undefined for a condition that is not known before it runs. */
  condition(node: ts.Node): boolean | undefined {
    const { ts } = this;
    if (node.kind === ts.SyntaxKind.TrueKeyword) return true;
    if (node.kind === ts.SyntaxKind.FalseKeyword || node.kind === ts.SyntaxKind.NullKeyword) return false;
    if (ts.isNumericLiteral(node)) return Number(node.text) !== 0;
    if (ts.isStringLiteralLike(node)) return node.text !== "";
    if (ts.isParenthesizedExpression(node)) return this.condition(node.expression);
    if (!ts.isPrefixUnaryExpression(node) || node.operator !== ts.SyntaxKind.ExclamationToken) return undefined;
    const inner = this.condition(node.operand);
    return inner === undefined ? undefined : !inner;
  }

  /** `a.b.c` of a chain of names, with `a["b"]` like `a.b`; undefined: it is something else. */
  dotted(node: ts.Node): string | undefined {
    const { ts } = this;
    if (ts.isIdentifier(node)) return node.text;
    if (ts.isPropertyAccessExpression(node)) {
      const before = this.dotted(node.expression);
      return before === undefined ? undefined : `${before}.${node.name.text}`;
    }
    if (!ts.isElementAccessExpression(node)) return undefined;
    const [before, name] = [this.dotted(node.expression), this.constant(node.argumentExpression)];
    return before === undefined || name === undefined ? undefined : `${before}.${name}`;
  }

  /** Where texts and patterns can't be mistaken for comments: they are blanked. */
  #findComments(): Comment[] {
    const parts: string[] = [];
    let at = 0;
    for (const [start, end] of this.#literals()) {
      parts.push(this.text.slice(at, start), " ".repeat(end - start));
      at = end;
    }
    const blanked = parts.join("") + this.text.slice(at);
    return [...blanked.matchAll(/\/\/.*|\/\*[\s\S]*?\*\//g)].map(({ 0: all, index }) => {
      const text = all.startsWith("//") ? all.slice(2) : all.slice(2, -2).replace(/^\s*\* ?/gm, "");
      return { start: index, end: index + all.length, text: text.trim() };
    });
  }

  *#literals(): Generator<readonly [number, number]> {
    const { ts } = this;
    for (const node of this.nodes()) {
      if (
        ts.isStringLiteralLike(node) ||
        ts.isRegularExpressionLiteral(node) ||
        ts.isTemplateHead(node) ||
        ts.isTemplateMiddleOrTemplateTail(node)
      )
        yield [node.getStart(this.file), node.getEnd()];
    }
  }
}

/** In one line: the first few, and how many there are. */
export function faultText(found: readonly Fault[]): string {
  const shown = found.slice(0, 5).map(({ path, line, what }) => `${path}:${line} ${what}`);
  return `${shown.join("; ")}${found.length > shown.length ? `; and ${found.length - shown.length} more` : ""}`;
}
