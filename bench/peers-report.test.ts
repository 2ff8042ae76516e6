import { expect, it } from "vitest";
import { SHAPES } from "./make-model.js";
import { bytesPerToken, type PeersReport, peersTable, validRounds } from "./peers-report.js";

const report: PeersReport = {
  machine: { date: "2026-01-02", node: "v20.0.0", platform: "linux x64", cpu: "AMD EPYC 1", cores: 2 },
  ...{ shape: "2b4t", threads: 2, rounds: 3, settings: { kv: "q8", head: "two-stage" }, read: [25, 20, 30] },
  peer: { engine: "peer", rates: { pp512: [35, 40, 32.9], tg64: [15, 13.9, 16] }, idleShare: 0.01 },
  ours: [{ engine: "ours", rates: { pp512: [70, 60, 1000], tg64: [20, 1000, 24], "tg64@d2048": [18, 1000, 12] }, idleShare: 0.2 }],
};

it("counts only rounds in which the peer was undisturbed", () => {
  expect(validRounds(report, "pp512")).toEqual([true, true, false]);
  expect(validRounds(report, "tg64")).toEqual([true, false, true]);
  expect(validRounds(report, "tg64@d2048")).toEqual([true, false, true]);
  const { peer, ...rest } = report;
  const disturbed = { ...rest, peer: { ...peer, rates: { pp512: [1, 1, 1], tg64: [1, 1, 1] } } };
  expect(peersTable(disturbed)).toContain("| ours | none | none | none | none | none |");
});

it("counts the bytes of a token", () => {
  const shape = { layers: 2, hidden: 256, heads: 4, kvHeads: 2, ffn: 512, vocab: 1000, context: 64 };
  const layer = 256 * 256 + 128 * 256 + 128 * 256 + 256 * 256 + 3 * 256 * 512; // q, k, v, o, feed-forward
  expect(bytesPerToken(shape, 0, { head: "exact" })).toBe((2 * layer) / 4 + 1000 * 256 * 2);
  expect(bytesPerToken(shape, 10, {})).toBe((2 * layer) / 4 + 1000 * (192 + 8) + 10 * 2 * 2 * 128 * 4);
  expect(bytesPerToken(shape, 10, { head: "two-stage", kv: "q8" })).toBe((2 * layer) / 4 + 1000 * (192 + 8) + 10 * 2 * 2 * (128 + 8));
  expect(bytesPerToken(shape, 10, { kv: "k16" })).toBe((2 * layer) / 4 + 1000 * (192 + 8) + 10 * 2 * 2 * (256 + 8));
  // 521 MB of ternary weights and 328 MB of 8-bit head.
  expect(bytesPerToken(SHAPES["2b4t"]!, 0, { head: "two-stage" }) / 1e6).toBeCloseTo(521 + 247, -0.5);
});

it("shows medians, ratios round by round, and who did not sleep", () => {
  // Ratios 2 and 1.5 of prefill, 20/15 and 24/16 of decode; 0.9 and 0.5 of the decode at short context.
  const bytes = bytesPerToken(SHAPES["2b4t"]!, 40, report.settings);
  const share = ((20 * bytes) / 25e9 + (24 * bytes) / 30e9) / 2;
  expect(peersTable(report).split("\n")).toEqual([
    "AMD EPYC 1, 2 cores, linux x64, 2026-01-02; shape 2b4t, 2 threads, --kv q8, --head two-stage; read bandwidth 25.0 GB/s.",
    "Tokens per second, medians of 3 alternating rounds; discarded as disturbed: 1 of pp512, 1 of tg64.",
    "Still active while others were measured: ours.",
    "",
    "|  | pp512 | ratio | tg64 | ratio | of bandwidth |",
    "|---|---:|---:|---:|---:|---:|",
    "| peer | 37.5 |  | 15.5 |  |  |",
    `| ours | 65.0 | 1.75 × | 22.0 | 1.42 × | ${share.toFixed(2)} |`,
    "",
    "Decode behind so many tokens; in brackets, times that of short context:",
    "",
    "|  | short | 2048 |",
    "|---|---:|---:|",
    "| peer | 15.5 |  |",
    "| ours | 22.0 | 15.0 (0.70) |",
  ]);
});

it("shows further engines, depths and sequences, each where it was measured", () => {
  const peer = { ...report.peer, rates: { ...report.peer.rates, "tg64@d2048": [12, 5, 8], tg64x2: [30, 20, 24] } };
  const others = [{ engine: "other", rates: { pp512: [42, 40, 1], tg64: [18, 20, 24] }, idleShare: 0.1 }];
  const [own] = report.ours;
  const ours = [{ ...own!, rates: { ...own!.rates, tg64x2: [40, 1000, 36] } }];
  const lines = peersTable({ ...report, peer, others, ours }).split("\n");
  expect(lines[2]).toBe("Still active while others were measured: other; ours.");
  expect(lines.find((line) => line.startsWith("| other"))).toBe("| other | 41.0 | 1.10 × | 21.0 | 1.35 × |  |");
  expect(lines.slice(lines.indexOf("|  | short | 2048 |"))).toEqual([
    "|  | short | 2048 |",
    "|---|---:|---:|",
    "| peer | 15.5 | 10.0 (0.65) |",
    "| other | 21.0 |  |",
    "| ours | 22.0 | 15.0 (0.70) |",
    "",
    "Decode of so many sequences at once, all tokens together; in brackets, times that of one:",
    "",
    "|  | 1 | 2 |",
    "|---|---:|---:|",
    "| peer | 15.5 | 27.0 (1.75) |",
    "| other | 21.0 |  |",
    "| ours | 22.0 | 38.0 (1.75) |",
  ]);
});
