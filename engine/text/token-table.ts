import { quote } from "../container/quote.js";
import type { StringList } from "../container/string-list.js";
import type { PlainKind } from "./vocabulary.js";

/** How a vocabulary spells the bytes that its tokens stand for. */
export interface Alphabet {
  /** Bytes that spell one byte, at most. */
  readonly maxSpelling: number;
  /** Writes the spelling of bytes[0, length) to `out[at…]`; its end there. */
  spell(bytes: Uint8Array, length: number, out: Uint8Array, at: number): number;
  /** Writes the bytes that text[from, to), whole UTF-8, spells to `out[at…]`; their end there, or −1 if it is not of the alphabet. */
  read(text: Uint8Array, from: number, to: number, out: Uint8Array, at: number): number;
}

/** Tokens and merges a vocabulary may have: a rank and a position in a word share a double's 53 bits (21 + 32). The largest known have 2^18. */
export const maxEntries = 2 ** 21;

/**
 * Bytes of a token as the file spells it. The longest known are runs of 512 spaces, 1,024 bytes in the byte-level alphabet. It bounds what an answer
 * of so many tokens can be, and what comparing a word with tokens costs.
 */
export const maxTokenBytes = 4096;

/**
 * Probes until an entry finds its slot, and so until one that isn't there is given up. Tables are at most half full, where a hash that does
 * its work needs some dozens; a file made so that its tokens collide would take hours to load.
 */
export const maxProbes = 256;

/** Slots of a table for so many entries: a power of two, at least twice as many. */
export const slotsFor = (entries: number) => 1 << (32 - Math.clz32(2 * entries + 1)); // not `**`, whose result V8 keeps as a double

export const mix = (hash: number) => {
  hash = Math.imul(hash ^ (hash >>> 15), 0x85ebca6b);
  return hash ^ (hash >>> 13);
};

/** Bytes of a key that stand in its slot. */
const slotBytes = 8;

/** Where a search in the token table begins, by the FNV-1a hash of the bytes. */
export const slotOfHash = (hash: number, slots: number) => mix(hash) & (slots - 1);

/** Hash of bytes (FNV-1a). */
export function hashBytes(bytes: Uint8Array): number {
  let hash = hashStart;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, hashFactor);
  return hash;
}

const hashStart = 0x811c9dc5 | 0;
const hashFactor = 0x01000193;

/**
 * Keys that are looked for together. Each search ends in memory that no cache has; when the slots of many are touched before any is searched,
 * these loads don't wait for each other.
 */
export const batch = 256;

/** The key of a single search. */
const own = 2 * batch;

/** Numbers of a key. */
const keyLength = 5;

export const collide = "are constructed to collide in a hash table";

/** Why a table refuses an entry. */
export class TableError extends Error {}

/**
 * Tokens as the file spells them → ids, by open addressing over the file's own bytes. A Map of strings says the same but takes most of a
 * second for LLaMA-3's 128k tokens and the look-ups of its 280k merges.
 */
export class TokenTable {
  private readonly size: number;
  private readonly slots: Int32Array; // [slots, 4] id + 1, 0 where free; length of the token; its last 8 bytes
  private readonly keys = new Int32Array(keyLength * (own + 1)); // [keys, 5] what is looked for: the slot where to begin; length; last 8 bytes; where it stands
  private readonly spelled: Uint8Array; // [tokens] 1 if it is in the alphabet
  private scratch: Uint8Array = new Uint8Array(1024);
  /** Bytes of the longest token as it is spelled. */
  readonly longest: number;

