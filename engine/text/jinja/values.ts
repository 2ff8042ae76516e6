import { fail } from "./fault.js";
import type { Meter } from "./meter.js";
import { Finder, isPair, Text } from "./text.js";

/** A Python value: None is null, int a bigint, float a number; the rest are the classes here, none of which a template can change but Namespace. */
export type Value = null | boolean | bigint | number | Text | List | Tuple | Dict | Range | View | Once | Undefined | Thing;

/** Jinja's Undefined: prints as nothing, and fails where more is asked of it. */
export class Undefined {
  /** `why` is what the failure says. */
  constructor(readonly why: string) {}
}

export class List {
  constructor(readonly items: readonly Value[]) {}
}

export class Tuple {
  /** `names` are a named tuple's. */
  constructor(
    readonly items: readonly Value[],
    readonly names: readonly string[] = [],
  ) {}
}

/** What dict keys are compared by: see `keyOf`. */
type Key = string | object;

export class Dict {
  constructor(readonly members: ReadonlyMap<Key, readonly [key: Value, value: Value]>) {}
}

export class Range {
  readonly length: number;

  constructor(
    readonly start: number,
    readonly stop: number,
    readonly step: number,
  ) {
    this.length = Math.max(0, Math.ceil((stop - start) / step));
  }

  at(index: number): Value {
    return BigInt(this.start + index * this.step);
  }
}

/** dict.keys(), dict.values(), dict.items(). */
export class View {
  constructor(
    readonly kind: "keys" | "values" | "items",
    readonly dict: Dict,
  ) {}
}

/** A generator or another iterator: what was taken from it is gone. */
export class Once {
  #taken = 0;

  constructor(
    readonly typeName: string,
    readonly items: readonly Value[],
  ) {}

  rest(): readonly Value[] {
    const rest = this.#taken === 0 ? this.items : this.items.slice(this.#taken);
    this.#taken = this.items.length;
    return rest;
  }

  /** The next one; undefined at the end. */
  take(): Value | undefined {
    return this.#taken < this.items.length ? this.items[this.#taken++] : undefined;
  }
}

export type Keywords = ReadonlyMap<string, Value>;

/** Something with attributes, and maybe to be called: a loop, a macro, a function. */
export abstract class Thing {
  abstract readonly typeName: string;
  attribute(_name: string): Value | undefined {
    return undefined;
  }
  readonly call?: (args: readonly Value[], keywords: Keywords) => Value;
}

export class Func extends Thing {
  readonly typeName: string = "function";
  constructor(
    readonly name: string,
    override readonly call: (args: readonly Value[], keywords: Keywords) => Value,
  ) {
    super();
  }
}

export class Namespace extends Thing {
  readonly typeName = "Namespace";
  readonly values = new Map<string, Value>();
  override attribute(name: string): Value | undefined {
    return this.values.get(name);
  }
}

export type Sequence = Text | List | Tuple | Range;

export function isInteger(value: Value): value is bigint | boolean {
  return typeof value === "bigint" || typeof value === "boolean";
}

export function isNumber(value: Value): value is bigint | boolean | number {
  return isInteger(value) || typeof value === "number";
}

/** The name of a value's type, as Python's messages have it. */
export function typeName(value: Value): string {
  if (value === null) return "None";
  switch (typeof value) {
    case "boolean":
      return "bool";
    case "bigint":
      return "int";
    case "number":
      return "float";
  }
  if (value instanceof Text) return "str";
  if (value instanceof List) return "list";
  if (value instanceof Tuple) return "tuple";
  if (value instanceof Dict) return "dict";
  if (value instanceof Range) return "range";
  if (value instanceof View) return `dict_${value.kind}`;
  if (value instanceof Undefined) return "Undefined";
  return value.typeName;
}

export function isTrue(value: Value): boolean {
  if (value === null) return false;
  switch (typeof value) {
    case "boolean":
      return value;
    case "bigint":
      return value !== 0n;
    case "number":
      return value !== 0;
  }
  if (value instanceof Text) return value.value !== "";
  if (value instanceof List || value instanceof Tuple) return value.items.length > 0;
  if (value instanceof Dict) return value.members.size > 0;
  if (value instanceof View) return value.dict.members.size > 0;
  if (value instanceof Range) return value.length > 0;
  return !(value instanceof Undefined);
}

