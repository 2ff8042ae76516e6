import { BitnetError } from "../errors.js";

/** The size of a WebAssembly page. */
const PAGE = 65536;
/** What 32-bit addresses can reach. */
const MOST = 65536 * PAGE;
/** Every buffer starts on a cache line. */
const ALIGN = 64;

/** Hands out addresses in a memory that does not exist yet: first the plan, then one allocation of just its size. */
export class ArenaPlan {
  #next: number;
  readonly #parts: { name: string; bytes: number }[] = [];

  /** @param from first address handed out; beyond 2 GiB in the test that pointers are unsigned */
  constructor(from = ALIGN) {
    this.#next = from;
  }

  /** Address of `bytes` bytes. @param name what for, in words, for the error of a plan that is too large */
  take(name: string, bytes: number): number {
    const address = this.#next;
    this.#next = Math.ceil((address + bytes) / ALIGN) * ALIGN;
    this.#parts.push({ name, bytes });
    return address;
  }

  /** Whether 32-bit addresses reach all of it. */
  get fits(): boolean {
    return this.#next <= MOST;
  }

  /** Pages of the whole plan. @param advice what to do @throws BitnetError memory, with the parts by size, if it doesn't fit */
  pages(advice: () => string): number {
    if (!this.fits) {
      const sums = new Map<string, number>();
      for (const part of this.#parts) sums.set(part.name, (sums.get(part.name) ?? 0) + part.bytes);
      const list = [...sums]
        .sort((a, b) => b[1] - a[1])
        .slice(0, 3)
        .map(([name, bytes]) => `${name} ${mib(bytes)}`);
      throw new BitnetError(
        "memory",
        `the model needs ${mib(this.#next)} of memory and WebAssembly has 4096 MiB (${list.join(", ")}): ${advice()}`,
      );
    }
    return Math.ceil(this.#next / PAGE);
  }

  /** The next address. */
  get next(): number {
    return this.#next;
  }
}

function mib(bytes: number): string {
  return `${Math.ceil(bytes / 2 ** 20)} MiB`;
}

/** Shared memory of exactly `pages` pages. @throws BitnetError memory if the system has not that much */
export function allocate(pages: number): WebAssembly.Memory {
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  } catch (cause) {
    throw new BitnetError("memory", `the system refused ${mib(pages * PAGE)} of memory: choose a shorter context (--ctx)`, {}, { cause });
  }
}
