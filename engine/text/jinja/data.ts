import type { Meter } from "./meter.js";
import { Text } from "./text.js";
import { dictOf, List, type Value } from "./values.js";

/** Plain JSON data, as a template gets it. */
export type Data = null | boolean | number | bigint | string | readonly Data[] | { readonly [key: string]: Data | undefined };

/**
 * Data as a template's value. Texts and keys are marked as the caller's, if they are. A number without a fraction is an int, which is what JSON
 * means by it; beyond 2^53, where JavaScript has no integers, it is a float.
 */
export function toValue(data: Data | undefined, isMarked: boolean, meter: Meter): Value {
  if (data === undefined || data === null) return null;
  if (typeof data === "string") return isMarked ? Text.marked(data) : new Text(data);
  if (typeof data === "number") return Number.isSafeInteger(data) && !Object.is(data, -0) ? BigInt(data) : data;
  if (typeof data !== "object") return data;
  if (isList(data)) return new List(data.map((item) => toValue(item, isMarked, meter)));
  const pairs: [Value, Value][] = [];
  for (const [key, value] of Object.entries(data)) {
    if (value !== undefined) pairs.push([isMarked ? Text.marked(key) : new Text(key), toValue(value, isMarked, meter)]);
  }
  return dictOf(pairs, meter);
}

function isList(data: object): data is readonly Data[] {
  return Array.isArray(data);
}
