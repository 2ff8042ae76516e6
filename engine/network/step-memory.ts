import type { RowOutput, StepBatch, StepLimits } from "../compute/step.js";

/** What the threads do when the leader lets them go. */
export const Operation = { step: 1, exit: 2 } as const;

/** Rows of one sequence in a step, which stand side by side. */
export interface Run {
  readonly first: number;
  readonly rows: number;
  /** Number of the sequence's recurrent state. */
  readonly state: number;
  /** The first row is the sequence's first: whatever the state holds is nothing of this sequence. */
  readonly fresh: boolean;
}

/** Words of a run: first row, rows, state. */
const RUN_WORDS = 3;
/** Copies of states before a step, for each row that there may be. */
const MOST_COPIES = 3;

const wantsLogits = ({ want }: RowOutput): boolean => want !== "state";

/** The step under way, in the linear memory: written by the leader, read by all threads. */
export class StepMemory {
  readonly #words: Uint32Array;
  readonly #layout: ReturnType<typeof stepWords>;
  readonly #base: number;

  /** @param plan where it lies, and the limits of a step */
  constructor(memory: WebAssembly.Memory, plan: { readonly step: number; readonly limits: StepLimits }) {
    this.#layout = stepWords(plan.limits);
    this.#base = plan.step;
    this.#words = new Uint32Array(memory.buffer, plan.step, this.#layout.end);
  }

  get operation(): number {
    return this.#words[0]!;
  }

  set operation(operation: number) {
    this.#words[0] = operation;
  }

  get rows(): number {
    return this.#words[1]!;
  }

  get outputs(): number {
    return this.#words[2]!;
  }

  /** How many outputs, the first ones, want logits; of the others their hidden states are all. */
  get headed(): number {
    return this.#words[4]!;
  }

  /** Whether all logits of the outputs are wanted; else only those that can be among the best few. */
  get full(): boolean {
    return this.#words[3] !== 0;
  }

  /** Sequences that have rows in the step. */
  get runs(): number {
    return this.#words[5]!;
  }

  run(index: number): Run {
    const at = this.#layout.runs + RUN_WORDS * index;
    const [first, rows, state] = [this.#words[at]!, this.#words[at + 1]!, this.#words[at + 2]!];
    return { first, rows, state, fresh: this.position(first) === 0 };
  }

  /** States to copy before all else, one after another. */
  get copies(): number {
    return this.#words[6]!;
  }

  copy(index: number): readonly [from: number, to: number] {
    const at = this.#layout.copies + 2 * index;
    return [this.#words[at]!, this.#words[at + 1]!];
  }

  token(row: number): number {
    return this.#words[this.#layout.tokens + row]!;
  }

  position(row: number): number {
    return this.#words[this.#layout.positions + row]!;
  }

  /** Address of the row's table of cache blocks, u32. */
  table(row: number): number {
    return this.#base + 4 * (this.#layout.blocks + this.#words[this.#layout.tables + row]!);
  }

  /** Number of the cache block that holds the row's own position. */
  ownBlock(row: number, blockSize: number): number {
    const table = this.#layout.blocks + this.#words[this.#layout.tables + row]!;
    return this.#words[table + Math.floor(this.position(row) / blockSize)]!;
  }

  /** Row of an output, by its place. */
  output(index: number): number {
    return this.#words[this.#layout.outputs + index]!;
  }

  /**
   * Describes a batch, which must be within the limits.
   * @param full whether all logits of its outputs are wanted
   * @param isHeaded whether the head computes logits of an output; left out: of all but states
   * @returns the place of each output: those that want logits come first
   */
  write(batch: StepBatch, full: boolean, isHeaded: (output: RowOutput, index: number) => boolean = wantsLogits): readonly number[] {
    const { tokens, positions, tables, outputs, runs, copies, blocks } = this.#layout;
    const words = this.#words;
    words[1] = batch.tokens.length;
    words[2] = batch.outputs.length;
    words[3] = full ? 1 : 0;
    const inHead = batch.outputs.map(isHeaded);
    words[4] = inHead.filter(Boolean).length;
    words.set(batch.tokens, tokens);
    words.set(batch.positions, positions);
    const starts: number[] = [];
    let next = 0;
    for (const table of batch.tables) {
      starts.push(next);
      words.set(table, blocks + next);
      next += table.length;
    }
    for (let row = 0; row < batch.tokens.length; row++) words[tables + row] = starts[batch.sequences[row]!]!;
    words[5] = 0;
    for (let row = 0; row < batch.tokens.length; ) {
      const sequence = batch.sequences[row]!;
      const first = row;
      while (row < batch.tokens.length && batch.sequences[row] === sequence) row++;
      words.set([first, row - first, batch.states?.[sequence] ?? 0], runs + RUN_WORDS * words[5]++);
    }
    const copied = batch.copies ?? [];
    words[6] = copied.length;
    words.set(copied.flat(), copies);
    let headed = 0;
    let others = words[4]!;
    return batch.outputs.map(({ row }, index) => {
      const place = inHead[index] ? headed++ : others++;
      words[outputs + place] = row;
      return place;
    });
  }
}

/** u32 words of the step's description: counts, then rows, tables and outputs. */
export function stepWords(limits: StepLimits): {
  tokens: number;
  positions: number;
  tables: number;
  outputs: number;
  runs: number;
  copies: number;
  blocks: number;
  end: number;
} {
  const tokens = 7; // operation, rows, outputs, whether all logits are wanted, outputs that want any, runs, copies
  const positions = tokens + limits.maxRows;
  const tables = positions + limits.maxRows; // first word of each row's table, counted from `blocks`
  const outputs = tables + limits.maxRows; // row of each output
  const runs = outputs + limits.maxRows;
  const copies = runs + RUN_WORDS * limits.maxRows;
  const blocks = copies + 2 * MOST_COPIES * limits.maxRows;
  return {
    tokens,
    positions,
    tables,
    outputs,
    runs,
    copies,
    blocks,
    end: blocks + limits.maxRows * Math.ceil(limits.contextLength / limits.blockSize),
  };
}
