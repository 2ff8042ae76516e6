import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createChatTemplate } from "../chat-template.js";
import { qwen3Files, readJson } from "../fixtures.test.helper.js";
import type { ChatTemplate, Tokenizer } from "../types.js";
import { type ToolCallForm, toolCallForm } from "./form.js";
import { createToolCallParser, maxCallLength, maxCallSpace, type ToolEvent } from "./parser.js";

const noTokens = { bosId: undefined, eosIds: [], textOf: () => "" } as unknown as Tokenizer;
const templateOf = (source: string): ChatTemplate =>
  createChatTemplate(source, "a file", noTokens, { bos_token: "<s>", eos_token: "</s>" });
const fixture = (name: string): ChatTemplate => templateOf(readFileSync(`engine/text/jinja/fixtures/templates/${name}.jinja`, "utf8"));

const hermes = toolCallForm(fixture("qwen3"))!;
const llama = toolCallForm(fixture("llama3-tools"))!;
const tags = toolCallForm(fixture("qwen35"))!;

/** All events of an answer that comes in these pieces, neighbouring texts as one. */
function events(form: ToolCallForm, ...pieces: readonly string[]): ToolEvent[] {
  const parser = createToolCallParser(form);
  const all: ToolEvent[] = [];
  for (const event of [...pieces.flatMap((piece) => parser.push(piece)), ...parser.end()]) {
    const last = all.at(-1);
    if (event.type === "text" && last?.type === "text") all[all.length - 1] = { type: "text", text: last.text + event.text };
    else all.push(event);
  }
  return all;
}

const text = (text: string): ToolEvent => ({ type: "text", text });
const call = (name: string, json: string): ToolEvent => ({ type: "tool-call", name, arguments: json });

describe("the form is that in which the template writes calls", () => {
  it.each([
    ["qwen3", "<tool_call>"],
    ["hermes-tools", "<tool_call>"],
    ["llama3-tools", "<|python_tag|>"],
    // Calls in lists, otherwise, or not at all.
    ["qwen35", "<tool_call>"],
    ["mistral", undefined],
    ["deepseek", undefined],
    ["falcon3", undefined],
    ["chatml", undefined],
    ["bitnet", undefined],
    ["gemma", undefined],
  ])("%s: %s", (name, mark) => {
    expect(toolCallForm(fixture(name))?.marks[0]).toBe(mark);
  });

  it("Qwen 3's own template", () => {
    const { chat_template: source } = readJson<{ chat_template: string }>(`${qwen3Files}/tokenizer_config.json`);
    expect(toolCallForm(templateOf(source))).toBe(hermes);
  });

  it("none where tools are not offered, calls are refused, or the template is broken", () => {
    const writes =
      "{% for m in messages %}{% for c in m.tool_calls or [] %}<tool_call>\n{{ c.function | tojson }}\n</tool_call>{% endfor %}{% endfor %}";
    expect(toolCallForm(templateOf(`{{ tools | tojson }}${writes}`))).toBe(hermes);
    expect(toolCallForm(templateOf(writes))).toBe(undefined);
    expect(toolCallForm(templateOf(`{{ tools | tojson }}{{ raise_exception("no") }}${writes}`))).toBe(undefined);
    expect(toolCallForm(templateOf("{% if %}"))).toBe(undefined);
  });
});

