/** How much is at work at a time. */
export interface Window<T> {
  /** Items. */
  readonly items: number;
  /** The sum of their sizes; one item is always taken. */
  readonly size: number;
  sizeOf(item: T): number;
}

/**
 * Works on many items at a time, and hands on the results in the order of the items. The first failure, in that order, ends it.
 * Items are taken from the source only as they find room.
 */
export async function inOrder<T, R>(
  source: AsyncIterable<T>,
  window: Window<T>,
  work: (item: T) => Promise<R>,
  done: (item: T, result: R) => Promise<void>,
): Promise<void> {
  const going: { readonly item: T; readonly result: Promise<R>; readonly size: number }[] = [];
  let size = 0;
  const finishFirst = async (): Promise<void> => {
    const first = going[0]!;
    await done(first.item, await first.result);
    going.shift();
    size -= first.size;
  };
  for await (const item of source) {
    const own = window.sizeOf(item);
    while (going.length > 0 && (going.length >= window.items || size + own > window.size)) await finishFirst();
    const result = work(item);
    result.catch(() => {}); // thrown when it is its turn, or not at all if another failed before
    going.push({ item, result, size: own });
    size += own;
  }
  while (going.length > 0) await finishFirst();
}
