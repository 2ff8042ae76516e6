import { show } from "../container/quote.js";
import { BitnetError } from "../errors.js";
import type { ToolCallForm } from "../text/tool-calls/form.js";
import { characters, choice, type Expression, nothing, otherThan, repeat, rule, sequence, text, without } from "./expression.js";
import { compileRules, type Grammar, type Rule } from "./grammar.js";
import { readSchema, schemaText } from "./json-schema.js";
import { grammarLimits } from "./limits.js";
import { isObject } from "./schema-keywords.js";

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
const readTools = ({ tools }: CallsFormat): { readonly name: string; readonly schema: unknown }[] =>
  tools.map(({ function: { name, parameters } }) => {
    if (parameters === undefined || parameters === null) return { name, schema: { type: "object", additionalProperties: false } };
    const { type = "object" } = parameters as { readonly type?: unknown };
    if (type !== "object") {
      throw new BitnetError("usage", `the parameters of the tool ${show(name)} must be a schema of the type "object", not ${show(type)}`);
    }
    return { name, schema: { ...parameters, type } };
  });

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
  const { before, behind, between } = form.written;
  const rules: Rule[] = [{ name: "the calls", expression: nothing }];
  const named = readTools(format).map(({ name, schema }) => {
    const given = readSchema(schema, rules, `the parameters of the tool ${show(name)}`);
    if (rules.length > grammarLimits.rules) {
      throw new BitnetError("usage", `the parameters of the tools have more than ${grammarLimits.rules} parts, which is the limit`);
    }
    return sequence(text(`${JSON.stringify(name)}, "${form.argumentsKey}": `), given);
  });
  const call = rule(
    rules.push({ name: "a call", expression: sequence(text(`${before}{"name": `), choice(...named), text(`}${behind}`)) }) - 1,
  );
  const several = format.several === true && between !== undefined;
  const calls = several ? sequence(call, repeat(sequence(text(between), call), 0, maxCalls - 1)) : call;
  rules[0] = { name: "the calls", expression: withOther(form, calls, format, rules) };
  return compileRules(rules);
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
