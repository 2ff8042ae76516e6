import type { Arguments, ArithmeticOperator, ComparisonOperator, Expression, FilterCall } from "./ast.js";
import { Cursor } from "./cursor.js";
import { parseInteger } from "./numbers.js";
import { Text } from "./text.js";

/** Names that filters and tests have. */
export interface Known {
  readonly filters: ReadonlySet<string>;
  readonly tests: ReadonlySet<string>;
}

export const constants: ReadonlyMap<string, null | boolean> = new Map([
  ["none", null],
  ["None", null],
  ["true", true],
  ["True", true],
  ["false", false],
  ["False", false],
]);

/** Reads expressions: Jinja's precedence is not Python's, in which filters come before signs and powers go to the left. */
export abstract class ExpressionParser extends Cursor {
  private readonly known: Known;
  /**
   * Filters and tests that don't exist. Jinja refuses them before it runs, but not in the branches of an `if`, where they fail when they are
   * reached: `isOpen` is for those.
   */
  protected readonly unknown: { readonly what: string; readonly at: number; isOpen: boolean }[] = [];
  protected isOpen = false;
  /** Which special names each macro uses that is being read, the innermost last. */
  protected readonly macros: Set<string>[] = [];

  constructor(source: string, known: Known) {
    super(source);
    this.known = known;
  }

  protected isTupleEnd(end?: string): boolean {
    const { type } = this.token;
    return type === "variable end" || type === "block end" || this.isOperator(")") || (end !== undefined && this.isWord(end));
  }

  /** An expression, or several with commas between them. */
  protected tuple(hasChoice = true, end?: string, isInParentheses = false): Expression {
    const items: Expression[] = [];
    let isTuple = false;
    for (;;) {
      if (items.length > 0) this.take("operator", ",");
      if (this.isTupleEnd(end)) break;
      items.push(this.expression(hasChoice));
      if (!this.isOperator(",")) break;
      isTuple = true;
    }
    if (!isTuple && items.length > 0) return items[0]!;
    if (!isTuple && !isInParentheses) this.unexpected();
    return { kind: "tuple", items };
  }

  protected expression(hasChoice = true): Expression {
    return this.nested(() => {
      const unknown = this.unknown.length;
      let value = this.or();
      while (hasChoice && this.skip("name", "if")) {
        const test = this.or();
        const no = this.skip("name", "else") ? this.expression() : undefined;
        value = { kind: "choice", test, yes: value, no };
        for (const one of this.unknown.slice(unknown)) one.isOpen = true;
      }
      return value;
    });
  }

  protected or(): Expression {
    let left = this.and();
    while (this.skip("name", "or")) left = { kind: "or", left, right: this.and() };
    return left;
  }

  protected and(): Expression {
    let left = this.not();
    while (this.skip("name", "and")) left = { kind: "and", left, right: this.not() };
    return left;
  }

  protected not(): Expression {
    if (!this.isWord("not")) return this.compare();
    this.next++;
    return this.nested(() => ({ kind: "not", value: this.not() }));
  }

  protected compare(): Expression {
    const first = this.sum();
    const rest: [ComparisonOperator, Expression][] = [];
    for (;;) {
      const { type, value } = this.token;
      const after = this.tokens[this.next + 1];
      let operator: ComparisonOperator;
      if (type === "operator" && /^(?:==|!=|[<>]=?)$/.test(value)) operator = value as ComparisonOperator;
      else if (type === "name" && value === "in") operator = "in";
      else if (type === "name" && value === "not" && after?.type === "name" && after.value === "in") {
        operator = "not in";
        this.next++;
      } else break;
      this.next++;
      rest.push([operator, this.sum()]);
    }
    return rest.length === 0 ? first : { kind: "compare", first, rest };
  }

  protected binary(operators: readonly ArithmeticOperator[], operand: () => Expression): Expression {
    let left = operand();
    for (;;) {
      const operator = operators.find((text) => this.isOperator(text));
      if (operator === undefined) return left;
      this.next++;
      left = { kind: "binary", operator, left, right: operand() };
    }
  }

  protected sum(): Expression {
    return this.binary(["+", "-"], () => this.concat());
  }

  protected concat(): Expression {
    const items = [this.product()];
    while (this.skip("operator", "~")) items.push(this.product());
    return items.length === 1 ? items[0]! : { kind: "concat", items };
  }

  protected product(): Expression {
    return this.binary(["*", "/", "//", "%"], () => this.binary(["**"], () => this.unary(true)));
  }

  protected unary(hasFilters: boolean): Expression {
    let value: Expression;
    const sign = this.isOperator("-") ? "minus" : this.isOperator("+") ? "plus" : undefined;
    if (sign) {
      this.next++;
      value = this.nested(() => ({ kind: sign, value: this.unary(false) }));
    } else value = this.postfix(this.primary());
    return hasFilters ? this.filtersAndTests(value) : value;
  }

  protected primary(): Expression {
    const { type, value, at } = this.token;
    this.next++;
    switch (type) {
      case "name": {
        const constant = constants.get(value);
        if (constant !== undefined) return { kind: "constant", value: constant };
        if (value === "caller" || value === "varargs" || value === "kwargs") for (const macro of this.macros) macro.add(value);
        return { kind: "name", name: value };
      }
      case "string": {
        let text = value;
        while (this.is("string")) text += this.tokens[this.next++]!.value;
        return { kind: "constant", value: new Text(text) };
      }
      case "integer":
        return { kind: "constant", value: parseInteger(value, 0) ?? this.fail("not a number", at) };
      case "float":
        return { kind: "constant", value: Number(value) };
      case "operator":
        if (value === "(") {
          const inside = this.tuple(true, undefined, true);
          this.take("operator", ")");
          return inside;
        }
        if (value === "[") return { kind: "list", items: this.items("]", () => this.expression()) };
        if (value === "{") {
          const members = this.items("}", (): [Expression, Expression] => {
            const key = this.expression();
            this.take("operator", ":");
            return [key, this.expression()];
          });
          return { kind: "dict", members };
        }
    }
    this.next--;
    return this.unexpected();
  }

