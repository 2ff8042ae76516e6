import type ts from "typescript";
import { Assertions } from "./assertions.js";
import { type Fault, isTest, type Source } from "./source.js";

// Tests that prove nothing: left out, alone, without an assertion, or with one that cannot fail.

const VITEST = ["it", "test", "describe", "suite", "bench", "expect", "assert", "vi"];
const TESTS = /^(?:it|test)$/;
const GROUPS = /^(?:describe|suite)$/;
const FOREVER = /^(?:only|skip|todo|fails)$/;
const SOMETIMES = /^(?:skipIf|runIf)$/;
/** Of vitest's helpers, those that change no behaviour. */
const HARMLESS = /^(?:waitFor|waitUntil)$/;
const OPTIONS = /^(?:skip|only|todo|fails|retry)$/;
const REPLACES = /^(?:Object\.(?:assign|defineProperty|defineProperties)|Reflect\.(?:set|defineProperty))$/;
/** What any value is like. */
const ANYTHING = /^(?:expect\.anything\(\)|expect\.any\(Object\)|\{\}|\/\.\*\/\w*|expect\.objectContaining\(\{\}\))$/;
/** What the whole world of a test hangs on. */
const WORLD = /^(?:globalThis|Date|Math|performance|crypto|console|WebAssembly|JSON|Object|Array|Number|process)$/;

/** Tests of a file that prove nothing. @param others every source by its path: what tests call may be in another file */
export function hollowTests(source: Source, others: ReadonlyMap<string, Source>): Fault[] {
  if (!/\.test\.(?:helper\.)?ts$/.test(source.path)) return [];
  return new TestFile(source, new Assertions(source, others)).faults();
}

class TestFile {
  readonly #found: Fault[] = [];
  readonly #ts: typeof ts;
  /** vitest's names by those they have here. */
  readonly #names = new Map<string, string>();

  constructor(
    readonly source: Source,
    readonly assertions: Assertions,
  ) {
    this.#ts = source.ts;
  }

  faults(): Fault[] {
    const { source } = this;
    const ts = this.#ts;
    for (const statement of source.file.statements) this.#import(statement);
    let tests = 0;
    for (const node of source.nodes()) {
      this.#modifiers(node);
      this.#world(node);
      this.#declared(node);
      if (!ts.isCallExpression(node)) continue;
      const root = this.#rootOf(node.expression);
      if (root && this.#isRegistration(node)) {
        if (TESTS.test(root)) {
          tests++;
          this.#test(node);
        } else if (GROUPS.test(root)) this.#group(node);
      }
      if (root && this.#isEach(node)) this.#rows(node);
      if (source.dotted(node.expression) === "expect" && this.#means(node.expression) === "expect") this.#expect(node);
      this.#helpers(node);
    }
    if (tests === 0 && source.path.endsWith(".test.ts")) this.#say(0, "has no test");
    return this.#found;
  }

  #say(at: ts.Node | number, what: string): void {
    this.#found.push(this.source.fault(at, what));
  }

  #import(statement: ts.Statement): void {
    const ts = this.#ts;
    if (!ts.isImportDeclaration(statement) || this.source.constant(statement.moduleSpecifier) !== "vitest") return;
    const bindings = statement.importClause?.namedBindings;
    if (!bindings || !ts.isNamedImports(bindings)) this.#say(statement, "imports vitest as a whole");
    else for (const { name, propertyName } of bindings.elements) this.#names.set(name.text, (propertyName ?? name).text);
  }

