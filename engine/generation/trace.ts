import { sha256Hex } from "../compute/digest.js";
import type { ResolvedOptions } from "./defaults.js";
import type { TraceSettings, TraceStep } from "./trace-types.js";

/** See `GenerationTrace.chain`. */
export function chainOf(steps: readonly TraceStep[]): string {
  let chain = "00".repeat(32);
  for (const { id, hidden } of steps) {
    const link = new Uint8Array(4);
    new DataView(link.buffer).setUint32(0, id, true);
    chain = sha256Hex(bytesOf(chain), bytesOf(hidden), link);
  }
  return chain;
}

function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from({ length: hex.length / 2 }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16));
}

/** The settings of an answer, as plain data. */
export function settingsOf({ sampling, maxTokens, stop, stopIds, eosIds, speculate }: ResolvedOptions): TraceSettings {
  const ascending = (ids: ReadonlySet<number>): number[] => [...ids].sort((a, b) => a - b);
  return {
    ...sampling,
    maxTokens: maxTokens === Infinity ? null : maxTokens,
    stop,
    stopIds: ascending(stopIds),
    eosIds: ascending(eosIds),
    speculate,
  };
}
