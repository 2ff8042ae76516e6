import { show } from "../container/quote.js";
import { BitnetError } from "../errors.js";
import type { ToolCallForm } from "../text/tool-calls/form.js";
import { type ArgumentSchemas, isPlainText } from "../text/tool-calls/tag-scanner.js";
import { characters, choice, type Expression, nothing, optional, otherThan, repeat, rule, sequence, text, without } from "./expression.js";
import { compileRules, type Grammar, type Rule } from "./grammar.js";
import { readSchema, schemaText } from "./json-schema.js";
import { grammarLimits } from "./limits.js";
import { isAnnotation, isObject, type SchemaObject } from "./schema-keywords.js";

/** A tool as OpenAI's API writes it; what else it has is for the chat template. */
export interface ToolDefinition {
  readonly type: "function";
  readonly function: {
    readonly name: string;
    readonly description?: string | null;
    /** JSON Schema of an object: the arguments. None: an empty object. */
    readonly parameters?: object | null;
    readonly [key: string]: unknown;
  };
}

/** Calls that an answer is held to. */
export interface CallsFormat {
  /** Each call is of one of these, with arguments under its schema. At least one, with names of their own. */
  readonly tools: readonly ToolDefinition[];
  /** Allow several calls, where the template's form does. Default false. */
  readonly several?: boolean;
  /** What may be in place of the calls: any text, which may also come before them, or JSON under a schema. Default: nothing. */
  readonly otherwise?: "text" | { readonly schema: unknown };
}

/** Tools of one format: OpenAI's limit. */
export const maxTools = 128;
/** Calls in one answer: a small model that is made to call may not find an end. */
const maxCalls = 32;

/** Whether it is what `format: { calls }` must be; the schemas are judged where they are compiled. */
export function isCallsFormat(value: unknown): boolean {
  if (!isObject(value)) return false;
  const { tools, several = false, otherwise = "text", ...others } = value;
  if (Object.keys(others).length > 0 || typeof several !== "boolean") return false;
  if (otherwise !== "text" && !(isObject(otherwise) && Object.keys(otherwise).join() === "schema")) return false;
  if (!Array.isArray(tools) || tools.length === 0 || tools.length > maxTools) return false;
  const isTool = (tool: unknown): boolean => {
    if (!isObject(tool) || tool.type !== "function" || !isObject(tool.function)) return false;
    const { name, parameters = null } = tool.function;
    return typeof name === "string" && name !== "" && (parameters === null || isObject(parameters));
  };
  return tools.every(isTool) && new Set((tools as readonly ToolDefinition[]).map((tool) => tool.function.name)).size === tools.length;
}

/** The tools' names and schemas. @throws BitnetError usage */
const readTools = ({ tools }: CallsFormat): { readonly name: string; readonly schema: SchemaObject }[] =>
  tools.map(({ function: { name, parameters } }) => {
    if (parameters === undefined || parameters === null) return { name, schema: { type: "object", additionalProperties: false } };
    const { type = "object" } = parameters as { readonly type?: unknown };
    if (type !== "object") {
      throw new BitnetError("usage", `the parameters of the tool ${show(name)} must be a schema of the type "object", not ${show(type)}`);
    }
    return { name, schema: { ...parameters, type } };
  });

/** The schemas of the tools' arguments, for the parser of their calls. */
export function argumentSchemas(tools: readonly ToolDefinition[]): ArgumentSchemas {
  return new Map(
    tools.map(({ function: { name, parameters } }) => {
      const properties = isObject(parameters) ? parameters.properties : undefined;
      return [name, isObject(properties) ? properties : {}];
    }),
  );
}

/** A format as a text, the same for the same answers. @throws BitnetError usage */
export function callsText(format: CallsFormat): string {
  const { several = false, otherwise } = format;
  const instead = typeof otherwise === "object" ? schemaText(otherwise.schema) : `${otherwise}`;
  return JSON.stringify([several, instead, readTools(format).map(({ name, schema }) => [name, schemaText(schema)])]);
}

const anyText = repeat(characters(otherThan([[0xd800, 0xdfff]])), 0, Infinity);
const anySpace = repeat(characters([..." \t\r\n"].map((space) => [space.charCodeAt(0), space.charCodeAt(0)])), 0, Infinity);

/**
 * Answers that are calls of these tools, as the template writes them, or text in which the parser finds none.
 * @throws BitnetError usage: a schema can't be held to
 */
