import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BitnetError } from "../errors.js";
import { uniform } from "../sampling/rng.js";
import { THOROUGH } from "../thorough.test.helper.js";
import { compileSchema } from "./json-schema.js";
import { Matcher } from "./matcher.js";
import { bound, json, numbers, randomSchemas, validator } from "./schemas.test.helper.js";
import { answerOf, has, idsOf, tokenizer, trie } from "./walk.test.helper.js";

describe("a JSON Schema", () => {
  it("holds every answer to itself, whatever is chosen among the tokens allowed", () => {
    let whole = 0;
    let refused = 0;
    const check = fc.property(randomSchemas, fc.nat(), (schema, seed) => {
      let grammar: ReturnType<typeof compileSchema>;
      try {
        grammar = compileSchema(schema);
      } catch (error) {
        expect(error).toBeInstanceOf(BitnetError);
        expect((error as BitnetError).message).toMatch(/no text can fit|properties are required/);
        refused++;
        return;
      }
      const matcher = new Matcher(grammar, trie);
      const isValid = validator(schema);
      let index = 0;
      for (let i = 0; i < 3; i++) {
        const { text, isWhole } = answerOf(matcher, () => uniform(seed, index++));
        if (!isWhole) continue;
        whole++;
        expect(isValid(JSON.parse(text)), `${text} under ${JSON.stringify(schema)}`).toBe(true);
      }
    });
    const runs = THOROUGH ? 2000 : 15;
    fc.assert(check, { numRuns: runs });
    expect(refused).toBeLessThan(runs / 2); // an eighth, in the long run
    expect(whole).toBeGreaterThan(runs);
  });

  it("takes no value that it doesn't allow, and values of its own in order", () => {
    const check = fc.property(randomSchemas, json(2), (schema, value) => {
      let grammar: ReturnType<typeof compileSchema>;
      try {
        grammar = compileSchema(schema);
      } catch {
        return;
      }
      if (has(grammar, JSON.stringify(value))) expect(validator(schema)(value)).toBe(true);
    });
    fc.assert(check, { numRuns: THOROUGH ? 1000 : 20 });
  });

  it("writes strings of any characters, in all of JSON's ways", () => {
    const grammar = compileSchema({ type: "string" });
    for (const text of ['"é😀\u2028"', '"\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9"', '"\\ud83d\\uDE00"', '""'])
      expect(has(grammar, text), text).toBe(true);
    for (const text of ['"\n"', '"\\ud83d"', '"\\ude00"', '"\\ud83d\\ud83d"', '"\\x41"', '"', "'a'", ' ""', '"" '])
      expect(has(grammar, text), text).toBe(false);
    expect(has(compileSchema({ type: "string", minLength: 2, maxLength: 2 }), '"😀\\u00e9"')).toBe(true);
    expect(has(compileSchema({ type: "string", minLength: 2, maxLength: 2 }), '"a"')).toBe(false);
    expect(has(compileSchema({ type: "string", maxLength: 2 }), '"abc"')).toBe(false);
  });

  it("keeps numbers to their bounds, exactly", () => {
    const decimal = fc.oneof(
      fc.tuple(fc.integer({ min: -3000, max: 3000 }), fc.nat(3)).map(([value, digits]) => (value / 10 ** digits).toFixed(digits)),
      bound.map((value) => String(value)),
      fc.integer().map((value) => String(value)),
    );
    const check = fc.property(numbers, decimal, fc.boolean(), (keywords, text, isWhole) => {
      const schema = { type: isWhole ? "integer" : "number", ...keywords };
      let accepted = false;
      try {
        accepted = has(compileSchema(schema), text);
      } catch (error) {
        expect((error as Error).message).toMatch(/no text can fit/);
      }
      // Further digits than are written are no part of the language, nor is an exponent beside bounds, a zero too many, or −0.
      const isWritten = isWhole
        ? /^(?:0|-?[1-9]\d{0,14})$/.test(text)
        : /^-?(?:0|[1-9]\d{0,8})(?:\.\d{1,6})?$/.test(text) && !/^-0(?:\.0*)?$/.test(text);
      const isValid = validator(schema)(Number(text));
      if (accepted) expect(isValid, `${text} under ${JSON.stringify(schema)}`).toBe(true);
      else if (isWritten) expect(isValid, `${text} under ${JSON.stringify(schema)}`).toBe(false);
    });
    fc.assert(check, { numRuns: THOROUGH ? 2000 : 100 });
  });

  it("finds patterns where RegExp does", () => {
    const atom = fc.constantFrom(
      "a",
      "b",
      ".",
      "[ab]",
      "[^a]",
      "\\d",
      "\\W",
      "\\s",
      "^",
      "$",
      "\\u{1F600}",
      "\\u00e9",
      "(?:a|^b)",
      "(b$|c)",
      "(ab)",
      '"',
      "\\n",
    );
    const quantifier = fc.constantFrom("", "", "", "*", "+", "?", "{2}", "{1,}", "{0,2}", "*?");
    const part = fc.tuple(atom, quantifier).map(([a, q]) => (/^[$^]$/.test(a) ? a : a + q));
    const pattern = fc
      .array(fc.oneof({ weight: 6, arbitrary: part }, { weight: 1, arbitrary: fc.constant("|") }), { maxLength: 6 })
      .map((parts) => parts.join(""));
    const texts = fc.array(fc.string({ unit: fc.constantFrom("a", "b", "c", "1", " ", "é", "😀", '"', "\n"), maxLength: 5 }), {
      minLength: 8,
      maxLength: 8,
    });
    const check = fc.property(pattern, texts, (pattern, texts) => {
      const found = texts.map((text) => new RegExp(pattern, "u").test(text));
      let ours: boolean[];
      try {
        const grammar = compileSchema({ type: "string", pattern });
        ours = texts.map((text) => has(grammar, JSON.stringify(text)));
      } catch (error) {
        expect((error as Error).message).toMatch(/no text can fit/);
        ours = texts.map(() => false);
      }
      expect(ours, pattern).toEqual(found);
    });
    fc.assert(check, { numRuns: THOROUGH ? 3000 : 60 });
  });

  it("holds many multiples within its limits", () => {
    const price = { type: "integer", minimum: 0, multipleOf: 100 };
    const names = Array.from({ length: 20 }, (_, i) => `p${i}`);
    const grammar = compileSchema({ type: "object", properties: Object.fromEntries(names.map((name) => [name, price])), required: names });
    const textOf = (last: number): string => JSON.stringify(Object.fromEntries(names.map((name, i) => [name, i < 19 ? 100 * i : last])));
    expect([0, 1_234_500, -100, 150].map((last) => has(grammar, textOf(last)))).toEqual([true, true, false, false]);
  });

  it("has properties in the schema's order, and others only where it says so", () => {
    const properties = { b: { type: "integer" }, a: { type: "null" } };
    const strict = compileSchema({ type: "object", properties, required: ["b"] });
    for (const text of ['{"b":1}', '{"b": 1, "a": null}', '{"b":1,"a":null}']) expect(has(strict, text), text).toBe(true);
    for (const text of ["{}", '{"a":null,"b":1}', '{"b":1,"c":2}', '{"b":  1}', '{ "b":1}', '{"b":1,}'])
      expect(has(strict, text), text).toBe(false);
    const open = compileSchema({ type: "object", properties, additionalProperties: { type: "boolean" }, maxProperties: 3 });
    for (const text of ["{}", '{"c":true}', '{"b":1,"a":null,"é":false}', '{"b1":true}']) expect(has(open, text), text).toBe(true);
    for (const text of ['{"c":1}', '{"b":true}', '{"\\u0062":true}', '{"a":null,"b":1}', '{"c":true,"a":null}'])
      expect(has(open, text), text).toBe(false);
    const proto = compileSchema(JSON.parse('{"type":"object","properties":{"__proto__":{"const":1}},"required":["__proto__"]}'));
    expect(has(proto, '{"__proto__":1}')).toBe(true);
  });

  it("combines what $ref, allOf and anyOf say", () => {
    const base = { type: "object", properties: { kind: { enum: ["a", "b"] } }, required: ["kind"] };
    const grammar = compileSchema({ $ref: "#/$defs/x", properties: { n: { type: "integer" } }, required: ["n"], $defs: { x: base } });
    expect(has(grammar, '{"n":1,"kind":"a"}')).toBe(true);
    expect(has(grammar, '{"kind":"a"}')).toBe(false);
    const narrowed = compileSchema({ allOf: [base, { properties: { kind: { const: "b" } } }] });
    expect(has(narrowed, '{"kind":"b"}')).toBe(true);
    expect(has(narrowed, '{"kind":"a"}')).toBe(false);
    const $defs = { a: base, b: { type: "object", properties: { n: { type: "integer" } }, required: ["n"] } };
    const inherited = compileSchema({ allOf: [{ $ref: "#/$defs/a" }, { $ref: "#/$defs/b" }], $defs });
    expect(has(inherited, '{"kind":"a","n":1}')).toBe(true);
    expect(has(inherited, '{"kind":"a"}')).toBe(false);
    expect(has(compileSchema({ required: ["x"] }), '{"x":[null]}')).toBe(true);
    const either = compileSchema({ type: "string", anyOf: [{ maxLength: 1 }, { pattern: "^x+$" }] });
    expect([has(either, '"y"'), has(either, '"xxx"'), has(either, '"yy"')]).toEqual([true, true, false]);
    const tagged = (tag: string) => ({ type: "object", properties: { t: { const: tag }, v: { type: "integer" } }, required: ["t"] });
    expect(has(compileSchema({ oneOf: [tagged("a"), tagged("b")] }), '{"t":"b","v":3}')).toBe(true);
  });

  const refusals: [schema: unknown, message: RegExp][] = [
    [
      { type: "array", items: { type: "string", uniqueItems: 1, contains: {} } },
      /^the schema at #\/items\/contains is the keyword "contains", which is not supported/,
    ],
    [{ properties: { "a/b": { not: {} } } }, /#\/properties\/a~1b\/not/],
    [{ if: {}, else: {} }, /#\/if/],
    [{ patternProperties: {} }, /#\/patternProperties/],
    [{ type: "array", uniqueItems: true }, /#\/uniqueItems is not supported/],
    [{ type: "array", items: [{}] }, /#\/items .*prefixItems/],
    [{ type: "strin" }, /#\/type must be one or more of/],
    [{ type: "string", format: "iri" }, /#\/format is "iri", but only/],
    [{ type: "string", pattern: "(?=a)" }, /#\/pattern has lookaround/],
    [{ type: "string", pattern: "(a)\\1" }, /has \\1, which is not supported/],
    [{ type: "string", pattern: "\\bx" }, /has \\b, which/],
    [{ type: "string", pattern: "\\p{L}" }, /has \\p, which/],
    [{ type: "string", pattern: "(" }, /#\/pattern is no regular expression/],
    [{ type: "string", pattern: "(?:(?:a|b)*a(?:a|b){30})" }, /needs more than \d+ (?:states|steps)/],
    [{ type: "string", pattern: "(?:(?:.{999}){999}){999}" }, /needs more than \d+ parts/],
    [{ type: "string", pattern: "(".repeat(100) + ")".repeat(100) }, /groups in each other/],
    [{ type: "string", pattern: "a".repeat(5000) }, /has 5000 characters/],
    [{ type: "string", minLength: 3, maxLength: 2 }, /no text can fit the schema/],
    [{ type: "string", minLength: -1 }, /#\/minLength must be a whole number/],
    [{ type: "number", multipleOf: 0.01 }, /#\/multipleOf is 0.01, but only whole numbers/],
    [{ type: "number", minimum: "1" }, /#\/minimum must be a number/],
    [{ enum: [] }, /no text can fit/],
    [{ enum: [[1]], type: "array", minItems: 1 }, /#\/minItems can't be combined with enum/],
    [{ enum: 1 }, /#\/enum must be a list/],
    [{ $ref: "other.json" }, /only those into the schema itself/],
    [{ allOf: [{ $ref: "#/$defs/x" }], $defs: { x: { $ref: "#/$defs/x", maxLength: 1 } } }, /nested more than 64 levels/],
    [{ $ref: "#/$defs/x" }, /"#\/\$defs\/x", where the schema has nothing/],
    [{ $ref: "#" }, /begins with itself|no text can fit/],
    [{ type: "object", properties: { a: { $ref: "#" } }, required: ["a"] }, /no text can fit the schema/],
    [{ oneOf: [{ type: "string" }, { maxLength: 2 }] }, /both of its schemas 0 and 1/],
    [{ oneOf: [{ type: "integer" }, { type: "number" }] }, /both of its schemas/],
    [{ allOf: [{ pattern: "a" }, { pattern: "b" }] }, /another pattern/],
    [{ allOf: [{ properties: { a: {} }, additionalProperties: false }, { properties: { b: {} } }] }, /additionalProperties/],
    [{ type: "object", minProperties: 1 }, /#\/minProperties/],
    [{ type: "array", items: {}, minItems: 1e9 }, /#\/minItems is 1000000000, but the limit/],
    [{ oneOf: Array.from({ length: 300 }, (_, i) => ({ const: i })) }, /#\/oneOf has 300 schemas/],
    [{ enum: [JSON.parse("[".repeat(400) + "]".repeat(400))] }, /JSON is nested more than 256 levels/],
    [{ enum: ["aa"], pattern: "(?:(?:a|b)*a(?:a|b){30})" }, /the schema at # needs more than/],
    [false, /no text can fit/],
    [undefined, /must be an object of JSON Schema/],
    [3, /must be an object or a boolean, not 3/],
    [{ description: "x".repeat(300_000) }, /has \d+ characters, but the limit/],
    [
      Array.from({ length: 100 }).reduce<object>((inner) => ({ type: "array", items: inner, minItems: 1 }), {}),
      /nested more than \d+ levels/,
    ],
    [{ properties: { a: { properties: { a: { anyOf: [] } } } } }, /#\/properties\/a\/properties\/a has anyOf, which must be a list/],
  ];
  it.each(refusals)("refuses %j", (schema, message) => {
    expect(() => compileSchema(schema)).toThrow(
      expect.objectContaining({ name: "BitnetError", code: "usage", message: expect.stringMatching(message) }),
    );
  });

  it("says of anything, in words, why it is no schema", () => {
    const keyword = fc.constantFrom(
      "type",
      "enum",
      "const",
      "anyOf",
      "oneOf",
      "allOf",
      "$ref",
      "minLength",
      "pattern",
      "format",
      "minimum",
      "multipleOf",
    );
    const other = fc.constantFrom(
      "properties",
      "required",
      "additionalProperties",
      "items",
      "prefixItems",
      "minItems",
      "maxItems",
      "minProperties",
    );
    const { value } = fc.letrec<{ value: unknown }>((tie) => ({
      value: fc.oneof(
        { maxDepth: 3, depthIdentifier: "value" },
        fc.constantFrom("string", "object", "array", "#", "date", "^a+$", "(", 0, 1, -1, 2.5, true, null, 1e300),
        fc.array(tie("value"), { maxLength: 2 }),
        fc.dictionary(fc.oneof(keyword, other), tie("value"), { maxKeys: 4 }),
      ),
    }));
    const check = fc.property(fc.dictionary(fc.oneof(keyword, other), value, { maxKeys: 4 }), (schema) => {
      try {
        compileSchema(schema);
      } catch (error) {
        expect(error, String((error as Error).stack)).toBeInstanceOf(BitnetError);
      }
    });
    fc.assert(check, { numRuns: THOROUGH ? 20_000 : 300 });
  });

  it("refuses what is no JSON", () => {
    const circle: Record<string, unknown> = { type: "object" };
    circle.properties = { a: circle };
    expect(() => compileSchema(circle)).toThrow(/the schema is not JSON: Converting circular/);
    expect(() => compileSchema({ const: 1n })).toThrow(/the schema is not JSON/);
  });

  it("ends answers that nest as deep as they may", () => {
    const tree = { type: "array", items: { $ref: "#" }, minItems: 1 };
    const matcher = new Matcher(compileSchema({ anyOf: [tree, { type: "null" }] }), trie);
    let place = matcher.start();
    let depth = 0;
    for (let next: typeof place | undefined = place; next !== undefined; next = matcher.step(place, 0x5b)) {
      place = next;
      if (++depth > 1000) break;
    }
    expect(depth).toBeGreaterThan(60);
    expect(depth).toBeLessThan(200);
    expect(answerOf(matcher, () => 0.999).isWhole).toBe(true);
    expect(idsOf(matcher.mask(place)).map((id) => tokenizer.textOf(id))).toEqual(expect.arrayContaining(["n"]));
  });
});
