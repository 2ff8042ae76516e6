/** A stretch of a text that is computed at once: tokens [from, to), of which those from `first` on are scored. */
export interface Window {
  readonly from: number;
  readonly to: number;
  readonly first: number;
}

/**
 * Splits a text into windows so that each token is scored once, as Hugging Face's guide to the perplexity of fixed-length models does: the next
 * window begins `stride` tokens later and scores only what is new, with what it shares with the one before as context.
 * @param count tokens of the text
 * @param window most tokens of a window, at least 2
 * @param stride 1 … window − 1, or window where `led`
 * @param led whether each window is led by a token that is not of the text (BOS); otherwise the first token of the text has no context, and no score
 */
export function windowsOf(count: number, window: number, stride: number, led: boolean): Window[] {
  const windows: Window[] = [];
  let first = led ? 0 : 1;
  for (let from = 0; first < count; from += stride) {
    const to = Math.min(from + window, count);
    if (to > first) windows.push({ from, to, first });
    first = Math.max(first, to);
  }
  return windows;
}
