import { type Counters, NO_COUNTERS } from "../compute/counters.js";
import type { RowOutput, StepBatch, StepLimits, StepOutput, StepRunner } from "../compute/step.js";
import { BitnetError } from "../errors.js";
import type { EncodeOptions, Tokenizer } from "../text/types.js";
import type { GenerationDefaults } from "./defaults.js";

/** A hash of whole numbers: the "network" of the fake runner. */
export function hash(...values: readonly number[]): number {
  let h = 0x811c9dc5;
  for (const value of values) {
    h = Math.imul(h ^ value, 0x01000193) >>> 0;
    h = (h ^ (h >>> 15)) >>> 0;
  }
  return Math.imul(h, 0x9e3779b1) >>> 0;
}

/** What stands for the digest of the hidden state after these tokens. */
export function hiddenOf(history: readonly number[]): string {
  return hash(...history, history.length)
    .toString(16)
    .padStart(64, "0");
}

/** What penalties look at, in the order of ids. */
export function historyOf({ seen, counts }: Pick<RowOutput & { want: "sample" }, "seen" | "counts">): number[] {
  const pairs = Array.from(seen, (id, i) => [id, ...(counts ? [counts[i]!] : [])]);
  return pairs.sort((a, b) => a[0]! - b[0]!).flat();
}

/** What the fake network says after these tokens. */
export function say(history: readonly number[], output: RowOutput, vocab: number): StepOutput {
  const state = hash(...history);
  const nll = output.want === "nll" || output.want === "nll+logits" ? { nll: hash(state, output.target) / 2 ** 32 } : {};
  const logits = output.want === "logits" || output.want === "nll+logits" ? { logits: Float32Array.of(state, history.length) } : {};
  if (output.want !== "sample") return { ...nll, ...logits };
  const { options, index, trace } = output;
  return { ...(trace && { hidden: hiddenOf(history) }), id: hash(state, options.seed, index, ...historyOf(output)) % vocab };
}

function check(condition: boolean, promise: string): void {
  if (!condition) throw new BitnetError("internal", `the batch breaks the contract: ${promise}`);
}

/**
 * A step runner that holds its callers to every word of step.ts. Its cache keeps, in each place of each block, the token and the position
 * that were written there; what it answers is a hash of the tokens that a row finds by its table, so a wrong block gives a wrong answer.
 */
export class FakeRunner implements StepRunner {
  readonly batches: StepBatch[] = [];
  closed = false;
  /** Throws from the step of this number on. */
  failAt = Infinity;
  /** What the network says. */
  speak: (history: readonly number[], output: RowOutput) => StepOutput = (history, output) => say(history, output, this.vocab);
  /** Called before each step is computed. */
  onStep: (batch: StepBatch) => void | Promise<void> = () => {};
  #busy = false;
  readonly #cache: { token: number; position: number }[]; // [blocks · blockSize]
  readonly #states: number[][]; // [states] of the tokens that each has seen

  constructor(
    readonly limits: StepLimits,
    readonly vocab: number,
  ) {
    this.#states = Array.from({ length: limits.states }, () => [-1]);
    this.#cache = Array.from({ length: limits.blocks * limits.blockSize }, () => ({ token: -1, position: -1 }));
  }

  async step(batch: StepBatch): Promise<StepOutput[]> {
    check(!this.#busy, "one step at a time");
    this.#busy = true;
    this.batches.push(batch);
    await this.onStep(batch);
    this.#busy = false;
    if (this.closed) throw new BitnetError("closed", "the model was closed");
    if (this.batches.length > this.failAt) throw new Error("the worker died");
    return this.#compute(batch);
  }

  /** How many batches and rows there were. */
  get counters(): Counters {
    const calls = [this.batches.length, this.batches.reduce((rows, { tokens }) => rows + tokens.length, 0)];
    return { ...NO_COUNTERS, calls };
  }

  async close(): Promise<void> {
    this.closed = true;
  }

  #compute({ tokens, positions, sequences, tables, outputs, states, copies = [] }: StepBatch): StepOutput[] {
    const { maxRows, maxOutputs, blockSize, blocks, contextLength } = this.limits;
    const rows = tokens.length;
    check(rows > 0 && rows <= maxRows && positions.length === rows && sequences.length === rows, "1 … maxRows rows");
    check(outputs.filter(({ want }) => want !== "state").length <= maxOutputs, "at most maxOutputs outputs");
    const owners = new Map<number, number>(); // of each block, how many sequences have it
    for (const table of tables) {
      check(new Set(table).size === table.length, "a sequence has a block once");
      for (const block of table) owners.set(block, (owners.get(block) ?? 0) + 1);
    }
    check(
      [...owners.keys()].every((block) => block >= 0 && block < blocks),
      "blocks exist",
    );
    const place = (sequence: number, position: number) => {
      const block = tables[sequence]?.[Math.floor(position / blockSize)];
      check(block !== undefined, "the table covers every position");
      return this.#cache[block! * blockSize + (position % blockSize)]!;
    };
    const exists = (state: number | undefined): boolean => state !== undefined && this.#states[state] !== undefined;
    check(copies.length <= 3 * maxRows, "at most so many copies");
    for (const [from, to] of copies) {
      check(exists(from) && exists(to) && from !== to, "states that are copied exist");
      this.#states[to] = [...this.#states[from]!];
    }
    if (this.limits.states > 0) {
      check(states?.length === tables.length && new Set(states).size === tables.length, "a state belongs to one sequence");
      check([...states!].every(exists), "states exist");
    } else check(states === undefined && copies.length === 0, "no states where there are none");
    const next = new Map<number, number>();
    for (let row = 0; row < rows; row++) {
      const [token, position, sequence] = [tokens[row]!, positions[row]!, sequences[row]!];
      check(token >= 0 && token < this.vocab, "tokens are in the vocabulary");
      check(position >= 0 && position < contextLength, "positions are in the context");
      check((next.get(sequence) ?? position) === position, "rows of a sequence are ascending and gapless");
      check(!next.has(sequence) || sequences[row - 1] === sequence, "rows of a sequence stand side by side");
      next.set(sequence, position + 1);
      check(owners.get(tables[sequence]![Math.floor(position / blockSize)]!) === 1, "a block that is written to belongs to one sequence");
      const cell = place(sequence, position);
      cell.token = token;
      cell.position = position;
      if (!states) continue;
      const number = states[sequence]!;
      if (position === 0) this.#states[number] = [];
      const seen = this.#states[number]!;
      check(
        seen.length === position && seen.every((id, at) => id === place(sequence, at).token),
        "a sequence's state is that of the position before",
      );
      seen.push(token);
    }
    check(next.size === tables.length, "every table has rows");
    let lastRow = -1;
    const results: StepOutput[] = [];
    for (const output of outputs) {
      check(output.row > lastRow && output.row < rows, "outputs are of rows, ascending");
      lastRow = output.row;
      const history: number[] = [];
      for (let position = 0; position <= positions[output.row]!; position++) {
        const cell = place(sequences[output.row]!, position);
        check(cell.position === position, "every position that is read was written");
        history.push(cell.token);
      }
      results.push(this.speak(history, output));
    }
    return results;
  }
}

