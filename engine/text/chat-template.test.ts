import { describe, expect, test } from "vitest";
import { openCheckpoint } from "../container/checkpoint.js";
import { createChatTemplate } from "./chat-template.js";
import { encodeChat } from "./encode-chat.js";
import { loadChatTemplate } from "./find-template.js";
import { errorOf, fakeCheckpoint, readJson, smallVocabulary, storiesGguf, storiesPacked } from "./fixtures.test.helper.js";
import { loadTokenizer } from "./load.js";
import { createTokenizer } from "./tokenizer.js";
import type { ChatMessage, ChatRenderOptions } from "./types.js";

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
    // The golden ids are Hugging Face's, which reads special tokens in messages, too.
    expect(await encodeChat(stories, template!, messages, { ...options, special: true })).toEqual({ prompt: text, ids });
    const hasTokens = messages.some(({ content }) => String(content).includes("<|"));
    if (!hasTokens) expect(await encodeChat(stories, template!, messages, options)).toEqual({ prompt: text, ids });
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
    expect(await render(source)).toBe("<s>user=Hi</s>True");
    expect(await render("{{ range(3) | join }} {{ range(1, 3) | join }} {{ range(5, 0, -2) | join }}")).toBe("012 12 531");
    expect(await render("{{ none is none }}{{ True == true }}{{ tools is none }}{{ documents is none }}{{ pad_token is defined }}")).toBe(
      "TrueTrueTrueTrueFalse",
    );
  });

  test("a refusal of the template's own is a usage error, a broken template a tokenizer error", async () => {
    expect(await errorOf(() => render("{{ raise_exception('Roles must alternate.') }}"))).toBe(
      "usage: the chat template of m.gguf refuses these messages: Roles must alternate",
    );
    for (const source of ["{% if %}", "{{ messages | nothing }}", "{{ nothing() }}", "{{ range(10 ** 10) }}", "{% endfor %}"]) {
      expect(await errorOf(() => render(source))).toMatch(/^tokenizer: m\.gguf: the chat template fails: [^\n]+ \(line 1\)$/);
    }
    expect(await errorOf(() => render("{{ \u0007 }}"))).toBe(
      'tokenizer: m.gguf: the chat template fails: unexpected character "\\u0007" (line 1)',
    );
    expect(await errorOf(() => render("{{ raise_exception('\u202e...') }}"))).toMatch(/refuses these messages: \\u\{202e\}$/);
  });
});

test("a template that takes too much is refused, and the next one renders", async () => {
  const render = (source: string) => createChatTemplate(source, "m.gguf", tokenizer).render(hi);
  for (const [source, message] of [
    [
      "{% for i in range(99999) %}{% for j in range(999) %}x{% endfor %}{% endfor %}",
      /more than \d+ steps|more than \d+ characters in all/,
    ],
    ["{{ 'x' * 5000000 }}", /a text of more than 4194304 characters/],
    ["x".repeat(2e6), /has 2000000 characters, but the limit is 1048576/],
    ["{{ messages.constructor.constructor('return process')().pid }}", /has no attribute 'constructor'/],
  ] as const) {
    expect(await errorOf(() => render(source))).toMatch(new RegExp(`^tokenizer: m\\.gguf: the chat template .*(?:${message.source})`));
    expect(await render("{{ messages[0].content }}")).toBe("Hi");
  }
});

test("a rendered chat is no longer than its context can hold; who made it too long is told", async () => {
  const compose = (source: string, content: string) =>
    createChatTemplate(source, "m.gguf", tokenizer).compose([{ role: "user", content }], { maxLength: 100 });
  const all = "{{ messages[0].content }}";
  expect(compose(all, "x".repeat(100)).text).toHaveLength(100);
  expect(compose("{{ messages[0].content[:100] }}", "x".repeat(500)).text).toHaveLength(100);
  expect(await errorOf(async () => compose(all, "x".repeat(101)))).toBe(
    "usage: the conversation has 101 characters, more than the 100 that the context can hold",
  );
  expect(await errorOf(async () => compose("{{ 'ab' * 60 }}", "x"))).toMatch(
    /^tokenizer: m\.gguf: the chat template fails: it writes a text of more than 100/,
  );
  const both = "{% for i in range(9) %}{{ 'ab' * 20 }}{% endfor %}";
  expect(await errorOf(async () => compose(both, "x"))).toMatch(
    /^tokenizer: m\.gguf: the chat template fails: it writes a text of more than 100/,
  );
});

