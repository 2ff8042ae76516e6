import { quote, show } from "../container/quote.js";
import { BitnetError } from "../errors.js";
import { accepts, buildAutomaton } from "./automaton.js";
import { both, choice, type Expression, never, nothing, optional, repeat, rule, sequence, text, without } from "./expression.js";
import { formatPatterns } from "./formats.js";
import { compileRules, type Grammar, type Rule } from "./grammar.js";
import { anyInteger, anyNumber, type Bounds, integersIn, multiplesOf, numbersIn } from "./json-number.js";
import { jsonCharacters, jsonString, plainString, quoted } from "./json-text.js";
import { Budget, grammarLimits } from "./limits.js";
import { PatternError, patternTexts } from "./pattern.js";
import {
  canonical,
  isAnnotation,
  isKnown,
  isObject,
  type SchemaObject,
  type TypeName,
  typeKeywords,
  typeNames,
  typeOf,
} from "./schema-keywords.js";

/** Multiples of larger numbers have automata that are too large. */
const MOST_DIVISOR = 4096;

/**
 * The texts that are valid JSON under a schema (JSON Schema 2020-12), or some of them: properties come in the schema's order, at most one space
 * follows a colon or a comma, numbers have at most 15 digits. A schema that says nothing of an object's further properties, or an array's further
 * items, gets none where it names some.
 * @param schema any JSON value; what can't be held to is refused
 * @throws BitnetError usage: it names the keyword and where it is
 */
export function compileSchema(schema: unknown): Grammar {
  const rules: Rule[] = [];
  readSchema(schema, rules, "the schema");
  return compileRules(rules);
}

/**
 * Adds the rules of a schema to others. Returns what stands for its texts: its first rule.
 * @param subject what it is called in messages
 * @throws BitnetError usage
 */
export function readSchema(schema: unknown, rules: Rule[], subject: string): Expression {
  return new SchemaReader(JSON.parse(schemaText(schema)), rules, subject).whole;
}

/**
 * The schema as JSON: a caller's object may have a prototype, circles, getters.
 * @throws BitnetError usage: it is none, or too long or deep
 */
export function schemaText(schema: unknown): string {
  let json: string | undefined;
  try {
    json = JSON.stringify(schema);
  } catch (cause) {
    throw new BitnetError("usage", `the schema is not JSON: ${(cause as Error).message.split("\n")[0]}`, {}, { cause });
  }
  if (json === undefined) throw new BitnetError("usage", `the schema must be an object of JSON Schema, not ${show(schema)}`);
  if (json.length > grammarLimits.source) {
    throw new BitnetError("usage", `the schema has ${json.length} characters, but the limit is ${grammarLimits.source}`);
  }
  let depth = 0;
  for (const [bracket] of json.matchAll(/"(?:[^"\\]|\\.)*"|[[{}\]]/g)) {
    if (bracket === "{" || bracket === "[") depth++;
    else if (bracket === "}" || bracket === "]") depth--;
    if (depth > MOST_LEVELS) throw new BitnetError("usage", `the schema's JSON is nested more than ${MOST_LEVELS} levels deep`);
  }
  return json;
}

/** Levels of a schema's JSON: some for each subschema in another one. */
const MOST_LEVELS = 4 * grammarLimits.nesting;
/** Alternatives of oneOf: each is compared with all others. */
const MOST_ALTERNATIVES = 256;

/** Characters of a string that has a maximum, and items or properties where there is one, at most: a higher maximum is lowered to it. */
const MOST_CHARACTERS = 2 ** 20;
const MOST_ITEMS = 2 ** 13;
/** A maximum as far as it can be held to; undefined: there is none. */
const atMost = (maximum: number | undefined, limit: number): number => (maximum === undefined ? Infinity : Math.min(maximum, limit));

/** Where a value may have a space: behind a colon or a comma. */
const space = optional(text(" "));
const comma = sequence(text(","), space);
const [open, close, openList, closeList] = [text("{"), text("}"), text("["), text("]")];

/** Reads a schema into rules. */
class SchemaReader {
  /** The rule of all of it. */
  readonly whole: Expression;
  readonly #rules: Rule[];
  readonly #subject: string;
  readonly #root: unknown;
  /** Rules by what they are of: a reference, or the canonical form of a string's keywords. */
  readonly #known = new Map<string, Expression>();
  /** Of what the values listed are checked by. */
  readonly #budget = new Budget();
  #depth = 0;
  #read = 0;

