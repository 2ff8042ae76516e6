import { BitnetError } from "../errors.js";
import type { Matcher, Place } from "./matcher.js";

/** An answer under a grammar: which tokens may come next. */
export class Constraint {
  readonly #matcher: Matcher;
  #place: Place;

  constructor(matcher: Matcher, place = matcher.start()) {
    this.#matcher = matcher;
    this.#place = place;
  }

  /** Whether the answer is complete, so that it may end here. */
  get canEnd(): boolean {
    return this.#place.canEnd;
  }

  /** [⌈vocabulary/32⌉] bit id % 32 of word ⌊id/32⌋ is set where that token may come next; not to be changed. None: the answer must end. */
  mask(): Uint32Array {
    this.#matcher.tidy();
    return this.#matcher.mask(this.#place);
  }

  /** Takes the next token. @throws BitnetError internal: it may not come next */
  accept(id: number): void {
    const bytes = this.#matcher.trie.bytes(id) ?? [];
    let place: Place | undefined = bytes.length > 0 ? this.#place : undefined;
    for (const byte of bytes) place &&= this.#matcher.step(place, byte);
    if (place === undefined) throw new BitnetError("internal", `token ${id} can't follow under the grammar`);
    this.#place = place;
  }

  /** One that goes on from here by itself. */
  fork(): Constraint {
    return new Constraint(this.#matcher, this.#place);
  }
}
