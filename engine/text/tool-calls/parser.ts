import { beginningLength } from "../beginning.js";
import type { ToolCallForm } from "./form.js";
import { JsonScanner, jsonMembers } from "./json-scanner.js";
import { type ArgumentSchemas, readTags, TagScanner } from "./tag-scanner.js";

/** What an answer is made of: text, and calls of tools; `arguments` is the JSON text of an object, as the model wrote it. */
export type ToolEvent =
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "tool-call"; readonly name: string; readonly arguments: string };

/** Finds the calls of tools in the text of an answer, as it comes. */
export interface ToolCallParser {
  /** What became certain with this piece. */
  push(text: string): ToolEvent[];
  /** What is left: a call that is not complete is text. */
  end(): ToolEvent[];
}

/** UTF-16 units of a call: a longer one is text, so that no answer fills the memory. */
export const maxCallLength = 2 ** 18;
/** White space before a call or between two that is no text; more of it is. */
export const maxCallSpace = 64;

const LEADING_SPACE = /^[ \t\r\n]*/;

/**
 * A parser of calls in this form. How an answer is cut into pieces makes no difference but to the pieces of its text. White space at the
 * beginning of an answer before a call, between calls and behind the last one is dropped; everything else that is no whole call is text.
 * @param schemas tell texts from other values, where arguments are not JSON
 */
export function createToolCallParser(form: ToolCallForm, schemas: ArgumentSchemas = new Map()): ToolCallParser {
  return new Parser(form, schemas);
}

/**
 * - `start`: nothing but white space so far
 * - `text`: a call must have a mark
 * - `call`: behind a mark, or where a call may begin without one
 * - `closing`, `between`: behind a call, before and after what closes it
 * - `separated`: behind the separator, which is in `#call`
 */
type State = "start" | "text" | "call" | "closing" | "between" | "separated";

class Parser implements ToolCallParser {
  readonly #form: ToolCallForm;
  readonly #schemas: ArgumentSchemas;
  #state: State = "start";
  /** Not looked at to its end: white space and the beginning of a mark, at most. */
  #waiting = "";
  /** All of a call so far, with what stands before it. */
  #call: string[] = [];
  #callLength = 0;
  /** Where the call itself begins in it. */
  #bodyAt = 0;
  #scanner: JsonScanner | TagScanner | undefined;
  #events: ToolEvent[] = [];

  constructor(form: ToolCallForm, schemas: ArgumentSchemas) {
    this.#form = form;
    this.#schemas = schemas;
  }

  push(text: string): ToolEvent[] {
    this.#waiting += text;
    while (this.#waiting !== "" && this.#step());
    return this.#taken();
  }

  end(): ToolEvent[] {
    const isBehindCall = this.#state === "closing" || this.#state === "between";
    const rest = [...this.#call, this.#waiting].join("");
    this.#waiting = "";
    this.#clearCall();
    if (!(isBehindCall && LEADING_SPACE.exec(rest)![0] === rest)) this.#text(rest);
    this.#state = "text";
    return this.#taken();
  }

  #taken(): ToolEvent[] {
    const events = this.#events;
    this.#events = [];
    return events;
  }

  #text(text: string): void {
    const last = this.#events.at(-1);
    if (text === "") return;
    if (last?.type === "text") this.#events[this.#events.length - 1] = { type: "text", text: last.text + text };
    else this.#events.push({ type: "text", text });
  }

  /** Goes on as far as what waits allows. False: more must come first. */
  #step(): boolean {
    if (this.#state === "call") return this.#stepInCall();
    if (this.#state === "text") return this.#stepInText();
    return this.#stepInSpace();
  }

  #stepInText(): boolean {
    const [mark] = this.#form.marks;
    const at = this.#waiting.indexOf(mark);
    const certain = at >= 0 ? at : this.#waiting.length - beginningLength(this.#waiting, mark);
    this.#text(this.#waiting.slice(0, certain));
    this.#waiting = this.#waiting.slice(certain);
    if (at < 0) return false;
    this.#begin(mark.length);
    return true;
  }

