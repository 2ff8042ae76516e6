/** Follows the text of one JSON object, piece by piece, to where it ends. It looks at brackets and strings only: JSON.parse judges the rest. */
export class JsonScanner {
  /** "broken": what follows can't be JSON. */
  state: "open" | "closed" | "broken" = "open";
  #depth = 0;
  #isInString = false;
  #isEscaped = false;

  /** How much of this piece belongs to the object: all of it while the state is "open". */
  push(piece: string): number {
    for (let i = 0; i < piece.length; i++) {
      const unit = piece.charCodeAt(i);
      if (this.#isInString) {
        if (unit < SPACE) {
          this.state = "broken";
          return i;
        }
        if (this.#isEscaped) this.#isEscaped = false;
        else if (unit === BACKSLASH) this.#isEscaped = true;
        else if (unit === QUOTE) this.#isInString = false;
      } else if (unit === QUOTE) this.#isInString = true;
      else if (unit === OPEN_BRACE || unit === OPEN_BRACKET) this.#depth++;
      else if ((unit === CLOSE_BRACE || unit === CLOSE_BRACKET) && --this.#depth === 0) {
        this.state = "closed";
        return i + 1;
      }
    }
    return piece.length;
  }
}

const [SPACE, QUOTE, BACKSLASH] = [0x20, 0x22, 0x5c];
const [OPEN_BRACE, CLOSE_BRACE, OPEN_BRACKET, CLOSE_BRACKET] = [0x7b, 0x7d, 0x5b, 0x5d];

/** The members of a valid JSON object, each value as it is written; of two with one name the last, as JSON.parse takes it. */
export function jsonMembers(json: string): Map<string, string> {
  const members = new Map<string, string>();
  const token = /"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],:]|[^\s{}[\],:"]+/g;
  let depth = 0;
  let name: string | undefined;
  let start = -1;
  for (const { 0: found, index } of json.matchAll(token)) {
    const isEnd = depth === 1 && (found === "," || found === "}");
    if (isEnd && name !== undefined) {
      members.set(name, json.slice(start, index).trim());
      name = undefined;
      start = -1;
    } else if (depth === 1 && name === undefined && found.startsWith('"')) {
      name = JSON.parse(found) as string;
    } else if (depth === 1 && start < 0 && found === ":") start = index + 1;
    if (found === "{" || found === "[") depth++;
    else if (found === "}" || found === "]") depth--;
  }
  return members;
}
