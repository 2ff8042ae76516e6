import { fail } from "./fault.js";
import type { Filter, Filters } from "./filter.js";
import { percent } from "./format.js";
import { capitalize, lower, titleFilter, upper } from "./letters.js";
import type { Meter } from "./meter.js";
import { center, replace, split, splitLines, strip } from "./methods.js";
import { arithmetic, exactSteps, negate, number, parseInteger, parseReal, round, toBig, toFloat, toIndex, weigh } from "./numbers.js";
import { escapeMarkup } from "./operators.js";
import { json, str } from "./print.js";
import { concat, Text, TextBuilder } from "./text.js";
import { dictOf, isInteger, isNumber, isTrue, List, lengthOf, Tuple, typeName, Undefined, type Value } from "./values.js";

const ofText = (run: (text: Text, meter: Meter) => Value): Filter => ({
  params: "",
  run: (value, _, meter) => run(str(value, meter), meter),
});
const flag = (value: Value | undefined): boolean => value !== undefined && isTrue(value);
const isGiven = (value: Value | undefined): value is Value => value !== undefined && value !== null;

function indent(value: Value, width: Value | undefined, first: boolean, blank: boolean, meter: Meter): Text {
  if (value instanceof Undefined) fail(value.why);
  if (!(value instanceof Text)) return fail(`indent requires a string, not ${typeName(value)}`);
  const indention = width instanceof Text ? width : spacesOf(width === undefined ? 4 : Math.max(0, toIndex(width, "the width")), meter);
  const lines = splitLines(concat(value, new Text("\n"), meter), false, meter).items as readonly Text[];
  const builder = new TextBuilder(meter);
  for (const [i, line] of lines.entries()) {
    if (i > 0) builder.put("\n");
    if (i === 0 ? first : blank || line.value !== "") builder.add(indention);
    builder.add(line);
  }
  return builder.text();
}

function truncate(text: Text, length: number, killWords: boolean, end: Text, leeway: number, meter: Meter): Text {
  const [points, endPoints] = [text.points(meter), end.points(meter)];
  if (length < endPoints) fail(`expected length >= ${endPoints}, got ${length}`);
  if (leeway < 0) fail(`expected leeway >= 0, got ${leeway}`);
  if (points <= length + leeway) return text;
  let shown = text.slice(0, text.unitOf(length - endPoints, meter), meter);
  if (!killWords) shown = split(shown, new Text(" "), 1, true, meter).items[0] as Text;
  return concat(shown, end, meter);
}

const wordPart = /[\p{L}\p{N}_\p{Mn}\p{Mc}]/u;

function countWords({ value }: Text, meter: Meter): bigint {
  meter.step(value.length);
  let words = 0;
  let isInWord = false;
  for (const character of value) {
    const isPart = /[\p{L}\p{N}_]/u.test(character) && wordPart.test(character);
    if (isPart && !isInWord) words++;
    isInWord = isPart;
  }
  return BigInt(words);
}

function toInteger(value: Value, absent: Value, base: number, meter: Meter): Value {
  if (value instanceof Undefined) fail(value.why);
  if (isInteger(value)) return toBig(value);
  if (typeof value === "number") {
    if (Number.isFinite(value)) return BigInt(Math.trunc(value));
    return Number.isNaN(value) ? absent : fail("cannot convert float infinity to integer");
  }
  if (!(value instanceof Text)) return absent;
  meter.step(value.value.length >> 2);
  const whole = parseInteger(value.value, base);
  if (whole !== undefined) return whole;
  const float = parseReal(value.value);
  return float !== undefined && Number.isFinite(float) ? BigInt(Math.trunc(float)) : absent;
}

function roundTo(value: Value, precision: number, method: string, meter: Meter): Value {
  const given = number(value, "the value");
  meter.step(exactSteps);
  weigh(given, meter);
  if (method === "common") return round(given, precision);
  if (method !== "ceil" && method !== "floor") fail("method must be common, ceil or floor");
  const unit = arithmetic("**", 10n, BigInt(precision), meter);
  const scaled = arithmetic("*", given, unit, meter);
  if (typeof scaled === "bigint") return arithmetic("/", scaled, unit, meter);
  if (!Number.isFinite(scaled)) fail("cannot convert a float that is not finite to an integer");
  return arithmetic("/", BigInt(method === "ceil" ? Math.ceil(scaled) : Math.floor(scaled)), unit, meter);
}

/** What json.dumps indents a level by: a number of spaces, or a text. */
function jsonIndent(value: Value | undefined, meter: Meter): Text | undefined {
  if (!isGiven(value)) return undefined;
  return value instanceof Text ? value : spacesOf(Math.max(0, toIndex(value, "the indent")), meter);
}

