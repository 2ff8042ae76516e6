import type { ChatMessage, TextPart } from "../engine/index.js";
import type { Asked } from "./answers.js";
import type { JsonObject } from "./body.js";
import { conversation, formatOf, heldTo } from "./conversation.js";
import { ApiError, badField } from "./errors.js";
import { checkFields, field, MOST_TOKENS, OBJECT, readWriting, TEXT, TRUE_OR_FALSE, wholeNumber } from "./fields.js";
import type { ServedModel } from "./models.js";
import { responseForm } from "./response-form.js";
import { readTools, type Schema } from "./tools.js";

/** Those of `readWriting` that this endpoint has. */
const WRITING = ["stream", "seed", "temperature", "top_p", "top_k", "min_p", "repetition_penalty"] as const;
const FIELDS: ReadonlySet<string> = new Set([
  ...WRITING,
  ...["model", "input", "instructions", "max_output_tokens", "tools", "tool_choice", "parallel_tool_calls", "text"],
]);

/** Fields that are not supported, with the values that ask for nothing. */
const NOT_SUPPORTED: Readonly<Record<string, readonly unknown[]>> = {
  background: [false],
  conversation: [],
  include: [[]],
  max_tool_calls: [],
  previous_response_id: [],
  prompt: [],
  reasoning: [{}],
  stream_options: [{}],
  top_logprobs: [0],
  truncation: ["disabled"],
};

/**
 * `POST /v1/responses`, without a store: the conversation is the request's `input`, with what was answered before.
 * @throws ApiError
 */
export function readResponse(name: string, model: ServedModel, body: JsonObject): Asked {
  for (const name of ["previous_response_id", "conversation"]) {
    if ((body[name] ?? null) === null) continue;
    const message = `${name} is not supported, because no answers are stored: send the whole conversation as input`;
    throw new ApiError(400, message, { param: name, code: "unsupported_parameter" });
  }
  checkFields(body, FIELDS, NOT_SUPPORTED);
  const given = readWriting(
    Object.fromEntries(WRITING.flatMap((name) => (Object.hasOwn(body, name) ? [[name, body[name]]] : []))),
    model.tokenizer.size,
  );
  const maxTokens = field(body, "max_output_tokens", wholeNumber(1, MOST_TOKENS));
  const writing = maxTokens === undefined ? given : { ...given, options: { ...given.options, maxTokens } };
  const instructions = field(body, "instructions", TEXT);
  const system: ChatMessage[] = instructions === undefined ? [] : [{ role: "system", content: instructions }];
  const messages = [...system, ...readInput(body.input)];
  const offered = readTools(body, name, model, (tool) => tool);
  const starts = conversation(model, messages, writing, offered, heldTo(offered, readText(body), "text"));
  return { model: name, subject: "input", writing, starts, parser: offered?.parser, form: responseForm(told(body)) };
}

/** `text.format` */
function readText(body: JsonObject): Schema | undefined {
  const text = field(body, "text", OBJECT);
  if (!text) return undefined;
  const { format, verbosity = null, ...others } = text;
  if (verbosity !== null || Object.keys(others).length > 0) throw badField("text", "an object with nothing but a format");
  const given = field(text, "format", OBJECT);
  return given && formatOf(given, "text.format");
}

/** What every body of the response tells of its request. */
function told(body: JsonObject): JsonObject {
  return {
    background: false,
    instructions: body.instructions ?? null,
    max_output_tokens: body.max_output_tokens ?? null,
    metadata: field(body, "metadata", OBJECT) ?? {},
    parallel_tool_calls: field(body, "parallel_tool_calls", TRUE_OR_FALSE) ?? true,
    previous_response_id: null,
    reasoning: { effort: null, summary: null },
    store: false,
    temperature: body.temperature ?? null,
    text: { format: { type: "text" }, ...(body.text as object | null) },
    tool_choice: body.tool_choice ?? "auto",
    tools: body.tools ?? [],
    top_p: body.top_p ?? null,
    truncation: "disabled",
  };
}

type Refuse = (text: string) => never;

/** `input` as the messages of a conversation. */
function readInput(input: unknown): ChatMessage[] {
  if (typeof input === "string") return [{ role: "user", content: input }];
  if (!Array.isArray(input) || input.length === 0) throw badField("input", "a string, or a list of items that is not empty");
  const messages: ChatMessage[] = [];
  const called = new Set<string>();
  for (const [i, item] of (input as readonly unknown[]).entries()) {
    const refuse: Refuse = (text) => {
      throw new ApiError(400, `input[${i}] ${text}`, { param: "input", code: "invalid_value" });
    };
    if (!OBJECT.holds(item)) return refuse("must be an object");
    switch (item.type ?? "message") {
      case "message":
        messages.push(readMessage(item, refuse));
        break;
      case "function_call":
        addCall(messages, readCall(item, called, refuse), refuse);
        break;
      case "function_call_output":
        messages.push(readResult(item, called, refuse));
        break;
      default:
        refuse('is of a type that is not supported: there are "message", "function_call" and "function_call_output"');
    }
  }
  return messages;
}

function readMessage({ role, content }: JsonObject, refuse: Refuse): ChatMessage {
  const roles = ["user", "assistant", "system", "developer"];
  if (typeof role !== "string" || !roles.includes(role)) return refuse(`must have a role: ${roles.join(", ")}`);
  return { role, content: readContent(content, refuse) };
}

/** A text, or the texts of its parts. */
function readContent(content: unknown, refuse: Refuse): string | TextPart[] {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return refuse("must have a content that is a string or a list of parts");
  return (content as readonly unknown[]).map((part) => {
    const isText = OBJECT.holds(part) && (part.type === "input_text" || part.type === "output_text") && typeof part.text === "string";
    return isText
      ? { type: "text", text: part.text as string }
      : refuse('must have content of the types "input_text" and "output_text" only');
  });
}

type Call = NonNullable<ChatMessage["tool_calls"]>[number];

function readCall({ call_id, name, arguments: json }: JsonObject, called: Set<string>, refuse: Refuse): Call {
  if (typeof call_id !== "string" || typeof name !== "string" || typeof json !== "string") {
    return refuse("is a function_call, and must have call_id, name and arguments, which are strings");
  }
  called.add(call_id);
  return { id: call_id, type: "function", function: { name, arguments: json } };
}

/** A call belongs to the assistant's message before it: templates have one message for a turn. */
function addCall(messages: ChatMessage[], call: Call, refuse: Refuse): void {
  const last = messages.at(-1);
  const isSame = last?.role === "assistant";
  const before = (isSame && last.tool_calls) || [];
  if (before.some(({ id }) => id === call.id)) refuse("has the call_id of the call before it");
  if (isSame) messages[messages.length - 1] = { ...last, tool_calls: [...before, call] };
  else messages.push({ role: "assistant", content: null, tool_calls: [call] });
}

function readResult({ call_id, output }: JsonObject, called: ReadonlySet<string>, refuse: Refuse): ChatMessage {
  if (typeof call_id !== "string" || !called.has(call_id)) {
    return refuse("is a function_call_output, and must have the call_id of a function_call before it");
  }
  return { role: "tool", tool_call_id: call_id, content: readContent(output, refuse) };
}
