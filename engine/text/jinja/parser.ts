import type { Expression, MacroBody, Statement, Target } from "./ast.js";
import { constants, ExpressionParser, type Known } from "./expression-parser.js";
import { syntaxError } from "./lexer.js";
import { Text } from "./text.js";

/** What a template means. `source` is normalised; throws a TemplateFault `syntax`. */
export function parse(source: string, known: Known): readonly Statement[] {
  return new Parser(source, known).run();
}

class Parser extends ExpressionParser {
  /** Loops that a break ends here. */
  private loops = 0;

  run(): readonly Statement[] {
    const body = this.statements([]);
    const wrong = this.unknown.find(({ isOpen }) => !isOpen);
    if (wrong) syntaxError(this.source, wrong.at, wrong.what);
    return body;
  }

  /** Statements up to a tag that begins with one of these words, which is left to be read. */
  private statements(ends: readonly string[]): readonly Statement[] {
    return this.nested(() => {
      const body: Statement[] = [];
      for (;;) {
        const { type, value, at } = this.token;
        if (type === "end") {
          if (ends.length > 0) this.fail(`the template ends before ${ends.at(-1)}`);
          return body;
        }
        this.next++;
        if (type === "data") body.push({ kind: "data", at, value: new Text(value) });
        else if (type === "variable begin") {
          body.push({ kind: "output", at, value: this.tuple() });
          this.take("variable end");
        } else {
          if (this.token.type === "name" && ends.includes(this.token.value)) return body;
          body.push(...this.statement(at));
          this.take("block end");
        }
      }
    });
  }

  /** The statements between a tag that was read but for its end, and the tag of its end. */
  private body(end: string): readonly Statement[] {
    this.take("block end");
    const body = this.statements([end]);
    this.next++;
    return body;
  }

  /** Reads what has a scope of its own: filters that don't exist are found there again, and a macro ends the loops around it. */
  private inner<Result>(isLoop: boolean | undefined, read: () => Result): Result {
    const [isOpen, loops] = [this.isOpen, this.loops];
    this.isOpen = false;
    if (isLoop !== undefined) this.loops = isLoop ? loops + 1 : 0;
    const result = read();
    this.isOpen = isOpen;
    this.loops = loops;
    return result;
  }

  private statement(at: number): Statement[] {
    const word = this.take("name").value;
    switch (word) {
      case "if":
        return [this.if(at)];
      case "for":
        return [this.for(at)];
      case "set":
        return [this.set(at)];
      case "macro": {
        const name = this.assignable(this.take("name").value);
        return [{ kind: "macro", at, name, macro: this.macro("endmacro", () => {}) }];
      }
      case "call": {
        let call: Expression | undefined;
        const macro = this.macro("endcall", () => {
          call = this.expression();
        });
        if (call?.kind !== "call") return this.fail("a call block has no call", at);
        return [{ kind: "call block", at, call, macro }];
      }
      case "filter": {
        const filter = this.filters(undefined, true);
        return [{ kind: "filter block", at, filter, body: this.inner(undefined, () => this.body("endfilter")) }];
      }
      case "with":
        return [this.with(at)];
      case "generation":
        return [{ kind: "generation", at, body: this.inner(false, () => this.body("endgeneration")) }];
      case "print": {
        const values: Statement[] = [];
        while (!this.is("block end")) {
          if (values.length > 0) this.take("operator", ",");
          values.push({ kind: "output", at, value: this.expression() });
        }
        return values;
      }
      case "break":
      case "continue":
        if (this.loops === 0) this.fail(`${word} is outside a loop`, at);
        return [{ kind: word, at }];
    }
    return this.fail(
      /^(?:include|import|from|extends|block|autoescape)$/.test(word)
        ? `${word} is not supported in chat templates`
        : `unknown tag '${word.slice(0, 40)}'`,
      at,
    );
  }

