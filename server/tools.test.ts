import { Ajv2020 } from "ajv/dist/2020.js";
import { BadRequestError, type OpenAI } from "openai";
import { afterAll, describe, expect, it } from "vitest";
import { encodeChat } from "../engine/index.js";
import { openToolServer } from "./tools.test.helper.js";

// The official client, over a real connection. The embedded model has no tools, so it gets a template that has: held to calls, it writes valid
// ones whatever its weights. What a model would write by itself is a script.

const { client, model, heard, says, close } = await openToolServer();
afterAll(close);

const weather = {
  type: "object",
  properties: { city: { enum: ["Rome", "Oslo"] }, days: { type: "integer", minimum: 1, maximum: 7 } },
  required: ["city", "days"],
  additionalProperties: false,
};
const tools: OpenAI.ChatCompletionFunctionTool[] = [
  { type: "function", function: { name: "weather", description: "Tells the weather.", parameters: weather } },
  { type: "function", function: { name: "now" } },
];
const schemas = new Map<string, object>([
  ["weather", weather],
  ["now", { type: "object", maxProperties: 0 }],
]);
const isValid = ({ name, arguments: json }: { name: string; arguments: string }): boolean =>
  new Ajv2020().validate(schemas.get(name)!, JSON.parse(json));
const asked = { messages: [{ role: "user" as const, content: "How is Rome?" }], tools };
const functions = (message: OpenAI.ChatCompletionMessage | undefined) =>
  (message?.tool_calls ?? []).map((call) => (call.type === "function" ? call.function : { name: "", arguments: "" }));

const CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome", "days": 2}}\n</tool_call>';
const NOW = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>';

