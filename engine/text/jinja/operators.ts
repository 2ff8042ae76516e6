import { fail } from "./fault.js";
import { formatMethod, percent } from "./format.js";
import type { Meter } from "./meter.js";
import { method } from "./methods.js";
import { arithmetic, type NumberOperator, toIndex } from "./numbers.js";
import { concat, empty, Text } from "./text.js";
import { Dict, Func, isInteger, isNumber, List, lookUp, Range, Thing, Tuple, typeName, Undefined, type Value } from "./values.js";

/** Python's operators of two values that are no comparison. */
export function binary(operator: NumberOperator, a: Value, b: Value, meter: Meter): Value {
  if (isNumber(a) && isNumber(b)) return arithmetic(operator, a, b, meter);
  if (a instanceof Text && operator === "%") return percent(a, b, meter);
  for (const side of [a, b]) if (side instanceof Undefined) fail(side.why);
  if (operator === "+") {
    if (a instanceof Text && b instanceof Text) return addTexts(a, b, meter);
    if (a instanceof List && b instanceof List) {
      meter.elements(a.items.length + b.items.length);
      return new List([...a.items, ...b.items]);
    }
    if (a instanceof Tuple && b instanceof Tuple) {
      meter.elements(a.items.length + b.items.length);
      return new Tuple([...a.items, ...b.items]);
    }
    if (a instanceof Text || a instanceof List || a instanceof Tuple) {
      fail(`can only concatenate ${typeName(a)} (not "${typeName(b)}") to ${typeName(a)}`);
    }
  }
  if (operator === "*") {
    if (isInteger(b)) {
      const repeated = repeat(a, toIndex(b), meter);
      if (repeated) return repeated;
    }
    if (isInteger(a)) {
      const repeated = repeat(b, toIndex(a), meter);
      if (repeated) return repeated;
    }
  }
  return fail(`unsupported operand type(s) for ${operator}: '${typeName(a)}' and '${typeName(b)}'`);
}

const entities: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&#39;", '"': "&#34;" };

