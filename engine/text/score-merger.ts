import { MergeQueue } from "./merge-queue.js";
import type { TokenTable } from "./token-table.js";

/**
 * Merges characters into pieces as SentencePiece's BPE and llama.cpp do: of all neighbours whose texts together are a piece, the pair whose
 * piece has the highest score, of several the leftmost. Neighbours need be no pieces themselves. O(n log n) in the characters, times the
 * length of pieces.
 */
export class ScoreMerger {
  private readonly ranks: Int32Array; // [tokens] 0 for the highest score; equal scores have the same

  /** `scores`: [tokens], finite. */
  constructor(
    private readonly table: TokenTable,
    scores: ArrayLike<number>,
  ) {
    const order = Int32Array.from(scores, (_, id) => id).sort((a, b) => scores[b]! - scores[a]!);
    this.ranks = new Int32Array(scores.length);
    let rank = 0;
    for (let i = 1; i < order.length; i++) {
      if (scores[order[i]!] !== scores[order[i - 1]!]) rank++;
      this.ranks[order[i]!] = rank;
    }
  }

  /**
   * Merges the characters that begin at `starts` [characters + 1] in `bytes`; `out` hears the id of each piece that is left, −1 for a
   * character that is none, and its bounds in bytes.
   */
  merge(bytes: Uint8Array, starts: Int32Array, characters: number, out: (id: number, from: number, to: number) => void): void {
    const { table, ranks } = this;
    const next = new Int32Array(characters); // where the next symbol starts; `characters` after the last
    const prev = new Int32Array(characters); // where the one before starts; −1 before the first
    const ids = new Int32Array(characters); // the piece that starts here, −1 for none
    const pairs = new Int32Array(characters).fill(-1); // the piece that it makes with the next symbol, −1 for none, or once it is merged itself
    const queue = new MergeQueue(characters);
    const push = (position: number, right: number) => {
      const [from, to] = [starts[position]!, starts[next[right]!]!];
      const id = to - from > table.longest ? -1 : table.findSpelled(bytes, from, to);
      pairs[position] = id;
      if (id >= 0) queue.push(ranks[id]!, position);
    };
    for (let i = 0; i < characters; i++) {
      ids[i] = table.findSpelled(bytes, starts[i]!, starts[i + 1]!);
      next[i] = i + 1;
      prev[i] = i - 1;
    }
    for (let i = 0; i + 1 < characters; i++) push(i, i + 1);
    while (!queue.isEmpty) {
      const key = queue.pop();
      const rank = Math.floor(key / 2 ** 32);
      const position = key - rank * 2 ** 32;
      // An entry is stale when a neighbour's merge has taken one of its symbols.
      const merged = pairs[position]!;
      if (merged < 0 || ranks[merged] !== rank) continue;
      const right = next[position]!;
      const after = next[right]!;
      ids[position] = merged;
      pairs[position] = -1;
      pairs[right] = -1;
      next[position] = after;
      if (after < characters) {
        prev[after] = position;
        push(position, after);
      }
      if (prev[position]! >= 0) push(prev[position]!, position);
    }
    for (let i = 0; i < characters; i = next[i]!) out(ids[i]!, starts[i]!, starts[next[i]!]!);
  }
}
