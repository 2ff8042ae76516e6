import type { Arguments, ArithmeticOperator, ComparisonOperator, Expression, FilterCall, MacroBody, Statement, Target } from "./ast.js";
import { syntaxError, type Token, tokenize } from "./lexer.js";
import { parseInteger } from "./numbers.js";
import { Text } from "./text.js";

/** Names that filters and tests have. */
export interface Known {
  readonly filters: ReadonlySet<string>;
  readonly tests: ReadonlySet<string>;
}

/** Blocks within blocks, and brackets within brackets; real templates have ten. */
const maxNesting = 100;

const constants: ReadonlyMap<string, null | boolean> = new Map([
  ["none", null],
  ["None", null],
  ["true", true],
  ["True", true],
  ["false", false],
  ["False", false],
]);

/** What a template means. `source` is normalised; throws a TemplateFault `syntax`. */
export function parse(source: string, known: Known): readonly Statement[] {
  return new Parser(source, known).run();
}

class Parser {
  readonly #source: string;
  readonly #known: Known;
  readonly #tokens: readonly Token[];
  #next = 0;
  #nesting = 0;
  /**
   * Filters and tests that don't exist. Jinja refuses them before it runs, but not in the branches of an `if`, where they fail when they are
   * reached: `isOpen` is for those.
   */
  readonly #unknown: { readonly what: string; readonly at: number; isOpen: boolean }[] = [];
  #isOpen = false;
  /** Which special names each macro uses that is being read, the innermost last. */
  readonly #macros: Set<string>[] = [];
  /** Loops that a break ends here. */
  #loops = 0;

  constructor(source: string, known: Known) {
    this.#source = source;
    this.#known = known;
    this.#tokens = tokenize(source);
  }

  run(): readonly Statement[] {
    const body = this.#statements([]);
    const wrong = this.#unknown.find(({ isOpen }) => !isOpen);
    if (wrong) syntaxError(this.#source, wrong.at, wrong.what);
    return body;
  }

  get #token(): Token {
    return this.#tokens[this.#next]!;
  }

  #fail(message: string, at = this.#token.at): never {
    return syntaxError(this.#source, at, message);
  }