  /**
   * `plain`: tokens that stand for their own text. Fillers of the vocabulary, without a text or unused, may be there many times. Throws a
   * TableError that says which others are double, or too long.
   */
  constructor(
    private readonly tokens: StringList,
    plain: ReadonlyMap<number, PlainKind>,
    private readonly alphabet: Alphabet,
    maxBytes = maxTokenBytes,
  ) {
    const { length } = tokens;
    this.size = slotsFor(length + 1);
    this.slots = new Int32Array(4 * this.size);
    this.spelled = new Uint8Array(length);
    let longest = 0;
    for (let id = 0; id < length; id++) longest = Math.max(longest, this.maxBytes(id));
    if (longest > maxBytes) throw new TableError(`has a token of ${longest} bytes, but the limit is ${maxBytes}`);
    this.longest = longest;
    for (let start = 0; start < length; start += batch) {
      const count = Math.min(batch, length - start);
      this.prepareTokens(start, count);
      this.touch(count);
      this.insert(start, count, plain);
    }
    // An unused token is only found by its text if no other has it.
    for (const [id, kind] of plain) {
      if (kind !== "unused") continue;
      this.prepareTokens(id, 1);
      const slot = ~this.search(0, this.tokens.bytes);
      if (slot >= 0) this.put(0, id, slot);
    }
    this.markSpelled(plain);
  }

  // A method for each step: V8 optimises small ones long before a constructor in which all is done.
  private prepareTokens(start: number, count: number): void {
    const { bytes, starts } = this.tokens;
    for (let i = 0; i < count; i++) this.prepare(i, bytes, starts[start + i]!, this.tokens.endOf(start + i));
  }

  /** Puts the tokens that were prepared into the table, but for fillers. */
  private insert(start: number, count: number, plain: ReadonlyMap<number, PlainKind>): void {
    const { keys, tokens } = this;
    for (let i = 0; i < count; i++) {
      const id = start + i;
      if (keys[keyLength * i + 1] === 0 || plain.get(id) === "unused") continue;
      const found = this.search(i, tokens.bytes);
      if (found >= 0) throw new TableError(`has ${quote(tokens.at(id)!)} twice, as ${found} and ${id}`);
      this.put(i, id, ~found);
    }
  }

  /** Puts the `i`th key into a free slot as this token. */
  private put(i: number, id: number, slot: number): void {
    const { slots, keys, size } = this;
    if (slot === size) throw new TableError(collide);
    slots[4 * slot] = id + 1;
    for (let word = 1; word < 4; word++) slots[4 * slot + word] = keys[keyLength * i + word]!;
  }

  private markSpelled(plain: ReadonlyMap<number, PlainKind>): void {
    const { tokens, spelled, alphabet } = this;
    const { bytes, starts } = tokens;
    for (let id = 0; id < spelled.length; id++) {
      const from = starts[id]!;
      const to = tokens.endOf(id);
      const meaning = this.scratchOf(to - from);
      if (alphabet.read(bytes, from, to, meaning, 0) >= 0 && !plain.has(id)) spelled[id] = 1;
    }
  }

  /** Bytes that a token stands for, at most. */
  maxBytes(id: number): number {
    return this.tokens.endOf(id) - this.tokens.starts[id]!;
  }

  /** Writes the bytes that a token stands for to `out[at…]`; their end there. One outside the alphabet stands for its own text, as in Hugging Face's decoder. */
  write(id: number, out: Uint8Array, at: number): number {
    const { bytes, starts } = this.tokens;
    const from = starts[id]!;
    const to = this.tokens.endOf(id);
    if (this.spelled[id] === 1) return this.alphabet.read(bytes, from, to, out, at);
    out.set(bytes.subarray(from, to), at);
    return at + to - from;
  }

  /** The id of the token that stands for bytes[0, length), −1 if there is none; of those that stand for their own text none. */
  find(bytes: Uint8Array, length: number): number {
    const { alphabet } = this;
    const key = this.scratchOf(alphabet.maxSpelling * length);
    return this.findSpelled(key, 0, alphabet.spell(bytes, length, key, 0));
  }

  /** The id of the token that stands for its own text `text`, −1 if there is none. */
  findPlain(text: Uint8Array): number {
    this.prepare(own, text, 0, text.length);
    const id = this.search(own, text);
    return id >= 0 && this.spelled[id] === 0 ? id : -1;
  }

  /** The id of the token that the file spells so, −1 if there is none. */
  findAny(text: Uint8Array): number {
    this.prepare(own, text, 0, text.length);
    return Math.max(this.search(own, text), -1);
  }

  /** The id of the token that the alphabet spells as bytes[from, to), −1 if there is none. */
  findSpelled(bytes: Uint8Array, from: number, to: number): number {
    this.prepare(own, bytes, from, to);
    const id = this.search(own, bytes);
    return id >= 0 && this.spelled[id] === 1 ? id : -1;
  }