export function compileCalls(form: ToolCallForm, format: CallsFormat): Grammar {
  const { argumentsKey, written } = form;
  const { before, behind, between } = written;
  const rules: Rule[] = [{ name: "the calls", expression: nothing }];
  const named = readTools(format).map(({ name, schema }) => {
    const subject = `the parameters of the tool ${show(name)}`;
    const own = argumentsKey === undefined ? tagsOf(name, schema, rules, subject) : jsonOf(name, schema, argumentsKey, rules, subject);
    if (rules.length > grammarLimits.rules) {
      throw new BitnetError("usage", `the parameters of the tools have more than ${grammarLimits.rules} parts, which is the limit`);
    }
    return own;
  });
  const call = rule(rules.push({ name: "a call", expression: sequence(text(before), choice(...named), text(behind)) }) - 1);
  const several = format.several === true && between !== undefined;
  const calls = several ? sequence(call, repeat(sequence(text(between), call), 0, maxCalls - 1)) : call;
  rules[0] = { name: "the calls", expression: withOther(form, calls, format, rules) };
  return compileRules(rules);
}

function jsonOf(name: string, schema: SchemaObject, argumentsKey: string, rules: Rule[], subject: string): Expression {
  return sequence(text(`{"name": ${JSON.stringify(name)}, "${argumentsKey}": `), readSchema(schema, rules, subject), text("}"));
}

/** Keywords of an object whose properties can be written as tags, besides those that say nothing. */
const TAGGED = new Set(["type", "properties", "required", "additionalProperties"]);
/** Parameters of a tool whose schema names none. */
const maxFreeParameters = 32;
const endOfValue = "</parameter>";
const freeValue = without(anyText, sequence(anyText, text(endOfValue), anyText));
const nameCharacters = characters([..."az AZ 09 __".split(" ")].map(([first, last]) => [first!.charCodeAt(0), last!.charCodeAt(0)]));

/** A call in tags: texts as they are, all other values as JSON. */
function tagsOf(name: string, given: SchemaObject, rules: Rule[], subject: string): Expression {
  const schema = JSON.parse(schemaText(given)) as SchemaObject;
  const refuse = (why: string): never => {
    throw new BitnetError("usage", `${subject} ${why}, which the model's form of calls can't be held to`);
  };
  const { properties = {}, required = [], $defs } = schema;
  const other = Object.keys(schema).find((keyword) => !TAGGED.has(keyword) && !isAnnotation(keyword));
  if (other !== undefined) return refuse(`have the keyword ${show(other)}`);
  if (!isObject(properties) || !Array.isArray(required)) return refuse("have properties that are no object, or required that is no list");
  const names = Object.keys(properties);
  const odd = [name, ...names].find((one) => /[<>\s]/.test(one) || one === "");
  if (odd !== undefined) return refuse(`have the name ${show(odd)}`);
  if (required.some((one) => !names.includes(one as string))) return refuse("require what they don't describe");
  const tag = (begin: Expression, value: Expression): Expression =>
    sequence(text("<parameter="), begin, text(">\n"), value, text(`\n${endOfValue}\n`));
  const parts = names.map((one) => {
    const own = properties[one];
    const value = isPlainText(own)
      ? textValue(own as SchemaObject, (keyword) => refuse(`have a text with the keyword ${show(keyword)}`))
      : readSchema(isObject(own) ? { ...own, ...($defs !== undefined && { $defs }) } : own, rules, `${subject} in ${show(one)}`);
    const whole = tag(text(one), value);
    return required.includes(one) ? whole : optional(whole);
  });
  const isFree = names.length === 0 && schema.additionalProperties !== false;
  const any = isFree ? repeat(tag(repeat(nameCharacters, 1, Infinity), freeValue), 0, maxFreeParameters) : nothing;
  return sequence(text(`<function=${name}>\n`), ...parts, any, text("</function>"));
}

function textValue(schema: SchemaObject, refuse: (keyword: string) => never): Expression {
  const { type: _, enum: listed, const: only, ...others } = schema;
  const [other] = Object.keys(others).filter((keyword) => !isAnnotation(keyword));
  if (other !== undefined) return refuse(other);
  if (listed === undefined && only === undefined) return freeValue;
  const values: readonly unknown[] = only !== undefined ? [only] : Array.isArray(listed) ? listed : refuse("enum");
  const texts = values.filter(
    (value) =>
      typeof value === "string" && !value.includes(endOfValue) && (only === undefined || !Array.isArray(listed) || listed.includes(value)),
  );
  return choice(...texts.map((value) => text(value as string)));
}

function withOther(form: ToolCallForm, calls: Expression, { otherwise }: CallsFormat, rules: Rule[]): Expression {
  if (otherwise === undefined) return calls;
  return otherwise === "text" ? withText(form, calls) : choice(readSchema(otherwise.schema, rules, "the schema"), calls);
}

/** Calls, or text without what begins a call; where calls have a mark, text may also come before them. */
function withText({ marks: [mark], isBare }: ToolCallForm, calls: Expression): Expression {
  const marked = sequence(anyText, text(mark), anyText);
  const plain = without(anyText, isBare ? choice(marked, sequence(anySpace, text("{"), anyText)) : marked);
  return isBare ? choice(plain, calls) : sequence(plain, choice(nothing, calls));
}
