/** What callers give to public functions, checked: every mistake is one sentence that names the argument or the option. */
import { BitnetError } from "./errors.js";

/**
 * A signal that ends a call: every AbortSignal is one, also another library's. Named by its parts so that the types need neither the DOM's
 * declarations nor Node's.
 */
export interface Signal {
  readonly aborted: boolean;
  readonly reason?: unknown;
  addEventListener(type: "abort", listener: () => void): void;
  removeEventListener(type: "abort", listener: () => void): void;
}

/** A file: URL, as `new URL("model.gguf", import.meta.url)` makes one. */
export interface FileUrl {
  readonly href: string;
  readonly protocol: string;
}

/** Options as callers give them: null means "not given", as for OpenAI's clients. */
export type Given<T> = { readonly [Name in keyof T]: T[Name] | null | undefined } | null;

/** What one option must be. */
export interface Rule {
  /** What fits "must be …". */
  readonly wanted: string;
  holds(value: unknown): boolean;
  /** For tests: messages don't name it. */
  readonly internal?: boolean;
}

/** A rule for each option of `T`: a new option without a rule does not compile. */
export type Rules<T> = { readonly [Name in keyof Required<T>]: Rule };

function usage(message: string): BitnetError {
  return new BitnetError("usage", message);
}

/** `Object`, `Array`, `Uint8Array`, `URL` …, whichever realm it is from (a test runner's, say, is not ours). */
export function classOf(value: unknown): string {
  return Object.prototype.toString.call(value).slice(8, -1);
}

/** Letters of a text that a message shows. */
const MOST_SHOWN = 60;

function cut(text: string): string {
  return JSON.stringify(text.length > MOST_SHOWN ? `${text.slice(0, MOST_SHOWN)}…` : text);
}

/** A wrong value, for "…, not …": short, whatever it is. None of its own code runs, but for the name of its class. */
export function shown(value: unknown): string {
  if (typeof value === "string") return value === "" ? "an empty string" : cut(value);
  if (typeof value === "symbol") return "a symbol";
  if (typeof value === "bigint") return "a BigInt";
  if (typeof value === "function") return "a function";
  if (typeof value !== "object" || value === null) return String(value);
  const name = classOf(value);
  if (name === "Array") return "a list";
  return name === "Object" ? "an object" : `${/^[AEIO]/.test(name) ? "an" : "a"} ${name}`;
}

/** A whole number in a range, both ends included. */
export function wholeNumber(least: number, most: number): Rule {
  return {
    wanted: `a whole number from ${least} to ${most}`,
    holds: (value) => Number.isInteger(value) && (value as number) >= least && (value as number) <= most,
  };
}

export function oneOf(choices: readonly string[]): Rule {
  return { wanted: `one of ${choices.join(", ")}`, holds: (value) => typeof value === "string" && choices.includes(value) };
}

export const TRUE_OR_FALSE: Rule = { wanted: "true or false", holds: (value) => typeof value === "boolean" };
export const CALLBACK: Rule = { wanted: "a function", holds: (value) => typeof value === "function" };
export const LIST: Rule = { wanted: "a list", holds: Array.isArray };
/** For what is checked where more is known. */
export const ANYTHING: Rule = { wanted: "anything", holds: () => true };

/** Asked, not read: a getter that throws ends the call that looks at it, when it does. */
export const SIGNAL: Rule = {
  wanted: "an AbortSignal (a controller's .signal)",
  holds: (value) => typeof value === "object" && value !== null && "aborted" in value,
};

/** For calls that listen to it. */
export const LIVE_SIGNAL: Rule = {
  wanted: SIGNAL.wanted,
  holds: (value) => SIGNAL.holds(value) && typeof (value as Partial<Signal>).addEventListener === "function",
};

/** Names as people confuse them: `max_tokens`, `MaxTokens`. */
function bare(name: string): string {
  return name.replace(/[-_]/g, "").toLowerCase();
}