  #unexpected(): never {
    const { type, value } = this.#token;
    return this.#fail(
      `unexpected ${type === "end" ? "end of the template" : value === "" ? `${type}` : JSON.stringify(value.slice(0, 40))}`,
    );
  }

  #is(type: Token["type"], value?: string): boolean {
    return this.#token.type === type && (value === undefined || this.#token.value === value);
  }

  #isOperator(value: string): boolean {
    return this.#is("operator", value);
  }

  #isWord(value: string): boolean {
    return this.#is("name", value);
  }

  #take(type: Token["type"], value?: string): Token {
    if (!this.#is(type, value)) this.#unexpected();
    return this.#tokens[this.#next++]!;
  }

  #skip(type: Token["type"], value: string): boolean {
    if (!this.#is(type, value)) return false;
    this.#next++;
    return true;
  }

  #nested<Result>(read: () => Result): Result {
    if (++this.#nesting > maxNesting) this.#fail(`more than ${maxNesting} levels are nested here`);
    const result = read();
    this.#nesting--;
    return result;
  }

  // Statements

  /** Statements up to a tag that begins with one of these words, which is left to be read. */
  #statements(ends: readonly string[]): readonly Statement[] {
    return this.#nested(() => {
      const body: Statement[] = [];
      for (;;) {
        const { type, value, at } = this.#token;
        if (type === "end") {
          if (ends.length > 0) this.#fail(`the template ends before ${ends.at(-1)}`);
          return body;
        }
        this.#next++;
        if (type === "data") body.push({ kind: "data", at, value: new Text(value) });
        else if (type === "variable begin") {
          body.push({ kind: "output", at, value: this.#tuple() });
          this.#take("variable end");
        } else {
          if (this.#token.type === "name" && ends.includes(this.#token.value)) return body;
          body.push(...this.#statement(at));
          this.#take("block end");
        }
      }
    });
  }

  /** The statements between a tag that was read but for its end, and the tag of its end. */
  #body(end: string): readonly Statement[] {
    this.#take("block end");
    const body = this.#statements([end]);
    this.#next++;
    return body;
  }

  /** Reads what has a scope of its own: filters that don't exist are found there again, and a macro ends the loops around it. */
  #inner<Result>(isLoop: boolean | undefined, read: () => Result): Result {
    const [isOpen, loops] = [this.#isOpen, this.#loops];
    this.#isOpen = false;
    if (isLoop !== undefined) this.#loops = isLoop ? loops + 1 : 0;
    const result = read();
    this.#isOpen = isOpen;
    this.#loops = loops;
    return result;
  }

  #statement(at: number): Statement[] {
    const word = this.#take("name").value;
    switch (word) {
      case "if":
        return [this.#if(at)];
      case "for":
        return [this.#for(at)];
      case "set":
        return [this.#set(at)];
      case "macro": {
        const name = this.#assignable(this.#take("name").value);
        return [{ kind: "macro", at, name, macro: this.#macro("endmacro", () => {}) }];
      }
      case "call": {
        let call: Expression | undefined;
        const macro = this.#macro("endcall", () => {
          call = this.#expression();
        });
        if (call?.kind !== "call") return this.#fail("a call block has no call", at);
        return [{ kind: "call block", at, call, macro }];
      }
      case "filter": {
        const filter = this.#filters(undefined, true);
        return [{ kind: "filter block", at, filter, body: this.#inner(undefined, () => this.#body("endfilter")) }];
      }
      case "with":
        return [this.#with(at)];
      case "generation":
        return [{ kind: "generation", at, body: this.#inner(false, () => this.#body("endgeneration")) }];
      case "print": {
        const values: Statement[] = [];
        while (!this.#is("block end")) {
          if (values.length > 0) this.#take("operator", ",");
          values.push({ kind: "output", at, value: this.#expression() });
        }
        return values;
      }
      case "break":
      case "continue":
        if (this.#loops === 0) this.#fail(`${word} is outside a loop`, at);
        return [{ kind: word, at }];
    }
    return this.#fail(
      /^(?:include|import|from|extends|block|autoescape)$/.test(word)
        ? `${word} is not supported in chat templates`
        : `unknown tag '${word.slice(0, 40)}'`,
      at,
    );
  }

  #if(at: number): Statement {
    const isOpen = this.#isOpen;
    this.#isOpen = true;
    const branches: { test: Expression; body: readonly Statement[] }[] = [];
    let otherwise: readonly Statement[] = [];
    for (;;) {
      const test = this.#tuple(false);
      this.#take("block end");
      branches.push({ test, body: this.#statements(["elif", "else", "endif"]) });
      const word = this.#take("name").value;
      if (word === "elif") continue;
      if (word === "else") otherwise = this.#body("endif");
      break;
    }
    this.#isOpen = isOpen;
    return { kind: "if", at, branches, otherwise };
  }

  #for(at: number): Statement {
    const target = this.#target("in");
    this.#take("name", "in");
    const over = this.#tuple(false, "recursive");
    let test: Expression | undefined;
    return this.#inner(true, () => {
      if (this.#skip("name", "if")) test = this.#expression();
      const isRecursive = this.#skip("name", "recursive");
      this.#take("block end");
      const body = this.#statements(["endfor", "else"]);
      const hasElse = this.#take("name").value === "else";
      this.#loops--;
      const otherwise = hasElse ? this.#body("endfor") : [];
      return { kind: "for", at, target, over, test, isRecursive, body, otherwise };
    });
  }

  #set(at: number): Statement {
    const target = this.#target(undefined, true);
    if (this.#skip("operator", "=")) return { kind: "set", at, target, value: this.#tuple() };
    const filter = this.#isOperator("|") ? this.#filters(undefined, false) : undefined;
    return { kind: "set block", at, target, filter, body: this.#inner(undefined, () => this.#body("endset")) };
  }

  #with(at: number): Statement {
    const targets: Target[] = [];
    const values: Expression[] = [];
    while (!this.#is("block end")) {
      if (targets.length > 0) this.#take("operator", ",");
      targets.push(this.#target());
      this.#take("operator", "=");
      values.push(this.#expression());
    }
    return { kind: "with", at, targets, values, body: this.#inner(undefined, () => this.#body("endwith")) };
  }

  /** Parameters and body of a macro or a call block; `head` reads what stands between them. */
  #macro(end: string, head: () => void): MacroBody {
    const params: { name: string; preset: Expression | undefined }[] = [];
    const uses = new Set<string>();
    const isOpen = this.#isOpen;
    if (end === "endmacro" || this.#isOperator("(")) {
      this.#take("operator", "(");
      while (!this.#isOperator(")")) {
        if (params.length > 0) this.#take("operator", ",");
        const name = this.#assignable(this.#take("name").value);
        const preset = this.#skip("operator", "=") ? this.#expression() : undefined;
        if (!preset && params.at(-1)?.preset) this.#fail("a parameter without a default follows one that has one");
        params.push({ name, preset });
      }
      this.#take("operator", ")");
    }
    head();
    this.#isOpen = isOpen;
    this.#macros.push(uses);
    const body = this.#inner(false, () => this.#body(end));
    this.#macros.pop();
    for (const { name } of params) uses.delete(name);
    return { params, body, uses };
  }

  // Targets

  #assignable(name: string): string {
    if (constants.has(name)) this.#fail(`can't assign to '${name}'`);
    return name;
  }

  #target(end?: string, hasMembers = false): Target {
    const items: Target[] = [];
    let isTuple = false;
    for (;;) {
      if (items.length > 0) this.#take("operator", ",");
      if (this.#isTupleEnd(end)) break;
      items.push(this.#oneTarget(hasMembers));
      if (!this.#isOperator(",")) break;
      isTuple = true;
    }
    if (items.length === 0) this.#unexpected();
    return isTuple ? { kind: "tuple", items } : items[0]!;
  }

  #oneTarget(hasMembers: boolean): Target {
    if (this.#skip("operator", "(")) {
      const target = this.#nested(() => this.#target(undefined, hasMembers));
      this.#take("operator", ")");
      return target;
    }
    const name = this.#assignable(this.#take("name").value);
    if (!(hasMembers && this.#skip("operator", "."))) return { kind: "name", name };
    return { kind: "member", name, member: this.#take("name").value };
  }

  // Expressions

  #isTupleEnd(end?: string): boolean {
    const { type } = this.#token;
    return type === "variable end" || type === "block end" || this.#isOperator(")") || (end !== undefined && this.#isWord(end));
  }

  /** An expression, or several with commas between them. */
  #tuple(hasChoice = true, end?: string, isInParentheses = false): Expression {
    const items: Expression[] = [];
    let isTuple = false;
    for (;;) {
      if (items.length > 0) this.#take("operator", ",");
      if (this.#isTupleEnd(end)) break;
      items.push(this.#expression(hasChoice));
      if (!this.#isOperator(",")) break;
      isTuple = true;
    }
    if (!isTuple && items.length > 0) return items[0]!;
    if (!isTuple && !isInParentheses) this.#unexpected();
    return { kind: "tuple", items };
  }

  #expression(hasChoice = true): Expression {
    return this.#nested(() => {
      const unknown = this.#unknown.length;
      let value = this.#or();
      while (hasChoice && this.#skip("name", "if")) {
        const test = this.#or();
        const no = this.#skip("name", "else") ? this.#expression() : undefined;
        value = { kind: "choice", test, yes: value, no };
        for (const one of this.#unknown.slice(unknown)) one.isOpen = true;
      }
      return value;
    });
  }

  #or(): Expression {
    let left = this.#and();
    while (this.#skip("name", "or")) left = { kind: "or", left, right: this.#and() };
    return left;
  }

  #and(): Expression {
    let left = this.#not();
    while (this.#skip("name", "and")) left = { kind: "and", left, right: this.#not() };
    return left;
  }

  #not(): Expression {
    if (!this.#isWord("not")) return this.#compare();
    this.#next++;
    return this.#nested(() => ({ kind: "not", value: this.#not() }));
  }

  #compare(): Expression {
    const first = this.#sum();
    const rest: [ComparisonOperator, Expression][] = [];
    for (;;) {
      const { type, value } = this.#token;
      const after = this.#tokens[this.#next + 1];
      let operator: ComparisonOperator;
      if (type === "operator" && /^(?:==|!=|[<>]=?)$/.test(value)) operator = value as ComparisonOperator;
      else if (type === "name" && value === "in") operator = "in";
      else if (type === "name" && value === "not" && after?.type === "name" && after.value === "in") {
        operator = "not in";
        this.#next++;
      } else break;
      this.#next++;
      rest.push([operator, this.#sum()]);
    }
    return rest.length === 0 ? first : { kind: "compare", first, rest };
  }

  #binary(operators: readonly ArithmeticOperator[], operand: () => Expression): Expression {
    let left = operand();
    for (;;) {
      const operator = operators.find((text) => this.#isOperator(text));
      if (operator === undefined) return left;
      this.#next++;
      left = { kind: "binary", operator, left, right: operand() };
    }
  }

  #sum(): Expression {
    return this.#binary(["+", "-"], () => this.#concat());
  }

  #concat(): Expression {
    const items = [this.#product()];
    while (this.#skip("operator", "~")) items.push(this.#product());
    return items.length === 1 ? items[0]! : { kind: "concat", items };
  }

  #product(): Expression {
    return this.#binary(["*", "/", "//", "%"], () => this.#binary(["**"], () => this.#unary(true)));
  }

  #unary(hasFilters: boolean): Expression {
    let value: Expression;
    const sign = this.#isOperator("-") ? "minus" : this.#isOperator("+") ? "plus" : undefined;
    if (sign) {
      this.#next++;
      value = this.#nested(() => ({ kind: sign, value: this.#unary(false) }));
    } else value = this.#postfix(this.#primary());
    return hasFilters ? this.#filtersAndTests(value) : value;
  }

  #primary(): Expression {
    const { type, value, at } = this.#token;
    this.#next++;
    switch (type) {
      case "name": {
        const constant = constants.get(value);
        if (constant !== undefined) return { kind: "constant", value: constant };
        if (value === "caller" || value === "varargs" || value === "kwargs") for (const macro of this.#macros) macro.add(value);
        return { kind: "name", name: value };
      }
      case "string": {
        let text = value;
        while (this.#is("string")) text += this.#tokens[this.#next++]!.value;
        return { kind: "constant", value: new Text(text) };
      }
      case "integer":
        return { kind: "constant", value: parseInteger(value, 0) ?? this.#fail("not a number", at) };
      case "float":
        return { kind: "constant", value: Number(value) };
      case "operator":
        if (value === "(") {
          const inside = this.#tuple(true, undefined, true);
          this.#take("operator", ")");
          return inside;
        }
        if (value === "[") return { kind: "list", items: this.#items("]", () => this.#expression()) };
        if (value === "{") {
          const members = this.#items("}", (): [Expression, Expression] => {
            const key = this.#expression();
            this.#take("operator", ":");
            return [key, this.#expression()];
          });
          return { kind: "dict", members };
        }
    }
    this.#next--;
    return this.#unexpected();
  }

  /** What stands between brackets with commas; the last may have one, too. */
  #items<Item>(close: string, read: () => Item): Item[] {
    const items: Item[] = [];
    while (!this.#isOperator(close)) {
      if (items.length > 0) this.#take("operator", ",");
      if (this.#isOperator(close)) break;
      items.push(read());
    }
    this.#next++;
    return items;
  }

  #postfix(of: Expression): Expression {
    let value = of;
    for (;;) {
      if (this.#isOperator(".") || this.#isOperator("[")) value = this.#subscript(value);
      else if (this.#isOperator("(")) value = { kind: "call", callee: value, ...this.#arguments() };
      else return value;
    }
  }

  #filtersAndTests(of: Expression): Expression {
    let value = of;
    for (;;) {
      if (this.#isOperator("|")) value = this.#filters(value, false);
      else if (this.#isWord("is")) value = this.#test(value);
      else if (this.#isOperator("(")) value = { kind: "call", callee: value, ...this.#arguments() };
      else return value;
    }
  }

  #subscript(value: Expression): Expression {
    if (this.#skip("operator", ".")) {
      if (this.#is("name")) return { kind: "attribute", value, name: this.#take("name").value };
      const index = parseInteger(this.#take("integer").value, 10);
      return { kind: "item", value, key: { kind: "constant", value: index ?? this.#unexpected() } };
    }
    this.#take("operator", "[");
    const keys: Expression[] = [];
    while (!this.#isOperator("]")) {
      if (keys.length > 0) this.#take("operator", ",");
      const part = this.#slice(value);
      if (part.kind === "slice" && part.value === value) {
        this.#take("operator", "]");
        return part;
      }
      keys.push(part);
    }
    this.#next++;
    return { kind: "item", value, key: keys.length === 1 ? keys[0]! : { kind: "tuple", items: keys } };
  }

  /** An index, or a slice of `value`. */
  #slice(value: Expression): Expression {
    const part = (): Expression | undefined =>
      this.#isOperator(":") || this.#isOperator("]") || this.#isOperator(",") ? undefined : this.#expression();
    const start = part();
    if (!this.#skip("operator", ":")) return start ?? this.#unexpected();
    const stop = part();
    const step = this.#skip("operator", ":") ? part() : undefined;
    return { kind: "slice", value, start, stop, step };
  }

  #arguments(): Arguments {
    const args: Expression[] = [];
    const keywords: [string, Expression][] = [];
    const names = new Set<string>();
    let spread: Expression | undefined;
    let keywordSpread: Expression | undefined;
    const at = this.#token.at;
    this.#take("operator", "(");
    const must = (holds: boolean): void => {
      if (!holds) this.#fail("the arguments of a call are in an invalid order", at);
    };
    this.#items(")", () => {
      const after = this.#tokens[this.#next + 1];
      if (this.#skip("operator", "*")) {
        must(!spread && !keywordSpread);
        spread = this.#expression();
      } else if (this.#skip("operator", "**")) {
        must(!keywordSpread);
        keywordSpread = this.#expression();
      } else if (this.#is("name") && after?.type === "operator" && after.value === "=") {
        must(!keywordSpread);
        const name = this.#token.value;
        if (names.has(name)) this.#fail(`the argument ${name} is given twice`);
        names.add(name);
        this.#next += 2;
        keywords.push([name, this.#expression()]);
      } else {
        must(!spread && !keywordSpread && keywords.length === 0);
        args.push(this.#expression());
      }
    });
    return { args, keywords, spread, keywordSpread };
  }

  #dottedName(): string {
    let name = this.#take("name").value;
    while (this.#skip("operator", ".")) name += `.${this.#take("name").value}`;
    return name;
  }

  #exists(names: ReadonlySet<string>, name: string, kind: "filter" | "test", at: number): void {
    if (!names.has(name)) this.#unknown.push({ what: `no ${kind} named '${name.slice(0, 100)}'`, at, isOpen: this.#isOpen });
  }

  /** Filters one behind the other. In a filter block the first has no | before it, and no value. */
  #filters(of: Expression | undefined, isBlock: boolean): FilterCall {
    let value = of;
    let isFirst = isBlock;
    let filter: FilterCall | undefined;
    while (isFirst || this.#isOperator("|")) {
      if (!isFirst) this.#next++;
      isFirst = false;
      const { at } = this.#token;
      const name = this.#dottedName();
      this.#exists(this.#known.filters, name, "filter", at);
      const given = this.#isOperator("(") ? this.#arguments() : noArguments;
      filter = { kind: "filter", name, value, ...given };
      value = filter;
    }
    return filter ?? this.#unexpected();
  }

  #test(value: Expression): Expression {
    this.#next++;
    const isNot = this.#skip("name", "not");
    const { at } = this.#token;
    const name = this.#dottedName();
    this.#exists(this.#known.tests, name, "test", at);
    let given: Arguments = noArguments;
    const { type, value: word } = this.#token;
    if (this.#isOperator("(")) given = this.#arguments();
    else if (
      (type === "name" && !/^(?:else|or|and)$/.test(word)) ||
      type === "string" ||
      type === "integer" ||
      type === "float" ||
      (type === "operator" && (word === "[" || word === "{"))
    ) {
      if (this.#isWord("is")) this.#fail("tests can't follow each other");
      given = { ...noArguments, args: [this.#postfix(this.#primary())] };
    }
    const test: Expression = { kind: "is", name, value, ...given };
    return isNot ? { kind: "not", value: test } : test;
  }
}

const noArguments: Arguments = { args: [], keywords: [], spread: undefined, keywordSpread: undefined };
