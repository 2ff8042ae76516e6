import type { StringList } from "../container/string-list.js";
import type { Vocabulary } from "../text/vocabulary.js";

/**
 * The tokens' texts, each there once, of a vocabulary of `size`: other engines take no text twice. Fillers that have none, or another token's, get a
 * name of their own, as do ids without a token.
 */
export function uniqueNames({ tokens, plain }: Vocabulary, size: number): string[] {
  const taken = new Set<string>();
  const isFiller = (id: number): boolean => id >= tokens.length || tokens.at(id) === "" || plain.get(id) === "unused";
  for (let id = 0; id < tokens.length; id++) if (!isFiller(id)) taken.add(tokens.at(id)!);
  return Array.from({ length: size }, (_, id) => {
    if (!isFiller(id)) return tokens.at(id)!;
    let name = tokens.at(id) || `[PAD${id}]`;
    for (let more = 0; taken.has(name); more++) name = more === 0 ? `[PAD${id}]` : `[PAD${id}_${more}]`;
    taken.add(name);
    return name;
  });
}

/** The merges that count: of the same one twice the first in GGUF, and in tokenizer.json the last. */
export function countedMerges(source: Vocabulary["source"], merges: StringList): string[] {
  if (source === "gguf") return [...new Set(merges)];
  return [...new Set([...merges].reverse())].reverse();
}