/** Levenshtein's distance: letters to add, drop or change. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 0; i < a.length; i++) {
    const next = [i + 1];
    for (let j = 0; j < b.length; j++) next.push(Math.min(next[j]! + 1, row[j + 1]! + 1, row[j]! + (a[i] === b[j] ? 0 : 1)));
    row = next;
  }
  return row[b.length]!;
}

/** The name that was meant, if one is near: a third of its letters may differ. */
function nearest(name: string, known: readonly string[]): string | undefined {
  if (name.length > MOST_SHOWN) return undefined;
  const ranked = known.map((other) => [distance(bare(name), bare(other)), other] as const).sort((a, b) => a[0] - b[0]);
  const [best] = ranked;
  return best && best[0] <= Math.max(1, Math.floor(name.length / 3)) ? best[1] : undefined;
}

/**
 * The options that were given to `call`, checked; null and undefined mean "not given", for all of them and for each. They are read once: what
 * the caller does to the object later changes nothing.
 * @throws BitnetError usage
 */
export function readOptions<T extends object>(call: string, given: unknown, rules: Rules<T>): T {
  const read: Record<string, unknown> = {};
  if (given === undefined || given === null) return read as T;
  const names = Object.entries<Rule>(rules).flatMap(([name, { internal }]) => (internal ? [] : [name]));
  if (classOf(given) !== "Object") throw usage(`the options of ${call} must be an object, { ${names[0]}: … }, not ${shown(given)}`);
  const options = given as Readonly<Record<string, unknown>>;
  for (const name of Object.keys(options)) {
    if (Object.hasOwn(rules, name) || options[name] === undefined || options[name] === null) continue;
    const meant = nearest(name, names);
    throw usage(`${call} has no option ${cut(name)}${meant === undefined ? `; it has ${names.join(", ")}` : `: did you mean ${meant}?`}`);
  }
  for (const [name, rule] of Object.entries<Rule>(rules)) {
    const value = options[name];
    if (value === undefined || value === null) continue;
    if (!rule.holds(value)) throw usage(`${name} must be ${rule.wanted}, not ${shown(value)}`);
    read[name] = value;
  }
  return read as T;
}

/** @throws BitnetError usage */
export function checkArgument(name: string, value: unknown, rule: Rule): void {
  if (!rule.holds(value)) throw usage(`${name} must be ${rule.wanted}, not ${shown(value)}`);
}

export const TEXT: Rule = { wanted: "a string", holds: (value) => typeof value === "string" };
/** A Buffer too. */
export const BYTES: Rule = { wanted: "a Uint8Array", holds: (value) => ArrayBuffer.isView(value) && classOf(value) === "Uint8Array" };

/** Lists of ids. Uint8Array is not among them: it contains bytes that were not decoded. */
const ID_LISTS: readonly string[] = ["Int32Array", "Uint32Array", "Int16Array", "Uint16Array"];
export const IDS: Rule = {
  wanted: "a list of token ids",
  holds: (value) => Array.isArray(value) || (ArrayBuffer.isView(value) && ID_LISTS.includes(classOf(value))),
};

/** A list in which each item holds, and none is missing: `every` passes over the holes of `new Array(3)`. */
export function isListOf(value: unknown, holds: (item: unknown) => boolean): boolean {
  if (!Array.isArray(value)) return false;
  for (const item of value as readonly unknown[]) if (!holds(item)) return false;
  return true;
}

/** One rule or another. */
export function either(...rules: readonly Rule[]): Rule {
  const wanted = rules.map((rule) => rule.wanted);
  return {
    wanted: wanted.length > 2 ? `${wanted.slice(0, -1).join(", ")} or ${wanted.at(-1)}` : wanted.join(" or "),
    holds: (value) => rules.some((rule) => rule.holds(value)),
  };
}

/** Why it was aborted; a getter's own error, if it throws. */
export function reasonOf(signal: Signal | undefined): unknown {
  try {
    return signal?.reason ?? new DOMException("This operation was aborted", "AbortError");
  } catch (error) {
    return error;
  }
}

/** Throws the signal's reason, if it is aborted. */
export function throwIfAborted(signal: Signal | undefined): void {
  if (signal?.aborted) throw reasonOf(signal);
}
