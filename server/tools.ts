import {
  type AnswerFormat,
  type ChatMessage,
  type OfferedTool,
  type ToolCallParser,
  type ToolChoice,
  type ToolDefinition,
  toolFormat,
} from "../engine/index.js";
import type { JsonObject } from "./body.js";
import { ApiError, badField } from "./errors.js";
import { field, OBJECT, oneOf, TEXT, TRUE_OR_FALSE } from "./fields.js";
import type { ServedModel } from "./models.js";

/** The tools of a request: what the template is given, what finds calls, and what holds an answer to them. */
export interface OfferedTools {
  readonly tools: readonly ToolDefinition[];
  readonly parser: () => ToolCallParser;
  /** What holds an answer that is otherwise under this schema, if any; undefined: the model decides by itself what it calls, and how. */
  format(schema: Schema | undefined): AnswerFormat | undefined;
}

/** A format of answers without calls. */
export type Schema = { readonly schema: unknown };

/** Tools of one request: OpenAI's limit. */
const MOST_TOOLS = 128;
const NAME = /^[\w-]{1,64}$/;

/** A tool's fields, wherever an endpoint has them. */
export type ReadTool = (tool: JsonObject) => JsonObject | undefined;

/**
 * `tools`, `tool_choice` and `parallel_tool_calls`; undefined: no tools are offered.
 * @param functionOf the object that has a tool's or a choice's name: `function` in it, or it itself
 * @throws ApiError 400
 */
export function readTools(body: JsonObject, name: string, model: ServedModel, functionOf: ReadTool): OfferedTools | undefined {
  const several = field(body, "parallel_tool_calls", TRUE_OR_FALSE) ?? true;
  const given = field(body, "tools", {
    wanted: `a list of at most ${MOST_TOOLS} tools of the type "function"`,
    holds: (value): value is readonly JsonObject[] =>
      Array.isArray(value) && value.length <= MOST_TOOLS && value.every((tool) => OBJECT.holds(tool) && tool.type === "function"),
  });
  const read = (given ?? []).map((tool, i) => readTool(functionOf(tool), i));
  const names = new Set(read.map(({ tool }) => tool.function.name));
  if (names.size < read.length) throw badField("tools", "tools with a name of its own each");
  const choice = readChoice(body, functionOf, names);
  if (read.length === 0 || choice === "none") return undefined;
  const { chatTemplate } = model;
  const tools = read.map(({ tool }) => tool);
  const parser = (): ToolCallParser => {
    const made = model.toolCallParser(tools);
    if (made !== undefined) return made;
    const knowsTools = chatTemplate !== undefined && /\btools\b/.test(chatTemplate.source);
    const why = knowsTools ? "has tools, but writes calls in a form that is not supported" : "knows no tools";
    throw new ApiError(400, `the chat template of ${name} ${why}`, { param: "tools", code: "unsupported" });
  };
  if (chatTemplate !== undefined) parser(); // without one, chat itself says so
  return { tools, parser, format: (schema) => toolFormat(read, choice, several, schema) };
}

function readTool(own: JsonObject | undefined, index: number): OfferedTool {
  const param = `tools[${index}]`;
  const wrong = (wanted: string): ApiError => badField(param, wanted);
  if (own === undefined) throw wrong('{ "type": "function", "function": { "name": "…", "parameters": { … } } }');
  const { name, description, parameters, strict, ...others } = own;
  if (typeof name !== "string" || !NAME.test(name)) throw wrong("a tool with a name of 1 to 64 letters, digits, _ and -");
  if (description !== undefined && description !== null && typeof description !== "string")
    throw wrong("a tool whose description is a string");
  if (parameters !== undefined && parameters !== null && !OBJECT.holds(parameters))
    throw wrong("a tool whose parameters are a JSON Schema");
  if (strict !== undefined && strict !== null && typeof strict !== "boolean") throw wrong("a tool whose strict is true or false");
  const [unknown] = Object.keys(others).filter((key) => key !== "type" && others[key] !== null);
  if (unknown !== undefined) throw wrong(`a tool without the unknown field ${JSON.stringify(unknown.slice(0, 60))}`);
  // `strict` is for the server; models have not learned what it means.
  const described = { ...(typeof description === "string" && { description }), ...(OBJECT.holds(parameters) && { parameters }) };
  return { tool: { type: "function", function: { name, ...described } }, isStrict: strict === true };
}

function readChoice(body: JsonObject, functionOf: ReadTool, names: ReadonlySet<string>): ToolChoice | "none" {
  const { tool_choice: given } = body;
  if (OBJECT.holds(given)) {
    const name = given.type === "function" ? functionOf(given)?.name : undefined;
    if (typeof name !== "string" || !names.has(name))
      throw badField("tool_choice", 'the name of one of the tools, with the type "function"');
    return { name };
  }
  const mode = oneOf("auto", "none", "required");
  const choice = field(body, "tool_choice", { wanted: `${mode.wanted}, or the name of a tool`, holds: mode.holds }) ?? "auto";
  if (choice === "required" && names.size === 0) throw badField("tool_choice", '"auto" or "none" where there are no tools');
  return choice;
}

/**
 * The calls of tools in a conversation: each has an id, and each result is of a call before it.
 * @param param the field with the messages
 * @throws ApiError 400
 */
export function checkToolMessages(messages: readonly unknown[], param: string): asserts messages is readonly ChatMessage[] {
  const called = new Set<string>();
  for (const [i, message] of messages.entries()) {
    if (!OBJECT.holds(message)) continue; // the engine says what is wrong
    const refuse = (text: string): never => {
      throw new ApiError(400, `message ${i} ${text}`, { param, code: "invalid_value" });
    };
    if (message.role === "assistant" && Array.isArray(message.tool_calls)) {
      const own = new Set<string>();
      for (const call of message.tool_calls as unknown[]) {
        const isCall = OBJECT.holds(call) && TEXT.holds(call.id) && call.id !== "" && call.type === "function";
        if (!isCall)
          return refuse('has tool_calls that are not all { "id": "…", "type": "function", "function": { "name": "…", "arguments": "…" } }');
        if (own.has(call.id as string)) refuse(`has two tool calls with the id ${shown(call.id as string)}`);
        own.add(call.id as string);
        called.add(call.id as string);
      }
    }
    if (message.role !== "tool") continue;
    const { tool_call_id: id } = message;
    if (!TEXT.holds(id)) refuse("is the result of a tool, and must have the tool_call_id of the call");
    else if (!called.has(id)) refuse(`has the tool_call_id ${shown(id)}, but no message before it has that call`);
  }
}

/** A client's text in a message. */
const shown = (text: string): string => JSON.stringify(text.slice(0, 60));