function spacesOf(count: number, meter: Meter): Text {
  meter.text(count);
  return new Text(" ".repeat(count));
}

function separators(value: Value | undefined, isIndented: boolean): [Text, Text] {
  if (!isGiven(value)) return [new Text(isIndented ? "," : ", "), new Text(": ")];
  if (!(value instanceof List || value instanceof Tuple)) return fail("separators must be two strings");
  const [item, key] = value.items;
  return value.items.length === 2 && item instanceof Text && key instanceof Text ? [item, key] : fail("separators must be two strings");
}

const escaped = ofText(escapeMarkup);
const fallback: Filter = {
  params: "default_value=,boolean=",
  run: (value, [absent, boolean]) => {
    if (!(value instanceof Undefined) && !(flag(boolean) && !isTrue(value))) return value;
    return absent === undefined ? new Text("") : absent;
  },
};

/** Filters of one value: texts, numbers, and any. */
export const textFilters: Filters = {
  abs: {
    params: "",
    run: (value) => {
      const given = number(value, "the value");
      return given < 0 || Object.is(given, -0) ? negate(given) : given;
    },
  },
  capitalize: ofText(capitalize),
  center: {
    params: "width=",
    run: (value, [width], meter) => center(str(value, meter), width === undefined ? 80 : toIndex(width, "the width"), new Text(" "), meter),
  },
  default: fallback,
  d: fallback,
  e: escaped,
  escape: escaped,
  forceescape: ofText((text, meter) => escapeMarkup(new Text(text.value, text.marks), meter)),
  float: {
    params: "default=",
    run: (value, [absent]) => {
      if (value instanceof Undefined) fail(value.why);
      const float = isNumber(value) ? toFloat(value) : value instanceof Text ? parseReal(value.value) : undefined;
      return float !== undefined ? float : absent === undefined ? 0 : absent;
    },
  },
  format: {
    run: (value, args, keywords, meter) => {
      if (args.length > 0 && keywords.size > 0) fail("can't handle positional and keyword arguments at the same time");
      const named = Array.from(keywords, ([name, item]) => [new Text(name), item] as const);
      return percent(str(value, meter), keywords.size > 0 ? dictOf(named, meter) : new Tuple(args), meter);
    },
  },
  indent: {
    params: "width=,first=,blank=",
    run: (value, [width, first, blank], meter) => indent(value, width, flag(first), flag(blank), meter),
  },
  int: {
    params: "default=,base=",
    run: (value, [absent, base], meter) =>
      toInteger(value, absent === undefined ? 0n : absent, base === undefined ? 10 : toIndex(base, "the base"), meter),
  },
  lower: ofText(lower),
  replace: {
    params: "old,new,count=",
    run: (value, [old, by, count], meter) =>
      replace(str(value, meter), str(old!, meter), str(by!, meter), isGiven(count) ? toIndex(count, "the count") : -1, meter),
  },
  round: {
    params: "precision=,method=",
    run: (value, [precision, method], meter) =>
      roundTo(
        value,
        precision === undefined ? 0 : toIndex(precision, "the precision"),
        method === undefined ? "common" : method instanceof Text ? method.value : "",
        meter,
      ),
  },
  safe: ofText((text) => new Text(text.value, text.marks, true)),
  string: ofText((text) => text),
  title: ofText(titleFilter),
  tojson: {
    params: "ensure_ascii=,indent=,separators=,sort_keys=",
    run: (value, [ascii, indention, marks, sort], meter) => {
      const [itemSeparator, keySeparator] = separators(marks, isGiven(indention));
      const style = { ensureAscii: flag(ascii), indent: jsonIndent(indention, meter), itemSeparator, keySeparator, sortKeys: flag(sort) };
      return json(value, style, meter);
    },
  },
  trim: { params: "chars=", run: (value, [chars], meter) => strip(str(value, meter), chars, "both", meter) },
  truncate: {
    params: "length=,killwords=,end=,leeway=",
    run: (value, [length, kill, end, leeway], meter) => {
      if (!(value instanceof Text)) {
        const points = lengthOf(value, meter);
        if (points === undefined) fail(`object of type '${typeName(value)}' has no len()`);
        const most = (length === undefined ? 255 : toIndex(length, "the length")) + (isGiven(leeway) ? toIndex(leeway, "the leeway") : 5);
        return points <= most ? value : fail(`truncate requires a string, not ${typeName(value)}`);
      }
      return truncate(
        value,
        length === undefined ? 255 : toIndex(length, "the length"),
        flag(kill),
        end === undefined ? new Text("...") : str(end, meter),
        isGiven(leeway) ? toIndex(leeway, "the leeway") : 5,
        meter,
      );
    },
  },
  upper: ofText(upper),
  wordcount: ofText(countWords),
};
