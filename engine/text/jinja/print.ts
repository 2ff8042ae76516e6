import { fail } from "./fault.js";
import type { Meter } from "./meter.js";
import { concat, Text, TextBuilder } from "./text.js";
import { Dict, Func, isInteger, List, Once, Range, type Thing, Tuple, typeName, Undefined, type Value, View, viewItems } from "./values.js";

/** Python's str(). */
export function str(value: Value, meter: Meter): Text {
  if (value instanceof Text) return value;
  if (value instanceof Undefined) return new Text("");
  const builder = new TextBuilder(meter);
  putRepr(builder, value, meter);
  return builder.text();
}

export function repr(value: Value, meter: Meter): Text {
  const builder = new TextBuilder(meter);
  putRepr(builder, value, meter);
  return builder.text();
}

function putRepr(builder: TextBuilder, value: Value, meter: Meter): void {
  meter.enter();
  if (value instanceof Text) putReprOfText(builder, value);
  else if (value instanceof List) putAll(builder, "[", value.items, "]", meter);
  else if (value instanceof Tuple) putAll(builder, "(", value.items, value.items.length === 1 ? ",)" : ")", meter);
  else if (value instanceof Dict) {
    let open = "{";
    for (const [key, item] of value.members.values()) {
      builder.put(open);
      putRepr(builder, key, meter);
      builder.put(": ");
      putRepr(builder, item, meter);
      open = ", ";
    }
    builder.put(value.members.size === 0 ? "{}" : "}");
  } else if (value instanceof View) {
    putAll(builder, `${typeName(value)}([`, viewItems(value), "])", meter);
  } else builder.put(plain(value));
  meter.leave();
}

function putAll(builder: TextBuilder, open: string, items: readonly Value[], close: string, meter: Meter): void {
  builder.put(open);
  for (const [i, item] of items.entries()) {
    if (i > 0) builder.put(", ");
    putRepr(builder, item, meter);
  }
  builder.put(close);
}

/** What has no parts. */
function plain(value: Value): string {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (typeof value === "bigint") return String(value);
  if (typeof value === "number") return floatRepr(value);
  if (value instanceof Undefined) return "Undefined";
  if (value instanceof Range) return `range(${value.start}, ${value.stop}${value.step === 1 ? "" : `, ${value.step}`})`;
  if (value instanceof Once) return `<${value.typeName} object>`; // Python adds an address
  return value instanceof Func ? `<function ${value.name}>` : `<${(value as Thing).typeName}>`;
}

/** Shortest digits that read back, as both languages find them; Python writes an exponent below 1e-4 and from 1e16 on. */
export function floatRepr(value: number): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf";
  if (Object.is(value, -0)) return "-0.0";
  const [mantissa, power] = value.toExponential().split("e") as [string, string];
  const exponent = Number(power);
  if (exponent < -4 || exponent >= 16) return `${mantissa}e${exponentText(exponent)}`;
  const text = String(value); // without an exponent: JavaScript writes one below 1e-6 and from 1e21 on
  return text.includes(".") ? text : `${text}.0`;
}

