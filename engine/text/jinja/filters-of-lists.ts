import { fail } from "./fault.js";
import type { ApplyFilter, Filter, Filters } from "./filter.js";
import { lower } from "./letters.js";
import type { Meter } from "./meter.js";
import { join } from "./methods.js";
import { toIndex } from "./numbers.js";
import { attributeOf, binary, getItem, slice } from "./operators.js";
import { holds } from "./predicates.js";
import { str } from "./print.js";
import { Text } from "./text.js";
import {
  compare,
  Dict,
  equal,
  isTrue,
  iterate,
  type Keywords,
  keyOf,
  List,
  lengthOf,
  Once,
  Range,
  Tuple,
  tryIterate,
  typeName,
  Undefined,
  type Value,
} from "./values.js";

const flag = (value: Value | undefined): boolean => value !== undefined && isTrue(value);

function generator(items: readonly Value[], meter: Meter): Once {
  meter.elements(items.length);
  return new Once("generator", items);
}

/** A function that looks an attribute up, by a path with dots; without one, the value itself. */
function attributeGetter(path: Value | undefined, absent: Value | undefined, meter: Meter): (item: Value) => Value {
  if (path === undefined || path === null) return (item) => item;
  const parts: Value[] =
    path instanceof Text ? path.value.split(".", 100).map((part) => (/^[0-9]{1,15}$/.test(part) ? BigInt(part) : new Text(part))) : [path];
  return (item) => {
    let value = item;
    for (const part of parts) {
      value = getItem(value, part, meter);
      if (absent !== undefined && absent !== null && value instanceof Undefined) value = absent;
    }
    return value;
  };
}

/** What values are sorted and told apart by: texts in lower case. */
const folded =
  (isCaseSensitive: boolean, meter: Meter) =>
  (value: Value): Value =>
    !isCaseSensitive && value instanceof Text ? lower(value, meter) : value;

function sorted<Item>(items: readonly Item[], key: (item: Item) => Value, isReverse: boolean, meter: Meter): Item[] {
  const keyed = items.map((item) => [key(item), item] as const);
  meter.elements(keyed.length);
  if (isReverse) keyed.reverse(); // equal ones keep their order in both directions
  keyed.sort(([a], [b]) => compare(a, b, "<", meter));
  if (isReverse) keyed.reverse();
  return keyed.map(([, item]) => item);
}

function sort(value: Value, [reverse, sensitive, attribute]: readonly (Value | undefined)[], meter: Meter): List {
  const fold = folded(flag(sensitive), meter);
  const names = attribute instanceof Text ? attribute.value.split(",", 100).map((name) => new Text(name)) : [attribute];
  const getters = names.map((name) => attributeGetter(name, undefined, meter));
  // A list also where there is one key: what has no order, as none, is sorted where all are equal.
  const key = (item: Value): Value => new List(getters.map((get) => fold(get(item))));
  return new List(sorted(iterate(value, meter), key, flag(reverse), meter));
}

function dictSort(value: Value, [sensitive, by, reverse]: readonly (Value | undefined)[], meter: Meter): List {
  if (value instanceof Undefined) fail(value.why);
  if (!(value instanceof Dict)) return fail(`'${typeName(value)}' object has no attribute 'items'`);
  const field = by === undefined ? "key" : by instanceof Text ? by.value : "";
  if (field !== "key" && field !== "value") fail('You can only sort by either "key" or "value"');
  const fold = folded(flag(sensitive), meter);
  const pairs = sorted([...value.members.values()], ([key, item]) => fold(field === "key" ? key : item), flag(reverse), meter);
  meter.elements(2 * pairs.length);
  return new List(pairs.map(([key, item]) => new Tuple([key, item])));
}

/** The least, or the greatest. */
function extreme(isWanted: (order: number) => boolean): Filter {
  return {
    params: "case_sensitive=,attribute=",
    run: (value, [sensitive, attribute], meter) => {
      const [first, ...rest] = iterate(value, meter);
      if (first === undefined) return new Undefined("No aggregated item, sequence was empty.");
      const [fold, get] = [folded(flag(sensitive), meter), attributeGetter(attribute, undefined, meter)];
      let best = first;
      let bestKey = fold(get(first));
      for (const item of rest) {
        const key = fold(get(item));
        if (!isWanted(compare(key, bestKey, "<", meter))) continue;
        best = item;
        bestKey = key;
      }
      return best;
    },
  };
}

