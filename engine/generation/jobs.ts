import type { RowOutput, StepOutput } from "../compute/step.js";
import { BitnetError } from "../errors.js";
import type { Constraint } from "../grammar/constraint.js";
import { reasonOf, type Signal } from "../options.js";
import { biased, type TokenMask } from "../sampling/mask.js";
import { MOST_BIAS } from "../sampling/sampler.js";
import type { SamplingOptions, TokenLogprob } from "../sampling/types.js";
import { PromptLookup } from "./prompt-lookup.js";
import type { StopReason } from "./types.js";

/** What one row is wanted for, without the row's number. */
export type Wanted = RowOutput extends infer O ? (O extends RowOutput ? Omit<O, "row"> : never) : never;

/** A sequence that the scheduler computes: it says which rows it needs and takes what comes out of them. */
export interface Job {
  /** Token ids; a generation adds to them. */
  readonly tokens: readonly number[];
  /** How many of the tokens must be computed for what is wanted now. */
  readonly rows: number;
  /** The first positions of which nothing is wanted: so many may come from an idle entry. */
  readonly prefix: number;
  /** Whether the sequence is worth keeping when it ends. */
  readonly reusable: boolean;
  readonly aborted: boolean;
  /** Guesses of the tokens after the last, at most `most` of them; all are computed, in a pass of `rows` other rows. */
  draft(most: number, rows: number): readonly number[];
  /** What is wanted of the row at this position, if anything; also of a draft's. */
  wanted(position: number): Wanted | undefined;
  /** The job entered a batch for the first time, with this many tokens from an idle entry. */
  admitted(cachedTokens: number): void;
  /** So many more of its tokens were had from another sequence, which it had waited for. */
  adopted(tokens: number): void;
  /** Takes one output; true when the job has all it wants. May throw: the job then fails alone. `drafted`: of a draft that proved right. */
  take(position: number, output: StepOutput, drafted: boolean): boolean;
  abort(): void;
  fail(error: unknown): void;
}

/** One answer to write. */
export interface GenerationRequest {
  readonly promptIds: readonly number[];
  readonly sampling: SamplingOptions;
  /** Infinity: until the model ends or the context is full. */
  readonly maxTokens: number;
  /** End of turn: stop reason "eos". */
  readonly eosIds: ReadonlySet<number>;
  /** The caller's: stop reason "stop". */
  readonly stopIds: ReadonlySet<number>;
  /** Compute guesses of the next tokens along with the last one, and take those that are what it would choose anyway. Default false. */
  readonly speculate?: boolean | undefined;
  /** Which tokens may be chosen. It is this answer's own. No guesses are made then. */
  readonly constraint?: Constraint | undefined;
  /** Say how likely each token and so many of the likeliest were; undefined: don't. */
  readonly logprobs?: number | undefined;
  /** Note the hidden state that chose each token. Default false. */
  readonly trace?: boolean | undefined;
  readonly signal?: Signal | undefined;
  /** Called with every token but one that ends the answer by its id; true ends the answer with "stop". */
  readonly onToken?: ((id: number, logprobs: TokenLogprob | undefined) => boolean) | undefined;
}

/** How an answer ended; milliseconds from the submission. */
export interface GenerationOutcome {
  /** Tokens chosen, the one that ended the answer included. */
  readonly ids: readonly number[];
  readonly stopReason: StopReason;
  readonly cachedTokens: number;
  readonly prefillMs: number;
  readonly firstTokenMs: number;
  readonly decodeMs: number;
  /** Guesses computed, and tokens that were had from those that were right. */
  readonly draftedTokens: number;
  readonly acceptedTokens: number;
  /** With `logprobs`: of each id. */
  readonly logprobs: readonly TokenLogprob[];
  /** With `trace`: the SHA-256 of each id's hidden state, hex. */
  readonly hidden: readonly string[];
}

/** Rows of given tokens: likelihoods, logits, both, or hidden states. */
export interface RowsRequest {
  readonly ids: readonly number[];
  readonly want: "nll" | "logits" | "nll+logits" | "state";
  /** The first position of which they are wanted; default 0. */
  readonly first?: number;
  readonly signal?: Signal | undefined;
  /** Called for each position from `first` on, ascending. `nll` of ids[position + 1], so the last position has none. logits [vocab], state [hidden] f32. */
  readonly onRow: (position: number, output: Pick<StepOutput, "nll" | "logits" | "state">) => void;
}

const NONE = new Int32Array(0);

