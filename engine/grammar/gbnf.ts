import { quote } from "../container/quote.js";
import { BitnetError } from "../errors.js";
import {
  characters,
  choice,
  type Expression,
  LAST_CHARACTER,
  normalRanges,
  nothing,
  otherThan,
  type Ranges,
  repeat,
  rule,
  sequence,
  text,
} from "./expression.js";
import { compileRules, type Grammar, type Rule } from "./grammar.js";
import { grammarLimits } from "./limits.js";

/**
 * The texts of a grammar in GBNF, llama.cpp's notation (grammars/README.md there): `name ::= …` in any order, with the rule `root` for the whole;
 * "text", [a-z] and [^a-z], `.`, ( ), |, * + ? {n} {n,} {n,m}, comments from # on. Escapes in text and sets: \n \r \t \\ \" \[ \] \- \^ \xHH \uHHHH
 * \UHHHHHHHH. A rule may contain itself, but not begin with itself.
 * @throws BitnetError usage: it names the line
 */
export function compileGrammar(source: string): Grammar {
  if (source.length > grammarLimits.source) {
    throw new BitnetError("usage", `the grammar has ${source.length} characters, but the limit is ${grammarLimits.source}`);
  }
  return compileRules(new Reader(source).rules());
}

const named: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t" };
const codeLengths: Readonly<Record<string, number>> = { x: 2, u: 4, U: 8 };

class Reader {
  readonly #source: string;
  #at = 0;
  #depth = 0;
  /** Numbers of the rules, in the order in which they are named; the first is `root`. */
  readonly #numbers = new Map([["root", 0]]);
  /** Where each was first named. */
  readonly #named: number[] = [0];
  readonly #expressions = new Map<number, Expression>();

  constructor(source: string) {
    this.#source = source;
  }

