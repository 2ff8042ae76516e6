/**
 * Bits of the tokens that may be chosen: [⌈ids/32⌉] bit id % 32 of word ⌊id/32⌋. Ids beyond may not.
 */
export type TokenMask = Uint32Array;

/** Whether a token may be chosen. */
export const isAllowed = (mask: TokenMask, id: number): boolean => ((mask[id >>> 5] ?? 0) & (1 << (id & 31))) !== 0;

/** The ids that may be chosen, ascending; undefined: they are more than `most`. */
export function allowedIds(mask: TokenMask, most: number): number[] | undefined {
  const ids: number[] = [];
  for (let word = 0; word < mask.length; word++) {
    for (let bits = mask[word]!; bits !== 0; bits &= bits - 1) {
      if (ids.length === most) return undefined;
      ids.push(32 * word + 31 - Math.clz32(bits & -bits));
    }
  }
  return ids;
}

/** Logits with −Infinity for what may not be chosen, before any other rule sees them. logits [vocab] f32, not changed */
export function masked(logits: Float32Array, mask: TokenMask): Float32Array {
  const scores = new Float32Array(logits.length).fill(Number.NEGATIVE_INFINITY);
  for (let id = 0; id < logits.length; id++) if (isAllowed(mask, id)) scores[id] = logits[id]!;
  return scores;
}
