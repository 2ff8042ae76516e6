import { TemplateFault } from "./fault.js";
import { isNamePart } from "./letters.js";
import { isSpace } from "./text.js";

export interface Token {
  readonly type:
    | "data"
    | "variable begin"
    | "variable end"
    | "block begin"
    | "block end"
    | "name"
    | "string"
    | "integer"
    | "float"
    | "operator"
    | "end";
  /** Of a string its characters, escapes resolved; of a number what is written without underscores. */
  readonly value: string;
  /** Offset in the source, its line ends normalised. */
  readonly at: number;
}

/** The template with the line ends that Jinja gives it: all are \n, and one at the end goes. */
export function normalize(source: string): string {
  const text = source.replace(/\r\n?/g, "\n");
  return text.endsWith("\n") ? text.slice(0, -1) : text;
}

/** A syntax error, with its line. */
export function syntaxError(source: string, at: number, message: string): never {
  throw new TemplateFault("syntax", `${message} (line ${lineOf(source, at)})`);
}

export function lineOf(source: string, at: number): number {
  let line = 1;
  for (let end = source.indexOf("\n"); end >= 0 && end < at; end = source.indexOf("\n", end + 1)) line++;
  return line;
}

/** Tokens of a template; the longest known have some 10,000. */
const maxTokens = 2 ** 16;

const operators = ["//", "**", "==", "!=", ">=", "<=", ..."+-/*%~[](){}><=.:|,;"];
const closers: Readonly<Record<string, string>> = { "(": ")", "[": "]", "{": "}" };

/**
 * Cuts a normalised template into tokens, as Jinja does with trim_blocks and lstrip_blocks: the line end behind a block goes, and so does white
 * space before a block that begins a line; `-` takes all white space, `+` leaves it.
 */
export function tokenize(source: string): Token[] {
  return new Lexer(source).run();
}

class Lexer {
  readonly #source: string;
  readonly #tokens: Token[] = [];
  #at = 0;

  constructor(source: string) {
    this.#source = source;
  }

  run(): Token[] {
    while (this.#at < this.#source.length) this.#data();
    this.#push("end", "", this.#source.length);
    return this.#tokens;
  }

  #push(type: Token["type"], value: string, at: number): void {
    if (this.#tokens.length >= maxTokens) this.#fail(at, `the template has more than ${maxTokens} tokens`);
    this.#tokens.push({ type, value, at });
  }

  #fail(at: number, message: string): never {
    return syntaxError(this.#source, at, message);
  }

  #skipSpace(from: number): number {
    let at = from;
    while (at < this.#source.length && isSpace(this.#source.charCodeAt(at))) at++;
    return at;
  }

  /** Text up to the next tag, and the tag. */
  #data(): void {
    const source = this.#source;
    const start = this.#at;
    let tag = source.indexOf("{", start);
    while (tag >= 0 && !"%{#".includes(source[tag + 1] ?? " ")) tag = source.indexOf("{", tag + 1);
    if (tag < 0) {
      this.#push("data", source.slice(start), start);
      this.#at = source.length;
      return;
    }
    const kind = source[tag + 1]!;
    const sign = /[-+]/.exec(source[tag + 2] ?? "")?.[0] ?? "";
    this.#text(start, tag, sign, kind !== "{");
    this.#at = tag + 2 + sign.length;
    if (kind === "#") this.#comment(tag);
    else if (kind === "{") {
      this.#push("variable begin", "", tag);
      this.#code("}}", tag);
      this.#push("variable end", "", this.#at);
    } else if (!this.#raw(tag)) {
      this.#push("block begin", "", tag);
      this.#code("%}", tag);
      this.#push("block end", "", this.#at);
    }
  }

  /** A piece of text before a tag with this sign. */
  #text(start: number, end: number, sign: string, isBlock: boolean): void {
    const source = this.#source;
    let to = end;
    if (sign === "-") while (to > start && isSpace(source.charCodeAt(to - 1))) to--;
    else if (sign !== "+" && isBlock) {
      const lineStart = start + source.slice(start, end).lastIndexOf("\n") + 1;
      // A piece that begins in mid-line, behind another tag, keeps its white space.
      const isWholeLine = lineStart > start || start === 0 || source[start - 1] === "\n";
      if (isWholeLine && this.#skipSpace(lineStart) >= end) to = lineStart;
    }
    if (to > start) this.#push("data", source.slice(start, to), start);
  }

