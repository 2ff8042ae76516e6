import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { type Data, toValue } from "./data.js";
import { TemplateFault } from "./fault.js";
import { Meter } from "./meter.js";
import { Template } from "./template.js";
import type { Text } from "./text.js";

// What Jinja2 itself gives: see fixtures/make.py.
const fixtures = "engine/text/jinja/fixtures";
const readJson = <T>(name: string): T => JSON.parse(readFileSync(`${fixtures}/${name}`, "utf8")) as T;

interface Expected {
  readonly text?: string;
  readonly error?: "syntax" | "failed" | "raised";
  readonly message?: string;
}

const limits = { steps: 2 ** 20, made: 2 ** 22, text: 2 ** 18 };
const now = new Date(Date.UTC(2025, 6, 4, 15, 6, 9));

function render(source: string, variables: Record<string, Data>, isMarked = false): Text {
  return new Template(source).render(
    (meter) => new Map(Object.entries(variables).map(([name, data]) => [name, toValue(data, isMarked, meter)])),
    limits,
    now,
  );
}

function outcome(source: string, variables: Record<string, Data>): Expected {
  try {
    return { text: render(source, variables).value };
  } catch (error) {
    if (!(error instanceof TemplateFault)) throw error;
    const { kind, message } = error;
    return kind === "raised" ? { error: kind, message } : { error: kind === "syntax" ? kind : "failed" };
  }
}

test("expressions and statements give what Jinja2 gives", () => {
  const { variables, cases } = readJson<{ variables: Record<string, Data>; cases: (Expected & { source: string })[] }>("expressions.json");
  expect(cases.length).toBeGreaterThan(300);
  for (const { source, ...expected } of cases) expect({ source, ...outcome(source, variables) }).toEqual({ source, ...expected });
});

test("chat templates in the style of real ones give what Jinja2 gives", () => {
  const conversations = readJson<Record<string, Record<string, Data>>>("conversations.json");
  const { cases } = readJson<{ cases: (Expected & { template: string; conversation: string })[] }>("chats.json");
  expect(new Set(cases.map(({ template }) => template)).size).toBeGreaterThanOrEqual(12);
  for (const { template, conversation, ...expected } of cases) {
    const written = readFileSync(`${fixtures}/templates/${template}`, "utf8");
    const source = template === "windows.jinja" ? written.replaceAll("\n", "\r\n") : written;
    const variables = {
      tools: null,
      documents: null,
      bos_token: "<s>",
      eos_token: "</s>",
      pad_token: "<pad>",
      ...conversations[conversation],
    };
    expect({ template, conversation, ...outcome(source, variables) }).toEqual({ template, conversation, ...expected });
  }
});

describe("what is the caller's stays marked", () => {
  /** The result with the marked parts in [brackets]. */
  function shown(source: string): string {
    const { value, marks } = render(source, { u: "User", astral: "a😀b", lines: "one\ntwo", list: ["x", "y"], html: "<b>" }, true);
    let text = "";
    let at = 0;
    for (let i = 0; i < marks.length; i += 2) {
      text += `${value.slice(at, marks[i])}[${value.slice(marks[i], marks[i + 1])}]`;
      at = marks[i + 1]!;
    }
    return text + value.slice(at);
  }

  test.each([
    ["{{ '<' + u + '>' }}{{ u ~ '!' ~ u }}", "<[User]>[User]![User]"],
    ["{{ (' ' + u + ' ')|trim }}{{ ('ab' + u)[1:3] }}{{ u[0] }}{{ u[::-1] }}", "[User]b[UUresU]"],
    ["{{ ('a,' + u).split(',') | join('|') }}{{ u.replace('s', '-') }}{{ 'aXb'.replace('X', u) }}", "a|[UserU]-[er]a[User]b"],
    ["{{ ('a' + u)|upper }}{{ u|lower }}{{ u.title() }}{{ u|capitalize }}{{ 'ß' ~ u|upper }}", "A[USERuserUserUser]ß[USER]"],
    ["{{ '%s=%s' % ('k', u) }}{{ '{}-{x}'.format(u, x=u) }}{{ '%-6s|'|format(u) }}", "k=[UserUser]-[UserUser]  |"],
    ["{{ {'k': u}|tojson }}{{ list }}{{ list|tojson(indent=1) }}", '{"k": "[User]"}[\'[x]\', \'[y]\'][\n "[x]",\n "[y]"\n]'],
    ["{{ lines|indent(2) }}{{ list|join(', ') }}{{ u * 2 }}", "[one]\n  [twox], [yUserUser]"],
    ["{% set x %}<{{ u }}>{% endset %}{% macro m(v) %}({{ v }}){% endmacro %}{{ x }}{{ m(u)|upper }}", "<[User]>([USER])"],
    [
      "{% for c in astral %}{{ c }}.{% endfor %}{{ html|e }}{{ u.center(6, '-') }}{{ u|truncate(3, true, '…', 0) }}",
      "[a].[😀].[b].[&lt;b&gt;]-[User]-[Us]…",
    ],
    ["{{ (u ~ '%s|%%') % 'a' }}{{ (u ~ '{:*>3}').format('a') }}{{ '{:{}>3}'.format('a', u[0]) }}", "[Usera|%User**aUUa]"],
    ["{{ dict(**{u: 1})|list|first }}{{ {u: 1} }}{{ strftime_now(u) }}", "[User]{'[User]': 1}[User]"],
    ["{{ u|length }}{{ u == 'User' }}{% if u.startswith('U') %}yes{% endif %}", "4Trueyes"],
    ["{{ u|list|last }}{{ (u ~ 'x')|reverse }}{{ u.partition('s')|join }}{{ list|map('upper')|join }}", "[rxresUUserXY]"],
  ])("%s", (source, expected) => {
    expect(shown(source)).toBe(expected);
  });
});