/** Token texts of the fake tokenizer; the first three are special, the last two are the halves of "é". */
const TOKENS = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", ": O", ": ", "Once", ..."abcdefghijklmnopqrstuvwxyzUAOHT:. !<|>_"];
const SPECIALS = 3;

/** Longest match first, like nothing real; enough for a text to tokenise otherwise than it was generated. */
export class FakeTokenizer implements Tokenizer {
  readonly source = "fake";
  readonly size = TOKENS.length + 2;
  readonly bosId = 0;
  readonly eosIds = [1];
  readonly endIds = [] as number[];
  readonly notes = [] as string[];
  readonly addsBos = true;
  readonly addsEos = false;
  readonly longestToken = 20;

  encode(text: string, options: EncodeOptions = {}): number[] {
    const ids = options.bos === false ? [] : [0];
    for (let at = 0; at < text.length; ) {
      let best = -1;
      for (const [id, token] of TOKENS.entries()) {
        if (id < SPECIALS && options.special === false) continue;
        if (id < SPECIALS && options.literal?.some(([start, end]) => start < at + token.length && end > at)) continue;
        if (text.startsWith(token, at) && (best < 0 || token.length > TOKENS[best]!.length)) best = id;
      }
      if (best >= 0) {
        ids.push(best);
        at += TOKENS[best]!.length;
      } else if (text[at] === "é") {
        ids.push(TOKENS.length, TOKENS.length + 1);
        at++;
      } else throw new Error(`no token for ${text[at]}`);
    }
    return ids;
  }

  encodeBytes(bytes: Uint8Array, options?: EncodeOptions): number[] {
    return this.encode(new TextDecoder().decode(bytes), options);
  }

  decode(ids: readonly number[], options?: { readonly special?: boolean }): string {
    return new TextDecoder().decode(this.decodeBytes(ids, options));
  }

  decodeBytes(ids: readonly number[], options: { readonly special?: boolean } = {}): Uint8Array {
    return Uint8Array.from(ids.flatMap((id) => (options.special === false && this.isSpecial(id) ? [] : [...this.#bytes(id)])));
  }

  decoder() {
    const decoder = new TextDecoder();
    return {
      push: (id: number) => (this.isSpecial(id) ? "" : decoder.decode(this.#bytes(id), { stream: true })),
      end: () => decoder.decode(),
    };
  }

  idOf(token: string): number | undefined {
    const id = TOKENS.indexOf(token);
    return id < 0 ? undefined : id;
  }

  textOf(id: number): string {
    return TOKENS[id] ?? "\ufffd";
  }

  isSpecial(id: number): boolean {
    return id < SPECIALS;
  }

  #bytes(id: number): Uint8Array {
    if (id >= TOKENS.length) return Uint8Array.of([0xc3, 0xa9][id - TOKENS.length]!);
    return new TextEncoder().encode(TOKENS[id]!);
  }
}

/** Greedy, ending at both of the fake tokenizer's end tokens. */
export function generationDefaultsFor(tokenizer: Tokenizer): GenerationDefaults {
  const ends = ["<|end_of_text|>", "<|eot_id|>"].map((token) => tokenizer.idOf(token)!);
  return { sampling: { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 42 }, eosIds: new Set(ends) };
}
