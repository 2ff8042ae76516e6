import { quote } from "../container/quote.js";
import type { StringList } from "../container/string-list.js";
import { MergeQueue } from "./merge-queue.js";
import { batch, collide, maxProbes, mix, slotsFor, TableError, type TokenTable } from "./token-table.js";

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

/** Whether a merge names two tokens that make a third, and one of the three stands apart. */
function isOfApart(merge: string, table: TokenTable, apart: (id: number) => boolean): boolean {
  const [left, right, ...others] = merge.split(" ");
  if (!left || !right || others.length > 0) return false;
  const utf8 = new TextEncoder();
  const ids = [left, right, left + right].map((text) => table.findAny(utf8.encode(text)));
  return ids.every((id) => id >= 0) && ids.some(apart);
}

/** Pairs of token ids → rank (0 merges first) and the token they make. */
export class MergeTable {
  /** [merges] Id of the token that a merge makes. */
  readonly merged: Int32Array;
  private readonly left: Int32Array; // [merges] ids
  private readonly right: Int32Array; // [merges] ids
  private readonly mask: number;
  private readonly slots: Int32Array; // [slots] rank + 1, 0 where free

  /**
   * Each merge as "left right" in the alphabet of the table. Of one that is there twice the first counts, or the last if `last` is true. Throws a
   * TableError that says which names what is not a token. @param apart tokens at which text is split before merging: some files have merges of and to them, which
   * never happen
   */
  constructor(merges: StringList, table: TokenTable, last: boolean, apart: (id: number) => boolean = () => false) {
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
      this.join(merges, start, count, table, middles, ids, apart);
      this.touch(start, count);
      this.insert(start, count, last);
    }
  }

  /** Notes what the merges make of their halves. */
  private join(
    merges: StringList,
    start: number,
    count: number,
    table: TokenTable,
    middles: Int32Array,
    ids: Int32Array,
    apart: (id: number) => boolean,
  ): void {
    const { bytes, starts } = merges;
    let mergedId = start === 0 ? 0 : this.merged[start - 1]!;
    for (let i = 0; i < count; i++) {
      const rank = start + i;
      const to = merges.endOf(rank);
      const leftId = ids[2 * i]!;
      const rightId = ids[2 * i + 1]!;
      const areTokens = middles[i]! < to && leftId >= 0 && rightId >= 0;
      mergedId = areTokens ? table.findJoined(mergedId, bytes, starts[rank]!, middles[i]!, to) : -1;
      if (mergedId < 0 && !isOfApart(merges.at(rank)!, table, apart)) {
        throw new TableError(`has ${quote(merges.at(rank)!)} at ${rank}, which is not two tokens that form a third`);
      }
      const never = mergedId < 0;
      this.left[rank] = never ? -1 : leftId;
      this.right[rank] = never ? -1 : rightId;
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

  private insert(start: number, count: number, last: boolean): void {
    const { slots, left, right } = this;
    for (let rank = start; rank < start + count; rank++) {
      if (left[rank]! < 0) continue;
      const slot = this.search(left[rank]!, right[rank]!);
      if (slot === slots.length) throw new TableError(collide);
      if (slots[slot] === 0 || last) slots[slot] = rank + 1;
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

/** Symbols of a word for which the work space is kept from word to word; a longer one gets its own. */
const keptLength = 1024;

const workSpace = (length: number) => ({
  ids: new Int32Array(length), // the symbol that starts here; −1 once it is merged into the one before, or if it is no token
  next: new Int32Array(length), // where the next symbol starts; `length` after the last
  prev: new Int32Array(length), // where the one before starts; −1 before the first
  queue: new MergeQueue(length),
});

/** Merges a word's symbols into tokens: always the pair of least rank, of several the leftmost. O(n log n) in the symbols. */
export class PairMerger {
  private readonly kept = workSpace(keptLength);

  constructor(private readonly merges: MergeTable) {}

  /**
   * Merges `length` symbols. `first` gives the id of each at first, −1 for one that is no token and merges with none; `out` hears the ids that
   * are left, in order, with the place of their first symbol.
   */
  merge(length: number, first: (symbol: number) => number, out: (id: number, symbol: number) => void): void {
    const { merges } = this;
    const { ids, next, prev, queue } = length <= keptLength ? this.kept : workSpace(length);
    const push = (position: number, right: number) => {
      const rank = merges.rank(ids[position]!, ids[right]!);
      if (rank >= 0) queue.push(rank, position);
    };
    for (let i = 0; i < length; i++) {
      ids[i] = first(i);
      next[i] = i + 1;
      prev[i] = i - 1;
    }
    for (let i = 0; i + 1 < length; i++) push(i, i + 1);
    while (!queue.isEmpty) {
      const key = queue.pop();
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
    for (let i = 0; i < length; i = next[i]!) out(ids[i]!, i);
  }
}
