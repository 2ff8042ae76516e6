import { cacheHeadBytes } from "../engine/compute/kernels.js";
import { KV_BLOCK, type KvType } from "../engine/numerics.js";
import { escapeXml, svg, ticksFromZero } from "../validation/performance/svg.js";
import { median } from "../validation/statistics/summary.js";
import type { Machine } from "./machine.js";
import { BONSAI_SHAPES, bonsaiBytesPerToken } from "./make-bonsai.js";
import { SHAPES, type Shape } from "./make-model.js";

/** What one engine did. */
export interface EngineRates {
  readonly engine: string;
  /** Tokens per second of each test, one number a round. */
  readonly rates: Readonly<Record<string, readonly number[]>>;
  /** Maximum share of a core that it used while others were measured. */
  readonly idleShare: number;
}

/** All engines side by side. Plain data. */
export interface PeersReport {
  readonly machine: Machine;
  readonly shape: string;
  readonly threads: number;
  readonly rounds: number;
  /** Settings of bitnet-ts other than the defaults. */
  readonly settings: { readonly kv?: KvType; readonly head?: string };
  /** GB/s that as many threads read, one number a round. */
  readonly read: readonly number[];
  readonly peer: EngineRates;
  /** Further engines, such as bitnet.cpp. */
  readonly others?: readonly EngineRates[];
  readonly ours: readonly EngineRates[];
}

/**
 * Minimum tokens per second of node-llama-cpp (2 threads) when it has a machine for itself, by the start of its processor's name. A round in which it
 * was slower was disturbed, and its ratio would flatter us: such a round is discarded. Of other machines only load and steal tell (`benchFaults`).
 */
const FLOORS: Readonly<Record<string, Readonly<Record<string, Readonly<Record<string, number>>>>>> = {
  "AMD EPYC": { "2b4t": { pp512: 33, tg64: 14 } },
};

/** For each round, whether a test's ratio counts. Decoding at depth and of several sequences is judged by the plain one of its round. */
export function validRounds({ machine, shape, peer }: Pick<PeersReport, "machine" | "shape" | "peer">, test: string): boolean[] {
  const name = test.replace(/[@x].*/, "");
  const floors = Object.entries(FLOORS).find(([cpu]) => machine.cpu.startsWith(cpu))?.[1][shape];
  return (peer.rates[name] ?? []).map((rate) => rate >= (floors?.[name] ?? 0));
}

/** Bytes of weights and cache that every token must touch, with `depth` positions in the cache. */
export function bytesPerToken(shape: Shape, depth: number, { kv = "f32", head = "two-stage" }: PeersReport["settings"]): number {
  const { layers, hidden, heads, kvHeads, ffn, vocab } = shape;
  const headDim = hidden / heads;
  const kvSize = kvHeads * headDim;
  const ternary = (layers * (2 * hidden * hidden + 2 * kvSize * hidden + 3 * hidden * ffn)) / 4;
  // Two-stage: the upper 6 bits of codes, a scale and an error a row (what is read of the few rows that can win is left out); exact: bf16.
  const table = vocab * (head === "exact" ? hidden * 2 : hidden * 0.75 + 8);
  return ternary + table + (depth * layers * kvHeads * cacheHeadBytes(kv, headDim)) / KV_BLOCK;
}

/** Of the rounds that count. */
function kept(values: readonly number[], valid: readonly boolean[]): number[] {
  return values.filter((_, round) => valid[round]);
}

