import type { AnswerPart, Finish } from "./answer-reader.js";
import type { Answer, Events, Form, Heading, Usage } from "./answers.js";
import type { Writing } from "./fields.js";

/** How an endpoint whose answers are `choices` writes one of them. */
export interface ChoiceForm {
  readonly object: string;
  readonly chunkObject: string;
  /** First letters of the id. */
  readonly prefix: string;
  whole(index: number, answer: Answer): object;
  /** The first chunk of an answer, before it has parts. */
  opening?(index: number): object;
  /** Chunks of a part; `call` is the number of a call in its answer, from 0. */
  pieces(index: number, part: AnswerPart, call: number): readonly object[];
  /** The last chunk. */
  ending(index: number, finish: Finish): object;
}

/** The form of an endpoint whose answers are `choices`: chat and completions. */
export function choicesForm(form: ChoiceForm, { includeUsage }: Writing): Form {
  return {
    prefix: form.prefix,
    whole: ({ id, created, model, system_fingerprint }, answers, usage) => {
      const choices = answers.map((answer, index) => form.whole(index, answer));
      return { id, object: form.object, created, model, system_fingerprint, choices, usage: usageBody(usage) };
    },
    events: (heading) => new Chunks(form, heading, includeUsage),
  };
}

function usageBody({ prompt, cached, completion }: Usage): object {
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    prompt_tokens_details: { cached_tokens: cached },
  };
}

class Chunks implements Events {
  readonly #form: ChoiceForm;
  readonly #heading: Heading;
  readonly #includeUsage: boolean;
  /** Calls of each answer that was begun. */
  readonly #calls = new Map<number, number>();

  constructor(form: ChoiceForm, heading: Heading, includeUsage: boolean) {
    this.#form = form;
    this.#heading = heading;
    this.#includeUsage = includeUsage;
  }

  open(): string {
    return "";
  }

  part(index: number, part: AnswerPart): string {
    const opening = this.#opening(index);
    const call = this.#calls.get(index)!;
    if ("call" in part) this.#calls.set(index, call + 1);
    return [...opening, ...this.#form.pieces(index, part, call)].map((choice) => this.#chunk([choice], null)).join("");
  }

  end(index: number, finish: Finish): string {
    return [...this.#opening(index), this.#form.ending(index, finish)].map((choice) => this.#chunk([choice], null)).join("");
  }

  close(usage: Usage): string {
    return `${this.#includeUsage ? this.#chunk([], usageBody(usage)) : ""}data: [DONE]\n\n`;
  }

  failed({ body }: { readonly body: object }): string {
    return `data: ${JSON.stringify(body)}\n\n`;
  }

  #opening(index: number): readonly object[] {
    if (this.#calls.has(index)) return [];
    this.#calls.set(index, 0);
    return this.#form.opening ? [this.#form.opening(index)] : [];
  }

  #chunk(choices: readonly object[], usage: object | null): string {
    const { id, created, model, system_fingerprint } = this.#heading;
    const body = { id, object: this.#form.chunkObject, created, model, system_fingerprint, choices };
    return `data: ${JSON.stringify(this.#includeUsage ? { ...body, usage } : body)}\n\n`;
  }
}
