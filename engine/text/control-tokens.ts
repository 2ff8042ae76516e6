import type { StringList } from "../container/string-list.js";
import type { PlainKind } from "./vocabulary.js";

/**
 * Texts of the control tokens that end a text or a turn, in the families whose vocabularies this engine reads (LLaMA, ChatML, GPT-2, Gemma,
 * DeepSeek). llama.cpp knows the same ones (src/llama-vocab.cpp, special_eog_ids).
 */
export const endTokens: readonly string[] = [
  ...["<|eot_id|>", "<|end_of_text|>", "<|im_end|>", "<|endoftext|>", "<|end|>", "<|eom_id|>", "</s>"],
  ...["<end_of_turn>", "<end_of_utterance>", "<eos>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<｜end▁of▁sentence｜>"],
];

/** What control tokens look like, in byte-level vocabularies at least: no text is ever cut into such a word. */
const looksLikeControl = /^<\|[^<>|\s]+\|>$/;
/** The same of a token that the file names as its BOS, end or padding. */
const looksNamed = /^(?:<.+>|\[.+\]|>>.+<<)$/s;

/**
 * Control tokens that the file gives another type, or no type at all (converters before 2024, and some since): known ends, what the file names as
 * a special token, and in byte-level vocabularies whatever looks like `<|…|>`. A token that a merge makes is one of text, whatever it looks
 * like: Qwen's has "</s>" for HTML.
 * @param named ids that the file's keys name
 * @param merges undefined: SentencePiece's, which merges whatever is a token
 */
export function untypedControls(
  tokens: StringList,
  plain: ReadonlyMap<number, PlainKind>,
  named: ReadonlySet<number>,
  merges: StringList | undefined,
): number[] {
  const { bytes, starts } = tokens;
  const firstBytes = new Set(["<", "[", ">", "_"].map((character) => character.charCodeAt(0)));
  const found = new Map<string, number>();
  for (let id = 0; id < tokens.length; id++) {
    const kind = plain.get(id);
    if (kind === "special" || kind === "byte" || !firstBytes.has(bytes[starts[id]!]!) || tokens.endOf(id) === starts[id]) continue;
    const text = tokens.at(id)!;
    const isNormal = kind === undefined;
    if (endTokens.includes(text) || (isNormal && named.has(id) && looksNamed.test(text))) found.set(text, id);
    else if (isNormal && (merges ? looksLikeControl.test(text) : text === "<unk>")) found.set(text, id);
  }
  if (found.size > 0 && merges !== undefined) {
    for (let i = 0; i < merges.length && found.size > 0; i++) {
      if (!firstBytes.has(merges.bytes[merges.starts[i]!]!)) continue;
      found.delete(merges.at(i)!.replace(" ", ""));
    }
  }
  return [...found.values()].sort((a, b) => a - b);
}