describe("calls as Qwen writes them", () => {
  const one = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>';

  it.each([
    ["one call", one, [call("f", '{"a": 1}')]],
    ["no call", "Hello.", [text("Hello.")]],
    ["nothing", "", []],
    ["text before it", `<think>\nHm.\n</think>\n\n${one}`, [text("<think>\nHm.\n</think>\n\n"), call("f", '{"a": 1}')]],
    ["several, and white space around", `\n\n${one}\n${one}${one}\n`, [1, 2, 3].map(() => call("f", '{"a": 1}'))],
    ["text between and behind", `${one}\nSo.\n${one} End`, [call("f", '{"a": 1}'), text("\nSo.\n"), call("f", '{"a": 1}'), text(" End")]],
    ["the end is missing", one.slice(0, -12), [call("f", '{"a": 1}')]],
    [
      "marks, brackets and quotes in strings; numbers as they are written",
      '<tool_call>{"arguments":{"t":"</tool_call>}]\\"{","n":1e400,"i":12345678901234567890}, "name":"f"}</tool_call>',
      [call("f", '{"t":"</tool_call>}]\\"{","n":1e400,"i":12345678901234567890}')],
    ],
    [
      "the members' names inside arguments",
      '<tool_call>{"name":"f","arguments":{"arguments":{"name":"g"}}}</tool_call>',
      [call("f", '{"arguments":{"name":"g"}}')],
    ],
    ["a type", '<tool_call>{"type":"function","name":"f","arguments":{}}</tool_call>', [call("f", "{}")]],
    ["half a mark", "a <tool_cal", [text("a <tool_cal")]],
    ["JSON without a mark", '{"name": "f", "arguments": {}}', [text('{"name": "f", "arguments": {}}')]],
  ] as [string, string, ToolEvent[]][])("%s", (_, answer, wanted) => {
    expect(events(hermes, answer)).toEqual(wanted);
    expect(events(hermes, ...answer)).toEqual(wanted);
  });

  it.each([
    '<tool_call>\n{"name": "f", "arguments": {"a": 1}\n',
    "<tool_call>\nf(1)\n</tool_call>",
    '<tool_call>{"name": "f"}</tool_call>',
    '<tool_call>{"name": "", "arguments": {}}</tool_call>',
    '<tool_call>{"name": 1, "arguments": {}}</tool_call>',
    '<tool_call>{"name": "f", "arguments": "{}"}</tool_call>',
    '<tool_call>{"name": "f", "arguments": []}</tool_call>',
    '<tool_call>{"name": "f", "arguments": null}</tool_call>',
    '<tool_call>{"name": "f", "parameters": {}}</tool_call>',
    '<tool_call>{"name": "f", "arguments": {}, "id": "1"}</tool_call>',
    '<tool_call>{"name": "f", "arguments": {}, "__proto__": {}}</tool_call>',
    '<tool_call>{"name": "f", "arguments": {a: 1}}</tool_call>',
    '<tool_call>{"name": "f", "arguments": {]}</tool_call>',
    '<tool_call>[{"name": "f", "arguments": {}}]</tool_call>',
    '<tool_call>{"name": "f\n", "arguments": {}}</tool_call>',
    "<tool_call>",
    " <tool_call> ",
  ])("what is no call is text: %s", (answer) => {
    expect(events(hermes, answer)).toEqual([text(answer)]);
    expect(events(hermes, `${answer} ${one}`).slice(0, 1)).not.toEqual([]);
  });

  it("a broken call does not hide the next one", () => {
    const broken = '<tool_call>\n{"name": f}\n</tool_call>\n';
    expect(events(hermes, broken + one)).toEqual([text(broken), call("f", '{"a": 1}')]);
  });
});

describe("calls as LLaMA writes them", () => {
  const one = '{"name": "f", "parameters": {"a": [1, {}]}}';
  const found = call("f", '{"a": [1, {}]}');

  it.each([
    ["alone", one, [found]],
    ["behind white space", `\n\n${one}\n`, [found]],
    ["behind the tag", `<|python_tag|>${one}`, [found]],
    ["behind text and the tag", `Wait.<|python_tag|>${one}`, [text("Wait."), found]],
    ["several", `${one}; ${one};${one}`, [found, found, found]],
    ["several with tags", `<|python_tag|>${one}<|python_tag|>${one}`, [found, found]],
    ["a separator without a call", `${one}; so`, [found, text("; so")]],
    ["a separator at the end", `${one}; `, [found, text("; ")]],
    ["text behind", `${one} so`, [found, text(" so")]],
    ["not at the beginning", `So: ${one}`, [text(`So: ${one}`)]],
    ["other JSON", '{"name": "Ann", "age": 3}', [text('{"name": "Ann", "age": 3}')]],
    ["a type", '{"type": "function", "name": "f", "parameters": {"a": [1, {}]}}', [found]],
    ["code", "<|python_tag|>print(1)", [text("<|python_tag|>print(1)")]],
  ] as [string, string, ToolEvent[]][])("%s", (_, answer, wanted) => {
    expect(events(llama, answer)).toEqual(wanted);
    expect(events(llama, ...answer)).toEqual(wanted);
  });
});