  /** What stands between brackets with commas; the last may have one, too. */
  protected items<Item>(close: string, read: () => Item): Item[] {
    const items: Item[] = [];
    while (!this.isOperator(close)) {
      if (items.length > 0) this.take("operator", ",");
      if (this.isOperator(close)) break;
      items.push(read());
    }
    this.next++;
    return items;
  }

  protected postfix(of: Expression): Expression {
    let value = of;
    for (;;) {
      if (this.isOperator(".") || this.isOperator("[")) value = this.subscript(value);
      else if (this.isOperator("(")) value = { kind: "call", callee: value, ...this.arguments() };
      else return value;
    }
  }

  protected filtersAndTests(of: Expression): Expression {
    let value = of;
    for (;;) {
      if (this.isOperator("|")) value = this.filters(value, false);
      else if (this.isWord("is")) value = this.test(value);
      else if (this.isOperator("(")) value = { kind: "call", callee: value, ...this.arguments() };
      else return value;
    }
  }

  protected subscript(value: Expression): Expression {
    if (this.skip("operator", ".")) {
      if (this.is("name")) return { kind: "attribute", value, name: this.take("name").value };
      const index = parseInteger(this.take("integer").value, 10);
      return { kind: "item", value, key: { kind: "constant", value: index ?? this.unexpected() } };
    }
    this.take("operator", "[");
    const keys: Expression[] = [];
    while (!this.isOperator("]")) {
      if (keys.length > 0) this.take("operator", ",");
      const part = this.slice(value);
      if (part.kind === "slice" && part.value === value) {
        this.take("operator", "]");
        return part;
      }
      keys.push(part);
    }
    this.next++;
    return { kind: "item", value, key: keys.length === 1 ? keys[0]! : { kind: "tuple", items: keys } };
  }

  /** An index, or a slice of `value`. */
  protected slice(value: Expression): Expression {
    const part = (): Expression | undefined =>
      this.isOperator(":") || this.isOperator("]") || this.isOperator(",") ? undefined : this.expression();
    const start = part();
    if (!this.skip("operator", ":")) return start ?? this.unexpected();
    const stop = part();
    const step = this.skip("operator", ":") ? part() : undefined;
    return { kind: "slice", value, start, stop, step };
  }

  protected arguments(): Arguments {
    const args: Expression[] = [];
    const keywords: [string, Expression][] = [];
    const names = new Set<string>();
    let spread: Expression | undefined;
    let keywordSpread: Expression | undefined;
    const at = this.token.at;
    this.take("operator", "(");
    const must = (holds: boolean): void => {
      if (!holds) this.fail("the arguments of a call are in an order they can't have", at);
    };
    this.items(")", () => {
      const after = this.tokens[this.next + 1];
      if (this.skip("operator", "*")) {
        must(!spread && !keywordSpread);
        spread = this.expression();
      } else if (this.skip("operator", "**")) {
        must(!keywordSpread);
        keywordSpread = this.expression();
      } else if (this.is("name") && after?.type === "operator" && after.value === "=") {
        must(!keywordSpread);
        const name = this.token.value;
        if (names.has(name)) this.fail(`the argument ${name} is given twice`);
        names.add(name);
        this.next += 2;
        keywords.push([name, this.expression()]);
      } else {
        must(!spread && !keywordSpread && keywords.length === 0);
        args.push(this.expression());
      }
    });
    return { args, keywords, spread, keywordSpread };
  }

  protected dottedName(): string {
    let name = this.take("name").value;
    while (this.skip("operator", ".")) name += `.${this.take("name").value}`;
    return name;
  }

  protected exists(names: ReadonlySet<string>, name: string, kind: "filter" | "test", at: number): void {
    if (!names.has(name)) this.unknown.push({ what: `no ${kind} named '${name.slice(0, 100)}'`, at, isOpen: this.isOpen });
  }

  /** Filters one behind the other. In a filter block the first has no | before it, and no value. */
  protected filters(of: Expression | undefined, isBlock: boolean): FilterCall {
    let value = of;
    let isFirst = isBlock;
    let filter: FilterCall | undefined;
    while (isFirst || this.isOperator("|")) {
      if (!isFirst) this.next++;
      isFirst = false;
      const { at } = this.token;
      const name = this.dottedName();
      this.exists(this.known.filters, name, "filter", at);
      const given = this.isOperator("(") ? this.arguments() : noArguments;
      filter = { kind: "filter", name, value, ...given };
      value = filter;
    }
    return filter ?? this.unexpected();
  }

  protected test(value: Expression): Expression {
    this.next++;
    const isNot = this.skip("name", "not");
    const { at } = this.token;
    const name = this.dottedName();
    this.exists(this.known.tests, name, "test", at);
    let given: Arguments = noArguments;
    const { type, value: word } = this.token;
    if (this.isOperator("(")) given = this.arguments();
    else if (
      (type === "name" && !/^(?:else|or|and)$/.test(word)) ||
      type === "string" ||
      type === "integer" ||
      type === "float" ||
      (type === "operator" && (word === "[" || word === "{"))
    ) {
      if (this.isWord("is")) this.fail("tests can't follow each other");
      given = { ...noArguments, args: [this.postfix(this.primary())] };
    }
    const test: Expression = { kind: "is", name, value, ...given };
    return isNot ? { kind: "not", value: test } : test;
  }
}

const noArguments: Arguments = { args: [], keywords: [], spread: undefined, keywordSpread: undefined };
