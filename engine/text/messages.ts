import { inOneLine, quote, show } from "../container/quote.js";
import { BitnetError } from "../errors.js";
import type { Data } from "./jinja/data.js";

/** Who may speak. Templates write a role beside their control tokens, so that it can't be any text. */
const roles = ["system", "developer", "user", "assistant", "tool", "function", "ipython"];

/** Characters of a conversation, as messages and as text: a million tokens. */
export const maxChat = 2 ** 22;

/** Lists, objects and other values in a conversation and its tools. */
const maxValues = 2 ** 18;

/** Lists and objects within each other; a JSON schema of a tool has ten. */
const maxDepth = 32;

export type DataObject = { readonly [key: string]: Data | undefined };

/** A message as a template gets it. */
export type MessageData = DataObject & { readonly role: string; readonly content?: string | null };

/** What a conversation, or a template's variables, came to. */
export interface Amount {
  characters: number;
  values: number;
}

function refuse(message: string): never {
  throw new BitnetError("usage", message);
}

/** What `read` gives; a getter or a proxy of the caller's that throws is the caller's mistake. */
function guarded<Result>(where: string, read: () => Result): Result {
  try {
    return read();
  } catch (error) {
    if (error instanceof BitnetError) throw error;
    return refuse(`${where} can't be read: ${inOneLine(error instanceof Error ? error.message : typeof error).slice(0, 200)}`);
  }
}

/** The elements of a list. Its length may be anything: a list of holes costs nothing. */
function elements(list: readonly unknown[], where: string, amount: Amount): unknown[] {
  const { length } = list;
  if (!(length <= maxValues - amount.values)) refuse(`${where} has ${length} elements; a chat may have ${maxValues} values in all`);
  return Array.from({ length }, (_, i) => list[i]);
}

/** A copy of plain JSON data. @throws BitnetError usage: it is something else, too deep or too much */
function copy(value: unknown, where: string, amount: Amount, depth = 0): Data {
  if (++amount.values > maxValues) refuse(`${where} exceeds the limit of ${maxValues} values in a chat`);
  switch (typeof value) {
    case "string":
      amount.characters += value.length;
      if (amount.characters > maxChat) refuse(`the messages exceed the limit of ${maxChat} characters in a chat`);
      return value;
    case "number":
      return Number.isFinite(value) ? value : refuse(`${where} is ${value}, which is not a JSON number`);
    case "boolean":
      return value;
    case "object": {
      if (value === null) return null;
      if (depth === maxDepth)
        refuse(`${where.length > 100 ? `${where.slice(0, 100)}…` : where} is nested more than ${maxDepth} levels deep`);
      if (Array.isArray(value)) return elements(value, where, amount).map((item, i) => copy(item, `${where}[${i}]`, amount, depth + 1));
      const prototype: unknown = Object.getPrototypeOf(value);
      if (prototype !== null && Object.getPrototypeOf(prototype) !== null) break;
      const members: [string, Data][] = [];
      for (const [key, item] of Object.entries(value)) {
        if (item === undefined) continue;
        copy(key, where, amount);
        members.push([key, copy(item, `${where}.${key.slice(0, 60)}`, amount, depth + 1)]);
      }
      return Object.fromEntries(members);
    }
  }
  const found = value === undefined ? "undefined" : typeof value === "object" ? "an object with a class of its own" : `a ${typeof value}`;
  return refuse(`${where} is ${found}, which is not JSON data`);
}

function isObject(value: Data | undefined): value is DataObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * The messages of a conversation as a template gets them: checked and copied, parts of a text joined, what is null left out, and a call's
 * arguments as an object, which templates expect.
 * @throws BitnetError usage, with the message's number (the first is 0)
 */
export function readMessages(given: unknown, amount: Amount): MessageData[] {
  const isList = guarded("the conversation", () => Array.isArray(given));
  if (!isList) {
    const found = given === null || given === undefined ? "missing" : typeof given === "object" ? "an object" : `a ${typeof given}`;
    return refuse(`the conversation is ${found}, not a list of messages: [{ "role": "user", "content": "…" }, …]`);
  }
  const all = guarded("the conversation", () => elements(given as unknown[], "the conversation", amount));
  if (all.length === 0) refuse("the conversation has no messages");
  return all.map((one, i) => guarded(`message ${i}`, () => readMessage(one, `message ${i}`, amount)));
}

function readMessage(given: unknown, where: string, amount: Amount): MessageData {
  const message = copy(given ?? null, where, amount);
  if (!isObject(message)) return refuse(`${where} is ${show(message)}, not an object with role and content`);
  const { role } = message;
  if (typeof role !== "string")
    return refuse(`${where} has ${role === undefined ? "no role" : `the role ${show(role)}`}: supported roles are ${roles.join(", ")}`);
  if (!roles.includes(role)) return refuse(`${where} has the unknown role ${quote(role)}: supported roles are ${roles.join(", ")}`);
  const calls = readCalls(message.tool_calls, role, where);
  const content = readContent(message.content, where, calls !== undefined);
  for (const key of ["name", "tool_call_id", "reasoning_content"]) {
    const value = message[key];
    if (value !== undefined && value !== null && typeof value !== "string") refuse(`${where}: ${key} is ${show(value)}, not a text`);
  }
  // Clients send null for what is not given, and some an empty list for no calls; templates ask whether a message has calls at all.
  const members = Object.entries(message).flatMap(([key, value]): [string, Data][] => {
    if (key === "content") return content === undefined ? [] : [[key, content]];
    if (key === "tool_calls") return calls ? [[key, calls]] : [];
    return value === null || value === undefined ? [] : [[key, value]];
  });
  return Object.fromEntries(members) as MessageData;
}

