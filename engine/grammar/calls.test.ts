import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { uniform } from "../sampling/rng.js";
import { createChatTemplate } from "../text/chat-template.js";
import { type ToolCallForm, toolCallForm } from "../text/tool-calls/form.js";
import { createToolCallParser, type ToolEvent } from "../text/tool-calls/parser.js";
import { THOROUGH } from "../thorough.test.helper.js";
import { argumentSchemas, type CallsFormat, compileCalls, isCallsFormat, type ToolDefinition } from "./calls.js";
import { Matcher } from "./matcher.js";
import { randomSchemas, validator } from "./schemas.test.helper.js";
import { answerOf, has, tokenizer, trie } from "./walk.test.helper.js";

/** The form of a template that writes a call so. */
const formOf = (call: string): ToolCallForm => {
  const source = `{{ tools | tojson }}{% for m in messages %}{% for c in m.tool_calls or [] %}${call}{% endfor %}{% endfor %}`;
  return toolCallForm(createChatTemplate(source, "a file", tokenizer))!;
};
const hermes = formOf("<tool_call>\n{{ c.function | tojson }}\n</tool_call>");
const llama = formOf(' {"name": "{{ c.function.name }}", "parameters": {{ c.function.arguments | tojson }}}');

const tags = formOf(`<tool_call>
<function={{ c.function.name }}>
{% for key, value in c.function.arguments.items() %}<parameter={{ key }}>
{{ value }}
</parameter>
{% endfor %}</function>
</tool_call>`);

const tool = (name: string, parameters?: object): ToolDefinition => ({
  type: "function",
  function: { name, ...(parameters && { parameters }) },
});
const count = tool("count", { type: "object", properties: { n: { type: "integer", maximum: 9 } }, required: ["n"] });
const stop = tool("stop");

function eventsOf(form: ToolCallForm, answer: string, tools: readonly ToolDefinition[]): ToolEvent[] {
  const parser = createToolCallParser(form, argumentSchemas(tools));
  return [...parser.push(answer), ...parser.end()];
}

