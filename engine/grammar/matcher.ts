import { BitnetError } from "../errors.js";
import { type Automaton, canEndIn, canGoOnIn, stepIn } from "./expression.js";
import type { Grammar } from "./grammar.js";
import { grammarLimits } from "./limits.js";
import type { TokenTrie } from "./token-trie.js";

/** States to which the rules that were called return, the innermost first. */
interface Stack {
  readonly state: number;
  readonly up: Stack | undefined;
  readonly depth: number;
  readonly number: number;
}

/** One way to read the text so far: it stands in a state of an automaton, and goes on in a state of the grammar. */
interface Reading {
  readonly automaton: number;
  readonly at: number;
  readonly next: number;
  readonly stack: Stack | undefined;
  readonly number: number;
}

/** Whatever can follow a text. */
export interface Place {
  /** The ways to read the text that need more of it, or can take more. */
  readonly readings: readonly Reading[];
  /** The text can end here. */
  readonly canEnd: boolean;
  /** By byte, as far as was asked; undefined: the byte can't follow. */
  readonly after: Map<number, Place | undefined>;
  mask: Uint32Array | undefined;
}

/** What a place in an automaton says of all tokens. */
interface Local {
  /** Bits of the tokens that end inside the automaton, its last state included. */
  readonly mask: Uint32Array;
  /** Nodes of the trie at which the automaton can end, while tokens go on. */
  readonly exits: Int32Array;
}

/** Bytes of masks and exits that are kept for one grammar: those of a thousand places in a vocabulary of 128k. */
const MOST_BYTES = 2 ** 24;
/**
 * Readings that are followed for one mask where tokens leave an automaton: some thousands with JSON, one a node of the trie where each character is a
 * rule's. A grammar that is made to have more loses tokens of several bytes, and never the way on: each automaton has all of its own.
 */
const MOST_WORK = 2 ** 20;
/** Places, readings and stacks that are kept. */
const MOST_KEPT = 2 ** 16;

/**
 * A grammar over a vocabulary: which tokens can follow which text. What was found is kept, and so shared by all answers that use the grammar.
 *
 * The tokens that can follow in one reading are those that stay in its automaton, the same wherever it is used, and those that leave it and go
 * on with what follows. The first are most, and are found once for each state of an automaton.
 */
export class Matcher {
  readonly trie: TokenTrie;
  readonly #grammar: Grammar;
  /** [nodes of the longest token] states on the way to a node */
  readonly #way: Int32Array;
  readonly #places = new Map<string, Place>();
  readonly #readings = new Map<string, Reading>();
  readonly #stacks = new Map<string, Stack>();
  readonly #locals = new Map<string, Local>();
  readonly #follows = new Map<string, Place>();
  #bytes = 0;
  #kept = 0;
  #numbers = 0;

  /** @throws BitnetError tokenizer: a byte has no token of its own, so that texts exist which can't be written */
  constructor(grammar: Grammar, trie: TokenTrie) {
    const missing = usedBytes(grammar).find((byte) => trie.single[byte] === 0);
    if (missing !== undefined) {
      throw new BitnetError(
        "tokenizer",
        `the vocabulary has no token for the byte 0x${missing.toString(16).padStart(2, "0")} alone, which a format needs: answers with this model can't be held to it`,
      );
    }
    this.trie = trie;
    this.#grammar = grammar;
    this.#way = new Int32Array(trie.longest + 1);
  }

  /** The place before the first character. */
  start(): Place {
    return this.#followOf(this.#grammar.start, undefined);
  }

