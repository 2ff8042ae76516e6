import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bitnetHere, type Ended } from "../../cli/here.test.helper.js";
import { parity as parityCommand } from "../../cli/parity.js";
import { openTokenizer } from "../../engine/index.js";
import { EMBEDDED, PACKED, temporaryDirectory } from "../end-to-end/derive.test.helper.js";
import { type Change, rewriteGguf } from "../end-to-end/rewrite.test.helper.js";
import { readRecord, readRows } from "../records/records.js";
import { parityFailure } from "./gates.js";
import { readOracles } from "./oracle.js";
import { runParity } from "./parity.js";
import { replayRow } from "./replay.js";
import { textsOfLines } from "./texts.js";
import type { LaneReport, ParityReport, PromptFailure } from "./types.js";

// Through the command line, as a user meets it: once for each exit code as a process, else in this one. A short prompt keeps it quick: what is wrong
// shows at once.

const PROMPT = "Once upon a time there was a little girl";
const temporary = temporaryDirectory();
const out = join(temporary.path, "parity_report.json");
const rowsFile = join(temporary.path, "parity_failures.jsonl");
const prompts = join(temporary.path, "prompts.txt");
beforeAll(() => writeFileSync(prompts, `${PROMPT}\n`));
afterAll(temporary.remove);

function bitnet(...args: string[]): Omit<Ended, "code"> & { readonly code: number | null } {
  const { status, stdout, stderr } = spawnSync(process.execPath, ["dist/bundle/bitnet.cjs", ...args, "--threads", "1"], {
    encoding: "utf8",
    timeout: 600_000,
  });
  return { code: status, stdout, stderr };
}

const PARITY = ["parity", "--prompts", prompts, "-n", "0", "--out", out, "--lane", "quant-fp32"];
const parity = (...args: string[]): ReturnType<typeof bitnet> => bitnet(...PARITY, ...args);
const parityHere = (...args: string[]): Promise<Ended> => bitnetHere(...PARITY, ...args, "--threads", "1");
const replay = (...args: string[]): Promise<Ended> => bitnetHere("replay", rowsFile, ...args, "--threads", "1");
/** The same without a process of its own; writes the same files. */
const measure = (b: string, text = PROMPT): Promise<ParityReport> =>
  runParity({
    models: [PACKED, b],
    lanes: ["quant-fp32"],
    ...{ texts: textsOfLines(text), maxTokens: 0, kernels: { threads: 1 }, out },
    ...{ cliArgs: [], seed: 42, deterministic: true, date: new Date(0) },
  });
const report = (): Promise<ParityReport> => readRecord<ParityReport>(out, "parity-report");
const failures = (): Promise<PromptFailure[]> => readRows<PromptFailure>(rowsFile, "parity-failure");

/** Writes a copy of the embedded model with some tensors changed. */
const changed = (name: string, change: Change): Promise<string> => rewriteGguf(EMBEDDED, join(temporary.path, name), change);

/** The I2_S scale lies behind the codes, 4 to a byte. */
const scaled =
  (pattern: RegExp, factor: number): Change =>
  ({ name, shape }, bytes) => {
    if (!pattern.test(name)) return undefined;
    const data = bytes.slice();
    const view = new DataView(data.buffer, data.byteOffset);
    const at = shape.reduce((product, extent) => product * extent, 1) / 4;
    view.setFloat32(at, view.getFloat32(at, true) * factor, true);
    return { data };
  };

describe("the embedded pair", () => {
  it("passes a quick run: equal in float32, near enough as shipped, and what other implementations say", async () => {
    const { code, stdout, stderr } = bitnet("parity", "--quick", "--out", out);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(/^Weights {2}PASS$/m);
    expect(stdout).toMatch(/^FP32↔FP32 {2}PASS$/m);
    expect(stdout).toMatch(/^Quant↔FP32 {2}PASS$/m);
    expect(stdout.match(/^Oracle {2}PASS$/gm)).toHaveLength(3);
    const { weights, lanes, skipped, provenance, verdict } = await report();
    expect(weights).toMatchObject({ exact: true, changed: [], verdict: "PASS" });
    expect([verdict, skipped]).toEqual(["PASS", []]);
    expect(provenance).toMatchObject({ model_hash: "3b6ffbad956fd373", cli_args: ["parity", "--quick", "--out", out, "--threads", "1"] });
    const [float, quant, packed, f32] = lanes as [LaneReport, LaneReport, LaneReport, LaneReport];
    // Equal numbers give equal bits; quantised activations don't.
    expect(float.totals.figures).toMatchObject({ tau_min: 1, delta_nll: 0 });
    expect(quant.totals.figures.tau_median).toBeLessThan(0.99);
    expect(quant.totals.figures.tau_median).toBeGreaterThan(0.95);
    expect(quant.margins.delta_nll_mean).toBeGreaterThan(0);
    expect(quant.prompts.map(({ tokens }) => tokens).reduce((x, y) => x + y)).toBeGreaterThan(300);
    expect(packed.prompts.filter(({ greedy }) => greedy === "same")).toHaveLength(4);
    expect(f32.margins.delta_nll).toBeGreaterThan(0);
    expect(await failures()).toEqual([]);
    expect(readFileSync(rowsFile, "utf8")).toBe("");
  });
});

