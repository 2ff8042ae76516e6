import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import type { EmbeddingModelV3, LanguageModelV3 } from "@ai-sdk/provider";
import { ChatOpenAI, OpenAIEmbeddings } from "@langchain/openai";
import { embed, embedMany, generateObject, generateText, jsonSchema, Output, stepCountIs, streamText, tool } from "ai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import type { Model } from "../engine/index.js";
import { openToolServer, type ToolServer } from "../server/tools.test.helper.js";
import { embeddingModel, languageModel } from "./index.js";

// The real libraries, in this process and through the server. The model is the embedded one with the chat template of Qwen, which knows tools.

let server: ToolServer;
let model: Model;
beforeAll(async () => {
  process.env.LANGCHAIN_TRACING_V2 = "false"; // nothing is sent anywhere
  server = await openToolServer();
  model = server.model;
});
afterAll(() => server.close());

const endpoint = () =>
  createOpenAICompatible({ name: "bitnet", baseURL: `${server.url}/v1`, includeUsage: true, supportsStructuredOutputs: true });
const WAYS: readonly [string, () => { text: LanguageModelV3; vectors: EmbeddingModelV3 }][] = [
  ["in this process", () => ({ text: languageModel(model), vectors: embeddingModel(model) })],
  ["through the endpoint", () => ({ text: endpoint().languageModel("real"), vectors: endpoint().embeddingModel("real") })],
];

const weather = { city: z.enum(["Rome", "Oslo"]), days: z.number().int().min(1).max(3) };
const asked = { prompt: "The dog ran to", maxOutputTokens: 16, temperature: 1, topP: 0.9, seed: 7, maxRetries: 0 } as const;
const messages = [{ role: "user" as const, content: "The dog ran to" }];

