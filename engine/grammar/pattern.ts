import { quote } from "../container/quote.js";
import {
  choice,
  type Expression,
  inBoth,
  LAST_CHARACTER,
  normalRanges,
  nothing,
  otherThan,
  type Ranges,
  repeat,
  sequence,
} from "./expression.js";
import { grammarLimits } from "./limits.js";

/** Why a pattern can't be used, for "the pattern …". */
export class PatternError extends Error {}

const range = (...ranges: readonly string[]): Ranges =>
  normalRanges(ranges.map((one) => [one.codePointAt(0)!, one.codePointAt(one.length - 1)!] as const));

const lineEnds = range("\n", "\r", "\u2028\u2029");
const classes: Readonly<Record<string, Ranges>> = {
  d: range("09"),
  w: range("09", "AZ", "__", "az"),
  s: range("\t\r", " ", "\u00a0", "\u1680", "\u2000\u200a", "\u2028\u2029", "\u202f", "\u205f", "\u3000", "\ufeff"),
};
const controls: Readonly<Record<string, number>> = { t: 9, n: 10, v: 11, f: 12, r: 13, 0: 0 };

/**
 * An ECMAScript regular expression (flag u) as a language: the texts in which it is found. `written` says how a character of a set is written.
 * Groups, alternatives, sets, counts, ^ and $ are known; lookaround, references back, \b, \p and modifiers are not regular, or hang on
 * the version of Unicode.
 * @throws PatternError
 */
export function patternTexts(pattern: string, written: (ranges: Ranges) => Expression): Expression {
  if (pattern.length > grammarLimits.pattern) {
    throw new PatternError(`has ${pattern.length} characters, but the limit is ${grammarLimits.pattern}`);
  }
  try {
    new RegExp(pattern, "u"); // is only read
  } catch (error) {
    throw new PatternError(`is no regular expression: ${(error as Error).message}`);
  }
  const any = repeat(written([[0, LAST_CHARACTER]]), 0, Infinity);
  return { kind: "anchored", body: sequence(any, new Parser(pattern, written).whole(), any) };
}

/** A reader of a pattern that RegExp accepts. */
class Parser {
  readonly #characters: readonly string[];
  readonly #written: (ranges: Ranges) => Expression;
  #at = 0;
  #depth = 0;

  constructor(pattern: string, written: (ranges: Ranges) => Expression) {
    this.#characters = [...pattern];
    this.#written = written;
  }