  constructor(root: unknown, rules: Rule[], subject: string) {
    this.#root = root;
    this.#rules = rules;
    this.#subject = subject;
    const index = rules.push({ name: subject, expression: never }) - 1;
    const expression = this.#reference("#", "#");
    rules[index] = { name: subject, expression };
    this.whole = rule(index);
  }

  #refuse(at: string, message: string): never {
    throw new BitnetError("usage", `${this.#subject} at ${inText(at)} ${message}`);
  }

  /** A rule by its key, known before it is read: it may contain itself. */
  #shared(key: string, at: string, read: () => Expression): Expression {
    return this.#known.get(key) ?? this.#rule(at, read, key);
  }

  /** A new rule: what is nested in others is one, so that its texts are followed once for all places where they can be. */
  #rule(at: string, read: () => Expression, key?: string): Expression {
    const index = this.#rules.push({ name: `${this.#subject} at ${inText(at)}`, expression: never }) - 1;
    const made = rule(index);
    if (key !== undefined) this.#known.set(key, made);
    this.#rules[index] = { ...this.#rules[index]!, expression: read() };
    return made;
  }

  /** The schema at a reference. */
  #reference(reference: string, at: string): Expression {
    const target = this.#resolve(reference, at);
    return this.#shared(`$ref ${pathOf(reference)}`, reference, () => this.#schema(target, reference));
  }

  #resolve(reference: unknown, at: string): unknown {
    if (typeof reference !== "string") this.#refuse(at, `has a $ref that is no string, but ${show(reference)}`);
    if (!/^#(?:\/.*)?$/s.test(reference)) {
      this.#refuse(at, `has the $ref ${quote(reference)}, but only those into the schema itself are supported, such as "#/$defs/name"`);
    }
    let target: unknown = this.#root;
    for (const part of partsOf(reference)) {
      const holds = typeof target === "object" && target !== null && Object.hasOwn(target, part);
      if (!holds) this.#refuse(at, `has the $ref ${quote(reference)}, where the schema has nothing`);
      target = (target as Record<string, unknown>)[part];
    }
    return target;
  }

  #schema(schema: unknown, at: string): Expression {
    if (++this.#read > grammarLimits.rules) {
      this.#refuse(at, `has more than ${grammarLimits.rules} parts with those before it, which is the limit`);
    }
    if (++this.#depth > grammarLimits.nesting) this.#refuse(at, `is nested more than ${grammarLimits.nesting} levels deep`);
    const expression = this.#unlimited(schema, at);
    this.#depth--;
    return expression;
  }

  #unlimited(schema: unknown, at: string): Expression {
    if (schema === true) return this.#anyValue();
    if (schema === false) return never;
    if (!isObject(schema)) this.#refuse(at, `must be an object or a boolean, not ${show(schema)}`);
    const { keywords, isPlainReference } = this.#keywordsOf(schema, at);
    if (isPlainReference) return this.#reference(schema.$ref as string, at);
    const { $ref, allOf, anyOf, oneOf, ...base } = keywords;
    if ($ref !== undefined || allOf !== undefined) return this.#merged(base, keywords, at);
    if (anyOf !== undefined && oneOf !== undefined) this.#refuse(at, "has both anyOf and oneOf, which is not supported");
    const branches = anyOf ?? oneOf;
    if (branches === undefined) return this.#values(base, at);
    const word = anyOf === undefined ? "oneOf" : "anyOf";
    if (!Array.isArray(branches) || branches.length === 0) this.#refuse(at, `has ${word}, which must be a list of schemas`);
    if (oneOf !== undefined) this.#requireDisjoint(branches, at);
    return choice(
      ...branches.map((branch, index) => {
        const place = `${at}/${word}/${index}`;
        return Object.keys(base).length === 0 ? this.#schema(branch, place) : this.#schema(this.#both(base, branch, place), place);
      }),
    );
  }

  /** The keywords that say something; whatever isn't known is refused. */
  #keywordsOf(schema: SchemaObject, at: string): { keywords: SchemaObject; isPlainReference: boolean } {
    const keywords: Record<string, unknown> = {};
    for (const [keyword, value] of Object.entries(schema)) {
      if (isAnnotation(keyword)) continue;
      if (!isKnown(keyword))
        this.#refuse(`${at}/${escapePart(keyword)}`, `is the keyword ${quote(keyword)}, which is not supported: an answer could break it`);
      keywords[keyword] = value;
    }
    return { keywords, isPlainReference: keywords.$ref !== undefined && Object.keys(keywords).length === 1 };
  }

  /** A schema with what its $ref and allOf add to it. */
  #merged(base: SchemaObject, { $ref, allOf, anyOf, oneOf }: SchemaObject, at: string): Expression {
    let all: SchemaObject = { ...base, ...(anyOf !== undefined && { anyOf }), ...(oneOf !== undefined && { oneOf }) };
    if ($ref !== undefined) all = this.#both(all, this.#resolve($ref, at), `${at}/$ref`);
    if (allOf !== undefined) {
      if (!Array.isArray(allOf)) this.#refuse(at, "has allOf, which must be a list of schemas");
      allOf.forEach((part, index) => {
        all = this.#both(all, part, `${at}/allOf/${index}`);
      });
    }
    return this.#schema(all, at);
  }

  /** One schema for two that must both hold. @param at where the second is */
  #both(first: SchemaObject, second: unknown, at: string): SchemaObject {
    if (second === true) return first;
    if (second === false) return { enum: [] };
    if (!isObject(second)) this.#refuse(at, `must be an object or a boolean, not ${show(second)}`);
    const { $ref, ...keywords } = this.#keywordsOf(second, at).keywords;
    if ($ref !== undefined) {
      if (++this.#depth > grammarLimits.nesting) this.#refuse(at, `is nested more than ${grammarLimits.nesting} levels deep`);
      const all = this.#both(this.#both(first, this.#resolve($ref, at), `${at}/$ref`), keywords, at);
      this.#depth--;
      return all;
    }
    const all: Record<string, unknown> = { ...first };
    for (const [keyword, value] of Object.entries(keywords)) {
      const before = all[keyword];
      all[keyword] = before === undefined || canonical(before) === canonical(value) ? value : this.#bothOf(keyword, before, value, at);
    }
    const shapes = ["properties", "additionalProperties"];
    const isClosed = [first, keywords].some(({ additionalProperties = true }) => additionalProperties !== true);
    if (isClosed && [first, keywords].every((one) => shapes.some((shape) => one[shape] !== undefined))) {
      this.#refuse(
        at,
        "is combined with another one that has properties too, and one of them has additionalProperties, which is not supported",
      );
    }
    return all;
  }

  /** A keyword's value where two must hold. */
  #bothOf(keyword: string, before: unknown, value: unknown, at: string): unknown {
    const isNumbers = typeof before === "number" && typeof value === "number";
    if (isNumbers && /^(?:min|exclusiveMin)/.test(keyword)) return Math.max(before, value);
    if (isNumbers && /^(?:max|exclusiveMax)/.test(keyword)) return Math.min(before, value);
    if (keyword === "required" && Array.isArray(before) && Array.isArray(value)) return [...new Set([...before, ...value])];
    if (keyword === "allOf" && Array.isArray(before) && Array.isArray(value)) return [...before, ...value];
    if (keyword === "enum" && Array.isArray(before) && Array.isArray(value)) {
      const texts = new Set(value.map(canonical));
      return before.filter((one) => texts.has(canonical(one)));
    }
    if (keyword === "type") {
      const [a, b] = [before, value].map((one) => this.#types(one, at));
      const common = a!.filter((type) => b!.includes(type) || (type === "integer" && b!.includes("number")));
      return [...new Set([...common, ...b!.filter((type) => type === "integer" && a!.includes("number"))])];
    }
    if (keyword === "properties" && isObject(before) && isObject(value)) {
      const all: Record<string, unknown> = { ...before };
      for (const [name, schema] of Object.entries(value)) {
        const own = Object.hasOwn(all, name) ? { allOf: [all[name], schema] } : schema;
        Object.defineProperty(all, name, { value: own, enumerable: true, configurable: true, writable: true }); // a name may be __proto__
      }
      return all;
    }
    return this.#refuse(at, `has another ${keyword} than what it is combined with, which is not supported`);
  }

  /** Alternatives of which more than one can hold would need a value that fits just one of them. */
  #requireDisjoint(branches: readonly unknown[], at: string): void {
    if (branches.length > MOST_ALTERNATIVES) {
      this.#refuse(`${at}/oneOf`, `has ${branches.length} schemas, but the limit is ${MOST_ALTERNATIVES}`);
    }
    const shapes = branches.map((branch, index) => this.#shapeOf(branch, `${at}/oneOf/${index}`, 0));
    for (const [i, a] of shapes.entries()) {
      for (const [j, b] of shapes.slice(0, i).entries()) {
        if (areDisjoint(a, b)) continue;
        this.#refuse(
          at,
          `has oneOf, and a value may fit both of its schemas ${j} and ${i}: use anyOf, or give them different types, or a required property with a const of its own`,
        );
      }
    }
  }

  /** What is quickly seen of which values a schema allows. */
  #shapeOf(schema: unknown, at: string, depth: number): Shape {
    if (!isObject(schema) || depth > grammarLimits.nesting) return {};
    if (schema.$ref !== undefined) return this.#shapeOf(this.#resolve(schema.$ref, at), at, depth + 1);
    const values = valuesOf(schema);
    const types = values?.map(typeOf) ?? (schema.type === undefined ? undefined : this.#types(schema.type, at));
    const tags = new Map<string, ReadonlySet<string>>();
    if (isObject(schema.properties) && Array.isArray(schema.required)) {
      for (const name of schema.required) {
        const property = Object.hasOwn(schema.properties, name) ? schema.properties[name] : undefined;
        const tag = isObject(property) ? valuesOf(property)?.map(canonical) : undefined;
        if (tag !== undefined) tags.set(name, new Set(tag));
      }
    }
    return { types: types && new Set(types), values: values && new Set(values.map(canonical)), tags };
  }

  #types(type: unknown, at: string): TypeName[] {
    const list: unknown[] = Array.isArray(type) ? type : [type];
    const names: readonly unknown[] = typeNames;
    const bad = list.findIndex((one) => !names.includes(one));
    if (bad >= 0) this.#refuse(`${at}/type`, `must be one or more of ${typeNames.join(", ")}, not ${show(list[bad])}`);
    return list as TypeName[];
  }

  /** A schema without references and combinations. */
  #values(schema: SchemaObject, at: string): Expression {
    const listed = valuesOf(schema);
    if (schema.enum !== undefined && !Array.isArray(schema.enum)) this.#refuse(`${at}/enum`, `must be a list, not ${show(schema.enum)}`);
    const types = schema.type === undefined ? impliedTypes(schema) : this.#types(schema.type, at);
    if (listed !== undefined) return this.#listed(listed, schema, types, at);
    const isWhole = !types.includes("number") && types.includes("integer");
    const options = types.flatMap((type): Expression[] => {
      if (type === "string") return [this.#string(schema, at)];
      if (type === "number") return [this.#number(schema, false, at)];
      if (type === "integer") return isWhole ? [this.#number(schema, true, at)] : [];
      if (type === "boolean") return [text("true"), text("false")];
      if (type === "null") return [text("null")];
      return [type === "object" ? this.#object(schema, at) : this.#array(schema, at)];
    });
    return options.length === 1 ? options[0]! : choice(...options);
  }

  /** Those of the values listed that the other keywords allow. */
  #listed(values: readonly unknown[], schema: SchemaObject, types: readonly TypeName[], at: string): Expression {
    const fits = new Map<TypeName, (value: unknown) => boolean>();
    const check = (value: unknown): boolean => {
      const type = typeOf(value);
      if (schema.type !== undefined && !types.includes(type) && !(type === "integer" && types.includes("number"))) return false;
      const isFit = fits.get(type) ?? this.#fitOf(type, schema, at);
      fits.set(type, isFit);
      return isFit(value);
    };
    return choice(...values.filter(check).map((value) => text(JSON.stringify(value))));
  }

  /** Whether a value of a type has what the keywords of its type ask for. */
  #fitOf(type: TypeName, schema: SchemaObject, at: string): (value: unknown) => boolean {
    const kind = type === "integer" ? "number" : type;
    const keywords = kind === "boolean" || kind === "null" ? [] : typeKeywords[kind];
    const asked = keywords.filter((keyword) => schema[keyword] !== undefined);
    if (asked.length === 0) return () => true;
    if (kind !== "string" && kind !== "number") {
      this.#refuse(`${at}/${asked[0]}`, "can't be combined with enum or const, which list whole values");
    }
    const expression = kind === "string" ? this.#stringOf(schema, at, true) : this.#numberOf(schema, type === "integer", at);
    this.#budget.subject = `${this.#subject} at ${inText(at)}`;
    const automaton = buildAutomaton(expression, this.#budget);
    return (value) => accepts(automaton, JSON.stringify(value));
  }

  /** Any JSON. */
  #anyValue(): Expression {
    return this.#shared("any", "#", () =>
      choice(
        this.#string({}, "#"),
        this.#number({}, false, "#"),
        this.#object({}, "#"),
        this.#array({}, "#"),
        text("true"),
        text("false"),
        text("null"),
      ),
    );
  }

  #string(schema: SchemaObject, at: string): Expression {
    const { minLength = 0, maxLength, pattern, format } = schema;
    return this.#shared(`string ${canonical([minLength, maxLength ?? null, pattern ?? null, format ?? null])}`, at, () =>
      this.#stringOf(schema, at, false),
    );
  }

  /** @param isPlain in the one way in which JSON.stringify writes it */
  #stringOf(schema: SchemaObject, at: string, isPlain: boolean): Expression {
    const least = this.#count(schema, "minLength", at) ?? 0;
    const most = this.#count(schema, "maxLength", at) ?? Infinity;
    if (least > most) return never;
    if (least > MOST_CHARACTERS) this.#refuse(`${at}/minLength`, `is ${least}, but the limit is ${MOST_CHARACTERS}`);
    const { pattern, format } = schema;
    const isFree = pattern === undefined && format === undefined;
    const conditions: Expression[] = [];
    if (pattern !== undefined) {
      if (typeof pattern !== "string") this.#refuse(`${at}/pattern`, `must be a string, not ${show(pattern)}`);
      conditions.push(this.#pattern(pattern, `${at}/pattern`));
    }
    if (format !== undefined) {
      if (typeof format !== "string" || !Object.hasOwn(formatPatterns, format)) {
        const known = Object.keys(formatPatterns).join(", ");
        this.#refuse(`${at}/format`, `is ${show(format)}, but only these formats are supported: ${known}`);
      }
      conditions.push(this.#pattern(`^(?:${formatPatterns[format]})$`, `${at}/format`));
    }
    if (isFree)
      return isPlain
        ? plainString(least, most)
        : jsonString(least, most === Infinity && least === 0 ? Infinity : Math.min(most, MOST_CHARACTERS));
    if (least > 0 || most < Infinity) conditions.push(plainString(least, most));
    return conditions.reduce(both);
  }

  #pattern(pattern: string, at: string): Expression {
    try {
      return quoted(patternTexts(pattern, jsonCharacters));
    } catch (error) {
      if (error instanceof PatternError) this.#refuse(at, error.message);
      throw error;
    }
  }

  /** A keyword's whole number, if it is there. */
  #count(schema: SchemaObject, keyword: string, at: string): number | undefined {
    const value = schema[keyword];
    if (value === undefined) return undefined;
    if (typeof value !== "number" || !Number.isInteger(value) || value < 0) {
      this.#refuse(`${at}/${keyword}`, `must be a whole number of at least 0, not ${show(value)}`);
    }
    return value;
  }

  #number(schema: SchemaObject, isWhole: boolean, at: string): Expression {
    const key = typeKeywords.number.map((keyword) => schema[keyword] ?? null);
    return this.#shared(`number ${isWhole} ${canonical(key)}`, at, () => this.#numberOf(schema, isWhole, at));
  }

  #numberOf(schema: SchemaObject, isWhole: boolean, at: string): Expression {
    const bound = (keyword: (typeof typeKeywords.number)[number]): number | undefined => {
      const value = schema[keyword];
      if (value === undefined || (typeof value === "number" && Number.isFinite(value))) return value;
      return this.#refuse(`${at}/${keyword}`, `must be a number, not ${show(value)}`);
    };
    const [minimum, maximum] = [bound("minimum") ?? -Infinity, bound("maximum") ?? Infinity];
    const [above, below] = [bound("exclusiveMinimum") ?? -Infinity, bound("exclusiveMaximum") ?? Infinity];
    const bounds: Bounds = {
      least: Math.max(minimum, above),
      isLeastExcluded: above >= minimum && above > -Infinity,
      most: Math.min(maximum, below),
      isMostExcluded: below <= maximum && below < Infinity,
    };
    const multiple = bound("multipleOf");
    const isFree = bounds.least === -Infinity && bounds.most === Infinity;
    if (multiple === undefined) {
      if (isFree) return isWhole ? anyInteger : anyNumber;
      return isWhole ? integersIn(bounds) : numbersIn(bounds);
    }
    if (!(Number.isInteger(multiple) && multiple >= 1 && multiple <= MOST_DIVISOR)) {
      this.#refuse(
        `${at}/multipleOf`,
        `is ${show(multiple)}, but only whole numbers from 1 to ${MOST_DIVISOR} are supported: validators divide, and rounding makes them refuse most multiples of a fraction`,
      );
    }
    return both(isFree ? anyInteger : integersIn(bounds), multiplesOf(multiple));
  }

  #object(schema: SchemaObject, at: string): Expression {
    const { properties = {}, required = [] } = schema;
    if (!isObject(properties)) this.#refuse(`${at}/properties`, `must be an object, not ${show(properties)}`);
    if (!Array.isArray(required) || required.some((name) => typeof name !== "string")) {
      this.#refuse(`${at}/required`, `must be a list of names, not ${show(required)}`);
    }
    const names = [...new Set([...Object.keys(properties), ...(required as string[])])];
    const needed = new Set<string>(required);
    // Nothing said of any property: any object. Something said, and nothing of others: no others.
    const others = schema.additionalProperties ?? names.length === 0;
    const least = this.#count(schema, "minProperties", at) ?? 0;
    const most = atMost(this.#count(schema, "maxProperties", at), MOST_ITEMS);
    if (least > needed.size) {
      this.#refuse(
        `${at}/minProperties`,
        `is ${least}, but only ${needed.size} properties are required, and others may be left out: put their names in required`,
      );
    }
    const isOpen = others !== false;
    if (most < names.length) {
      this.#refuse(`${at}/maxProperties`, `is ${most}, but the schema names ${names.length} properties, which is not supported`);
    }
    return this.#rule(at, () => {
      const items = names.map((name) => {
        const own = Object.hasOwn(properties, name) ? this.#schema(properties[name], `${at}/properties/${escapePart(name)}`) : undefined;
        const value = own ?? this.#schema(schema.additionalProperties ?? true, `${at}/additionalProperties`);
        return { body: sequence(text(`${JSON.stringify(name)}:`), space, value), optional: !needed.has(name) };
      });
      const more = isOpen ? this.#further(names, others, at) : undefined;
      return sequence(open, { kind: "list", items, more, most: most - names.length, separator: comma }, close);
    });
  }

  /** A property that has none of the names. */
  #further(names: readonly string[], schema: unknown, at: string): Expression {
    const taken = names.map((name) => JSON.stringify(name)).toSorted();
    const key = this.#shared(`key ${taken.join()}`, `${at}/additionalProperties`, () => {
      const any = plainString(0, Infinity);
      return taken.length === 0 ? any : without(any, choice(...taken.map(text)));
    });
    return sequence(key, text(":"), space, this.#schema(schema, `${at}/additionalProperties`));
  }

  #array(schema: SchemaObject, at: string): Expression {
    const { prefixItems = [], uniqueItems = false } = schema;
    if (!Array.isArray(prefixItems)) this.#refuse(`${at}/prefixItems`, `must be a list of schemas, not ${show(prefixItems)}`);
    if (uniqueItems !== false) this.#refuse(`${at}/uniqueItems`, "is not supported: it needs a memory of all items");
    if (Array.isArray(schema.items)) this.#refuse(`${at}/items`, "is a list of schemas, which is called prefixItems since 2020");
    const least = this.#count(schema, "minItems", at) ?? 0;
    const most = atMost(this.#count(schema, "maxItems", at), MOST_ITEMS);
    if (least > MOST_ITEMS) this.#refuse(`${at}/minItems`, `is ${least}, but the limit is ${MOST_ITEMS}`);
    // As with properties: any items where nothing is said of them, and no others where some are described.
    const items = schema.items ?? (prefixItems.length === 0 || least > prefixItems.length);
    return this.#rule(at, () => {
      const item = items === false ? never : this.#schema(items, `${at}/items`);
      const isEndless = most === Infinity && items !== false;
      const count = isEndless ? Math.max(least, prefixItems.length) : items === false ? Math.min(most, prefixItems.length) : most;
      if (least > most || least > count) return never;
      const prefix = prefixItems.slice(0, count).map((one, index) => this.#schema(one, `${at}/prefixItems/${index}`));
      const parts: Expression[] = [...prefix, ...new Array<Expression>(count - prefix.length).fill(item)];
      const [first, ...rest] = parts.map((part, index) => (index === 0 ? part : sequence(comma, part)));
      const loop = isEndless ? sequence(comma, item) : undefined;
      let body: Expression = nothing;
      if (first !== undefined) body = sequence(first, { kind: "chain", parts: rest, least: Math.max(0, least - 1), loop });
      else if (loop !== undefined) body = sequence(item, repeat(loop, 0, Infinity));
      return sequence(openList, least > 0 ? body : choice(nothing, body), closeList);
    });
  }
}

