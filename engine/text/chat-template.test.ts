import { describe, expect, test } from "vitest";
import { openCheckpoint } from "../container/checkpoint.js";
import { createChatTemplate, encodeChat, loadChatTemplate } from "./chat-template.js";
import { errorOf, fakeCheckpoint, readJson, smallVocabulary, storiesGguf, storiesPacked } from "./fixtures.test.helper.js";
import { loadTokenizer } from "./load.js";
import { createTokenizer } from "./tokenizer.js";
import type { ChatMessage } from "./types.js";

interface GoldenChats {
  template: string;
  cases: { messages: ChatMessage[]; add_generation_prompt: boolean; text: string; ids: number[] }[];
}

const tokenizer = createTokenizer(
  smallVocabulary(["<s>", "</s>"], {
    plain: new Map([
      [256, "special"],
      [257, "special"],
    ]),
    bosId: 256,
    eosIds: [257],
    addsBos: true,
  }),
);
const hi: ChatMessage[] = [{ role: "user", content: "Hi" }];

test.each([storiesGguf, storiesPacked])("golden chats, text and ids, from %s", async (path) => {
  const checkpoint = await openCheckpoint(path);
  const stories = await loadTokenizer(checkpoint);
  const template = await loadChatTemplate(checkpoint, stories);
  await checkpoint.close();
  const golden = readJson<GoldenChats>("validation/golden/tokenizer/chat.json");
  expect(template?.source).toBe(golden.template);
  for (const { messages, add_generation_prompt, text, ids } of golden.cases) {
    const options = { addGenerationPrompt: add_generation_prompt };
    expect(await template!.render(messages, options)).toBe(text);
    expect(await encodeChat(stories, template!, messages, options)).toEqual({ prompt: text, ids });
  }
});

describe("where a template is found", () => {
  const find = async (content: Parameters<typeof fakeCheckpoint>[0]) =>
    (await loadChatTemplate(fakeCheckpoint(content), tokenizer))?.source;
  const config = (chat_template: unknown) => ({ "tokenizer_config.json": JSON.stringify({ chat_template }) });

  test("GGUF metadata; chat_template.jinja before tokenizer_config.json; of several the default", async () => {
    expect(await find({ metadata: { "tokenizer.chat_template": "A" } })).toBe("A");
    expect(await find({ sidecars: { "chat_template.jinja": "B", ...config("C") } })).toBe("B");
    expect(await find({ sidecars: config("C") })).toBe("C");
    const named = [
      { name: "tool_use", template: "D" },
      { name: "default", template: "E" },
    ];
    expect(await find({ sidecars: config(named) })).toBe("E");
  });

  test("none", async () => {
    expect(await find({ metadata: {} })).toBeUndefined();
    expect(await find({ sidecars: {} })).toBeUndefined();
    expect(await find({ sidecars: config(null) })).toBeUndefined();
    expect(await find({ sidecars: config([{ name: "rag", template: "F" }]) })).toBeUndefined();
  });

  test("no text", async () => {
    const message = "tokenizer: fake: the chat template is not a string";
    expect(await errorOf(() => find({ metadata: { "tokenizer.chat_template": 7 } }))).toBe(message);
    expect(await errorOf(() => find({ sidecars: config({ default: "G" }) }))).toBe(message);
    expect(await errorOf(() => find({ sidecars: { "tokenizer_config.json": "{" } }))).toContain(
      "tokenizer_config.json is not a JSON object",
    );
  });
});

describe("rendering", () => {
  const render = (source: string, messages = hi) => createChatTemplate(source, "m.gguf", tokenizer).render(messages);

  test("knows the tokens, the messages and Python's names", async () => {
    const source =
      "{{ bos_token }}{% for m in messages %}{{ m.role }}={{ m['content'] }}{% endfor %}{{ eos_token }}{{ add_generation_prompt }}";
    expect(await render(source)).toBe("<s>user=Hi</s>true");
    expect(await render("{{ range(3) | join }} {{ range(1, 3) | join }} {{ range(5, 0, -2) | join }}")).toBe("012 12 531");
    expect(await render("{{ none is none }}{{ True == true }}{{ strftime_now is defined }}")).toBe("truetruefalse");
  });

  test("a refusal of the template's own is a usage error, a broken template a tokenizer error", async () => {
    expect(await errorOf(() => render("{{ raise_exception('Roles must alternate.') }}"))).toBe(
      "usage: the chat template of m.gguf refuses these messages: Roles must alternate",
    );
    for (const source of ["{% if %}", "{{ messages | nothing }}", "{{ nothing() }}", "{{ range(10 ** 10) }}", "{% endfor %}"]) {
      expect(await errorOf(() => render(source))).toMatch(/^tokenizer: m\.gguf: the chat template fails: [^\n]+$/);
    }
    expect(await errorOf(() => render("{{ \u0007 }}"))).toBe("tokenizer: m.gguf: the chat template fails: Unexpected character: \\u{7}");
    expect(await errorOf(() => render("{{ raise_exception('\u202e...') }}"))).toMatch(/refuses these messages: \\u\{202e\}$/);
    const twice = "{% for i in range(60000) %}{% for j in range(60000) %}x{% endfor %}{% endfor %}";
    expect(await errorOf(() => render(twice))).toContain("range asks for more than 65536 elements");
  });
});

