import { Ajv2020 } from "ajv/dist/2020.js";
import { BadRequestError, type OpenAI } from "openai";
import { afterAll, describe, expect, it } from "vitest";
import { openToolServer } from "./tools.test.helper.js";

// The official client, over a real connection: with the embedded model, and with one that says what the test wants.

const { client, model, heard, says, close, url } = await openToolServer();
afterAll(close);

const parameters = {
  type: "object",
  properties: { city: { enum: ["Rome", "Oslo"] }, days: { type: "integer", minimum: 1, maximum: 7 } },
  required: ["city", "days"],
  additionalProperties: false,
};
const tools: OpenAI.Responses.FunctionTool[] = [{ type: "function", name: "weather", description: "Tells.", parameters, strict: null }];
const CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome", "days": 2}}\n</tool_call>';
const ARGUMENTS = '{"city": "Rome", "days": 2}';

type Event = OpenAI.Responses.ResponseStreamEvent;

/** All events of a stream. */
async function eventsOf(request: object): Promise<Event[]> {
  const events: Event[] = [];
  const stream = (await client.responses.create({ ...request, stream: true } as never)) as unknown as AsyncIterable<Event>;
  for await (const event of stream) events.push(event);
  return events;
}

/** A response without what differs from one to the next. */
const withoutIds = (response: object): unknown =>
  JSON.parse(
    JSON.stringify(response, (key, value: unknown) => (["id", "call_id", "created_at", "output_text"].includes(key) ? undefined : value)),
  );

