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
    const { turns, fits } = await this.#withRoom(question, options.maxTokens);
    const forgotten = fits ? (this.#turns.length - turns.length) / 2 : 0; // what can't be asked makes nothing forgotten
    const answer = this.#speaker.chat([...this.#system, ...turns, question], options);
    const answered = (text: string): void => {
      if (text !== "") this.#turns = [...turns, question, { role: "assistant", content: text }];
    };
    return { answer, forgotten, answered };
  }

  /** The turns sent with a question: all, or the newest. Whether it fits the context is asked only where turns had to go. */
  async #withRoom(question: ChatMessage, maxTokens = Infinity): Promise<{ turns: ChatMessage[]; fits: boolean }> {
    const { contextLength } = this.#speaker;
    let turns = this.#turns;
    const tokens = (): Promise<number> => this.#speaker.count([...this.#system, ...turns, question]);
    let count = turns.length === 0 ? 0 : await tokens();
    if (count + Math.min(maxTokens, contextLength * ROOM) <= contextLength) return { turns, fits: true };
    do {
      turns = turns.slice(2);
      count = await tokens();
    } while (turns.length > 0 && count > contextLength * KEPT);
    return { turns, fits: count < contextLength };
  }
}
