import { addressLimit } from "#host/limits.js";
import { BitnetError } from "../errors.js";

/** The size of a WebAssembly page. */
const PAGE = 65536;
/** What 32-bit addresses can reach. */
const MOST = 65536 * PAGE;
/** Every buffer starts on a cache line. */
const ALIGN = 64;

/** Hands out addresses in a memory that does not exist yet: first the plan, then one allocation of just its size. */
export class ArenaPlan {
  readonly #from: number;
  readonly #limit: number;
  #next: number;
  readonly #parts: { name: string; bytes: number }[] = [];

  /**
   * @param from first address handed out; beyond 2 GiB in the test that pointers are unsigned
   * @param limit bytes that this process may use: the system ends a process that uses more
   */
  constructor(from = ALIGN, limit = Infinity) {
    this.#limit = limit;
    this.#from = from;
    this.#next = from;
  }

  /** A plan under the same limits in which nothing has been taken. */
  empty(): ArenaPlan {
    return new ArenaPlan(this.#from, this.#limit);
  }

  /** Address of `bytes` bytes. @param name what for, in words, for the error of a plan that is too large */
  take(name: string, bytes: number): number {
    const address = this.#next;
    this.#next = Math.ceil((address + bytes) / ALIGN) * ALIGN;
    this.#parts.push({ name, bytes });
    return address;
  }

  /** Whether 32-bit addresses reach all of it, and this process may use it. */
  get fits(): boolean {
    return this.#next <= MOST && this.#bytes <= this.#limit;
  }

  get #bytes(): number {
    return this.#next - this.#from;
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
      const [bytes, most] =
        this.#bytes > this.#limit && this.#limit < MOST
          ? [this.#bytes, `the cgroup of this process allows ${mib(this.#limit, Math.floor)}`]
          : [this.#next, "WebAssembly can address 4096 MiB"];
      throw new BitnetError("memory", `the model needs ${mib(bytes)} of memory, but ${most} (${list.join(", ")}): ${advice()}`);
    }
    return Math.ceil(this.#next / PAGE);
  }

  /** The next address. */
  get next(): number {
    return this.#next;
  }
}

function mib(bytes: number, round = Math.ceil): string {
  return `${round(bytes / 2 ** 20)} MiB`;
}

/** Shared memory of exactly `pages` pages. @throws BitnetError memory if the system has not that much */
export function allocate(pages: number): WebAssembly.Memory {
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  } catch (cause) {
    throw refused(mib(pages * PAGE), cause);
  }
}

/** The system's refusal of memory, as an error for the user. @param what that was asked for */
export function refused(what: string, cause: unknown, addresses = addressLimit()): BitnetError {
  const advice =
    addresses === Infinity
      ? "choose a shorter context (contextLength, --ctx), a smaller cache if it has a size of its own (cacheTokens, --cache-tokens), or close other programs"
      : `the address space of this process is limited to ${mib(addresses, Math.floor)} (ulimit -v), and V8 may reserve 10 GB of it for each WebAssembly memory; ` +
        "raise the limit to 16 GB, or start Node with NODE_OPTIONS=--disable-wasm-trap-handler";
  return new BitnetError("memory", `the system refused ${what} of memory: ${advice}`, {}, { cause });
}

/** What engines say when there is no memory left for an array, a WebAssembly memory or an instance. */
export function isOutOfMemory(error: unknown): boolean {
  return error instanceof RangeError && /could not allocate memory|allocation failed|out of memory/i.test(error.message);
}