describe("a response", () => {
  it("is the engine's own answer to the input, with usage", async () => {
    const request = { model: "real", instructions: "Be kind.", input: "Tell me a story.", max_output_tokens: 8, temperature: 0 };
    const response = await client.responses.create(request);
    const messages = [
      { role: "system", content: "Be kind." },
      { role: "user", content: "Tell me a story." },
    ];
    const own = await model.chat(messages, { maxTokens: 8, temperature: 0 }).result();
    expect(own.text).not.toBe("");
    expect(response).toMatchObject({
      id: expect.stringMatching(/^resp_[0-9a-f]{32}$/),
      object: "response",
      model: "real",
      status: "incomplete",
      incomplete_details: { reason: "max_output_tokens" },
      error: null,
      output: [
        {
          id: expect.stringMatching(/^msg_[0-9a-f]{32}$/),
          type: "message",
          role: "assistant",
          status: "incomplete",
          content: [{ type: "output_text", text: own.text, annotations: [] }],
        },
      ],
      usage: { input_tokens: own.promptIds.length, output_tokens: 8, total_tokens: own.promptIds.length + 8 },
      ...{ instructions: "Be kind.", max_output_tokens: 8, temperature: 0, tools: [], tool_choice: "auto", store: false },
    });
    expect(response.output_text).toBe(own.text);
  });

  it("is held to a schema", async () => {
    const format = { type: "json_schema" as const, name: "trip", schema: parameters, strict: true };
    const response = await client.responses.parse({ model: "real", input: "Where?", text: { format } });
    expect(response.status).toBe("completed");
    expect(new Ajv2020().validate(parameters, response.output_parsed)).toBe(true);
    expect(response.text).toEqual({ format });
    const json = await client.responses.create({
      model: "real",
      input: "Where?",
      max_output_tokens: 4,
      text: { format: { type: "json_object" } },
    });
    expect(json.output_text).toMatch(/^\{/);
  });

  it("calls tools: required or named, with valid arguments, streamed or not", async () => {
    for (const tool_choice of ["required", { type: "function" as const, name: "weather" }] as const) {
      const request = { model: "real", input: "Rome?", tools, tool_choice, parallel_tool_calls: false, temperature: 2, seed: 4 };
      const { output, status } = await client.responses.create(request);
      expect([status, output.length, output[0]!.type]).toEqual(["completed", 1, "function_call"]);
      const call = output[0] as OpenAI.Responses.ResponseFunctionToolCall;
      expect([call.name, call.status, /^call_[0-9a-f]{32}$/.test(call.call_id)]).toEqual(["weather", "completed", true]);
      expect(new Ajv2020().validate(parameters, JSON.parse(call.arguments))).toBe(true);
      const streamed = await client.responses.stream(request).finalResponse();
      expect(streamed.output).toMatchObject([{ type: "function_call", name: "weather", arguments: call.arguments }]);
    }
  });

  it("streams OpenAI's events in their order, and ends with what is not streamed", async () => {
    const text = `Let me see.\n${CALL}\n${CALL} So.`;
    const request = { model: "scripted", input: "Rome?", tools, metadata: { a: "b" } };
    says(text, text);
    const whole = await client.responses.create(request);
    const events = await eventsOf(request);
    expect(events.map(({ sequence_number }) => sequence_number)).toEqual(events.map((_, i) => i));
    const types = events.map(({ type }) => type.replace("response.", "")).filter((type, i, all) => type !== all[i - 1]);
    const message = [
      "output_item.added",
      "content_part.added",
      "output_text.delta",
      "output_text.done",
      "content_part.done",
      "output_item.done",
    ];
    const call = ["output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done"];
    expect(types).toEqual(["created", "in_progress", ...message, ...call, ...call, ...message, "completed"]);
    const last = events.at(-1)!;
    const { response } = last as OpenAI.Responses.ResponseCompletedEvent;
    expect(withoutIds(response)).toEqual(withoutIds(whole));
    expect(whole).toMatchObject({
      status: "completed",
      metadata: { a: "b" },
      output: [
        { type: "message", content: [{ text: "Let me see.\n" }] },
        { type: "function_call", arguments: ARGUMENTS },
        { type: "function_call", arguments: ARGUMENTS },
        { type: "message", content: [{ text: " So." }] },
      ],
      usage: { input_tokens: 4, input_tokens_details: { cached_tokens: 3 }, output_tokens: 2, total_tokens: 6 },
    });
    // What the pieces say of an item is what the item is.
    for (const [index, item] of response.output.entries()) {
      const of = <T extends Event["type"]>(type: T) =>
        events.filter(
          (event): event is Extract<Event, { type: T }> => event.type === type && "output_index" in event && event.output_index === index,
        );
      const [added] = of("response.output_item.added");
      const [done] = of("response.output_item.done");
      expect(done!.item).toEqual(item);
      expect(added!.item).toMatchObject({ id: item.id, status: "in_progress" });
      const deltas = [...of("response.output_text.delta"), ...of("response.function_call_arguments.delta")];
      const written =
        item.type === "message" ? item.content.map((part) => (part.type === "output_text" ? part.text : "")).join("") : ARGUMENTS;
      expect(deltas.map(({ delta }) => delta).join("")).toBe(written);
      for (const delta of deltas) expect(delta.item_id).toBe(item.id);
    }
    says(text);
    const final = await client.responses.stream(request).finalResponse(); // the client's own reading of the events
    expect(withoutIds(final.output.map(({ type }) => type))).toEqual(["message", "function_call", "function_call", "message"]);
  });

  it("ends as incomplete where it was cut off, has a text where it is empty, and tells of failures", async () => {
    says("Once…", "", "Once💥");
    expect((await eventsOf({ model: "scripted", input: "Hi" })).at(-1)).toMatchObject({
      type: "response.incomplete",
      response: { status: "incomplete", incomplete_details: { reason: "max_output_tokens" }, output: [{ status: "incomplete" }] },
    });
    expect((await client.responses.create({ model: "scripted", input: "Hi" })).output).toMatchObject([{ content: [{ text: "" }] }]);
    const failed = await eventsOf({ model: "scripted", input: "Hi" });
    expect(failed.slice(-2)).toMatchObject([
      { type: "error", message: "the server failed to answer this request" },
      { type: "response.failed", response: { status: "failed", error: { code: "server_error" } } },
    ]);
    const raw = await fetch(`${url}/v1/responses`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model: "real", input: "Hi", max_output_tokens: 1, stream: true }),
    });
    expect(await raw.text()).toMatch(/^event: response\.created\ndata: \{"type":"response\.created","sequence_number":0,/);
  });

  it("the whole conversation is the input: what was answered goes back as it came", async () => {
    says(`I look.${CALL}`, "Sunny.");
    const first = await client.responses.create({ model: "scripted", input: "Rome?", tools });
    const [, call] = first.output as [unknown, OpenAI.Responses.ResponseFunctionToolCall];
    const second = await client.responses.create({
      ...{ model: "scripted", tools, instructions: "Be kind.", store: true },
      input: [
        { role: "user", content: [{ type: "input_text", text: "Rome?" }] },
        ...first.output,
        { type: "function_call_output", call_id: call.call_id, output: "sun" },
        { role: "developer", content: "Be short." },
      ],
    } as OpenAI.Responses.ResponseCreateParamsNonStreaming);
    expect(second.output_text).toBe("Sunny.");
    expect(heard[1]!.messages).toEqual([
      { role: "system", content: "Be kind." },
      { role: "user", content: [{ type: "text", text: "Rome?" }] },
      {
        role: "assistant",
        content: [{ type: "text", text: "I look." }],
        tool_calls: [{ id: call.call_id, type: "function", function: { name: "weather", arguments: ARGUMENTS } }],
      },
      { role: "tool", tool_call_id: call.call_id, content: "sun" },
      { role: "developer", content: "Be short." },
    ]);
    expect(heard[1]!.options.template).toEqual({
      tools: [{ type: "function", function: { name: "weather", description: "Tells.", parameters } }],
    });
  });
});

