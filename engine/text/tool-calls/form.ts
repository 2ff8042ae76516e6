import { BitnetError } from "../../errors.js";
import type { ChatMessage, ChatTemplate } from "../types.js";

/** How a model writes a call of a tool. */
export interface ToolCallForm {
  /** The call is a JSON object with the members `name` and this; undefined: it is a `<function=…>` with a `<parameter=…>` for each argument. */
  readonly argumentsKey: "arguments" | "parameters" | undefined;
  /** What begins a call wherever it stands, and what ends it, if it isn't its JSON. */
  readonly marks: readonly [open: string, close?: string];
  /** A call may begin an answer without a mark. */
  readonly isBare: boolean;
  /** Stands between two calls of which the second has no mark. */
  readonly separator?: string;
  /** What templates write before a call, behind it, and between two; without the last an answer has one call. */
  readonly written: { readonly before: string; readonly behind: string; readonly between?: string };
}

/** Of Hermes, Qwen 2.5 and 3, and Falcon 3. */
const HERMES: ToolCallForm = {
  argumentsKey: "arguments",
  marks: ["<tool_call>", "</tool_call>"],
  isBare: false,
  written: { before: "<tool_call>\n", behind: "\n</tool_call>", between: "\n" },
};

/** Of Qwen3-Coder and Qwen 3.5. */
const TAGS: ToolCallForm = { ...HERMES, argumentsKey: undefined };

/** Of LLaMA 3.1 and 3.2, whose templates refuse more than one call in a message. */
const LLAMA: ToolCallForm = {
  argumentsKey: "parameters",
  marks: ["<|python_tag|>"],
  isBare: true,
  separator: ";",
  written: { before: "", behind: "" },
};

const TOOL = { type: "function", function: { name: "offered_tool", description: "", parameters: { type: "object", properties: {} } } };
const CALL: readonly ChatMessage[] = [
  { role: "user", content: "-" },
  {
    role: "assistant",
    content: "",
    tool_calls: [{ id: "call00000", type: "function", function: { name: "called_tool", arguments: { key: "value" } } }],
  },
];
const BEGINNING = String.raw`\{\s*"name":\s*"called_tool",\s*`;
const ARGUMENTS = String.raw`\{\s*"key":\s*"value"\s*\}\s*\}`;
/** How each form looks where a template has written the call. */
const FORMS: readonly (readonly [RegExp, ToolCallForm])[] = [
  [new RegExp(String.raw`<tool_call>\s*${BEGINNING}"arguments":\s*${ARGUMENTS}\s*</tool_call>`), HERMES],
  [/<tool_call>\s*<function=called_tool>\s*<parameter=key>\s*value\s*<\/parameter>\s*<\/function>\s*<\/tool_call>/, TAGS],
  [new RegExp(String.raw`(?:^|\s|\|>)${BEGINNING}"parameters":\s*${ARGUMENTS}`), LLAMA],
];

/**
 * The form in which a template writes a call that was made, which is what its model has learned. Undefined: the template knows no tools, or
 * another form.
 */
export function toolCallForm(template: ChatTemplate): ToolCallForm | undefined {
  let text: string;
  try {
    text = template.compose(CALL, { template: { tools: [TOOL] }, addGenerationPrompt: false, date: "2025-01-01" }).text;
  } catch (error) {
    if (error instanceof BitnetError) return undefined; // it refuses calls, or is broken: a chat then says why
    throw error;
  }
  if (!text.includes(TOOL.function.name)) return undefined;
  return FORMS.find(([looks]) => looks.test(text))?.[1];
}
