import { BitnetError } from "../errors.js";

/**
 * Finished sequences whose keys and values are kept for a later prompt that begins like them. A chat needs one; a server one a user, so in a large
 * cache they are more: one for so many blocks of it. Each prompt is compared with all of them.
 */
const USUAL_IDLE = 16;
const BLOCKS_OF_IDLE = 16;
const MOST_IDLE = 256;

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

/** From where a new sequence can go on. Its blocks are the new sequence's, maybe beside others'. */
export interface Beginning {
  readonly computed: number;
  readonly blocks: number[];
  /** The last of them is that after `computed` tokens. */
  readonly snapshots: Snapshot[];
}

/** What has been computed of a running sequence. */
export interface Computed {
  readonly tokens: readonly number[];
  readonly computed: number;
  readonly blocks: readonly number[];
}

function commonPrefix(a: readonly number[], b: readonly number[], limit: number): number {
  const end = Math.min(a.length, b.length, limit);
  let i = 0;
  while (i < end && a[i] === b[i]) i++;
  return i;
}

/**
 * Who has which block of the KV cache, and which recurrent state. Sequences that begin alike share the blocks of their beginning that are full, and so
 * are not written to any more; running and idle ones alike. A state belongs to one of them. Keys and values can be cut anywhere, a state can't: what has
 * states goes on only from where there is a snapshot, and shares nothing.
 */
export class SequenceMemory {
  readonly total: number;
  readonly blockSize: number;
  /** Whether sequences have states. */
  readonly isRecurrent: boolean;
  readonly #maxIdle: number;
  readonly #free: number[] = [];
  /** [total] how many sequences and idle entries have each block */
  readonly #uses: Int32Array;
  readonly #freeStates: number[] = [];
  /** Least recently used first. */
  readonly #idle: IdleEntry[] = [];

  /** @param total blocks @param states 0: sequences have none */
  constructor(total: number, blockSize: number, states = 0) {
    this.total = total;
    this.blockSize = blockSize;
    this.isRecurrent = states > 0;
    this.#maxIdle = Math.min(Math.max(Math.floor(total / BLOCKS_OF_IDLE), USUAL_IDLE), MOST_IDLE);
    this.#uses = new Int32Array(total);
    for (let block = total - 1; block >= 0; block--) this.#free.push(block);
    for (let state = states - 1; state >= 0; state--) this.#freeStates.push(state);
  }

  /** Blocks that can be had without dropping an idle entry. */
  get free(): number {
    return this.#free.length;
  }

  /** Positions in blocks that a sequence or an idle entry has. */
  get used(): number {
    return (this.total - this.#free.length) * this.blockSize;
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
    const block = this.#free.pop();
    if (block !== undefined) this.#uses[block] = 1;
    return block;
  }

  /** A state to write to, as `allocate`. */
  allocateState(): number | undefined {
    while (this.#freeStates.length === 0 && this.#idle.length > 0) this.#drop();
    return this.#freeStates.pop();
  }

  /** One that had them has them no longer. */
  release(blocks: readonly number[]): void {
    for (const block of blocks) if (--this.#uses[block]! === 0) this.#free.push(block);
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
    if (this.#idle.length > this.#maxIdle) this.#drop();
  }

  /**
   * What has been computed of the first `limit` of `tokens`, in an idle entry or a running sequence: the longest.
   *
   * An idle entry of which at least half is of use is taken over, and cut to the common beginning, or to the last snapshot in it. Of others the full
   * blocks are shared.
   */
  begin(tokens: readonly number[], limit: number, running: readonly Computed[]): Beginning | undefined {
    let best: IdleEntry | undefined;
    let computed = 0;
    for (const entry of this.#idle) {
      const common = commonPrefix(entry.tokens, tokens, limit);
      const from = common * 2 < entry.tokens.length ? 0 : this.#cut(entry, common);
      if (from <= computed) continue;
      best = entry;
      computed = from;
    }
    const shared = this.#share(tokens, limit, running, computed);
    if (shared) return { ...shared, snapshots: [] };
    return best && this.#takeOver(best, computed);
  }

  /** What a sequence that has computed less can share, in the place of its own blocks: the longest beginning. */
  adopt(own: Computed, limit: number, running: readonly Computed[]): Omit<Beginning, "snapshots"> | undefined {
    const shared = this.#share(own.tokens, limit, running, own.computed);
    if (shared) this.release(own.blocks);
    return shared;
  }

  /** The longest beginning of `tokens` in whole blocks of a running sequence or an idle entry, now one more's; undefined: none is longer than `least`. */
  #share(tokens: readonly number[], limit: number, running: readonly Computed[], least: number): Omit<Beginning, "snapshots"> | undefined {
    const idle = this.#idle.map((entry) => ({ tokens: entry.tokens, blocks: entry.blocks, computed: entry.tokens.length }));
    let best: Computed | undefined;
    let computed = least;
    for (const one of [...running, ...idle]) {
      const shareable = this.shareable(one, tokens, limit);
      if (shareable <= computed) continue;
      best = one;
      computed = shareable;
    }
    if (!best) return undefined;
    const blocks = best.blocks.slice(0, this.needed(computed));
    for (const block of blocks) if (this.#uses[block]!++ === 0) throw new BitnetError("internal", "a free block of the cache was shared");
    return { computed, blocks };
  }

  /** How much of the first `limit` of `tokens` can be shared with one that has computed so much: whole blocks. */
  shareable({ tokens: own, computed }: Omit<Computed, "blocks">, tokens: readonly number[], limit: number): number {
    return this.isRecurrent ? 0 : this.#whole(commonPrefix(own, tokens, Math.min(limit, computed)));
  }

  #whole(positions: number): number {
    return positions - (positions % this.blockSize);
  }

  /** Where an idle entry can be cut, at `common` tokens or before. A block that others have too isn't written to. */
  #cut({ blocks, snapshots }: IdleEntry, common: number): number {
    if (this.isRecurrent) return snapshots.findLast(({ position }) => position <= common)?.position ?? 0;
    const whole = this.#whole(common);
    return common > whole && this.#uses[blocks[whole / this.blockSize]!]! > 1 ? whole : common;
  }

  #takeOver(entry: IdleEntry, computed: number): Beginning {
    this.#idle.splice(this.#idle.indexOf(entry), 1);
    const { blocks, snapshots } = entry;
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
