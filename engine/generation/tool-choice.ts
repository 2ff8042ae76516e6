import type { ToolDefinition } from "../grammar/calls.js";
import type { AnswerFormat } from "./types.js";

/** A tool that an answer may call. */
export interface OfferedTool {
  readonly tool: ToolDefinition;
  /** Its calls must fit its schema. */
  readonly isStrict: boolean;
}

/** Whether an answer must call: as the model decides, at least one tool, or the one with this name. */
export type ToolChoice = "auto" | "required" | { readonly name: string };

/**
 * What an answer with tools is held to; undefined: nothing, the model decides by itself what it calls, and how. It is free unless it must call, a tool
 * is strict, one call is the most, or what is no call has a schema.
 * @param several it may call more than once
 * @param schema of an answer without calls
 */
export function toolFormat(
  offered: readonly OfferedTool[],
  choice: ToolChoice,
  several: boolean,
  schema: { readonly schema: unknown } | undefined,
): AnswerFormat | undefined {
  const tools = offered.map(({ tool }) => tool);
  if (typeof choice === "object") return { calls: { tools: tools.filter((tool) => tool.function.name === choice.name) } };
  if (choice === "required") return { calls: { tools, several } };
  if (several && schema === undefined && !offered.some(({ isStrict }) => isStrict)) return undefined;
  // Only strict tools are held to their schema: others may have one that can't be.
  const held = offered.map(({ tool, isStrict }) => (isStrict ? tool : withAnyArguments(tool)));
  return { calls: { tools: held, several, otherwise: schema ?? "text" } };
}

const withAnyArguments = ({ type, function: { name } }: ToolDefinition): ToolDefinition => ({
  type,
  function: { name, parameters: { type: "object" } },
});
