import type { LanguageModelV3Message, LanguageModelV3Prompt, LanguageModelV3ToolResultOutput } from "@ai-sdk/provider";
import { BitnetError } from "../engine/errors.js";
import type { ChatMessage } from "../engine/index.js";

type Part<T extends LanguageModelV3Message["role"]> = Exclude<Extract<LanguageModelV3Message, { role: T }>["content"], string>[number];

/** The conversation as chat templates take it. @throws BitnetError usage: it has more than text and calls of tools */
export function messagesOf(prompt: LanguageModelV3Prompt): ChatMessage[] {
  return prompt.flatMap(readMessage);
}

function readMessage(message: LanguageModelV3Message): ChatMessage[] {
  switch (message.role) {
    case "system":
      return [{ role: "system", content: message.content }];
    case "user":
      return [{ role: "user", content: message.content.map(textPart) }];
    case "assistant":
      return [assistantMessage(message.content)];
    case "tool":
      return message.content.map(toolMessage);
  }
}

function textPart(part: Part<"user">): { readonly type: "text"; readonly text: string } {
  if (part.type !== "text") throw onlyText(`a file of the type ${part.mediaType}`);
  return { type: "text", text: part.text };
}

/** What another model thought is not part of what it said. */
function assistantMessage(parts: readonly Part<"assistant">[]): ChatMessage {
  const texts: string[] = [];
  const calls = [];
  for (const part of parts) {
    if (part.type === "text") texts.push(part.text);
    else if (part.type === "tool-call") {
      const call = { name: part.toolName, arguments: JSON.stringify(part.input) };
      calls.push({ id: part.toolCallId, type: "function" as const, function: call });
    } else if (part.type !== "reasoning") throw onlyText(`a part of the type ${part.type}`);
  }
  const content = texts.join("");
  if (calls.length === 0) return { role: "assistant", content };
  return { role: "assistant", content: content === "" ? null : content, tool_calls: calls };
}

function toolMessage(part: Part<"tool">): ChatMessage {
  if (part.type !== "tool-result") throw onlyText(`a part of the type ${part.type}`);
  return { role: "tool", tool_call_id: part.toolCallId, name: part.toolName, content: resultText(part.output) };
}

function resultText(output: LanguageModelV3ToolResultOutput): string {
  switch (output.type) {
    case "text":
    case "error-text":
      return output.value;
    case "json":
    case "error-json":
      return JSON.stringify(output.value);
    case "execution-denied":
      return output.reason ?? "the user denied it";
    case "content":
      return output.value
        .map((part) => {
          if (part.type !== "text") throw onlyText(`a tool's result of the type ${part.type}`);
          return part.text;
        })
        .join("\n");
  }
}

const onlyText = (what: string): BitnetError =>
  new BitnetError("usage", `the conversation has ${what}, but the model reads only text: leave it out`);
