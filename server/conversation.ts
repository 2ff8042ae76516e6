import { type AnswerFormat, BitnetError } from "../engine/index.js";
import type { Asked } from "./answers.js";
import type { JsonObject } from "./body.js";
import { badField, toApiError } from "./errors.js";
import { field, OBJECT, oneOf, TRUE_OR_FALSE, type Writing } from "./fields.js";
import type { ServedModel } from "./models.js";
import type { OfferedTools, Schema } from "./tools.js";

/** What an answer is held to, and the field that asks for it where no tool does. */
export interface Held {
  readonly format: AnswerFormat;
  readonly param: string;
}

/** Begins the answers to a conversation. */
export function conversation(
  model: ServedModel,
  messages: Parameters<ServedModel["chat"]>[0],
  writing: Writing,
  offered: OfferedTools | undefined,
  held: Held | undefined,
): Asked["starts"] {
  const date = new Date(); // for templates that write it
  return Array.from({ length: writing.n }, (_, i) => (signal: AbortSignal) => {
    const options = {
      ...writing.options,
      seed: writing.seed(i),
      signal,
      date,
      remember: false, // an answer depends on its request alone
      ...(offered && { template: { tools: offered.tools } }),
      ...(held && { format: held.format }),
    };
    try {
      return model.chat(messages, options);
    } catch (error) {
      // What is wrong with the messages is told when the answer is read, and all other options were checked.
      if (!held || !(error instanceof BitnetError) || error.code !== "usage") throw error;
      throw toApiError(error, error.message.startsWith("the parameters of the tool") ? "tools" : held.param);
    }
  });
}

/** What an answer is held to, by tools and by a format. @param param the field of the format */
export function heldTo(offered: OfferedTools | undefined, schema: Schema | undefined, param: string): Held | undefined {
  const format = offered ? offered.format(schema) : schema;
  return format && { format, param };
}

/**
 * What a format asks for; undefined: free text. A schema is held to whether it is `strict` or not.
 * @param inside the field of the format that has the schema, if it is not the format itself
 * @throws ApiError 400
 */
export function formatOf(given: JsonObject, param: string, inside?: string): Schema | undefined {
  const type = field(given, "type", oneOf("text", "json_object", "json_schema"));
  if (type === undefined) throw badField(param, 'an object with a type: "text", "json_object" or "json_schema"');
  if (type === "json_object") return { schema: { type: "object" } };
  if (type !== "json_schema") return undefined;
  const named = inside === undefined ? given : field(given, inside, OBJECT);
  const schema = named && field(named, "schema", OBJECT);
  const wanted = '"name": "…", "schema": { … }';
  if (!named || !schema) throw badField(param, inside === undefined ? `with { ${wanted} }` : `with { "${inside}": { ${wanted} } }`);
  field(named, "strict", TRUE_OR_FALSE);
  return { schema };
}
