import type { AnswerPart } from "./answer-reader.js";
import type { Asked } from "./answers.js";
import type { JsonObject } from "./body.js";
import { type ChoiceForm, choicesForm } from "./choices.js";
import { conversation, formatOf, heldTo } from "./conversation.js";
import { badField } from "./errors.js";
import { checkFields, field, OBJECT, readWriting, TOP_LOGPROBS, TRUE_OR_FALSE, WRITING_FIELDS } from "./fields.js";
import type { ServedModel } from "./models.js";
import { chatLogprobs, TokenDetails } from "./token-details.js";
import { checkToolMessages, readTools, type Schema } from "./tools.js";

const FIELDS: ReadonlySet<string> = new Set([
  ...WRITING_FIELDS,
  "messages",
  "max_completion_tokens",
  "tools",
  "tool_choice",
  "parallel_tool_calls",
  "response_format",
  "logprobs",
  "top_logprobs",
]);

const FORM: ChoiceForm = {
  object: "chat.completion",
  chunkObject: "chat.completion.chunk",
  prefix: "chatcmpl-",
  whole: (index, { parts, finish }) => ({ index, message: messageOf(parts), logprobs: null, finish_reason: finish }),
  opening: (index) => ({ index, delta: { role: "assistant", content: "", refusal: null }, logprobs: null, finish_reason: null }),
  pieces: (index, part, number) => deltasOf(part, number).map((delta) => ({ index, delta, logprobs: null, finish_reason: null })),
  ending: (index, finish) => ({ index, delta: {}, logprobs: null, finish_reason: finish }),
};

/** White space that a model writes before its calls is not worth a content. */
function messageOf(parts: readonly AnswerPart[]): object {
  const text = parts.map((part) => ("text" in part ? part.text : "")).join("");
  const tool_calls = parts.flatMap((part) => ("call" in part ? [callBody(part.call.id, part.call.name, part.call.arguments)] : []));
  if (tool_calls.length === 0) return { role: "assistant", content: text, refusal: null };
  return { role: "assistant", content: text.trim() === "" ? null : text, refusal: null, tool_calls };
}

const callBody = (id: string, name: string, json: string) => ({ id, type: "function", function: { name, arguments: json } });

function deltasOf(part: AnswerPart, index: number): object[] {
  if ("text" in part) return [{ content: part.text }];
  const { id, name, arguments: json } = part.call;
  return [{ tool_calls: [{ index, ...callBody(id, name, "") }] }, { tool_calls: [{ index, function: { arguments: json } }] }];
}

/** `POST /v1/chat/completions`: the model's template writes the conversation, in which control tokens are plain text. @throws ApiError */
export function readChat(name: string, model: ServedModel, body: JsonObject): Asked {
  checkFields(body, FIELDS);
  const given = readWriting(body, model.tokenizer.size);
  const logprobs = readLogprobs(body);
  const writing = logprobs === undefined ? given : { ...given, options: { ...given.options, logprobs } };
  const { messages } = body;
  if (!Array.isArray(messages)) throw badField("messages", 'a list of messages: [{ "role": "user", "content": "…" }]');
  checkToolMessages(messages, "messages");
  const offered = readTools(body, name, model, (tool) => (OBJECT.holds(tool.function) ? tool.function : undefined));
  const starts = conversation(model, messages, writing, offered, heldTo(offered, readFormat(body), "response_format"));
  const details = new TokenDetails(model.tokenizer, {
    logprobs: logprobs === undefined ? undefined : chatLogprobs,
    tokenIds: writing.tokenIds,
    promptIn: "body",
  });
  return { model: name, subject: "messages", writing, starts, parser: offered?.parser, form: choicesForm(FORM, writing, details) };
}

/** How many alternatives to each token are told; undefined: nothing is told of how likely it was. @throws ApiError 400 */
function readLogprobs(body: JsonObject): number | undefined {
  const asked = field(body, "logprobs", TRUE_OR_FALSE) ?? false;
  const top = field(body, "top_logprobs", TOP_LOGPROBS) ?? 0;
  if (top > 0 && !asked) throw badField("top_logprobs", "left out where logprobs is not true");
  return asked ? top : undefined;
}

/** What an answer is held to; undefined: it is free text. A schema is held to whether it is `strict` or not. @throws ApiError 400 */
function readFormat(body: JsonObject): Schema | undefined {
  const given = field(body, "response_format", OBJECT);
  return given && formatOf(given, "response_format", "json_schema");
}