  #comment(tag: number): void {
    const end = this.#source.indexOf("#}", this.#at);
    if (end < 0) this.#fail(tag, "a comment has no end");
    this.#behind(end + 2, end > this.#at ? this.#source[end - 1]! : "");
  }

  /** Goes behind a tag: with - white space goes, with + nothing, otherwise a line end. */
  #behind(end: number, sign: string): void {
    this.#at = sign === "-" ? this.#skipSpace(end) : sign !== "+" && this.#source[end] === "\n" ? end + 1 : end;
  }

  /** A raw block, if it is one. */
  #raw(tag: number): boolean {
    const source = this.#source;
    const word = this.#skipSpace(this.#at);
    if (!source.startsWith("raw", word)) return false;
    const close = this.#skipSpace(word + 3);
    const isMinus = source[close] === "-";
    if (!source.startsWith("%}", isMinus ? close + 1 : close)) return false;
    const start = isMinus ? this.#skipSpace(close + 3) : close + 2;
    for (let at = source.indexOf("{%", start); at >= 0; at = source.indexOf("{%", at + 2)) {
      const sign = /[-+]/.exec(source[at + 2] ?? "")?.[0] ?? "";
      const name = this.#skipSpace(at + 2 + sign.length);
      if (!source.startsWith("endraw", name)) continue;
      let end = this.#skipSpace(name + 6);
      const endSign = /[-+]/.exec(source[end] ?? "")?.[0] ?? "";
      end += endSign.length;
      if (!source.startsWith("%}", end)) continue;
      this.#text(start, at, sign, true);
      this.#behind(end + 2, endSign);
      return true;
    }
    return this.#fail(tag, "a raw block has no end");
  }

  /** Tokens up to the end of a tag. */
  #code(end: "}}" | "%}", tag: number): void {
    const source = this.#source;
    const open: string[] = [];
    for (;;) {
      this.#at = this.#skipSpace(this.#at);
      const at = this.#at;
      if (at >= source.length) this.#fail(tag, `a tag has no ${end}`);
      if (open.length === 0) {
        if (source.startsWith(end, at)) {
          if (end === "%}") this.#behind(at + 2, "");
          else this.#at += 2;
          return;
        }
        const sign = source[at]!;
        if ((sign === "-" || (sign === "+" && end === "%}")) && source.startsWith(end, at + 1)) {
          this.#behind(at + 3, sign);
          return;
        }
      }
      this.#token(at, open);
    }
  }

  #token(at: number, open: string[]): void {
    const source = this.#source;
    const character = String.fromCodePoint(source.codePointAt(at)!);
    if (character >= "0" && character <= "9") this.#number(at);
    else if (character === "'" || character === '"') this.#string(at, character);
    else if (isNamePart(character, true)) {
      let end = at;
      while (end < source.length) {
        const next = String.fromCodePoint(source.codePointAt(end)!);
        if (!isNamePart(next, false)) break;
        end += next.length;
      }
      this.#at = end;
      this.#push("name", source.slice(at, end), at);
    } else {
      const operator =
        operators.find((text) => source.startsWith(text, at)) ?? this.#fail(at, `unexpected character ${JSON.stringify(character)}`);
      const closer = closers[operator];
      if (closer !== undefined) open.push(closer);
      else if (")]}".includes(operator)) {
        const wanted = open.pop();
        if (wanted !== operator) this.#fail(at, `unexpected '${operator}'${wanted === undefined ? "" : `, expected '${wanted}'`}`);
      }
      this.#at += operator.length;
      this.#push("operator", operator, at);
    }
  }

  #number(at: number): void {
    const source = this.#source;
    const digits = "[0-9](?:_?[0-9])*";
    const match = (pattern: string): string | undefined => {
      const regex = new RegExp(pattern, "iy");
      regex.lastIndex = at;
      return regex.exec(source)?.[0];
    };
    const float = source[at - 1] === "." ? undefined : match(`${digits}(?:(?:\\.${digits})?e[-+]?${digits}|\\.${digits})`);
    const text = float ?? match(`0b(?:_?[01])+|0o(?:_?[0-7])+|0x(?:_?[0-9a-f])+|[1-9](?:_?[0-9])*|0(?:_?0)*`)!;
    if (text.length > 4300) this.#fail(at, "a number has more than 4300 digits");
    this.#at = at + text.length;
    this.#push(float === undefined ? "integer" : "float", text.replaceAll("_", ""), at);
  }

  #string(at: number, quote: string): void {
    const source = this.#source;
    let end = at + 1;
    let value = "";
    let from = end;
    for (;;) {
      const character = source[end];
      if (character === undefined) this.#fail(at, "a string has no end");
      if (character === quote) break;
      if (character !== "\\") {
        end++;
        continue;
      }
      value += source.slice(from, end);
      const [text, length] = this.#escape(end);
      value += text;
      end += length;
      from = end;
    }
    this.#at = end + 1;
    this.#push("string", value + source.slice(from, end), at);
  }

  /** What an escape stands for, and its length; Python leaves unknown ones as they are. */
  #escape(at: number): [string, number] {
    const source = this.#source;
    const letter = source[at + 1];
    if (letter === undefined) this.#fail(at, "a string has no end");
    const simple = escapes[letter];
    if (simple !== undefined) return [simple, 2];
    const octal = /^[0-7]{1,3}/.exec(source.slice(at + 1, at + 4))?.[0];
    if (octal !== undefined) return [String.fromCharCode(Number.parseInt(octal, 8)), 1 + octal.length];
    const size = { x: 2, u: 4, U: 8 }[letter];
    if (size !== undefined) {
      const digits = source.slice(at + 2, at + 2 + size);
      const code = /^[0-9a-fA-F]+$/.test(digits) && digits.length === size ? Number.parseInt(digits, 16) : 0x110000;
      if (code > 0x10ffff) this.#fail(at, "a string has a broken escape");
      return [String.fromCodePoint(code), 2 + size];
    }
    if (letter === "N") this.#fail(at, "\\N escapes are not supported");
    return [`\\${letter}`, 2];
  }
}

const escapes: Readonly<Record<string, string>> = {
  "\n": "",
  "\\": "\\",
  "'": "'",
  '"': '"',
  a: "\x07",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
};