/** What a dict tells its keys apart by: 1, 1.0 and True are one key. */
export function keyOf(value: Value, meter: Meter): Key {
  if (value === null) return "none";
  switch (typeof value) {
    case "boolean":
      return value ? "1" : "0";
    case "bigint": {
      const text = value.toString(32); // of a power of two, which is linear
      meter.scan(text.length);
      return text;
    }
    case "number":
      return Number.isInteger(value) ? BigInt(value).toString(32) : `f${value}`;
  }
  if (value instanceof Text) {
    meter.scan(value.value.length);
    return `s${value.value}`;
  }
  if (value instanceof Tuple) {
    meter.enter();
    let key = "t";
    for (const item of value.items) {
      const part = keyOf(item, meter);
      if (typeof part !== "string") return value; // compared by identity: functions do not occur in keys
      meter.text(key.length + part.length);
      key += `${part.length},${part}`;
    }
    meter.leave();
    return key;
  }
  if (value instanceof List || value instanceof Dict) fail(`unhashable type: '${typeName(value)}'`);
  return value instanceof Undefined ? "undefined" : value;
}

export function dictOf(pairs: Iterable<readonly [Value, Value]>, meter: Meter): Dict {
  const members = new Map<Key, readonly [Value, Value]>();
  for (const [key, value] of pairs) {
    const id = keyOf(key, meter);
    members.set(id, [members.get(id)?.[0] ?? key, value]);
  }
  meter.elements(2 * members.size);
  return new Dict(members);
}

/** A dict with texts as keys. */
export function record(entries: Iterable<readonly [string, Value]>, meter: Meter): Dict {
  return dictOf(
    Array.from(entries, ([key, value]) => [new Text(key), value] as const),
    meter,
  );
}

export function lookUp(dict: Dict, key: Value, meter: Meter): Value | undefined {
  return dict.members.get(keyOf(key, meter))?.[1];
}

export function viewItems({ kind, dict }: View): Value[] {
  return Array.from(dict.members.values(), ([key, value]) => (kind === "keys" ? key : kind === "values" ? value : new Tuple([key, value])));
}

/** The characters of a text, each a text. */
function characters(text: Text, meter: Meter): Text[] {
  meter.elements(2 * text.value.length);
  const all: Text[] = [];
  for (let i = 0, mark = 0; i < text.value.length; ) {
    const end = i + (isPair(text.value, i) ? 2 : 1);
    while (mark < text.marks.length && text.marks[mark + 1]! <= i) mark += 2;
    const isMarked = mark < text.marks.length && text.marks[mark]! < end;
    all.push(isMarked ? Text.marked(text.value.slice(i, end)) : new Text(text.value.slice(i, end)));
    i = end;
  }
  return all;
}

/** Python's iter; undefined for what can't be looped over. */
export function tryIterate(value: Value, meter: Meter): readonly Value[] | undefined {
  if (value instanceof Undefined) return [];
  if (value instanceof Text) return characters(value, meter);
  if (value instanceof List || value instanceof Tuple) {
    meter.step();
    return value.items;
  }
  if (value instanceof Once) return value.rest();
  if (value instanceof Dict) {
    meter.elements(value.members.size);
    return Array.from(value.members.values(), ([key]) => key);
  }
  if (value instanceof View) {
    meter.elements(2 * value.dict.members.size);
    return viewItems(value);
  }
  if (value instanceof Range) {
    meter.elements(value.length);
    return Array.from({ length: value.length }, (_, i) => value.at(i));
  }
  return undefined;
}

export function iterate(value: Value, meter: Meter): readonly Value[] {
  return tryIterate(value, meter) ?? fail(`'${typeName(value)}' object is not iterable`);
}

/** Python's len; undefined for what has none. */
export function lengthOf(value: Value, meter: Meter): number | undefined {
  if (value instanceof Undefined) return 0;
  if (value instanceof Text) return value.points(meter);
  if (value instanceof List || value instanceof Tuple) return value.items.length;
  if (value instanceof Dict) return value.members.size;
  if (value instanceof View) return value.dict.members.size;
  return value instanceof Range ? value.length : undefined;
}