/** What `oneOf` looks at; undefined: anything. */
interface Shape {
  readonly types?: ReadonlySet<TypeName> | undefined;
  /** In canonical form. */
  readonly values?: ReadonlySet<string> | undefined;
  /** Required properties with listed values. */
  readonly tags?: ReadonlyMap<string, ReadonlySet<string>>;
}

function areDisjoint(a: Shape, b: Shape): boolean {
  const haveNone = <T>(some: ReadonlySet<T>, others: ReadonlySet<T>): boolean => ![...some].some((one) => others.has(one));
  const kinds = (types: ReadonlySet<TypeName>): Set<TypeName> => new Set([...types].map((type) => (type === "integer" ? "number" : type)));
  if (a.types && b.types && haveNone(kinds(a.types), kinds(b.types))) return true;
  if (a.values && b.values && haveNone(a.values, b.values)) return true;
  if (![a, b].every(({ types }) => types && [...types].every((type) => type === "object"))) return false;
  return [...(a.tags ?? [])].some(([name, values]) => {
    const others = b.tags?.get(name);
    return others !== undefined && haveNone(values, others);
  });
}

/** The values that a schema lists, if it does. */
function valuesOf(schema: SchemaObject): readonly unknown[] | undefined {
  const list = Array.isArray(schema.enum) ? schema.enum : undefined;
  if (!Object.hasOwn(schema, "const")) return list;
  const text = canonical(schema.const);
  return list === undefined || list.some((value) => canonical(value) === text) ? [schema.const] : [];
}

/** The types that a schema without a type is about: those of its keywords, or all. */
function impliedTypes(schema: SchemaObject): TypeName[] {
  const implied = (["string", "number", "object", "array"] as const).filter((type) =>
    typeKeywords[type].some((keyword) => schema[keyword] !== undefined),
  );
  return implied.length > 0 ? implied : typeNames.filter((type) => type !== "integer");
}

/** Parts of a JSON pointer in a URI's fragment (RFC 6901). */
function partsOf(reference: string): string[] {
  const parts = reference.split("/").slice(1);
  return parts.map((part) => {
    let decoded = part;
    try {
      decoded = decodeURIComponent(part);
    } catch {
      // A lone % stands for itself.
    }
    return decoded.replaceAll("~1", "/").replaceAll("~0", "~");
  });
}

/** A reference in one form. */
const pathOf = (reference: string): string => JSON.stringify(partsOf(reference));

const escapePart = (name: string): string => name.replaceAll("~", "~0").replaceAll("/", "~1");

/** A pointer for a message: it may be long. */
const inText = (at: string): string => (/^[\w#/$.~-]{1,200}$/.test(at) ? at : quote(at));
