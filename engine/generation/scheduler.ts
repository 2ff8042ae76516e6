import type { Counters } from "../compute/counters.js";
import type { RowOutput, StepLimits, StepOutput, StepRunner } from "../compute/step.js";
import { BitnetError } from "../errors.js";
import { shown } from "../options.js";
import { GenerationJob, type GenerationOutcome, type GenerationRequest, type Job, RowsJob, type RowsRequest } from "./jobs.js";
import { type Computed, SequenceMemory, type Snapshot } from "./sequence-memory.js";
import type { ModelStats } from "./types.js";

/** A job and its place in the cache. */
interface Sequence {
  readonly job: Job;
  /** Arrival: the older goes first where blocks are short. */
  readonly order: number;
  /** Positions whose keys and values are in `blocks`. */
  computed: number;
  blocks: number[];
  /** Its recurrent state, that after `computed` positions; undefined: the network has none, or it isn't running. */
  state: number | undefined;
  /** Of its beginnings, in order of position. */
  snapshots: Snapshot[];
  /** The position of which a snapshot is worth taking; 0: none. */
  readonly worthy: number;
  /** It has never run. */
  isNew: boolean;
}

/** Rows of one sequence in the next batch: positions computed … computed + rows − 1, and after them those of drafts. */
interface Piece {
  readonly sequence: Sequence;
  rows: number;
  drafts: readonly number[];
  /** The state to go back to if a draft is wrong. */
  backup?: number;
}

/** A piece in a batch, with the positions of which something is wanted, in the order of the batch's outputs. */
interface Sent extends Piece {
  readonly positions: readonly number[];
}

/**
 * A snapshot is taken at the last multiple of so many blocks in a prompt, a little before its end: the prompt of a conversation's next turn may differ
 * in its last tokens, where the template opens the answer. More of them would cost memory and save little.
 */
const SNAPSHOT_BLOCKS = 2;
/** Snapshots of one sequence: one of this prompt, one of that of the turn before. */
const MOST_SNAPSHOTS = 2;

/** How many sequences are computed at once, and how many more wait; of both as many as there is room for. */
export interface Admission {
  readonly maxRunning?: number | undefined;
  readonly maxWaiting?: number | undefined;
}

/** Rows of a step in which sequences decode: they wait for its prompts. */
const ROWS_BESIDE = 64;

/**
 * Owns a step runner and its one loop: whatever is wanted at the same time shares batches. How a batch is made up never shows in an
 * answer (the runner's promise), so the scheduler is free to cut, interleave, and recompute.
 *
 * Each step takes one row of every sequence that decodes, and fills up with pieces of prompts, whose order rotates. A sequence that is
 * computed to its end may add guesses of what follows, where there is unused room: a guess that is the token chosen has
 * its row computed already, and the rows after the first wrong one are as if they had never been. Blocks of the
 * cache are allocated when they are written to; where they run out, idle entries go first, then the youngest sequence is put back in
 * the queue and later computed again.
 *
 * Recurrent states can't be cut back as keys and values can. What needs an earlier one goes on from a snapshot: a conversation from one of its prompt,
 * a sequence with a wrong guess from one before the guess, and what has none is computed again.
 */
export class Scheduler {
  readonly #runner: StepRunner;
  readonly #limits: StepLimits;
  readonly #vocabSize: number;
  readonly #ids: number;
  readonly #memory: SequenceMemory;
  /** More sequences than this could not all have a row and an output in each batch. */
  readonly #maxRunning: number;
  /** Both in order of arrival. */
  readonly #queue: Sequence[] = [];
  readonly #running: Sequence[] = [];
  /** Of states, before the next batch. */
  readonly #copies: (readonly [from: number, to: number])[] = [];
  #arrivals = 0;
  /** Whose prompt goes first in the next batch. */
  #turn = 0;
  #looping = false;
  #failure: { readonly error: unknown } | undefined;
  readonly #maxWaiting: number;
  readonly #counts = { refused: 0, steps: 0, computedTokens: 0, promptTokens: 0, cachedTokens: 0, generatedTokens: 0 };

