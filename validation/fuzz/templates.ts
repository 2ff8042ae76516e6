import type { Random } from "./random.js";

/** Chat templates that no model has: for ever, for long, too deep, too large, and such that reach for what isn't theirs. */
const HOSTILE_TEMPLATES: readonly string[] = [
  "{% for a in range(1000000000) %}x{% endfor %}",
  "{% for a in range(60000) %}{% for b in messages %}{% for c in range(9) %}x{% endfor %}{% endfor %}{% endfor %}",
  "{% for a in range(256) %}{% for b in [1,2,3,4,5,6,7,8,9,0] %}{% for c in [1,2,3,4,5,6,7,8,9,0] %}{% for d in [1,2,3,4,5,6,7,8,9,0] %}{% for e in [1,2,3,4,5,6,7,8,9,0] %}{% for f in [1,2,3,4,5,6,7,8,9,0] %}{{ a }}{% endfor %}{% endfor %}{% endfor %}{% endfor %}{% endfor %}{% endfor %}",
  "{% set ns = namespace(x='xxxxxxxxxxxxxxxx') %}{% for a in range(64) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
  "{% set ns = namespace(x=['x']) %}{% for a in range(64) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
  "{% macro m(n) %}{{ m(n) }}{% endmacro %}{{ m(1) }}",
  "{% macro a(n) %}{{ b(n) }}{{ b(n) }}{% endmacro %}{% macro b(n) %}{{ a(n) }}{{ a(n) }}{% endmacro %}{{ a(1) }}",
  "{% macro m(n) %}{% if n > 0 %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(40) }}",
  "{% set x = messages %}{% for a in range(30) %}{% set x = [x, x] %}{% endfor %}{{ x }}",
  "{{ 'x' * 1000000000 }}",
  "{{ 'x'.ljust(1000000000) }}",
  "{{ ('x,' * 100).split(',') | join('y' * 100) | indent(1000000000) }}",
  "{{ messages | tojson(indent=1000000000) }}",
  "{{ messages[1e308] }}{{ messages[-1] }}{{ messages['__proto__'] }}",
  "{{ messages.constructor.constructor('return process')() }}",
  "{{ ''.constructor }}{{ range.constructor('return this')() }}",
  "{{ raise_exception('no') }}",
  "{{ raise_exception({'a': [1, 2]}) }}",
  "{{ undefined_function() }}",
  "{{ none.x.y }}",
  "{% if %}",
  "{% for %}{% endfor %}",
  "{% set %}",
  "{{",
  "{%",
  "{#",
  "",
  " ",
  "\u0000",
  "\ud800",
  `${"{{ ".repeat(5000)}1${" }}".repeat(5000)}`,
  `{{ ${"(".repeat(20000)}1${")".repeat(20000)} }}`,
  `{{ ${"[".repeat(20000)}${"]".repeat(20000)} }}`,
  `{{ ${"not ".repeat(20000)}1 }}`,
  `{{ ${"-".repeat(20000)}1 }}`,
  `{{ ${"1 + ".repeat(20000)}1 }}`,
  `{{ a${".a".repeat(20000)} }}`,
  `{{ messages${" | list".repeat(20000)} }}`,
  `${"{% if true %}".repeat(5000)}x${"{% endif %}".repeat(5000)}`,
  `${"{% if true %}".repeat(5000)}`,
  `{{ '${"x".repeat(1_000_000)}' }}`,
  `${"{{ 1 }}".repeat(50_000)}`,
  "{% generation %}{% endgeneration %}",
  "{{ strftime_now('%Y') }}",
  "{{ 1 / 0 }}{{ 0 / 0 }}{{ 1 % 0 }}{{ 10 ** 400 }}{{ 2 ** 1000000 }}",
  "{{ range(0, 10, 0) }}",
  "{{ range(0, -1000000, -1) }}",
  "{{ messages | sort(attribute='content.length') | unique | list | last }}",
  "{% call raise_exception('x') %}{% endcall %}",
  "{% include 'x' %}{% import '/etc/passwd' as p %}{% extends 'y' %}",
];

const PIECES = [
  "{{",
  "}}",
  "{%",
  "%}",
  "-",
  "+",
  "(",
  ")",
  "[",
  "]",
  "'",
  '"',
  " for ",
  " in ",
  " if ",
  " else ",
  "endif",
  "endfor",
  "|",
  ".",
  ",",
  " not ",
  " is ",
  "set ",
  "0",
];

/** One of them, or a real one with pieces lost, doubled, moved or put in. */
export function hostileTemplate(random: Random, real: string): string {
  if (random.once(2) || real === "") return random.pick(HOSTILE_TEMPLATES);
  let text = real;
  for (let left = 1 + random.below(3); left > 0; left--) {
    const at = random.below(text.length);
    const end = at + random.below(random.pick([4, 30]));
    const between = random.pick([
      "",
      "",
      random.pick(PIECES),
      text.slice(at, end) + text.slice(at, end),
      text.slice(random.below(text.length)).slice(0, 20),
    ]);
    text = text.slice(0, at) + between + text.slice(end);
  }
  return text;
}
