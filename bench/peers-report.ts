import { median } from "../validation/statistics/summary.js";
import type { Machine } from "./machine.js";
import { SHAPES, type Shape } from "./make-model.js";

/** What one engine did. */
export interface EngineRates {
  readonly engine: string;
  /** Tokens per second of each test, one number a round. */
  readonly rates: Readonly<Record<string, readonly number[]>>;
  /** The most of a core that it used while others were measured. */
  readonly idleShare: number;
}

/** All engines side by side. Plain data. */
export interface PeersReport {
  readonly machine: Machine;
  readonly shape: string;
  readonly threads: number;
  readonly rounds: number;
  /** What ours was loaded with besides the defaults. */
  readonly settings: { readonly kv?: string; readonly head?: string };
  /** GB/s that as many threads read, one number a round. */
  readonly read: readonly number[];
  readonly peer: EngineRates;
  readonly ours: readonly EngineRates[];
}

/**
 * Tokens per second that node-llama-cpp reaches at the least on the machine of the recorded results (2 threads) when it has the machine
 * for itself. A round in which it was slower was disturbed, and a ratio to it would flatter us: such a round is void.
 */
const FLOORS: Readonly<Record<string, Readonly<Record<string, number>>>> = { "2b4t": { pp512: 33, tg64: 14 } };

/** For each round, whether a test's ratio counts. Decoding at depth is judged by the decoding at short context of its round. */
export function validRounds({ shape, peer }: Pick<PeersReport, "shape" | "peer">, test: string): boolean[] {
  const name = test.replace(/@.*/, "");
  return (peer.rates[name] ?? []).map((rate) => rate >= (FLOORS[shape]?.[name] ?? 0));
}

/** Bytes of weights and cache that every token must touch, with `depth` positions in the cache. */
export function bytesPerToken(shape: Shape, depth: number, { kv = "f32", head = "two-stage" }: PeersReport["settings"]): number {
  const { layers, hidden, heads, kvHeads, ffn, vocab } = shape;
  const headDim = hidden / heads;
  const kvSize = kvHeads * headDim;
  const ternary = (layers * (2 * hidden * hidden + 2 * kvSize * hidden + 3 * hidden * ffn)) / 4;
  // Two-stage: codes of 8 bits, a scale and an error a row (the few rows that are read exactly are left out); exact: bf16.
  const table = vocab * (head === "exact" ? hidden * 2 : hidden + 8);
  // A key and a value of each position; in 8 bits an f32 scale a head besides.
  const cache = depth * layers * 2 * kvHeads * (kv === "q8" ? headDim + 4 : headDim * 4);
  return ternary + table + cache;
}

/** Of the rounds that count. */
function kept(values: readonly number[], valid: readonly boolean[]): number[] {
  return values.filter((_, round) => valid[round]);
}

/** The comparison as Markdown. */
export function peersTable(report: PeersReport): string {
  const { machine: on, shape, threads, rounds, settings, read, peer, ours } = report;
  const tests = Object.keys(ours[0]?.rates ?? {});
  const deep = tests.find((test) => test.includes("@"));
  const number = (value: number, digits = 1, unit = ""): string => (Number.isNaN(value) ? "void" : `${value.toFixed(digits)}${unit}`);
  const middle = (rates: readonly number[], test: string): string => number(median(kept(rates, validRounds(report, test))));

  const head = ["", "pp512", "ratio", "tg64", "ratio", "of reading", ...(deep ? [deep, "of tg64"] : [])];
  const rows = ours.map(({ engine, rates }) => {
    const ratio = (test: string): string => {
      const ratios = rates[test]!.map((rate, round) => rate / peer.rates[test]![round]!);
      return number(median(kept(ratios, validRounds(report, test))), 2, " ×");
    };
    // The share of each round's own bandwidth.
    const bytes = bytesPerToken(SHAPES[shape]!, 40, settings); // the middle of 9 … 73 positions
    const shares = rates.tg64!.map((rate, round) => (rate * bytes) / (read[round]! * 1e9));
    const cells = [engine, middle(rates.pp512!, "pp512"), ratio("pp512"), middle(rates.tg64!, "tg64"), ratio("tg64")];
    cells.push(number(median(kept(shares, validRounds(report, "tg64"))), 2));
    if (deep) {
      const falls = rates[deep]!.map((rate, round) => rate / rates.tg64![round]!);
      cells.push(middle(rates[deep]!, deep), number(median(kept(falls, validRounds(report, deep))), 2));
    }
    return cells;
  });
  const first = [peer.engine, middle(peer.rates.pp512!, "pp512"), "", middle(peer.rates.tg64!, "tg64"), "", "", ...(deep ? ["", ""] : [])];
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  const given = Object.entries(settings).map(([name, value]) => `, --${name} ${value}`);
  const voided = ["pp512", "tg64"].map((test) => `${validRounds(report, test).filter((valid) => !valid).length} of ${test}`);
  const awake = [peer, ...ours].filter(({ idleShare }) => idleShare > 0.05).map(({ engine }) => engine);
  return [
    `${on.cpu}, ${on.cores} cores, ${on.platform}, ${on.date}; shape ${shape}, ${threads} threads${given.join("")}; reading ${median(read).toFixed(1)} GB/s.`,
    `Tokens per second, medians of ${rounds} alternating rounds; void because disturbed: ${voided.join(", ")}.`,
    ...(awake.length > 0 ? [`Not asleep while others were measured: ${awake.join("; ")}.`] : []),
    "",
    ...[line(head), `|---|${head.slice(1).fill("---:").join("|")}|`, line(first), ...rows.map(line)],
  ].join("\n");
}