  /** `vocabSize`: ids that the network has embeddings for. `ids`: those that may be chosen, from 0 up: a padded vocabulary has rows without a token. */
  constructor(runner: StepRunner, vocabSize: number, ids = vocabSize, { maxRunning = Infinity, maxWaiting = Infinity }: Admission = {}) {
    const { maxRows, maxOutputs, blockSize, blocks, contextLength, states } = runner.limits;
    if (!(maxRows > 0 && maxOutputs > 0 && blocks * blockSize >= contextLength)) {
      throw new BitnetError("internal", `a cache of ${blocks} blocks of ${blockSize} can't hold a context of ${contextLength}`);
    }
    this.#runner = runner;
    this.#limits = runner.limits;
    this.#vocabSize = vocabSize;
    this.#ids = ids;
    this.#memory = new SequenceMemory(blocks, blockSize, states);
    this.#maxRunning = Math.min(maxRows, maxOutputs, maxRunning);
    this.#maxWaiting = maxWaiting;
  }

  /** What it does and has done. */
  get stats(): ModelStats {
    const { blocks, blockSize } = this.#limits;
    const [running, waiting] = [this.#running.length, this.#queue.length];
    return { running, waiting, ...this.#counts, cacheSize: blocks * blockSize, cacheUsed: this.#memory.used };
  }

  /** Throws the `usage` error that `generate` would for this prompt. */
  checkPrompt(promptIds: readonly number[]): void {
    this.#checkIds(promptIds, "the prompt");
    const { contextLength } = this.#limits;
    if (promptIds.length >= contextLength) {
      throw new BitnetError(
        "usage",
        `the prompt has ${promptIds.length} tokens, and the context of ${contextLength} leaves no room for an answer: shorten the prompt, or raise the context length (contextLength, --ctx)`,
      );
    }
  }

  /** Starts an answer. Throws a `usage` error for a bad prompt; `done` rejects only if the model is closed or broken. */
  generate(request: GenerationRequest): { readonly done: Promise<GenerationOutcome>; cancel(): void } {
    this.checkPrompt(request.promptIds);
    const { promise, resolve, reject } = withResolvers<GenerationOutcome>();
    const job = new GenerationJob(request, this.#limits.contextLength, this.#ids, resolve, reject);
    if (request.maxTokens === 0 && !this.#failure) {
      resolve({
        ids: [],
        stopReason: "length",
        cachedTokens: 0,
        prefillMs: 0,
        firstTokenMs: 0,
        decodeMs: 0,
        draftedTokens: 0,
        acceptedTokens: 0,
        logprobs: [],
        hidden: [],
      });
    } else {
      this.#submit(job);
    }
    return {
      done: promise,
      cancel: () => {
        job.cancelled = true;
      },
    };
  }

  /** What the kernels counted so far; see `StepRunner`. */
  get counters(): Counters {
    return this.#runner.counters;
  }

  /** Computes given tokens. Throws a `usage` error for bad ones; rejects with the signal's reason when aborted. */
  async rows(request: RowsRequest): Promise<void> {
    this.#checkIds(request.ids, "the text");
    const { contextLength } = this.#limits;
    if (request.ids.length > contextLength) {
      throw new BitnetError(
        "usage",
        `the text has ${request.ids.length} tokens, but the context only ${contextLength}: shorten the text, or raise the context length (contextLength, --ctx)`,
      );
    }
    const { promise, resolve, reject } = withResolvers<void>();
    const job = new RowsJob(request, resolve, reject);
    if (job.rows <= (request.first ?? 0) && !this.#failure) return; // one token has no likelihood
    this.#submit(job);
    await promise;
  }

  /** Ends everything: what is still wanted rejects with a `closed` error, as do later calls. Idempotent. */
  async close(): Promise<void> {
    this.#fail(new BitnetError("closed", "the model was closed"));
    await this.#runner.close();
  }

  #checkIds(ids: readonly number[], what: string): void {
    if (ids.length === 0) throw new BitnetError("usage", `${what} is empty: at least one token is required`);
    const bad = ids.findIndex((id) => !(Number.isInteger(id) && id >= 0 && id < this.#vocabSize));
    if (bad >= 0) {
      const id: unknown = ids[bad];
      const fault = Number.isInteger(id) ? `is outside the vocabulary of ${this.#vocabSize}` : "is not a whole number";
      throw new BitnetError("usage", `token id ${shown(id)} (number ${bad + 1} of ${what}) ${fault}`);
    }
  }

  /** @throws BitnetError busy */
  #submit(job: Job): void {
    if (this.#failure) {
      job.fail(this.#failure.error);
      return;
    }
    if (this.#running.length + this.#queue.length >= this.#maxRunning + this.#maxWaiting) {
      this.#counts.refused++;
      throw new BitnetError(
        "busy",
        `${this.#running.length} answers are being computed and ${this.#queue.length} wait, which is as many as are allowed: try again later, or allow more (maxWaiting)`,
      );
    }
    const unit = SNAPSHOT_BLOCKS * this.#limits.blockSize;
    const worthy = Math.max(0, Math.floor((job.prefix - this.#limits.blockSize / 4) / unit) * unit);
    this.#queue.push({ job, order: this.#arrivals++, computed: 0, blocks: [], state: undefined, snapshots: [], worthy, isNew: true });
    if (!this.#looping) void this.#loop();
  }

  #fail(error: unknown): void {
    if (this.#failure) return;
    this.#failure = { error };
    for (const { job } of [...this.#running.splice(0), ...this.#queue.splice(0)]) job.fail(error);
  }

  async #loop(): Promise<void> {
    this.#looping = true;
    try {
      await undefined; // calls made in the same breath share the first batch
      for (;;) {
        this.#dropAborted();
        this.#admit();
        if (this.#running.length === 0) break;
        await this.#step(this.#plan());
        if (this.#failure) break;
      }
    } catch (error) {
      this.#fail(error);
    }
    this.#looping = false;
  }

  #dropAborted(): void {
    for (const sequence of [...this.#running, ...this.#queue]) {
      const { job } = sequence;
      try {
        if (!job.aborted) continue;
        job.abort();
      } catch (error) {
        job.fail(error); // the caller's own signal threw: that ends this call, and no other
      }
      this.#finish(sequence);
    }
  }

  /** Takes a sequence out of its list; its blocks and states stay as an idle entry or become free. */
  #finish(sequence: Sequence): void {
    const { job, computed, blocks, state, snapshots } = sequence;
    const list = this.#running.includes(sequence) ? this.#running : this.#queue;
    list.splice(list.indexOf(sequence), 1);
    if (!job.reusable || computed === 0) {
      this.#free(sequence);
      return;
    }
    this.#memory.keep(job.tokens.slice(0, computed), blocks, [
      ...snapshots,
      ...(state === undefined ? [] : [{ position: computed, state }]),
    ]);
  }

  /** Gives back all that a sequence has in memory. */
  #free(sequence: Sequence): void {
    this.#memory.release(sequence.blocks);
    if (sequence.state !== undefined) this.#memory.releaseStates(sequence.state);
    this.#memory.releaseStates(...sequence.snapshots.map(({ state }) => state));
    Object.assign(sequence, { blocks: [], computed: 0, state: undefined, snapshots: [] });
  }

  /** Starts waiting sequences, in order, while there are blocks for all that the running ones are known to need, and states. */
  #admit(): void {
    const blocks = this.#memory;
    while (this.#queue.length > 0 && this.#running.length < this.#maxRunning) {
      const next = this.#queue[0]!;
      if (this.#running.length > 0 && this.#promised() + this.#unshared(next) > blocks.total) return;
      if (blocks.isRecurrent && this.#running.length === this.#limits.states) return;
      this.#queue.shift();
      const beginning = blocks.begin(next.job.tokens, next.job.prefix, this.#running.map(computedOf));
      next.computed = beginning?.computed ?? 0;
      next.blocks = beginning?.blocks ?? [];
      next.snapshots = beginning?.snapshots ?? [];
      // What is not computed yet needs no copy of the last snapshot, where there is no room for one.
      if (blocks.isRecurrent) next.state = this.#copyOfLast(next) ?? next.snapshots.pop()?.state ?? this.#anyState();
      next.job.admitted(next.computed);
      if (next.isNew) {
        this.#counts.promptTokens += next.job.tokens.length;
        this.#counts.cachedTokens += next.computed;
        next.isNew = false;
      }
      insert(this.#running, next);
    }
  }

  /** Blocks that the running sequences have and are known to need. */
  #promised(): number {
    const held = new Set(this.#running.flatMap(({ blocks }) => blocks)).size;
    return this.#running.reduce((sum, { job, blocks }) => sum + Math.max(this.#memory.needed(job.rows) - blocks.length, 0), held);
  }

  /** Blocks that a waiting sequence needs beyond those of the running ones. */
  #unshared({ job }: Sequence): number {
    const shared = this.#running.map((one) => this.#memory.shareable(computedOf(one), job.tokens, job.prefix));
    return this.#memory.needed(job.rows) - this.#memory.needed(Math.max(0, ...shared));
  }

  /** A copy of a sequence's last snapshot, if there is one, and room. */
  #copyOfLast({ snapshots }: Sequence): number | undefined {
    const last = snapshots.at(-1);
    if (last === undefined || this.#memory.freeStates === 0) return undefined;
    const state = this.#memory.allocateState()!;
    this.#copies.push([last.state, state]);
    return state;
  }

  /** A state for a sequence that begins: also that of a snapshot of another one, which only saves time. */
  #anyState(): number {
    const state = this.#memory.allocateState() ?? this.#running.find(({ snapshots }) => snapshots.length > 0)?.snapshots.shift()?.state;
    if (state === undefined) throw new BitnetError("internal", "the scheduler lost recurrent states");
    return state;
  }

  /** The next batch: at least one row, and a block for each. */
  #plan(): Piece[] {
    this.#adopt();
    for (let turns = this.#running.length; turns > 0; turns--) {
      const pieces = this.#allocate(this.#choose());
      // Blocks were short for those whose turn it was. The oldest sequence can have them all, and its turn comes.
      if (pieces.length > 0) return this.#addDrafts(pieces);
    }
    throw new BitnetError("internal", "the scheduler lost blocks of the cache");
  }

  /** Sequences that still compute their prompts go on from where others, which begin like them, have come. */
  #adopt(): void {
    const running = this.#running.map(computedOf);
    for (const [i, sequence] of this.#running.entries()) {
      const { job } = sequence;
      if (sequence.computed >= job.prefix) continue;
      const adopted = this.#memory.adopt(running[i]!, job.prefix, running);
      if (!adopted) continue;
      job.adopted(adopted.computed - sequence.computed);
      this.#counts.cachedTokens += adopted.computed - sequence.computed;
      Object.assign(sequence, adopted);
      running[i] = computedOf(sequence); // the blocks that it had are free
    }
  }

  /** Who gets how many rows, by fairness alone. What another one is about to compute, so that it can be shared, is waited for. */
  #choose(): Piece[] {
    const left = ({ job, computed }: Sequence) => job.rows - computed;
    const decoding = this.#running.filter((sequence) => left(sequence) === 1);
    const filling = this.#running.filter((sequence) => left(sequence) > 1);
    const pieces: Piece[] = decoding.map((sequence) => ({ sequence, rows: 1, drafts: [] }));
    const { maxRows } = this.#limits;
    let rowsLeft = (decoding.length > 0 ? Math.min(maxRows, ROWS_BESIDE) : maxRows) - decoding.length;
    let outputsLeft = this.#limits.maxOutputs - decoding.length;
    const turn = this.#turn++;
    for (let i = 0; i < filling.length; i++) {
      const sequence = filling[(turn + i) % filling.length]!;
      const { computed, worthy, job } = sequence;
      const isComing = ({ sequence: other, rows }: Piece): boolean =>
        this.#memory.shareable({ tokens: other.job.tokens, computed: other.computed + rows }, job.tokens, job.prefix) > computed;
      if (pieces.some(isComing)) continue;
      const most = Math.min(left(sequence), rowsLeft, this.#memory.isRecurrent && worthy > computed ? worthy - computed : Infinity);
      let rows = 0;
      while (rows < most) {
        if (wantsLogits(sequence.job, sequence.computed + rows)) {
          if (outputsLeft === 0) break;
          outputsLeft--;
        }
        rows++;
      }
      rowsLeft -= rows;
      if (rows > 0) pieces.push({ sequence, rows, drafts: [] });
    }
    return pieces;
  }

  /** Gives each piece its blocks, the oldest sequence first; a younger one may lose its own, and its piece, for that. */
  #allocate(pieces: readonly Piece[]): Piece[] {
    const blocks = this.#memory;
    const byAge = pieces.toSorted((a, b) => a.sequence.order - b.sequence.order);
    for (const piece of byAge) {
      const { sequence } = piece;
      if (!this.#running.includes(sequence)) continue; // preempted just now
      while (sequence.blocks.length < blocks.needed(sequence.computed + piece.rows)) {
        const block = blocks.allocate();
        if (block !== undefined) sequence.blocks.push(block);
        else if (!this.#preempt(sequence)) piece.rows = sequence.blocks.length * blocks.blockSize - sequence.computed;
      }
    }
    return byAge.filter(({ sequence, rows }) => rows > 0 && this.#running.includes(sequence));
  }

  /** Puts the youngest sequence that is younger than this one and holds blocks back in the queue; false if there is none. */
  #preempt(sequence: Sequence): boolean {
    const victim = this.#running.findLast(({ order, blocks }) => order > sequence.order && blocks.length > 0);
    if (!victim) return false;
    this.#running.splice(this.#running.indexOf(victim), 1);
    this.#free(victim);
    insert(this.#queue, victim);
    return true;
  }

  /** Gives what is left of rows, outputs and free blocks to drafts, in equal shares; no sequence loses anything for them. */
  #addDrafts(pieces: Piece[]): Piece[] {
    const blocks = this.#memory;
    const drafting = pieces.filter(({ sequence, rows }) => sequence.computed + rows === sequence.job.rows);
    let rows = pieces.reduce((sum, piece) => sum + piece.rows, 0);
    let outputs = pieces.reduce((sum, piece) => sum + logitsOf(piece), 0);
    for (const [i, piece] of drafting.entries()) {
      const { job, computed, blocks: held } = piece.sequence;
      const left = Math.min(this.#limits.maxRows - rows, this.#limits.maxOutputs - outputs);
      const room = (held.length + blocks.free) * blocks.blockSize - computed - piece.rows;
      if (blocks.isRecurrent && blocks.freeStates === 0) continue; // without a way back no guess
      piece.drafts = job.draft(Math.min(Math.ceil(left / (drafting.length - i)), room), rows);
      if (blocks.isRecurrent && piece.drafts.length > 0) {
        piece.backup = blocks.allocateState()!;
        this.#copies.push([piece.sequence.state!, piece.backup]);
      }
      rows += piece.drafts.length;
      outputs += piece.drafts.length;
      while (held.length < blocks.needed(computed + piece.rows + piece.drafts.length)) held.push(blocks.allocate()!);
    }
    return pieces;
  }

  async #step(pieces: readonly Piece[]): Promise<void> {
    const rows = pieces.reduce((sum, piece) => sum + piece.rows + piece.drafts.length, 0);
    const tokens = new Int32Array(rows);
    const positions = new Int32Array(rows);
    const sequences = new Int32Array(rows);
    const outputs: RowOutput[] = [];
    const sent: Sent[] = [];
    let row = 0;
    for (const piece of pieces) this.#takeSnapshot(piece);
    for (const [index, piece] of pieces.entries()) {
      const { job, computed } = piece.sequence;
      const wantedAt: number[] = [];
      for (let i = 0; i < piece.rows + piece.drafts.length; i++, row++) {
        const position = computed + i;
        tokens[row] = i < piece.rows ? job.tokens[position]! : piece.drafts[i - piece.rows]!;
        positions[row] = position;
        sequences[row] = index;
        const wanted = job.wanted(position);
        if (!wanted) continue;
        outputs.push(wanted.want === "sample" ? { ...wanted, row, ids: this.#ids } : { ...wanted, row });
        wantedAt.push(position);
      }
      sent.push({ ...piece, positions: wantedAt });
    }
    const tables = pieces.map(({ sequence }) => Int32Array.from(sequence.blocks));
    const states = this.#memory.isRecurrent && { states: Int32Array.from(pieces, ({ sequence }) => sequence.state!) };
    const copies = this.#copies.length > 0 && { copies: this.#copies.splice(0) };
    const results = await this.#runner.step({ tokens, positions, sequences, tables, outputs, ...states, ...copies });
    if (this.#failure) return; // closed meanwhile
    this.#counts.steps++;
    this.#counts.computedTokens += rows;
    let next = 0;
    for (const piece of sent) {
      const mine = results.slice(next, next + piece.positions.length);
      next += piece.positions.length;
      const { job, computed: before } = piece.sequence;
      const known = job.tokens.length;
      const isDone = deliver(piece, mine);
      this.#counts.generatedTokens += job.tokens.length - known;
      this.#settle(piece, before);
      if (isDone) this.#finish(piece.sequence);
      else this.#returnBlocks(piece);
    }
  }

  /** Has the state that a piece begins with copied, if it is worth it and there is room. */
  #takeSnapshot({ sequence: { computed, snapshots, worthy, state } }: Piece): void {
    if (state === undefined || computed === 0 || computed !== worthy || snapshots.at(-1)?.position === computed) return;
    const copy = snapshots.length < MOST_SNAPSHOTS ? this.#memory.allocateState() : snapshots.shift()!.state;
    if (copy === undefined) return;
    this.#copies.push([state, copy]);
    snapshots.push({ position: computed, state: copy });
  }

  /** After a wrong draft the state is of no use: the sequence goes back to where the piece began, if it has no other way. */
  #settle({ sequence, rows, drafts, backup }: Piece, before: number): void {
    if (backup === undefined) return;
    const isRight = sequence.computed === before + rows + drafts.length;
    const [kept, other] = isRight ? [sequence.state!, backup] : [backup, sequence.state!];
    sequence.state = kept;
    this.#memory.releaseStates(other);
    if (!isRight) sequence.computed = before;
  }

  /** Gives back the blocks of drafts that were wrong. */
  #returnBlocks({ sequence: { job, blocks }, drafts }: Piece): void {
    if (drafts.length > 0) this.#memory.release(blocks.splice(this.#memory.needed(job.rows)));
  }
}

function computedOf({ job: { tokens }, computed, blocks }: Sequence): Computed {
  return { tokens, computed, blocks };
}

/** Whether an output of this position takes one of the places that a batch has for logits. */
function wantsLogits(job: Job, position: number): boolean {
  const wanted = job.wanted(position);
  return wanted !== undefined && wanted.want !== "state";
}

/** How many such places a piece takes, without its drafts. */
function logitsOf({ sequence: { job, computed }, rows }: Piece): number {
  let count = 0;
  for (let i = 0; i < rows; i++) if (wantsLogits(job, computed + i)) count++;
  return count;
}

/** Hands a piece's outputs to its job, those of drafts as long as the job has chosen the same; true if that ended it. */
function deliver({ sequence, rows, drafts, positions }: Sent, outputs: readonly StepOutput[]): boolean {
  const { job } = sequence;
  sequence.computed += rows;
  const known = sequence.computed;
  try {
    for (const [i, position] of positions.entries()) {
      const drafted = position >= known;
      if (drafted) {
        if (job.tokens[position] !== drafts[position - known]) return false; // whatever comes now follows a wrong token
        sequence.computed++;
      }
      if (job.take(position, outputs[i] ?? {}, drafted)) return true;
    }
    return false;
  } catch (error) {
    job.fail(error);
    return true;
  }
}

/** Keeps a list in order of arrival. */
function insert(list: Sequence[], sequence: Sequence): void {
  const at = list.findIndex(({ order }) => order > sequence.order);
  list.splice(at < 0 ? list.length : at, 0, sequence);
}

/** Promise.withResolvers, which Node 20 lacks. */
function withResolvers<T>(): { promise: Promise<T>; resolve: (value: T) => void; reject: (error: unknown) => void } {
  let resolve!: (value: T) => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<T>((onValue, onError) => {
    resolve = onValue;
    reject = onError;
  });
  return { promise, resolve, reject };
}
