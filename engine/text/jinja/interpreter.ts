import type { Arguments, Expression, FilterCall, MacroBody, Statement, Target } from "./ast.js";
import { fail, TemplateFault } from "./fault.js";
import { filter } from "./filters.js";
import { collected, Loop } from "./globals.js";
import type { Meter } from "./meter.js";
import { negate, toBig } from "./numbers.js";
import { binary, getAttribute, getItem, slice } from "./operators.js";
import { holds } from "./predicates.js";
import { str } from "./print.js";
import { concat, empty, Text, TextBuilder } from "./text.js";
import {
  compare,
  contains,
  Dict,
  dictOf,
  equal,
  Func,
  isInteger,
  isTrue,
  iterate,
  type Keywords,
  List,
  Namespace,
  Thing,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from "./values.js";

/** Names and what they stand for, within others. */
class Scope {
  readonly #names = new Map<string, Value>();
  /** Scopes around this one. */
  readonly depth: number;

  constructor(readonly outer: Scope | ReadonlyMap<string, Value>) {
    this.depth = outer instanceof Scope ? outer.depth + 1 : 0;
  }

  get(name: string): Value | undefined {
    const own = this.#names.get(name);
    return own === undefined ? this.outer.get(name) : own;
  }

  set(name: string, value: Value): void {
    this.#names.set(name, value);
  }
}

/** How a statement ended: by itself, or by a break or continue of the loop around it. */
type Ending = "end" | "break" | "continue";

class Macro extends Func {
  override readonly typeName = "Macro";
  override attribute(name: string): Value | undefined {
    return name === "name" ? new Text(this.name) : undefined;
  }
}

/** Runs a parsed template. Throws a TemplateFault. */
export class Interpreter {
  readonly #meter: Meter;
  readonly #names: ReadonlyMap<string, Value>;
  /** Offset of the statement that runs, or of the one that failed. */
  at = 0;

  constructor(names: ReadonlyMap<string, Value>, meter: Meter) {
    this.#names = names;
    this.#meter = meter;
  }

  run(body: readonly Statement[]): Text {
    return this.#write(body, new Scope(this.#names));
  }

  /** What statements that are in no loop of their own write. */
  #write(body: readonly Statement[], scope: Scope): Text {
    const out = new TextBuilder(this.#meter);
    this.#runAll(body, scope, out);
    return out.text();
  }

  #runAll(body: readonly Statement[], scope: Scope, out: TextBuilder): Ending {
    this.#meter.enter();
    for (const statement of body) {
      const ending = this.#run(statement, scope, out);
      if (ending !== "end") {
        this.#meter.leave();
        return ending;
      }
    }
    this.#meter.leave();
    return "end";
  }

  #run(statement: Statement, scope: Scope, out: TextBuilder): Ending {
    this.#meter.step();
    this.at = statement.at;
    switch (statement.kind) {
      case "data":
        out.add(statement.value as Text);
        return "end";
      case "output":
        out.add(str(this.#value(statement.value, scope), this.#meter));
        return "end";
      case "if": {
        const branch = statement.branches.find(({ test }) => isTrue(this.#value(test, scope)));
        return this.#runAll(branch ? branch.body : statement.otherwise, scope, out);
      }
      case "for":
        this.#loop(statement, this.#value(statement.over, scope), scope, 1, out);
        return "end";
      case "break":
      case "continue":
        return statement.kind;
      case "set":
        this.#assign(statement.target, this.#value(statement.value, scope), scope);
        return "end";
      case "set block": {
        const text = this.#write(statement.body, new Scope(scope));
        this.#assign(statement.target, statement.filter ? this.#filter(statement.filter, text, scope) : text, scope);
        return "end";
      }
      case "filter block": {
        const inner = new Scope(scope);
        out.add(asText(this.#filter(statement.filter, this.#write(statement.body, inner), inner)));
        return "end";
      }
      case "with": {
        const inner = new Scope(scope);
        const values = statement.values.map((value) => this.#value(value, scope));
        for (const [i, target] of statement.targets.entries()) this.#assign(target, values[i]!, inner);
        return this.#runAll(statement.body, inner, out);
      }
      case "macro":
        scope.set(statement.name, this.#macro(statement.name, statement.macro, scope));
        return "end";
      case "call block": {
        const { callee, ...given } = statement.call;
        const caller = this.#macro("caller", statement.macro, scope);
        const keywords = new Map([...this.#keywords(given, scope), ["caller", caller]]);
        out.add(asText(this.#call(this.#value(callee, scope), this.#arguments(given, scope), keywords)));
        return "end";
      }
      case "generation":
        out.add(this.#write(statement.body, new Scope(scope)));
        return "end";
    }
  }

  #loop(statement: Extract<Statement, { kind: "for" }>, over: Value, scope: Scope, depth: number, out: TextBuilder): void {
    const { target, test, body, otherwise } = statement;
    const meter = this.#meter;
    let items = iterate(over, meter);
    if (test) {
      items = items.filter((item) => {
        const inner = new Scope(scope);
        this.#assign(target, item, inner);
        return isTrue(this.#value(test, inner));
      });
      meter.elements(items.length);
    }
    const recurse = (inside: Value, deeper: number): Text => {
      const written = new TextBuilder(meter);
      meter.enter();
      this.#loop(statement, inside, scope, deeper, written);
      meter.leave();
      return written.text();
    };
    const loop = new Loop(
      items,
      depth,
      statement.isRecursive ? recurse : undefined,
      (a, b) => equal(a, b, meter),
      (why) => new Undefined(why),
    );
    let isWhole = false;
    for (const [at, item] of items.entries()) {
      meter.step();
      loop.at = at;
      const inner = new Scope(scope);
      inner.set("loop", loop);
      this.#assign(target, item, inner);
      const ending = this.#runAll(body, inner, out);
      if (ending === "break") break;
      isWhole ||= ending === "end";
    }
    // Jinja's else is for loops of which no round came to its end: one that a break or continue cut short is none.
    if (!isWhole) this.#runAll(otherwise, new Scope(scope), out);
  }

  #assign(target: Target, value: Value, scope: Scope): void {
    if (target.kind === "name") scope.set(target.name, value);
    else if (target.kind === "member") {
      const namespace = scope.get(target.name);
      if (!(namespace instanceof Namespace)) fail("cannot assign attribute on non-namespace object");
      namespace.values.set(target.member, value);
    } else {
      const items = iterate(value, this.#meter);
      if (items.length !== target.items.length) {
        fail(`${target.items.length} values are needed here, but ${items.length} are given`);
      }
      for (const [i, item] of items.entries()) this.#assign(target.items[i]!, item, scope);
    }
  }

  #macro(name: string, { params, body, uses }: MacroBody, scope: Scope): Macro {
    const call = (args: readonly Value[], given: Keywords): Value => {
      const meter = this.#meter;
      meter.enter();
      const at = this.at;
      const inner = new Scope(scope);
      const keywords = new Map(given);
      for (const [i, { name: param, preset }] of params.entries()) {
        let value: Value | undefined = args[i];
        if (value === undefined) {
          value = keywords.get(param);
          keywords.delete(param);
        }
        if (value === undefined) value = preset ? this.#value(preset, inner) : new Undefined(`parameter '${param}' was not provided`);
        inner.set(param, value);
      }
      if (uses.has("caller")) {
        const caller = keywords.get("caller");
        inner.set("caller", caller === undefined ? new Undefined("No caller defined") : caller);
        keywords.delete("caller");
      }
      const rest = collected(args.slice(params.length), keywords, meter);
      if (uses.has("kwargs")) inner.set("kwargs", rest.kwargs);
      else for (const keyword of keywords.keys()) fail(`macro '${name}' takes no keyword argument '${keyword.slice(0, 100)}'`);
      if (uses.has("varargs")) inner.set("varargs", rest.varargs);
      else if (args.length > params.length) fail(`macro '${name}' takes not more than ${params.length} argument(s)`);
      const text = this.#write(body, inner);
      this.at = at;
      meter.leave();
      return text;
    };
    return new Macro(name, call);
  }

  // Expressions

  #arguments({ args, spread }: Arguments, scope: Scope): Value[] {
    const values = args.map((arg) => this.#value(arg, scope));
    if (!spread) return values;
    const more = iterate(this.#value(spread, scope), this.#meter);
    this.#meter.elements(more.length);
    return [...values, ...more];
  }

  #keywords({ keywords, keywordSpread }: Arguments, scope: Scope): Keywords {
    const values = new Map(keywords.map(([name, value]) => [name, this.#value(value, scope)]));
    if (!keywordSpread) return values;
    const more = this.#value(keywordSpread, scope);
    if (!(more instanceof Dict)) fail(`argument after ** must be a mapping, not ${typeName(more)}`);
    this.#meter.elements(more.members.size);
    for (const [key, value] of more.members.values()) {
      if (!(key instanceof Text)) fail("keywords must be strings");
      if (values.has(key.value)) fail(`got multiple values for keyword argument '${key.value.slice(0, 100)}'`);
      values.set(key.value, value);
    }
    return values;
  }

  #call(callee: Value, args: readonly Value[], keywords: Keywords): Value {
    if (callee instanceof Undefined) fail(callee.why);
    if (!(callee instanceof Thing) || !callee.call) fail(`'${typeName(callee)}' object is not callable`);
    return callee.call(args, keywords);
  }

  #filter(call: FilterCall, written: Text, scope: Scope): Value {
    this.#meter.enter();
    const value =
      call.value === undefined
        ? written
        : call.value.kind === "filter"
          ? this.#filter(call.value, written, scope)
          : this.#value(call.value, scope);
    const result = filter(call.name, value, this.#arguments(call, scope), this.#keywords(call, scope), this.#meter);
    this.#meter.leave();
    return result;
  }

  #value(expression: Expression, scope: Scope): Value {
    this.#meter.enter();
    const value = this.#evaluate(expression, scope);
    this.#meter.leave();
    return value;
  }

  #evaluate(expression: Expression, scope: Scope): Value {
    const meter = this.#meter;
    switch (expression.kind) {
      case "constant":
        return expression.value;
      case "name": {
        meter.step(scope.depth >> 3); // it may be looked for in all of them
        const value = scope.get(expression.name);
        return value === undefined ? new Undefined(`'${expression.name.slice(0, 100)}' is undefined`) : value;
      }
      case "list":
      case "tuple": {
        meter.elements(expression.items.length);
        const items = expression.items.map((item) => this.#value(item, scope));
        return expression.kind === "list" ? new List(items) : new Tuple(items);
      }
      case "concat": {
        let text: Text = empty;
        for (const item of expression.items) text = concat(text, plain(str(this.#value(item, scope), meter)), meter);
        return text;
      }
      case "dict":
        return dictOf(
          expression.members.map(([key, value]) => [this.#value(key, scope), this.#value(value, scope)] as const),
          meter,
        );
      case "attribute":
        return getAttribute(this.#value(expression.value, scope), expression.name, meter);
      case "item":
        return getItem(this.#value(expression.value, scope), this.#value(expression.key, scope), meter);
      case "slice": {
        const part = (bound: Expression | undefined): Value => (bound ? this.#value(bound, scope) : null);
        const value = this.#value(expression.value, scope);
        return slice(value, part(expression.start), part(expression.stop), part(expression.step), meter);
      }
      case "call": {
        const callee = this.#value(expression.callee, scope);
        return this.#call(callee, this.#arguments(expression, scope), this.#keywords(expression, scope));
      }
      case "filter":
        return this.#filter(expression, empty, scope);
      case "is": {
        const value = this.#value(expression.value, scope);
        return holds(expression.name, value, this.#arguments(expression, scope), this.#keywords(expression, scope), meter);
      }
      case "not":
        return !isTrue(this.#value(expression.value, scope));
      case "minus":
      case "plus": {
        const value = this.#value(expression.value, scope);
        if (value instanceof Undefined) fail(value.why);
        if (expression.kind === "minus") return negate(value);
        return typeof value === "number"
          ? value
          : isInteger(value)
            ? toBig(value)
            : fail(`bad operand type for unary +: '${typeName(value)}'`);
      }
      case "binary":
        return binary(expression.operator, this.#value(expression.left, scope), this.#value(expression.right, scope), meter);
      case "and":
      case "or": {
        const left = this.#value(expression.left, scope);
        return isTrue(left) === (expression.kind === "or") ? left : this.#value(expression.right, scope);
      }
      case "compare":
        return this.#compare(expression, scope);
      case "choice":
        if (isTrue(this.#value(expression.test, scope))) return this.#value(expression.yes, scope);
        return expression.no ? this.#value(expression.no, scope) : new Undefined("an if without else has no value here");
    }
  }

  #compare({ first, rest }: Extract<Expression, { kind: "compare" }>, scope: Scope): boolean {
    const meter = this.#meter;
    let left = this.#value(first, scope);
    for (const [operator, expression] of rest) {
      const right = this.#value(expression, scope);
      let isTrueHere: boolean;
      if (operator === "==") isTrueHere = equal(left, right, meter);
      else if (operator === "!=") isTrueHere = !equal(left, right, meter);
      else if (operator === "in") isTrueHere = contains(right, left, meter);
      else if (operator === "not in") isTrueHere = !contains(right, left, meter);
      else {
        const order = compare(left, right, operator, meter);
        isTrueHere = operator === "<" ? order < 0 : operator === "<=" ? order <= 0 : operator === ">" ? order > 0 : order >= 0;
      }
      if (!isTrueHere) return false;
      left = right;
    }
    return true;
  }
}

/** What a filter block or a call block writes: Python joins nothing but texts. */
function asText(value: Value): Text {
  return value instanceof Text ? value : fail(`a block can write a text alone, and this one gives ${typeName(value)}`);
}

/** ~ joins what texts say: nothing is escaped. */
function plain(text: Text): Text {
  return text.isMarkup ? new Text(text.value, text.marks) : text;
}

/** A failure that no template makes by itself: the stack is at its end, or a text longer than JavaScript's. */
export function asFault(error: unknown): unknown {
  return error instanceof RangeError ? new TemplateFault("limit", "it goes deeper than the stack of this process allows") : error;
}
