import { BitnetError } from "../errors.js";
import { Constraint } from "../grammar/constraint.js";
import { compileGrammar } from "../grammar/gbnf.js";
import { compileSchema, schemaText } from "../grammar/json-schema.js";
import { Matcher } from "../grammar/matcher.js";
import { TokenTrie } from "../grammar/token-trie.js";
import type { Rule } from "../options.js";
import type { Tokenizer } from "../text/types.js";
import type { AnswerFormat } from "./types.js";

/** Formats that are kept compiled, the least recently used is forgotten: each holds up to 16 MB of masks, where a vocabulary is large. */
const MOST_KEPT = 8;

const SPACE = 0x20;

/** What `format` must be. */
export const FORMAT: Rule = {
  wanted: "{ schema: a JSON Schema } or { grammar: a text in GBNF }",
  holds: (value) => {
    if (typeof value !== "object" || value === null) return false;
    const [name, ...others] = Object.keys(value);
    if (others.length > 0) return false;
    return name === "schema" || (name === "grammar" && typeof (value as { grammar?: unknown }).grammar === "string");
  },
};

/** The formats of one model's answers. */
export class AnswerFormats {
  readonly #tokenizer: Tokenizer;
  readonly #eosIds: ReadonlySet<number>;
  #trie: TokenTrie | undefined;
  /** A token that begins with a space, and its bytes. */
  #spaced: { readonly id: number; readonly bytes: Uint8Array } | undefined;
  /** By the format's text, the least recently used first. */
  readonly #matchers = new Map<string, Matcher>();

  /** @param eosIds tokens that end an answer: they are no part of its text */
  constructor(tokenizer: Tokenizer, eosIds: ReadonlySet<number>) {
    this.#tokenizer = tokenizer;
    this.#eosIds = eosIds;
  }

  /**
   * What begins an answer's constraint, told the prompt's last token.
   * @throws BitnetError usage: the format can't be held to, and why
   */
  constraint(format: AnswerFormat): (after: number | undefined) => Constraint {
    if (this.#eosIds.size === 0) {
      throw new BitnetError("usage", "the model names no token that ends an answer, which a format needs");
    }
    const matcher = this.#matcher(format);
    return (after) => {
      const constraint = new Constraint(matcher, { losesSpace: this.#dropsSpace(after) });
      constraint.mask(); // throws here if an answer can't begin, and not among other answers
      return constraint;
    };
  }

  #matcher(format: AnswerFormat): Matcher {
    const key = "grammar" in format ? `grammar ${format.grammar}` : `schema ${schemaText(format.schema)}`;
    let matcher = this.#matchers.get(key);
    if (matcher === undefined) {
      const grammar = "grammar" in format ? compileGrammar(format.grammar) : compileSchema(format.schema);
      this.#trie ??= this.#buildTrie();
      matcher = new Matcher(grammar, this.#trie);
    }
    this.#matchers.delete(key);
    this.#matchers.set(key, matcher);
    const [oldest] = this.#matchers.keys();
    if (this.#matchers.size > MOST_KEPT) this.#matchers.delete(oldest!);
    return matcher;
  }

  /** Tokens by what they add to an answer. Those that change what the next one adds (SentencePiece's added ones take a space away) are left out. */
  #buildTrie(): TokenTrie {
    const { size } = this.#tokenizer;
    const bytesOf = (id: number): Uint8Array | undefined =>
      this.#tokenizer.isSpecial(id) || this.#eosIds.has(id) ? undefined : this.#tokenizer.decodeBytes([id], { after: id });
    const bytes = Array.from({ length: size }, (_, id) => bytesOf(id));
    const id = bytes.findIndex((one) => one?.[0] === SPACE);
    if (id >= 0) this.#spaced = { id, bytes: bytes[id]! };
    if (this.#dropsSpace(undefined)) for (let id = 0; id < size; id++) if (this.#dropsSpace(id)) bytes[id] = undefined;
    return new TokenTrie(size, (id) => bytes[id]);
  }

  /** Whether a token that begins with a space loses it behind this one. */
  #dropsSpace(after: number | undefined): boolean {
    if (this.#spaced === undefined) return false;
    const { id, bytes } = this.#spaced;
    return this.#tokenizer.decodeBytes([id], { after }).length < bytes.length;
  }
}