  /** White space, and then what may follow here. */
  #stepInSpace(): boolean {
    const { marks, isBare, separator } = this.#form;
    const [mark, close] = marks;
    const state = this.#state;
    const space = LEADING_SPACE.exec(this.#waiting)![0].length;
    const rest = this.#waiting.slice(space);
    const bare = (state === "start" && isBare) || state === "separated" ? "{" : undefined;
    const behind = state === "closing" || state === "between";
    const choices = [
      state === "separated" ? undefined : mark,
      bare,
      state === "closing" ? close : undefined,
      behind ? separator : undefined,
    ].filter((choice) => choice !== undefined);
    const found = space <= maxCallSpace ? choices.find((choice) => rest.startsWith(choice)) : undefined;
    if (found === undefined) {
      if (space <= maxCallSpace && choices.some((choice) => choice.startsWith(rest))) return false;
      this.#fail();
    } else if (found === close) {
      this.#waiting = rest.slice(close.length);
      this.#state = "between";
    } else if (found === separator) {
      this.#hold(space + separator.length);
      this.#state = "separated";
    } else {
      this.#begin(space + (found === bare ? 0 : mark.length));
    }
    return true;
  }

  /** A call begins, with so much before its JSON. */
  #begin(length: number): void {
    this.#hold(length);
    this.#state = "call";
  }

  /** Puts so much of what waits to the call. False: the limit was reached before. */
  #hold(length: number): boolean {
    const held = Math.min(length, maxCallLength - this.#callLength);
    this.#call.push(this.#waiting.slice(0, held));
    this.#callLength += held;
    this.#waiting = this.#waiting.slice(held);
    return held === length;
  }

  #stepInCall(): boolean {
    if (this.#scanner === undefined) {
      const space = LEADING_SPACE.exec(this.#waiting)![0].length;
      const isTags = this.#form.argumentsKey === undefined;
      const isBody = this.#waiting[space] === (isTags ? "<" : "{");
      if (!this.#hold(space) || (this.#waiting !== "" && !isBody)) return this.#fail();
      if (!isBody) return false;
      this.#bodyAt = this.#callLength;
      this.#scanner = isTags ? new TagScanner() : new JsonScanner();
    }
    const read = this.#scanner.push(this.#waiting);
    if (!this.#hold(read) || this.#scanner.state === "broken") return this.#fail();
    if (this.#scanner.state === "open") return false;
    const call = readCall(this.#call.join("").slice(this.#bodyAt), this.#form, this.#schemas);
    if (call === undefined) return this.#fail();
    this.#clearCall();
    this.#events.push(call);
    this.#state = this.#form.marks.length === 1 ? "between" : "closing";
    return true;
  }

  #clearCall(): void {
    this.#call = [];
    this.#callLength = 0;
    this.#scanner = undefined;
  }

  /** What was taken for a call, or for white space around one, is text. */
  #fail(): true {
    this.#text(this.#call.join(""));
    this.#clearCall();
    this.#state = "text";
    return true;
  }
}

/** The call that a text is. */
function readCall(json: string, { argumentsKey }: ToolCallForm, schemas: ArgumentSchemas): ToolEvent | undefined {
  if (argumentsKey === undefined) {
    const tags = readTags(json, schemas);
    return tags && { type: "tool-call", name: tags.name, arguments: tags.json };
  }
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    return undefined; // it is text
  }
  const { name, type = "function", [argumentsKey]: given, ...others } = value as Record<string, unknown>;
  const isObject = typeof given === "object" && given !== null && !Array.isArray(given);
  // LLaMA writes a type, because the tools that it is shown have one.
  if (typeof name !== "string" || name === "" || type !== "function" || !isObject || Object.keys(others).length > 0) return undefined;
  return { type: "tool-call", name, arguments: jsonMembers(json).get(argumentsKey)! };
}
