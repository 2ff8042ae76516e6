import { quote } from "../container/quote.js";
import { spellBytes } from "./byte-alphabet.js";

/** Tokens and merges a vocabulary may have: a rank and a position in a word share a double's 53 bits (21 + 32). The largest known have 2^18. */
export const maxEntries = 2 ** 21;

/**
 * Probes until an entry finds its slot, and so until one that isn't there is given up. Tables are at most half full, where a hash that does
 * its work needs some dozens; a file made so that its tokens collide would take hours to load.
 */
const maxProbes = 256;

/** Slots of a table for so many entries: a power of two, at least twice as many. */
const slotsFor = (entries: number) => 2 ** (32 - Math.clz32(2 * entries + 1));

const mix = (hash: number) => {
  hash = Math.imul(hash ^ (hash >>> 15), 0x85ebca6b);
  return hash ^ (hash >>> 13);
};

/** Hash of bytes[from, to) (FNV-1a). */
export function hashBytes(bytes: Uint8Array, from: number, to: number): number {
  let hash = 0x811c9dc5 | 0;
  for (let i = from; i < to; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193);
  return hash;
}

/** Where a search in the token table begins. */
export const slotOfHash = (hash: number, slots: number) => mix(hash) & (slots - 1);

const collide = "are made to collide in a hash table";

/** Why a table refuses an entry. */
export class TableError extends Error {}

/**
 * Byte strings → ids, by open addressing over one block of bytes. A Map of strings says the same but takes most of a second for
 * LLaMA-3's 128k tokens and the look-ups of its 280k merges.
 */
export class TokenTable {
  private readonly size: number;
  private readonly slots: Int32Array; // [slots, 2] id + 1, 0 where free; hash
  private readonly inserted: Uint8Array; // [tokens] 1 if findable

  /** `bytes[starts[id], starts[id + 1])` is token `id`. */
  constructor(
    readonly bytes: Uint8Array,
    readonly starts: Uint32Array, // [tokens + 1]
  ) {
    this.size = slotsFor(starts.length);
    this.slots = new Int32Array(2 * this.size);
    this.inserted = new Uint8Array(starts.length - 1);
  }

  /** Makes a token findable; the id of one with the same bytes, if there is one already, else `id`. */
  insert(id: number): number {
    const from = this.starts[id]!;
    const to = this.starts[id + 1]!;
    const found = this.search(this.bytes, from, to);
    if (found >= 0) return found;
    if (~found === this.size) throw new TableError(collide);
    this.slots[2 * ~found] = id + 1;
    this.slots[2 * ~found + 1] = hashBytes(this.bytes, from, to);
    this.inserted[id] = 1;
    return id;
  }

  /** The id of bytes[from, to), −1 if no token is so spelled. */
  find(bytes: Uint8Array, from: number, to: number): number {
    return Math.max(-1, this.search(bytes, from, to));
  }

  /** Whether bytes[from, to) would be found as `id`. */
  has(id: number, bytes: Uint8Array, from: number, to: number): boolean {
    if (this.inserted[id] !== 1 || this.starts[id + 1]! - this.starts[id]! !== to - from) return false;
    for (let i = from, at = this.starts[id]!; i < to; i++) if (this.bytes[at++] !== bytes[i]) return false;
    return true;
  }

  /** The id of bytes[from, to), or ~slot of the free slot where they belong (~size if that is too far). One flat loop: loading a vocabulary comes down to it. */
  private search(bytes: Uint8Array, from: number, to: number): number {
    const { slots, starts, size } = this;
    const own = this.bytes;
    const hash = hashBytes(bytes, from, to);
    let slot = slotOfHash(hash, size);
    for (let probes = 0; probes < maxProbes; probes++) {
      const id = slots[2 * slot]! - 1;
      if (id < 0) return ~slot;
      if (slots[2 * slot + 1] === hash) {
        let at = starts[id]!;
        let i = starts[id + 1]! - at === to - from ? from : to + 1;
        while (i < to && own[at] === bytes[i]) {
          at++;
          i++;
        }
        if (i === to) return id;
      }
      slot = (slot + 1) & (size - 1);
    }
    return ~size;
  }
}

const show = (merge: string | readonly [string, string]) => quote(typeof merge === "string" ? merge : merge.join(" "));

/** Pairs of token ids → rank (0 merges first) and the token they make. */
export class MergeTable {
  /** [merges] Id of the token that a merge makes. */
  readonly merged: Int32Array;
  private readonly left: Int32Array; // [merges] ids
  private readonly right: Int32Array; // [merges] ids
  private readonly mask: number;
  private readonly slots: Int32Array; // [slots] rank + 1, 0 where free

  /** Each merge as "left right" or a pair, in the byte-level alphabet. Throws a TableError that says which names what is no token. */
  constructor(merges: readonly (string | readonly [string, string])[], table: TokenTable) {
    const count = merges.length;
    this.merged = new Int32Array(count);
    this.left = new Int32Array(count);
    this.right = new Int32Array(count);
    this.slots = new Int32Array(slotsFor(count));
    this.mask = this.slots.length - 1;

    let scratch = new Uint8Array(256);
    for (let rank = 0; rank < count; rank++) {
      const merge = merges[rank]!;
      const whole = typeof merge === "string";
      const left = whole ? merge : merge[0];
      const right = whole ? merge : merge[1];
      const leftEnd = whole ? Math.max(0, merge.indexOf(" ")) : left.length;
      if (scratch.length < left.length + right.length) scratch = new Uint8Array(2 * (left.length + right.length));

      const middle = spellBytes(left, 0, leftEnd, scratch, 0);
      const end = middle < 0 ? -1 : spellBytes(right, whole ? leftEnd + 1 : 0, right.length, scratch, middle);
      const leftId = end < 0 ? -1 : table.find(scratch, 0, middle);
      const rightId = end < 0 ? -1 : table.find(scratch, middle, end);
      // Most merges make the token of the one before, or the next: a search less in three.
      let mergedId = rank === 0 ? 0 : this.merged[rank - 1]!;
      if (end < 0) mergedId = -1;
      else if (!table.has(mergedId, scratch, 0, end) && !table.has(++mergedId, scratch, 0, end)) mergedId = table.find(scratch, 0, end);
      if (leftId < 0 || rightId < 0 || mergedId < 0) {
        throw new TableError(`has ${show(merge)} at ${rank}, which does not name two tokens that make a third`);
      }
      this.left[rank] = leftId;
      this.right[rank] = rightId;
      this.merged[rank] = mergedId;

      const slot = this.slotOf(leftId, rightId);
      if (slot === this.slots.length) throw new TableError(collide);
      if (this.slots[slot] !== 0) throw new TableError(`has ${show(merge)} twice, at ${this.slots[slot]! - 1} and ${rank}`);
      this.slots[slot] = rank + 1;
    }
  }

  /** The rank of a pair, −1 if it does not merge. */
  rank(left: number, right: number): number {
    return (this.slots[this.slotOf(left, right)] ?? 0) - 1;
  }

  private slotOf(left: number, right: number): number {
    const { slots, mask } = this;
    let slot = mix(Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0xc2b2ae35)) & mask;
    for (let probes = 0; probes < maxProbes; probes++) {
      const rank = slots[slot]! - 1;
      if (rank < 0 || (this.left[rank] === left && this.right[rank] === right)) return slot;
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
