import type { Meter } from "./meter.js";

/** Parts of a text: [start, end, start, end, …] in UTF-16 units, ascending, none empty, none touching the next. */
export type Marks = readonly number[];

const unmarked: Marks = [];

/** Text of a template, of which the marked parts are the caller's words and not the template's. */
export class Text {
  #points: number | undefined;

  constructor(
    readonly value: string,
    readonly marks: Marks = unmarked,
    /** Jinja's Markup: what is added to it is escaped. */
    readonly isMarkup = false,
  ) {}

  /** All of it the caller's. */
  static marked(value: string): Text {
    return new Text(value, value === "" ? unmarked : [0, value.length]);
  }

  get isMarked(): boolean {
    return this.marks.length > 0;
  }

  get isWhollyMarked(): boolean {
    return this.marks.length === 2 && this.marks[0] === 0 && this.marks[1] === this.value.length;
  }

  /** Python's length: code points. */
  points(meter: Meter): number {
    if (this.#points === undefined) {
      meter.scan(this.value.length);
      let points = this.value.length;
      for (let i = 0; i + 1 < this.value.length; i++) {
        if (isPair(this.value, i)) {
          points--;
          i++;
        }
      }
      this.#points = points;
    }
    return this.#points;
  }

  /** UTF-16 unit at which a code point begins. */
  unitOf(point: number, meter: Meter): number {
    if (this.points(meter) === this.value.length) return point;
    meter.scan(this.value.length);
    let unit = 0;
    for (let left = point; left > 0; left--) unit += isPair(this.value, unit) ? 2 : 1;
    return unit;
  }

  /** The part between two UTF-16 units. */
  slice(start: number, end: number, meter: Meter): Text {
    if (start === 0 && end === this.value.length) return this;
    if (start >= end) return empty;
    meter.text(end - start);
    return new Text(this.value.slice(start, end), sliceMarks(this.marks, start, end), this.isMarkup);
  }
}

export const empty = new Text("");

/** Whether a pair of surrogates begins here. */
export function isPair(value: string, at: number): boolean {
  return (value.charCodeAt(at) & 0xfc00) === 0xd800 && (value.charCodeAt(at + 1) & 0xfc00) === 0xdc00;
}

/** Index of the first mark that ends behind a place. */
function firstMarkBehind(marks: Marks, place: number): number {
  let [low, high] = [0, marks.length / 2];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (marks[2 * middle + 1]! > place) high = middle;
    else low = middle + 1;
  }
  return 2 * low;
}

export function sliceMarks(marks: Marks, start: number, end: number): Marks {
  if (marks.length === 0) return marks;
  const inside: number[] = [];
  for (let i = firstMarkBehind(marks, start); i < marks.length && marks[i]! < end; i += 2) {
    const from = Math.max(marks[i]!, start);
    const to = Math.min(marks[i + 1]!, end);
    if (from < to) inside.push(from - start, to - start);
  }
  return inside;
}

/** Appends the marks of a text that begins at `offset`. */
function pushMarks(onto: number[], marks: Marks, offset: number): void {
  for (let i = 0; i < marks.length; i += 2) {
    const start = marks[i]! + offset;
    if (onto.length > 0 && onto[onto.length - 1] === start) onto[onto.length - 1] = marks[i + 1]! + offset;
    else onto.push(start, marks[i + 1]! + offset);
  }
}

export function concat(a: Text, b: Text, meter: Meter): Text {
  if (a.value === "" && !b.isMarkup) return b;
  if (b.value === "" && !a.isMarkup) return a;
  const length = a.value.length + b.value.length;
  meter.join(length, a.marks.length + b.marks.length);
  if (!a.isMarked && !b.isMarked) return new Text(a.value + b.value);
  const marks = [...a.marks];
  pushMarks(marks, b.marks, a.value.length);
  return new Text(a.value + b.value, marks);
}

/** Puts a text together from its parts. */
export class TextBuilder {
  readonly #meter: Meter;
  readonly #parts: string[] = [];
  readonly #marks: number[] = [];
  #length = 0;

