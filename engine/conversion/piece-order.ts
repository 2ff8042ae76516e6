import { BitnetError } from "../errors.js";
import type { PieceVocabulary } from "../text/vocabulary.js";
import { countedMerges } from "./fillers.js";

// SentencePiece's BPE merges the neighbours that make the piece of the highest score. A tokenizer.json has no scores but pairs, best first: Hugging
// Face's converter lists all pairs of pieces that make a piece, by the score of what they make; of equal ones those with the least left id and
// then the least right id come first, or (newer) the longest left piece and then the longest right one.

/** A pair of pieces that make one. */
interface Pair {
  readonly text: string;
  /** Ids. */
  readonly left: number;
  readonly right: number;
  readonly made: number;
  /** Characters of the left and of the right piece. */
  readonly lengths: readonly [left: number, right: number];
}

const ORDERS: readonly ((a: Pair, b: Pair) => number)[] = [
  (a, b) => a.left - b.left || a.right - b.right,
  (a, b) => b.lengths[0] - a.lengths[0] || b.lengths[1] - a.lengths[1],
];

/** Pieces by their text: what merges can use and make. */
function piecesOf({ tokens, plain }: PieceVocabulary): Map<string, number> {
  const pieces = new Map<string, number>();
  for (let id = 0; id < tokens.length; id++) if (!plain.has(id)) pieces.set(tokens.at(id)!, id);
  return pieces;
}

/** All pairs of pieces that make one. */
function pairsOf(pieces: ReadonlyMap<string, number>): Pair[] {
  const pairs: Pair[] = [];
  for (const [piece, made] of pieces) {
    const characters = Array.from(piece);
    let head = "";
    for (let i = 1; i < characters.length; i++) {
      head += characters[i - 1]!;
      const tail = piece.slice(head.length);
      const [left, right] = [pieces.get(head), pieces.get(tail)];
      if (left === undefined || right === undefined) continue;
      pairs.push({ text: `${head} ${tail}`, left, right, made, lengths: [i, characters.length - i] });
    }
  }
  return pairs;
}

/** The pairs, best first, of a vocabulary that has scores: as in LLaMA-2's own tokenizer.json. */
export function mergesOf(vocabulary: PieceVocabulary): Iterable<string> {
  const { order } = vocabulary;
  if ("merges" in order) return countedMerges(vocabulary.source, order.merges);
  return sorted(pairsOf(piecesOf(vocabulary)), order.scores, ORDERS[0]!);
}

function sorted(pairs: readonly Pair[], scores: ArrayLike<number>, compare: (a: Pair, b: Pair) => number): string[] {
  return pairs.toSorted((a, b) => scores[b.made]! - scores[a.made]! || compare(a, b)).map(({ text }) => text);
}

/**
 * Scores [tokens] of a vocabulary that has pairs: minus the place of a piece among those that the pairs make, the same for pieces whose pairs are
 * mixed. Throws a BitnetError `tokenizer` if no scores give these pairs in this order.
 */
export function scoresOf(vocabulary: PieceVocabulary): Float32Array {
  const { order, tokens, plain, file } = vocabulary;
  if ("scores" in order) return Float32Array.from(order.scores);
  const merges = countedMerges(vocabulary.source, order.merges);
  const pieces = piecesOf(vocabulary);
  const made = merges.map((merge) => pieces.get(merge.replace(" ", "")) ?? -1);
  const last = new Map(made.map((id, place) => [id, place])); // by id: the place of the last pair that makes it
  const scores = new Float32Array(tokens.length).fill(-merges.length);
  for (const id of plain.keys()) scores[id] = 0;
  let score = 0;
  let end = -1; // of the pairs that share a score
  for (const [place, id] of made.entries()) {
    if (place > end) score--;
    end = Math.max(end, last.get(id)!);
    if (id >= 0) scores[id] = score;
  }
  const pairs = pairsOf(pieces);
  const isMade = (compare: (a: Pair, b: Pair) => number): boolean => {
    const expected = sorted(pairs, scores, compare);
    return expected.length === merges.length && expected.every((pair, place) => pair === merges[place]);
  };
  if (ORDERS.some(isMade)) return scores;
  throw new BitnetError(
    "tokenizer",
    `${file}: model.merges of tokenizer.json do not follow the order of any piece scores, which GGUF requires`,
    {
      file,
    },
  );
}
