import { BitnetError } from "../../engine/errors.js";
import type { Tokenizer } from "../../engine/index.js";

/** A multiple-choice item. */
export interface Item {
  /** The file's, otherwise the number of its line. */
  readonly id: string;
  readonly query: string;
  readonly choices: readonly string[];
  /** Index of the right choice. */
  readonly gold: number;
}

/** Most choices of an item: each is computed on its own. */
const MAX_CHOICES = 100;

/**
 * Items of a JSONL file: `{ "query": …, "choices": […], "gold": 0 }` on each line, `id` if wanted; blank lines are none.
 * @throws BitnetError usage, naming the line
 */
export function readItems(text: string, path: string): Item[] {
  const items: Item[] = [];
  for (const [i, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === "") continue;
    const refuse = (what: string): never => {
      throw new BitnetError("usage", `${path}: line ${i + 1} ${what}`, { file: path });
    };
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {
      refuse("is not JSON");
    }
    const { id, query, choices, gold } = (value ?? {}) as Record<string, unknown>;
    if (typeof query !== "string") return refuse("has no query, which must be a string");
    if (
      !Array.isArray(choices) ||
      choices.length < 2 ||
      choices.length > MAX_CHOICES ||
      !choices.every((one) => typeof one === "string" && one !== "")
    )
      return refuse(`has no choices, which must be a list of 2 to ${MAX_CHOICES} strings, none of them empty`);
    if (!Number.isInteger(gold) || (gold as number) < 0 || (gold as number) >= choices.length)
      return refuse(`has no gold, which must be the index of a choice, 0 to ${choices.length - 1}`);
    if (id !== undefined && typeof id !== "string" && typeof id !== "number")
      return refuse("has an id that is neither a string nor a number");
    items.push({ id: String(id ?? i + 1), query, choices: choices as string[], gold: gold as number });
  }
  if (items.length === 0) throw new BitnetError("usage", `${path}: there is no item in the file`, { file: path });
  return items;
}

/** What Python's `rstrip` takes off: JavaScript's spaces but U+FEFF, and some controls. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is meant
const SPACES = /(?:[^\S\ufeff]|[\x1c-\x1f\x85])+$/;

/** Tokens of a choice behind its query. */
export interface Pair {
  readonly ids: readonly number[];
  /** The first of them that is scored. */
  readonly first: number;
}

/**
 * Joins a query and a choice with a space, and tells where the choice's tokens begin, as lm-evaluation-harness does (`_encode_pair`): spaces at the end
 * of the query belong to the choice, and what is behind as many tokens as the query has alone is scored.
 */
export function encodePair(tokenizer: Tokenizer, query: string, choice: string): Pair {
  const context = query.replace(SPACES, "");
  const continuation = `${query.slice(context.length)} ${choice}`;
  return { ids: tokenizer.encode(context + continuation), first: tokenizer.encode(context).length };
}