describe("a template that would never end, or take all memory", () => {
  const doubled = (times: number, use: string) =>
    `{% set ns = namespace(x='xxxxxxxx') %}{% for i in range(${times}) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}${use}`;
  const lists = (times: number, use: string) =>
    `{% set ns = namespace(x=[1, 2, 3, 4]) %}{% for i in range(${times}) %}{% set ns.x = ${use} %}{% endfor %}{{ ns.x | tojson }}`;
  test.each([
    ["a loop", lists(60, "[ns.x, ns.x]"), /doesn't finish in 2 s/],
    ["lists that double", lists(40, "ns.x + ns.x"), /needs more than 64 MB of memory|doesn't finish/],
    ["a long text, all at once", doubled(25, "{{ ns.x | upper | length }}"), /needs more than 64 MB of memory|doesn't finish/],
    [
      "many short texts",
      "{% set ns = namespace(x='x y ') %}{% for i in range(20) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x.split(' ') }}",
      /needs more than 64 MB of memory|doesn't finish/,
    ],
    ["a text longer than JavaScript's", doubled(40, "{{ ns.x }}"), /fails: Invalid string length/],
    ["more than a context holds", doubled(23, "{{ ns.x }}"), /fails: it writes 67108864 characters, more than the 4194304/],
    ["depth", `{{ ${"(".repeat(1e5)}1${")".repeat(1e5)} }}`, /fails: Maximum call stack size exceeded/],
    ["blocks in blocks", `${"{% if 1 %}".repeat(4e4)}${"{% endif %}".repeat(4e4)}`, /fails: Maximum call stack size exceeded/],
    ["its length", "x".repeat(40e6), /has 40000000 characters, more than the 1048576/],
    ["a way out", "{{ messages.constructor.constructor('return process')().pid }}", /fails: Cannot call something that is not a function/],
  ])("%s", async (_, source, message) => {
    const template = createChatTemplate(source, "m.gguf", tokenizer);
    expect(await errorOf(() => template.render(hi))).toMatch(new RegExp(`^tokenizer: m\\.gguf: the chat template .*(?:${message.source})`));
    expect(await createChatTemplate("{{ messages[0].content }}", "m.gguf", tokenizer).render(hi)).toBe("Hi"); // the next one renders
  });
});

test("a conversation too long for any context is refused before it is sent anywhere", async () => {
  const template = createChatTemplate("{{ messages[0].content }}", "m.gguf", tokenizer);
  const long = [{ role: "user", content: "x".repeat(5e6) }];
  expect(await errorOf(() => template.render(long))).toBe(
    "usage: the messages have 5000004 characters, more than the 4194304 that a chat may have",
  );
  expect(await template.render([{ role: "user", content: "é".repeat(4e6) }])).toHaveLength(4e6);
});

test("BOS comes once, whether the template writes it or not", async () => {
  const ids = async (source: string) => (await encodeChat(tokenizer, createChatTemplate(source, "m.gguf", tokenizer), hi)).ids;
  const text = tokenizer.encode("Hi", { bos: false });
  expect(await ids("{{ bos_token + messages[0].content }}")).toEqual([256, ...text]);
  expect(await ids("{{ messages[0].content }}")).toEqual([256, ...text]);
  expect(await ids("")).toEqual([256]);
  const without = createTokenizer(smallVocabulary());
  expect((await encodeChat(without, createChatTemplate("{{ messages[0].content }}", "m.gguf", without), hi)).ids).toEqual(text);
});
