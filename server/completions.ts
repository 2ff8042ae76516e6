import type { AnswerPart } from "./answer-reader.js";
import type { Asked } from "./answers.js";
import type { JsonObject } from "./body.js";
import { type ChoiceForm, choicesForm } from "./choices.js";
import { ApiError, badField } from "./errors.js";
import { checkFields, field, MOST_CHOICES, readWriting, TOP_LOGPROBS, WRITING_FIELDS } from "./fields.js";
import type { ServedModel } from "./models.js";
import { completionLogprobs, TokenDetails } from "./token-details.js";

const FIELDS: ReadonlySet<string> = new Set([...WRITING_FIELDS, "prompt", "logprobs"]);

const textOf = (part: AnswerPart): string => ("text" in part ? part.text : "");

const FORM: ChoiceForm = {
  object: "text_completion",
  chunkObject: "text_completion",
  prefix: "cmpl-",
  whole: (index, { parts, finish }) => ({ text: parts.map(textOf).join(""), index, logprobs: null, finish_reason: finish }),
  pieces: (index, part) => [{ text: textOf(part), index, logprobs: null, finish_reason: null }],
  ending: (index, finish) => ({ text: "", index, logprobs: null, finish_reason: finish }),
};

/**
 * `POST /v1/completions`: continues texts, or token ids as they are. In a text, control tokens are plain text: who wants them sends ids.
 * @throws ApiError
 */
export function readCompletion(name: string, model: ServedModel, body: JsonObject): Asked {
  checkFields(body, FIELDS);
  const writing = readWriting(body, model.tokenizer.size);
  const logprobs = field(body, "logprobs", TOP_LOGPROBS);
  const prompts = readPrompts(body.prompt);
  if (prompts.length * writing.n > MOST_CHOICES) throw badField("n", `such that all prompts have at most ${MOST_CHOICES} answers in all`);
  const starts = prompts.flatMap((prompt) => {
    if (typeof prompt === "string") checkLength(prompt, model);
    const ids = typeof prompt === "string" ? model.tokenizer.encode(prompt, { literal: [[0, prompt.length]] }) : prompt;
    return Array.from({ length: writing.n }, (_, i) => {
      const options = { ...writing.options, ...(logprobs !== undefined && { logprobs }), seed: writing.seed(i) };
      return (signal: AbortSignal) => model.generate(ids, { ...options, signal });
    });
  });
  const details = new TokenDetails(model.tokenizer, {
    logprobs: logprobs === undefined ? undefined : completionLogprobs,
    tokenIds: writing.tokenIds,
    promptIn: "choice",
  });
  return { model: name, subject: "prompt", writing, starts, form: choicesForm(FORM, writing, details) };
}

/** Refuses a text that can't fit before it is encoded: of megabytes that takes seconds, in which nothing else goes on. @throws ApiError 400 */
function checkLength({ length }: string, { contextLength, tokenizer }: ServedModel): void {
  if (length <= contextLength * tokenizer.longestToken) return;
  const message = `the prompt has ${length} characters, more than the context of ${contextLength} tokens can hold`;
  throw new ApiError(400, message, { param: "prompt", code: "context_length_exceeded" });
}

function readPrompts(prompt: unknown): readonly (string | readonly number[])[] {
  const isIds = (value: unknown): value is readonly number[] =>
    Array.isArray(value) && value.length > 0 && value.every((id) => typeof id === "number");
  if (typeof prompt === "string" || isIds(prompt)) return [prompt];
  if (Array.isArray(prompt) && prompt.length > 0 && prompt.length <= MOST_CHOICES) {
    if (prompt.every((one) => typeof one === "string") || prompt.every(isIds)) return prompt;
  }
  throw badField("prompt", `a string, a list of token ids, or a list of 1 to ${MOST_CHOICES} of either`);
}