// By Python's own rules.
test.each<readonly [source: string, expected: Expected]>([
  [
    "{{ 1 < 1.5 }} {{ 2 == 2.5 }} {{ 2 == 2.0 }} {{ true == 1.0 }} {{ 1 == true }} {{ 0.5 > false }}",
    { text: "True False True True True True" },
  ],
  ["{{ 0.0 ** 0 }} {{ 0.0 ** 2 }}", { text: "1.0 0.0" }],
  ["{{ 0.0 ** -1 }}", { error: "failed" }],
])("numbers of other kinds: %s", (source, expected) => {
  expect(outcome(source, {})).toEqual(expected);
});

test("what a rendering takes: a step, and one more for so many elements", () => {
  const steps = (count: number): number => {
    for (let limit = 0; ; limit++) {
      try {
        new Meter({ ...limits, steps: limit }).elements(count);
        return limit;
      } catch (error) {
        if (!(error instanceof TemplateFault)) throw error;
      }
    }
  };
  expect([0, 1, 2].map(steps)).toEqual([1, 1, 1]);
  expect(steps(10_000)).toBeGreaterThan(steps(1_000));
});

describe("a template that would never end, or take all memory", () => {
  const doubled = (start: string, change: string, end: string) =>
    `{% set ns = namespace(x=${start}) %}{% for i in range(90) %}{% set ns.x = ${change} %}{% endfor %}${end}`;
  test.each([
    ["a loop in a loop", "{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}", /steps|in all/],
    ["a macro that calls itself", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", /levels deep/],
    [
      "macros that call each other twice",
      "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
      /steps|in all/,
    ],
    ["a text that doubles", doubled("'xy'", "ns.x ~ ns.x", "{{ ns.x|length }}"), /text of more than 262144 characters/],
    ["a text that doubles and changes", doubled("'xy'", "(ns.x ~ ns.x)|upper", "{{ ns.x|length }}"), /characters/],
    ["a list that doubles", doubled("[1, 2]", "ns.x + ns.x", "{{ ns.x|length }}"), /in all/],
    ["lists in lists", doubled("[1]", "[ns.x]", "{{ ns.x }}").replace("90", "9000"), /levels deep/],
    ["lists that are shared", doubled("[1]", "[ns.x, ns.x]", "{{ ns.x }}"), /in all|characters/],
    [
      "lists that are shared, compared",
      doubled("[1]", "[ns.x, ns.x]", "{% set y = ns.x %}").replaceAll("ns.x = [ns.x, ns.x]", "ns.x = [ns.x, ns.x]") +
        doubled("[1]", "[ns.x, ns.x]", "{{ ns.x == y }}"),
      /steps/,
    ],
    ["dicts that are shared", doubled("{}", "{'a': ns.x, 'b': ns.x}", "{{ ns.x|tojson }}"), /in all|characters/],
    ["a wide text", "{{ 'x' * 100000000000 }}", /text of more than/],
    ["a wide text, often", "{% for i in range(1000) %}{% set x = 'x' * 200000 %}{% endfor %}", /in all/],
    ["a wide column", "{{ 'x'.ljust(1000000000) }}", /text of more than/],
    ["a wide number", "{{ '%0999999999d' % 1 }}", /text of more than/],
    ["a precise number", "{{ '%.999999999f' % 1 }}", /text of more than|decimals/],
    ["a wide format", "{{ '{:999999999}'.format(1) }}", /text of more than/],
    ["an indent", "{{ ('a\\nb'|indent(500000000))|upper }}", /text of more than/],
    ["an indent of json", "{{ [[1]]|tojson(indent=200000000) }}", /text of more than/],
    ["tabs", "{{ '\\t'.expandtabs(1000000000) }}", /text of more than/],
    ["a large number", "{{ 10 ** 1000000 }}", /4300 digits/],
    ["numbers that double", doubled("3", "ns.x * ns.x", "{{ ns.x }}"), /4300 digits/],
    ["large numbers, often", "{% set a = 7 ** 5000 %}{% for i in range(100000) %}{% set b = a % 3 ** 4000 %}{% endfor %}", /steps/],
    ["large powers, often", "{% for i in range(100000) %}{% set b = 7 ** 5000 %}{% endfor %}", /steps/],
    ["large numbers read, often", "{% set a = '9' * 4000 %}{% for i in range(100000) %}{% set b = a|int %}{% endfor %}", /steps/],
    ["large keys, often", "{% set a = 7 ** 5000 %}{% for i in range(100000) %}{% set b = a in {} %}{% endfor %}", /steps/],
    ["exact decimals, often", "{% for i in range(100000) %}{% set b = 1.5e-300|round(300) %}{% endfor %}", /steps/],
    [
      "names looked for in many scopes",
      `${"{% with %}".repeat(90)}{% for i in range(100000) %}{% set b = x or x or x or x %}{% endfor %}${"{% endwith %}".repeat(90)}`,
      /steps/,
    ],
    ["a range", "{{ range(100000000)|list }}", /more than 100000 elements/],
    ["ranges", "{% set a = range(100000)|list %}{% set b = range(100000)|list %}{% set c = range(100000)|list %}", /in all/],
    ["a slice", "{{ [1]|slice(1000000000)|list }}", /steps|in all/],
    ["a batch", "{{ [1]|batch(1000000000, 'x')|list }}", /steps|in all/],
    ["parts of a text", "{{ ('x ' * 130000).split(' ')|length }}", /in all/],
    ["characters", "{% for a in 'x' * 200000 %}{% endfor %}", /in all/],
    ["a replacement", "{{ ('a' * 100000).replace('a', 'b' * 100) }}", /text of more than|in all/],
    ["a replacement of nothing", "{{ ('a' * 200000).replace('', 'b') }}", /text of more than|in all/],
    [
      "a search for a long text",
      "{% set t = 'a' * 200000 %}{% set p = 'b' ~ 'a' * 100000 %}{% for i in range(100000) %}{{ p in t }}{% endfor %}",
      /steps|in all/,
    ],
    [
      "comparisons",
      "{% set a = 'a' * 200000 ~ 'b' %}{% set b = 'a' * 200000 ~ 'c' %}{% for i in range(100000) %}{{ a == b }}{% endfor %}",
      /steps/,
    ],
    ["brackets", `{{ ${"(".repeat(3e4)}1${")".repeat(3e4)} }}`, /100 levels are nested/],
    ["blocks", `${"{% if 1 %}".repeat(1e4)}${"{% endif %}".repeat(2)}`, /100 levels are nested/],
    ["small tags", "{{1}}".repeat(1e5), /65536 tokens/],
    ["a sum without end", `{{ ${"1 + ".repeat(3e4)}1 }}`, /levels deep/],
    ["attributes without end", `{{ x${".a".repeat(3e4)} }}`, /levels deep|undefined/],
    ["filters without end", `{{ 1${" | string".repeat(3e4)} }}`, /levels deep/],
    ["signs without end", `{{ ${"-".repeat(3e4)}1 }}`, /100 levels are nested/],
    ["nots without end", `{{ ${"not ".repeat(3e4)}1 }}`, /100 levels are nested/],
    ["choices without end", `{{ ${"1 if 0 else ".repeat(1e4)}1 }}`, /100 levels are nested/],
    ["a loop that calls itself", "{% for x in [1] recursive %}{{ loop([x]) }}{% endfor %}", /levels deep/],
    ["sorts", "{% set a = range(50000)|list %}{% for i in range(10000) %}{% set b = a|sort %}{% endfor %}", /steps|in all/],
  ])("%s", (_, source, message) => {
    const result = (() => {
      try {
        return render(source, {}).value.length;
      } catch (error) {
        if (!(error instanceof TemplateFault)) throw error;
        return error.message;
      }
    })();
    expect(result).toMatch(message);
  });

  test("names of JavaScript lead nowhere", () => {
    const source =
      "{{ a.constructor is defined }}{{ a['__proto__'] is defined }}{{ 'x'.constructor is defined }}{{ range.constructor is defined }}{{ toString is defined }}";
    expect(render(source, { a: {} }).value).toBe("False".repeat(5));
    expect(outcome("{{ a.constructor.constructor('return process')() }}", { a: {} }).error).toBe("failed");
    for (const name of ["constructor", "toString", "__proto__", "hasOwnProperty"]) {
      expect(outcome(`{{ 1|${name} }}`, {}).error).toBe("syntax");
      expect(outcome(`{{ 1 is ${name} }}`, {}).error).toBe("syntax");
      expect(outcome(`{{ 1|attr('${name}') is defined }}{{ 'a'['${name}'] is defined }}`, {}).text).toBe("FalseFalse");
    }
  });
});

test("a failure says where, and what", () => {
  const messageOf = (source: string) => {
    try {
      return render(source, { messages: [] }).value;
    } catch (error) {
      return (error as Error).message;
    }
  };
  expect(messageOf("a\n{{ messages[0].content }}")).toBe("'list object' has no element 0 (line 2)");
  expect(messageOf("a\nb{{ x.y }}")).toBe("'x' is undefined (line 2)");
  expect(messageOf("\n\n{% if %}")).toBe("unexpected block end (line 3)");
  expect(messageOf("{{ 1 | nothing }}")).toBe("no filter named 'nothing' (line 1)");
  expect(messageOf("{% for x in [1] %}\n{{ [] + 1 }}{% endfor %}")).toBe('can only concatenate list (not "int") to list (line 2)');
});
