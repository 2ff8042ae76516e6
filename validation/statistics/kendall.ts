/** Logits nearer than this are a tie. */
export const TIE = 1e-6;
/** With fewer items a rank correlation says nothing. */
const LEAST_ITEMS = 3;

/**
 * Kendall's τ-b of two scorings of the same items: (C − D) / √((n₀ − Tₐ)(n₀ − T_b)) over all pairs, C of one order on both sides, D of
 * opposite orders, T tied on a side (joint ties count on both). (Kendall 1945.)
 * @returns −1 … 1; undefined with fewer than 3 items, or if a side ties them all
 */
export function kendallTauB(a: ArrayLike<number>, b: ArrayLike<number>): number | undefined {
  const n = a.length;
  if (n < LEAST_ITEMS) return undefined;
  let score = 0;
  let tiesA = 0;
  let tiesB = 0;
  for (let i = 0; i < n; i++) {
    for (let j = i + 1; j < n; j++) {
      const signA = sign(a[i]! - a[j]!);
      const signB = sign(b[i]! - b[j]!);
      score += signA * signB;
      if (signA === 0) tiesA++;
      if (signB === 0) tiesB++;
    }
  }
  const pairs = (n * (n - 1)) / 2;
  if (tiesA === pairs || tiesB === pairs) return undefined;
  return score / Math.sqrt((pairs - tiesA) * (pairs - tiesB));
}

function sign(difference: number): number {
  return Math.abs(difference) <= TIE ? 0 : Math.sign(difference);
}
