import { createHash } from "node:crypto";

/** Share of the table that may be in use, as a divisor. */
const SPARSENESS = 2;
const FIRST_SIZE = 2 ** 10;

/** Texts that were seen, as 64-bit hashes: 16 to 32 bytes each. Among ten million texts, the chance that two of them are taken for one is below 1 in 300 000. */
export class Known {
  /** Open addressing; 0: free. */
  #table = new BigUint64Array(FIRST_SIZE);
  #count = 0;

  /** Adds a text; whether it is new. */
  add(text: string): boolean {
    const hash = createHash("sha256").update(text).digest().readBigUInt64LE() || 1n;
    const place = this.#place(hash);
    if (this.#table[place] === hash) return false;
    this.#table[place] = hash;
    if (++this.#count * SPARSENESS > this.#table.length) this.#grow();
    return true;
  }

  #place(hash: bigint): number {
    const mask = this.#table.length - 1;
    let place = Number(hash & BigInt(mask));
    while (this.#table[place] !== 0n && this.#table[place] !== hash) place = (place + 1) & mask;
    return place;
  }

  #grow(): void {
    const old = this.#table;
    this.#table = new BigUint64Array(2 * old.length);
    for (const hash of old) if (hash !== 0n) this.#table[this.#place(hash)] = hash;
  }
}