describe("chat", () => {
  it("required: the answer is calls with valid arguments, and other seeds give others", async () => {
    const seen = new Set<string>();
    for (let seed = 0; seed < 4; seed++) {
      const several = seed === 0;
      const answer = await client.chat.completions.create({
        ...asked,
        ...{ model: "real", tool_choice: "required", parallel_tool_calls: several, seed, temperature: 2, max_tokens: 150 },
      });
      const [choice] = answer.choices;
      const calls = functions(choice!.message);
      expect(calls.length).toBeGreaterThan(0);
      for (const call of calls) expect(isValid(call), call.arguments).toBe(true);
      for (const { id } of choice!.message.tool_calls!) expect(id).toMatch(/^call_[0-9a-f]{32}$/);
      seen.add(JSON.stringify(calls));
      if (several) continue; // it may have been cut off in its next call
      expect([calls.length, choice!.message.content, choice!.finish_reason]).toEqual([1, null, "tool_calls"]);
    }
    expect(seen.size).toBeGreaterThan(1);
  });

  it("a named tool is called, once; its template sees all tools", async () => {
    for (const name of ["weather", "now"]) {
      const answer = await client.chat.completions.create({
        ...asked,
        ...{ model: "real", tool_choice: { type: "function", function: { name } }, temperature: 2, max_tokens: 150 },
      });
      const calls = functions(answer.choices[0]!.message);
      expect(calls.map((call) => call.name)).toEqual([name]);
      expect(calls.every(isValid)).toBe(true);
      const { ids } = await encodeChat(model.tokenizer, model.chatTemplate!, asked.messages, { template: { tools } });
      expect(answer.usage!.prompt_tokens).toBe(ids.length);
    }
  });

  it("streams the same calls: id and name, then the arguments", async () => {
    const request = { ...asked, model: "real", tool_choice: "required" as const, seed: 3, parallel_tool_calls: false, temperature: 2 };
    const whole = await client.chat.completions.create(request);
    const deltas: OpenAI.ChatCompletionChunk.Choice.Delta[] = [];
    const stream = client.chat.completions.stream({ ...request, stream: true }).on("chunk", ({ choices }) => {
      deltas.push(...choices.map(({ delta }) => delta));
    });
    const [choice] = (await stream.finalChatCompletion()).choices;
    expect(functions(choice!.message)).toEqual(functions(whole.choices[0]!.message));
    expect(choice!.finish_reason).toBe("tool_calls");
    const [first, ...others] = deltas.flatMap((delta) => delta.tool_calls ?? []);
    expect(first).toMatchObject({ index: 0, id: expect.stringMatching(/^call_/), type: "function", function: { arguments: "" } });
    for (const { index, id } of others) expect([index, id]).toEqual([0, undefined]);
    expect(others.length).toBeGreaterThan(0);
  });

  it("auto: text and calls as the model wrote them, in pieces or not; what is no call is text", async () => {
    const both = { name: "weather", arguments: '{"city": "Rome", "days": 2}' };
    const cases: [text: string, content: string | null, calls: object[], finish: string][] = [
      ["Sunny.", "Sunny.", [], "stop"],
      [CALL, null, [both], "tool_calls"],
      [`\n${CALL}\n${NOW}`, null, [both, { name: "now", arguments: "{}" }], "tool_calls"],
      [`<think>\nRome?\n</think>\n\n${CALL}`, "<think>\nRome?\n</think>\n\n", [both], "tool_calls"],
      [CALL.replace("}}", "}"), CALL.replace("}}", "}"), [], "stop"],
      [`${CALL}\n<tool_call>…`, "\n<tool_call>", [both], "length"],
    ];
    for (const [text, content, calls, finish_reason] of cases) {
      says(text, text);
      const whole = (await client.chat.completions.create({ ...asked, model: "scripted" })).choices[0]!;
      const stream = await client.chat.completions.stream({ ...asked, model: "scripted" }).finalChatCompletion();
      expect([whole.message.content, functions(whole.message), whole.finish_reason]).toEqual([content, calls, finish_reason]);
      const streamed = stream.choices[0]!;
      expect([streamed.message.content || null, functions(streamed.message), streamed.finish_reason]).toEqual([
        content,
        calls,
        finish_reason,
      ]);
    }
  });

  it("is free where nothing must be held; strict tools and a single call are held, in the model's own choice", async () => {
    const strict = [{ type: "function" as const, function: { ...tools[0]!.function, strict: true } }, tools[1]!];
    const any = { type: "object" };
    const held = (first: object, several: boolean): object => ({
      calls: {
        tools: [
          { type: "function", function: first },
          { type: "function", function: { name: "now", parameters: any } },
        ],
        several,
        otherwise: "text",
      },
    });
    const cases: [request: object, format: object | undefined][] = [
      [{}, undefined],
      [{ tool_choice: "auto", parallel_tool_calls: true }, undefined],
      [{ tools: strict }, held(tools[0]!.function, true)],
      [{ parallel_tool_calls: false }, held({ name: "weather", parameters: any }, false)],
    ];
    for (const [more, format] of cases) {
      says("Hi.");
      await client.chat.completions.create({ ...asked, ...more, model: "scripted" });
      expect(heard[0]!.options.format).toEqual(format);
      expect(heard[0]!.options.template).toEqual({ tools }); // without `strict`, which is not for the model
    }
    // With a format the answer is calls, or under its schema.
    says("{}", "{}");
    const response_format = { type: "json_object" as const };
    await client.chat.completions.create({ ...asked, model: "scripted", response_format });
    const { calls } = held({ name: "weather", parameters: any }, true) as { calls: object };
    expect(heard[0]!.options.format).toEqual({ calls: { ...calls, otherwise: { schema: any } } });
    await client.chat.completions.create({ ...asked, model: "scripted", response_format, tool_choice: "none" });
    expect([heard[1]!.options.template, heard[1]!.options.format]).toEqual([undefined, { schema: any }]);
    const either = await client.chat.completions.create({ ...asked, model: "real", response_format, temperature: 2, max_tokens: 60 });
    expect(either.choices[0]!.message.tool_calls ?? either.choices[0]!.message.content).toBeTruthy();
    const free = await client.chat.completions.create({ ...asked, model: "real", tools: strict, max_tokens: 8 });
    expect(free.choices[0]!.message.content).not.toBe("");
  });

  it("the client runs tools: calls, their results, and the answer", async () => {
    says(`${CALL}\n${NOW}`, "It is sunny.");
    const runner = client.chat.completions.runTools({
      model: "scripted",
      messages: asked.messages,
      tools: [
        {
          type: "function",
          function: {
            name: "weather",
            description: "",
            parse: JSON.parse,
            function: ({ city }: { city: string }) => `sun in ${city}`,
            parameters: weather,
          },
        },
        {
          type: "function",
          function: { name: "now", description: "", function: () => "noon", parameters: { type: "object", properties: {} } },
        },
      ],
    });
    expect(await runner.finalContent()).toBe("It is sunny.");
    const { messages, options } = heard[1]!;
    const prompt = await model.chatTemplate!.render(messages, options.template ? { template: options.template } : {});
    expect(prompt).toContain(`<|im_start|>assistant\n${CALL}\n${NOW}<|im_end|>`); // the arguments are an object again
    expect(prompt).toContain("<tool_response>\nsun in Rome\n</tool_response>\n<tool_response>\nnoon\n</tool_response>");
  });

  const call = (id: string, name = "now") => ({ id, type: "function", function: { name, arguments: "{}" } });
  const user = { role: "user", content: "Hi" };
  const bad: [model: string, request: object, param: string, says: RegExp][] = [
    ["none", { tools }, "tools", /^400 the chat template of none knows no tools$/],
    ["unknown", { tools }, "tools", /the chat template of unknown has tools, but writes calls in a form that is not supported/],
    ["real", { tools: "now" }, "tools", /a list of at most 128 tools/],
    ["real", { tools: Array(129).fill(tools[1]) }, "tools", /a list of at most 128 tools/],
    ["real", { tools: [{ type: "web_search" }] }, "tools", /of the type "function"/],
    ["real", { tools: [null] }, "tools", /of the type "function"/],
    ["real", { tools: [tools[1], tools[1]] }, "tools", /a name of its own/],
    ["real", { tools: [{ type: "function" }] }, "tools[0]", /"name": "…"/],
    ["real", { tools: [{ type: "function", function: { name: "a b" } }] }, "tools[0]", /1 to 64 letters/],
    ["real", { tools: [{ type: "function", function: { name: "f", parameters: [] } }] }, "tools[0]", /a JSON Schema/],
    ["real", { tools: [{ type: "function", function: { name: "f", strict: 1 } }] }, "tools[0]", /true or false/],
    ["real", { tools: [{ type: "function", function: { name: "f", description: 1 } }] }, "tools[0]", /a string/],
    ["real", { tools: [{ type: "function", function: { name: "f", paramters: {} } }] }, "tools[0]", /unknown field "paramters"/],
    ["real", { tools, tool_choice: "any" }, "tool_choice", /one of "auto", "none", "required", or the name/],
    ["real", { tools, tool_choice: { type: "function", function: { name: "other" } } }, "tool_choice", /one of the tools/],
    ["real", { tools, tool_choice: { type: "allowed_tools" } }, "tool_choice", /one of the tools/],
    ["real", { tools, parallel_tool_calls: 1 }, "parallel_tool_calls", /true or false/],
    [
      "real",
      { tools, response_format: { type: "json_schema", json_schema: { name: "a", schema: { not: {} } } } },
      "response_format",
      /the schema at #\/not/,
    ],
    [
      "real",
      {
        tools: [{ type: "function", function: { name: "f", parameters: { type: "object", properties: { a: { not: {} } } } } }],
        tool_choice: "required",
      },
      "tools",
      /the parameters of the tool "f" at #\/properties\/a\/not is the keyword "not"/,
    ],
    [
      "real",
      { tools: [{ type: "function", function: { name: "f", parameters: { type: "string" } } }], tool_choice: "required" },
      "tools",
      /of the type "object"/,
    ],
    [
      "real",
      { messages: [user, { role: "tool", content: "1" }] },
      "messages",
      /message 1 is the result of a tool, and must have the tool_call_id/,
    ],
    ["real", { messages: [user, { role: "tool", content: "1", tool_call_id: "a" }] }, "messages", /no message before it has that call/],
    [
      "real",
      { messages: [user, { role: "assistant", tool_calls: [{ ...call("a"), id: 1 }] }] },
      "messages",
      /message 1 has tool_calls that are not all/,
    ],
    ["real", { messages: [user, { role: "assistant", tool_calls: [call("a"), call("a")] }] }, "messages", /two tool calls with the id "a"/],
    ["real", { messages: [user, { role: "assistant", tool_calls: "a" }] }, "messages", /tool_calls is "a", not a list/],
    [
      "real",
      { messages: [user, { role: "assistant", tool_calls: [{ id: "a", type: "function" }] }] },
      "messages",
      /tool call 0 has no function name/,
    ],
    ["real", { messages: [{ ...user, tool_calls: [call("a")] }] }, "messages", /which only an assistant's message may have/],
  ];
  it.each(bad)("%s refuses %j", async (name, request, param, says) => {
    const refused = client.chat.completions.create({ model: name, messages: asked.messages, max_tokens: 1, ...request } as never);
    await expect(refused).rejects.toThrow(says);
    await expect(refused).rejects.toBeInstanceOf(BadRequestError);
    await expect(refused).rejects.toMatchObject({ param });
  });
});