  /** vitest's name for a name of this file. */
  #means(node: ts.Node): string | undefined {
    return this.#ts.isIdentifier(node) ? this.#names.get(node.text) : undefined;
  }

  /** vitest's name at the root of `it.each(rows)`, `it.skipIf(x).each`, `describe` … */
  #rootOf(node: ts.Node): string | undefined {
    const ts = this.#ts;
    if (ts.isPropertyAccessExpression(node) || ts.isElementAccessExpression(node) || ts.isCallExpression(node))
      return this.#rootOf(node.expression);
    if (ts.isTaggedTemplateExpression(node)) return this.#rootOf(node.tag);
    return this.#means(node);
  }

  /** `it("…", …)`, `it.each(rows)("…", …)`: the last call of its chain, whose first argument is a name. */
  #isRegistration(node: ts.CallExpression): boolean {
    const ts = this.#ts;
    const { parent, expression } = node;
    if ((ts.isCallExpression(parent) || ts.isPropertyAccessExpression(parent)) && parent.expression === node) return false;
    return !(ts.isPropertyAccessExpression(expression) && /^(?:each|for|skipIf|runIf|extend)$/.test(expression.name.text));
  }

  #isEach(node: ts.CallExpression): boolean {
    return this.#ts.isPropertyAccessExpression(node.expression) && /^(?:each|for)$/.test(node.expression.name.text);
  }

  /** `.only`, `.skip`, `.runIf(…)`: also of a test's context. */
  #modifiers(node: ts.Node): void {
    const ts = this.#ts;
    const name = ts.isPropertyAccessExpression(node)
      ? node.name.text
      : ts.isElementAccessExpression(node)
        ? this.source.constant(node.argumentExpression)
        : undefined;
    if (name === undefined || !(ts.isPropertyAccessExpression(node) || ts.isElementAccessExpression(node))) return;
    const root = this.#rootOf(node.expression);
    if (root === undefined || !(TESTS.test(root) || GROUPS.test(root))) return;
    if (FOREVER.test(name)) this.#say(node, `${root}.${name}: every test must run`);
    if (SOMETIMES.test(name) && !this.source.hasReason(node)) this.#say(node, `${root}.${name} without a reason: say it in a comment`);
  }

  /** Changes of what all code hangs on, and of vitest's own names. */
  #world(node: ts.Node): void {
    const ts = this.#ts;
    if (ts.isCallExpression(node)) {
      const name = this.source.dotted(node.expression) ?? "";
      const target = node.arguments[0] && this.source.dotted(node.arguments[0])?.split(".")[0];
      const replaces = REPLACES.test(name) && WORLD.test(target ?? "");
      const ends = /^process\.(?:exit|abort)$/.test(name) && this.source.path.endsWith(".test.ts");
      if ((replaces || ends) && !this.source.hasReason(node))
        this.#say(node, replaces ? `replaces parts of ${target}: say why in a comment` : `ends the process: ${name}`);
      return;
    }
    if (!ts.isBinaryExpression(node) || node.operatorToken.kind !== ts.SyntaxKind.EqualsToken) return;
    const { left } = node;
    if (!ts.isPropertyAccessExpression(left) && !ts.isElementAccessExpression(left)) return;
    const root = this.source.dotted(left.expression)?.split(".")[0];
    const isOwn = root === "process" && /^process\.(?:env|exitCode)/.test(this.source.dotted(left) ?? "process.env");
    if (root !== undefined && WORLD.test(root) && !isOwn && !this.source.hasReason(node))
      this.#say(node, `replaces ${left.getText(this.source.file)}: say why in a comment`);
  }

  #declared(node: ts.Node): void {
    const ts = this.#ts;
    const isDeclared =
      ts.isVariableDeclaration(node) || ts.isFunctionDeclaration(node) || ts.isParameter(node) || ts.isBindingElement(node);
    const name = isDeclared && node.name && ts.isIdentifier(node.name) ? node.name.text : undefined;
    if (name !== undefined && /^(?:it|test|describe|expect|assert)$/.test(name) && isTest(this.source.path) && VITEST.includes(name)) {
      if (this.#names.has(name) || ts.isFunctionDeclaration(node) || name === "expect") this.#say(node, `is not vitest's ${name}`);
    }
    if (ts.isImportSpecifier(node) && name === undefined) {
      const from = this.source.constant(node.parent.parent.parent.moduleSpecifier);
      if (/^(?:it|test|describe|expect)$/.test(node.name.text) && from !== "vitest") this.#say(node, `is not vitest's ${node.name.text}`);
    }
  }

  #group(node: ts.CallExpression): void {
    const body = this.#body(node);
    this.#sometimes(node);
    if (body && (this.#ts.isArrowFunction(body) || this.#ts.isFunctionExpression(body)) && !this.#registers(body))
      this.#say(node, "is a group without a test");
  }

  #registers(body: ts.Node): boolean {
    for (const inside of this.source.nodes(body)) {
      if (!this.#ts.isCallExpression(inside)) continue;
      if (TESTS.test(this.#rootOf(inside.expression) ?? "")) return true;
      if (this.#ts.isIdentifier(inside.expression) && this.assertions.mentions(inside.expression.text, this.#names)) return true;
    }
    return false;
  }

  /** A test or a group that is there only under a condition. */
  #sometimes(node: ts.CallExpression): void {
    const ts = this.#ts;
    for (let above: ts.Node = node; above.parent; above = above.parent) {
      const { parent } = above;
      if (ts.isFunctionLike(parent) && !GROUPS.test(ts.isCallExpression(parent.parent) ? (this.#rootOf(parent.parent) ?? "") : "")) return;
      const isBranch =
        (ts.isIfStatement(parent) && parent.expression !== above && !parent.elseStatement) ||
        (ts.isConditionalExpression(parent) && parent.condition !== above) ||
        (ts.isBinaryExpression(parent) &&
          parent.right === above &&
          /^(?:&&|\|\||\?\?)$/.test(parent.operatorToken.getText(this.source.file)));
      if (isBranch && !this.source.hasReason(parent) && !this.source.hasReason(node))
        this.#say(node, "runs only under a condition: say why in a comment");
    }
  }

  /** The function of a test or a group: its last function or name among the arguments. */
  #body(node: ts.CallExpression): ts.Node | undefined {
    const ts = this.#ts;
    const [, ...rest] = node.arguments;
    return rest.findLast((one) => !ts.isObjectLiteralExpression(one) && !ts.isNumericLiteral(one));
  }

  #test(node: ts.CallExpression): void {
    const ts = this.#ts;
    this.#sometimes(node);
    for (const option of node.arguments.filter((one) => ts.isObjectLiteralExpression(one)))
      for (const property of option.properties) {
        const name = property.name?.getText(this.source.file) ?? "";
        if (OPTIONS.test(name)) this.#say(property, `${name}: every test must run, and pass at once`);
      }
    const body = this.#body(node);
    if (!body) {
      this.#say(node, "is a test without a body");
      return;
    }
    if (ts.isArrowFunction(body) || ts.isFunctionExpression(body)) this.#context(body);
    const { always, sometimes, swallowed, planned, leaves } = this.assertions.of(body);
    if (swallowed) this.#say(swallowed, "catches what its assertion throws");
    if (leaves && !this.source.hasReason(leaves)) this.#say(leaves, "returns before its assertions: say why in a comment");
    if (always || planned) return;
    if (swallowed) return;
    this.#say(node, sometimes ? "asserts only under a condition" : "is a test without an assertion");
  }

  /** `({ skip }) => skip()`, `(context) => context.skip()` */
  #context(body: ts.ArrowFunction | ts.FunctionExpression): void {
    for (const inside of this.source.nodes(body)) {
      if (!this.#ts.isCallExpression(inside)) continue;
      const name = this.source.dotted(inside.expression) ?? "";
      if (/^(?:skip|\w+\.skip)$/.test(name) && !this.source.hasReason(inside)) this.#say(inside, `${name}(): every test must run`);
    }
  }

  /** `it.each([])` runs nothing. */
  #rows(node: ts.CallExpression): void {
    const [rows] = node.arguments;
    if (rows && this.assertions.isEmpty(rows)) this.#say(node, "has no rows, so it runs nothing");
  }

  /** An expectation that cannot fail. */
  #expect(node: ts.CallExpression): void {
    const ts = this.#ts;
    const { parent } = node;
    const [got] = node.arguments;
    if (!ts.isPropertyAccessExpression(parent)) {
      this.#say(node, "expects nothing: it has no matcher");
      return;
    }
    let chain: ts.Node = parent;
    const names = [parent.name.text];
    while (ts.isPropertyAccessExpression(chain.parent) && chain.parent.expression === chain) {
      chain = chain.parent;
      names.push((chain as ts.PropertyAccessExpression).name.text);
    }
    const call = chain.parent;
    if (!ts.isCallExpression(call) || call.expression !== chain) {
      this.#say(node, `expects nothing: .${names.at(-1)} is not called`);
      return;
    }
    const text = (one: ts.Node | undefined): string => one?.getText(this.source.file) ?? "";
    const [wanted] = call.arguments;
    if (got && this.#isFixed(got) && (!wanted || this.#isFixed(wanted)))
      this.#say(node, `cannot fail: ${text(got).slice(0, 40)} is known before the test runs`);
    else if (got && wanted && text(got) === text(wanted) && !this.#calls(got))
      this.#say(node, `cannot fail: both sides are ${text(got).slice(0, 40)}`);
    if (/^to(?:Be|Equal|StrictEqual|MatchObject|Match)$/.test(names.at(-1)!) && this.#isLoose(names, text(wanted)))
      this.#say(node, "cannot fail: anything will do");
    if ((names.includes("resolves") || names.includes("rejects")) && !this.#isAwaited(call)) this.#say(node, "is not awaited");
  }

  #isFixed(node: ts.Node): boolean {
    const { source } = this;
    return (
      source.condition(node) !== undefined ||
      source.dotted(node) === "undefined" ||
      this.#isFixedName(node) ||
      this.#isFixedComparison(node)
    );
  }

  /** A constant of the file that is a literal. */
  #isFixedName(node: ts.Node): boolean {
    const value = this.#ts.isIdentifier(node) ? this.assertions.valueOf(node.text) : undefined;
    return value !== undefined && this.source.condition(value) !== undefined;
  }

  /** `1 === 1`, `x === x` */
  #isFixedComparison(node: ts.Node): boolean {
    if (!this.#ts.isBinaryExpression(node) || this.#calls(node)) return false;
    const { left, right } = node;
    return (this.#isFixed(left) && this.#isFixed(right)) || left.getText(this.source.file) === right.getText(this.source.file);
  }

  /** `toEqual({})` asks for something, `toMatchObject({})` for nothing. */
  #isLoose(names: readonly string[], wanted: string): boolean {
    return ANYTHING.test(wanted) && !names.includes("not") && (wanted !== "{}" || names.at(-1) === "toMatchObject");
  }

  #calls(node: ts.Node): boolean {
    const ts = this.#ts;
    if (ts.isCallExpression(node) || ts.isNewExpression(node)) return true;
    for (const inside of this.source.nodes(node)) if (ts.isCallExpression(inside) || ts.isNewExpression(inside)) return true;
    return false;
  }

  #isAwaited(call: ts.Node): boolean {
    const ts = this.#ts;
    let { parent } = call;
    while (
      ts.isPropertyAccessExpression(parent) ||
      (ts.isCallExpression(parent) && parent.expression !== call) ||
      ts.isParenthesizedExpression(parent)
    ) {
      if (ts.isCallExpression(parent) && parent.arguments.includes(call as ts.Expression)) return true; // Promise.all([…]), a callback's result
      parent = parent.parent;
    }
    return !ts.isExpressionStatement(parent) && !ts.isVoidExpression(parent);
  }

  /** vitest's helpers that put something else in the place of what is tested. */
  #helpers(node: ts.CallExpression): void {
    const ts = this.#ts;
    if (!ts.isPropertyAccessExpression(node.expression)) return;
    const { expression, name } = node.expression;
    const root = this.#means(expression);
    if (root === "vi" && !HARMLESS.test(name.text) && !this.source.hasReason(node))
      this.#say(node, `vi.${name.text}: what is tested must be real`);
    if (root !== "expect") return;
    if (name.text === "assertions" && node.arguments[0]?.getText(this.source.file) === "0") this.#say(node, "expects no assertion");
    if (name.text === "extend") this.#say(node, "expect.extend: a matcher of its own");
  }
}