function groupBy(value: Value, [attribute, absent, sensitive]: readonly (Value | undefined)[], meter: Meter): List {
  const get = attributeGetter(attribute, absent, meter);
  const fold = folded(flag(sensitive), meter);
  const items = sorted(iterate(value, meter), (item) => fold(get(item)), false, meter);
  const groups: Value[][] = [];
  let last: Value | undefined;
  for (const item of items) {
    const key = fold(get(item));
    if (last !== undefined && equal(key, last, meter)) groups.at(-1)!.push(item);
    else groups.push([item]);
    last = key;
  }
  meter.elements(items.length + 3 * groups.length);
  return new List(groups.map((group) => new Tuple([get(group[0]!), new List(group)], ["grouper", "list"])));
}

function map(value: Value, args: readonly Value[], keywords: Keywords, meter: Meter, apply: ApplyFilter): Value {
  const items = isTrue(value) ? iterate(value, meter) : [];
  const attribute = keywords.get("attribute");
  let change: (item: Value) => Value;
  if (args.length === 0 && attribute !== undefined) {
    for (const name of keywords.keys()) if (name !== "attribute" && name !== "default") fail(`Unexpected keyword argument '${name}'`);
    change = attributeGetter(attribute, keywords.get("default"), meter);
  } else {
    const [name, ...rest] = args;
    if (items.length > 0 && !(name instanceof Text)) fail("map requires a filter argument");
    change = (item) => apply((name as Text).value, item, rest, keywords, meter);
  }
  return generator(items.map(change), meter);
}

/** select, reject, and those that look at an attribute. */
function choose(isWanted: boolean, byAttribute: boolean): Filter {
  return {
    run: (value, args, keywords, meter) => {
      if (!isTrue(value)) return generator([], meter);
      const items = iterate(value, meter);
      if (byAttribute && args[0] === undefined) fail("Missing parameter for attribute name");
      const get = attributeGetter(byAttribute ? args[0] : undefined, undefined, meter);
      const [test, ...rest] = args.slice(byAttribute ? 1 : 0);
      const chosen = items.filter((item) => {
        meter.step();
        const tested = get(item);
        if (test === undefined) return isTrue(tested) === isWanted;
        return holds(str(test, meter).value, tested, rest, keywords, meter) === isWanted;
      });
      return generator(chosen, meter);
    },
  };
}

function batch(value: Value, size: number, fill: Value | undefined, meter: Meter): Once {
  const items = iterate(value, meter);
  meter.elements(items.length);
  const rows: List[] = [];
  if (size < 1) {
    // No row is ever full. Of size 0 is the one that nothing was put into yet.
    if (items.length > 0) rows.push(...(size === 0 ? [new List([])] : []), new List(items));
    return generator(rows, meter);
  }
  for (let at = 0; at < items.length; at += size) {
    const row = items.slice(at, at + size);
    if (fill !== undefined && fill !== null) {
      meter.elements(size - row.length);
      while (row.length < size) row.push(fill);
    }
    rows.push(new List(row));
  }
  return generator(rows, meter);
}

function slices(value: Value, count: number, fill: Value | undefined, meter: Meter): Once {
  const items = iterate(value, meter);
  if (count === 0) fail("integer division or modulo by zero");
  meter.elements(Math.max(0, count) + items.length);
  const columns: List[] = [];
  const [each, extra] = [Math.floor(items.length / count), items.length % count];
  let at = 0;
  for (let i = 0; i < count; i++) {
    const end = at + each + (i < extra ? 1 : 0);
    const column = items.slice(at, end);
    if (fill !== undefined && fill !== null && i >= extra) column.push(fill);
    columns.push(new List(column));
    at = end;
  }
  return generator(columns, meter);
}

function first(value: Value, meter: Meter): Value {
  const item =
    value instanceof Once
      ? value.take()
      : value instanceof Text || value instanceof Range
        ? firstOf(value, meter)
        : iterate(value, meter)[0];
  return item === undefined ? new Undefined("No first item, sequence was empty.") : item;
}

function firstOf(value: Text | Range, meter: Meter): Value | undefined {
  return lengthOf(value, meter) === 0 ? undefined : getItem(value, 0n, meter);
}

