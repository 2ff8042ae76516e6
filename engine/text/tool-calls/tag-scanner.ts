/** Begins the body of a call in tags. */
const HEAD = "<function=";
/** UTF-16 units that are looked back over for what stands before the end. */
const LOOK_BACK = 160;
const END = /(?:<\/parameter>|<function=[^<>\s]+>)\s*<\/function>$/;

/** Follows the text of one `<function=…>…</function>`, piece by piece, to where it ends: behind its last parameter, or its name. */
export class TagScanner {
  /** "broken": it begins otherwise. */
  state: "open" | "closed" | "broken" = "open";
  #read = 0;
  /** The last units so far. */
  #recent = "";

  /** How much of this piece belongs to the function: all of it while the state is "open". */
  push(piece: string): number {
    for (let i = 0; i < piece.length; i++) {
      if (this.#read < HEAD.length && piece[i] !== HEAD[this.#read]) {
        this.state = "broken";
        return i;
      }
      this.#read++;
      if (piece[i] === ">" && END.test((this.#recent + piece.slice(Math.max(0, i + 1 - LOOK_BACK), i + 1)).slice(-LOOK_BACK))) {
        this.state = "closed";
        return i + 1;
      }
    }
    this.#recent = (this.#recent + piece.slice(-LOOK_BACK)).slice(-LOOK_BACK);
    return piece.length;
  }
}

/** Schemas of the arguments of each tool, by their names. */
export type ArgumentSchemas = ReadonlyMap<string, Readonly<Record<string, unknown>>>;

/** Whether a value of this schema is written as it is, and not as JSON. */
export const isPlainText = (schema: unknown): boolean =>
  typeof schema === "object" && schema !== null && (schema as { readonly type?: unknown }).type === "string";

/** The name and the arguments, as JSON text, of a whole function; undefined: it is malformed. */
export function readTags(text: string, schemas: ArgumentSchemas): { readonly name: string; readonly json: string } | undefined {
  const head = /^<function=([^<>\s]+)>\s*/.exec(text);
  if (head === null) return undefined;
  const name = head[1]!;
  const own = schemas.get(name) ?? {};
  const members = new Map<string, string>();
  const begin = /<parameter=([^<>\s]+)>\n?/y;
  const behind = /<\/parameter>\s*/y;
  let at = head[0].length;
  while (text.startsWith("<parameter=", at)) {
    begin.lastIndex = at;
    const found = begin.exec(text);
    if (found === null || members.has(found[1]!)) return undefined;
    const end = text.indexOf("</parameter>", begin.lastIndex);
    if (end < 0) return undefined;
    const key = found[1]!;
    const schema = Object.hasOwn(own, key) ? own[key] : undefined;
    members.set(key, jsonOf(text.slice(begin.lastIndex, end).replace(/\n$/, ""), schema));
    behind.lastIndex = end;
    behind.exec(text);
    at = behind.lastIndex;
  }
  if (text.slice(at) !== "</function>") return undefined;
  return { name, json: `{${[...members].map(([key, json]) => `${JSON.stringify(key)}: ${json}`).join(", ")}}` };
}

/** As templates write them: Python's words. */
const PYTHON: Readonly<Record<string, string>> = { True: "true", False: "false", None: "null" };

/** A value as JSON: a text where the schema says so, otherwise what is JSON already, and all else as a text. */
function jsonOf(value: string, schema: unknown): string {
  if (isPlainText(schema)) return JSON.stringify(value);
  const json = Object.hasOwn(PYTHON, value.trim()) ? PYTHON[value.trim()]! : value.trim();
  try {
    JSON.parse(json);
    return json;
  } catch {
    return JSON.stringify(value);
  }
}
