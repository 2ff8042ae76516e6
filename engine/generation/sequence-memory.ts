/** Finished sequences whose keys and values are kept for a later prompt that begins like them. A chat needs one; a server one a user. */
const MAX_IDLE = 16;

/** A recurrent state as it was after so many tokens of a sequence, and its number. */
export interface Snapshot {
  readonly position: number;
  readonly state: number;
}

/** A finished sequence: the tokens that were computed, where their keys and values lie, and states of it, in order of position. */
interface IdleEntry {
  readonly tokens: readonly number[];
  readonly blocks: readonly number[];
  readonly snapshots: readonly Snapshot[];
}

/** From where a new sequence can go on. */
export interface TakenOver {
  readonly computed: number;
  readonly blocks: number[];
  /** The last of them is that after `computed` tokens. */
  readonly snapshots: Snapshot[];
}

function commonPrefix(a: readonly number[], b: readonly number[], limit: number): number {
  const end = Math.min(a.length, b.length, limit);
  let i = 0;
  while (i < end && a[i] === b[i]) i++;
  return i;
}

/**
 * Who owns which block of the KV cache, and which recurrent state: each is free, in one idle entry, or in one running sequence. Keys and values can be
 * cut anywhere, a state can't: what has states goes on only from where there is a snapshot.
 */
export class SequenceMemory {
  readonly total: number;
  readonly blockSize: number;
  /** Whether sequences have states. */
  readonly isRecurrent: boolean;
  readonly #free: number[] = [];
  readonly #freeStates: number[] = [];
  /** Least recently used first. */
  readonly #idle: IdleEntry[] = [];

  /** @param total blocks @param states 0: sequences have none */
  constructor(total: number, blockSize: number, states = 0) {
    this.total = total;
    this.blockSize = blockSize;
    this.isRecurrent = states > 0;
    for (let block = total - 1; block >= 0; block--) this.#free.push(block);
    for (let state = states - 1; state >= 0; state--) this.#freeStates.push(state);
  }

  /** Blocks that can be had without dropping an idle entry. */
  get free(): number {
    return this.#free.length;
  }

  /** The same of states. */
  get freeStates(): number {
    return this.#freeStates.length;
  }

  /** Blocks that hold this many positions. */
  needed(positions: number): number {
    return Math.ceil(positions / this.blockSize);
  }

  /** A block to write to; idle entries are dropped for it, the least recently used first. Undefined if running sequences hold them all. */
  allocate(): number | undefined {
    while (this.#free.length === 0 && this.#idle.length > 0) this.#drop();
    return this.#free.pop();
  }

  /** A state to write to, as `allocate`. */
  allocateState(): number | undefined {
    while (this.#freeStates.length === 0 && this.#idle.length > 0) this.#drop();
    return this.#freeStates.pop();
  }

  release(blocks: readonly number[]): void {
    this.#free.push(...blocks);
  }

  releaseStates(...states: readonly number[]): void {
    this.#freeStates.push(...states);
  }

  /** Keeps a finished sequence: `tokens` are those that were computed. */
  keep(tokens: readonly number[], blocks: readonly number[], snapshots: readonly Snapshot[]): void {
    const isUseful = tokens.length > 0 && (!this.isRecurrent || snapshots.length > 0);
    const used = isUseful ? this.needed(tokens.length) : 0;
    this.release(blocks.slice(used));
    if (isUseful) this.#idle.push({ tokens, blocks: blocks.slice(0, used), snapshots });
    else this.releaseStates(...snapshots.map(({ state }) => state));
    if (this.#idle.length > MAX_IDLE) this.#drop();
  }

  /**
   * Hands over the idle entry that begins most like `tokens`, cut to the common beginning of at most `limit` tokens, or to the last snapshot in it.
   * At least half of the entry must be of use: two prompts with the same short opening should not destroy each other's cache.
   */
  takeOver(tokens: readonly number[], limit: number): TakenOver | undefined {
    let best = -1;
    let computed = 0;
    for (const [i, entry] of this.#idle.entries()) {
      const common = commonPrefix(entry.tokens, tokens, limit);
      if (common * 2 < entry.tokens.length) continue;
      const from = this.isRecurrent ? (entry.snapshots.findLast(({ position }) => position <= common)?.position ?? 0) : common;
      if (from <= computed) continue;
      best = i;
      computed = from;
    }
    if (best < 0) return undefined;
    const { blocks, snapshots } = this.#idle.splice(best, 1)[0]!;
    const used = this.needed(computed);
    this.release(blocks.slice(used));
    const [kept, cut] = [true, false].map((isKept) => snapshots.filter(({ position }) => position <= computed === isKept));
    this.releaseStates(...cut!.map(({ state }) => state));
    return { computed, blocks: blocks.slice(0, used), snapshots: kept! };
  }

  /** Drops the least recently used idle entry. */
  #drop(): void {
    const { blocks, snapshots } = this.#idle.shift()!;
    this.release(blocks);
    this.releaseStates(...snapshots.map(({ state }) => state));
  }
}
