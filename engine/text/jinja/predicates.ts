import { bind, signature } from "./bind.js";
import { fail } from "./fault.js";
import { letterTest } from "./letters.js";
import type { Meter } from "./meter.js";
import { binary } from "./operators.js";
import { str } from "./print.js";
import { Text } from "./text.js";
import {
  compare,
  contains,
  Dict,
  equal,
  isNumber,
  type Keywords,
  keyOf,
  lengthOf,
  Range,
  Thing,
  tryIterate,
  Undefined,
  type Value,
  View,
} from "./values.js";

type Predicate = readonly [signature: string, run: (value: Value, other: Value, meter: Meter) => boolean];

const remainder = (value: Value, by: Value, meter: Meter): Value => binary("%", value, by, meter);
const order =
  (operator: string, holds: (order: number) => boolean): Predicate[1] =>
  (value, other, meter) =>
    holds(compare(value, other, operator, meter));
const isEqual: Predicate = ["other*", equal];
const isUnequal: Predicate = ["other*", (value, other, meter) => !equal(value, other, meter)];
const isGreater: Predicate = ["other*", order(">", (sign) => sign > 0)];
const isAtLeast: Predicate = ["other*", order(">=", (sign) => sign >= 0)];
const isLess: Predicate = ["other*", order("<", (sign) => sign < 0)];
const isAtMost: Predicate = ["other*", order("<=", (sign) => sign <= 0)];
const letters =
  (name: string): Predicate[1] =>
  (value, _, meter) => {
    const text = str(value, meter).value;
    meter.step(text.length);
    return letterTest(name)!(text);
  };

/** Python's `is` for values without identity; texts, which have one, are compared by what they say. */
function isSame(a: Value, b: Value): boolean {
  if (a === b) return true;
  if (typeof a === "number" && typeof b === "number") return Object.is(a, b);
  return a instanceof Text && b instanceof Text && a.value === b.value;
}

/** Whether a value is one of these names; what can't be a key fails. */
function isNameIn(names: () => ReadonlySet<string>): Predicate[1] {
  return (value, _, meter) => keyOf(value, meter) !== undefined && value instanceof Text && names().has(value.value);
}

const predicates: Readonly<Record<string, Predicate>> = {
  defined: ["*", (value) => !(value instanceof Undefined)],
  undefined: ["*", (value) => value instanceof Undefined],
  none: ["*", (value) => value === null],
  boolean: ["*", (value) => typeof value === "boolean"],
  true: ["*", (value) => value === true],
  false: ["*", (value) => value === false],
  integer: ["*", (value) => typeof value === "bigint"],
  float: ["*", (value) => typeof value === "number"],
  number: ["*", (value) => isNumber(value)],
  string: ["*", (value) => value instanceof Text],
  mapping: ["*", (value) => value instanceof Dict],
  sequence: ["*", (value, _, meter) => lengthOf(value, meter) !== undefined && !(value instanceof View)],
  iterable: ["*", (value, _, meter) => (value instanceof Range ? true : isIterable(value, meter))],
  callable: ["*", (value) => value instanceof Undefined || (value instanceof Thing && value.call !== undefined)],
  escaped: ["*", (value) => value instanceof Text && value.isMarkup],
  lower: ["*", letters("islower")],
  upper: ["*", letters("isupper")],
  odd: ["*", (value, _, meter) => equal(remainder(value, 2n, meter), 1n, meter)],
  even: ["*", (value, _, meter) => equal(remainder(value, 2n, meter), 0n, meter)],
  divisibleby: ["num", (value, by, meter) => equal(remainder(value, by, meter), 0n, meter)],
  sameas: ["other", isSame],
  in: ["seq", (value, container, meter) => contains(container, value, meter)],
  filter: ["*", isNameIn(() => knownFilters)],
  test: ["*", isNameIn(() => predicateNames)],
  eq: isEqual,
  equalto: isEqual,
  "==": isEqual,
  ne: isUnequal,
  "!=": isUnequal,
  gt: isGreater,
  greaterthan: isGreater,
  ">": isGreater,
  ge: isAtLeast,
  ">=": isAtLeast,
  lt: isLess,
  lessthan: isLess,
  "<": isLess,
  le: isAtMost,
  "<=": isAtMost,
};

/** Names of the filters, which filters.ts puts here: `is filter` asks for them. */
export const knownFilters = new Set<string>();

export const predicateNames: ReadonlySet<string> = new Set(Object.keys(predicates));

function isIterable(value: Value, meter: Meter): boolean {
  if (value instanceof Text) return true;
  return (
    !(value instanceof Thing) && value !== null && typeof value === "object" && ("rest" in value || tryIterate(value, meter) !== undefined)
  );
}

const signatures = new Map(Object.entries(predicates).map(([name, [params]]) => [name, signature(params)]));

/** `value is name(args)`. */
export function holds(name: string, value: Value, args: readonly Value[], keywords: Keywords, meter: Meter): boolean {
  meter.step();
  const wanted = signatures.get(name) ?? fail(`No test named '${name}' found`);
  const [other] = bind(name, wanted, args, keywords);
  return predicates[name]![1](value, other === undefined ? null : other, meter);
}