/** Writes until a stop rule holds. */
export class GenerationJob implements Job {
  readonly tokens: number[];
  readonly reusable = true;
  cancelled = false;
  readonly #request: GenerationRequest;
  readonly #contextLength: number;
  readonly #resolve: (outcome: GenerationOutcome) => void;
  readonly #reject: (error: unknown) => void;
  /** Ids that penalties look at, and how often the answer has each; kept only where there is a penalty. */
  readonly #seen: Map<number, number> | undefined;
  /** The ids as an array, which grows seldom. */
  #seenIds: Int32Array = NONE;
  /** Whether it matters how often. */
  readonly #counts: boolean;
  /** Ids with biases that choose and ban. */
  readonly #biased: { readonly chosen: readonly number[]; readonly banned: readonly number[] };
  /** Ids that there are, from 0 up. */
  readonly #ids: number;
  /** Of the next token; undefined: not known yet, or any may be chosen. */
  #mask: TokenMask | undefined;
  /** The last guesses: tokens of the sequence, where they are computed. */
  #drafts: readonly number[] = [];
  readonly #start = performance.now();
  #firstAt: number | undefined;
  #lastAt = 0;
  #cachedTokens = 0;
  #draftedTokens = 0;
  #acceptedTokens = 0;
  readonly #hidden: string[] = [];
  readonly #logprobs: TokenLogprob[] = [];
  readonly #lookup: PromptLookup | undefined;
  /** Twice and more if it was put back in the queue. */
  #admissions = 0;