describe("negative controls: each fails the promise's gates", () => {
  it.each(["attn_q", "attn_k", "attn_output", "ffn_down"])("a corrupted scale of %s", async (tensor) => {
    const path = await changed("scale.gguf", scaled(new RegExp(`blk\\.[01]\\.${tensor}\\.weight`), 4));
    expect(parityFailure(await measure(path), rowsFile)).toMatchObject({ code: "nll" });
  });

  it("a swapped layout", async () => {
    const swap = await parityHere(PACKED, EMBEDDED, "--i2s-layout", "block64", "--lane", "fp32-fp32");
    expect(swap).toMatchObject({ code: 5, stderr: expect.stringMatching(/^error: parity: likelihoods differ .*\n$/) });
    expect((await failures())[0]).toMatchObject({
      lane: "fp32-fp32",
      sides: { b: { options: { i2s_layout: "block64" } } },
      failed: ["nll", "tau", "kl"],
    });
    await expect(replayRow(rowsFile, 1)).resolves.toMatchObject({ changed: [], error: { code: "nll" } }); // the row says the layout
  });

  /** What a norm is without its weights. */
  const ones =
    (norm: string): Change =>
    ({ name }, bytes) =>
      name.endsWith(`${norm}.weight`) ? { data: new Uint8Array(new Float32Array(bytes.length / 4).fill(1).buffer) } : undefined;

  it("a dropped norm", async () => {
    expect(await parityHere(PACKED, await changed("norm.gguf", ones("output_norm")))).toMatchObject({ code: 5 });
    for (const norm of ["attn_sub_norm", "ffn_sub_norm"]) {
      const report = await measure(await changed("norm.gguf", ones(norm)), "The clock in the hall had not struck");
      expect(parityFailure(report), norm).toMatchObject({ code: "nll" });
    }
  });

  it("a wrong activation function", async () => {
    const path = join(temporary.path, "silu.gguf");
    await rewriteGguf(
      EMBEDDED,
      path,
      () => undefined,
      (entries) => [...entries, { key: "bitnet-b1.58.hidden_activation", type: "string", value: "silu" }],
    );
    expect(parity(PACKED, path)).toMatchObject({ code: 5 });
  });
});

/** Swaps rows of the embedding, so that tokens change places and every sum over the vocabulary stays what it is. */
const swapped =
  (pairs: readonly (readonly [number, number])[]): Change =>
  ({ name, shape }, bytes) => {
    if (name !== "token_embd.weight") return undefined;
    const data = bytes.slice();
    const row = bytes.length / shape[0]!;
    for (const [x, y] of pairs) {
      data.set(bytes.subarray(x * row, (x + 1) * row), y * row);
      data.set(bytes.subarray(y * row, (y + 1) * row), x * row);
    }
    return { data };
  };

