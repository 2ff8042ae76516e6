import { BitnetError } from "../errors.js";
import type { Tokenizer } from "../text/types.js";

/** UTF-16 units that a text may always have: a context too short for them is better told in tokens. */
const ALWAYS = 2 ** 16;

/** UTF-16 units of the longest text that so many tokens could hold. */
export function mostCharacters(tokenizer: Tokenizer, contextLength: number): number {
  return Math.max(ALWAYS, contextLength * tokenizer.longestToken);
}

/**
 * Refuses a text that can't fit before it is encoded: of megabytes that takes seconds, in which nothing else goes on.
 * @param what the text, in words, as a sentence begins
 * @throws BitnetError usage
 */
export function checkTextLength(text: string, what: string, tokenizer: Tokenizer, contextLength: number): void {
  const most = mostCharacters(tokenizer, contextLength);
  if (text.length <= most) return;
  throw new BitnetError(
    "usage",
    `${what} has ${text.length} characters, more than the ${most} that the context of ${contextLength} tokens can hold: shorten it, or raise the context length (contextLength, --ctx)`,
  );
}
