import { BitnetError } from "../errors.js";
import type { Matcher, Place } from "./matcher.js";

const SPACE = 0x20;

/** An answer under a grammar: which tokens may come next. */
export class Constraint {
  readonly #matcher: Matcher;
  #place: Place;
  /** The next token loses a space that it begins with: no such one is allowed. */
  #losesSpace: boolean;

  /** @param from the place where it begins, and whether a space that the first token begins with is no part of the text; default: all of the text */
  constructor(matcher: Matcher, from: { readonly place?: Place; readonly losesSpace?: boolean } = {}) {
    this.#matcher = matcher;
    this.#place = from.place ?? matcher.start();
    this.#losesSpace = from.losesSpace ?? false;
  }

  /** Whether the answer is complete, so that it may end here. */
  get canEnd(): boolean {
    return this.#place.canEnd;
  }

  /**
   * [⌈vocabulary/32⌉] bit id % 32 of word ⌊id/32⌋ is set where that token may come next; not to be changed. None: the answer must end.
   * @throws BitnetError usage: an answer can't begin as the grammar wants
   */
  mask(): Uint32Array {
    this.#matcher.tidy();
    const mask = this.#matcher.mask(this.#place);
    if (!this.#losesSpace) return mask;
    const { trie } = this.#matcher;
    const rest = mask.slice();
    for (const id of trie.beginning(SPACE)) rest[id >>> 5]! &= ~(1 << (id & 31));
    if (!this.canEnd && rest.every((word) => word === 0)) {
      throw new BitnetError("usage", "the format wants an answer that begins with a space, which the model's tokenizer takes away there");
    }
    return rest;
  }

  /** Takes the next token. @throws BitnetError internal: it may not come next */
  accept(id: number): void {
    const bytes = this.#matcher.trie.bytes(id) ?? [];
    let place: Place | undefined = bytes.length > 0 ? this.#place : undefined;
    for (const byte of bytes) place &&= this.#matcher.step(place, byte);
    if (place === undefined) throw new BitnetError("internal", `token ${id} can't follow under the grammar`);
    this.#place = place;
    this.#losesSpace = false;
  }

  /** One that goes on from here by itself. */
  fork(): Constraint {
    return new Constraint(this.#matcher, { place: this.#place, losesSpace: this.#losesSpace });
  }
}
