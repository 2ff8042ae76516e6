import { posix } from "node:path";
import type ts from "typescript";
import type { Source } from "./source.js";

/** What a function asserts, of itself and through what it calls. */
export interface Asserted {
  /** On every way through it. */
  readonly always: boolean;
  /** Under a condition. */
  readonly sometimes: boolean;
  /** It says how many assertions must be reached. */
  readonly planned: boolean;
  /** A catch that hears an assertion's failure and says nothing. */
  readonly swallowed: ts.Node | undefined;
  /** A return under a condition, before the first assertion. */
  readonly leaves: ts.Node | undefined;
}

interface Found {
  always: boolean;
  sometimes: boolean;
  planned: boolean;
  swallowed: ts.Node | undefined;
  leaves: ts.Node | undefined;
}

/** A function and the file it is in. */
interface Place {
  readonly source: Source;
  readonly node: ts.Node;
}

/** Functions and values of a file by their name; of methods, all of a name. */
interface Names {
  readonly values: ReadonlyMap<string, ts.Node>;
  readonly methods: ReadonlyMap<string, readonly ts.Node[]>;
  /** Modules, by the names that come from them: [module, its name there]. */
  readonly imports: ReadonlyMap<string, readonly [path: string, name: string]>;
}

const names = new WeakMap<Source, Names>();

function namesOf(source: Source): Names {
  const known = names.get(source);
  if (known) return known;
  const { ts } = source;
  const values = new Map<string, ts.Node>();
  const methods = new Map<string, ts.Node[]>();
  const imports = new Map<string, readonly [string, string]>();
  for (const node of source.nodes()) {
    if (ts.isFunctionDeclaration(node) && node.name) values.set(node.name.text, node);
    else if (ts.isVariableDeclaration(node) && ts.isIdentifier(node.name) && node.initializer) values.set(node.name.text, node.initializer);
    else if (ts.isMethodDeclaration(node) || (ts.isPropertyAssignment(node) && isFunction(source, node.initializer))) {
      const name = node.name.getText(source.file);
      methods.set(name, [...(methods.get(name) ?? []), ts.isMethodDeclaration(node) ? node : node.initializer]);
    } else if (ts.isImportDeclaration(node) && node.importClause?.namedBindings && ts.isNamedImports(node.importClause.namedBindings)) {
      const specifier = source.constant(node.moduleSpecifier) ?? "";
      const path = posix.join(posix.dirname(source.path), specifier).replace(/\.js$/, ".ts");
      if (specifier.startsWith("."))
        for (const { name, propertyName } of node.importClause.namedBindings.elements)
          imports.set(name.text, [path, (propertyName ?? name).text]);
    }
  }
  const made = { values, methods, imports };
  names.set(source, made);
  return made;
}

function isFunction({ ts }: Source, node: ts.Node): boolean {
  return ts.isArrowFunction(node) || ts.isFunctionExpression(node) || ts.isFunctionDeclaration(node) || ts.isMethodDeclaration(node);
}

/** Looks for assertions in tests, and in what they call in their own file and in the tests' helpers. */
export class Assertions {
  constructor(
    readonly source: Source,
    readonly others: ReadonlyMap<string, Source>,
  ) {}

  of(body: ts.Node): Asserted {
    const found: Found = { always: false, sometimes: false, planned: false, swallowed: undefined, leaves: undefined };
    this.#enter({ source: this.source, node: body }, false, found, new Set());
    found.leaves = this.#leaves(body);
    return found;
  }

  /** Whether a function of this file or of a helper names one of vitest's tests. */
  mentions(name: string, tests: ReadonlyMap<string, string>): boolean {
    const place = this.#resolve(this.source, name);
    if (!place) return false;
    for (const node of place.source.nodes(place.node))
      if (place.source.ts.isIdentifier(node) && /^(?:it|test)$/.test(tests.get(node.text) ?? node.text)) return true;
    return false;
  }

