/** A schema's object, with its keywords. */
export type SchemaObject = Readonly<Record<string, unknown>>;

/** Keywords that say nothing about which values are valid (JSON Schema 2020-12, core and meta-data). */
const annotations = new Set(
  "$schema $id $comment $defs definitions title description default examples deprecated readOnly writeOnly contentEncoding contentMediaType contentSchema".split(
    " ",
  ),
);

/** Keywords by the type of the values that they are about. */
export const typeKeywords = {
  string: ["minLength", "maxLength", "pattern", "format"],
  number: ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"],
  object: ["properties", "required", "additionalProperties", "minProperties", "maxProperties"],
  array: ["items", "prefixItems", "minItems", "maxItems", "uniqueItems"],
} as const;

const general = ["type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref"];

const known = new Set<string>([...general, ...Object.values(typeKeywords).flat()]);

/** Whether a keyword changes nothing. */
export const isAnnotation = (keyword: string): boolean => annotations.has(keyword);

export const isKnown = (keyword: string): boolean => known.has(keyword);

export const typeNames = ["string", "number", "integer", "object", "array", "boolean", "null"] as const;
export type TypeName = (typeof typeNames)[number];

/** The type of a JSON value; a whole number's is "integer". */
export function typeOf(value: unknown): TypeName {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  if (typeof value === "number") return Number.isInteger(value) ? "integer" : "number";
  return typeof value as "string" | "object" | "boolean";
}

/** JSON of a value with the members of objects in order of their keys: equal values have the same. */
export function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value === 0 ? 0 : value);
  const members = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return `{${members.map(([key, member]) => `${JSON.stringify(key)}:${canonical(member)}`).join()}}`;
}

export const isObject = (value: unknown): value is SchemaObject => typeof value === "object" && value !== null && !Array.isArray(value);