  constructor(meter: Meter) {
    this.#meter = meter;
  }

  get length(): number {
    return this.#length;
  }

  /** A text of the template's own, or one of the caller's. */
  put(value: string, isMarked = false): void {
    if (value === "") return;
    if (isMarked) pushMarks(this.#marks, [0, value.length], this.#length);
    this.#push(value);
  }

  add(text: Text): void {
    if (text.value === "") return;
    pushMarks(this.#marks, text.marks, this.#length);
    this.#push(text.value);
  }

  /** Part of a text, between two UTF-16 units. */
  addPart(text: Text, start: number, end: number): void {
    if (start >= end) return;
    if (text.isMarked) pushMarks(this.#marks, sliceMarks(text.marks, start, end), this.#length);
    this.#push(text.value.slice(start, end));
  }

  #push(value: string): void {
    this.#length += value.length;
    this.#meter.part(this.#length);
    this.#parts.push(value);
  }

  text(): Text {
    if (this.#length === 0) return empty;
    this.#meter.text(this.#length);
    return new Text(this.#parts.join(""), this.#marks);
  }
}

/** A text whose characters were changed: marks stay where they were if none moved, otherwise one mark makes it all the caller's. */
export function changed(text: Text, value: string): Text {
  const isKept = !text.isMarked || value.length === text.value.length;
  return new Text(value, isKept ? text.marks : [0, value.length], text.isMarkup);
}

/** Python's str.isspace of one UTF-16 unit: not what JavaScript trims, which takes U+FEFF and leaves U+001C to U+001F and U+0085. */
export function isSpace(unit: number): boolean {
  if (unit < 0x80) return (unit >= 0x09 && unit <= 0x0d) || (unit >= 0x1c && unit <= 0x20);
  if (unit < 0x1680) return unit === 0x85 || unit === 0xa0;
  return (
    unit === 0x1680 ||
    (unit >= 0x2000 && unit <= 0x200a) ||
    unit === 0x2028 ||
    unit === 0x2029 ||
    unit === 0x202f ||
    unit === 0x205f ||
    unit === 0x3000
  );
}

/** Where a text begins and ends without Python's white space. */
export function spaceEnds(value: string): [start: number, end: number] {
  let start = 0;
  let end = value.length;
  while (start < end && isSpace(value.charCodeAt(start))) start++;
  while (end > start && isSpace(value.charCodeAt(end - 1))) end--;
  return [start, end];
}

export function trimmed(value: string): string {
  return value.slice(...spaceEnds(value));
}

/** Characters of a pattern from which on it is looked for by Knuth, Morris and Pratt: V8's own search is linear up to here only. */
const longPattern = 200;

/** Finds a text in another again and again, in linear time. */
export class Finder {
  readonly #pattern: string;
  readonly #failure: Int32Array | undefined;

  constructor(pattern: string, meter: Meter) {
    this.#pattern = pattern;
    if (pattern.length < longPattern) return;
    meter.text(2 * pattern.length);
    const failure = new Int32Array(pattern.length);
    for (let i = 1, k = 0; i < pattern.length; i++) {
      while (k > 0 && pattern.charCodeAt(i) !== pattern.charCodeAt(k)) k = failure[k - 1]!;
      if (pattern.charCodeAt(i) === pattern.charCodeAt(k)) k++;
      failure[i] = k;
    }
    this.#failure = failure;
  }

  /** Unit at which the pattern first begins, at `from` or behind it; −1 if nowhere. */
  next(text: string, from: number): number {
    const failure = this.#failure;
    if (!failure) return text.indexOf(this.#pattern, from);
    const pattern = this.#pattern;
    for (let i = from, k = 0; i < text.length; i++) {
      while (k > 0 && text.charCodeAt(i) !== pattern.charCodeAt(k)) k = failure[k - 1]!;
      if (text.charCodeAt(i) === pattern.charCodeAt(k) && ++k === pattern.length) return i - k + 1;
    }
    return -1;
  }
}