describe("calls as Qwen 3.5 writes them", () => {
  const one =
    "<tool_call>\n<function=f>\n<parameter=city>\nRome\n</parameter>\n<parameter=days>\n2\n</parameter>\n</function>\n</tool_call>";
  const found = call("f", '{"city": "Rome", "days": 2}');
  const value = (written: string): string =>
    `<tool_call>\n<function=f>\n<parameter=v>\n${written}\n</parameter>\n</function>\n</tool_call>`;

  it.each([
    ["one call", one, [found]],
    ["several, and text", `Hm.\n${one}\n${one} So.`, [text("Hm.\n"), found, found, text(" So.")]],
    ["no arguments", "<tool_call><function=now>\n</function></tool_call>", [call("now", "{}")]],
    ["lines, tags and quotes in a value", value('a\n\n"b" <c></function>\n'), [call("f", '{"v": "a\\n\\n\\"b\\" <c></function>\\n"}')]],
    ["JSON", value('{"a": [1, "x"]}'), [call("f", '{"v": {"a": [1, "x"]}}')]],
    ["Python's words", value("True"), [call("f", '{"v": true}')]],
    ["an empty text", value(""), [call("f", '{"v": ""}')]],
    ["the end is missing", one.slice(0, -12), [found]],
  ] as [string, string, ToolEvent[]][])("%s", (_, answer, wanted) => {
    expect(events(tags, answer)).toEqual(wanted);
    expect(events(tags, ...answer)).toEqual(wanted);
  });

  it("a schema tells texts from numbers", () => {
    const parser = createToolCallParser(tags, new Map([["f", { v: { type: "string" } }]]));
    expect(parser.push(value("12"))).toEqual([call("f", '{"v": "12"}')]);
    expect(parser.push(value("True"))).toEqual([call("f", '{"v": "True"}')]);
  });

  it.each([
    "<tool_call>\n<function=f>\n<parameter=city>\nRome\n</parameter>\n",
    "<tool_call><function=f>so</function></tool_call>",
    "<tool_call><function=f><parameter=a>1</parameter> so <parameter=b>1</parameter></function></tool_call>",
    "<tool_call><function=f><parameter=a>1</parameter><parameter=a>2</parameter></function></tool_call>",
    "<tool_call><function=></function></tool_call>",
    '<tool_call>{"name": "f", "arguments": {}}</tool_call>',
    "<function=f></function>",
  ])("what is no call is text: %s", (answer) => {
    expect(events(tags, answer)).toEqual([text(answer)]);
    expect(events(tags, ...answer)).toEqual([text(answer)]);
  });

  it("gives what the template was given, whatever the values are", () => {
    const values = fc.dictionary(fc.stringMatching(/^[a-z_]{1,8}$/), fc.jsonValue({ maxDepth: 2 }), { noNullPrototype: true });
    fc.assert(
      fc.property(values, fc.array(fc.nat(400)), (some, cuts) => {
        const given = JSON.parse(JSON.stringify(some)) as typeof some; // −0 is 0
        fc.pre(!JSON.stringify(given).includes("</parameter>"));
        const asked = { role: "assistant", content: "", tool_calls: [{ function: { name: "f", arguments: given } }] };
        const written = fixture("qwen35").compose([{ role: "user", content: "-" }, asked], { addGenerationPrompt: false }).text;
        const answer = written.slice(written.indexOf("<tool_call>"), written.lastIndexOf("<|im_end|>"));
        const schemas = Object.fromEntries(
          Object.entries(given).map(([key, one]) => [key, typeof one === "string" ? { type: "string" } : {}]),
        );
        const places = [...new Set(cuts.map((cut) => cut % (answer.length + 1)))].toSorted((a, b) => a - b);
        const parser = createToolCallParser(tags, new Map([["f", schemas]]));
        const pieces = [0, ...places].map((place, i) => answer.slice(place, places[i]));
        const [event, ...others] = [...pieces.flatMap((piece) => parser.push(piece)), ...parser.end()];
        expect(others).toEqual([]);
        expect(event).toMatchObject({ type: "tool-call", name: "f" });
        if (event?.type === "tool-call") expect(JSON.parse(event.arguments)).toEqual(given);
      }),
      { numRuns: 300 },
    );
  });
});