  /** The place after a byte; undefined: it can't follow. */
  step(place: Place, byte: number): Place | undefined {
    if (place.after.has(byte)) return place.after.get(byte);
    const found = new Found();
    for (const reading of place.readings) {
      const { automaton, at, next, stack } = reading;
      const to = stepIn(this.#grammar.automata[automaton]!, at, byte);
      if (to >= 0) this.#arrive(found, automaton, to, next, stack);
    }
    const after = found.isEmpty ? undefined : this.#place(found);
    place.after.set(byte, after);
    return after;
  }

  /** Bits of the tokens that can follow; not to be changed. */
  mask(place: Place): Uint32Array {
    if (place.mask !== undefined) return place.mask;
    const [only] = place.readings;
    const local = place.readings.length === 1 ? this.#local(only!) : undefined;
    if (local !== undefined && local.exits.length === 0) {
      place.mask = local.mask;
      return local.mask;
    }
    const mask = this.#newMask();
    place.mask = mask;
    let work = 0;
    for (const reading of place.readings) {
      const { mask: inside, exits } = this.#local(reading);
      for (let i = 0; i < mask.length; i++) mask[i]! |= inside[i]!;
      if (exits.length === 0) continue;
      const follow = this.#followOf(reading.next, reading.stack);
      if (follow.readings.length === 0) continue;
      for (const node of exits) if (work < MOST_WORK) work += this.#descend(node, follow, mask);
    }
    return mask;
  }

  /** Forgets what was found when it is too much. Places that are in use stay right. */
  tidy(): void {
    const isFull = this.#bytes > MOST_BYTES || this.#kept > MOST_KEPT;
    if (!isFull) return;
    for (const kept of [this.#places, this.#readings, this.#stacks, this.#locals, this.#follows]) kept.clear();
    this.#bytes = 0;
    this.#kept = 0;
  }

  /** Adds what can be read behind a state of an automaton. */
  #arrive(found: Found, automaton: number, at: number, next: number, stack: Stack | undefined): void {
    const entered = this.#grammar.automata[automaton]!;
    if (canGoOnIn(entered, at)) found.add(this.#reading(automaton, at, next, stack));
    if (canEndIn(entered, at)) found.addAll(this.#followOf(next, stack));
  }

  /** The place at a state of the grammar: all automata that can begin there, through calls and returns. */
  #followOf(state: number, stack: Stack | undefined): Place {
    const key = keyOf(state, stack);
    let follow = this.#follows.get(key);
    if (follow === undefined) {
      const found = new Found();
      this.#close(state, stack, found, new Set());
      follow = this.#place(found);
      this.#follows.set(key, follow);
    }
    return follow;
  }

  #close(state: number, stack: Stack | undefined, found: Found, seen: Set<string>): void {
    const depth = stack?.depth ?? 0;
    const { links, stretches, calls, isEnd, need } = this.#grammar.states[state]!;
    if (depth + need > grammarLimits.depth || seen.size >= grammarLimits.closure) return;
    const key = keyOf(state, stack);
    if (seen.has(key)) return;
    seen.add(key);
    if (isEnd) {
      if (stack === undefined) found.canEnd = true;
      else this.#close(stack.state, stack.up, found, seen);
    }
    for (const [automaton, next] of stretches) if (this.#fits(next, depth)) found.add(this.#reading(automaton, 0, next, stack));
    for (const next of links) this.#close(next, stack, found, seen);
    for (const [rule, next] of calls) {
      const start = this.#grammar.starts[rule]!;
      if (!this.#fits(next, depth) || !this.#fits(start, depth + 1)) continue;
      this.#close(start, this.#grammar.states[next]!.returns ? stack : this.#push(next, stack), found, seen);
    }
  }

  #fits(state: number, depth: number): boolean {
    return depth + this.#grammar.states[state]!.need <= grammarLimits.depth;
  }

  #push(state: number, up: Stack | undefined): Stack {
    const key = keyOf(state, up);
    let stack = this.#stacks.get(key);
    if (stack === undefined) {
      stack = { state, up, depth: (up?.depth ?? 0) + 1, number: this.#number() };
      this.#stacks.set(key, stack);
    }
    return stack;
  }

  #reading(automaton: number, at: number, next: number, stack: Stack | undefined): Reading {
    const key = `${automaton},${at},${keyOf(next, stack)}`;
    let reading = this.#readings.get(key);
    if (reading === undefined) {
      reading = { automaton, at, next, stack, number: this.#number() };
      this.#readings.set(key, reading);
    }
    return reading;
  }

  /** Readings in their order: which are kept, where they are too many, hangs on nothing but the text. */
  #place({ readings, canEnd }: Found): Place {
    const key = `${canEnd},${Array.from(readings, ({ number }) => number).join()}`;
    let place = this.#places.get(key);
    if (place === undefined) {
      place = { readings: [...readings], canEnd, after: new Map(), mask: undefined };
      this.#places.set(key, place);
      this.#number();
    }
    return place;
  }

  /** Numbers are never given twice, so that a key means the same for ever. */
  #number(): number {
    this.#kept++;
    return this.#numbers++;
  }

  #newMask(): Uint32Array {
    this.#bytes += 4 * this.trie.words;
    return new Uint32Array(this.trie.words);
  }

