import { splitPatterns } from "../text/pretokenize.js";
import type { Vocabulary } from "../text/vocabulary.js";

/** A tokenizer of GGUF metadata as Hugging Face's files. */
export interface TokenizerFiles {
  /** tokenizer.json */
  readonly tokenizer: string;
  /** tokenizer_config.json */
  readonly config: string;
}

/** What stands in both files for a token that takes no part in merges. */
const addedToken = (content: string, special: boolean) => ({
  content,
  ...{ single_word: false, lstrip: false, rstrip: false, normalized: false },
  special,
});

/**
 * Writes tokenizer.json and tokenizer_config.json so that texts become the same ids. Fillers at the end of the vocabulary are left out; others stay
 * ordinary tokens, which no merges lead to.
 */
export function jsonTokenizer(vocabulary: Vocabulary, chatTemplate: string | undefined, contextLength: number): TokenizerFiles {
  const { tokens, plain, merges, split, ignoreMerges, bosId, eosIds, addsBos } = vocabulary;
  let size = tokens.length;
  while (size > 0 && plain.get(size - 1) === "unused") size--;
  // Built as text: an object would bring tokens that are numbers into another order, and "__proto__" is one of many.
  const vocab: string[] = [];
  const added: (ReturnType<typeof addedToken> & { id: number })[] = [];
  for (let id = 0; id < size; id++) {
    const kind = plain.get(id);
    const text = tokens.at(id)!;
    if (kind === "special" || kind === "added") added.push({ id, ...addedToken(text, kind === "special") });
    else vocab.push(`${JSON.stringify(text)}:${id}`);
  }
  const byteLevel = (own: boolean) => ({ type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: own });
  const preTokenizer =
    split === "gpt2"
      ? byteLevel(true)
      : {
          type: "Sequence",
          pretokenizers: [
            { type: "Split", pattern: { Regex: splitPatterns[split] }, behavior: "Isolated", invert: false },
            byteLevel(false),
          ],
        };
  const bos = bosId === undefined ? undefined : tokens.at(bosId)!;
  const eos = eosIds[0] === undefined ? undefined : tokens.at(eosIds[0])!;
  const head = {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: added,
    normalizer: null,
    pre_tokenizer: preTokenizer,
    post_processor: addsBos && bos !== undefined ? withBos(bos, bosId!) : byteLevel(true),
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
  };
  const model = {
    ...{ type: "BPE", dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null },
    ...{ fuse_unk: false, byte_fallback: false, ignore_merges: ignoreMerges },
  };
  const config = {
    added_tokens_decoder: Object.fromEntries(added.map(({ id, ...token }) => [id, token])),
    ...(bos !== undefined && { bos_token: bos }),
    ...(eos !== undefined && { eos_token: eos }),
    ...(chatTemplate !== undefined && { chat_template: chatTemplate }),
    clean_up_tokenization_spaces: false,
    model_input_names: ["input_ids", "attention_mask"],
    model_max_length: contextLength,
    tokenizer_class: "PreTrainedTokenizerFast",
  };
  const pairs = Array.from(merges, (merge) => JSON.stringify(merge));
  return {
    tokenizer: `${JSON.stringify(head).slice(0, -1)},"model":${JSON.stringify(model).slice(0, -1)},"vocab":{${vocab.join(",")}},"merges":[${pairs.join(",")}]}}\n`,
    config: `${JSON.stringify(config, undefined, 2)}\n`,
  };
}

/** A post-processor that begins each text with BOS. */
function withBos(bos: string, id: number): unknown {
  const special = (type: number) => ({ SpecialToken: { id: bos, type_id: type } });
  const text = (name: string, type: number) => ({ Sequence: { id: name, type_id: type } });
  return {
    type: "TemplateProcessing",
    single: [special(0), text("A", 0)],
    pair: [special(0), text("A", 0), special(1), text("B", 1)],
    special_tokens: { [bos]: { id: bos, ids: [id], tokens: [bos] } },
  };
}
