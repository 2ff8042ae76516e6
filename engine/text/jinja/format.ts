import { fail } from "./fault.js";
import type { Meter } from "./meter.js";
import { exactSteps, fixed, parseInteger, scaled, toBig, toFloat, toIndex, weigh } from "./numbers.js";
import { escapeCode, exponentText, floatRepr, repr, str } from "./print.js";
import { Text, TextBuilder } from "./text.js";
import { Dict, isInteger, isNumber, type Keywords, List, lookUp, Range, Tuple, typeName, Undefined, type Value } from "./values.js";

/** A format specification of Python: `[[fill]align][sign][#][0][width][,][.precision][type]`. */
interface Spec {
  readonly fill: string;
  readonly align: "<" | ">" | "=" | "^" | "";
  readonly sign: "+" | "-" | " " | "";
  readonly alternate: boolean;
  readonly width: number;
  readonly grouping: "," | "_" | "";
  readonly precision: number | undefined;
  readonly type: string;
}

const specPattern = /^(?:(.)?([<>=^]))?([-+ ])?(#)?(0)?([0-9]{1,9})?([,_])?(?:\.([0-9]{1,9}))?([a-zA-Z%])?$/su;

function parseSpec(text: string): Spec {
  const match = specPattern.exec(text) ?? fail("Invalid format specifier");
  const [, fill, align, sign, alternate, zero, width, grouping, precision, type] = match;
  return {
    fill: fill ?? (zero ? "0" : " "),
    align: (align ?? (zero ? "=" : "")) as Spec["align"],
    sign: (sign ?? "") as Spec["sign"],
    alternate: alternate !== undefined,
    width: Number(width ?? 0),
    grouping: (grouping ?? "") as Spec["grouping"],
    precision: precision === undefined ? undefined : Number(precision),
    type: type ?? "",
  };
}

/** Puts a text between so many fill characters that it is `width` code points wide. */
export function pad(text: Text, width: number, align: "<" | ">" | "^", fill: Text, meter: Meter): Text {
  const missing = width - text.points(meter);
  if (missing <= 0) return text;
  meter.text(missing * fill.value.length);
  const before = align === "<" ? 0 : align === ">" ? missing : Math.floor(missing / 2);
  const builder = new TextBuilder(meter);
  builder.put(fill.value.repeat(before), fill.isMarked);
  builder.add(text);
  builder.put(fill.value.repeat(missing - before), fill.isMarked);
  return builder.text();
}

/** Digits with a separator between each `size` of them, counted from the right. */
function group(digits: string, separator: string, size: number): string {
  if (separator === "") return digits;
  const parts: string[] = [];
  for (let start = 0, end = digits.length % size || size; start < digits.length; start = end, end += size)
    parts.push(digits.slice(start, end));
  return parts.join(separator);
}

/** %g's digits, without a sign: shortest of fixed and exponent, without zeros at the end. */
function general(value: number, precision: number, alternate: boolean): string {
  const digits = Math.max(1, precision);
  if (value === 0) return alternate ? `0.${"0".repeat(digits - 1)}` : "0";
  const [mantissa, power] = exponential(value, digits - 1).split("e") as [string, string];
  const exponent = Number(power);
  const trim = (text: string) => (alternate || !text.includes(".") ? text : text.replace(/\.?0{0,1100}$/, ""));
  if (exponent < -4 || exponent >= digits) return `${trim(mantissa)}e${exponentText(exponent)}`;
  return trim(fixed(value, digits - 1 - exponent));
}

/** %e's digits of a positive float, rounded exactly. */
function exponential(value: number, decimals: number): string {
  if (value === 0) return `0${decimals > 0 ? `.${"0".repeat(decimals)}` : ""}e+00`;
  let exponent = Number(value.toExponential().split("e")[1]);
  let digits = String(scaled(value, decimals - exponent));
  if (digits.length > decimals + 1) {
    exponent++;
    digits = String(scaled(value, decimals - exponent));
  }
  return `${digits[0]}${decimals > 0 ? `.${digits.slice(1)}` : ""}e${exponentText(exponent)}`;
}

/** A float without its sign, as a type letter says. `alternate`: there is a point, whatever comes behind it. */
function floatDigits(value: number, type: string, precision: number | undefined, alternate: boolean): string {
  if (!Number.isFinite(value)) return `${Number.isNaN(value) ? "nan" : "inf"}${type === "%" ? "%" : ""}`;
  const digits = digitsOf(value, type, precision, alternate);
  return !alternate || digits.includes(".") ? digits : digits.replace(/(?=[e%]|$)/, ".");
}

function digitsOf(value: number, type: string, precision: number | undefined, alternate: boolean): string {
  switch (type.toLowerCase()) {
    case "f":
      return fixed(value, precision ?? 6);
    case "e":
      return exponential(value, precision ?? 6);
    case "g":
    case "n":
      return general(value, precision ?? 6, alternate);
    case "%":
      return `${fixed(value * 100, precision ?? 6)}%`;
    default: {
      if (precision === undefined) return floatRepr(value);
      // As g, with one digit behind the point at least.
      const digits = Math.max(1, precision);
      const exponent = value === 0 ? 0 : Number(exponential(value, digits - 1).split("e")[1]);
      const text = general(value, precision, alternate);
      if (exponent === digits - 1) {
        const all = text.replace(".", "");
        return `${all.slice(0, 1)}${digits > 1 ? `.${all.slice(1)}` : ""}e${exponentText(exponent)}`;
      }
      return exponent >= -4 && exponent < digits && !text.includes(".") ? `${text}.0` : text;
    }
  }
}

const radixes: Readonly<Record<string, number>> = { d: 10, n: 10, x: 16, X: 16, o: 8, b: 2, "": 10 };

/** Python's format(value, spec). */
export function format(value: Value, specText: string, meter: Meter): Text {
  if (specText === "") return str(value, meter);
  if (!(value instanceof Text) && !isNumber(value)) fail(`unsupported format string passed to ${typeName(value)}.__format__`);
  const spec = parseSpec(specText);
  if (value instanceof Text) {
    if (spec.type !== "" && spec.type !== "s") fail(`Unknown format code '${spec.type}' for object of type 'str'`);
    const isZeroFilled = /^#?0/.test(specText);
    if ((spec.align === "=" && !isZeroFilled) || spec.sign !== "" || spec.grouping !== "" || spec.alternate)
      fail("Invalid format specifier for a str");
    const shown = spec.precision === undefined ? value : value.slice(0, unitOfOrEnd(value, spec.precision, meter), meter);
    return pad(shown, spec.width, spec.align === "=" ? "<" : spec.align || "<", new Text(spec.fill), meter);
  }
  return new Text(formatNumber(value, spec, meter));
}

function unitOfOrEnd(text: Text, point: number, meter: Meter): number {
  return point >= text.points(meter) ? text.value.length : text.unitOf(point, meter);
}

function formatNumber(value: bigint | boolean | number, spec: Spec, meter: Meter): string {
  meter.text(spec.width + (spec.precision ?? 0));
  meter.step(typeof value === "number" ? exactSteps : 1);
  weigh(value, meter);
  const radix = radixes[spec.type];
  const cannotGroup = spec.grouping === "," ? /[nxXobc]/ : /[nc]/;
  if (spec.grouping !== "" && cannotGroup.test(spec.type)) fail(`Cannot specify '${spec.grouping}' with '${spec.type}'.`);
  let digits: string;
  let prefix = "";
  let isNegative: boolean;
  let tail = "";
  if (isInteger(value) && (radix !== undefined || spec.type === "c")) {
    if (spec.precision !== undefined) fail("Precision not allowed in integer format specifier");
    if (spec.type === "c" && (spec.sign !== "" || spec.alternate)) fail("a sign or # is not allowed with the format 'c'");
  }
  if (isInteger(value) && radix !== undefined) {
    const big = toBig(value);
    isNegative = big < 0n;
    digits = (isNegative ? -big : big).toString(radix);
    if (spec.alternate && radix !== 10) prefix = `0${spec.type.toLowerCase()}`;
  } else if (isInteger(value) && spec.type === "c") {
    digits = String.fromCodePoint(
      toIndex(value) >= 0 && toIndex(value) <= 0x10ffff ? toIndex(value) : fail("%c arg not in range(0x110000)"),
    );
    isNegative = false;
  } else {
    if (spec.type !== "" && !/[eEfFgGn%]/.test(spec.type))
      fail(`Unknown format code '${spec.type}' for object of type '${typeName(value)}'`);
    const float = toFloat(value);
    isNegative = float < 0 || Object.is(float, -0);
    digits = floatDigits(Math.abs(float), spec.type, spec.precision, spec.alternate);
    const end = digits.search(/[.e%]|$/);
    tail = digits.slice(end);
    digits = digits.slice(0, end);
  }
  const isUpper = /[XEFG]/.test(spec.type);
  const upper = (text: string) => (isUpper ? text.toUpperCase() : text);
  const sign = isNegative ? "-" : spec.sign === "-" ? "" : spec.sign;
  const size = radix !== undefined && radix !== 10 ? 4 : 3;
  let body = upper(group(digits, spec.grouping, size) + tail);
  const head = sign + upper(prefix);
  if (spec.align === "=") {
    if (spec.grouping !== "" && spec.fill === "0") {
      // Zeros are grouped, too, and never begin with a separator: as many digits as are at least so wide with the separators between them.
      const room = spec.width - head.length - tail.length;
      const wide = room - Math.floor(room / (size + 1)) + (room % (size + 1) === 0 ? 1 : 0);
      const filled = digits.padStart(wide, "0");
      body = upper(group(filled, spec.grouping, size) + tail);
    }
    return head + body.padStart(spec.width - head.length, spec.fill);
  }
  const text = head + body;
  return pad(new Text(text), spec.width, spec.align || ">", new Text(spec.fill), meter).value;
}

/** None is null, so ?? would take it for nothing. */
function need(value: Value | undefined, otherwise: string): Value {
  return value === undefined ? fail(otherwise) : value;
}

/** What the caller's own format made is all the caller's: its fill characters, too. */
function own(source: Text, made: Text): Text {
  return source.isMarked ? Text.marked(made.value) : made;
}

/** %s, %r and %a. */
function percentText(type: string, value: Value, precision: number | undefined, meter: Meter): Text {
  const shown = type === "s" ? str(value, meter) : type === "r" ? repr(value, meter) : ascii(value, meter);
  return precision === undefined ? shown : shown.slice(0, unitOfOrEnd(shown, precision, meter), meter);
}

/** The other conversions: numbers, and %c. */
function percentNumber(
  type: string,
  flags: string,
  isLeft: boolean,
  width: number,
  precision: number | undefined,
  value: Value,
  meter: Meter,
): Text {
  if (!/[diouxXeEfFgGc]/.test(type)) fail(`unsupported format character '${type}'`);
  if (type === "c") {
    if (value instanceof Text) return value.points(meter) === 1 ? value : fail("%c requires int or char");
    return isInteger(value) ? format(toBig(value), "c", meter) : fail("%c requires int or char");
  }
  if (!isNumber(value)) return fail(`%${type} format: a real number is required, not ${typeName(value)}`);
  const isWhole = /[diuoxX]/.test(type);
  if (isWhole && typeof value === "number" && (/[oxX]/.test(type) || !Number.isFinite(value)))
    fail(`%${type} format: an integer is required`);
  const number = isWhole && typeof value === "number" ? BigInt(Math.trunc(value)) : value;
  const fill = flags.includes("0") && !isLeft ? "0" : " ";
  const spec: Spec = {
    fill,
    align: fill === "0" ? "=" : isLeft ? "<" : ">",
    sign: flags.includes("+") ? "+" : flags.includes(" ") ? " " : "",
    alternate: flags.includes("#"),
    width,
    grouping: "",
    precision: isWhole ? undefined : (precision ?? 6),
    type: "diu".includes(type) ? "d" : type,
  };
  if (!isWhole || precision === undefined) return new Text(formatNumber(number, spec, meter));
  // The precision of an integer is how many digits it has at least, whatever stands before them.
  const { sign, alternate } = spec;
  const before = (sign !== "" || toFloat(number) < 0 ? 1 : 0) + (alternate && /[oxX]/.test(type) ? 2 : 0);
  const least = precision + before;
  return new Text(formatNumber(number, fill === "0" && width > least ? spec : { ...spec, fill: "0", align: "=", width: least }, meter));
}

/** Python's ascii(): its repr with escapes for all that is beyond ASCII. */
function ascii(value: Value, meter: Meter): Text {
  const shown = repr(value, meter);
  meter.text(10 * shown.value.length);
  const escaped = shown.value.replace(/[^\0-\x7f]/gu, escapeCode);
  return escaped === shown.value ? shown : new Text(escaped, shown.isMarked ? [0, escaped.length] : []);
}

/** Python's `text % values`. */
export function percent(text: Text, values: Value, meter: Meter): Text {
  const builder = new TextBuilder(meter);
  const all: readonly Value[] = values instanceof Tuple ? values.items : [values];
  let used = 0;
  let isNamed = false;
  const next = (): Value => (used < all.length ? all[used++]! : fail("not enough arguments for format string"));
  const source = text.value;
  meter.scan(source.length);
  let at = 0;
  for (;;) {
    const start = source.indexOf("%", at);
    builder.addPart(text, at, start < 0 ? source.length : start);
    if (start < 0) break;
    const conversion = /^%(?:\(([^()]*)\))?([-+ #0]*)(\*|[0-9]{1,9})?(?:\.(\*|[0-9]{0,9}))?[hlL]?(.)?/su.exec(
      source.slice(start, start + 1000),
    )!;
    at = start + conversion[0].length;
    const [, name, flags = "", widthText, precisionText, type] = conversion;
    if (type === undefined) fail("incomplete format");
    if (conversion[0] === "%%") {
      builder.addPart(text, start, start + 1);
      continue;
    }
    const count = (given: string | undefined) => (given === "*" ? toIndex(next(), "* requires an int, which") : Number(given ?? 0));
    let width = count(widthText);
    const precision = precisionText === undefined ? undefined : count(precisionText);
    let value: Value;
    if (name !== undefined) {
      isNamed = true;
      if (!(values instanceof Dict)) fail("format requires a mapping");
      value = need(lookUp(values, new Text(name), meter), `there is no key '${name}'`);
    } else value = next();
    let isLeft = flags.includes("-");
    if (width < 0) {
      isLeft = true;
      width = -width;
    }
    const shown = "sra".includes(type!)
      ? percentText(type!, value, precision, meter)
      : percentNumber(type!, flags, isLeft, width, precision, value, meter);
    builder.add(pad(shown, width, isLeft ? "<" : ">", new Text(" "), meter));
  }
  // What can be indexed is a mapping to Python, of which not all needs to be used.
  const isMapping = values instanceof Dict || values instanceof List || values instanceof Range || values instanceof Undefined;
  if (!isNamed && used < all.length && !isMapping) fail("not all arguments converted during string formatting");
  return own(text, builder.text());
}

/** `text.format(…)`. `attribute` gives `.name` and `[key]` of a value. */
export function formatMethod(
  text: Text,
  args: readonly Value[],
  keywords: Keywords,
  attribute: (value: Value, key: Text | bigint, isItem: boolean) => Value,
  meter: Meter,
): Text {
  let automatic = 0;
  const field = (path: string): Value => {
    const end = path.search(/[.[]|$/);
    const first = path.slice(0, end);
    const index = first === "" ? BigInt(automatic++) : /^[0-9]+$/.test(first) ? parseInteger(first, 10) : undefined;
    let value =
      index === undefined
        ? need(keywords.get(first), `format has no argument '${first}'`)
        : need(args[Number(index)], `format has no argument ${index}`);
    for (let at = end; at < path.length; ) {
      const isItem = path[at] === "[";
      const close = isItem ? path.indexOf("]", at) : at + 1 + path.slice(at + 1).search(/[.[]|$/);
      if (close < 0) fail("Missing ']' in format string");
      const key = path.slice(at + 1, close);
      if (key === "") fail("Empty attribute in format string");
      const number = isItem && /^[0-9]+$/.test(key) ? parseInteger(key, 10) : undefined;
      value = attribute(value, number ?? new Text(key), isItem);
      if (value instanceof Undefined) fail(value.why);
      at = isItem ? close + 1 : close;
    }
    return value;
  };
  const build = (source: Text, depth: number): Text => {
    const builder = new TextBuilder(meter);
    const { value: all } = source;
    meter.scan(all.length);
    let plainFrom = 0;
    let at = 0;
    while (at < all.length) {
      const brace = all[at]!;
      if (brace !== "{" && brace !== "}") {
        at++;
        continue;
      }
      builder.addPart(source, plainFrom, at);
      if (all[at + 1] === brace) {
        builder.addPart(source, at, at + 1);
        at += 2;
        plainFrom = at;
        continue;
      }
      if (brace === "}") fail("Single '}' encountered in format string");
      let level = 1;
      let end = at + 1;
      for (; end < all.length; end++) {
        if (all[end] === "{") level++;
        else if (all[end] === "}" && --level === 0) break;
      }
      if (level > 0) fail("expected '}' before end of string");
      if (depth > 2) fail("Max string recursion exceeded");
      meter.scan(end - at);
      const inside = all.slice(at + 1, end);
      const [, path, conversion, spec] = /^([^!:]*)(?:!([^:]?))?(?::(.*))?$/su.exec(inside) ?? fail("bad format field");
      let value = field(path!);
      if (conversion === "r") value = repr(value, meter);
      else if (conversion === "s") value = str(value, meter);
      else if (conversion !== undefined) fail(`Unknown conversion specifier '${conversion}'`);
      const filled = spec?.includes("{") ? build(new Text(spec), depth + 1) : new Text(spec ?? "");
      const formatted = format(value, filled.value, meter);
      builder.add(filled.isMarked ? Text.marked(formatted.value) : formatted);
      at = end + 1;
      plainFrom = at;
    }
    builder.addPart(source, plainFrom, all.length);
    return builder.text();
  };
  return own(text, build(text, 1));
}
