/** Random schemas of what is supported, and their judge. */
import { isIPv4, isIPv6 } from "node:net";
import { Ajv2020 } from "ajv/dist/2020.js";
import fc from "fast-check";

/** Formats as others have them: Node's own, or Date's. */
const isDate = (text: string): boolean =>
  /^\d{4}-\d\d-\d\d$/.test(text) && !Number.isNaN(Date.parse(text)) && new Date(text).toISOString().startsWith(text);
const isTime = (text: string): boolean =>
  /^\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/.test(text) && !Number.isNaN(Date.parse(`2000-01-01T${text}`));
const isHostname = (text: string): boolean =>
  text.length < 256 && text.split(".").every((label) => /^[a-z0-9-]{1,63}$/i.test(label) && !/^-|-$/.test(label));
const formats: Record<string, (text: string) => boolean> = {
  date: isDate,
  time: isTime,
  "date-time": (text) => isDate(text.slice(0, 10)) && text[10] === "T" && isTime(text.slice(11)),
  duration: (text) => /^P(?!$)(\d+W|(\d+Y)?(\d+M)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+S)?)?)$/.test(text),
  uuid: (text) => /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text),
  email: (text) => /^[^@\s]+@[^@\s]+\.[a-z]{2,}$/i.test(text) && isHostname(text.split("@")[1]!),
  hostname: isHostname,
  ipv4: isIPv4,
  ipv6: isIPv6,
  uri: (text) => /^[a-z][a-z0-9+.-]*:/i.test(text),
};

const ajv = new Ajv2020({ strict: false, allErrors: false, logger: false });
for (const [name, isValid] of Object.entries(formats)) ajv.addFormat(name, isValid);
/** What ajv says of values. */
export const validator = (schema: object): ((value: unknown) => boolean) => {
  const validate = ajv.compile(schema);
  ajv.removeSchema();
  return (value) => validate(value) as boolean;
};

const small = fc.integer({ min: -20, max: 20 });
export const bound = fc.oneof(
  small,
  fc.double({ min: -1000, max: 1000, noNaN: true }),
  fc.constantFrom(0.1, -0.5, 1e9, 1e-7, -1e15, 9007199254740991),
);
// Not __proto__: ajv leaves its schema out of account.
const name = fc.oneof(fc.constantFrom("a", "b", "name", "é", 'q"u\\o', "$ref"), fc.string({ maxLength: 4, unit: "grapheme" }));
const pattern = fc.constantFrom(
  "^(?<first>[A-Z])+[a-z][a-z]*$",
  "a",
  "^(foo|bar)+$",
  "\\d{3}",
  "^$",
  "[^a-z]",
  "^\\u{1F600}.",
  '"',
  "x$|^y",
  "\\s",
  "^(?:a|b$)c?$",
);
const some = <T extends Record<string, unknown>>(keywords: { [K in keyof T]: fc.Arbitrary<T[K]> }) =>
  fc.record(keywords, { requiredKeys: [] });

const strings = some({ minLength: fc.nat(6), maxLength: fc.integer({ min: 4, max: 300 }), title: fc.string() });
const patterned = some({ minLength: fc.nat(3), maxLength: fc.integer({ min: 3, max: 12 }), pattern });
export const numbers = some({ minimum: bound, maximum: bound, exclusiveMinimum: bound, exclusiveMaximum: bound });
const multiples = some({ multipleOf: fc.integer({ min: 1, max: 60 }), minimum: small, maximum: fc.integer({ min: 0, max: 5000 }) });
// Not with these names: ajv's comparison asks the values themselves for them.
export const json = (maxDepth: number) =>
  fc.jsonValue({ maxDepth }).filter((value) => !/"(constructor|toString|valueOf)":/.test(JSON.stringify(value)));
const scalar = fc.oneof(
  strings.map((keywords) => ({ type: "string", ...keywords })),
  patterned.map((keywords) => ({ type: "string", ...keywords })),
  fc.constantFrom(...Object.keys(formats)).map((format) => ({ type: "string", format })),
  numbers.map((keywords) => ({ type: "number", ...keywords })),
  numbers.map((keywords) => ({ type: "integer", ...keywords })),
  multiples.map((keywords) => ({ type: "integer", ...keywords })),
  fc.constantFrom(
    { type: "boolean" },
    { type: "null" },
    { type: ["string", "null"] },
    { type: ["number", "integer", "boolean"] },
    {},
    true,
  ),
  fc.record({ enum: fc.array(json(2), { minLength: 1, maxLength: 4 }) }),
  fc.record({ enum: fc.array(fc.oneof(small, fc.string()), { minLength: 1, maxLength: 9 }), minimum: small, minLength: fc.nat(3) }),
  fc.record({ const: json(1) }),
);

/** Schemas of what is supported, with references to themselves in places where a value may end. */
const { schema } = fc.letrec<{ schema: unknown }>((tie) => ({
  schema: fc.oneof(
    { maxDepth: 3, depthIdentifier: "schema" },
    { weight: 3, arbitrary: scalar },
    {
      weight: 3,
      arbitrary: fc
        .record({
          members: fc.uniqueArray(fc.tuple(name, tie("schema"), fc.boolean()), { maxLength: 4, selector: ([key]) => key }),
          others: fc.constantFrom(undefined, true, false, { type: "integer" }),
        })
        .map(({ members, others }) => ({
          type: "object",
          properties: Object.fromEntries(members.map(([key, value]) => [key, value])),
          required: members.filter(([, , isRequired]) => isRequired).map(([key]) => key),
          ...(others !== undefined && { additionalProperties: others }),
        })),
    },
    {
      weight: 2,
      arbitrary: some({
        items: tie("schema"),
        prefixItems: fc.array(tie("schema"), { minLength: 1, maxLength: 3 }),
        minItems: fc.nat(3),
        maxItems: fc.integer({ min: 2, max: 5 }),
      }).map((keywords) => ({ type: "array", ...keywords })),
    },
    { weight: 1, arbitrary: fc.array(tie("schema"), { minLength: 1, maxLength: 3 }).map((anyOf) => ({ anyOf })) },
    { weight: 1, arbitrary: fc.tuple(strings, numbers).map(([a, b]) => ({ allOf: [a, { type: ["string", "number"] }, b] })) },
    { weight: 1, arbitrary: fc.constantFrom({ $ref: "#/$defs/tree" }, { $ref: "#/$defs/node", description: "a node" }) },
    {
      weight: 1,
      arbitrary: fc.tuple(tie("schema"), tie("schema")).map(([a, b]) => ({
        oneOf: [
          { type: "array", items: a },
          { type: "object", properties: { b }, required: ["b"] },
        ],
      })),
    },
  ),
}));
const $defs = {
  tree: { type: "array", items: { anyOf: [{ $ref: "#/$defs/tree" }, { type: "integer" }] }, maxItems: 3 },
  node: {
    type: "object",
    properties: { value: { type: "string" }, next: { anyOf: [{ $ref: "#/$defs/node" }, { type: "null" }] } },
    required: ["value", "next"],
    additionalProperties: false,
  },
};
export const randomSchemas = schema.map((one) => ({ ...(one === true ? {} : (one as object)), $defs }));
