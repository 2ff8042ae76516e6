import type { AnswerFormat, ChatMessage } from "../engine/index.js";
import type { Asked, Form } from "./answers.js";
import type { JsonObject } from "./body.js";
import { ApiError, badField } from "./errors.js";
import { checkFields, field, OBJECT, oneOf, readWriting, TRUE_OR_FALSE, WRITING_FIELDS } from "./fields.js";
import { type Models, modelOf, type ServedModel } from "./models.js";

const FIELDS: ReadonlySet<string> = new Set([
  ...WRITING_FIELDS,
  "messages",
  "max_completion_tokens",
  "tools",
  "tool_choice",
  "response_format",
]);

const FORM: Form = {
  object: "chat.completion",
  chunkObject: "chat.completion.chunk",
  prefix: "chatcmpl",
  whole: (index, content, finish_reason) => ({
    index,
    message: { role: "assistant", content, refusal: null },
    logprobs: null,
    finish_reason,
  }),
  opening: (index) => ({ index, delta: { role: "assistant", content: "", refusal: null }, logprobs: null, finish_reason: null }),
  piece: (index, content, finish_reason) => ({ index, delta: finish_reason === null ? { content } : {}, logprobs: null, finish_reason }),
};

/** `POST /v1/chat/completions`: the model's template writes the conversation, in which control tokens are plain text. @throws ApiError */
export function readChat(models: Models, body: JsonObject): Asked {
  checkFields(body, FIELDS);
  const [name, model] = modelOf(models, body);
  const writing = readWriting(body);
  const { messages } = body;
  if (!Array.isArray(messages)) throw badField("messages", 'a list of messages: [{ "role": "user", "content": "…" }]');
  const tools = readTools(body, name, model);
  const format = readFormat(body);
  const date = new Date(); // for templates that write it
  const starts = Array.from({ length: writing.n }, (_, i) => (signal: AbortSignal) => {
    const options = {
      ...writing.options,
      seed: writing.seed(i),
      signal,
      date,
      remember: false, // an answer depends on its request alone
      ...(tools && { template: { tools } }),
      ...(format && { format }),
    };
    return model.chat(messages as ChatMessage[], options);
  });
  return { model: name, subject: "messages", writing, starts, form: FORM };
}

/** What an answer is held to; undefined: it is free text. A schema is held to whether it is `strict` or not. @throws ApiError 400 */
function readFormat(body: JsonObject): AnswerFormat | undefined {
  const given = field(body, "response_format", OBJECT);
  const type = given && field(given, "type", oneOf("text", "json_object", "json_schema"));
  if (given && type === undefined) throw badField("response_format", 'an object with a type: "text", "json_object" or "json_schema"');
  if (type === "json_object") return { schema: { type: "object" } };
  if (type !== "json_schema") return undefined;
  const named = field(given!, "json_schema", OBJECT);
  const schema = named && field(named, "schema", OBJECT);
  if (!named || !schema) throw badField("response_format", 'with { "json_schema": { "name": "…", "schema": { … } } }');
  field(named, "strict", TRUE_OR_FALSE);
  return { schema };
}

/** Tools for the template; undefined: none are offered. @throws ApiError 400: the template knows no tools */
function readTools(body: JsonObject, name: string, { chatTemplate }: ServedModel): readonly JsonObject[] | undefined {
  const choice = field(body, "tool_choice", {
    wanted: '"auto" or "none": a model can\'t be made to call a tool yet',
    holds: (value): value is "auto" | "none" => value === "auto" || value === "none",
  });
  const tools = field(body, "tools", {
    wanted: "a list of objects",
    holds: (value): value is readonly JsonObject[] =>
      Array.isArray(value) && value.every((tool) => typeof tool === "object" && tool !== null && !Array.isArray(tool)),
  });
  if (!tools || tools.length === 0 || choice === "none") return undefined;
  if (chatTemplate && !/\btools\b/.test(chatTemplate.source)) {
    throw new ApiError(400, `the chat template of ${name} knows no tools`, { param: "tools", code: "unsupported" });
  }
  return tools;
}