function last(value: Value, meter: Meter): Value {
  if (value instanceof Undefined) return new Undefined("No last item, sequence was empty.");
  if (lengthOf(value, meter) === undefined) fail(`'${typeName(value)}' object is not reversible`);
  const item =
    value instanceof Text || value instanceof Range
      ? lengthOf(value, meter) === 0
        ? undefined
        : getItem(value, -1n, meter)
      : iterate(value, meter).at(-1);
  return item === undefined ? new Undefined("No last item, sequence was empty.") : item;
}

function reverse(value: Value, meter: Meter): Value {
  if (value instanceof Text) return slice(value, null, null, -1n, meter);
  const items = tryIterate(value, meter) ?? fail("argument must be iterable");
  meter.elements(items.length);
  const reversed = items.toReversed();
  return value instanceof Once ? new List(reversed) : new Once(`${typeName(value)}_reverseiterator`, reversed);
}

const length: Filter = {
  params: "",
  run: (value, _, meter) => {
    const found = lengthOf(value, meter);
    return found === undefined ? fail(`object of type '${typeName(value)}' has no len()`) : BigInt(found);
  },
};

/** Filters of lists, and of what can be looped over. */
export const listFilters: Filters = {
  attr: {
    params: "name",
    run: (value, [name], meter) => {
      if (!(name instanceof Text)) return fail("attribute name must be string");
      if (value instanceof Undefined) fail(value.why);
      const found = attributeOf(value, name.value, meter);
      return found === undefined ? new Undefined(`'${typeName(value)} object' has no attribute '${name.value.slice(0, 100)}'`) : found;
    },
  },
  batch: { params: "linecount,fill_with=", run: (value, [size, fill], meter) => batch(value, toIndex(size!, "the size"), fill, meter) },
  count: length,
  dictsort: { params: "case_sensitive=,by=,reverse=", run: dictSort },
  first: { params: "", run: (value, _, meter) => first(value, meter) },
  groupby: { params: "attribute,default=,case_sensitive=", run: groupBy },
  items: {
    params: "",
    run: (value, _, meter) => {
      if (value instanceof Undefined) return generator([], meter);
      if (!(value instanceof Dict)) return fail("Can only get item pairs from a mapping.");
      meter.elements(2 * value.members.size);
      return generator(
        Array.from(value.members.values(), ([key, item]) => new Tuple([key, item])),
        meter,
      );
    },
  },
  join: {
    params: "d=,attribute=",
    run: (value, [separator, attribute], meter) => {
      const get = attributeGetter(attribute, undefined, meter);
      const texts = iterate(value, meter).map((item) => str(get(item), meter));
      return join(separator === undefined ? new Text("") : str(separator, meter), texts, meter);
    },
  },
  last: { params: "", run: (value, _, meter) => last(value, meter) },
  length,
  list: {
    params: "",
    run: (value, _, meter) => {
      const items = iterate(value, meter);
      meter.elements(items.length);
      return new List(items);
    },
  },
  map: { run: map },
  max: extreme((order) => order > 0),
  min: extreme((order) => order < 0),
  reject: choose(false, false),
  rejectattr: choose(false, true),
  reverse: { params: "", run: (value, _, meter) => reverse(value, meter) },
  select: choose(true, false),
  selectattr: choose(true, true),
  slice: {
    params: "slices,fill_with=",
    run: (value, [count, fill], meter) => slices(value, toIndex(count!, "the number of slices"), fill, meter),
  },
  sort: { params: "reverse=,case_sensitive=,attribute=", run: sort },
  sum: {
    params: "attribute=,start=",
    run: (value, [attribute, start], meter) => {
      const get = attributeGetter(attribute, undefined, meter);
      let sum: Value = start === undefined ? 0n : start;
      if (sum instanceof Text) fail("sum() can't sum strings [use ''.join(seq) instead]");
      for (const item of iterate(value, meter)) sum = binary("+", sum, get(item), meter);
      return sum;
    },
  },
  unique: {
    params: "case_sensitive=,attribute=",
    run: (value, [sensitive, attribute], meter) => {
      const [fold, get] = [folded(flag(sensitive), meter), attributeGetter(attribute, undefined, meter)];
      const seen = new Set<string | object>();
      const items = iterate(value, meter).filter((item) => {
        const key = keyOf(fold(get(item)), meter);
        if (seen.has(key)) return false;
        seen.add(key);
        return true;
      });
      return generator(items, meter);
    },
  },
};
