/** Pairs of neighbours that may merge, the one of least rank first, of several the leftmost: a binary heap. */
export class MergeQueue {
  private readonly heap: Float64Array; // least first: rank · 2^32 + position of the left symbol
  private size = 0;

  /** Room for the pairs of a word of so many symbols: each but the last is pushed once at first, and each merge pushes two, takes one and ends a symbol. */
  constructor(symbols: number) {
    this.heap = new Float64Array(2 * symbols);
  }

  get isEmpty(): boolean {
    return this.size === 0;
  }

  /** `rank` below 2^21, `position` below 2^32. */
  push(rank: number, position: number): void {
    const { heap } = this;
    const key = rank * 2 ** 32 + position;
    let at = this.size++;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (heap[parent]! <= key) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = key;
  }

  /** Takes the first pair: rank · 2^32 + position. */
  pop(): number {
    const { heap } = this;
    const least = heap[0]!;
    const size = --this.size;
    const last = heap[size]!;
    let at = 0;
    for (let child = 1; child < size; child = 2 * at + 1) {
      if (child + 1 < size && heap[child + 1]! < heap[child]!) child++;
      if (heap[child]! >= last) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return least;
  }
}