/** MarkupSafe's escape. */
export function escapeMarkup(text: Text, meter: Meter): Text {
  if (text.isMarkup) return text;
  meter.text(6 * text.value.length);
  const value = text.value.replace(/[&<>'"]/g, (character) => entities[character]!);
  if (value === text.value) return new Text(value, text.marks, true);
  return text.isMarked ? new Text(value, [0, value.length], true) : new Text(value, [], true);
}

function addTexts(a: Text, b: Text, meter: Meter): Text {
  if (!a.isMarkup && !b.isMarkup) return concat(a, b, meter);
  const sum = concat(escapeMarkup(a, meter), escapeMarkup(b, meter), meter);
  return new Text(sum.value, sum.marks, true);
}

function repeat(value: Value, times: number, meter: Meter): Value | undefined {
  if (value instanceof Text) {
    if (times <= 0 || value.value === "") return empty;
    meter.text(value.value.length * times);
    if (!value.isMarked) return new Text(value.value.repeat(times));
    return Text.marked(value.value.repeat(times));
  }
  if (!(value instanceof List || value instanceof Tuple)) return undefined;
  const count = Math.max(0, times) * value.items.length;
  meter.elements(count);
  const items = Array.from({ length: count }, (_, i) => value.items[i % value.items.length]!);
  return value instanceof List ? new List(items) : new Tuple(items);
}

/** Names that the sandbox of Hugging Face forbids: what changes a value. Those that begin with _ it forbids anyway. */
const listMutators = ["append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"];
const dictMutators = ["clear", "pop", "popitem", "setdefault", "update"];

/** `value.name` where it is no key: a method, or a part of a loop or a namespace. Undefined if there is none. */
export function attributeOf(value: Value, name: string, meter: Meter): Value | undefined {
  if (
    name.startsWith("_") ||
    (value instanceof List && listMutators.includes(name)) ||
    (value instanceof Dict && dictMutators.includes(name))
  ) {
    return new Undefined(`access to attribute '${name}' of '${typeName(value)}' object is unsafe`);
  }
  if (value instanceof Thing) return value.attribute(name);
  if (value instanceof Tuple) {
    const index = value.names.indexOf(name);
    if (index >= 0) return value.items[index];
  }
  if (value instanceof Text && name === "format") {
    return new Func("format", (args, keywords) => {
      const part = (of: Value, key: Text | bigint, isItem: boolean): Value =>
        isItem || !(key instanceof Text) ? getItem(of, key, meter) : getAttribute(of, key.value, meter);
      return formatMethod(value, args, keywords, part, meter);
    });
  }
  return method(value, name, meter);
}

function missing(value: Value, key: Value): Undefined {
  const shown = key instanceof Text ? `attribute '${key.value.slice(0, 100)}'` : isInteger(key) ? `element ${key}` : "such element";
  return new Undefined(`'${typeName(value)} object' has no ${shown}`);
}

/** Whether a value can be a dict's key. */
function isHashable(key: Value, meter: Meter): boolean {
  meter.enter();
  const holds = key instanceof Tuple ? key.items.every((item) => isHashable(item, meter)) : !(key instanceof List || key instanceof Dict);
  meter.leave();
  return holds;
}

/** `value[key]`, undefined where there is none. */
function item(value: Value, key: Value, meter: Meter): Value | undefined {
  if (value instanceof Dict) return isHashable(key, meter) ? lookUp(value, key, meter) : undefined;
  if (!isInteger(key)) return undefined;
  if (value instanceof List || value instanceof Tuple) return value.items.at(toIndex(key));
  if (value instanceof Range) {
    const at = toIndex(key) < 0 ? toIndex(key) + value.length : toIndex(key);
    return at >= 0 && at < value.length ? value.at(at) : undefined;
  }
  if (!(value instanceof Text)) return undefined;
  const points = value.points(meter);
  const at = toIndex(key) < 0 ? toIndex(key) + points : toIndex(key);
  if (at < 0 || at >= points) return undefined;
  const start = value.unitOf(at, meter);
  return value.slice(start, start + (value.value.codePointAt(start)! > 0xffff ? 2 : 1), meter);
}

/** Jinja's `value.name`: an attribute before a key. */
export function getAttribute(value: Value, name: string, meter: Meter): Value {
  meter.step();
  if (value instanceof Undefined) fail(value.why);
  const key = new Text(name);
  const attribute = attributeOf(value, name, meter);
  if (attribute !== undefined) return attribute;
  const found = item(value, key, meter);
  return found === undefined ? missing(value, key) : found;
}

/** Jinja's `value[key]`: a key before an attribute. */
export function getItem(value: Value, key: Value, meter: Meter): Value {
  meter.step();
  if (value instanceof Undefined) fail(value.why);
  const found = item(value, key, meter);
  if (found !== undefined) return found;
  const attribute = key instanceof Text ? attributeOf(value, key.value, meter) : undefined;
  return attribute === undefined ? missing(value, key) : attribute;
}

/** Python's `value[start:stop:step]`. */
export function slice(value: Value, start: Value, stop: Value, step: Value, meter: Meter): Value {
  if (value instanceof Undefined) fail(value.why);
  if (!(value instanceof Text || value instanceof List || value instanceof Tuple || value instanceof Range)) {
    return fail(`'${typeName(value)}' object is not subscriptable`);
  }
  const length = value instanceof Text ? value.points(meter) : value instanceof Range ? value.length : value.items.length;
  const by = step === null ? 1 : toIndex(step, "a slice's step");
  if (by === 0) fail("slice step cannot be zero");
  const clamp = (given: Value, absent: number): number => {
    if (given === null) return absent;
    const index = toIndex(given, "a slice's index");
    const at = index < 0 ? index + length : index;
    return by > 0 ? Math.min(Math.max(at, 0), length) : Math.min(Math.max(at, -1), length - 1);
  };
  const from = clamp(start, by > 0 ? 0 : length - 1);
  const to = clamp(stop, by > 0 ? length : -1);
  const count = Math.max(0, Math.ceil((to - from) / by));
  if (value instanceof Text) {
    if (count === 0) return empty;
    if (by === 1) return value.slice(value.unitOf(from, meter), value.unitOf(to, meter), meter);
    return everyNth(value, from, by, count, length, meter);
  }
  if (value instanceof Range)
    return new Range(value.start + from * value.step, value.start + (from + count * by) * value.step, value.step * by);
  meter.elements(count);
  const items = by === 1 ? value.items.slice(from, from + count) : Array.from({ length: count }, (_, i) => value.items[from + i * by]!);
  return value instanceof List ? new List(items) : new Tuple(items);
}

function everyNth(text: Text, from: number, by: number, count: number, points: number, meter: Meter): Text {
  meter.text(2 * count);
  meter.step(count);
  let picked = "";
  if (points === text.value.length) for (let i = 0; i < count; i++) picked += text.value[from + i * by];
  else {
    meter.elements(points);
    const all = Array.from(text.value);
    for (let i = 0; i < count; i++) picked += all[from + i * by];
  }
  return text.isMarked ? Text.marked(picked) : new Text(picked);
}
