import { ANYTHING, checkArgument, type Given, type Rules, readOptions, TRUE_OR_FALSE } from "../options.js";
import type { ChatMessage, ChatRenderOptions, ChatTemplate, RenderedChat, Tokenizer } from "./types.js";

export const RENDER_OPTIONS: Rules<ChatRenderOptions> = {
  addGenerationPrompt: TRUE_OR_FALSE,
  continueFinalMessage: TRUE_OR_FALSE,
  template: ANYTHING, // checked as the messages are
  date: ANYTHING,
};
const ENCODE_CHAT_OPTIONS: Rules<EncodeChatOptions> = { ...RENDER_OPTIONS, special: TRUE_OR_FALSE };

type EncodeChatOptions = ChatRenderOptions & { readonly special?: boolean };

/**
 * A conversation as the ids a model is to go on from. A template that writes BOS itself gets no second one; one that doesn't gets it
 * where the tokenizer adds BOS. Special tokens are recognised in what the template writes, and not in the messages' text, unless `special` is true, which is how
 * Hugging Face reads it. Errors: as `ChatTemplate.render`.
 */
export async function encodeChat(
  tokenizer: Tokenizer,
  template: ChatTemplate,
  messages: readonly ChatMessage[],
  options?: Given<EncodeChatOptions>,
): Promise<{ prompt: string; ids: number[] }> {
  const { special = false, ...how } = readOptions<EncodeChatOptions>("encodeChat()", options, ENCODE_CHAT_OPTIONS);
  checkArgument("tokenizer", tokenizer, { wanted: "a model's tokenizer", holds: (value) => has(value, "encode") });
  checkArgument("template", template, { wanted: "a model's chatTemplate", holds: (value) => has(value, "compose") });
  const { text: prompt, literal } = template.compose(messages, how);
  return { prompt, ids: encodeRendered(tokenizer, { text: prompt, literal: special ? [] : literal }) };
}

const has = (value: unknown, method: string): boolean =>
  typeof value === "object" && value !== null && typeof (value as Record<string, unknown>)[method] === "function";

/** A rendered chat as ids. */
export function encodeRendered(tokenizer: Tokenizer, { text: prompt, literal }: RenderedChat): number[] {
  const ids = tokenizer.encode(prompt, { bos: false, literal });
  if (tokenizer.addsBos && ids[0] !== tokenizer.bosId) ids.unshift(tokenizer.bosId!);
  return ids;
}
