import { quote } from "../container/quote.js";
import type { StringList } from "../container/string-list.js";
import { maxSpelling, readSpelling, spell } from "./byte-alphabet.js";

/** Tokens and merges a vocabulary may have: a rank and a position in a word share a double's 53 bits (21 + 32). The largest known have 2^18. */
export const maxEntries = 2 ** 21;

/**
 * Probes until an entry finds its slot, and so until one that isn't there is given up. Tables are at most half full, where a hash that does
 * its work needs some dozens; a file made so that its tokens collide would take hours to load.
 */
const maxProbes = 256;

/** Slots of a table for so many entries: a power of two, at least twice as many. */
const slotsFor = (entries: number) => 1 << (32 - Math.clz32(2 * entries + 1)); // not `**`, whose result V8 keeps as a double

const mix = (hash: number) => {
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
const batch = 256;

/** The key of a single search. */
const own = 2 * batch;

/** Numbers of a key. */
const keyLength = 5;

const collide = "are made to collide in a hash table";

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
  private readonly spelled: Uint8Array; // [tokens] 1 if it is in the byte-level alphabet
  private scratch: Uint8Array = new Uint8Array(1024);

  /** `isPlain`: whether a token stands for its own text. Throws a TableError that says which are double. */
  constructor(
    private readonly tokens: StringList,
    isPlain: (id: number) => boolean,
  ) {
    const { length } = tokens;
    this.size = slotsFor(length + 1);
    this.slots = new Int32Array(4 * this.size);
    this.spelled = new Uint8Array(length);
    for (let start = 0; start < length; start += batch) {
      const count = Math.min(batch, length - start);
      this.prepareTokens(start, count);
      this.touch(count);
      this.insert(start, count);
    }
    this.markSpelled(isPlain);
  }

  // A method for each step: V8 optimises small ones long before a constructor in which all is done.
  private prepareTokens(start: number, count: number): void {
    const { bytes, starts } = this.tokens;
    for (let i = 0; i < count; i++) this.prepare(i, bytes, starts[start + i]!, this.tokens.endOf(start + i));
  }

  /** Puts the tokens that were prepared into the table. */
  private insert(start: number, count: number): void {
    const { slots, keys, tokens } = this;
    for (let i = 0; i < count; i++) {
      const id = start + i;
      const found = this.search(i, tokens.bytes);
      if (found >= 0) throw new TableError(`has ${quote(tokens.at(id)!)} twice, as ${found} and ${id}`);
      if (~found === this.size) throw new TableError(collide);
      const at = 4 * ~found;
      slots[at] = id + 1;
      slots[at + 1] = keys[keyLength * i + 1]!;
      slots[at + 2] = keys[keyLength * i + 2]!;
      slots[at + 3] = keys[keyLength * i + 3]!;
    }
  }

  private markSpelled(isPlain: (id: number) => boolean): void {
    const { tokens, spelled } = this;
    const { bytes, starts } = tokens;
    for (let id = 0; id < spelled.length; id++) {
      const from = starts[id]!;
      const to = tokens.endOf(id);
      const meaning = this.scratchOf(to - from);
      if (readSpelling(bytes, from, to, meaning, 0) >= 0 && !isPlain(id)) spelled[id] = 1;
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
    if (this.spelled[id] === 1) return readSpelling(bytes, from, to, out, at);
    out.set(bytes.subarray(from, to), at);
    return at + to - from;
  }

  /** The id of the token that stands for bytes[0, length), −1 if there is none; of those that stand for their own text none. */
  find(bytes: Uint8Array, length: number): number {
    const key = this.scratchOf(maxSpelling * length);
    return this.findSpelled(key, spell(bytes, length, key, 0));
  }

  /** The id of the token that stands for its own text `text`, −1 if there is none. */
  findPlain(text: Uint8Array): number {
    this.prepare(own, text, 0, text.length);
    const id = this.search(own, text);
    return id >= 0 && this.spelled[id] === 0 ? id : -1;
  }

  private findSpelled(key: Uint8Array, length: number): number {
    this.prepare(own, key, 0, length);
    const id = this.search(own, key);
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

  /** Writes the ids of the tokens that so many keys spell in the byte-level alphabet to `ids`, −1 where there is none. */
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
    return this.findSpelled(key, to - from - 1);
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

/** What stands between the halves of a merge. */
const space = 0x20;

const slotOfPair = (left: number, right: number, slots: number) =>
  mix(Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0xc2b2ae35)) & (slots - 1);

/** Makes the halves of merges keys to look for, and notes where the space between them is. */
function halve(merges: StringList, start: number, count: number, table: TokenTable, middles: Int32Array): void {
  const { bytes, starts } = merges;
  for (let i = 0; i < count; i++) {
    const to = merges.endOf(start + i);
    const middle = table.prepare(2 * i, bytes, starts[start + i]!, to, space);
    table.prepare(2 * i + 1, bytes, middle + 1, to);
    middles[i] = middle;
  }
}

/** Pairs of token ids → rank (0 merges first) and the token they make. */
export class MergeTable {
  /** [merges] Id of the token that a merge makes. */
  readonly merged: Int32Array;
  private readonly left: Int32Array; // [merges] ids
  private readonly right: Int32Array; // [merges] ids
  private readonly mask: number;
  private readonly slots: Int32Array; // [slots] rank + 1, 0 where free

  /** Each merge as "left right" in the byte-level alphabet. Throws a TableError that says which names what is no token. */
  constructor(merges: StringList, table: TokenTable) {
    const { length } = merges;
    this.merged = new Int32Array(length);
    this.left = new Int32Array(length);
    this.right = new Int32Array(length);
    this.slots = new Int32Array(slotsFor(length));
    this.mask = this.slots.length - 1;
    const middles = new Int32Array(batch); // [batch] where the space is
    const ids = new Int32Array(2 * batch); // [batch, 2] of the halves
    for (let start = 0; start < length; start += batch) {
      const count = Math.min(batch, length - start);
      halve(merges, start, count, table, middles);
      table.touch(2 * count);
      table.findPrepared(2 * count, merges.bytes, ids);
      this.join(merges, start, count, table, middles, ids);
      this.touch(start, count);
      this.insert(merges, start, count);
    }
  }

  /** Notes what the merges make of their halves. */
  private join(merges: StringList, start: number, count: number, table: TokenTable, middles: Int32Array, ids: Int32Array): void {
    const { bytes, starts } = merges;
    let mergedId = start === 0 ? 0 : this.merged[start - 1]!;
    for (let i = 0; i < count; i++) {
      const rank = start + i;
      const to = merges.endOf(rank);
      const leftId = ids[2 * i]!;
      const rightId = ids[2 * i + 1]!;
      const areTokens = middles[i]! < to && leftId >= 0 && rightId >= 0;
      mergedId = areTokens ? table.findJoined(mergedId, bytes, starts[rank]!, middles[i]!, to) : -1;
      if (mergedId < 0) {
        throw new TableError(`has ${quote(merges.at(rank)!)} at ${rank}, which does not name two tokens that make a third`);
      }
      this.left[rank] = leftId;
      this.right[rank] = rightId;
      this.merged[rank] = mergedId;
    }
  }

  /** As the table of tokens does. */
  private touch(start: number, count: number): number {
    const { slots, left, right } = this;
    let sum = 0;
    for (let rank = start; rank < start + count; rank++) sum ^= slots[slotOfPair(left[rank]!, right[rank]!, slots.length)]!;
    return sum;
  }

  private insert(merges: StringList, start: number, count: number): void {
    const { slots, left, right } = this;
    for (let rank = start; rank < start + count; rank++) {
      const slot = this.search(left[rank]!, right[rank]!);
      if (slot === slots.length) throw new TableError(collide);
      if (slots[slot] !== 0) throw new TableError(`has ${quote(merges.at(rank)!)} twice, at ${slots[slot]! - 1} and ${rank}`);
      slots[slot] = rank + 1;
    }
  }

  /** The rank of a pair, −1 if it does not merge. */
  rank(left: number, right: number): number {
    return (this.slots[this.search(left, right)] ?? 0) - 1;
  }

  private search(left: number, right: number): number {
    const { slots, mask, left: lefts, right: rights } = this;
    let slot = slotOfPair(left, right, slots.length);
    for (let probes = 0; probes < maxProbes; probes++) {
      const rank = slots[slot]! - 1;
      if (rank < 0 || (lefts[rank] === left && rights[rank] === right)) return slot;
      slot = (slot + 1) & mask;
    }
    return slots.length;
  }
}

/** Bytes of a word for which the work space is kept from word to word; a longer one gets its own. */
const keptLength = 1024;

const workSpace = (length: number) => ({
  ids: new Int32Array(length), // the symbol that starts at this byte; −1 once it is merged into the one before
  next: new Int32Array(length), // where the next symbol starts; `length` after the last
  prev: new Int32Array(length), // where the one before starts; −1 before the first
  heap: new Float64Array(2 * length), // least first: rank · 2^32 + position of the left symbol
});

/** Merges a word's bytes into tokens: always the pair of least rank, of several the leftmost. O(n log n) in the word's bytes. */
export class BytePairEncoder {
  private readonly kept = workSpace(keptLength);

  constructor(
    private readonly byteIds: Int32Array, // [256] token of each single byte
    private readonly merges: MergeTable,
  ) {}

  /** Appends the ids of word[0, length) to `out`. */
  encode(word: Uint8Array, length: number, out: number[]): void {
    const { merges } = this;
    const { ids, next, prev, heap } = length <= keptLength ? this.kept : workSpace(length);
    // Every symbol but the last is pushed once at first, and each merge pushes two and ends a symbol: 2 · length at most, as one is taken a merge.
    let size = 0;
    const push = (position: number, right: number) => {
      const rank = merges.rank(ids[position]!, ids[right]!);
      if (rank < 0) return;
      const key = rank * 2 ** 32 + position;
      let at = size++;
      while (at > 0) {
        const parent = (at - 1) >> 1;
        if (heap[parent]! <= key) break;
        heap[at] = heap[parent]!;
        at = parent;
      }
      heap[at] = key;
    };
    const pop = () => {
      const least = heap[0]!;
      const last = heap[--size]!;
      let at = 0;
      for (let child = 1; child < size; child = 2 * at + 1) {
        if (child + 1 < size && heap[child + 1]! < heap[child]!) child++;
        if (heap[child]! >= last) break;
        heap[at] = heap[child]!;
        at = child;
      }
      heap[at] = last;
      return least;
    };

    for (let i = 0; i < length; i++) {
      ids[i] = this.byteIds[word[i]!]!;
      next[i] = i + 1;
      prev[i] = i - 1;
    }
    for (let i = 0; i + 1 < length; i++) push(i, i + 1);
    while (size > 0) {
      const key = pop();
      const rank = Math.floor(key / 2 ** 32);
      const position = key - rank * 2 ** 32;
      const right = next[position]!;
      // An entry is stale when a neighbour's merge has taken one of its symbols.
      if (ids[position]! < 0 || right >= length || merges.rank(ids[position]!, ids[right]!) !== rank) continue;
      ids[position] = merges.merged[rank]!;
      ids[right] = -1;
      const after = next[right]!;
      next[position] = after;
      if (after < length) {
        prev[after] = position;
        push(position, after);
      }
      if (prev[position]! >= 0) push(prev[position]!, position);
    }
    for (let i = 0; i < length; i = next[i]!) out.push(ids[i]!);
  }
}
