import { runInNewContext } from "node:vm";
import { describe, expect, test } from "vitest";
import { errorOf } from "./fixtures.test.helper.js";
import { readDate, readMessages } from "./messages.js";

const read = (messages: unknown) => readMessages(messages, { characters: 0, values: 0 });

describe("messages as clients of OpenAI's API send them", () => {
  const call = (args: unknown) => ({ id: "1", type: "function", function: { name: "f", arguments: args } });

  test.each([
    ["a text", { role: "user", content: "Hi" }, { role: "user", content: "Hi" }],
    [
      "parts",
      {
        role: "user",
        content: [
          { type: "text", text: "a" },
          { type: "text", text: "b" },
        ],
      },
      { role: "user", content: "ab" },
    ],
    ["null for what is not given", { role: "user", name: null, content: "Hi", tool_calls: null }, { role: "user", content: "Hi" }],
    ["calls without content", { role: "assistant", tool_calls: [call({ a: 1 })] }, { role: "assistant", tool_calls: [call({ a: 1 })] }],
    [
      "calls with null",
      { role: "assistant", content: null, tool_calls: [call({})] },
      { role: "assistant", content: null, tool_calls: [call({})] },
    ],
    [
      "arguments as JSON",
      { role: "assistant", content: "", tool_calls: [call('{"a": [1]}')] },
      { role: "assistant", content: "", tool_calls: [call({ a: [1] })] },
    ],
    [
      "arguments that are no JSON",
      { role: "assistant", content: "", tool_calls: [call("{a")] },
      { role: "assistant", content: "", tool_calls: [call("{a")] },
    ],
    [
      "no arguments",
      { role: "assistant", content: "", tool_calls: [call("")] },
      { role: "assistant", content: "", tool_calls: [call({})] },
    ],
    ["no calls", { role: "assistant", content: "x", tool_calls: [] }, { role: "assistant", content: "x" }],
    ["a tool's answer", { role: "tool", tool_call_id: "1", content: "{}" }, { role: "tool", tool_call_id: "1", content: "{}" }],
    ["more", { content: "x", role: "user", extra: { a: [true, null] } }, { content: "x", role: "user", extra: { a: [true, null] } }],
  ])("%s", (_, given, expected) => {
    const [message] = read([given]);
    expect(message).toEqual(expected);
    expect(Object.keys(message!)).toEqual(Object.keys(expected)); // templates may print a message as it is
    expect(read([message])).toEqual([message]);
  });
});

test.each([
  [undefined, "the conversation is missing, not a list of messages"],
  [null, "the conversation is missing"],
  ["Hi", "the conversation is a string, not a list of messages"],
  [[], "the conversation has no messages"],
  [[undefined], "message 0 is null, not an object"],
  [[{ role: "user", content: "a" }, "b"], 'message 1 is "b", not an object'],
  [[{ content: "a" }], "message 0 has no role: supported roles are system"],
  [[{ role: 7, content: "a" }], "message 0 has the role 7"],
  [[{ role: "bot", content: "a" }], 'message 0 has the unknown role "bot"'],
  [[{ role: "user" }], "message 0 has no content"],
  [[{ role: "assistant", content: null, tool_calls: [] }], "message 0 has no content"],
  [[{ role: "user", content: 5 }], "message 0: content is 5, not a text"],
  [[{ role: "user", content: [{ type: "image_url" }] }], 'message 0: part 0 of content is of the type "image_url": only text is supported'],
  [[{ role: "user", content: [{ type: "text" }] }], "message 0: part 0 of content: text is missing, not a string"],
  [[{ role: "user", content: [7] }], "message 0: part 0 of content is 7"],
  [
    [{ role: "user", content: "", tool_calls: [{ function: { name: "f" } }] }],
    "message 0 has tool_calls, which only an assistant's message may have",
  ],
  [[{ role: "assistant", tool_calls: {} }], "message 0: tool_calls is {}, not a list"],
  [[{ role: "assistant", tool_calls: [{}] }], "message 0: tool call 0 has no function name"],
  [[{ role: "assistant", tool_calls: [{ function: { name: "f", arguments: 7 } }] }], "message 0: tool call 0: arguments is 7"],
  [[{ role: "user", content: "a", name: 5 }], "message 0: name is 5, not a text"],
  [[{ role: "user", content: "a", x: () => 1 }], "message 0.x is a function, which is not JSON data"],
  [[{ role: "user", content: "a", x: Number.NaN }], "message 0.x is NaN"],
])("%j is refused: %s", async (given, message) => {
  expect(await errorOf(async () => read(given))).toMatch(new RegExp(`^usage: ${message.replace(/[[\]{}().*+?]/g, "\\$&")}`));
});

test("what is too deep, or in itself, is refused", async () => {
  const deep: Record<string, unknown> = { role: "user", content: "a" };
  deep.self = deep;
  expect(await errorOf(async () => read([deep]))).toMatch(/^usage: message 0\.self.* is nested more than 32 levels deep$/);
  const many = Array.from({ length: 300_000 }, () => 0);
  expect(await errorOf(async () => read([{ role: "user", content: "a", many }]))).toMatch(/exceeds the limit of 262144 values/);
});

test("a conversation's date may be of another realm, as in a sandbox, and must be one", () => {
  const date = new Date(2025, 6, 31, 12);
  expect(readDate(runInNewContext("new Date(time)", { time: date.getTime() }))).toEqual(readDate(date));
  expect(readDate(date)).toEqual(new Date(Date.UTC(2025, 6, 31, 12)));
  for (const wrong of [
    {},
    { getTime: () => 0 },
    { [Symbol.toStringTag]: "Date" },
    new Date(Number.NaN),
    runInNewContext("new Date(NaN)"),
  ]) {
    expect(() => readDate(wrong)).toThrow(expect.objectContaining({ code: "usage", message: expect.stringMatching(/^date is /) }));
  }
});
