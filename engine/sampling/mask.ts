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

/**
 * What biases of −100 and 100 leave of the tokens that may be chosen. 100 is a choice: if such tokens may be chosen, then they alone. −100 is a ban.
 * Where that leaves none, as where a format allows only banned tokens, they change nothing.
 * @param mask undefined: all may be chosen
 * @param ids how many there are, from 0 up
 */
export function biased(
  mask: TokenMask | undefined,
  { chosen, banned }: { readonly chosen: readonly number[]; readonly banned: readonly number[] },
  ids: number,
): TokenMask | undefined {
  if (chosen.length === 0 && banned.length === 0) return mask;
  const left = mask?.slice() ?? fullMask(ids);
  const among = chosen.filter((id) => isAllowed(left, id));
  if (among.length > 0) left.fill(0);
  for (const id of among) left[id >>> 5]! |= 1 << (id & 31);
  for (const id of banned) if (id >>> 5 < left.length) left[id >>> 5]! &= ~(1 << (id & 31));
  return left.some((word) => word !== 0) ? left : mask;
}

function fullMask(ids: number): TokenMask {
  const mask = new Uint32Array(Math.ceil(ids / 32)).fill(0xffffffff);
  if (ids % 32 !== 0) mask[mask.length - 1] = (1 << (ids % 32)) - 1; // 31 bits at most
  return mask;
}

/** Logits with −Infinity for what may not be chosen, before any other rule sees them. logits [vocab] f32, not changed */
export function masked(logits: Float32Array, mask: TokenMask): Float32Array {
  const scores = new Float32Array(logits.length).fill(Number.NEGATIVE_INFINITY);
  for (let id = 0; id < logits.length; id++) if (isAllowed(mask, id)) scores[id] = logits[id]!;
  return scores;
}
