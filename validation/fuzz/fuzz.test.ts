/** The quick form of `npm run fuzz`, and that it would find what it looks for. */
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openSource } from "#host/files.js";
import { readGguf } from "../../engine/container/gguf.js";
import { BitnetError } from "../../engine/errors.js";
import { THOROUGH } from "../../engine/thorough.test.helper.js";
import { makeBases } from "./bases.js";
import type { Base, Content } from "./files.js";
import { mapGguf, rebuildGguf } from "./gguf-map.js";
import { type Case, makeCase } from "./mutate.js";
import { runCase, runRandom } from "./run-case.js";
import { Engine } from "./run-model.js";

let directory = "";
let bases: readonly Base[] = [];
const engine = new Engine();
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "bitnet-fuzz-"));
  bases = await makeBases(join(directory, "bases"));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const sound = (base: Base): Case => ({ ...base, base: base.name, file: "", kind: "none" });

test("every sound model runs, on every path", async () => {
  expect(bases.length).toBeGreaterThan(10);
  for (const base of bases) {
    for (let i = 0; i < (THOROUGH ? 3 : 2); i++) {
      const outcome = await runCase(engine, join(directory, "case"), sound(base), runRandom(3, i));
      if (outcome.detail?.endsWith("choose another type")) continue; // converted to one with longer rows
      expect(outcome, base.name).toMatchObject({ result: "ok", finding: undefined });
    }
  }
});

test("mutated models end in a typed error, or run", async () => {
  const results = new Map<string, number>();
  const property = fc.asyncProperty(fc.integer(), fc.nat(), async (seed, index) => {
    const one = makeCase(bases, seed, index);
    const outcome = await runCase(engine, join(directory, "case"), one, runRandom(seed, index));
    expect(outcome.finding, `${one.base}, ${one.file}, ${one.kind}: ${outcome.detail}`).toBeUndefined();
    results.set(outcome.result, (results.get(outcome.result) ?? 0) + 1);
  });
  const every = ["ok", "file", "tokenizer", "unsupported"];
  await fc.assert(property, { numRuns: THOROUGH ? 300 : 100 });
  // Of a hundred, one time in some dozens too few are of the rarest kind: then more show whether it is gone.
  if (every.some((result) => (results.get(result) ?? 0) <= 2)) await fc.assert(property, { numRuns: 300 });
  for (const result of every) expect(results.get(result), result).toBeGreaterThan(2);
});

describe("the harness", () => {
  test("a case is the same whenever it is made", () => {
    const text = ({ contents, ...one }: Case): string => {
      const bytes = (content: Content) => (content instanceof Uint8Array ? createHash("sha256").update(content).digest("hex") : content);
      return JSON.stringify([one, Array.from(contents, ([name, content]) => [name, bytes(content)])]);
    };
    const seen = new Set<string>();
    for (let index = 0; index < 100; index++) {
      const one = text(makeCase(bases, 7, index));
      expect(text(makeCase(bases, 7, index)) === one).toBe(true);
      seen.add(one);
    }
    expect(seen.size).toBe(100);
  });

  test("sees what no model may do", async () => {
    const finding = async (run: Engine["run"]) => {
      const outcome = await runCase({ run }, join(directory, "case"), sound(bases[0]!), runRandom(1, 1));
      return outcome.finding ?? "nothing";
    };
    const error = (code: "file" | "internal", message: string) => async (path: string) => {
      throw new BitnetError(code, message.replace("%", path));
    };
    expect(await finding(async () => 0)).toBe("nothing");
    expect(await finding(error("file", "%: is damaged"))).toBe("nothing");
    expect(await finding(error("file", "is damaged"))).toMatch(/without the file/);
    expect(await finding(error("file", "%: is damaged."))).toMatch(/full stop/);
    expect(await finding(error("file", "%: is\ndamaged"))).toMatch(/control/);
    expect(await finding(error("file", `%: ${"x".repeat(2000)}`))).toMatch(/characters/);
    expect(await finding(error("internal", "%: a worker died"))).toMatch(/internal/);
    expect(await finding(() => Promise.reject(new TypeError("x is undefined")))).toMatch(/TypeError/);
    expect(await finding(() => Promise.reject(new WebAssembly.RuntimeError("unreachable")))).toMatch(/RuntimeError/);
    expect(await finding(async () => 5000)).toMatch(/MiB/);
    let held: Uint8Array | undefined;
    const hungry: Engine["run"] = async (_path, _out, _random, onStage) => {
      held = new Uint8Array(100 * 2 ** 20);
      onStage("full");
      return held.length > 0 ? 0 : 1;
    };
    expect(await finding(hungry)).toMatch(/MiB/);
    held = undefined;
    const slow: Engine["run"] = async () => {
      const started = process.cpuUsage();
      for (let cpu = 0; cpu < 1.2e6; ) {
        createHash("sha256")
          .update(new Uint8Array(2 ** 20))
          .digest();
        const { user, system } = process.cpuUsage(started);
        cpu = user + system;
      }
      return 0;
    };
    expect(await finding(slow)).toMatch(/took \d+ ms/);
  });

  test("its map of a GGUF file is the reader's", async () => {
    const path = "models/bitnet-stories-4m/ggml-model-i2_s.gguf";
    const source = await openSource(path);
    const { entries, tensors, dataOffset } = await readGguf(source);
    await source.close();
    const bytes = new Uint8Array(readFileSync(path));
    const map = mapGguf(bytes);
    expect(map.dataOffset).toBe(dataOffset);
    expect(map.entries.map(({ name }) => name)).toEqual(entries.map(({ key }) => key));
    expect(map.infos.map(({ name }) => name)).toEqual(tensors.map(({ name }) => name));
    const parts = (ranges: typeof map.infos) => ranges.map(({ from, to }) => bytes.subarray(from, to));
    expect(Buffer.compare(rebuildGguf(bytes, map, parts(map.entries), parts(map.infos)), bytes)).toBe(0);
  });
});