  whole(): Expression {
    const expression = this.#alternatives();
    if (this.#at < this.#characters.length) throw this.#unknown();
    return expression;
  }

  #alternatives(): Expression {
    if (++this.#depth > grammarLimits.nesting) throw new PatternError(`has more than ${grammarLimits.nesting} groups in each other`);
    const options = [this.#sequence()];
    while (this.#take("|")) options.push(this.#sequence());
    this.#depth--;
    return options.length === 1 ? options[0]! : choice(...options);
  }

  #sequence(): Expression {
    const parts: Expression[] = [];
    while (this.#at < this.#characters.length && this.#next !== "|" && this.#next !== ")") parts.push(this.#counted(this.#atom()));
    return parts.length === 0 ? nothing : sequence(...parts);
  }

  #atom(): Expression {
    if (this.#take("(")) {
      if (this.#take("?") && !this.#take(":")) {
        if (!this.#take("<") || this.#next === "=" || this.#next === "!")
          throw new PatternError("has lookaround or modifiers, (?…, which are not supported");
        while (!this.#take(">")) this.#at++;
      }
      const body = this.#alternatives();
      this.#expect(")");
      return body;
    }
    if (this.#take("^")) return { kind: "begin" };
    if (this.#take("$")) return { kind: "end" };
    if (this.#take(".")) return this.#written(otherThan(lineEnds));
    if (this.#take("[")) return this.#written(this.#set());
    if (this.#take("\\")) return this.#written(this.#escape());
    return this.#written(one(this.#character()));
  }

  /** Characters between brackets. */
  #set(): Ranges {
    const isNot = this.#take("^");
    const ranges: (readonly [number, number])[] = [];
    while (!this.#take("]")) {
      const first = this.#member();
      if (this.#next === "-" && this.#characters[this.#at + 1] !== "]") {
        this.#at++;
        ranges.push([first[0]![0], this.#member()[0]![0]]);
      } else {
        ranges.push(...first);
      }
    }
    const normal = normalRanges(ranges);
    return isNot ? otherThan(normal) : normal;
  }

  #member(): Ranges {
    if (!this.#take("\\")) return one(this.#character());
    if (this.#take("b")) return one(8);
    return this.#escape();
  }

  /** What follows a backslash. */
  #escape(): Ranges {
    const letter = this.#characters[this.#at++] ?? "";
    const lower = letter.toLowerCase();
    const named = classes[lower];
    if (named !== undefined) return letter === lower ? named : otherThan(named);
    const control = controls[letter];
    if (control !== undefined) return one(control);
    if (letter === "c") return one(this.#character() % 32);
    if (letter === "x") return one(this.#hex(2));
    if (letter === "u") return one(this.#unicode());
    if (/[A-Za-z0-9]/.test(letter)) throw new PatternError(`has \\${letter}, which is not supported`);
    return one(letter.codePointAt(0)!);
  }

  #unicode(): number {
    if (this.#take("{")) {
      const start = this.#at;
      while (!this.#take("}")) this.#at++;
      return Number.parseInt(this.#characters.slice(start, this.#at - 1).join(""), 16);
    }
    const unit = this.#hex(4);
    const follows = this.#characters.slice(this.#at, this.#at + 6).join("");
    if (unit < 0xd800 || unit > 0xdbff || !/^\\u[dD][c-fC-F][0-9a-fA-F]{2}$/.test(follows)) return unit;
    this.#at += 6;
    return 0x10000 + ((unit - 0xd800) << 10) + (Number.parseInt(follows.slice(2), 16) - 0xdc00);
  }

  #hex(length: number): number {
    this.#at += length;
    return Number.parseInt(this.#characters.slice(this.#at - length, this.#at).join(""), 16);
  }

  /** A part as often as what follows it says. Lazy or not makes no difference to which texts fit. */
  #counted(part: Expression): Expression {
    let [least, most] = [1, 1];
    if (this.#take("*")) [least, most] = [0, Infinity];
    else if (this.#take("+")) [least, most] = [1, Infinity];
    else if (this.#take("?")) [least, most] = [0, 1];
    else if (this.#take("{")) {
      const start = this.#at;
      while (!this.#take("}")) this.#at++;
      const [from = "", to] = this.#characters
        .slice(start, this.#at - 1)
        .join("")
        .split(",");
      least = Number(from);
      most = to === undefined ? least : to === "" ? Infinity : Number(to);
    } else return part;
    this.#take("?");
    for (const count of [least, most]) {
      if (count < Infinity && count > grammarLimits.parts)
        throw new PatternError(`repeats a part ${count} times, but the limit is ${grammarLimits.parts}`);
    }
    return repeat(part, least, most);
  }

  get #next(): string | undefined {
    return this.#characters[this.#at];
  }

  #character(): number {
    return this.#characters[this.#at++]?.codePointAt(0) ?? 0;
  }

  #take(character: string): boolean {
    if (this.#next !== character) {
      if (this.#at >= this.#characters.length + 8) throw this.#unknown(); // a reader that finds no end of a bracket
      return false;
    }
    this.#at++;
    return true;
  }

  #expect(character: string): void {
    if (!this.#take(character)) throw this.#unknown();
  }

  #unknown(): PatternError {
    return new PatternError(`${quote(this.#characters.join(""))} is not understood`);
  }
}

const one = (code: number): Ranges => (code >= 0xd800 && code <= 0xdfff ? inBoth([], []) : [[code, code]]);
