import type { ChatMessage, GenerateOptions, Generation, Model } from "../engine/index.js";

/** What a conversation needs of a model. */
export type Speaker = Pick<Model, "chat" | "contextLength"> & {
  /** Tokens of a conversation, as the model is to read it. */
  readonly count: (messages: readonly ChatMessage[]) => Promise<number>;
};

/** Share of the context that is kept free for an answer without a length limit. */
const ROOM = 1 / 4;

/** How full the context is left when turns are forgotten: not just one turn is, or the next would have to be computed from its beginning again. */
const KEPT = 1 / 2;

/** A conversation that forgets its oldest turns where the context is too short for all; the system message stays. */
export class Conversation {
  readonly #speaker: Speaker;
  readonly #system: readonly ChatMessage[];
  /** User and assistant in turn. */
  #turns: ChatMessage[] = [];

  constructor(speaker: Speaker, system: string | undefined) {
    this.#speaker = speaker;
    this.#system = system === undefined ? [] : [{ role: "system", content: system }];
  }

  clear(): void {
    this.#turns = [];
  }

  /**
   * The answer to what a user says next. `forgotten` turns, each a question with its answer, made room for it. The conversation goes on
   * from there once `answered` is called with a text; without it, nothing was said and nothing forgotten.
   */
  async ask(said: string, options: GenerateOptions): Promise<{ answer: Generation; forgotten: number; answered: (text: string) => void }> {
    const question: ChatMessage = { role: "user", content: said };
    const turns = await this.#withRoom(question, options.maxTokens);
    const answer = this.#speaker.chat([...this.#system, ...turns, question], options);
    const answered = (text: string): void => {
      if (text !== "") this.#turns = [...turns, question, { role: "assistant", content: text }];
    };
    return { answer, forgotten: (this.#turns.length - turns.length) / 2, answered };
  }

  /** The turns sent with a question: all, or the newest. */
  async #withRoom(question: ChatMessage, maxTokens = Infinity): Promise<ChatMessage[]> {
    const { contextLength } = this.#speaker;
    let turns = this.#turns;
    const tokens = (): Promise<number> => this.#speaker.count([...this.#system, ...turns, question]);
    if (turns.length === 0 || (await tokens()) + Math.min(maxTokens, contextLength * ROOM) <= contextLength) return turns;
    do turns = turns.slice(2);
    while (turns.length > 0 && (await tokens()) > contextLength * KEPT);
    return turns;
  }
}
