import { randomUUID } from "node:crypto";
import type {
  LanguageModelV3,
  LanguageModelV3CallOptions,
  LanguageModelV3Content,
  LanguageModelV3FinishReason,
  LanguageModelV3StreamPart,
  LanguageModelV3Usage,
  SharedV3Warning,
} from "@ai-sdk/provider";
import { BitnetError } from "../engine/errors.js";
import {
  type ChatOptions,
  type Generation,
  type GenerationResult,
  type Model,
  type OfferedTool,
  type ToolCallParser,
  type ToolEvent,
  toolFormat,
} from "../engine/index.js";
import { messagesOf } from "./messages.js";

/** What is used of a model. */
export type WritingModel = Pick<Model, "chat" | "toolCallParser">;

/**
 * A loaded model as a language model of the AI SDK. What it is asked is answered in this process, in batches with all else that the model does.
 * @param modelId how it is called in what the AI SDK reports
 */
export function languageModel(model: WritingModel, modelId = "bitnet"): LanguageModelV3 {
  return {
    specificationVersion: "v3",
    provider: "bitnet-ts",
    modelId,
    supportedUrls: {},
    async doGenerate(options) {
      const { generation, parser, warnings } = begin(model, options);
      const result = await generation.result();
      throwIfAborted(result, options);
      const events = parser ? [...parser.push(result.text), ...parser.end()] : [{ type: "text" as const, text: result.text }];
      const content = events.flatMap((event): LanguageModelV3Content[] =>
        event.type === "tool-call" ? [callOf(event)] : event.text === "" ? [] : [event],
      );
      return {
        content: joined(content),
        finishReason: finishOf(result, events.some(isCall)),
        usage: usageOf(result),
        warnings,
        response: { timestamp: new Date(), modelId },
      };
    },
    async doStream(options) {
      const { generation, parser, warnings } = begin(model, options);
      const parts = streamed(generation, parser, warnings, modelId, options);
      return {
        stream: new ReadableStream<LanguageModelV3StreamPart>(
          {
            async pull(controller) {
              const { done, value } = await parts.next();
              if (done) controller.close();
              else controller.enqueue(value);
            },
            async cancel() {
              await parts.return(undefined);
            },
          },
          { highWaterMark: 0 },
        ),
      };
    },
  };
}

interface Begun {
  readonly generation: Generation;
  /** Finds calls of tools; undefined: the answer is text. */
  readonly parser: ToolCallParser | undefined;
  readonly warnings: SharedV3Warning[];
}

function begin(model: WritingModel, options: LanguageModelV3CallOptions): Begun {
  const warnings: SharedV3Warning[] = [];
  const offered = offeredTools(options, warnings);
  const tools = offered.map(({ tool }) => tool);
  const parser = tools.length > 0 ? model.toolCallParser(tools) : undefined;
  if (tools.length > 0 && !parser)
    throw new BitnetError(
      "usage",
      "the model's chat template knows no tools, or writes calls in a form that is not supported: offer no tools",
    );
  const { responseFormat, toolChoice } = options;
  const schema = responseFormat?.type === "json" ? { schema: responseFormat.schema ?? { type: "object" } } : undefined;
  const choice = toolChoice?.type === "tool" ? { name: toolChoice.toolName } : toolChoice?.type === "required" ? "required" : "auto";
  const format = tools.length > 0 ? toolFormat(offered, choice, true, schema) : schema;
  const { maxOutputTokens, stopSequences, abortSignal, temperature, topP, topK, presencePenalty, frequencyPenalty, seed } = options;
  const asked: { [name in keyof ChatOptions]: unknown } = {
    ...{ maxTokens: maxOutputTokens, stop: stopSequences, signal: abortSignal, format },
    ...{ temperature, topP, topK, presencePenalty, frequencyPenalty, seed },
    ...(tools.length > 0 && { template: { tools } }),
  };
  const given = Object.fromEntries(Object.entries(asked).filter(([, value]) => value !== undefined));
  return { generation: model.chat(messagesOf(options.prompt), given as ChatOptions), parser, warnings };
}

