import { bind, signature } from "./bind.js";
import { fail } from "./fault.js";
import { pad } from "./format.js";
import { capitalize, caseFold, letterTest, lower, swapCase, titleWords, upper } from "./letters.js";
import type { Meter } from "./meter.js";
import { toIndex } from "./numbers.js";
import { isPrintable } from "./print.js";
import { concat, empty, Finder, isPair, isSpace, spaceEnds, Text, TextBuilder } from "./text.js";
import { Dict, equal, Func, isTrue, iterate, List, lookUp, Range, Tuple, typeName, type Value, View } from "./values.js";

type Given = readonly (Value | undefined)[];

function textOf(value: Value | undefined, what: string): Text {
  return value instanceof Text ? value : fail(`${what} must be str, not ${value === undefined ? "nothing" : typeName(value)}`);
}

/** str.strip and its sides; `chars` undefined or None: white space. */
export function strip(text: Text, chars: Value | undefined, sides: "both" | "left" | "right", meter: Meter): Text {
  meter.scan(text.value.length);
  const { value } = text;
  let start = 0;
  let end = value.length;
  if (chars === undefined || chars === null) {
    [start, end] = spaceEnds(value);
    if (start === end) return empty;
  } else {
    const set = new Set(textOf(chars, "strip arg").value);
    meter.elements(set.size);
    while (sides !== "right" && start < end) {
      const character = value.slice(start, start + (isPair(value, start) ? 2 : 1));
      if (!set.has(character)) break;
      start += character.length;
    }
    while (sides !== "left" && start < end) {
      const character = value.slice(end - (end - start > 1 && isPair(value, end - 2) ? 2 : 1), end);
      if (!set.has(character)) break;
      end -= character.length;
    }
  }
  return text.slice(sides === "right" ? 0 : start, sides === "left" ? value.length : end, meter);
}

/** Where a text has another, without overlaps; from its end with `fromRight`. At most `count` of them, if that is not below 0. */
function places(text: Text, wanted: Text, count: number, fromRight: boolean, meter: Meter): number[] {
  meter.scan(text.value.length);
  const found: number[] = [];
  const size = wanted.value.length;
  if (!fromRight) {
    const finder = new Finder(wanted.value, meter);
    for (let at = finder.next(text.value, 0); at >= 0 && found.length !== count; at = finder.next(text.value, at + size)) found.push(at);
    meter.elements(found.length);
    return found;
  }
  // From the right, places that overlap are chosen differently: the same search over both texts reversed.
  meter.text(2 * text.value.length);
  const finder = new Finder(reverseUnits(wanted.value), meter);
  const reversed = reverseUnits(text.value);
  for (let at = finder.next(reversed, 0); at >= 0 && found.length !== count; at = finder.next(reversed, at + size)) {
    found.unshift(reversed.length - at - size);
  }
  meter.elements(found.length);
  return found;
}

function reverseUnits(value: string): string {
  let reversed = "";
  for (let i = value.length - 1; i >= 0; i--) reversed += value[i];
  return reversed;
}

export function split(text: Text, separator: Value | undefined, maxSplit: number, fromRight: boolean, meter: Meter): List {
  if (separator === undefined || separator === null) return splitBySpace(text, maxSplit, fromRight, meter);
  const wanted = textOf(separator, "separator");
  if (wanted.value === "") fail("empty separator");
  const parts: Text[] = [];
  let from = 0;
  for (const at of places(text, wanted, maxSplit, fromRight, meter)) {
    parts.push(text.slice(from, at, meter));
    from = at + wanted.value.length;
  }
  parts.push(text.slice(from, text.value.length, meter));
  meter.elements(parts.length);
  return new List(parts);
}

function splitBySpace(text: Text, maxSplit: number, fromRight: boolean, meter: Meter): List {
  const { value } = text;
  meter.scan(value.length);
  const words: [number, number][] = [];
  for (let i = 0; i < value.length; ) {
    while (i < value.length && isSpace(value.charCodeAt(i))) i++;
    const start = i;
    while (i < value.length && !isSpace(value.charCodeAt(i))) i++;
    if (i > start) words.push([start, i]);
  }
  meter.elements(words.length);
  // What is left when no more is split stays as it is, but for white space at its outer end.
  if (maxSplit >= 0 && words.length > maxSplit) {
    const [start, end] = spaceEnds(value);
    if (fromRight) words.splice(0, words.length - maxSplit, [0, words[words.length - maxSplit - 1]![1]]);
    else words.splice(maxSplit, words.length, [words[maxSplit]![0], value.length]);
    if (maxSplit === 0) words[0] = fromRight ? [0, end] : [start, value.length];
  }
  return new List(words.map(([start, end]) => text.slice(start, end, meter)));
}