  rules(): Rule[] {
    this.#blank(true);
    while (this.#at < this.#source.length) {
      const start = this.#at;
      const number = this.#numberOf(this.#name());
      this.#blank(true);
      if (!this.#take("::=")) this.#fail("a rule is written name ::= what it stands for");
      if (this.#expressions.has(number)) this.#fail("there are two rules of this name", start);
      this.#blank(true);
      this.#expressions.set(number, this.#alternatives(false));
      this.#blank(true);
    }
    return [...this.#numbers].map(([name, number]) => {
      const expression = this.#expressions.get(number);
      if (expression === undefined && number === 0)
        throw new BitnetError("usage", "the grammar has no rule root, which stands for the whole");
      if (expression === undefined) this.#fail(`there is no rule ${quote(name)}`, this.#named[number]);
      return { name: `the grammar's rule ${quote(name)}`, expression: expression! };
    });
  }

  /** @param isInside brackets: an alternative may go on in the next line */
  #alternatives(isInside: boolean): Expression {
    if (++this.#depth > grammarLimits.nesting) this.#fail(`there are more than ${grammarLimits.nesting} brackets in each other`);
    const options = [this.#sequence(isInside)];
    while (this.#take("|")) {
      this.#blank(true);
      options.push(this.#sequence(isInside));
    }
    this.#depth--;
    return options.length === 1 ? options[0]! : choice(...options);
  }

  #sequence(isInside: boolean): Expression {
    const parts: Expression[] = [];
    for (;;) {
      this.#blank(isInside);
      const next = this.#source[this.#at];
      if (next === undefined || next === "\n" || next === "\r" || next === "|" || next === ")") break;
      parts.push(this.#counted(this.#atom(), isInside));
    }
    // The next line may go on with |, as people write it.
    if (!isInside) {
      const before = this.#at;
      this.#blank(true);
      if (this.#source[this.#at] !== "|") this.#at = before;
    }
    return parts.length === 0 ? nothing : sequence(...parts);
  }

  #atom(): Expression {
    if (this.#take('"')) return text(this.#quoted());
    if (this.#take("[")) return characters(this.#set());
    if (this.#take(".")) return characters([[0, LAST_CHARACTER]]);
    if (this.#take("(")) {
      const body = this.#alternatives(true);
      if (!this.#take(")")) this.#fail("a bracket is not closed");
      return body;
    }
    return rule(this.#numberOf(this.#name()));
  }

  #counted(part: Expression, isInside: boolean): Expression {
    let counted = part;
    for (;;) {
      this.#blank(isInside);
      if (this.#take("*")) counted = repeat(counted, 0, Infinity);
      else if (this.#take("+")) counted = repeat(counted, 1, Infinity);
      else if (this.#take("?")) counted = repeat(counted, 0, 1);
      else if (this.#take("{")) {
        const [, from, comma, to] = this.#match(/\s*(\d+)\s*(,?)\s*(\d*)\s*\}/y) ?? this.#fail("a count is written {n}, {n,} or {n,m}");
        const least = Number(from);
        const most = comma === "" ? least : to === "" ? Infinity : Number(to);
        if (least > most) this.#fail(`the count {${least},${most}} has no number`);
        for (const count of [least, most]) {
          if (count < Infinity && count > grammarLimits.parts)
            this.#fail(`a part is repeated ${count} times, but the limit is ${grammarLimits.parts}`);
        }
        counted = repeat(counted, least, most);
      } else return counted;
    }
  }

  #quoted(): string {
    let quoted = "";
    while (!this.#take('"')) quoted += String.fromCodePoint(this.#character("a text in quotes"));
    return quoted;
  }

  #set(): Ranges {
    const isNot = this.#take("^");
    const ranges: [number, number][] = [];
    while (!this.#take("]")) {
      const first = this.#character("a set in brackets");
      let last = first;
      if (this.#source[this.#at] === "-" && this.#source[this.#at + 1] !== "]") {
        this.#at++;
        last = this.#character("a set in brackets");
      }
      if (first > last) this.#fail("a range in brackets ends before it begins");
      ranges.push([first, last]);
    }
    const normal = normalRanges(ranges);
    return isNot ? otherThan(normal) : normal;
  }

  /** One character, escaped or not. */
  #character(where: string): number {
    const code = this.#source.codePointAt(this.#at);
    if (code === undefined || code === 0x0a) this.#fail(`${where} is not closed`);
    this.#at += code! > 0xffff ? 2 : 1;
    if (code !== 0x5c) return this.#valid(code!);
    const letter = this.#source[this.#at++] ?? "";
    const length = codeLengths[letter];
    if (length !== undefined) {
      const [digits] = this.#match(new RegExp(`[0-9A-Fa-f]{${length}}`, "y")) ?? this.#fail(`\\${letter} has ${length} hexadecimal digits`);
      return this.#valid(Number.parseInt(digits!, 16));
    }
    if (named[letter] === undefined && !'\\"[]-^'.includes(letter)) this.#fail(`the escape \\${letter} is unknown`);
    return (named[letter] ?? letter).codePointAt(0) ?? this.#fail("a backslash stands at the end");
  }

  #valid(code: number): number {
    if (code > LAST_CHARACTER || (code >= 0xd800 && code <= 0xdfff)) this.#fail(`U+${code.toString(16).toUpperCase()} is no character`);
    return code;
  }

  #name(): string {
    const [name] = this.#match(/[A-Za-z][\w-]*/y) ?? this.#fail("a rule's name, a text, a set or a bracket should be here");
    return name!;
  }

  #numberOf(name: string): number {
    let number = this.#numbers.get(name);
    if (number === undefined) {
      number = this.#numbers.size;
      this.#numbers.set(name, number);
      this.#named[number] = this.#at;
    }
    return number;
  }

  /** Passes spaces and comments, and line ends where the rule may go on. */
  #blank(withLines: boolean): void {
    do this.#match(withLines ? /\s*/y : /[ \t]*/y);
    while (this.#match(/#[^\n]*/y) !== undefined);
  }

  #match(pattern: RegExp): RegExpExecArray | undefined {
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.#source) ?? undefined;
    if (match !== undefined) this.#at = pattern.lastIndex;
    return match;
  }

  #take(word: string): boolean {
    if (!this.#source.startsWith(word, this.#at)) return false;
    this.#at += word.length;
    return true;
  }

  #fail(message: string, at = this.#at): never {
    const line = this.#source.slice(0, at).split("\n").length;
    throw new BitnetError("usage", `the grammar's line ${line}: ${message}`);
  }
}
