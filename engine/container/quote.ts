/** Longest name that an error message shows whole; tensor names of real models have some 60 characters. */
const MAX_SHOWN = 100;

/** A name out of a file, fit for a one-line message: in double quotes, control and invisible characters escaped, a long one cut. */
export function quote(name: string): string {
  const shown = name.length > MAX_SHOWN ? `${name.slice(0, MAX_SHOWN)}…` : name;
  return JSON.stringify(shown).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (c) => `\\u{${c.codePointAt(0)?.toString(16)}}`);
}
