import { expect, test } from "vitest";
import { type Data, toValue } from "./data.js";
import { Template } from "./template.js";

/** The caller's words are Greek, and no template here writes any of its own: where Greek comes out unmarked, words of the caller pass for the template's. */
const caller: Record<string, Data> = {
  u: "αβγ",
  l: ["α", "β γ"],
  d: { κ: "λ" },
  f: "Φ%s{}",
  lines: "α\n  β",
  people: [{ name: "Ανν", tags: ["χ"] }, { name: "Βοβ" }],
  tree: [{ v: "ν", c: [{ v: "ξ", c: [] }] }],
};
const greek = /[\u0370-\u03ff]|\\u03/iu;

function unmarked(source: string): { text: string; unmarked: string } {
  const limits = { steps: 2 ** 16, made: 2 ** 18, text: 2 ** 14 };
  const values = (meter: Parameters<typeof toValue>[2]) =>
    new Map(Object.entries(caller).map(([name, data]) => [name, toValue(data, true, meter)]));
  const { value, marks } = new Template(source).render(values, limits, new Date(0));
  let rest = value.slice(0, marks[0]);
  for (let i = 1; i < marks.length; i += 2) rest += `|${value.slice(marks[i], marks[i + 1])}`;
  return { text: value, unmarked: rest };
}

test.each([
  "{{ [[1]]|tojson(indent=u) }}{{ {'a': 1, 'b': 2}|tojson(separators=(u, u), indent=1) }}",
  "{{ {u: [u, d]}|tojson(ensure_ascii=true) }}{{ d|tojson(sort_keys=true) }}{{ '%a' % u }}{{ '%r' % [u] }}",
  "{{ 'aαb'.replace('α', '<').join(u) }}{{ u.partition('β') }}{{ ('x' ~ u ~ 'y').rpartition(u) }}",
  "{{ 'x'.center(9, u[0]) }}{{ 'x'.ljust(5, u[0]) }}{{ 'x'.rjust(5, u[0]) }}{{ u.zfill(9) }}{{ u.expandtabs() }}",
  "{{ '{:{}>9}'.format('x', u[0]) }}{{ ('{:' ~ u[0] ~ '>9}').format('x') }}{{ f.format(1) }}{{ f % 2 }}{{ f|format(3) }}",
  "{{ '{0[κ]}{1!r}{a}'.format(d, u, a=l) }}{{ '%(κ)s' % d }}{{ '%c%-6s|%.2s' % (u[0], u, u) }}",
  "{{ 'xxxxxxxxxxxxx'|truncate(4, true, u) }}{{ u|truncate(2, true, '') }}{{ 'a\nb'|indent(u) }}{{ lines|indent(2, true) }}",
  "{{ u|upper|lower|title|capitalize }}{{ u.swapcase() }}{{ u.casefold() }}{{ u * 3 }}{{ (l * 2)|join(u) }}",
  "{{ u[::-1] }}{{ u[1:] }}{{ u|reverse }}{{ u|list }}{{ u|first }}{{ u|last }}{{ u|sort }}{{ u|unique|join }}{{ u|batch(2, u)|list }}",
  "{{ u|e }}{{ u|safe }}{{ (u|safe) ~ '<' }}{{ (u|e) + '<' }}{{ '<' + (u|e) }}{{ u|forceescape|string }}",
  "{{ d }}{{ d.keys()|list }}{{ d.items()|list }}{{ d|dictsort }}{{ d|items|list }}{{ dict(d, **d) }}{{ {u: 1}|list }}",
  "{% macro m() %}{{ kwargs }}{{ varargs }}{% endmacro %}{{ m(*l, **d) }}{% macro n(x) %}{{ x }}{{ caller(x) }}{% endmacro %}{% call(y) n(u) %}{{ y }}{% endcall %}",
  "{% set x %}{{ u }}{% endset %}{{ x }}{% set x | upper %}{{ u }}{% endset %}{{ x }}{% filter replace('x', u) %}axb{{ u }}{% endfilter %}",
  "{% set ns = namespace(v=u) %}{% set ns.v = ns.v ~ 'x' %}{{ ns.v }}{{ namespace(**{'a': u}).a }}{{ namespace([['b', u]]).b }}",
  "{% for c in u %}{{ c }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle(u, 'x') }}{{ 1 if loop.changed(c) }}{% endfor %}",
  "{% for t in tree recursive %}{{ t.v }}{{ loop(t.c)|upper }}{% endfor %}{{ strftime_now(u ~ '%Y') }}{{ cycler(u).next() }}",
  "{% set j = joiner(u) %}{{ j() }}{{ j() }}{{ people|groupby('name')|map(attribute='grouper')|list }}{{ people|map(attribute='tags.0', default=u)|list }}",
  "{{ l|map('replace', 'x', u)|map('upper')|list }}{{ l|max }}{{ l|min }}{{ people|selectattr('tags')|list }}{{ people|sort(attribute='name', reverse=true) }}",
  "{{ u.split(u[1]) }}{{ ('a' ~ u ~ 'b').rsplit(u[1], 1) }}{{ lines.splitlines() }}{{ u.removeprefix('x') }}{{ u.strip('x') }}{{ u|trim }}",
  "{{ missing|default(u) }}{{ none or u }}{{ u if true }}{{ [u][0] }}{{ (u, 1)|string }}{% with x = u %}{{ x }}{% endwith %}{% generation %}{{ u }}{% endgeneration %}{% print u %}",
])("what is made of the caller's words stays marked: %s", (source) => {
  const { text, unmarked: rest } = unmarked(source);
  expect(text).toMatch(greek);
  expect(rest).not.toMatch(greek);
});
