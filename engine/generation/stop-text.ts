import { beginningLength } from "../text/beginning.js";

/**
 * Watches a stream of text for stop strings: text that might begin one waits until it is certain.
 * The match that is complete first wins, of those the longest: so how the text is cut into pieces makes no difference.
 */
export class StopText {
  readonly #stops: readonly string[];
  #held = "";
  #stopped = false;

  /** `stops`: none of them empty. */
  constructor(stops: readonly string[]) {
    this.#stops = stops;
  }

  /** Whether a stop string was found; what comes after it is dropped. */
  get stopped(): boolean {
    return this.#stopped;
  }

  /** The text that became certain with this piece. */
  push(piece: string): string {
    if (this.#stopped) return "";
    const text = this.#held + piece;
    let start = -1;
    let end = Infinity;
    for (const stop of this.#stops) {
      const at = text.indexOf(stop);
      if (at < 0 || at + stop.length > end || (at + stop.length === end && at > start)) continue;
      start = at;
      end = at + stop.length;
    }
    if (start >= 0) {
      this.#stopped = true;
      this.#held = "";
      return text.slice(0, start);
    }
    const certain = text.length - Math.max(0, ...this.#stops.map((stop) => beginningLength(text, stop)));
    this.#held = text.slice(certain);
    return text.slice(0, certain);
  }

  /** What was held, now that nothing follows. */
  end(): string {
    const rest = this.#held;
    this.#held = "";
    return rest;
  }
}