  private if(at: number): Statement {
    const isOpen = this.isOpen;
    this.isOpen = true;
    const branches: { test: Expression; body: readonly Statement[] }[] = [];
    let otherwise: readonly Statement[] = [];
    for (;;) {
      const test = this.tuple(false);
      this.take("block end");
      branches.push({ test, body: this.statements(["elif", "else", "endif"]) });
      const word = this.take("name").value;
      if (word === "elif") continue;
      if (word === "else") otherwise = this.body("endif");
      break;
    }
    this.isOpen = isOpen;
    return { kind: "if", at, branches, otherwise };
  }

  private for(at: number): Statement {
    const target = this.target("in");
    this.take("name", "in");
    const over = this.tuple(false, "recursive");
    let test: Expression | undefined;
    return this.inner(true, () => {
      if (this.skip("name", "if")) test = this.expression();
      const isRecursive = this.skip("name", "recursive");
      this.take("block end");
      const body = this.statements(["endfor", "else"]);
      const hasElse = this.take("name").value === "else";
      this.loops--;
      const otherwise = hasElse ? this.body("endfor") : [];
      return { kind: "for", at, target, over, test, isRecursive, body, otherwise };
    });
  }

  private set(at: number): Statement {
    const target = this.target(undefined, true);
    if (this.skip("operator", "=")) return { kind: "set", at, target, value: this.tuple() };
    const filter = this.isOperator("|") ? this.filters(undefined, false) : undefined;
    return { kind: "set block", at, target, filter, body: this.inner(undefined, () => this.body("endset")) };
  }

  private with(at: number): Statement {
    const targets: Target[] = [];
    const values: Expression[] = [];
    while (!this.is("block end")) {
      if (targets.length > 0) this.take("operator", ",");
      targets.push(this.target());
      this.take("operator", "=");
      values.push(this.expression());
    }
    return { kind: "with", at, targets, values, body: this.inner(undefined, () => this.body("endwith")) };
  }

  /** Parameters and body of a macro or a call block; `head` reads what stands between them. */
  private macro(end: string, head: () => void): MacroBody {
    const params: { name: string; preset: Expression | undefined }[] = [];
    const uses = new Set<string>();
    const isOpen = this.isOpen;
    if (end === "endmacro" || this.isOperator("(")) {
      this.take("operator", "(");
      while (!this.isOperator(")")) {
        if (params.length > 0) this.take("operator", ",");
        const name = this.assignable(this.take("name").value);
        const preset = this.skip("operator", "=") ? this.expression() : undefined;
        if (!preset && params.at(-1)?.preset) this.fail("a parameter without a default follows one that has one");
        params.push({ name, preset });
      }
      this.take("operator", ")");
    }
    head();
    this.isOpen = isOpen;
    this.macros.push(uses);
    const body = this.inner(false, () => this.body(end));
    this.macros.pop();
    for (const { name } of params) uses.delete(name);
    return { params, body, uses };
  }

  // Targets

  private assignable(name: string): string {
    if (constants.has(name)) this.fail(`can't assign to '${name}'`);
    return name;
  }

  private target(end?: string, hasMembers = false): Target {
    const items: Target[] = [];
    let isTuple = false;
    for (;;) {
      if (items.length > 0) this.take("operator", ",");
      if (this.isTupleEnd(end)) break;
      items.push(this.oneTarget(hasMembers));
      if (!this.isOperator(",")) break;
      isTuple = true;
    }
    if (items.length === 0) this.unexpected();
    return isTuple ? { kind: "tuple", items } : items[0]!;
  }

  private oneTarget(hasMembers: boolean): Target {
    if (this.skip("operator", "(")) {
      const target = this.nested(() => this.target(undefined, hasMembers));
      this.take("operator", ")");
      return target;
    }
    const name = this.assignable(this.take("name").value);
    if (!(hasMembers && this.skip("operator", "."))) return { kind: "name", name };
    return { kind: "member", name, member: this.take("name").value };
  }
}
