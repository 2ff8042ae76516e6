import { randomUUID } from "node:crypto";
import type { ToolCallParser, ToolEvent } from "../engine/index.js";

/** OpenAI's words for how an answer ended. */
export type Finish = "stop" | "length" | "tool_calls";

/** A call of a tool in an answer. */
export interface AnswerCall {
  readonly id: string;
  readonly name: string;
  /** JSON text of an object. */
  readonly arguments: string;
}

/** What an answer is made of, in its order. */
export type AnswerPart = { readonly text: string } | { readonly call: AnswerCall };

/** Reads the text of an answer into its parts, as it comes. */
export class AnswerReader {
  readonly #parser: ToolCallParser | undefined;
  /** Calls so far. */
  calls = 0;

  /** @param parser undefined: the answer is text */
  constructor(parser: ToolCallParser | undefined) {
    this.#parser = parser;
  }

  push(text: string): AnswerPart[] {
    if (this.#parser !== undefined) return this.#parser.push(text).map((event) => this.#part(event));
    return text === "" ? [] : [{ text }];
  }

  end(): AnswerPart[] {
    return this.#parser?.end().map((event) => this.#part(event)) ?? [];
  }

  #part(event: ToolEvent): AnswerPart {
    if (event.type === "text") return { text: event.text };
    this.calls++;
    return { call: { id: `call_${randomUUID().replaceAll("-", "")}`, name: event.name, arguments: event.arguments } };
  }
}