const lineEnds = "\n\v\f\r\x1c\x1d\x1e\x85\u2028\u2029";

export function splitLines(text: Text, keepEnds: boolean, meter: Meter): List {
  meter.scan(text.value.length);
  const lines: Text[] = [];
  let from = 0;
  for (let i = 0; i < text.value.length; i++) {
    if (!lineEnds.includes(text.value[i]!)) continue;
    const end = i;
    if (text.value[i] === "\r" && text.value[i + 1] === "\n") i++;
    lines.push(text.slice(from, keepEnds ? i + 1 : end, meter));
    from = i + 1;
  }
  if (from < text.value.length) lines.push(text.slice(from, text.value.length, meter));
  meter.elements(lines.length);
  return new List(lines);
}

export function replace(text: Text, old: Text, by: Text, count: number, meter: Meter): Text {
  const builder = new TextBuilder(meter);
  let from = 0;
  if (old.value === "") {
    // Between all characters, and at both ends.
    let left = count < 0 ? Number.POSITIVE_INFINITY : count;
    while (left-- > 0) {
      builder.add(by);
      if (from === text.value.length) return builder.text();
      const end = from + (isPair(text.value, from) ? 2 : 1);
      builder.addPart(text, from, end);
      from = end;
    }
  } else {
    for (const at of places(text, old, count, false, meter)) {
      builder.addPart(text, from, at);
      builder.add(by);
      from = at + old.value.length;
    }
    if (from === 0) return text;
  }
  builder.addPart(text, from, text.value.length);
  return builder.text();
}

export function join(separator: Text, items: readonly Text[], meter: Meter): Text {
  const builder = new TextBuilder(meter);
  for (const [i, item] of items.entries()) {
    if (i > 0) builder.add(separator);
    builder.add(item);
  }
  return builder.text();
}

/** Start and end of a method's range, as UTF-16 units; undefined where the start lies behind the text. */
function range(text: Text, start: Value | undefined, end: Value | undefined, meter: Meter): [number, number] | undefined {
  const points = text.points(meter);
  const clamp = (given: Value | undefined, absent: number) => {
    if (given === undefined || given === null) return absent;
    const index = toIndex(given, "an index");
    return index < 0 ? Math.max(0, index + points) : index;
  };
  const from = clamp(start, 0);
  const to = Math.min(clamp(end, points), points);
  return from > to ? undefined : [text.unitOf(from, meter), text.unitOf(to, meter)];
}

function find(text: Text, [wanted, start, end]: Given, fromRight: boolean, meter: Meter): number {
  const part = textOf(wanted, "the text to find");
  const bounds = range(text, start, end, meter);
  if (!bounds) return -1;
  const inside = text.slice(...bounds, meter);
  meter.scan(inside.value.length);
  let at: number;
  if (fromRight) {
    at = part.value === "" ? inside.value.length : (places(inside, part, 1, true, meter)[0] ?? -1);
  } else at = new Finder(part.value, meter).next(inside.value, 0);
  return at < 0 ? -1 : text.slice(0, bounds[0] + at, meter).points(meter);
}

function affix(text: Text, [wanted, start, end]: Given, isPrefix: boolean, meter: Meter): boolean {
  const wants = wanted instanceof Tuple ? wanted.items : [wanted];
  const bounds = range(text, start, end, meter);
  return wants.some((want) => {
    const { value } = textOf(want, isPrefix ? "startswith first arg" : "endswith first arg");
    if (!bounds || value.length > bounds[1] - bounds[0]) return false;
    meter.scan(value.length);
    return isPrefix ? text.value.startsWith(value, bounds[0]) : text.value.endsWith(value, bounds[1]);
  });
}

