import { BitnetError } from "../errors.js";

/**
 * What a grammar or a schema may be. Each is far above what people write, and low enough that compiling takes seconds at worst, and an answer's
 * memory stays small.
 */
export const grammarLimits = {
  /** Characters of a schema (as JSON) or a grammar: OpenAI's own limit for the names of a schema is 120,000. */
  source: 2 ** 17,
  /** Subschemas, or rules, a schema's counted again where it is combined with others. */
  rules: 2 ** 13,
  /** Subschemas in subschemas, brackets in a grammar or pattern: each costs stack while it is read. */
  nesting: 64,
  /** Characters of a pattern. */
  pattern: 4096,
  /** Parts of automata before they are made deterministic: a pattern's character takes up to 30. */
  parts: 2 ** 17,
  /** States of all deterministic automata: they grow exponentially with some patterns. */
  states: 2 ** 16,
  /** Parts in states, summed: the time that it takes to make them. */
  work: 2 ** 22,
  /** How deep an answer may be nested. Parsers overflow on deeper JSON, and a model that nests without end is stopped. */
  depth: 128,
  /** Readings of one text that are followed at once; of more, the first ones are. */
  readings: 256,
  /** Steps from one place in a text to all that may follow. */
  closure: 4096,
} as const;

/** What is left of the limits while one grammar is compiled. */
export class Budget {
  /** What is compiled, for messages: "the schema at #/properties/a". */
  subject = "the grammar";
  #parts = 0;
  #states = 0;
  #work = 0;

  part(): void {
    if (++this.#parts > grammarLimits.parts) this.#refuse("parts", grammarLimits.parts);
  }

  state(): void {
    if (++this.#states > grammarLimits.states) this.#refuse("states", grammarLimits.states);
  }

  /** Parts that were looked at. */
  work(parts: number): void {
    this.#work += parts;
    if (this.#work > grammarLimits.work) this.#refuse("steps to compile", grammarLimits.work);
  }

  #refuse(what: string, limit: number): never {
    throw new BitnetError(
      "usage",
      `${this.subject} needs more than ${limit} ${what}, which is the limit: make its patterns simpler, or its lengths and numbers of items smaller`,
    );
  }
}
