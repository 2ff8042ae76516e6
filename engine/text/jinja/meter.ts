import { TemplateFault } from "./fault.js";

/** What one rendering may take. */
export interface Limits {
  /** Expressions and statements evaluated, and 32 characters looked through count as one. */
  readonly steps: number;
  /** Characters made, in all; an element of a list counts as `elementSize`. */
  readonly made: number;
  /** UTF-16 units of one text, the rendered one too. */
  readonly text: number;
}

/** Characters that one element of a list counts as: an object with its pointer. */
const elementSize = 16;

/** Characters that are looked through, or joined without copying, in the time of one step. */
const scannedPerStep = 32;

/**
 * Levels of evaluation within each other: a macro within a loop within a macro, lists in lists. Some 30 are usual. A level takes up to 500 bytes
 * of stack, of which there are a megabyte.
 */
const maxDepth = 800;

/**
 * Counts what a rendering takes, before it is taken. A template is a program from an untrusted file, and may never end. The count depends on
 * nothing but template and input, so a chat that renders on one machine renders on all.
 */
export class Meter {
  readonly #limits: Limits;
  #steps = 0;
  #made = 0;
  #depth = 0;

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  step(count = 1): void {
    this.#steps += count;
    if (this.#steps > this.#limits.steps) throw new TemplateFault("limit", `it takes more than ${this.#limits.steps} steps`);
  }

  /** So many characters are looked through. */
  scan(characters: number): void {
    this.step(1 + Math.floor(characters / scannedPerStep));
  }

  /** A text of so many characters is made of others. */
  text(length: number): void {
    this.#fits(length);
    this.#make(length);
  }

  /** A text of so many characters is put together of parts which stay where they are. */
  join(length: number, marks: number): void {
    this.#fits(length);
    this.#make(elementSize + Math.floor(length / scannedPerStep) + 4 * marks);
  }

  /** A part is put to a text that is so long with it. */
  part(length: number): void {
    this.#fits(length);
    this.#make(elementSize);
  }

  /** So many elements of a list, or members of a dict, are made. */
  elements(count: number): void {
    this.step(1 + Math.floor(count / scannedPerStep));
    this.#make(count * elementSize);
  }

  /** One level deeper; `leave` ends it. A rendering that fails ends as a whole, so `leave` is not needed then. */
  enter(): void {
    this.step();
    if (++this.#depth > maxDepth) throw new TemplateFault("limit", `it goes more than ${maxDepth} levels deep`);
  }

  leave(): void {
    this.#depth--;
  }

  #fits(length: number): void {
    if (length > this.#limits.text) throw new TemplateFault("limit", `it writes a text of more than ${this.#limits.text} characters`);
  }

  #make(size: number): void {
    this.#made += size;
    if (this.#made > this.#limits.made) throw new TemplateFault("limit", `it makes more than ${this.#limits.made} characters in all`);
  }
}