function partition(text: Text, wanted: Value | undefined, fromRight: boolean, meter: Meter): Tuple {
  const separator = textOf(wanted, "separator");
  if (separator.value === "") fail("empty separator");
  const at = places(text, separator, 1, fromRight, meter)[0];
  if (at === undefined) return new Tuple(fromRight ? [empty, empty, text] : [text, empty, empty]);
  const end = at + separator.value.length;
  // The separator as it stands in the text: whose words it is made of, it stays.
  return new Tuple([text.slice(0, at, meter), text.slice(at, end, meter), text.slice(end, text.value.length, meter)]);
}

function expandTabs(text: Text, size: number, meter: Meter): Text {
  const builder = new TextBuilder(meter);
  let column = 0;
  let from = 0;
  for (let i = 0; i < text.value.length; i++) {
    const character = text.value[i];
    if (character === "\t") {
      builder.addPart(text, from, i);
      const spaces = size > 0 ? size - (column % size) : 0;
      meter.text(spaces);
      builder.put(" ".repeat(spaces));
      column += spaces;
      from = i + 1;
    } else if (character === "\n" || character === "\r") column = 0;
    else if (!isPair(text.value, i)) column++;
  }
  builder.addPart(text, from, text.value.length);
  return builder.text();
}

const count = (value: Value | undefined, absent: number): number => (value === undefined ? absent : toIndex(value, "a count"));
const fillOf = (value: Value | undefined): Text => {
  if (value === undefined) return new Text(" ");
  const fill = textOf(value, "the fill character");
  return Array.from(fill.value.slice(0, 3)).length === 1 ? fill : fail("The fill character must be exactly one character long");
};

type TextMethod = readonly [signature: string, run: (text: Text, given: Given, meter: Meter) => Value];

const textMethods: Readonly<Record<string, TextMethod>> = {
  upper: ["*", (text, _, meter) => upper(text, meter)],
  lower: ["*", (text, _, meter) => lower(text, meter)],
  casefold: ["*", (text, _, meter) => caseFold(text, meter)],
  capitalize: ["*", (text, _, meter) => capitalize(text, meter)],
  title: ["*", (text, _, meter) => titleWords(text, meter)],
  swapcase: ["*", (text, _, meter) => swapCase(text, meter)],
  strip: ["chars=*", (text, [chars], meter) => strip(text, chars, "both", meter)],
  lstrip: ["chars=*", (text, [chars], meter) => strip(text, chars, "left", meter)],
  rstrip: ["chars=*", (text, [chars], meter) => strip(text, chars, "right", meter)],
  split: ["sep=,maxsplit=", (text, [separator, max], meter) => split(text, separator, count(max, -1), false, meter)],
  rsplit: ["sep=,maxsplit=", (text, [separator, max], meter) => split(text, separator, count(max, -1), true, meter)],
  splitlines: ["keepends=", (text, [keep], meter) => splitLines(text, keep !== undefined && isTrue(keep), meter)],
  partition: ["sep*", (text, [separator], meter) => partition(text, separator, false, meter)],
  rpartition: ["sep*", (text, [separator], meter) => partition(text, separator, true, meter)],
  replace: [
    "old,new,count=*",
    (text, [old, by, times], meter) =>
      replace(text, textOf(old, "replace() argument 1"), textOf(by, "replace() argument 2"), count(times, -1), meter),
  ],
  join: [
    "iterable*",
    (text, [items], meter) => {
      const parts = iterate(items!, meter);
      return join(
        text,
        parts.map((part, i) => textOf(part, `sequence item ${i}`)),
        meter,
      );
    },
  ],
  find: ["sub,start=,end=*", (text, given, meter) => BigInt(find(text, given, false, meter))],
  rfind: ["sub,start=,end=*", (text, given, meter) => BigInt(find(text, given, true, meter))],
  index: ["sub,start=,end=*", (text, given, meter) => found(find(text, given, false, meter))],
  rindex: ["sub,start=,end=*", (text, given, meter) => found(find(text, given, true, meter))],
  count: [
    "sub,start=,end=*",
    (text, [wanted, start, end], meter) => {
      const part = textOf(wanted, "the text to count");
      const bounds = range(text, start, end, meter);
      if (!bounds) return 0n;
      const inside = text.slice(...bounds, meter);
      return BigInt(part.value === "" ? inside.points(meter) + 1 : places(inside, part, -1, false, meter).length);
    },
  ],
  startswith: ["prefix,start=,end=*", (text, given, meter) => affix(text, given, true, meter)],
  endswith: ["suffix,start=,end=*", (text, given, meter) => affix(text, given, false, meter)],
  removeprefix: [
    "prefix*",
    (text, [prefix], meter) => {
      const { value } = textOf(prefix, "removeprefix() argument");
      return text.value.startsWith(value) ? text.slice(value.length, text.value.length, meter) : text;
    },
  ],
  removesuffix: [
    "suffix*",
    (text, [suffix], meter) => {
      const { value } = textOf(suffix, "removesuffix() argument");
      return text.value.endsWith(value) ? text.slice(0, text.value.length - value.length, meter) : text;
    },
  ],
  center: ["width,fillchar=*", (text, [width, fill], meter) => center(text, count(width, 0), fillOf(fill), meter)],
  ljust: ["width,fillchar=*", (text, [width, fill], meter) => pad(text, count(width, 0), "<", fillOf(fill), meter)],
  rjust: ["width,fillchar=*", (text, [width, fill], meter) => pad(text, count(width, 0), ">", fillOf(fill), meter)],
  zfill: [
    "width*",
    (text, [width], meter) => {
      const sign = /^[+-]/.test(text.value) ? 1 : 0;
      const digits = pad(text.slice(sign, text.value.length, meter), count(width, 0) - sign, ">", new Text("0"), meter);
      return concat(text.slice(0, sign, meter), digits, meter);
    },
  ],
  expandtabs: ["tabsize=", (text, [size], meter) => expandTabs(text, count(size, 8), meter)],
  isprintable: [
    "*",
    (text, _, meter) => {
      meter.step(text.value.length);
      return Array.from(text.value).every(isPrintable);
    },
  ],
};

