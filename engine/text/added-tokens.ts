/** Longest text of a token that is looked for in text. Real ones have some 40 characters, runs of spaces up to 128. */
export const maxAddedLength = 256;
/** Units of all of them together, as each may cost a node. LLaMA-3's 256 have 8,000. */
export const maxAddedTotal = 2 ** 18;

/** Stretches [start, end) of a text in UTF-16 units, ascending and disjoint. */
export type TextRanges = readonly (readonly [start: number, end: number])[];

/** Tokens found in a text, each with where it begins, the last first. */
interface Found {
  readonly starts: number[];
  readonly ids: number[];
}

/**
 * The longest token that begins at each place of a text: Aho and Corasick's automaton (1975) of the tokens read backwards, which walks the text
 * from its end. Linear in the text, whatever the tokens are.
 */
class Finder {
  /** Length of each token by id, in units. */
  private readonly lengths = new Map<number, number>();
  private readonly edges = new Map<number, number>(); // node · 2^16 + unit → node; 0 is the root
  private readonly fallback: Int32Array; // [nodes] the node of the longest beginning of a token that this one ends in
  private readonly longest: Int32Array; // [nodes] id of the longest token that is complete here, −1 for none
  private readonly isFirst = new Uint8Array(0x10000); // [units] 1 where the root has an edge

  constructor(tokens: readonly (readonly [text: string, id: number])[]) {
    const parents = [0];
    const units = [0];
    const depths = [0];
    const own = [-1];
    for (const [text, id] of tokens) {
      this.lengths.set(id, text.length);
      let node = 0;
      for (let i = text.length - 1; i >= 0; i--) {
        const unit = text.charCodeAt(i);
        const key = node * 0x10000 + unit;
        let child = this.edges.get(key);
        if (child === undefined) {
          child = parents.push(node) - 1;
          units.push(unit);
          depths.push(depths[node]! + 1);
          own.push(-1);
          this.edges.set(key, child);
          if (node === 0) this.isFirst[unit] = 1;
        }
        node = child;
      }
      own[node] = id;
    }
    this.fallback = new Int32Array(parents.length);
    this.longest = Int32Array.from(own);
    const shallowFirst = Int32Array.from(parents.keys()).sort((a, b) => depths[a]! - depths[b]!);
    for (const node of shallowFirst) {
      if (depths[node]! > 1) this.fallback[node] = this.step(this.fallback[parents[node]!]!, units[node]!);
      if (this.longest[node]! < 0) this.longest[node] = this.longest[this.fallback[node]!]!;
    }
  }

  private step(node: number, unit: number): number {
    for (;;) {
      if (node === 0 && this.isFirst[unit] === 0) return 0;
      const next = this.edges.get(node * 0x10000 + unit);
      if (next !== undefined) return next;
      node = this.fallback[node]!;
    }
  }

  /** Adds the longest token at each place of text[from, to) to `found`, the last place first; none that goes over `to`. */
  find(text: string, from: number, to: number, found: Found): void {
    if (this.edges.size === 0) return;
    let node = 0;
    for (let i = to - 1; i >= from; i--) {
      node = this.step(node, text.charCodeAt(i));
      const id = this.longest[node]!;
      if (id < 0) continue;
      found.starts.push(i);
      found.ids.push(id);
    }
  }

  lengthOf(id: number): number {
    return this.lengths.get(id)!;
  }
}

/** Finds tokens written out in text: the first that begins, of several there the longest. */
export class AddedTokens {
  private readonly added: Finder;
  private readonly special: Finder;

  /** `special`: control tokens, which are looked for on request. */
  constructor(added: readonly (readonly [text: string, id: number])[], special: readonly (readonly [text: string, id: number])[]) {
    this.added = new Finder(added);
    this.special = new Finder(special);
  }

  /**
   * Calls `text` for each stretch [start, end) without tokens and `token` for each token, in order. Special tokens only where `special` is true
   * and no unit of them lies in one of the `literal` ranges.
   */
  scan(
    input: string,
    special: boolean,
    literal: TextRanges,
    text: (start: number, end: number) => void,
    token: (id: number) => void,
  ): void {
    const added: Found = { starts: [], ids: [] };
    const control: Found = { starts: [], ids: [] };
    this.added.find(input, 0, input.length, added);
    if (special) {
      let end = input.length;
      for (let i = literal.length - 1; i >= 0; i--) {
        const [from, to] = literal[i]!;
        if (from === to) continue;
        this.special.find(input, to, end, control);
        end = from;
      }
      this.special.find(input, 0, end, control);
    }
    let start = 0;
    for (;;) {
      const [a, s] = [lastFrom(added, start), lastFrom(control, start)];
      if (a === undefined && s === undefined) break;
      const aLength = a === undefined ? 0 : this.added.lengthOf(a.id);
      const sLength = s === undefined ? 0 : this.special.lengthOf(s.id);
      const isAdded = s === undefined || (a !== undefined && (a.start < s.start || (a.start === s.start && aLength > sLength)));
      const next = isAdded ? a! : s;
      if (start < next.start) text(start, next.start);
      token(next.id);
      start = next.start + (isAdded ? aLength : sLength);
    }
    if (start < input.length) text(start, input.length);
  }
}

/** The first token that begins at `from` or behind it; those before are dropped. */
function lastFrom({ starts, ids }: Found, from: number): { start: number; id: number } | undefined {
  while (starts.length > 0 && starts.at(-1)! < from) {
    starts.pop();
    ids.pop();
  }
  return starts.length === 0 ? undefined : { start: starts.at(-1)!, id: ids.at(-1)! };
}
