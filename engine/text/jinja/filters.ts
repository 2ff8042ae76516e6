import { bind, signature } from "./bind.js";
import { fail } from "./fault.js";
import type { Filter } from "./filter.js";
import { listFilters } from "./filters-of-lists.js";
import { textFilters } from "./filters-of-texts.js";
import type { Meter } from "./meter.js";
import { knownFilters } from "./predicates.js";
import type { Keywords, Value } from "./values.js";

const filters: ReadonlyMap<string, Filter> = new Map([...Object.entries(textFilters), ...Object.entries(listFilters)]);
const signatures = new Map(Array.from(filters, ([name, { params = "" }]) => [name, signature(params)]));

export const filterNames: ReadonlySet<string> = new Set(filters.keys());
for (const name of filterNames) knownFilters.add(name);

/** `value | name(args)`. */
export function filter(name: string, value: Value, args: readonly Value[], keywords: Keywords, meter: Meter): Value {
  meter.step();
  const found = filters.get(name) ?? fail(`No filter named '${name}' found`);
  if (found.params === undefined) return found.run(value, args, keywords, meter, filter);
  return found.run(value, bind(name, signatures.get(name)!, args, keywords), meter);
}
