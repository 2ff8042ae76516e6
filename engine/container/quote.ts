/** Longest text that an error message shows whole; tensor names of real models have some 60 characters. */
const MAX_SHOWN = 100;

/** A name out of a file, fit for a one-line message: in double quotes, control and invisible characters escaped, a long one cut. */
export function quote(name: string): string {
  const shown = name.length > MAX_SHOWN ? `${name.slice(0, MAX_SHOWN)}…` : name;
  return inOneLine(JSON.stringify(shown));
}

/** A text that was made of a file's words, such as another program's message, in one line: control and invisible characters are escaped. */
export function inOneLine(text: string): string {
  return text.replace(INVISIBLE, escaped);
}

/** A value out of a file, of any kind, fit for a one-line message: strings as `quote` has them, the rest as JSON, cut where it is long or deep. */
export function show(value: unknown): string {
  if (typeof value === "string") return quote(value);
  if (value === undefined) return "missing";
  const text = begin(value, 0);
  return inOneLine(text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text);
}

/** Levels that a message shows. */
const MAX_LEVELS = 4;

/** The begin of a value as JSON, at least what is shown of it: JSON.stringify would build all of it, and overflow the stack on a deep one. */
function begin(value: unknown, level: number): string {
  if (typeof value === "string") return JSON.stringify(value.slice(0, MAX_SHOWN + 1));
  if (typeof value !== "object" || value === null) return String(value);
  // The iterator of a typed array whose buffer was given away throws.
  const isList = Symbol.iterator in value && !(ArrayBuffer.isView(value) && value.byteLength === 0);
  const [open, close] = isList ? "[]" : "{}";
  if (level === MAX_LEVELS) return `${open}…${close}`;
  let text = open!;
  const separate = (): string => (text.length > 1 ? "," : "");
  if (isList) {
    for (const item of value as Iterable<unknown>) {
      text += separate() + begin(item, level + 1);
      if (text.length > MAX_SHOWN) break;
    }
  } else {
    for (const key in value) {
      if (!Object.hasOwn(value, key)) continue;
      text += `${separate()}${JSON.stringify(key.slice(0, MAX_SHOWN + 1))}:${begin((value as Record<string, unknown>)[key], level + 1)}`;
      if (text.length > MAX_SHOWN) break;
    }
  }
  return text + close;
}

const INVISIBLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;
const escaped = (character: string): string => `\\u{${character.codePointAt(0)?.toString(16)}}`;