/** Python's ==. */
export function equal(a: Value, b: Value, meter: Meter): boolean {
  if (a === b) return true;
  if (isNumber(a) && isNumber(b)) return compareNumbers(a, b) === 0;
  if (a instanceof Text && b instanceof Text) {
    if (a.value.length !== b.value.length) return false;
    meter.scan(a.value.length);
    return a.value === b.value;
  }
  if ((a instanceof List && b instanceof List) || (a instanceof Tuple && b instanceof Tuple)) {
    const other = b.items;
    if (a.items.length !== other.length) return false;
    meter.enter();
    const same = a.items.every((item, i) => equal(item, other[i]!, meter));
    meter.leave();
    return same;
  }
  if (a instanceof Dict && b instanceof Dict) {
    if (a.members.size !== b.members.size) return false;
    meter.enter();
    for (const [key, [, value]] of a.members) {
      const other = b.members.get(key);
      if (other === undefined || !equal(value, other[1], meter)) return false;
    }
    meter.leave();
    return true;
  }
  if (a instanceof Range && b instanceof Range) {
    return a.length === b.length && (a.length === 0 || (a.start === b.start && (a.length === 1 || a.step === b.step)));
  }
  return a instanceof Undefined && b instanceof Undefined;
}

/** Below, at or above 0 as a is to b; NaN where they have no order. JavaScript compares bigint and number exactly. */
export function compareNumbers(a: bigint | boolean | number, b: bigint | boolean | number): number {
  const [x, y] = [typeof a === "boolean" ? BigInt(a) : a, typeof b === "boolean" ? BigInt(b) : b];
  return x < y ? -1 : x > y ? 1 : x <= y ? 0 : Number.NaN;
}

/** Python's order: as `compareNumbers`. Fails for values that have none. */
export function compare(a: Value, b: Value, operator: string, meter: Meter): number {
  meter.step();
  if (isNumber(a) && isNumber(b)) return compareNumbers(a, b);
  if (a instanceof Text && b instanceof Text) {
    meter.scan(Math.min(a.value.length, b.value.length));
    return compareTexts(a.value, b.value);
  }
  if ((a instanceof List && b instanceof List) || (a instanceof Tuple && b instanceof Tuple)) {
    meter.enter();
    for (let i = 0; i < a.items.length && i < b.items.length; i++) {
      if (equal(a.items[i]!, b.items[i]!, meter)) continue;
      const order = compare(a.items[i]!, b.items[i]!, operator, meter);
      meter.leave();
      return order;
    }
    meter.leave();
    return a.items.length - b.items.length;
  }
  for (const side of [a, b]) if (side instanceof Undefined) fail(side.why);
  return fail(`'${operator}' not supported between instances of '${typeName(a)}' and '${typeName(b)}'`);
}

/** By code points, as Python; JavaScript's < goes by UTF-16 units. */
function compareTexts(a: string, b: string): number {
  if (a === b) return 0;
  let i = 0;
  while (i < a.length && i < b.length && a.charCodeAt(i) === b.charCodeAt(i)) i++;
  if (i === a.length || i === b.length) return a.length - b.length;
  // Two different units: a surrogate stands for a character above all others.
  const rank = (unit: number) => ((unit & 0xf800) === 0xd800 ? unit + 0x10000 : unit);
  return rank(a.charCodeAt(i)) - rank(b.charCodeAt(i));
}

/** Python's `in`. */
export function contains(container: Value, item: Value, meter: Meter): boolean {
  if (container instanceof Text) {
    if (item instanceof Undefined) fail(item.why);
    if (!(item instanceof Text)) fail(`'in <string>' requires string as left operand, not ${typeName(item)}`);
    meter.scan(container.value.length);
    return new Finder(item.value, meter).next(container.value, 0) >= 0;
  }
  if (container instanceof Dict) return container.members.has(keyOf(item, meter));
  if (container instanceof View && container.kind === "keys") return container.dict.members.has(keyOf(item, meter));
  const items = tryIterate(container, meter) ?? fail(`argument of type '${typeName(container)}' is not iterable`);
  return items.some((other) => {
    meter.step();
    return equal(other, item, meter);
  });
}
