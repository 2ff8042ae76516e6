import type { GenerationPiece, GenerationResult } from "../engine/index.js";
import type { AnswerPart, Finish } from "./answer-reader.js";
import type { Answer, Events, Form, Heading, Usage } from "./answers.js";
import type { Writing } from "./fields.js";
import type { TokenDetails } from "./token-details.js";

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
export function choicesForm(form: ChoiceForm, { includeUsage }: Writing, details: TokenDetails): Form {
  return {
    prefix: form.prefix,
    whole: ({ id, created, model, system_fingerprint }, answers, usage) => {
      const choices = answers.map((answer, index) => {
        details.add(index, answer.result);
        return { ...form.whole(index, answer), ...details.take(index), ...details.prompt("choice", answer.result) };
      });
      const body = { id, object: form.object, created, model, system_fingerprint, choices, usage: usageBody(usage) };
      return { ...body, ...details.prompt("body", answers[0]!.result) };
    },
    events: (heading) => new Chunks(form, heading, includeUsage, details),
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
  readonly #details: TokenDetails;
  /** Calls of each answer that was begun. */
  readonly #calls = new Map<number, number>();

  constructor(form: ChoiceForm, heading: Heading, includeUsage: boolean, details: TokenDetails) {
    this.#form = form;
    this.#heading = heading;
    this.#includeUsage = includeUsage;
    this.#details = details;
  }

  open(): string {
    return "";
  }

  tokens(index: number, piece: GenerationPiece): void {
    this.#details.add(index, piece);
  }

  part(index: number, part: AnswerPart): string {
    const opening = this.#opening(index);
    const call = this.#calls.get(index)!;
    if ("call" in part) this.#calls.set(index, call + 1);
    const pieces = this.#form.pieces(index, part, call).map((choice) => ({ ...choice, ...this.#details.take(index) }));
    return [...opening, ...pieces].map((choice) => this.#chunk([choice], null)).join("");
  }

  end(index: number, finish: Finish, result: GenerationResult): string {
    const details = this.#details;
    const opening = this.#opening(index).map((choice) => this.#chunk([choice], null));
    const last = { ...this.#form.ending(index, finish), ...details.take(index), ...details.prompt("choice", result) };
    return [...opening, this.#chunk([last], null, index === 0 ? details.prompt("body", result) : {})].join("");
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

  #chunk(choices: readonly object[], usage: object | null, more: object = {}): string {
    const { id, created, model, system_fingerprint } = this.#heading;
    const body = { id, object: this.#form.chunkObject, created, model, system_fingerprint, choices, ...more };
    return `data: ${JSON.stringify(this.#includeUsage ? { ...body, usage } : body)}\n\n`;
  }
}