/** The comparison as Markdown: prefill and decode; then decode behind other tokens, and of several sequences, where they were measured. */
export function peersTable(report: PeersReport): string {
  const { machine: on, shape, threads, rounds, settings, read, peer, others = [], ours } = report;
  const number = (value: number, digits = 1, unit = ""): string => (Number.isNaN(value) ? "none" : `${value.toFixed(digits)}${unit}`);
  const middle = (values: readonly number[], test: string): number => median(kept(values, validRounds(report, test)));
  /** A test's rates over others of the same round. */
  const times = (rates: readonly number[], test: string, others: readonly number[]): string =>
    number(
      middle(
        rates.map((rate, round) => rate / others[round]!),
        test,
      ),
      2,
    );

  const main = [...others, ...ours].map(({ engine, rates }) => {
    const cells = ["pp512", "tg64"].flatMap((test) => {
      const ratio = times(rates[test]!, test, peer.rates[test]!);
      return [number(middle(rates[test]!, test)), ratio === "none" ? ratio : `${ratio} ×`];
    });
    return [engine, ...cells];
  });
  // The share of each round's own bandwidth.
  const middlePosition = 40; // of 9 … 73
  const [plain, bonsai] = [SHAPES[shape], BONSAI_SHAPES[shape]];
  const bytes = plain ? bytesPerToken(plain, middlePosition, settings) : bonsaiBytesPerToken(bonsai!, middlePosition, settings);
  const shares = [
    ...others.map(() => ""),
    ...ours.map(({ rates }) => {
      return number(
        middle(
          rates.tg64!.map((rate, round) => (rate * bytes) / (read[round]! * 1e9)),
          "tg64",
        ),
        2,
      );
    }),
  ];
  const first = [peer.engine, number(middle(peer.rates.pp512!, "pp512")), "", number(middle(peer.rates.tg64!, "tg64")), "", ""];
  const table = (head: readonly string[], rows: readonly (readonly string[])[]): string[] => {
    const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
    return [line(head), `|---|${head.slice(1).fill("---:").join("|")}|`, ...rows.map(line)];
  };
  /** Tests beside the plain decode of their round, of all engines that did them. */
  const besides = (title: string, mark: string, plainHead: string): string[] => {
    const tests = Object.keys(ours[0]?.rates ?? {}).filter((test) => test.startsWith(`tg64${mark}`));
    if (tests.length === 0) return [];
    const rows = [peer, ...others, ...ours].map(({ engine, rates }) => [
      engine,
      number(middle(rates.tg64!, "tg64")),
      ...tests.map((test) => (rates[test] ? `${number(middle(rates[test], test))} (${times(rates[test], test, rates.tg64!)})` : "")),
    ]);
    return ["", title, "", ...table(["", plainHead, ...tests.map((test) => test.slice(`tg64${mark}`.length))], rows)];
  };

  const given = Object.entries(settings).map(([name, value]) => `, --${name} ${value}`);
  const voided = ["pp512", "tg64"].map((test) => `${validRounds(report, test).filter((valid) => !valid).length} of ${test}`);
  const awake = [peer, ...others, ...ours].filter(({ idleShare }) => idleShare > 0.05).map(({ engine }) => engine);
  return [
    `${on.cpu}, ${on.cores} cores, ${on.platform}, ${on.date}; shape ${shape}, ${threads} threads${given.join("")}; read bandwidth ${median(read).toFixed(1)} GB/s.`,
    `Tokens per second, medians of ${rounds} alternating rounds; discarded as disturbed: ${voided.join(", ")}.`,
    ...(awake.length > 0 ? [`Still active while others were measured: ${awake.join("; ")}.`] : []),
    "",
    ...table(["", "pp512", "ratio", "tg64", "ratio", "of bandwidth"], [first, ...main.map((cells, i) => [...cells, shares[i]!])]),
    ...besides("Decode behind so many tokens; in brackets, times that of short context:", "@d", "short"),
    ...besides("Decode of so many sequences at once, all tokens together; in brackets, times that of one:", "x", "1"),
  ].join("\n");
}

/** Titles of the panels. */
const TESTS: Readonly<Record<string, string>> = { tg64: "decode (generate 64 tokens)", pp512: "prefill (a prompt of 512 tokens)" };

/** The comparison as SVG: a panel for each test, a bar from zero for each engine; thin lines go from the minimum to the maximum of the rounds that count. */
export function peersPicture(report: PeersReport): string {
  const { machine: on, shape, threads, peer, others = [], ours } = report;
  const engines = [peer, ...others, ...ours];
  const [left, right, row, top, width] = [270, 760, 30, 44, 860];
  const panelHeight = 60 + row * engines.length + 40;
  const panels = Object.entries(TESTS).flatMap(([test, name], i) => {
    const valid = validRounds(report, test);
    const values = engines.map(({ rates }) => kept(rates[test] ?? [], valid));
    const ticks = ticksFromZero(Math.max(...values.flat(), 0));
    const x = (value: number): string => (left + (value / ticks.at(-1)!) * (right - left)).toFixed(1);
    const first = top + i * panelHeight;
    const bottom = first + 20 + row * engines.length;
    return [
      `<text class="title" x="12" y="${first + 8}">${name}</text>`,
      ...ticks.flatMap((tick) => [
        `<line class="grid" x1="${x(tick)}" x2="${x(tick)}" y1="${first + 18}" y2="${bottom}"/>`,
        `<text class="soft" x="${x(tick)}" y="${bottom + 16}" text-anchor="middle">${tick}</text>`,
      ]),
      `<text class="soft" x="${(left + right) / 2}" y="${bottom + 34}" text-anchor="middle">tokens per second (more is better)</text>`,
      ...engines.flatMap(({ engine }, at) => {
        const of = values[at]!;
        if (of.length === 0) return [];
        const middle = median(of);
        const y = first + 22 + row * at;
        return [
          `<g class="s${at <= others.length ? 1 : 0}">`,
          `<text x="12" y="${y + 15}">${escapeXml(engine)}</text>`,
          `<rect x="${left}" y="${y}" width="${(Number(x(middle)) - left).toFixed(1)}" height="${row - 8}" fill-opacity="0.75"/>`,
          `<line x1="${x(Math.min(...of))}" x2="${x(Math.max(...of))}" y1="${y + 11}" y2="${y + 11}" stroke-width="2"/>`,
          `<text class="title" x="${Math.max(Number(x(middle)), Number(x(Math.max(...of)))) + 8}" y="${y + 15}">${middle.toFixed(1)}</text>`,
          "</g>",
        ];
      }),
    ];
  });
  const caption = `BitNet b1.58 2B4T's shape, ${threads} threads, ${on.cpu}, ${on.date}`;
  const heading = `<text class="soft" x="12" y="20">${escapeXml(shape === "2b4t" ? caption : `${shape}, ${threads} threads, ${on.cpu}, ${on.date}`)}</text>`;
  return svg(
    width,
    top + 2 * panelHeight,
    `Tokens per second of bitnet-ts and ${[peer, ...others].map(({ engine }) => engine).join(", ")}`,
    [heading, ...panels],
  );
}