  /** What a `const` of the file is. */
  valueOf(name: string): ts.Node | undefined {
    const value = namesOf(this.source).values.get(name);
    const { ts } = this.source;
    const isConst =
      value &&
      ts.isVariableDeclaration(value.parent) &&
      (ts.getCombinedNodeFlags(value.parent) & ts.NodeFlags.Const) === ts.NodeFlags.Const;
    return isConst ? value : undefined;
  }

  /** Whether a list is known to be empty. */
  isEmpty(node: ts.Node): boolean {
    const { ts } = this.source;
    if (ts.isAsExpression(node) || ts.isParenthesizedExpression(node) || ts.isSatisfiesExpression(node))
      return this.isEmpty(node.expression);
    if (ts.isArrayLiteralExpression(node)) return node.elements.length === 0;
    const named = ts.isIdentifier(node) ? namesOf(this.source).values.get(node.text) : undefined;
    return (
      named !== undefined && ts.isArrayLiteralExpression(named) && named.elements.length === 0 && !this.#isFilled(node as ts.Identifier)
    );
  }

  #isFilled({ text }: ts.Identifier): boolean {
    const { ts } = this.source;
    for (const node of this.source.nodes())
      if (
        ts.isPropertyAccessExpression(node) &&
        /^(?:push|unshift|splice)$/.test(node.name.text) &&
        this.source.dotted(node.expression) === text
      )
        return true;
    return false;
  }

  #resolve(source: Source, name: string): Place | undefined {
    const { values, imports } = namesOf(source);
    const here = values.get(name);
    if (here) return { source, node: here };
    const [path, there] = imports.get(name) ?? [];
    const other = path?.includes(".test.") ? this.others.get(path) : undefined; // what is tested asserts nothing
    return other && there !== undefined ? this.#resolve(other, there) : undefined;
  }

  /** Methods of a name, of this file and of the helpers it imports. */
  #methods(source: Source, name: string): Place[] {
    const { methods, imports } = namesOf(source);
    const here = (methods.get(name) ?? []).map((node) => ({ source, node }));
    const paths = new Set([...imports.values()].map(([path]) => path).filter((path) => path.includes(".test.")));
    const there = [...paths].flatMap((path) => {
      const other = this.others.get(path);
      return other ? (namesOf(other).methods.get(name) ?? []).map((node) => ({ source: other, node })) : [];
    });
    return [...here, ...there];
  }

  #enter({ source, node }: Place, conditional: boolean, found: Found, seen: Set<ts.Node>): void {
    if (seen.has(node)) return;
    seen.add(node);
    const { ts } = source;
    if (ts.isFunctionDeclaration(node) || ts.isMethodDeclaration(node) || ts.isArrowFunction(node) || ts.isFunctionExpression(node)) {
      if (node.body) this.#walk(source, node.body, conditional, found, seen);
    } else this.#walk(source, node, conditional, found, seen);
  }

  #walk(source: Source, node: ts.Node, conditional: boolean, found: Found, seen: Set<ts.Node>): void {
    const { ts } = source;
    const go = (child: ts.Node | undefined, under = conditional): void => {
      if (child) this.#walk(source, child, under, found, seen);
    };
    if (ts.isBlock(node) || ts.isCaseClause(node) || ts.isDefaultClause(node)) {
      for (const statement of node.statements) {
        go(statement);
        if (ts.isReturnStatement(statement) || ts.isThrowStatement(statement)) return; // nothing behind it is reached
      }
      return;
    }
    if (ts.isIfStatement(node)) {
      go(node.expression);
      this.#branches(source, [node.thenStatement, node.elseStatement], source.condition(node.expression), conditional, found, seen);
      return;
    }
    if (ts.isConditionalExpression(node)) {
      go(node.condition);
      this.#branches(source, [node.whenTrue, node.whenFalse], source.condition(node.condition), conditional, found, seen);
      return;
    }
    if (ts.isSwitchStatement(node)) {
      go(node.expression);
      for (const clause of node.caseBlock.clauses) go(clause, true);
      return;
    }
    if (ts.isBinaryExpression(node) && /^(?:&&|\|\||\?\?)$/.test(node.operatorToken.getText(source.file))) {
      go(node.left);
      go(node.right, true);
      return;
    }
    if (ts.isForOfStatement(node) || ts.isForInStatement(node)) {
      go(node.expression);
      const empty = ts.isArrayLiteralExpression(node.expression) && node.expression.elements.length === 0;
      if (!empty) go(node.statement);
      return;
    }
    if (ts.isTryStatement(node)) {
      const inside = trial();
      this.#walk(source, node.tryBlock, false, inside, new Set(seen));
      const handler = node.catchClause;
      const caught = trial();
      if (handler) this.#walk(source, handler.block, false, caught, new Set(seen));
      const says = !handler || caught.always || caught.sometimes || throwsIn(source, handler.block);
      if (says) merge(found, inside, conditional);
      else if (inside.always || inside.sometimes) found.swallowed ??= handler;
      if (handler) merge(found, caught, true);
      go(node.finallyBlock);
      return;
    }
    if (ts.isVariableDeclaration(node) && node.initializer && isFunction(source, node.initializer)) return; // counts where it is called
    if (ts.isFunctionDeclaration(node) || ts.isClassDeclaration(node)) return;
    if (ts.isVoidExpression(node) && !ts.isCallExpression(node.expression)) return;
    if (ts.isIdentifier(node)) {
      const isMember = ts.isPropertyAccessExpression(node.parent) && node.parent.name === node;
      const isKey = "name" in node.parent && node.parent.name === node && !ts.isShorthandPropertyAssignment(node.parent);
      if (isMember || isKey) return;
      const place = this.#resolve(source, node.text);
      if (place && isFunction(place.source, place.node)) this.#enter(place, conditional, found, seen);
      else if (place && ts.isCallExpression(place.node)) this.#made(place, conditional, found, seen);
      return;
    }
    if (ts.isCallExpression(node)) {
      const name = source.dotted(node.expression) ?? "";
      if (/^expect\.(?:assertions|hasAssertions)$/.test(name) && node.arguments[0]?.getText(source.file) !== "0") found.planned = true;
      else if (isAssertion(source, node, name)) {
        if (conditional) found.sometimes = true;
        else found.always = true;
      }
      if (ts.isPropertyAccessExpression(node.expression)) {
        const { expression, name: method } = node.expression;
        if (this.#ignores(source, node, method.text)) {
          const inside = trial();
          this.#walk(source, expression, false, inside, new Set(seen));
          for (const argument of node.arguments) this.#walk(source, argument, false, inside, new Set(seen));
          if (inside.always || inside.sometimes) {
            found.swallowed ??= node;
            return;
          }
        }
        for (const place of this.#methods(source, method.text)) this.#enter(place, conditional, found, seen);
      }
    }
    if (ts.isNewExpression(node)) for (const place of this.#methods(source, "constructor")) this.#enter(place, conditional, found, seen);
    const later = ts.isCallExpression(node) && isLater(source, node);
    ts.forEachChild(node, (child) => go(child, conditional || (later && isFunction(source, child))));
  }

  /** Two ways of which one is taken: what both assert is always asserted. */
  #branches(
    source: Source,
    nodes: readonly (ts.Node | undefined)[],
    known: boolean | undefined,
    conditional: boolean,
    found: Found,
    seen: Set<ts.Node>,
  ): void {
    const [then, otherwise] = nodes.map((node) => {
      const inside = trial();
      if (node) this.#walk(source, node, false, inside, new Set(seen));
      return inside;
    }) as [Found, Found];
    const both = then.always && otherwise.always;
    if (known !== false) merge(found, then, conditional || (known === undefined && !both));
    if (known !== true) merge(found, otherwise, conditional || (known === undefined && !both));
  }

  /** The first statement of a test that may return before it has asserted anything. */
  #leaves(body: ts.Node): ts.Node | undefined {
    const { ts } = this.source;
    if (!(ts.isArrowFunction(body) || ts.isFunctionExpression(body)) || !ts.isBlock(body.body)) return undefined;
    for (const statement of body.body.statements) {
      const found = trial();
      this.#walk(this.source, statement, false, found, new Set());
      if (found.always || found.sometimes) return undefined;
      const left = returnIn(this.source, statement);
      if (left) return left;
    }
    return undefined;
  }

  /** A function that a call has made: `const check = checks("a")`. */
  #made({ source, node }: Place, conditional: boolean, found: Found, seen: Set<ts.Node>): void {
    const { ts } = source;
    if (ts.isCallExpression(node) && ts.isIdentifier(node.expression)) this.#walk(source, node.expression, conditional, found, seen);
  }

  /** `.catch(() => {})`, `.then(f, () => {})` */
  #ignores(source: Source, node: ts.CallExpression, method: string): boolean {
    const handler = node.arguments[method === "catch" ? 0 : method === "then" ? 1 : -1];
    if (!handler || !isFunction(source, handler)) return false;
    const caught = trial();
    this.#enter({ source, node: handler }, false, caught, new Set());
    return !caught.always && !caught.sometimes && !throwsIn(source, handler);
  }
}

