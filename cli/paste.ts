/** What a terminal puts around a paste, once it was asked to (bracketed paste mode, of xterm). */
const BEGIN = "\x1b[200~";
const END = "\x1b[201~";

/** Input this long is not typed: it is part of a paste, and more may follow. Terminals send 1024 bytes or 4095 at once. */
const PART = 1000;

/** Keys as they were pressed, at most one Enter and that at the end; or a text that came as a whole. */
export interface Typed {
  readonly kind: "keys" | "paste";
  readonly text: string;
}

/**
 * Tells pasted text from typed keys in what comes from a terminal in raw mode. A paste is what is between the terminal's marks. Where a
 * terminal has no marks, several lines that arrive at once are a paste: they can't be typed.
 */
export class PasteSplitter {
  /** The paste that has begun and has no end yet. */
  #paste: string | undefined;
  /** The beginning of a mark that the last chunk ended with. */
  #rest = "";

  /** The next piece of input, as the terminal sent it. */
  push(chunk: string): Typed[] {
    const typed: Typed[] = [];
    let text = this.#rest + chunk;
    this.#rest = "";
    while (text !== "") {
      const mark = this.#paste === undefined ? BEGIN : END;
      const at = text.indexOf(mark);
      const held = at < 0 ? beginningOf(mark, text) : 0;
      const before = at < 0 ? text.slice(0, text.length - held) : text.slice(0, at);
      if (this.#paste === undefined) typed.push(...keysOrLines(before));
      else this.#paste += before;
      if (at < 0) {
        this.#rest = text.slice(text.length - held);
        break;
      }
      if (this.#paste === undefined) this.#paste = "";
      else {
        typed.push({ kind: "paste", text: clean(this.#paste) });
        this.#paste = undefined;
      }
      text = text.slice(at + mark.length);
    }
    return typed;
  }
}

/** How much of a mark's beginning the text ends with. A lone Escape is a key, except in a paste. */
function beginningOf(mark: string, text: string): number {
  const least = mark === END ? 1 : 2;
  for (let length = mark.length - 1; length >= least; length--) if (text.endsWith(mark.slice(0, length))) return length;
  return 0;
}

/** Input without marks: lines that came together are a paste, and an Enter behind them is pressed. */
function keysOrLines(text: string): Typed[] {
  if (text.length >= PART) return [{ kind: "paste", text: clean(text) }];
  const lines = text.replace(/[\r\n]+$/, "");
  const enters = text.slice(lines.length).replace(/\r\n/g, "\r").split("").fill("\r");
  const typed: Typed[] = [];
  if (/[\r\n]/.test(lines)) typed.push({ kind: "paste", text: clean(lines) });
  else if (lines !== "") typed.push({ kind: "keys", text: lines });
  return [...typed, ...enters.map((enter): Typed => ({ kind: "keys", text: enter }))];
}

/** A paste with plain line ends, and without the control characters that an editor of lines would obey. */
function clean(text: string): string {
  return text.replace(/\r\n?|[\u2028\u2029]/g, "\n").replace(/[^\P{Cc}\t\n]/gu, "");
}