describe("answers held to calls", () => {
  it("are what the parser finds, with arguments under the tool's schema", () => {
    let found = 0;
    const names = fc.uniqueArray(fc.oneof(fc.constantFrom("f", "get_weather", 'odd "name"'), fc.string({ minLength: 1, maxLength: 6 })), {
      minLength: 1,
      maxLength: 3,
    });
    const check = fc.property(
      fc.constantFrom(hermes, llama, tags),
      names,
      randomSchemas,
      fc.boolean(),
      fc.nat(),
      (form, names, schema, several, seed) => {
        const { $defs, ...value } = schema;
        const parameters = { type: "object", properties: { value }, required: ["value"], $defs };
        const format: CallsFormat = { tools: names.map((name) => tool(name, parameters)), several };
        let matcher: Matcher;
        try {
          matcher = new Matcher(compileCalls(form, format), trie);
        } catch (error) {
          expect((error as Error).message).toMatch(/no text can fit|is not supported|may fit both|can't be held to/);
          return;
        }
        let index = 0;
        const { text, isWhole } = answerOf(matcher, () => uniform(seed, index++));
        if (!isWhole) return;
        const events = eventsOf(form, text, format.tools);
        if (!several || form === llama) expect(events).toHaveLength(1);
        for (const event of events) {
          if (event.type === "text") throw new Error(`text in ${text}`);
          expect(names).toContain(event.name);
          expect(validator(parameters)(JSON.parse(event.arguments)), event.arguments).toBe(true);
          found++;
        }
      },
    );
    fc.assert(check, { numRuns: THOROUGH ? 1000 : 30 });
    expect(found).toBeGreaterThan(5);
  });

  it("have the form that the template writes, one call unless several are allowed", () => {
    const one = '<tool_call>\n{"name": "count", "arguments": {"n": 3}}\n</tool_call>';
    const other = '<tool_call>\n{"name": "stop", "arguments": {}}\n</tool_call>';
    const grammar = compileCalls(hermes, { tools: [count, stop] });
    const severally = compileCalls(hermes, { tools: [count, stop], several: true });
    expect([one, other].map((text) => has(grammar, text))).toEqual([true, true]);
    expect(["", ` ${one}`, `${one}\n`, `So: ${one}`, `${one}\n${other}`, one.replace("3", "10")].map((text) => has(grammar, text))).toEqual(
      Array(6).fill(false),
    );
    expect([one, `${one}\n${other}\n${one}`].map((text) => has(severally, text))).toEqual([true, true]);
    expect(has(severally, `${one}${other}`)).toBe(false);
    const bare = compileCalls(llama, { tools: [count], several: true });
    expect(has(bare, '{"name": "count", "parameters": {"n": 3}}')).toBe(true);
    expect(has(bare, '{"name": "count", "parameters": {"n": 3}}; {"name": "count", "parameters": {"n": 3}}')).toBe(false);
  });

  it("in tags: texts as they are, other values as JSON", () => {
    const parameters = {
      type: "object",
      properties: { city: { type: "string" }, unit: { type: "string", enum: ["C", "F"] }, days: { $ref: "#/$defs/days" } },
      required: ["city"],
      $defs: { days: { anyOf: [{ type: "integer", maximum: 9 }, { type: "null" }] } },
    };
    const grammar = compileCalls(tags, { tools: [tool("f", parameters), stop] });
    const parameter = (name: string, value: string): string => `<parameter=${name}>\n${value}\n</parameter>\n`;
    const written = (...parts: string[]): string => `<tool_call>\n<function=f>\n${parts.join("")}</function>\n</tool_call>`;
    const city = parameter("city", 'New "York"\n<b>');
    const good = [written(city), written(city, parameter("unit", "F"), parameter("days", "3")), written(city, parameter("days", "null"))];
    for (const text of good) expect([text, has(grammar, text)]).toEqual([text, true]);
    expect(eventsOf(tags, good[1]!, [tool("f", parameters)])).toEqual([
      { type: "tool-call", name: "f", arguments: '{"city": "New \\"York\\"\\n<b>", "unit": "F", "days": 3}' },
    ]);
    expect(has(grammar, "<tool_call>\n<function=stop>\n</function>\n</tool_call>")).toBe(true);
    const bad = [written(), written(city, city), written(city, parameter("unit", "K")), written(city, parameter("days", "10"))];
    for (const text of [...bad, written(city, parameter("other", "1"))]) expect([text, has(grammar, text)]).toEqual([text, false]);
    const free = compileCalls(tags, { tools: [tool("f", { type: "object" })], otherwise: "text" });
    for (const text of ["So.", `So.\n${written(parameter("x_1", "a"), parameter("y", "2"))}`])
      expect([text, has(free, text)]).toEqual([text, true]);
    expect(has(free, "So <tool_call>")).toBe(false);
    const compile = (parameters: object): unknown => compileCalls(tags, { tools: [tool("f", parameters)] });
    expect(() => compile({ anyOf: [{}] })).toThrow(
      /the tool "f" have the keyword "anyOf", which the model's form of calls can't be held to/,
    );
    expect(() => compile({ properties: { a: { type: "string", pattern: "a" } } })).toThrow(/a text with the keyword "pattern"/);
    expect(() => compile({ properties: { "a b": {} } })).toThrow(/the name "a b"/);
    expect(() => compile({ required: ["a"] })).toThrow(/require what they don't describe/);
  });

  it("may be text where calls are optional, but no call that breaks its schema", () => {
    const grammar = compileCalls(hermes, { tools: [count], otherwise: "text" });
    const one = '<tool_call>\n{"name": "count", "arguments": {"n": 3}}\n</tool_call>';
    for (const text of ["", "Hello, wörld 😀 <tool {", `So.\n\n${one}`, one, "<tool_cal"])
      expect([text, has(grammar, text)]).toEqual([text, true]);
    for (const text of [one.replace("3", "10"), `${one} so`, "<tool_call>", "So <tool_call> so"]) {
      expect([text, has(grammar, text)]).toEqual([text, false]);
    }
    const bare = compileCalls(llama, { tools: [count], otherwise: "text" });
    const call = '{"name": "count", "parameters": {"n": 3}}';
    for (const text of ["", "So", `So ${call}`, call]) expect([text, has(bare, text)]).toEqual([text, true]);
    for (const text of [call.replace("3", "10"), "{", " {}", "<|python_tag|>"]) expect([text, has(bare, text)]).toEqual([text, false]);
  });

  it("may be JSON under a schema in place of calls", () => {
    const schema = { type: "object", properties: { ok: { type: "boolean" } }, required: ["ok"] };
    for (const form of [hermes, llama]) {
      const grammar = compileCalls(form, { tools: [count], otherwise: { schema } });
      const { before, behind } = form.written;
      const one = `${before}{"name": "count", "${form.argumentsKey}": {"n": 3}}${behind}`;
      for (const text of [one, '{"ok":true}']) expect([text, has(grammar, text)]).toEqual([text, true]);
      for (const text of ["", "So", `{"ok":true}${one}`, '{"ok":1}']) expect([text, has(grammar, text)]).toEqual([text, false]);
    }
    expect(() => compileCalls(hermes, { tools: [count], otherwise: { schema: { not: {} } } })).toThrow(/^the schema at #\/not/);
  });
});

it("what is no list of tools, and a schema that can't be held to, is refused", () => {
  expect([{ tools: [count, stop] }, { tools: [stop], several: true, otherwise: { schema: {} } }].map(isCallsFormat)).toEqual([true, true]);
  const bad: unknown[] = [
    null,
    [],
    {},
    { tools: [] },
    { tools: [count, count] },
    { tools: [count], most: 2 },
    { tools: [count], several: 1 },
    { tools: [count], otherwise: true },
    { tools: [count], otherwise: {} },
    { tools: [{ type: "function", function: { name: "" } }] },
    { tools: [{ type: "function", function: { name: "f", parameters: "{}" } }] },
    { tools: [{ type: "web_search" }] },
    { tools: [{ function: { name: "f" } }] },
    { tools: Array.from({ length: 129 }, (_, i) => tool(`f${i}`)) },
  ];
  expect(bad.map(isCallsFormat)).toEqual(bad.map(() => false));
  const compile = (parameters: object): unknown => compileCalls(hermes, { tools: [stop, tool("f", parameters)] });
  expect(() => compile({ type: "array" })).toThrow('the parameters of the tool "f" must be a schema of the type "object", not "array"');
  expect(() => compile({ properties: { a: { not: {} } } })).toThrow(
    /^the parameters of the tool "f" at #\/properties\/a\/not is the keyword "not"/,
  );
  const large = { properties: Object.fromEntries(Array.from({ length: 700 }, (_, i) => [`p${i}`, { type: "object" }])) };
  const many = Array.from({ length: 20 }, (_, i) => tool(`f${i}`, large));
  expect(() => compileCalls(hermes, { tools: many })).toThrow(/the parameters of the tools have more than 8192 parts/);
  expect(() => compile({ properties: { a: false }, required: ["a"] })).not.toThrow(); // the other tool can be called
});