/** An exponent as C writes it: a sign and two digits at least. */
export function exponentText(exponent: number): string {
  return `${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
}

const shortEscapes: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\" };
const special = /[^\x20-\x5b\x5d-\x7e]/u;
const unprintable = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}\p{Zs}]/u;

/** Whether Python's repr writes a character as it is. */
export function isPrintable(character: string): boolean {
  return character === " " || !unprintable.test(character);
}

function escapeCharacter(character: string): string {
  const short = shortEscapes[character];
  if (short !== undefined) return short;
  return isPrintable(character) ? character : escapeCode(character);
}

/** A character by its code: \x, \u or \U. */
export function escapeCode(character: string): string {
  const code = character.codePointAt(0)!;
  if (code < 0x100) return `\\x${code.toString(16).padStart(2, "0")}`;
  return code < 0x10000 ? `\\u${code.toString(16).padStart(4, "0")}` : `\\U${code.toString(16).padStart(8, "0")}`;
}

function putReprOfText(builder: TextBuilder, text: Text): void {
  if (text.isMarkup) builder.put("Markup(");
  const quote = text.value.includes("'") && !text.value.includes('"') ? '"' : "'";
  builder.put(quote);
  putEscaped(builder, text, (character) => {
    if (character === quote) return `\\${quote}`;
    return special.test(character) ? escapeCharacter(character) : character;
  });
  builder.put(text.isMarkup ? `${quote})` : quote);
}

/** Each part of a text with its characters escaped; what was marked is. */
function putEscaped(builder: TextBuilder, text: Text, change: (character: string) => string): void {
  const part = (start: number, end: number, isMarked: boolean): void => {
    let plainFrom = start;
    for (let i = start; i < end; ) {
      const character = String.fromCodePoint(text.value.codePointAt(i)!);
      const escaped = change(character);
      if (escaped !== character) {
        builder.put(text.value.slice(plainFrom, i), isMarked);
        builder.put(escaped, isMarked);
        plainFrom = i + character.length;
      }
      i += character.length;
    }
    builder.put(text.value.slice(plainFrom, end), isMarked);
  };
  let at = 0;
  for (let i = 0; i < text.marks.length; i += 2) {
    part(at, text.marks[i]!, false);
    part(text.marks[i]!, text.marks[i + 1]!, true);
    at = text.marks[i + 1]!;
  }
  part(at, text.value.length, false);
}

/** json.dumps, as Hugging Face's `tojson` calls it. */
export interface JsonStyle {
  readonly ensureAscii: boolean;
  /** What a level is indented by; undefined: all in one line. */
  readonly indent: Text | undefined;
  readonly itemSeparator: Text;
  readonly keySeparator: Text;
  readonly sortKeys: boolean;
}

export function json(value: Value, style: JsonStyle, meter: Meter): Text {
  const builder = new TextBuilder(meter);
  putJson(builder, value, style, new Text("\n"), meter);
  return builder.text();
}

const jsonEscapes: Readonly<Record<string, string>> = {
  '"': '\\"',
  "\\": "\\\\",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\f": "\\f",
  "\b": "\\b",
};

function putJsonText(builder: TextBuilder, text: Text, ensureAscii: boolean): void {
  const units = (character: string) =>
    Array.from({ length: character.length }, (_, i) => `\\u${character.charCodeAt(i).toString(16).padStart(4, "0")}`).join("");
  builder.put('"');
  putEscaped(builder, text, (character) => {
    const short = jsonEscapes[character];
    if (short !== undefined) return short;
    return character < " " || (ensureAscii && character > "~") ? units(character) : character;
  });
  builder.put('"');
}

function putJson(builder: TextBuilder, value: Value, style: JsonStyle, line: Text, meter: Meter): void {
  meter.enter();
  if (value instanceof Text) putJsonText(builder, value, style.ensureAscii);
  else if (value instanceof List || value instanceof Tuple) {
    putJsonItems(builder, "[", value.items, "]", style, line, meter, (item, inner) => putJson(builder, item, style, inner, meter));
  } else if (value instanceof Dict) {
    let members = [...value.members.values()];
    if (style.sortKeys) {
      const named = members.map(([key, item]) => [jsonKey(key), item] as const);
      members = named.sort(([a], [b]) => (a.value < b.value ? -1 : a.value > b.value ? 1 : 0));
    }
    putJsonItems(builder, "{", members, "}", style, line, meter, ([key, item], inner) => {
      putJsonText(builder, jsonKey(key), style.ensureAscii);
      builder.add(style.keySeparator);
      putJson(builder, item, style, inner, meter);
    });
  } else if (value === null || typeof value !== "object") builder.put(jsonScalar(value));
  else fail(`Object of type ${typeName(value)} is not JSON serializable`);
  meter.leave();
}

function putJsonItems<Item>(
  builder: TextBuilder,
  open: string,
  items: readonly Item[],
  close: string,
  style: JsonStyle,
  /** A line end and what this level is indented by. */
  line: Text,
  meter: Meter,
  put: (item: Item, line: Text) => void,
): void {
  builder.put(open);
  const inner = style.indent === undefined ? line : concat(line, style.indent, meter);
  for (const [i, item] of items.entries()) {
    if (i > 0) builder.add(style.itemSeparator);
    if (style.indent !== undefined) builder.add(inner);
    put(item, inner);
  }
  if (items.length > 0 && style.indent !== undefined) builder.add(line);
  builder.put(close);
}

function jsonScalar(value: null | boolean | bigint | number): string {
  if (value === null) return "null";
  if (typeof value === "number" && !Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity";
  return typeof value === "boolean" ? String(value) : plain(value);
}

function jsonKey(key: Value): Text {
  if (key instanceof Text) return key;
  if (key === null || isInteger(key) || typeof key === "number") return new Text(jsonScalar(key));
  return fail(`keys must be str, int, float, bool or None, not ${typeName(key)}`);
}