describe.each(WAYS)("the AI SDK, %s", (_, models) => {
  it("generates text, streams the same, and tells its usage", async () => {
    const direct = await model.chat(messages, { maxTokens: 16, temperature: 1, topP: 0.9, seed: 7 }).result();
    const { text } = models();
    const whole = await generateText({ model: text, ...asked });
    expect(whole.text).toBe(direct.text);
    expect(whole.finishReason).toBe("length");
    expect(whole.usage).toMatchObject({ inputTokens: direct.promptIds.length, outputTokens: 16 });
    expect(whole.warnings ?? []).toEqual([]);
    const stream = streamText({ model: text, ...asked });
    const pieces: string[] = [];
    for await (const piece of stream.textStream) pieces.push(piece);
    expect(pieces.join("")).toBe(direct.text);
    expect(pieces.length).toBeGreaterThan(3);
    expect(await stream.usage).toMatchObject({ inputTokens: direct.promptIds.length, outputTokens: 16 });
  });

  it("holds an object to its schema", async () => {
    const schema = z.object({ name: z.enum(["Max", "Lily"]), age: z.number().int().min(0).max(99) });
    const request = { ...asked, model: models().text, maxOutputTokens: 200 };
    const { output } = await generateText({ ...request, output: Output.object({ schema }) });
    expect(schema.safeParse(output).success).toBe(true);
    expect((await generateObject({ ...request, schema })).object).toEqual(output);
  });

  it("calls a tool and goes on with its result", async () => {
    const heard: unknown[] = [];
    const { steps } = await generateText({
      ...{ model: models().text, ...asked, maxOutputTokens: 120 },
      tools: {
        weather: tool({
          description: "Tells the weather.",
          inputSchema: z.object(weather),
          execute: (input) => {
            heard.push(input);
            return { sky: "clear" };
          },
        }),
      },
      toolChoice: { type: "tool", toolName: "weather" },
      stopWhen: stepCountIs(2),
    });
    expect(steps).toHaveLength(2);
    expect(steps[0]!.finishReason).toBe("tool-calls");
    expect(heard).toHaveLength(2);
    for (const input of heard) expect(z.object(weather).safeParse(input).success).toBe(true);
    const stream = streamText({
      ...{ model: models().text, ...asked, maxOutputTokens: 120 },
      tools: { weather: tool({ inputSchema: z.object(weather) }) },
      toolChoice: "required",
    });
    const calls = await stream.toolCalls; // as many as fit
    expect(calls.length).toBeGreaterThan(0);
    for (const { input } of calls) expect(z.object(weather).safeParse(input).success).toBe(true);
  });

  it("embeds texts", async () => {
    const { vectors } = models();
    const texts = ["A dog ran.", "The sun is red."];
    const [first, second] = await model.embed(texts);
    const { embedding } = await embed({ model: vectors, value: texts[0]!, maxRetries: 0 });
    expect(Float32Array.from(embedding)).toEqual(first);
    const { embeddings, usage } = await embedMany({ model: vectors, values: texts, maxRetries: 0 });
    expect(embeddings.map((one) => Float32Array.from(one))).toEqual([first, second]);
    expect(usage.tokens).toBeGreaterThan(4);
  });

  it("ends when it is aborted, and says what is wrong", async () => {
    const abort = new AbortController();
    const stream = streamText({ model: models().text, ...asked, maxOutputTokens: 2000, abortSignal: abort.signal, onError: () => {} });
    let pieces = 0;
    for await (const part of stream.fullStream) {
      if (part.type === "text-delta" && ++pieces === 3) abort.abort();
      if (part.type === "abort") break;
    }
    expect(pieces).toBeLessThan(2000);
    const late = new AbortController();
    const whole = generateText({ model: models().text, ...asked, maxOutputTokens: 2000, abortSignal: late.signal });
    setTimeout(() => late.abort(), 20);
    await expect(whole).rejects.toThrow(/abort/i);
    const image = { type: "image" as const, image: Uint8Array.of(0x89, 0x50, 0x4e, 0x47), mediaType: "image/png" };
    const seen = generateText({ model: models().text, ...asked, prompt: [{ role: "user", content: [image] }] });
    await expect(seen).rejects.toThrow(/only text/);
    const wrong = { type: "object", properties: { a: { type: "string", format: "color" } }, required: ["a"] } as const;
    const held = generateText({ model: models().text, ...asked, output: Output.object({ schema: jsonSchema(wrong) }) });
    await expect(held).rejects.toThrow(/format/);
    await expect.poll(() => model.stats.running).toBe(0);
  });
});

describe("LangChain.js, through the endpoint", () => {
  const chat = (more: object = {}) =>
    new ChatOpenAI({
      model: "real",
      apiKey: "none",
      maxTokens: 16,
      temperature: 1,
      maxRetries: 0,
      configuration: { baseURL: `${server.url}/v1` },
      ...more,
    });

  it("invokes, streams, and gives objects under a schema", async () => {
    const answer = await chat().invoke("The dog ran to");
    expect(answer.text.length).toBeGreaterThan(0);
    expect(answer.usage_metadata).toMatchObject({ output_tokens: 16 });
    const pieces: string[] = [];
    for await (const piece of await chat().stream("The dog ran to")) pieces.push(piece.text);
    expect(pieces.join("").length).toBeGreaterThan(10);
    const schema = z.object(weather);
    for (const method of ["jsonSchema", "functionCalling"] as const) {
      const found = await chat({ maxTokens: 200 }).withStructuredOutput(schema, { method }).invoke("The dog ran to");
      expect(schema.safeParse(found).success).toBe(true);
    }
  });

  it("embeds texts", async () => {
    const embeddings = new OpenAIEmbeddings({
      model: "real",
      apiKey: "none",
      maxRetries: 0,
      configuration: { baseURL: `${server.url}/v1` },
    });
    const texts = ["A dog ran.", "The sun is red."];
    const expected = await model.embed(texts);
    const vectors = await embeddings.embedDocuments(texts);
    expect(vectors.map((vector) => Float32Array.from(vector))).toEqual(expected);
    expect(Float32Array.from(await embeddings.embedQuery(texts[1]!))).toEqual(expected[1]);
  });
});
