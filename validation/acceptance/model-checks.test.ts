import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { EMBEDDED, PACKED, temporaryDirectory } from "../end-to-end/derive.test.helper.js";
import { type Change, rewriteGguf } from "../end-to-end/rewrite.test.helper.js";
import type { KernelOptions } from "../parity/sides.js";
import type { Context, Finding } from "./check.js";
import { ENVIRONMENT } from "./clone.test.helper.js";
import { MODEL_CHECKS, readReferences } from "./model-checks.js";

// What acceptance asks of a model: the embedded one has it (npm run gates; cli/package.test.ts), and here each check fails on what it is there for.

const temporary = temporaryDirectory();
afterAll(temporary.remove);

/** Runs one check as `bitnet validate --quick` does on the embedded model, with another file instead of its GGUF. */
async function run(id: string, b = EMBEDDED, kernels: KernelOptions = { threads: 1 }, more: Partial<Context> = {}): Promise<Finding> {
  const context: Context = {
    ...{ root: ".", clone: true, overlay: undefined, release: false, quick: true, embedded: true, files: {}, signal: undefined },
    ...{ environment: ENVIRONMENT, ...more },
    ...{ models: [PACKED, b], kernels, out: temporary.path },
    record: { cliArgs: [], seed: 42, deterministic: true, date: new Date(0) },
  };
  return MODEL_CHECKS.find((check) => check.id === id)!.run(context);
}

/** Quadruples a norm that no other follows: no check of the weights minds, and every logit moves. */
const louder: Change = ({ name }, bytes) => {
  if (name !== "blk.1.attn_sub_norm.weight") return undefined;
  const values = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length)).map((value) => 4 * value);
  return { data: new Uint8Array(values.buffer) };
};

describe("a check fails on", () => {
  let other: string;
  beforeAll(async () => {
    other = await rewriteGguf(EMBEDDED, join(temporary.path, "louder.gguf"), louder);
  });

  it("formats that say different things of the network", async () => {
    const path = await rewriteGguf(
      EMBEDDED,
      join(temporary.path, "theta.gguf"),
      () => undefined,
      (entries) => entries.map((entry) => (entry.key.endsWith("rope.freq_base") ? ({ ...entry, value: 1234 } as typeof entry) : entry)),
    );
    expect(await run("a.introspection", path)).toMatchObject({ status: "FAIL", reason: expect.stringMatching(/differ in ropeTheta$/) });
  });

  it("a norm of nothing", async () => {
    const path = await rewriteGguf(EMBEDDED, join(temporary.path, "norm.gguf"), ({ name }, bytes) =>
      name === "blk.0.attn_norm.weight" ? { data: new Uint8Array(bytes.length) } : undefined,
    );
    expect(await run("a.weights", path)).toMatchObject({ status: "FAIL", reason: expect.stringContaining("blk.0.attn_norm.weight") });
  });

  it("another tokenizer: two tokens have changed places", async () => {
    const path = await rewriteGguf(
      EMBEDDED,
      join(temporary.path, "tokens.gguf"),
      () => undefined,
      (entries) =>
        entries.map((entry) => {
          if (entry.key !== "tokenizer.ggml.tokens") return entry;
          const tokens = [...(entry.value as readonly string[])];
          [tokens[32], tokens[33]] = [tokens[33]!, tokens[32]!];
          return { ...entry, value: tokens } as typeof entry;
        }),
    );
    expect(await run("b.round-trip", path)).toMatchObject({ status: "FAIL", reason: expect.stringContaining("different tokenizers") });
    expect(await run("b.stored-ids", path)).toMatchObject({
      status: "FAIL",
      reason: expect.stringMatching(/gives the ids .* but stored are/),
    });
  });

  it("other logits than the stored ones, and other texts", async () => {
    expect(await run("d.logits", other)).toMatchObject({ status: "FAIL", reason: "all runs agree, but not with the stored hash" });
    expect(await run("e.greedy", other)).toMatchObject({
      status: "FAIL",
      reason: expect.stringMatching(/^texts differ from the stored ones: prompt\d\d/),
    });
  });

  it("results that the kernels did not compute: their counters stand still", async () => {
    const scalar = { threads: 2, reference: true } as KernelOptions;
    expect(await run("e.receipt", EMBEDDED, scalar)).toMatchObject({
      status: "FAIL",
      reason: expect.stringContaining("counters did not change"),
    });
    expect(await run("d.environment", EMBEDDED, scalar)).toMatchObject({
      status: "FAIL",
      reason: expect.stringContaining("2 threads were requested"),
    });
  });
});

it("a release demands the deterministic environment, each part of it; a clone warns, and an installed package does not", async () => {
  const environment = (set: string, more: Partial<Context> = {}): Promise<Finding> =>
    run("d.environment", EMBEDDED, { threads: 1 }, { environment: set, ...more });
  expect(await environment(ENVIRONMENT, { release: true })).toMatchObject({
    status: "PASS",
    figures: { environment: ENVIRONMENT, deterministic: true, seed: 42, threads: 1 },
  });
  for (const variable of ENVIRONMENT.split(" ")) {
    const [name] = variable.split("=");
    const line = `the deterministic environment is not set (${name}): run export ${ENVIRONMENT}`;
    const set = ENVIRONMENT.replace(variable, "").trim();
    expect(await environment(set, { release: true })).toMatchObject({ status: "FAIL", reason: line });
    expect(await environment(set)).toMatchObject({ status: "SKIP", ship: false, reason: `${line} (this blocks a release)` });
  }
  expect(await environment("BITNET_DETERMINISTIC=0 BITNET_SEED=42 BITNET_NUM_THREADS=1", { release: true })).toMatchObject({
    reason: expect.stringContaining("(BITNET_DETERMINISTIC)"),
  });
  expect(await environment("", { clone: false })).toMatchObject({ status: "PASS" });
});

it("the stored ids are an excerpt of the golden ones", () => {
  const golden = JSON.parse(readFileSync("validation/golden/tokenizer/open.json", "utf8")) as readonly object[];
  const { tokenizer } = readReferences();
  expect(tokenizer.length).toBeGreaterThan(40);
  for (const pair of tokenizer) expect(golden).toContainEqual(pair);
});
