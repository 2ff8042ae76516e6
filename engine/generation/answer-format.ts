import { BitnetError } from "../errors.js";
import { callsText, compileCalls, isCallsFormat } from "../grammar/calls.js";
import { Constraint } from "../grammar/constraint.js";
import { compileGrammar } from "../grammar/gbnf.js";
import type { Grammar } from "../grammar/grammar.js";
import { compileSchema, schemaText } from "../grammar/json-schema.js";
import { Matcher } from "../grammar/matcher.js";
import { TokenTrie } from "../grammar/token-trie.js";
import type { Rule } from "../options.js";
import type { ToolCallForm } from "../text/tool-calls/form.js";
import type { Tokenizer } from "../text/types.js";
import type { AnswerFormat } from "./types.js";

/** Formats that are kept compiled, the least recently used is forgotten: each holds up to 16 MB of masks, where a vocabulary is large. */
const MOST_KEPT = 8;

const SPACE = 0x20;

/** What `format` must be. */
export const FORMAT: Rule = {
  wanted: "{ schema: a JSON Schema }, { grammar: a text in GBNF } or { calls: { tools } }",
  holds: (value) => {
    if (typeof value !== "object" || value === null) return false;
    const [name, ...others] = Object.keys(value);
    if (others.length > 0) return false;
    const { grammar, calls } = value as { readonly grammar?: unknown; readonly calls?: unknown };
    return name === "schema" || (name === "grammar" && typeof grammar === "string") || (name === "calls" && isCallsFormat(calls));
  },
};

/** A format as a text: what is the same is compiled once. */
function keyOf(format: AnswerFormat): string {
  if ("grammar" in format) return `grammar ${format.grammar}`;
  return "schema" in format ? `schema ${schemaText(format.schema)}` : `calls ${callsText(format.calls)}`;
}

/** The formats of one model's answers. */
export class AnswerFormats {
  readonly #tokenizer: Tokenizer;
  readonly #eosIds: ReadonlySet<number>;
  readonly #callForm: () => ToolCallForm | undefined;
  #trie: TokenTrie | undefined;
  /** A token that begins with a space, and its bytes. */
  #spaced: { readonly id: number; readonly bytes: Uint8Array } | undefined;
  /** By the format's text, the least recently used first. */
  readonly #matchers = new Map<string, Matcher>();

  /**
   * @param eosIds tokens that end an answer: they are no part of its text
   * @param callForm how the model writes calls of tools, if that is known
   */
  constructor(tokenizer: Tokenizer, eosIds: ReadonlySet<number>, callForm: () => ToolCallForm | undefined = () => undefined) {
    this.#callForm = callForm;
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
    const key = keyOf(format);
    let matcher = this.#matchers.get(key);
    if (matcher === undefined) {
      const grammar = this.#compile(format);
      this.#trie ??= this.#buildTrie();
      matcher = new Matcher(grammar, this.#trie);
    }
    this.#matchers.delete(key);
    this.#matchers.set(key, matcher);
    const [oldest] = this.#matchers.keys();
    if (this.#matchers.size > MOST_KEPT) this.#matchers.delete(oldest!);
    return matcher;
  }

  #compile(format: AnswerFormat): Grammar {
    if ("grammar" in format) return compileGrammar(format.grammar);
    if ("schema" in format) return compileSchema(format.schema);
    const form = this.#callForm();
    if (form === undefined) {
      throw new BitnetError(
        "usage",
        "the model can't be held to calls of tools: its chat template knows no tools, or has a form of calls that is not supported",
      );
    }
    return compileCalls(form, format.calls);
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
