import type { Checkpoint } from "../container/checkpoint.js";
import { isObject, readJsonSidecar, type SidecarFiles } from "../container/sidecar.js";
import type { Data } from "./jinja/data.js";
import type { Tokenizer } from "./types.js";

/** Special tokens that a template knows by name, as Hugging Face's `special_tokens_map` has them. One that the files don't name is undefined there. */
export type NamedTokens = Readonly<Record<string, Data>>;

/** GGUF's key of each, without its beginning. */
const ggufKeys: Readonly<Record<string, string>> = {
  unk_token: "unknown",
  sep_token: "seperator", // GGUF spells it so
  pad_token: "padding",
  cls_token: "cls",
  mask_token: "mask",
};

/** The named tokens of a GGUF file. One whose BOS or EOS is not named has an empty one, as in llama.cpp. */
export function ggufTokens(checkpoint: Checkpoint, tokenizer: Tokenizer): NamedTokens {
  const named: Record<string, Data> = { bos_token: "", eos_token: "", ...tokenizerTokens(tokenizer) };
  for (const [name, key] of Object.entries(ggufKeys)) {
    const id = checkpoint.metadata.get(`tokenizer.ggml.${key}_token_id`);
    if (typeof id === "number" && Number.isInteger(id) && id >= 0 && id < tokenizer.size) named[name] = tokenizer.textOf(id);
  }
  return named;
}

/** The named tokens in tokenizer_config.json and special_tokens_map.json; BOS and EOS are the tokenizer's if they are not there. */
export async function fileTokens(files: SidecarFiles, tokenizer: Tokenizer): Promise<NamedTokens> {
  const named: Record<string, Data> = { ...tokenizerTokens(tokenizer) };
  for (const name of ["special_tokens_map.json", "tokenizer_config.json"]) {
    const config = (await readJsonSidecar(files, name, "tokenizer")) ?? {};
    const extra = isObject(config.extra_special_tokens) ? config.extra_special_tokens : {};
    for (const [key, value] of [...Object.entries(extra), ...Object.entries(config)]) {
      if (key === "additional_special_tokens" && Array.isArray(value)) {
        const texts = value.map(textOf).filter((text) => text !== undefined);
        if (texts.length > 0) named[key] = texts;
      } else if (/^[a-z_]{1,60}_token$/.test(key)) {
        const text = textOf(value);
        if (text !== undefined) named[key] = text;
      }
    }
  }
  return named;
}

/** BOS and EOS, as the tokenizer has them. */
export function tokenizerTokens({ bosId, eosIds, textOf }: Tokenizer): NamedTokens {
  const [eosId] = eosIds;
  return { ...(bosId !== undefined && { bos_token: textOf(bosId) }), ...(eosId !== undefined && { eos_token: textOf(eosId) }) };
}

/** A token is a text, or an object with one. */
function textOf(value: unknown): string | undefined {
  const text = isObject(value) ? value.content : value;
  return typeof text === "string" && text.length <= 1000 ? text : undefined;
}
