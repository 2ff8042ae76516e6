/** Finished sequences whose keys and values are kept for a later prompt that begins like them. A chat needs one; a server one a user. */
const MAX_IDLE = 16;

/** A finished sequence: the tokens that were computed, and where their keys and values lie. */
interface IdleEntry {
  readonly tokens: readonly number[];
  readonly blocks: number[];
}

function commonPrefix(a: readonly number[], b: readonly number[], limit: number): number {
  const end = Math.min(a.length, b.length, limit);
  let i = 0;
  while (i < end && a[i] === b[i]) i++;
  return i;
}

/** Who owns which block of the KV cache: every block is free, in one idle entry, or in one running sequence. */
export class KvBlocks {
  readonly total: number;
  readonly blockSize: number;
  readonly #free: number[] = [];
  /** Least recently used first. */
  readonly #idle: IdleEntry[] = [];

  constructor(total: number, blockSize: number) {
    this.total = total;
    this.blockSize = blockSize;
    for (let block = total - 1; block >= 0; block--) this.#free.push(block);
  }

  /** Blocks that can be had without dropping an idle entry. */
  get free(): number {
    return this.#free.length;
  }

  /** Blocks that hold this many positions. */
  needed(positions: number): number {
    return Math.ceil(positions / this.blockSize);
  }

  /** A block to write to; idle entries are dropped for it, the least recently used first. Undefined if running sequences hold them all. */
  allocate(): number | undefined {
    while (this.#free.length === 0) {
      const oldest = this.#idle.shift();
      if (oldest === undefined) return undefined;
      this.release(oldest.blocks);
    }
    return this.#free.pop();
  }

  release(blocks: readonly number[]): void {
    this.#free.push(...blocks);
  }

  /** Keeps a finished sequence: `tokens` are those whose keys and values were computed. */
  keep(tokens: readonly number[], blocks: readonly number[]): void {
    const used = this.needed(tokens.length);
    this.release(blocks.slice(used));
    if (used === 0) return;
    this.#idle.push({ tokens, blocks: blocks.slice(0, used) });
    if (this.#idle.length > MAX_IDLE) this.release(this.#idle.shift()!.blocks);
  }

  /**
   * Hands over the idle entry that begins most like `tokens`, cut to the common beginning of at most `limit` tokens.
   * At least half of the entry must be of use: two prompts with the same short opening should not destroy each other's cache.
   */
  takeOver(tokens: readonly number[], limit: number): { readonly computed: number; readonly blocks: number[] } | undefined {
    let best = -1;
    let computed = 0;
    for (const [i, entry] of this.#idle.entries()) {
      const common = commonPrefix(entry.tokens, tokens, limit);
      if (common > computed && common * 2 >= entry.tokens.length) {
        best = i;
        computed = common;
      }
    }
    if (best < 0) return undefined;
    const { blocks } = this.#idle.splice(best, 1)[0]!;
    const used = this.needed(computed);
    this.release(blocks.slice(used));
    return { computed, blocks: blocks.slice(0, used) };
  }
}
