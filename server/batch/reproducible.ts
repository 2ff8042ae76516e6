import { OBJECT } from "../fields.js";
import type { ServedModel } from "../models.js";

/** The date of every answer of a batch, in what is `created` and for chat templates that write it: the one that Llama 3's template has by itself. */
const DATE = new Date("2024-07-26T00:00:00Z");
const SECONDS = DATE.getTime() / 1000;

/** A model whose chat templates are told the same date on every day. */
export function undated<T extends ServedModel>(model: T): T {
  const chat: ServedModel["chat"] = (messages, options) => model.chat(messages, { ...options, date: DATE });
  return new Proxy(model, {
    get(target, name) {
      if (name === "chat") return chat;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

/** How the server writes its random ids. */
const RANDOM_ID = /^([a-z]+[-_])[0-9a-f]{32}$/;
/** Deepest objects in a response that have ids of the server's: calls of tools. */
const MAX_DEPTH = 8;

/**
 * A response's body without what differs from run to run: ids are made of `seed`, dates are `DATE`, and no token was in a cache.
 * @param seed 32 hex digits
 */
export function settled(body: unknown, seed: string): unknown {
  if (!OBJECT.holds(body)) return body;
  const ids = new Map<string, string>();
  const idOf = (id: string, prefix: string): string => {
    // Each id of the response is the hash of the request and a number.
    const made = ids.get(id) ?? `${prefix}${seed.slice(0, -4)}${ids.size.toString(16).padStart(4, "0").slice(-4)}`;
    ids.set(id, made);
    return made;
  };
  const rewrite = (value: unknown, depth: number): unknown => {
    if (typeof value === "string") {
      const [, prefix] = RANDOM_ID.exec(value) ?? [];
      return prefix === undefined ? value : idOf(value, prefix);
    }
    if (depth === MAX_DEPTH || typeof value !== "object" || value === null) return value;
    if (Array.isArray(value)) return value.map((one) => (OBJECT.holds(one) ? rewrite(one, depth + 1) : one));
    return Object.fromEntries(
      Object.entries(value).map(([name, one]) => {
        const isId = name === "id" || name.endsWith("_id");
        return [name, isId || (typeof one === "object" && one !== null) ? rewrite(one, depth + 1) : one];
      }),
    );
  };
  const result: Record<string, unknown> = { ...body };
  for (const name of ["id", "choices", "output"]) if (name in result) result[name] = rewrite(result[name], 0);
  for (const name of ["created", "created_at", "completed_at"]) if (typeof result[name] === "number") result[name] = SECONDS;
  if (OBJECT.holds(result.usage)) result.usage = uncached(result.usage);
  return result;
}

function uncached(usage: Readonly<Record<string, unknown>>): object {
  return Object.fromEntries(
    Object.entries(usage).map(([name, value]) => [
      name,
      OBJECT.holds(value) && "cached_tokens" in value ? { ...value, cached_tokens: 0 } : value,
    ]),
  );
}