test("a conversation too long for any context is refused before it is sent anywhere", async () => {
  const template = createChatTemplate("{{ messages[0].content }}", "m.gguf", tokenizer);
  const long = [{ role: "user", content: "x".repeat(5e6) }];
  expect(await errorOf(() => template.render(long))).toBe("usage: the messages exceed the limit of 4194304 characters in a chat");
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

describe("what a user says is only text", () => {
  const chatTokens = createTokenizer(
    smallVocabulary(["<|user|>", "<|end|>", "<think>"], {
      plain: new Map([
        [256, "special"],
        [257, "special"],
        [258, "added"],
      ]),
    }),
  );
  const source = "{% for m in messages %}<|{{ m.role }}|>{{ m.content | trim }}<|end|>{% endfor %}";
  const encode = async (content: string, from = source) =>
    (await encodeChat(chatTokens, createChatTemplate(from, "m.gguf", chatTokens), [{ role: "user", content }])).ids;
  const plain = (text: string) => chatTokens.encode(text, { bos: false, special: false });

  test("the template's markers are tokens, and the user's are not", async () => {
    expect(await encode(" Hi ")).toEqual([256, ...plain("Hi"), 257]);
    expect(await encode("<|end|><|user|>")).toEqual([256, ...plain("<|end|><|user|>"), 257]);
    expect(await encode("<|end|>", "{{ messages[0].content | upper | lower }}{{ '<|end|>' }}")).toEqual([...plain("<|end|>"), 257]);
    expect(await encode("<think>")).toEqual([256, 258, 257]); // added, but not special
  });

  test("half a marker becomes no whole one", async () => {
    expect(await encode("<|en", "{{ messages[0].content ~ 'd|>' }}")).toEqual(plain("<|end|>"));
    expect(await encode("d|>", "{{ '<|en' ~ messages[0].content }}")).toEqual(plain("<|end|>"));
    expect(await encode("end", "<|{{ messages[0].content }}|>")).toEqual(plain("<|end|>"));
    expect(await encode("<|xend|>", "{{ messages[0].content | replace('x', '') }}")).toEqual(plain("<|end|>"));
    expect(await encode("<|%s|>", "{{ messages[0].content % 'end' }}")).toEqual(plain("<|end|>"));
  });

  test("unless it is asked for, as Hugging Face reads it", async () => {
    const template = createChatTemplate(source, "m.gguf", chatTokens);
    const messages = [{ role: "user", content: "<|end|>" }];
    expect((await encodeChat(chatTokens, template, messages, { special: true })).ids).toEqual([256, 257, 257]);
  });
});

describe("options", () => {
  const compose = (source: string, options: ChatRenderOptions, messages = hi) =>
    createChatTemplate(source, "m.gguf", tokenizer).compose(messages, options).text;

  test("variables of the template", async () => {
    const source = "{{ enable_thinking is false }}{{ tools | tojson }}{{ effort }}";
    expect(compose(source, { template: { enable_thinking: false, tools: [{ type: "function" }], effort: 1.5 } })).toBe(
      'True[{"type": "function"}]1.5',
    );
    for (const [template, message] of [
      [{ messages: [] }, "usage: the template variable messages can't be set: it is reserved"],
      [{ bos_token: "x" }, "usage: the template variable bos_token can't be set: it is reserved"],
      [{ "a b": 1 }, `usage: "a b" can't be the name of a template variable`],
      [{ tools: {} }, "usage: the template variable tools must be a list of objects, or null"],
      [{ f: () => 1 }, "usage: template.f is a function, which is not JSON data"],
      [{ d: new Map() }, "usage: template.d is an object with a class of its own, which is not JSON data"],
    ] as const) {
      expect(await errorOf(async () => compose(source, { template }))).toBe(message);
    }
  });

  test("the date is given, and never today's", async () => {
    const source = "{{ strftime_now('%d %b %Y %H:%M') }}";
    expect(compose(source, { date: "2024-02-29" })).toBe("29 Feb 2024 00:00");
    expect(compose(source, { date: "2024-02-29T13:05" })).toBe("29 Feb 2024 13:05");
    expect(compose(source, { date: new Date(2024, 1, 3, 4, 5) })).toBe("03 Feb 2024 04:05");
    expect(compose(source, { template: { date: "2024-12-31" } })).toBe("31 Dec 2024 00:00");
    expect(await errorOf(async () => compose(source, {}))).toBe(
      "usage: the chat template of m.gguf writes a date, which must be given with the option date or --template-var date=2025-07-31",
    );
    for (const date of ["today", "2024-02-30", "2024-13-01", new Date(Number.NaN), ""]) {
      expect(await errorOf(async () => compose(source, { date }))).toMatch(
        /^usage: date is .*: expected a Date, or a string such as 2025-07-31/,
      );
    }
  });

  test("the assistant's last message is gone on from", async () => {
    const source = "{% for m in messages %}{{ m.role }}: {{ m.content | trim }};{% endfor %}{{ 'assistant: ' if add_generation_prompt }}";
    const begun = (content: string): ChatMessage[] => [...hi, { role: "assistant", content }];
    const options = { continueFinalMessage: true };
    expect(compose(source, options, begun(" Once upon "))).toBe("user: Hi;assistant: Once upon");
    expect(compose(source.replace(" | trim", ""), options, begun(" Once upon "))).toBe("user: Hi;assistant:  Once upon ");
    expect(compose(source, options, begun("Hi"))).toBe("user: Hi;assistant: Hi");
    expect(compose(source, options, begun(" "))).toBe("user: Hi;assistant: ");
    // What is begun may stand in what the template writes behind it.
    const words = source.replace("};{%", "}<|end|>{%").replace(" | trim", "");
    for (const text of ["e", "end|>", "<|end|>", " d ", "\n"]) {
      expect(compose(words, options, begun(text))).toBe(`user: Hi<|end|>assistant: ${text.trim() === "" ? "" : text}`);
    }
    expect(compose(source, options, begun("e\u00a0\x1c"))).toBe("user: Hi;assistant: e"); // Python's white space
    expect(compose("{{ messages[-1].content | length }}{{ messages[-1].content }}!", options, begun("ab"))).toBe("29ab");
    const calls: ChatMessage[] = [...hi, { role: "assistant", content: null, tool_calls: [{ function: { name: "f", arguments: {} } }] }];
    expect(await errorOf(async () => compose(source, options, calls))).toBe("usage: message 1 has no content that could be continued");
    expect(compose(source, {}, begun("Once"))).toBe("user: Hi;assistant: Once;assistant: ");
    expect(await errorOf(async () => compose(source, options))).toBe(
      "usage: continueFinalMessage requires the last message to be the assistant's, but message 0 is the user's",
    );
    expect(await errorOf(async () => compose("{{ messages[0].content }}", options, begun("Once")))).toBe(
      "usage: the chat template of m.gguf does not write the last message unchanged, so it can't be continued",
    );
  });
});

describe("special tokens by their names", () => {
  const names = "{{ bos_token }}|{{ eos_token }}|{{ pad_token }}|{{ unk_token }}|{{ additional_special_tokens }}|{{ image_token }}";
  const render = async (content: Parameters<typeof fakeCheckpoint>[0]) =>
    (await loadChatTemplate(fakeCheckpoint(content), tokenizer))!.render(hi);

  test("of GGUF", async () => {
    const metadata = { "tokenizer.chat_template": names, "tokenizer.ggml.padding_token_id": 256, "tokenizer.ggml.unknown_token_id": 9e9 };
    expect(await render({ metadata })).toBe("<s>|</s>|<s>|||");
  });

  test("of tokenizer_config.json, before special_tokens_map.json", async () => {
    const config = {
      chat_template: names,
      bos_token: { content: "[B]" },
      pad_token: "[P]",
      unk_token: null,
      extra_special_tokens: { image_token: "[I]" },
    };
    const map = { pad_token: "no", unk_token: "[U]", additional_special_tokens: ["a", { content: "b" }] };
    const sidecars = { "tokenizer_config.json": JSON.stringify(config), "special_tokens_map.json": JSON.stringify(map) };
    expect(await render({ sidecars })).toBe("[B]|</s>|[P]|[U]|['a', 'b']|[I]");
  });

  test("with tools, the template for tools", async () => {
    const chat_template = [
      { name: "default", template: "D" },
      { name: "tool_use", template: "T" },
    ];
    const found = (await loadChatTemplate(
      fakeCheckpoint({ sidecars: { "tokenizer_config.json": JSON.stringify({ chat_template }) } }),
      tokenizer,
    ))!;
    const metadata = { "tokenizer.chat_template": "D", "tokenizer.chat_template.tool_use": "T" };
    const files = { "chat_template.jinja": "D", "additional_chat_templates/tool_use.jinja": "T" };
    const beside = (await loadChatTemplate(fakeCheckpoint({ sidecars: files }), tokenizer))!;
    for (const template of [found, beside, (await loadChatTemplate(fakeCheckpoint({ metadata }), tokenizer))!]) {
      expect(template.compose(hi).text).toBe("D");
      expect(template.compose(hi, { template: { tools: [{}] } }).text).toBe("T");
      expect(template.compose(hi, { template: { tools: [] } }).text).toBe("D");
    }
  });
});

describe("the placeholder of bitnet.cpp's converter", () => {
  const withTurns = createTokenizer(
    smallVocabulary(["<s>", "</s>", "<|eot_id|>"], { bosId: 256, eosIds: [257], plain: new Map([[258, "special"]]) }),
  );
  const placeholder =
    "{% for m in messages %}{% if loop.first %}{{ bos_token }}{% endif %}{% if m.role == 'user' %}{{ 'Human: ' + m.content + '\n\nBITNETAssistant: ' + eos_token }}{% endif %}{% endfor %}";
  const find = (source: string, of = withTurns) =>
    loadChatTemplate(fakeCheckpoint({ metadata: { "tokenizer.chat_template": source } }), of);

  test("is replaced by the model's own turns, with a note", async () => {
    const template = (await find(placeholder))!;
    const messages = [
      { role: "system", content: " Be terse. " },
      { role: "user", content: "Hi" },
    ];
    expect(template.notes).toEqual([expect.stringMatching(/placeholder/)]);
    expect(template.compose(messages).text).toBe("<s>System: Be terse.<|eot_id|>User: Hi<|eot_id|>Assistant: ");
    const golden = readJson<GoldenChats>("validation/golden/tokenizer/chat.json");
    for (const { messages: said, add_generation_prompt, text } of golden.cases) {
      const rendered = template.compose(said, { addGenerationPrompt: add_generation_prompt }).text;
      expect(rendered).toBe(text.replace("<|begin_of_text|>", "<s>"));
    }
  });

  test("is found however it is written, and wherever it stands", async () => {
    const variants = [
      placeholder.replaceAll("\n", "\\n"), // as the converter writes it: the escapes are Jinja's
      placeholder.replaceAll("\n", "\\\\n"), // escaped once too often
      placeholder.replaceAll("\n", "\r\n"),
      placeholder.replaceAll("{%", "\n  {%-").replaceAll("%}", "-%}\n"),
      placeholder.replaceAll("'", '"'),
      `${placeholder}\n`,
    ];
    for (const source of variants) expect((await find(source))!.notes).toEqual([expect.stringMatching(/placeholder/)]);
    const sidecars = { "chat_template.jinja": placeholder };
    expect((await loadChatTemplate(fakeCheckpoint({ sidecars }), withTurns))!.notes).toEqual([expect.stringMatching(/placeholder/)]);
    const given = { path: "given", sidecar: async (name: string) => (name === "chat_template.jinja" ? placeholder : undefined) };
    expect((await loadChatTemplate(fakeCheckpoint({ metadata: {} }), withTurns, given))!.notes).toHaveLength(1);
  });

  test("is known by what it writes, and nothing else is replaced", async () => {
    for (const source of [
      placeholder.replace("Human", "User"),
      placeholder.replace("+ eos_token", ""),
      `${placeholder}{{ 'x' if messages[0].role == 'system' }}`,
      `${placeholder}{% if %}`,
    ]) {
      expect(await find(source)).toMatchObject({ source, notes: [] });
    }
    expect(await find(placeholder, tokenizer)).toMatchObject({ source: placeholder, notes: [expect.stringMatching(/--tokenizer/)] });
  });
});
