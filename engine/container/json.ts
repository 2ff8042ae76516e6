import { quote } from "./quote.js";

/** How deep unused values may be nested; used ones have two levels. */
const MAX_DEPTH = 32;

/**
 * Values of a whole text. Headers of the largest models have a million (100,000 tensors); each costs far more time and memory than its bytes,
 * so that 100 MB of small ones would take half a minute.
 */
export const MAX_JSON_VALUES = 2 ** 21;

/** Members of one object: twice the tensors of the largest models there are. All of their keys are kept, to find one that comes twice. */
const MAX_MEMBERS = 2 ** 18;

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/**
 * A reader of JSON bytes (RFC 8259) that the caller leads through the shape it expects. JSON.parse would do, but it keeps the last of two equal
 * keys in silence, rounds integers, has no byte offsets, and builds whatever a hostile file says before anyone can look at it.
 */
export class JsonReader {
  private pos = 0;
  private values = 0;

  /** `fail` throws; `at` is an index into `bytes`. */
  constructor(
    private readonly bytes: Uint8Array,
    private readonly fail: (message: string, at: number) => never,
  ) {}

  private space(): void {
    for (;;) {
      const byte = this.bytes[this.pos];
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return;
      this.pos++;
    }
  }

  /** Takes a punctuation character if it is the next. */
  private next(character: string): boolean {
    this.space();
    if (this.bytes[this.pos] !== character.charCodeAt(0)) return false;
    this.pos++;
    return true;
  }

  /** Counts a member or an element. */
  private one(where: string): void {
    if (++this.values > MAX_JSON_VALUES) this.fail(`${where} exceeds the limit of ${MAX_JSON_VALUES} values`, this.pos);
  }

  private expect(character: string, where: string): void {
    if (!this.next(character)) this.fail(`${where} should have "${character}" here`, this.pos);
  }

  /** Calls `member` after every key; it must read the value. A key that comes twice fails. */
  object(where: string, member: (key: string) => void): void {
    this.expect("{", where);
    if (this.next("}")) return;
    const keys = new Set<string>();
    do {
      this.one(where);
      this.space();
      const at = this.pos;
      const key = this.string(`a key of ${where}`);
      if (keys.has(key)) this.fail(`${where} has the key ${quote(key)} twice`, at);
      keys.add(key);
      if (keys.size > MAX_MEMBERS) this.fail(`${where} has more than ${MAX_MEMBERS} members, which is the limit`, at);
      this.expect(":", where);
      member(key);
    } while (this.next(","));
    this.expect("}", where);
  }

  /** Calls `element` before every value; it must read it. */
  array(where: string, element: () => void): void {
    this.expect("[", where);
    if (this.next("]")) return;
    do {
      this.one(where);
      element();
    } while (this.next(","));
    this.expect("]", where);
  }

  string(where: string): string {
    this.expect('"', where);
    const start = this.pos;
    let escaped = false;
    for (let byte = this.bytes[this.pos]; byte !== QUOTE; byte = this.bytes[this.pos]) {
      if (byte === undefined || byte < 0x20) this.fail(`${where} is an incomplete string`, start - 1);
      if (byte === BACKSLASH) {
        escaped = true;
        this.pos++;
      }
      this.pos++;
    }
    const end = this.pos++;
    try {
      const raw = utf8.decode(this.bytes.subarray(start, end));
      if (!escaped) return raw;
      const text: unknown = JSON.parse(`"${raw}"`);
      if (typeof text === "string" && !/\p{Surrogate}/u.test(text)) return text;
    } catch {
      // Said below, with the place.
    }
    return this.fail(`${where} is not a valid string`, start - 1);
  }

  /** A whole number from 0 to 2^53 − 1, written in digits alone. */
  count(where: string): number {
    this.space();
    const start = this.pos;
    let value = 0;
    for (let byte = this.bytes[this.pos]; byte !== undefined && byte >= 0x30 && byte <= 0x39; byte = this.bytes[this.pos]) {
      value = value * 10 + (byte - 0x30);
      this.pos++;
    }
    const digits = this.pos - start;
    const after = this.bytes[this.pos];
    const more = after === 0x2e || after === 0x65 || after === 0x45; // . e E
    if (digits === 0 || more || (digits > 1 && this.bytes[start] === 0x30))
      this.fail(`${where} should be a whole number, written with digits only`, start);
    if (value > Number.MAX_SAFE_INTEGER) this.fail(`${where} is a number that is too large`, start);
    return value;
  }

  /** Any value, checked for form and dropped. */
  skip(where: string, depth = 0): void {
    if (depth > MAX_DEPTH) this.fail(`${where} is nested deeper than ${MAX_DEPTH} levels`, this.pos);
    this.space();
    const first = this.bytes[this.pos];
    if (first === QUOTE) this.string(where);
    else if (first === 0x7b) this.object(where, () => this.skip(where, depth + 1));
    else if (first === 0x5b) this.array(where, () => this.skip(where, depth + 1));
    else {
      const start = this.pos;
      // A number or a word is short; letters, digits, + - and . make it up.
      while (isLiteral(this.bytes[this.pos] ?? 0)) this.pos++;
      const literal = String.fromCharCode(...this.bytes.subarray(start, Math.min(this.pos, start + 64)));
      if (!/^(?:true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)$/.test(literal))
        this.fail(`${where} is not a JSON value`, start);
    }
  }

  /** Nothing but space may follow. */
  end(where: string): void {
    this.space();
    if (this.pos < this.bytes.length) this.fail(`${where} continues after its end`, this.pos);
  }
}

function isLiteral(byte: number): boolean {
  const letter = byte | 0x20;
  return (letter >= 0x61 && letter <= 0x7a) || (byte >= 0x30 && byte <= 0x39) || byte === 0x2b || byte === 0x2d || byte === 0x2e;
}