  /** @param ids that may be chosen, from 0 up */
  constructor(
    request: GenerationRequest,
    contextLength: number,
    ids: number,
    resolve: (outcome: GenerationOutcome) => void,
    reject: (error: unknown) => void,
  ) {
    this.#request = request;
    this.#contextLength = contextLength;
    this.#resolve = resolve;
    this.#reject = reject;
    this.tokens = [...request.promptIds];
    this.#ids = ids;
    const { repetitionPenalty, presencePenalty = 0, frequencyPenalty = 0, logitBias = {} } = request.sampling;
    this.#counts = presencePenalty !== 0 || frequencyPenalty !== 0;
    if (repetitionPenalty !== 1) this.#seen = new Map(request.promptIds.map((id) => [id, 0]));
    else if (this.#counts) this.#seen = new Map();
    const withBias = (bias: number): number[] =>
      Object.keys(logitBias)
        .map(Number)
        .filter((id) => logitBias[id] === bias);
    this.#biased = { chosen: withBias(MOST_BIAS), banned: withBias(-MOST_BIAS) };
    if (request.speculate) this.#lookup = new PromptLookup(this.tokens);
  }

  get rows(): number {
    return this.tokens.length;
  }

  get prefix(): number {
    return this.tokens.length - 1;
  }

  get aborted(): boolean {
    return this.cancelled || this.#request.signal?.aborted === true;
  }

  draft(most: number, rows: number): readonly number[] {
    const { maxTokens, promptIds, eosIds, stopIds, constraint } = this.#request;
    if (constraint !== undefined) return [];
    // A pass gives one token more than drafts that are right.
    const left = Math.min(maxTokens + promptIds.length, this.#contextLength) - this.tokens.length - 1;
    const drafts = this.#lookup?.propose(Math.min(most, left), rows) ?? [];
    const end = drafts.findIndex((id) => eosIds.has(id) || stopIds.has(id));
    if (end >= 0) drafts.length = end; // nothing is wanted after it
    this.#draftedTokens += drafts.length;
    this.#drafts = drafts;
    return drafts;
  }

  wanted(position: number): Wanted | undefined {
    if (position < this.tokens.length - 1) return undefined;
    const index = position + 1 - this.#request.promptIds.length;
    const { sampling, trace = false, logprobs } = this.#request;
    const allowed = this.#allowed();
    return {
      want: "sample",
      options: sampling,
      index,
      ...this.#history(position),
      ...(allowed && { allowed }),
      ...(logprobs !== undefined && { logprobs }),
      trace,
    };
  }

  /** What penalties look at, up to a position. */
  #history(position: number): { readonly seen: Int32Array; readonly counts?: Int32Array } {
    if (!this.#seen) return { seen: NONE };
    if (!this.#counts) {
      // Drafts before the position are guessed from earlier text: they add nothing to what was seen.
      if (this.#seen.size !== this.#seenIds.length) this.#seenIds = Int32Array.from(this.#seen.keys());
      return { seen: this.#seenIds };
    }
    const seen = position < this.tokens.length ? this.#seen : new Map(this.#seen);
    for (const id of this.#drafts.slice(0, position + 1 - this.tokens.length)) seen.set(id, (seen.get(id) ?? 0) + 1);
    return { seen: Int32Array.from(seen.keys()), counts: Int32Array.from(seen.values()) };
  }

  /** The tokens that may be chosen next, an end among them where the answer is whole; undefined: any. */
  #allowed(): TokenMask | undefined {
    if (this.#mask !== undefined) return this.#mask;
    const { constraint, eosIds } = this.#request;
    let mask = constraint?.mask();
    if (mask && constraint!.canEnd) {
      mask = mask.slice();
      for (const id of eosIds) if (id >>> 5 < mask.length) mask[id >>> 5]! |= 1 << (id & 31);
    }
    this.#mask = biased(mask, this.#biased, this.#ids);
    return this.#mask;
  }

  admitted(cachedTokens: number): void {
    if (++this.#admissions === 1) this.#cachedTokens = cachedTokens;
  }

  adopted(tokens: number): void {
    if (this.#admissions === 1) this.#cachedTokens += tokens;
  }

  take(_position: number, output: StepOutput, drafted: boolean): boolean {
    if (this.aborted) return this.#end("aborted"); // nothing is heard of a stopped answer any more
    const { id, hidden, logprobs } = output;
    if (id === undefined) throw new BitnetError("internal", "a step gave no token where one was wanted");
    if (this.#request.logprobs !== undefined) {
      if (logprobs === undefined) throw new BitnetError("internal", "a step gave no logprobs where they were wanted");
      this.#logprobs.push(logprobs);
    }
    if (this.#request.trace) {
      if (hidden === undefined) throw new BitnetError("internal", "a step gave no trace where one was wanted");
      this.#hidden.push(hidden);
    }
    this.#lastAt = performance.now();
    this.#firstAt ??= this.#lastAt;
    if (drafted) this.#acceptedTokens++;
    this.tokens.push(id);
    this.#seen?.set(id, (this.#seen.get(id) ?? 0) + 1);
    this.#lookup?.grown();
    const { eosIds, stopIds, onToken, maxTokens, promptIds, constraint } = this.#request;
    this.#mask = undefined;
    if (eosIds.has(id)) return this.#end("eos");
    constraint?.accept(id);
    if (stopIds.has(id) || onToken?.(id, logprobs) === true) return this.#end("stop");
    if (this.tokens.length - promptIds.length >= maxTokens) return this.#end("length");
    if (this.tokens.length >= this.#contextLength) return this.#end("context");
    return false;
  }

  abort(): void {
    this.#end("aborted");
  }

  fail(error: unknown): void {
    this.#reject(error);
  }

  #end(stopReason: StopReason): true {
    const now = performance.now();
    this.#resolve({
      ids: this.tokens.slice(this.#request.promptIds.length),
      stopReason,
      cachedTokens: this.#cachedTokens,
      // The pass that computes the last prompt row also chooses the first token.
      prefillMs: (this.#firstAt ?? now) - this.#start,
      firstTokenMs: (this.#firstAt ?? now) - this.#start,
      decodeMs: this.#firstAt === undefined ? 0 : this.#lastAt - this.#firstAt,
      draftedTokens: this.#draftedTokens,
      acceptedTokens: this.#acceptedTokens,
      logprobs: this.#logprobs,
      hidden: this.#hidden,
    });
    return true;
  }
}

/** Computes given tokens; an abort rejects with the signal's reason. */
export class RowsJob implements Job {
  readonly tokens: readonly number[];
  readonly rows: number;
  readonly prefix = 0; // it would take over an idle entry, and not give one back
  readonly reusable = false;
  readonly #request: RowsRequest;
  /** The first position that was not handed out yet: a sequence that is computed again says nothing twice. */
  #next: number;
  readonly #resolve: () => void;
  readonly #reject: (error: unknown) => void;

  constructor(request: RowsRequest, resolve: () => void, reject: (error: unknown) => void) {
    this.#request = request;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#next = request.first ?? 0;
    this.tokens = [...request.ids];
    this.rows = request.want === "nll" ? this.tokens.length - 1 : this.tokens.length;
  }

  get aborted(): boolean {
    return this.#request.signal?.aborted === true;
  }

  draft(): readonly number[] {
    return [];
  }

  wanted(position: number): Wanted | undefined {
    const { want } = this.#request;
    if (position < this.#next) return undefined;
    const target = this.tokens[position + 1];
    if (want === "state") return { want };
    if (want === "logits" || target === undefined) return { want: "logits" };
    return { want, target };
  }

  admitted(): void {}

  adopted(): void {}

  take(position: number, output: StepOutput): boolean {
    if (this.aborted) {
      this.abort();
      return true;
    }
    this.#next = position + 1;
    this.#request.onRow(position, output);
    if (position < this.rows - 1) return false;
    this.#resolve();
    return true;
  }

  abort(): void {
    this.#reject(reasonOf(this.#request.signal));
  }

  fail(error: unknown): void {
    this.#reject(error);
  }
}