it("however an answer is cut into pieces, the events are the same, and nothing of it is lost", () => {
  const parts = [
    ...["<tool_call>", "</tool_call>", "<|python_tag|>", "{", "}", "[", "]", '"', "\\", ";", ":", ",", "\n", " ", "a", "<", "1"],
    ...['<tool_call>{"name": "g", "arguments": {"z": [1]}}', '<|python_tag|>{"name": "g", "parameters": {"z": [1]}}'],
    ...["<function=f>", "<parameter=a>", "</parameter>", "</function>", "<tool_call><function=f><parameter=a>x</parameter></function>"],
    ...['{"name": "f", "arguments": {"x": "y"}}', '{"name": "f", "parameters": {}}', '"name":', '"arguments":'],
  ];
  let calls = 0;
  const answers = fc.array(fc.constantFrom(...parts), { maxLength: 20 });
  fc.assert(
    fc.property(fc.constantFrom(hermes, llama, tags), answers, fc.array(fc.nat(200)), (form, answer, cuts) => {
      const whole = answer.join("");
      const places = [...new Set(cuts.map((cut) => cut % (whole.length + 1)))].toSorted((a, b) => a - b);
      const pieces = [0, ...places].map((place, i) => whole.slice(place, places[i]));
      const seen = events(form, whole);
      expect(events(form, ...pieces)).toEqual(seen);
      const literal = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
      const written = seen.map((event) => {
        if (event.type === "text") return literal(event.text);
        calls++;
        if (form === tags) return String.raw`\s*<tool_call>\s*<function=f>[^]*?</function>\s*(?:</tool_call>)?\s*`;
        return String.raw`[\s;]*(?:<tool_call>|<\|python_tag\|>)?\s*\{[^{}]*${literal(event.arguments)}[^{}]*\}\s*(?:</tool_call>)?\s*`;
      });
      expect(whole).toMatch(new RegExp(`^${written.join("")}$`));
    }),
    { numRuns: 3000 },
  );
  expect(calls).toBeGreaterThan(100);
});

it("what is too long for a call is text, and memory stays bounded", () => {
  const filler = "a".repeat(maxCallLength);
  const long = `<tool_call>{"name": "f", "arguments": {"a": "${filler}"}}`;
  expect(events(hermes, long)).toEqual([text(long)]);
  const parser = createToolCallParser(hermes);
  let shown = 0;
  for (let i = 0; i < long.length; i += 1000) {
    for (const event of parser.push(long.slice(i, i + 1000))) if (event.type === "text") shown += event.text.length;
    expect(i + 1000 - shown).toBeLessThanOrEqual(maxCallLength + 2000);
  }
  const spaces = " ".repeat(maxCallSpace);
  const one = '<tool_call>{"name": "f", "arguments": {}}</tool_call>';
  expect(events(hermes, spaces + one)).toEqual([call("f", "{}")]);
  expect(events(hermes, `${spaces} ${one}`)).toEqual([text(`${spaces} `), call("f", "{}")]);
  const most = `{"name": "f", "arguments": {"a": "${"\\\\".repeat(100_000)}"}}`;
  expect(events(hermes, `<tool_call>${most}</tool_call>`)).toHaveLength(1);
  expect(events(hermes, `<tool_call>${most}</tool_call>`)[0]).toMatchObject({ type: "tool-call" });
});
