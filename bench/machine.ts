import { readFileSync } from "node:fs";

/** Where and when something was measured. */
export interface Machine {
  readonly date: string;
  readonly node: string;
  readonly platform: string;
  readonly cpu: string;
  readonly cores: number;
}

/** The exports of bench/assembly. */
export interface Probes {
  read(out: number, from: number, bytes: number): void;
  dots(at: number, rounds: number): void;
  dotLanes(): number;
  multiplyAdds(at: number, rounds: number): void;
}

/** Instructions of a round of `dots` and `multiplyAdds`. */
export const ROUND = 12;

/** The probes over a memory. @param features which build: relaxed SIMD must be known to this Node, or plain be taken */
export function probes(features: "plain" | "relaxed", memory: WebAssembly.Memory): Probes {
  const module = new WebAssembly.Module(readFileSync(new URL(`./${features}.wasm`, import.meta.url)));
  return new WebAssembly.Instance(module, { env: { memory, abort: () => {} } }).exports as unknown as Probes;
}
