/** Longest text that an error message shows whole; tensor names of real models have some 60 characters. */
const MAX_SHOWN = 100;

/** A name out of a file, fit for a one-line message: in double quotes, control and invisible characters escaped, a long one cut. */
export function quote(name: string): string {
  const shown = name.length > MAX_SHOWN ? `${name.slice(0, MAX_SHOWN)}…` : name;
  return JSON.stringify(shown).replace(INVISIBLE, escaped);
}

/** A value out of a file, of any kind, fit for a one-line message: strings as `quote` has them, the rest as JSON. */
export function show(value: unknown): string {
  if (typeof value === "string") return quote(value);
  if (value === undefined) return "missing";
  if (typeof value !== "object") return String(value);
  const list: unknown = ArrayBuffer.isView(value) ? Array.from(value as Uint8Array) : value;
  const text = JSON.stringify(list, (_, part: unknown) => (typeof part === "bigint" ? String(part) : part));
  return (text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text).replace(INVISIBLE, escaped);
}

const INVISIBLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;
const escaped = (character: string): string => `\\u{${character.codePointAt(0)?.toString(16)}}`;
