import { randomUUID } from "node:crypto";
import type { AnswerCall, AnswerPart, Finish } from "./answer-reader.js";
import type { Events, Form, Heading, Usage } from "./answers.js";
import type { JsonObject } from "./body.js";
import type { ApiError } from "./errors.js";

/** The form of `/v1/responses`: one answer, whose parts are items. @param asked what is told of the request in every body */
export function responseForm(asked: JsonObject): Form {
  return {
    prefix: "resp_",
    whole: (heading, [answer], usage) => {
      const events = new ResponseEvents(heading, asked);
      for (const part of answer!.parts) events.part(0, part);
      events.end(0, answer!.finish);
      return events.body(usage);
    },
    events: (heading) => new ResponseEvents(heading, asked),
  };
}

type Status = "in_progress" | "completed" | "incomplete" | "failed";

const idOf = (prefix: string): string => `${prefix}_${randomUUID().replaceAll("-", "")}`;

const textPart = (text: string): object => ({ type: "output_text", text, annotations: [], logprobs: [] });

const messageItem = (id: string, text: string | undefined, status: Status): object => ({
  id,
  type: "message",
  role: "assistant",
  status,
  content: text === undefined ? [] : [textPart(text)],
});

const callItem = (id: string, { id: call_id, name, arguments: json }: AnswerCall, status: Status): object => ({
  id,
  type: "function_call",
  call_id,
  name,
  arguments: status === "in_progress" ? "" : json,
  status,
});

/** Writes the events of a response, and knows what it has come to. */
class ResponseEvents implements Events {
  readonly #heading: Heading;
  readonly #asked: JsonObject;
  /** Items that are complete. */
  readonly #output: object[] = [];
  #status: Status = "in_progress";
  /** The message that is being written. */
  #message: { readonly id: string; readonly texts: string[] } | undefined;
  #number = 0;

  constructor(heading: Heading, asked: JsonObject) {
    this.#heading = heading;
    this.#asked = asked;
  }

  open(): string {
    return this.#event("response.created", { response: this.body() }) + this.#event("response.in_progress", { response: this.body() });
  }

  part(_: number, part: AnswerPart): string {
    if ("call" in part) return this.#closeMessage("completed") + this.#call(part.call);
    const opening = this.#message === undefined ? this.#openMessage() : "";
    this.#message!.texts.push(part.text);
    return opening + this.#event("response.output_text.delta", { ...this.#place(), delta: part.text, logprobs: [] });
  }

  end(_: number, finish: Finish): string {
    this.#status = finish === "length" ? "incomplete" : "completed";
    const opening = this.#message === undefined && this.#output.length === 0 ? this.#openMessage() : ""; // an answer without text
    return opening + this.#closeMessage(this.#status);
  }

  close(usage: Usage): string {
    return this.#event(`response.${this.#status}`, { response: this.body(usage) });
  }

  failed({ message, details: { code, param } }: ApiError): string {
    this.#status = "failed";
    const response = { ...this.body(), error: { code: "server_error", message } };
    return this.#event("error", { code: code ?? null, message, param: param ?? null }) + this.#event("response.failed", { response });
  }

  /** The response as far as it has come. */
  body(usage?: Usage): object {
    const { id, created, model } = this.#heading;
    return {
      id,
      object: "response",
      created_at: created,
      status: this.#status,
      error: null,
      incomplete_details: this.#status === "incomplete" ? { reason: "max_output_tokens" } : null,
      model,
      output: [...this.#output],
      usage: usage ? usageBody(usage) : null,
      ...this.#asked,
    };
  }

  #event(type: string, fields: object): string {
    return `event: ${type}\ndata: ${JSON.stringify({ type, sequence_number: this.#number++, ...fields })}\n\n`;
  }

  /** Where the text of the message belongs. */
  #place(): object {
    return { item_id: this.#message!.id, output_index: this.#output.length, content_index: 0 };
  }

  #openMessage(): string {
    this.#message = { id: idOf("msg"), texts: [] };
    const item = messageItem(this.#message.id, undefined, "in_progress");
    return (
      this.#event("response.output_item.added", { output_index: this.#output.length, item }) +
      this.#event("response.content_part.added", { ...this.#place(), part: textPart("") })
    );
  }

  #closeMessage(status: Status): string {
    if (this.#message === undefined) return "";
    const { id, texts } = this.#message;
    const text = texts.join("");
    const place = this.#place();
    const done =
      this.#event("response.output_text.done", { ...place, text, logprobs: [] }) +
      this.#event("response.content_part.done", { ...place, part: textPart(text) });
    this.#message = undefined;
    return done + this.#closeItem(messageItem(id, text, status));
  }

  #call(call: AnswerCall): string {
    const item_id = idOf("fc");
    const place = { item_id, output_index: this.#output.length };
    return (
      this.#event("response.output_item.added", { output_index: this.#output.length, item: callItem(item_id, call, "in_progress") }) +
      this.#event("response.function_call_arguments.delta", { ...place, delta: call.arguments }) +
      this.#event("response.function_call_arguments.done", { ...place, name: call.name, arguments: call.arguments }) +
      this.#closeItem(callItem(item_id, call, "completed"))
    );
  }

  #closeItem(item: object): string {
    const output_index = this.#output.push(item) - 1;
    return this.#event("response.output_item.done", { output_index, item });
  }
}

function usageBody({ prompt, cached, completion }: Usage): object {
  return {
    input_tokens: prompt,
    input_tokens_details: { cached_tokens: cached },
    output_tokens: completion,
    output_tokens_details: { reasoning_tokens: 0 },
    total_tokens: prompt + completion,
  };
}
