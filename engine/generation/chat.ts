import { BitnetError } from "../errors.js";
import type { Given } from "../options.js";
import { encodeRendered } from "../text/encode-chat.js";
import { dateFrom, readMessages, readVariables } from "../text/messages.js";
import type { ChatMessage, ChatRenderOptions, ChatTemplate, RenderedChat, Tokenizer } from "../text/types.js";
import { mostCharacters } from "./text-length.js";
import type { GenerationResult } from "./types.js";

/** Conversations whose ids are remembered: one each turn, the least recently used is forgotten. */
const MAX_REMEMBERED = 32;

/** A conversation as the template writes it, and as the model reads it. */
export interface ChatPrompt extends RenderedChat {
  readonly ids: readonly number[];
  /** Tools are offered. */
  readonly hasTools: boolean;
}

/** Such a prompt with the answer behind it. */
interface Answered extends Omit<ChatPrompt, "hasTools"> {
  /** UTF-16 units of the prompt. */
  readonly promptLength: number;
}

/**
 * Turns conversations into token ids that begin like those of the turn before. Written out and tokenised again, an earlier reply gives
 * other ids than the model chose (": " + "Once" becomes ":" + " Once"), and its keys and values would have to be computed again. So the
 * texts of recent answers are remembered with the ids they truly had.
 */
export class ChatMemory {
  readonly #tokenizer: Tokenizer;
  readonly #template: ChatTemplate;
  readonly #contextLength: number;
  /** UTF-16 units of the longest conversation that the context could hold. */
  readonly #maxLength: number;
  /** Least recently used first. */
  readonly #known: Answered[] = [];

  /** `contextLength`: tokens that a conversation may have. */
  constructor(tokenizer: Tokenizer, template: ChatTemplate, contextLength: number) {
    this.#tokenizer = tokenizer;
    this.#template = template;
    this.#contextLength = contextLength;
    this.#maxLength = mostCharacters(tokenizer, contextLength);
  }

  /** The conversation, with an opening for the assistant's answer or the beginning of it. Throws as `ChatTemplate.compose` does. */
  prompt(messages: readonly ChatMessage[], options: ChatRenderOptions = {}): ChatPrompt {
    const chat = this.#template.compose(messages, { ...options, maxLength: this.#maxLength });
    const { text, literal } = chat;
    const tools = options.template?.tools;
    const hasTools = Array.isArray(tools) && tools.length > 0;
    const known = this.#known.filter((entry) => beginsWith(chat, entry)).toSorted((a, b) => b.text.length - a.text.length);
    for (const entry of known) {
      const start = entry.text.length;
      const behind = literal.filter(([, end]) => end > start).map(([from, end]) => [Math.max(from, start) - start, end - start] as const);
      const rest = this.#tokenizer.encode(text.slice(start), { bos: false, after: entry.ids.at(-1), literal: behind });
      // Only a special token is a border that tokens never reach across.
      if (!(this.#isSpecial(entry.ids.at(-1)) || this.#isSpecial(rest[0]))) continue;
      this.#known.splice(this.#known.indexOf(entry), 1);
      this.#known.push(entry);
      return { ...chat, hasTools, ids: [...entry.ids, ...rest] };
    }
    return { ...chat, hasTools, ids: encodeRendered(this.#tokenizer, chat) };
  }

  /**
   * `prompt` of a conversation as it is now; what is wrong with it is thrown when the prompt is asked for. An assistant's last message is the
   * beginning of the answer, unless the options say otherwise.
   */
  later(messages: readonly ChatMessage[], options: NonNullable<Given<ChatRenderOptions>>): () => ChatPrompt {
    const amount = { characters: 0, values: 0 };
    try {
      const said = readMessages(messages, amount) as readonly ChatMessage[];
      // Each takes a token at least. To write out a hundred thousand takes seconds, in which nothing else goes on.
      if (said.length > this.#contextLength) {
        const message = `the conversation has ${said.length} messages, more than the context of ${this.#contextLength} tokens can hold`;
        throw new BitnetError("usage", message);
      }
      const { template, date } = options;
      const asked = {
        continueFinalMessage: options.continueFinalMessage ?? isBegun(said.at(-1)!),
        template: readVariables(template, amount),
        ...(date !== undefined && date !== null && { date: dateFrom(date) ?? date }),
      };
      return () => this.prompt(said, asked);
    } catch (error) {
      return () => {
        throw error;
      };
    }
  }

  /** Remembers an answer, without the token that ended the turn: the template writes its own there. */
  remember(prompt: ChatPrompt, { ids, stopReason }: GenerationResult): void {
    const reply = stopReason === "eos" ? ids.slice(0, -1) : ids;
    const text = prompt.text + this.#tokenizer.decode(reply, { after: prompt.ids.at(-1) });
    const same = this.#known.findIndex((entry) => entry.text === text);
    if (same >= 0) this.#known.splice(same, 1);
    this.#known.push({ text, literal: prompt.literal, ids: [...prompt.ids, ...reply], promptLength: prompt.text.length });
    if (this.#known.length > MAX_REMEMBERED) this.#known.shift();
  }

  #isSpecial(id: number | undefined): boolean {
    return id !== undefined && this.#tokenizer.isSpecial(id);
  }
}

/** Whether a message is the beginning of an answer: the assistant's, and no call of a tool, which its result would follow. */
function isBegun({ role, content, tool_calls }: ChatMessage): boolean {
  return role === "assistant" && typeof content === "string" && tool_calls === undefined;
}

/**
 * Whether a conversation begins with one that was answered: the same text, and in the prompt of then the same parts of it the caller's. A control
 * token that a user wrote is other ids than the template's own.
 */
function beginsWith({ text, literal }: RenderedChat, entry: Answered): boolean {
  if (!text.startsWith(entry.text)) return false;
  const inPrompt = (ranges: RenderedChat["literal"]) =>
    ranges
      .filter(([start]) => start < entry.promptLength)
      .map(([start, end]) => `${start}-${Math.min(end, entry.promptLength)}`)
      .join();
  return inPrompt(literal) === inPrompt(entry.literal);
}
