import { InvalidArgumentError } from "commander";
import { BitnetError } from "../engine/errors.js";
import type { LaneName } from "../validation/parity/types.js";

/** Token ids are 32-bit in the engine; whether the vocabulary has one is the tokenizer's to say. */
const MAX_ID = 2 ** 31 - 1;

/** Workers a user may ask for; a slip of the finger should not start thousands. */
export const MAX_THREADS = 256;

/** The seed if neither flag nor environment sets one: runs repeat unless asked to differ. */
const DEFAULT_SEED = 42;

/** A short flag takes its value as `-n 5` or `-n5`: of `-n=5` the equals sign is a part of it. */
const EQUALS = " A short flag takes no equals sign: -n 5, or --max-tokens=5.";

function fail(message: string): never {
  throw new InvalidArgumentError(message);
}

/** An argument parser for a whole number in decimal digits, `min` … `max`. */
export function integer(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
    return value >= min && value <= max
      ? value
      : fail(`It must be a whole number from ${min} to ${max}.${text.startsWith("=") ? EQUALS : ""}`);
  };
}

/** An argument parser for whole numbers separated by commas, each `min` … `max`. */
export function integers(min: number, max: number): (text: string) => number[] {
  const one = integer(min, max);
  return (text) => text.split(",").map((part) => one(part.trim()));
}

/** An argument parser for a decimal number, `min` … `max`; `above` leaves `min` itself out. */
export function decimal(min: number, max: number, above = false): (text: string) => number {
  return (text) => {
    const value = /^-?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : Number.NaN;
    if ((above ? value > min : value >= min) && value <= max) return value;
    return fail(`It must be a number ${above ? `above ${min} and at most` : `from ${min} to`} ${max}.`);
  };
}

export const parseSeed = integer(0, Number.MAX_SAFE_INTEGER);
export const parseThreads = integer(1, MAX_THREADS);

/** An argument parser for what can't be left empty. */
export function nonEmpty(text: string): string {
  return text === "" ? fail("It must not be empty.") : text;
}

/** An argument parser for what becomes a part of file names. */
export function plainName(text: string): string {
  return /^[A-Za-z0-9][\w.-]{0,99}$/.test(text)
    ? text
    : fail("It must consist of letters, digits, dots, hyphens and underscores, and have at most 100 characters.");
}

/** The origin of web pages, as a browser sends it: scheme, host and port. */
export function parseOrigin(text: string): string {
  return text === "*" || (URL.canParse(text) && new URL(text).origin === text)
    ? text
    : fail('It must be an origin such as http://localhost:3000, without a path, or "*".');
}

/** The address of a Redis or Valkey server, maybe with a user, a password and a database. */
export function parseQueue(text: string): string {
  const isRight = URL.canParse(text) && /^rediss?:$/.test(new URL(text).protocol) && new URL(text).host !== "";
  return isRight ? text : fail("It must be a URL such as redis://localhost:6379, or rediss:// for TLS.");
}

/** Token ids separated by commas or white space: `1,2,3`. */
export function parseIds(text: string): number[] {
  const parts = text.trim().split(/\s*,\s*|\s+/);
  return parts.map((part) => {
    const id = /^\d{1,10}$/.test(part) ? Number(part) : Number.NaN;
    return id <= MAX_ID ? id : fail(part === "" ? "An id is missing." : `"${part.slice(0, 40)}" is not a token id.`);
  });
}

/** Lanes of parity separated by commas. (Named here too: this is read at every start, and what validates is not.) */
export function parseLanes(text: string): LaneName[] {
  const lanes: readonly LaneName[] = ["weights", "fp32-fp32", "quant-fp32", "oracle"];
  return text.split(",").map((part) => {
    const lane = lanes.find((name) => name === part.trim());
    return lane ?? fail(`The lanes are ${lanes.join(", ")}.`);
  });
}

/** Collects an option that can be given more than once. */
export function repeatable<T>(parse: (text: string) => T | T[]): (text: string, before: T[] | undefined) => T[] {
  return (text, before) => (before ?? []).concat(parse(text));
}

/** What the environment asks for; a flag overrides it. */
export interface Environment {
  readonly seed: number;
  /** undefined: the library's choice. */
  readonly threads: number | undefined;
}

/**
 * Reads `BITNET_SEED`, `BITNET_NUM_THREADS` and `BITNET_DETERMINISTIC`. The last, set to 1, is the environment of validation: one thread
 * and seed 42, unless the other two say otherwise. (A seed gives the same text for any number of threads: it is only about the clock.)
 */
export function readEnvironment(env: NodeJS.ProcessEnv): Environment {
  const read = <T>(name: string, parse: (text: string) => T): T | undefined => {
    const text = env[name];
    if (text === undefined || text === "") return undefined;
    try {
      return parse(text);
    } catch (error) {
      throw new BitnetError("usage", `the environment variable ${name} is "${text}". ${(error as Error).message}`);
    }
  };
  const deterministic = read("BITNET_DETERMINISTIC", integer(0, 1)) === 1;
  return {
    seed: read("BITNET_SEED", parseSeed) ?? DEFAULT_SEED,
    threads: read("BITNET_NUM_THREADS", parseThreads) ?? (deterministic ? 1 : undefined),
  };
}

/** The one flag that was given, of several that exclude each other. Throws a usage error for none and for more than one. */
export function onlyOne<K extends string>(flags: Readonly<Partial<Record<K, unknown>>>, names: readonly K[]): K {
  const given = names.filter((name) => flags[name] !== undefined);
  const only = given[0];
  if (only !== undefined && given.length === 1) return only;
  const list = names.map((name) => `--${name}`);
  const got = given.length === 0 ? "none was given" : `${given.map((name) => `--${name}`).join(" and ")} were given`;
  throw new BitnetError("usage", `give exactly one of ${list.slice(0, -1).join(", ")} and ${list.at(-1)}: ${got}`);
}
