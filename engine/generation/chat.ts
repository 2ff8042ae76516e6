import { encodeRendered } from "../text/chat-template.js";
import type { ChatMessage, ChatTemplate, Tokenizer } from "../text/types.js";
import type { GenerationResult } from "./types.js";

/** Conversations whose ids are remembered: one each turn, the least recently used is forgotten. */
const MAX_REMEMBERED = 32;

/** A conversation as the template writes it, and as the model reads it. */
export interface ChatPrompt {
  readonly text: string;
  readonly ids: readonly number[];
}

/**
 * Turns conversations into token ids that begin like those of the turn before. Written out and tokenised again, an earlier reply gives
 * other ids than the model chose (": " + "Once" becomes ":" + " Once"), and its keys and values would have to be computed anew. So the
 * texts of recent answers are remembered with the ids they truly had.
 */
export class ChatMemory {
  readonly #tokenizer: Tokenizer;
  readonly #template: ChatTemplate;
  /** Least recently used first. */
  readonly #known: ChatPrompt[] = [];

  constructor(tokenizer: Tokenizer, template: ChatTemplate) {
    this.#tokenizer = tokenizer;
    this.#template = template;
  }

  /** The conversation with an opening for the assistant's answer. Rejects as `ChatTemplate.render` does. */
  async prompt(messages: readonly ChatMessage[]): Promise<ChatPrompt> {
    const text = await this.#template.render(messages, { addGenerationPrompt: true });
    const known = this.#known.filter((entry) => text.startsWith(entry.text)).toSorted((a, b) => b.text.length - a.text.length);
    for (const entry of known) {
      const rest = this.#tokenizer.encode(text.slice(entry.text.length), { bos: false, after: entry.ids.at(-1) });
      // Only a special token is a border that tokens never reach across.
      if (!(this.#isSpecial(entry.ids.at(-1)) || this.#isSpecial(rest[0]))) continue;
      this.#known.splice(this.#known.indexOf(entry), 1);
      this.#known.push(entry);
      return { text, ids: [...entry.ids, ...rest] };
    }
    return { text, ids: encodeRendered(this.#tokenizer, text) };
  }

  /** Remembers an answer, without the token that ended the turn: the template writes its own there. */
  remember(prompt: ChatPrompt, { ids, stopReason }: GenerationResult): void {
    const reply = stopReason === "eos" ? ids.slice(0, -1) : ids;
    const text = prompt.text + this.#tokenizer.decode(reply, { after: prompt.ids.at(-1) });
    const same = this.#known.findIndex((entry) => entry.text === text);
    if (same >= 0) this.#known.splice(same, 1);
    this.#known.push({ text, ids: [...prompt.ids, ...reply] });
    if (this.#known.length > MAX_REMEMBERED) this.#known.shift();
  }

  #isSpecial(id: number | undefined): boolean {
    return id !== undefined && this.#tokenizer.isSpecial(id);
  }
}