/** str.center puts the odd one of the fill characters to the left of an odd text. */
export function center(text: Text, width: number, fill: Text, meter: Meter): Text {
  const missing = width - text.points(meter);
  if (missing <= 0) return text;
  const left = Math.floor(missing / 2) + (missing % 2 === 1 && width % 2 === 1 ? 1 : 0);
  return pad(pad(text, text.points(meter) + left, ">", fill, meter), width, "<", fill, meter);
}

function found(at: number): bigint {
  return at < 0 ? fail("substring not found") : BigInt(at);
}

function textMethod(name: string): TextMethod | undefined {
  const own = Object.hasOwn(textMethods, name) ? textMethods[name] : undefined;
  if (own) return own;
  const test = letterTest(name);
  return (
    test && [
      "*",
      (text, _, meter) => {
        meter.step(text.value.length);
        return test(text.value);
      },
    ]
  );
}

/** A method of a text, list, tuple, dict or range by its name; undefined if there is none that a template may call. */
export function method(value: Value, name: string, meter: Meter): Value | undefined {
  const make = (params: string, run: (given: Given) => Value): Func => {
    const wanted = signature(params);
    return new Func(name, (args, keywords) => run(bind(name, wanted, args, keywords)));
  };
  if (value instanceof Text) {
    const own = textMethod(name);
    return own && make(own[0], (given) => own[1](value, given, meter));
  }
  if (value instanceof Dict) {
    if (name === "items" || name === "keys" || name === "values") return make("*", () => new View(name, value));
    if (name === "get") {
      return make("key,default=*", ([key, absent]) => {
        const member = lookUp(value, key!, meter);
        if (member !== undefined) return member;
        return absent === undefined ? null : absent;
      });
    }
    if (name === "copy") return make("*", () => value);
  }
  if (value instanceof List || value instanceof Tuple || value instanceof Range) {
    const items = (): readonly Value[] => iterate(value, meter);
    const isWanted = (wanted: Value) => (item: Value) => {
      meter.step();
      return equal(item, wanted, meter);
    };
    if (name === "count") return make("value*", ([wanted]) => BigInt(items().filter(isWanted(wanted!)).length));
    if (name === "index") {
      return make("value*", ([wanted]) => {
        const at = items().findIndex(isWanted(wanted!));
        return at < 0 ? fail(`it is not in the ${typeName(value)}`) : BigInt(at);
      });
    }
    if (name === "copy" && value instanceof List) return make("*", () => value);
  }
  return undefined;
}