describe("the other exit codes", () => {
  it("6: tokens that are ranked otherwise, though the text is as likely as ever", async () => {
    const { tokenizer } = await openTokenizer(PACKED);
    const used = new Set(tokenizer.encode(PROMPT));
    const free = Array.from({ length: 4080 }, (_, id) => id).filter((id) => !used.has(id));
    const path = await changed(
      "ranks.gguf",
      swapped(Array.from({ length: free.length >> 1 }, (_, i) => [free[i]!, free[i + (free.length >> 1)]!])),
    );
    expect(parity(PACKED, path)).toMatchObject({ code: 6, stderr: expect.stringContaining("token ranks differ") });
    for (const row of await failures()) {
      expect(row.failed).toEqual(["tau", "kl"]);
      expect(Math.abs(row.figures.delta_nll!)).toBeLessThan(0.01);
    }
    await expect(replayRow(rowsFile, 1)).resolves.toMatchObject({ changed: [], error: { code: "tau" } });
  });

  it("7: greedy text that is not the stored one, though what was scored is as likely as ever", async () => {
    const { answers } = readOracles().oracles[0]!;
    const asked = new Set(answers.flatMap(({ ids }) => ids));
    const chosen = new Set(answers.flatMap(({ greedy = [] }) => greedy));
    const wanted = [...chosen].find((id) => !asked.has(id))!;
    const other = Array.from({ length: 4080 }, (_, id) => id).findLast((id) => !asked.has(id) && !chosen.has(id))!;
    const path = await changed("greedy.gguf", swapped([[wanted, other]]));
    expect(parity(PACKED, path, "--lane", "oracle", "--quick")).toMatchObject({ code: 7, stderr: expect.stringContaining("greedy text") });
    const rows = await failures();
    // Where the token would have been likely, the probabilities differ too; neither likelihoods nor ranks tell.
    expect(rows.every(({ failed, lane }) => /^(greedy|kl|greedy,kl)$/.test(failed.join()) && lane === "oracle")).toBe(true);
    expect(rows[0]!.greedy).toMatchObject({ chosen: other });
    expect(await replay("--row", "1")).toMatchObject({
      code: 7,
      stdout: expect.stringMatching(/^FAIL: greedy, kl, with the same results/m),
    });
    expect(await replayRow(rowsFile, 1, { modelB: EMBEDDED })).toMatchObject({ failed: [], error: undefined });
  });

  it("2, 3, 4 and 11: what can't be compared", async () => {
    const truncated = join(temporary.path, "truncated.gguf");
    writeFileSync(truncated, readFileSync(EMBEDDED).subarray(0, 2_000_000));
    const lacking = join(temporary.path, "lacking.gguf");
    writeFileSync(lacking, readFileSync(EMBEDDED, "latin1").replace("blk.3.ffn_norm.weight", "blk.3.fff_norm.weight"), "latin1");
    const noBos = await rewriteGguf(
      EMBEDDED,
      join(temporary.path, "bos.gguf"),
      () => undefined,
      (entries) => [...entries, { key: "tokenizer.ggml.add_bos_token", type: "bool", value: false }],
    );
    for (const [path, code, said] of [
      [truncated, 11, truncated],
      [lacking, 3, lacking],
      [noBos, 4, "different tokens"],
      [join(temporary.path, "none.gguf"), 2, "none.gguf"],
    ] as const) {
      const ended = await parityHere(PACKED, path);
      expect(ended).toMatchObject({ code, stdout: "", stderr: expect.stringMatching(/^error: [^\n]+\n$/) });
      expect(ended.stderr).toContain(said);
    }
    expect(await parityHere("--lane", "fp16")).toMatchObject({ code: 2, stderr: expect.stringContaining("The lanes are") });
    await expect(parityCommand(PACKED, undefined, { topK: 50, out })).rejects.toMatchObject({ code: "usage" });
  });
});

describe("bitnet replay", () => {
  it("gives a failing row's figures from the row alone, and passes when the cause is mended", async () => {
    const path = await changed("mended.gguf", scaled(/blk\.1\.attn_output/, 3));
    expect(parityFailure(await measure(path), rowsFile)).toBeDefined();
    expect((await report()).skipped.map(({ name }) => name)).toEqual(["weights", "fp32-fp32", "oracle"]);
    const [row] = await failures();
    expect(row).toMatchObject({ lane: "quant-fp32", prompt: { id: "line-1" }, failed: expect.arrayContaining(["nll"]) });

    const again = await replay("--row", "1", "--json");
    expect(again).toMatchObject({ code: 5, stderr: expect.stringMatching(/row 1: still fails/) });
    expect(JSON.parse(again.stdout)).toEqual({
      ...{ lane: "quant-fp32", prompt: "line-1", changed: [], figures: row!.figures, greedy: null, failed: row!.failed, verdict: "FAIL" },
    });

    writeFileSync(path, readFileSync(EMBEDDED));
    const mended = await replay("--row", "1");
    expect({ code: mended.code, stderr: mended.stderr }).toEqual({ code: 0, stderr: "" });
    expect(mended.stdout).toMatch(/^changed since then: .*mended\.gguf has changed$/m);
    expect(mended.stdout).toMatch(/^PASS: fixed$/m);
  });

  it("12: a row whose figures were altered; 11: one that is no row; 2: one that is not there", async () => {
    const path = await changed("altered.gguf", scaled(/blk\.1\.attn_output/, 3));
    await measure(path);
    const [row] = await failures();
    const write = (altered: unknown): void => writeFileSync(rowsFile, `${JSON.stringify(altered)}\n`);
    write({ ...row, figures: { ...row!.figures, nll_b: row!.figures.nll_b! + 1e-9 } });
    expect(await replay("--row", "1")).toMatchObject({ code: 12, stderr: expect.stringContaining("but the results don't") });
    write({ ...row, thresholds: { tau_median: 0, delta_nll: 9 } }); // would pass
    await expect(replayRow(rowsFile, 1)).rejects.toMatchObject({ code: "receipt" });
    write({ ...row, verdict: "PASS" });
    await expect(replayRow(rowsFile, 1)).rejects.toMatchObject({ code: "file", message: expect.stringContaining("/verdict") });
    write(row);
    await expect(replayRow(rowsFile, 2)).rejects.toMatchObject({
      code: "usage",
      message: expect.stringContaining("the number of its rows is 1"),
    });
  });
});
