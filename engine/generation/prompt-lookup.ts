/** Ids are less than this, so that a pair of them is exact in a double. */
const MOST_IDS = 2 ** 26;

/** The shortest ending that is looked up, in tokens: one token alone says too little of what follows. */
const SHORTEST = 2;

/** Endings that agree in more tokens than this are all as good. */
const LONGEST = 8;

/** Earlier places that are compared with the ending, the latest first. */
const CANDIDATES = 16;

/** What a row more is taken to add to a pass, in passes of one row: rather too much, so that few guesses are made in vain. */
const ROW_COST = 0.6;

/** Maximum drafts in a pass: beyond them a pass is limited by computing, and one more saves nothing. */
const MOST_DRAFTS = 15;

/** Weight of one more observation in a rate of hits. */
const LEARNING = 1 / 8;

/** An earlier place of the sequence that reads like its end. */
interface Match {
  /** Position of the token that followed. */
  readonly at: number;
  /** Tokens that agree, SHORTEST … LONGEST. */
  readonly length: number;
}

/**
 * Guesses how a sequence goes on by what followed when it last read like this (prompt lookup decoding, Saxena 2023). It keeps a rate of
 * hits for each length of match, which it learns from every token chosen, whether or not a guess was computed: where a text does not
 * repeat itself no guesses are made, and watching costs nothing to speak of.
 */
export class PromptLookup {
  readonly #tokens: readonly number[];
  /** By pair of tokens: the position after its last occurrence. */
  readonly #last = new Map<number, number>();
  /** [position] the position after the previous occurrence of the pair that stands before it; 0: there is none. */
  readonly #previous: number[] = [0, 0];
  /** [length of match] how often the token that followed then follows again. */
  readonly #rates: number[] = Array.from({ length: LONGEST + 1 }, (_, length) => 1 - 1 / Math.max(length, 1));
  #match: Match | undefined;

  /** `tokens`: the sequence, which its owner extends. */
  constructor(tokens: readonly number[]) {
    this.#tokens = tokens;
    for (let end = SHORTEST; end <= tokens.length; end++) this.#index(end);
    this.#match = this.#find();
  }

  /** The sequence has one token more. */
  grown(): void {
    const match = this.#match;
    if (match) {
      const hit = this.#tokens[match.at] === this.#tokens.at(-1) ? 1 : 0;
      this.#rates[match.length]! += (hit - this.#rates[match.length]!) * LEARNING;
    }
    this.#index(this.#tokens.length);
    this.#match = this.#find();
  }

  /**
   * Tokens that may follow, at most `most`, and as many as are likely to pay: in a pass of `rows` other rows, each worth a token, one more
   * row must bring more tokens for its cost than the pass does so far.
   */
  propose(most: number, rows: number): number[] {
    const drafts: number[] = [];
    if (!this.#match) return drafts;
    const { at, length } = this.#match;
    let hope = 1; // that all drafts so far are right
    let tokens = rows;
    let cost = 1 + ROW_COST * (rows - 1);
    while (drafts.length < Math.min(most, MOST_DRAFTS)) {
      hope *= this.#rates[Math.min(length + drafts.length, LONGEST)]!;
      if (hope * cost <= ROW_COST * tokens) break;
      tokens += hope;
      cost += ROW_COST;
      const from = at + drafts.length;
      // What followed may run into the end, and then goes on with itself: a period.
      drafts.push(this.#tokens[from] ?? drafts[from - this.#tokens.length]!);
    }
    return drafts;
  }

  /** Notes the pair that ends before the position `end`. */
  #index(end: number): void {
    if (end < SHORTEST) return;
    const pair = this.#tokens[end - 2]! * MOST_IDS + this.#tokens[end - 1]!;
    this.#previous[end] = this.#last.get(pair) ?? 0;
    this.#last.set(pair, end);
  }

  /** The longest match of the end, of those the latest. */
  #find(): Match | undefined {
    const tokens = this.#tokens;
    const end = tokens.length;
    let best: Match | undefined;
    let at = this.#previous[end] ?? 0;
    for (let tries = CANDIDATES; at > 0 && tries > 0; tries--) {
      let length = SHORTEST;
      while (length < LONGEST && length < at && tokens[at - 1 - length] === tokens[end - 1 - length]) length++;
      if (length > (best?.length ?? 0)) best = { at, length };
      if (length === LONGEST) break;
      at = this.#previous[at]!;
    }
    return best;
  }
}