  #local({ automaton, at }: Reading): Local {
    const key = `${automaton},${this.#alike(this.#grammar.automata[automaton]!, at)}`;
    let local = this.#locals.get(key);
    if (local === undefined) {
      local = this.#walk(this.#grammar.automata[automaton]!, at);
      this.#locals.set(key, local);
    }
    return local;
  }

  /** The same for states from which no token leads to different ends: of a counted string those far from its least and its most characters. */
  #alike({ counted, states }: Automaton, at: number): string {
    if (counted === undefined) return `${at}`;
    const count = Math.floor(at / states);
    const { longest } = this.trie;
    return `${at % states},${Math.min(Math.max(0, counted.least - count), longest)},${Math.min(counted.most - count, longest)}`;
  }

  /** All tokens from a state of an automaton. */
  #walk(automaton: Automaton, at: number): Local {
    const { classes, classCount, next, counted } = automaton;
    const { nodes, byte, depth, end, tokens, ids } = this.trie;
    const mask = this.#newMask();
    const exits: number[] = [];
    const way = this.#way;
    way[0] = at;
    for (let node = 1; node < nodes; ) {
      const from = way[depth[node]! - 1]!;
      const to = counted === undefined ? next[from * classCount + classes[byte[node]!]!]! : stepIn(automaton, from, byte[node]!);
      if (to < 0) {
        node = end[node]!;
        continue;
      }
      way[depth[node]!] = to;
      for (let i = tokens[node]!; i < tokens[node + 1]!; i++) mask[ids[i]! >>> 5]! |= 1 << (ids[i]! & 31);
      if (end[node]! > node + 1 && canEndIn(automaton, to)) exits.push(node);
      node++;
    }
    this.#bytes += 4 * exits.length;
    return { mask, exits: Int32Array.from(exits) };
  }

  /** Sets the bits of the tokens below a node that go on from a place. @returns how many readings were followed */
  #descend(top: number, from: Place, mask: Uint32Array): number {
    const { byte, depth, end, tokens, ids } = this.trie;
    const places: Place[] = []; // by depth
    places[depth[top]!] = from;
    let work = 0;
    for (let node = top + 1; node < end[top]!; ) {
      const before = places[depth[node]! - 1]!;
      work += before.readings.length;
      const place = this.step(before, byte[node]!);
      if (place === undefined) {
        node = end[node]!;
        continue;
      }
      places[depth[node]!] = place;
      for (let i = tokens[node]!; i < tokens[node + 1]!; i++) mask[ids[i]! >>> 5]! |= 1 << (ids[i]! & 31);
      node++;
    }
    return work;
  }
}

/** Readings as they are found. */
class Found {
  readonly readings = new Set<Reading>();
  canEnd = false;

  get isEmpty(): boolean {
    return this.readings.size === 0 && !this.canEnd;
  }

  add(reading: Reading): void {
    if (this.readings.size < grammarLimits.readings) this.readings.add(reading);
  }

  addAll({ readings, canEnd }: Place): void {
    for (const reading of readings) this.add(reading);
    this.canEnd ||= canEnd;
  }
}

const keyOf = (state: number, stack: Stack | undefined): string => `${state},${stack?.number ?? -1}`;

/** The bytes of all texts. */
function usedBytes({ automata }: Grammar): number[] {
  const used = new Set<number>();
  for (const { states, classes, classCount, next } of automata) {
    const isUsed = new Uint8Array(classCount);
    for (let i = 0; i < states * classCount; i++) if (next[i]! >= 0) isUsed[i % classCount] = 1;
    for (let byte = 0; byte < 256; byte++) if (isUsed[classes[byte]!] === 1) used.add(byte);
  }
  return [...used];
}