  /** Makes bytes[from, to), or what of it is before `stop`, the `i`th of the keys that are looked for together. Returns where it ends. */
  prepare(i: number, bytes: Uint8Array, from: number, to: number, stop = -1): number {
    let hash = hashStart;
    let high = 0;
    let low = 0;
    let at = from;
    for (; at < to; at++) {
      const byte = bytes[at]!;
      if (byte === stop) break;
      hash = Math.imul(hash ^ byte, hashFactor);
      high = (high << 8) | (low >>> 24);
      low = (low << 8) | byte;
    }
    const { keys } = this;
    const key = keyLength * i;
    keys[key] = slotOfHash(hash, this.size);
    keys[key + 1] = at - from;
    keys[key + 2] = high;
    keys[key + 3] = low;
    keys[key + 4] = from;
    return at;
  }

  /** Brings the slots of so many keys into the cache; what it returns is of no use, but that it is made. */
  touch(count: number): number {
    const { slots, keys } = this;
    let sum = 0;
    for (let i = 0; i < count; i++) sum ^= slots[4 * keys[keyLength * i]!]!;
    return sum;
  }

  /** Writes the ids of the tokens that so many keys spell in the alphabet to `ids`, −1 where there is none. */
  findPrepared(count: number, bytes: Uint8Array, ids: Int32Array): void {
    const { spelled } = this;
    for (let i = 0; i < count; i++) {
      const id = this.search(i, bytes);
      ids[i] = id >= 0 && spelled[id] === 1 ? id : -1;
    }
  }

  /** The id of the token spelled as bytes[from, middle) and bytes[middle + 1, to) together, −1 if there is none; `guess` is tried first. */
  findJoined(guess: number, bytes: Uint8Array, from: number, middle: number, to: number): number {
    // Most merges make the token of the one before, or the next: a search less in three.
    if (this.isJoined(guess, bytes, from, middle, to)) return guess;
    if (this.isJoined(guess + 1, bytes, from, middle, to)) return guess + 1;
    const key = this.scratchOf(to - from);
    key.set(bytes.subarray(from, middle));
    key.set(bytes.subarray(middle + 1, to), middle - from);
    return this.findSpelled(key, 0, to - from - 1);
  }

  private isJoined(id: number, bytes: Uint8Array, from: number, middle: number, to: number): boolean {
    if (this.spelled[id] !== 1) return false;
    const { bytes: ours } = this.tokens;
    let at = this.tokens.starts[id]!;
    if (this.tokens.endOf(id) - at !== to - from - 1) return false;
    for (let i = from; i < middle; i++) if (bytes[i] !== ours[at++]) return false;
    for (let i = middle + 1; i < to; i++) if (bytes[i] !== ours[at++]) return false;
    return true;
  }

  private scratchOf(length: number): Uint8Array {
    if (this.scratch.length < length) this.scratch = new Uint8Array(2 * length);
    return this.scratch;
  }

  /** The id of the `i`th key, spelled or plain, or ~slot of the free slot where it belongs (~size if that is too far). */
  private search(i: number, bytes: Uint8Array): number {
    const { slots, keys, size } = this;
    const key = keyLength * i;
    const length = keys[key + 1]!;
    let slot = keys[key]!;
    for (let probes = 0; probes < maxProbes; probes++) {
      const at = 4 * slot;
      const id = slots[at]! - 1;
      if (id < 0) return ~slot;
      if (slots[at + 3] === keys[key + 3] && slots[at + 2] === keys[key + 2] && slots[at + 1] === length) {
        if (length <= slotBytes || this.begins(id, bytes, keys[key + 4]!, length - slotBytes)) return id;
      }
      slot = (slot + 1) & (size - 1);
    }
    return ~size;
  }

  /** Whether a token's first bytes are these. */
  private begins(id: number, bytes: Uint8Array, from: number, length: number): boolean {
    const { bytes: ours, starts } = this.tokens;
    const start = starts[id]!;
    for (let i = 0; i < length; i++) if (bytes[from + i] !== ours[start + i]) return false;
    return true;
  }
}