function readContent(content: Data | undefined, where: string, hasCalls: boolean): string | null | undefined {
  if (typeof content === "string") return content;
  if (content === undefined || content === null) {
    if (hasCalls) return content;
    return refuse(`${where} has no content: it must be a text, unless an assistant's message has tool_calls`);
  }
  if (!Array.isArray(content)) return refuse(`${where}: content is ${show(content)}, not a text or a list of text parts`);
  const texts = content.map((part: Data, i) => {
    const at = `${where}: part ${i} of content`;
    if (typeof part === "string") return part;
    if (!isObject(part)) return refuse(`${at} is ${show(part)}, not { "type": "text", "text": "…" }`);
    if (part.type !== "text") return refuse(`${at} is of the type ${show(part.type)}: only text is supported`);
    return typeof part.text === "string" ? part.text : refuse(`${at}: text is ${show(part.text)}, not a string`);
  });
  return texts.join("");
}

function readCalls(calls: Data | undefined, role: string, where: string): Data[] | undefined {
  if (calls === undefined || calls === null) return undefined;
  if (!Array.isArray(calls)) return refuse(`${where}: tool_calls is ${show(calls)}, not a list`);
  if (calls.length === 0) return undefined;
  if (role !== "assistant") return refuse(`${where} has tool_calls, which only an assistant's message may have`);
  return calls.map((call: Data, i) => {
    const at = `${where}: tool call ${i}`;
    if (!isObject(call)) return refuse(`${at} is ${show(call)}, not an object`);
    // Hugging Face's templates also take calls without the object around them.
    const own = isObject(call.function)
      ? call.function
      : call.function === undefined
        ? call
        : refuse(`${at}: function is ${show(call.function)}, not an object`);
    if (typeof own.name !== "string") return refuse(`${at} has no function name`);
    const inside: DataObject = own.arguments === undefined ? own : { ...own, arguments: readArguments(own.arguments, at) };
    return own === call ? inside : { ...call, function: inside };
  });
}

function readArguments(given: Data, at: string): Data {
  if (isObject(given)) return given;
  if (typeof given !== "string") return refuse(`${at}: arguments is ${show(given)}, neither an object nor a JSON string of one`);
  if (given.trim() === "") return {};
  try {
    const parsed = copy(JSON.parse(given), at, { characters: 0, values: 0 });
    if (isObject(parsed)) return parsed;
  } catch {
    // A model may have written anything: the template gets it as it is.
  }
  return given;
}

/** Variables that every template has; they can't be replaced. */
const reserved = [
  ...[
    "messages",
    "add_generation_prompt",
    "raise_exception",
    "strftime_now",
    "range",
    "dict",
    "namespace",
    "cycler",
    "joiner",
    "loop",
    "caller",
  ],
  ...["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token", "additional_special_tokens"],
];

/** A template's own variables. @throws BitnetError usage, which names the variable */
export function readVariables(given: unknown, amount: Amount): DataObject {
  if (given === undefined || given === null) return {};
  const variables = typeof given === "object" ? guarded("template", () => copy(given, "template", amount)) : null;
  if (!isObject(variables)) return refuse("template must be an object with the template's variables by name");
  for (const [name, value] of Object.entries(variables)) {
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) refuse(`${quote(name)} can't be the name of a template variable`);
    if (reserved.includes(name)) refuse(`the template variable ${name} can't be set: it is reserved`);
    if ((name === "tools" || name === "documents") && value !== null && !(Array.isArray(value) && value.every(isObject))) {
      refuse(`the template variable ${name} must be a list of objects, or null`);
    }
  }
  return variables;
}

/** A copy of a Date of any realm (a sandbox has a class of its own); undefined for what is none. */
export function dateFrom(value: unknown): Date | undefined {
  try {
    return new Date(Date.prototype.getTime.call(value));
  } catch {
    return undefined;
  }
}

/**
 * The conversation's date, in UTC fields what it is where the caller is.
 * @throws BitnetError usage
 */
export function readDate(given: unknown): Date | undefined {
  if (given === undefined || given === null) return undefined;
  const here = dateFrom(given);
  if (here && !Number.isNaN(here.getTime())) {
    const [year, month, day] = [here.getFullYear(), here.getMonth(), here.getDate()];
    return new Date(Date.UTC(year, month, day, here.getHours(), here.getMinutes(), here.getSeconds(), here.getMilliseconds()));
  }
  const match = typeof given === "string" ? /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d))?)?$/.exec(given) : null;
  if (match) {
    const [year, month, day, hour = 0, minute = 0, second = 0] = match.slice(1).map((part) => Number(part ?? 0));
    const date = new Date(Date.UTC(year!, month! - 1, day!, hour, minute, second));
    const isSame = date.getUTCMonth() === month! - 1 && date.getUTCDate() === day && hour < 24 && minute < 60 && second < 60;
    if (isSame) return date;
  }
  return refuse(`date is ${here ? "not a date" : show(given)}: expected a Date, or a string such as 2025-07-31 or 2025-07-31T12:00`);
}