function offeredTools({ tools = [], toolChoice }: LanguageModelV3CallOptions, warnings: SharedV3Warning[]): OfferedTool[] {
  if (toolChoice?.type === "none") return [];
  return tools.flatMap((tool): OfferedTool[] => {
    if (tool.type !== "function") {
      warnings.push({ type: "unsupported", feature: `the tool ${tool.id}, which a provider runs` });
      return [];
    }
    const { name, description, inputSchema, strict = false } = tool;
    const parameters = inputSchema as Record<string, unknown>;
    const own = { name, ...(description !== undefined && { description }), parameters };
    return [{ tool: { type: "function", function: own }, isStrict: strict }];
  });
}

/** The parts of a stream, as the answer is written. Leaving it ends the work. */
async function* streamed(
  generation: Generation,
  parser: ToolCallParser | undefined,
  warnings: SharedV3Warning[],
  modelId: string,
  options: LanguageModelV3CallOptions,
): AsyncGenerator<LanguageModelV3StreamPart, void, undefined> {
  yield { type: "stream-start", warnings };
  yield { type: "response-metadata", timestamp: new Date(), modelId };
  let text: string | undefined; // the id of the text that is being written
  let calls = false;
  const write = function* (events: readonly ToolEvent[]): Generator<LanguageModelV3StreamPart> {
    for (const event of events) {
      if (event.type === "text") {
        if (event.text === "") continue;
        if (text === undefined) {
          text = randomUUID();
          yield { type: "text-start", id: text };
        }
        yield { type: "text-delta", id: text, delta: event.text };
        continue;
      }
      if (text !== undefined) yield { type: "text-end", id: text };
      text = undefined;
      calls = true;
      const call = callOf(event);
      const { toolCallId: id, toolName, input } = call;
      yield { type: "tool-input-start", id, toolName };
      yield { type: "tool-input-delta", id, delta: input };
      yield { type: "tool-input-end", id };
      yield call;
    }
  };
  for await (const piece of generation) yield* write(parser ? parser.push(piece) : [{ type: "text", text: piece }]);
  if (parser) yield* write(parser.end());
  const result = await generation.result();
  throwIfAborted(result, options);
  if (text !== undefined) yield { type: "text-end", id: text };
  yield { type: "finish", usage: usageOf(result), finishReason: finishOf(result, calls) };
}

const isCall = ({ type }: ToolEvent): boolean => type === "tool-call";

function callOf(event: Extract<ToolEvent, { type: "tool-call" }>): Extract<LanguageModelV3Content, { type: "tool-call" }> {
  return { type: "tool-call", toolCallId: `call_${randomUUID()}`, toolName: event.name, input: event.arguments };
}

/** Texts that follow each other are one. */
function joined(content: readonly LanguageModelV3Content[]): LanguageModelV3Content[] {
  const out: LanguageModelV3Content[] = [];
  for (const part of content) {
    const last = out.at(-1);
    if (part.type === "text" && last?.type === "text") out[out.length - 1] = { type: "text", text: last.text + part.text };
    else out.push(part);
  }
  return out;
}

/** Who asks no more is told as the AI SDK expects it. */
function throwIfAborted({ stopReason }: GenerationResult, { abortSignal }: LanguageModelV3CallOptions): void {
  if (stopReason === "aborted") abortSignal?.throwIfAborted();
}

function finishOf({ stopReason }: GenerationResult, calls: boolean): LanguageModelV3FinishReason {
  const ended = stopReason === "eos" || stopReason === "stop";
  const cut = stopReason === "length" || stopReason === "context";
  return { unified: ended ? (calls ? "tool-calls" : "stop") : cut ? "length" : "other", raw: stopReason };
}

function usageOf({ promptIds, ids, timings: { cachedTokens } }: GenerationResult): LanguageModelV3Usage {
  const total = promptIds.length;
  return {
    inputTokens: { total, noCache: total - cachedTokens, cacheRead: cachedTokens, cacheWrite: undefined },
    outputTokens: { total: ids.length, text: ids.length, reasoning: undefined },
  };
}