const trial = (): Found => ({ always: false, sometimes: false, planned: false, swallowed: undefined, leaves: undefined });

function merge(found: Found, more: Found, conditional: boolean): void {
  if (conditional) found.sometimes ||= more.always || more.sometimes;
  else {
    found.always ||= more.always;
    found.sometimes ||= more.sometimes;
  }
  found.planned ||= more.planned;
  found.swallowed ??= more.swallowed;
}

/** `expect(…).matcher(…)`, `assert(…)`, `fc.assert(…)`; an expect without a matcher asserts nothing. */
function isAssertion({ ts }: Source, node: ts.CallExpression, name: string): boolean {
  if (/^(?:assert|assert\.\w+|fc\.assert|expectTypeOf)$/.test(name)) return true;
  if (!/^expect(?:\.(?:soft|poll|unreachable|fail))?$/.test(name)) return false;
  return /unreachable|fail/.test(name) || ts.isPropertyAccessExpression(node.parent);
}

/** A `return` under a condition, of the function that a statement is in. */
function returnIn({ ts }: Source, statement: ts.Statement): ts.Node | undefined {
  if (!ts.isIfStatement(statement)) return undefined;
  const { thenStatement: then } = statement;
  const first = ts.isBlock(then) ? then.statements[0] : then;
  return first && ts.isReturnStatement(first) && !first.expression ? statement : undefined;
}

function throwsIn(source: Source, node: ts.Node): boolean {
  const { ts } = source;
  if (ts.isThrowStatement(node)) return true;
  for (const inside of source.nodes(node)) if (ts.isThrowStatement(inside)) return true;
  return false;
}

/** A call whose functions run later, when nobody waits: the test may be over. */
function isLater(source: Source, node: ts.CallExpression): boolean {
  const { ts } = source;
  const name = source.dotted(node.expression) ?? "";
  if (/^(?:setTimeout|setImmediate|queueMicrotask|process\.nextTick)$/.test(name))
    return !/\bPromise\b/.test(node.parent.parent?.parent?.getText(source.file) ?? "");
  if (!ts.isExpressionStatement(node.parent) || !ts.isPropertyAccessExpression(node.expression)) return false;
  if (/^(?:then|catch|finally)$/.test(node.expression.name.text)) return true;
  const isAsync = (one: ts.Node): boolean =>
    ts.isArrowFunction(one) && one.modifiers?.some(({ kind }) => kind === ts.SyntaxKind.AsyncKeyword) === true;
  return node.expression.name.text === "forEach" && node.arguments.some(isAsync);
}
