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

describe("what throws or never ends is the caller's mistake", () => {
  const boom = (): never => {
    throw new Error("boom\n");
  };
  const listOf = (length: number) => {
    const list: unknown[] = [];
    list.length = length;
    return list;
  };
  const revoked = (target: object) => {
    const { proxy, revoke } = Proxy.revocable(target, {});
    revoke();
    return proxy;
  };
  const said = { role: "user", content: "a" };
  test.each<[string, () => unknown, RegExp]>([
    [
      "a getter",
      () => [{ ...said }, Object.defineProperty({ ...said }, "x", { get: boom, enumerable: true })],
      /^usage: message 1 can't be read: boom/,
    ],
    ["keys", () => [new Proxy(said, { ownKeys: boom })], /^usage: message 0 can't be read: boom/],
    ["a prototype", () => [new Proxy(said, { getPrototypeOf: boom })], /^usage: message 0 can't be read: boom/],
    [
      "what is thrown is no error",
      () => [
        {
          ...said,
          get x() {
            throw null;
          },
        },
      ],
      /^usage: message 0 can't be read: object$/,
    ],
    [
      "a list's element",
      () => new Proxy([said], { get: (list, key, of) => (key === "0" ? boom() : Reflect.get(list, key, of)) }),
      /^usage: the conversation can't be read: boom/,
    ],
    ["a message taken back", () => [revoked({})], /^usage: message 0 can't be read: /],
    ["a list taken back", () => revoked([]), /^usage: the conversation can't be read: /],
    ["a list of holes", () => listOf(2 ** 32 - 1), /^usage: the conversation has 4294967295 elements/],
    ["holes in a message", () => [{ ...said, x: listOf(2 ** 32 - 1) }], /^usage: message 0\.x has 4294967295 elements/],
    [
      "a list that says it is longer",
      () => [{ ...said, x: new Proxy([], { get: (list, key, of) => (key === "length" ? 2 ** 53 : Reflect.get(list, key, of)) }) }],
      /^usage: message 0\.x has 9007199254740992 elements/,
    ],
    [
      "an object with a class",
      () => [{ ...said, x: new Map() }],
      /^usage: message 0\.x is an object with a class of its own, which is not JSON data$/,
    ],
  ])("%s", async (_, make, message) => {
    const given = make();
    expect(await errorOf(async () => read(given))).toMatch(message);
  });
});

test("what is too deep, or in itself, is refused", async () => {
  const deep: Record<string, unknown> = { role: "user", content: "a" };
  deep.self = deep;
  expect(await errorOf(async () => read([deep]))).toMatch(/^usage: message 0\.self.{1,110} is nested more than 32 levels deep$/);
  const many = Array.from({ length: 300_000 }, () => 0);
  expect(await errorOf(async () => read([{ role: "user", content: "a", many }]))).toMatch(
    /message 0\.many has 300000 elements; a chat may have 262144 values in all/,
  );
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