describe("refused with one clear sentence", () => {
  const call = { type: "function_call", call_id: "a", name: "f", arguments: "{}" };
  const bad: [request: object, param: string, says: RegExp][] = [
    [{ previous_response_id: "resp_1" }, "previous_response_id", /no answers are stored: send the whole conversation as input/],
    [{ conversation: "c" }, "conversation", /no answers are stored/],
    [{ background: true }, "background", /not supported/],
    [{ include: ["reasoning.encrypted_content"] }, "include", /not supported/],
    [{ truncation: "auto" }, "truncation", /not supported/],
    [{ messages: [] }, "messages", /unknown field/],
    [{ n: 2 }, "n", /unknown field/],
    [{ input: undefined }, "input", /a string, or a list of items/],
    [{ input: [] }, "input", /not empty/],
    [{ input: [1] }, "input", /input\[0\] must be an object/],
    [{ input: [{ role: "tool", content: "a" }] }, "input", /input\[0\] must have a role/],
    [{ input: [{ role: "user" }] }, "input", /must have a content/],
    [{ input: [{ role: "user", content: [{ type: "input_image" }] }] }, "input", /"input_text" and "output_text" only/],
    [{ input: [{ type: "reasoning" }] }, "input", /a type that is not supported/],
    [{ input: [{ ...call, arguments: {} }] }, "input", /must have call_id, name and arguments/],
    [{ input: [call, call] }, "input", /input\[1\] has the call_id of the call before it/],
    [
      { input: [{ type: "function_call_output", call_id: "b", output: "" }] },
      "input",
      /must have the call_id of a function_call before it/,
    ],
    [{ input: [call, { type: "function_call_output", call_id: "a" }] }, "input", /must have a content/],
    [{ max_output_tokens: 0 }, "max_output_tokens", /a whole number from 1/],
    [{ temperature: 3 }, "temperature", /from 0 to 2/],
    [{ instructions: 1 }, "instructions", /a string/],
    [{ metadata: 1 }, "metadata", /an object/],
    [{ text: { format: { type: "xml" } } }, "type", /one of/],
    [{ text: { format: { type: "json_schema", name: "a" } } }, "text.format", /"schema"/],
    [{ text: { verbosity: "low" } }, "text", /nothing but a format/],
    [{ text: { format: { type: "json_schema", name: "a", schema: { not: {} } } } }, "text", /the keyword "not"/],
    [{ tools: [{ type: "function", function: { name: "f" } }] }, "tools[0]", /1 to 64 letters/],
    [{ tools: [{ type: "web_search" }] }, "tools", /of the type "function"/],
    [{ tools, tool_choice: { type: "function", name: "g" } }, "tool_choice", /one of the tools/],
    [{ tools, model: "none" }, "tools", /knows no tools/],
    [{ input: "dog ".repeat(9000) }, "input", /the context/],
  ];
  it.each(bad)("%j", async (request, param, says) => {
    const refused = client.responses.create({ model: "real", input: "Hi", ...request } as never);
    await expect(refused).rejects.toThrow(says);
    await expect(refused).rejects.toBeInstanceOf(BadRequestError);
    await expect(refused).rejects.toMatchObject({ param });
  });
});
