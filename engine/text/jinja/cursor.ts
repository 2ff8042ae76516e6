import { syntaxError, type Token, tokenize } from "./lexer.js";

/** Blocks within blocks, and brackets within brackets; real templates have ten. */
const maxNesting = 100;

/** A place among the tokens of a template, and what can be asked there. */
export abstract class Cursor {
  protected readonly source: string;
  protected readonly tokens: readonly Token[];
  protected next = 0;
  private nesting = 0;

  /** `source` is normalised. */
  constructor(source: string) {
    this.source = source;
    this.tokens = tokenize(source);
  }

  protected get token(): Token {
    return this.tokens[this.next]!;
  }

  protected fail(message: string, at = this.token.at): never {
    return syntaxError(this.source, at, message);
  }

  protected unexpected(): never {
    const { type, value } = this.token;
    return this.fail(
      `unexpected ${type === "end" ? "end of the template" : value === "" ? `${type}` : JSON.stringify(value.slice(0, 40))}`,
    );
  }

  protected is(type: Token["type"], value?: string): boolean {
    return this.token.type === type && (value === undefined || this.token.value === value);
  }

  protected isOperator(value: string): boolean {
    return this.is("operator", value);
  }

  protected isWord(value: string): boolean {
    return this.is("name", value);
  }

  protected take(type: Token["type"], value?: string): Token {
    if (!this.is(type, value)) this.unexpected();
    return this.tokens[this.next++]!;
  }

  protected skip(type: Token["type"], value: string): boolean {
    if (!this.is(type, value)) return false;
    this.next++;
    return true;
  }

  protected nested<Result>(read: () => Result): Result {
    if (++this.nesting > maxNesting) this.fail(`more than ${maxNesting} levels are nested here`);
    const result = read();
    this.nesting--;
    return result;
  }
}
