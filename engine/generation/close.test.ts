import { execFile } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, afterEach, beforeEach, describe, expect, test } from "vitest";
import { openCheckpoint } from "../container/checkpoint.js";
import { BitnetError, loadModel, type Model } from "../index.js";
import { THOROUGH } from "../thorough.test.helper.js";
import { EMBEDDED, failure, goldenGreedy, livingWorkers, longIds, PACKED, StepWatch } from "./watch.test.helper.js";

const ONCE = "Once upon a time";
const GREEDY = { temperature: 0 };
const CLOSED = { code: "closed", message: "the model was closed" };

const directory = mkdtempSync(join(tmpdir(), "bitnet-close-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

let watch: StepWatch;
let heldBefore: readonly string[];

beforeEach(() => {
  watch = new StepWatch();
  heldBefore = held();
});

// Whatever a test does to its models, nothing of them is left.
afterEach(() => {
  watch.end();
  expect(livingWorkers()).toEqual([]);
  expect(held()).toEqual(heldBefore);
});

/** What keeps this process busy or open: ports, workers, files. */
function held(): string[] {
  const resources = process.getActiveResourcesInfo().filter((name) => /port|worker|fs|file/i.test(name));
  return [...resources.sort(), ...(process.platform === "linux" ? openFiles() : [])];
}

/** Model files that the process holds open, on all its threads. */
function openFiles(): string[] {
  const targets = readdirSync("/proc/self/fd").map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return ""; // the listing's own, gone by now
    }
  });
  return targets.filter((target) => /\.(gguf|safetensors|json|wasm)$/.test(target)).sort();
}

/** Every kind of call. */
function calls(model: Model): Record<string, () => Promise<unknown>> {
  return {
    generate: () => model.generate(ONCE, GREEDY).result(),
    read: async () => {
      for await (const _ of model.generate(ONCE, GREEDY));
    },
    nothing: () => model.generate(ONCE, { ...GREEDY, maxTokens: 0 }).result(),
    chat: () => model.chat([{ role: "user", content: "Hi" }], GREEDY).result(),
    score: () => model.score(longIds),
    logits: () => model.logits(longIds.slice(0, 50)),
    describe: () => model.describe(),
  };
}

async function failures(of: Record<string, () => Promise<unknown>>, names = Object.keys(of)): Promise<Record<string, unknown>> {
  const outcomes = await Promise.all(names.map((name) => failure(of[name]!())));
  return Object.fromEntries(names.map((name, i) => [name, { code: outcomes[i]!.code, message: outcomes[i]!.message }]));
}

const all = (names: readonly string[], outcome: unknown) => Object.fromEntries(names.map((name) => [name, outcome]));
const WORK = ["generate", "read", "chat", "score", "logits"];

describe("close", () => {
  test("rejects what is under way and what comes later, as often as it is called", async () => {
    const model = await loadModel(undefined, { threads: 2 });
    const pending = failures(calls(model), WORK);
    await new Promise<void>((resolve) => {
      watch.onStep = (count) => {
        if (count === 3) resolve();
      };
    });
    await Promise.all([model.close(), model.close()]);
    expect(await pending).toEqual(all(WORK, CLOSED));
    expect(livingWorkers()).toEqual([]);
    const names = Object.keys(calls(model));
    expect(await failures(calls(model))).toEqual(all(names, expect.objectContaining({ code: "closed" })));
    await model.close();
    expect(model.tokenizer.decode(model.tokenizer.encode(ONCE, { bos: false }))).toBe(ONCE);
  });

  test("in the middle of a loop ends the loop with the error, after the pieces that were there", async () => {
    const model = await loadModel(undefined, { threads: 2 });
    let text = "";
    let closing: Promise<void> | undefined;
    const reading = (async () => {
      for await (const piece of model.generate(ONCE, GREEDY)) {
        text += piece;
        if (text.length > 20) closing ??= model.close();
      }
    })();
    expect(await failure(reading)).toMatchObject(CLOSED);
    await closing;
    expect(model.tokenizer.decode(goldenGreedy("prompt00")).startsWith(text)).toBe(true);
  });

  test("at once after loading, and on the reference path", async () => {
    await (await loadModel(undefined, { threads: 3, crowded: true })).close();
    const reference = await loadModel(undefined, { reference: true });
    const pending = failure(reference.score(longIds.slice(0, 100)));
    await reference.close();
    expect(await pending).toMatchObject(CLOSED);
  });
});

describe("an aborted load", () => {
  test("rejects with the signal's reason and leaves nothing, whenever the abort comes", async () => {
    const reason = new Error("changed my mind");
    expect(await failure(loadModel(undefined, { signal: AbortSignal.abort(reason) }))).toBe(reason);
    for (const path of [EMBEDDED, PACKED]) {
      for (const delay of [0, 1, 3, 10, 30, 60]) {
        const controller = new AbortController();
        const loading = loadModel(path, { threads: 2, signal: controller.signal });
        setTimeout(() => controller.abort(reason), delay);
        const outcome = await loading.then(
          (model) => model.close(),
          (error: unknown) => error,
        );
        expect([reason, undefined]).toContain(outcome); // undefined: it was faster
        expect(livingWorkers()).toEqual([]);
      }
    }
    const controller = new AbortController();
    const atProgress = loadModel(undefined, {
      threads: 3,
      crowded: true,
      signal: controller.signal,
      onProgress: () => controller.abort(reason),
    });
    expect(await failure(atProgress)).toBe(reason);
  });

  test("starts no worker if the abort comes before the workers", async () => {
    const controller = new AbortController();
    let workers = 0;
    const count = (): void => void workers++;
    process.on("worker", count);
    const loading = loadModel(undefined, { threads: 2, signal: controller.signal });
    controller.abort();
    expect(await failure(loading)).toBe(controller.signal.reason);
    process.off("worker", count);
    expect(workers).toBe(0);
  });

  test("a listener's own error is the load's", async () => {
    const own = new Error("the listener's own");
    const loading = loadModel(undefined, {
      threads: 2,
      onProgress: () => {
        throw own;
      },
    });
    expect(await failure(loading)).toBe(own);
  });
});

describe.each([
  ["the leader", 0],
  ["a follower", 1],
])("when %s dies", (_, thread) => {
  const DIED = { code: "internal", message: `worker ${thread} ended with code 1` };

  test.each(["in a step", "idle"])("%s, every call says so, and close works", async (when) => {
    const model = await loadModel(undefined, { threads: 2 });
    const victim = livingWorkers()[thread]!;
    if (when === "in a step") {
      watch.onStep = (count) => {
        if (count === 2) void victim.terminate(); // before any is done; the chat is not yet rendered
      };
      expect(await failures(calls(model), WORK)).toEqual(all(WORK, DIED));
    } else {
      await victim.terminate();
    }
    expect(await failures(calls(model), WORK)).toEqual(all(WORK, DIED));
    await model.close();
    await model.close();
    expect((await failures(calls(model), WORK)).score).toMatchObject({ code: expect.stringMatching(/internal|closed/) });
  });

  test("while loading, the load says so", async () => {
    const loading = failure(loadModel(undefined, { threads: 2, onProgress: () => void livingWorkers()[thread]!.terminate() }));
    expect(await loading).toMatchObject(DIED);
  });
});

test("an error that a worker throws is told once, in one sentence", async () => {
  const model = await loadModel(undefined, { threads: 2 });
  const failed = failures(calls(model), WORK);
  livingWorkers()[0]!.postMessage({ id: 0, kind: "step", payload: undefined });
  const outcomes = Object.values(await failed);
  expect(new Set(outcomes.map((outcome) => JSON.stringify(outcome))).size).toBe(1);
  expect(outcomes[0]).toMatchObject({ code: "internal", message: expect.stringMatching(/^a worker failed: .*$/) });
  await model.close();
});

describe("a load that fails leaves nothing running or open", () => {
  const bytes = readFileSync(EMBEDDED);

  function file(name: string, content: Uint8Array): string {
    const path = join(directory, name);
    writeFileSync(path, content);
    return path;
  }

  /** The packed model with other files beside it. */
  function packed(name: string, files: Readonly<Record<string, string>>): string {
    const path = join(directory, name);
    cpSync(PACKED, path, { recursive: true });
    for (const [at, text] of Object.entries(files)) writeFileSync(join(path, at), text);
    return path;
  }

  async function fault(path: string, threads = 2): Promise<BitnetError> {
    const error = await failure(loadModel(path, { threads }));
    expect(error).toBeInstanceOf(BitnetError);
    expect(error.message).toContain(basename(path));
    expect(error.message).not.toContain("\n");
    expect(livingWorkers()).toEqual([]);
    return error as BitnetError;
  }

  test("a file that is not there, not a model, or cut short", async () => {
    expect((await fault(join(directory, "none.gguf"))).code).toBe("usage");
    expect((await fault(file("text.gguf", Buffer.from("no model")))).code).toBe("file");
    for (const length of [3, 20, 5_000, 150_000, bytes.length - 1_000_000, bytes.length - 1]) {
      expect((await fault(file(`cut-${length}.gguf`, bytes.subarray(0, length)))).code).toBe("file");
    }
  });

  test("a tokenizer that is not the model's", async () => {
    const tokenizer = JSON.parse(readFileSync(join(PACKED, "tokenizer.json"), "utf8"));
    const last = tokenizer.added_tokens.at(-1);
    const added_tokens = [...tokenizer.added_tokens, { ...last, id: last.id + 1, content: "<|one too many|>" }];
    const large = packed("large-tokenizer", { "tokenizer.json": JSON.stringify({ ...tokenizer, added_tokens }) });
    expect(await fault(large)).toMatchObject({
      code: "tokenizer",
      message: expect.stringMatching(/4097 ids, but the model has only 4096/),
    });
    expect((await fault(packed("broken-tokenizer", { "tokenizer.json": "{" }))).code).toMatch(/tokenizer|file/);
    expect((await fault(packed("broken-config", { "generation_config.json": '{"do_sample": true, "top_p": 7}' }))).code).toBe("file");
  });

  test("a ternary weight with the code 3: tensor and byte are named, by any number of threads", async () => {
    const checkpoint = await openCheckpoint(EMBEDDED);
    const tensors = [...checkpoint.tensors.values()].filter(({ type }) => type === "I2_S");
    await checkpoint.close();
    expect(tensors).toHaveLength(28);
    for (const [index, threads] of [
      [0, 1],
      [13, 2],
      [27, 2],
      [27, 3],
      [20, 3],
    ] as const) {
      const { name, offset, byteLength } = tensors[index]!;
      const damaged = Uint8Array.from(bytes);
      const at = offset + Math.floor((byteLength - 32) * 0.7);
      damaged[at] = 0b01_11_00_10;
      const error = await fault(file(`code-3-${index}.gguf`, damaged), threads);
      expect(error).toMatchObject({ code: "file", tensor: name, offset: at });
      expect(error.message).toContain(name);
      expect(error.message).toContain(String(at));
    }
  });

  test("options that can't be used", async () => {
    for (const options of [{ threads: 0 }, { threads: 1.5 }, { contextLength: 0 }, { contextLength: 1e9 }, { activationQuant: false }]) {
      expect(await failure(loadModel(undefined, options))).toMatchObject({ code: "usage", message: expect.stringMatching(/\w/) });
    }
    expect(await failure(loadModel(undefined, { tier: "fast" as "auto" }))).toMatchObject({ code: "usage" });
    expect(await failure(loadModel(undefined, { threads: 2, firstAddress: 2 ** 32 - 65536 }))).toMatchObject({ code: "memory" });
  });
});

/** 200 take 20 seconds: `.ci/run` takes them. */
const [MODELS, BEFORE] = process.env.BITNET_GOLDEN === "all" ? [200, 20] : [20, 8];

// Takes seconds: CI runs it.
test.runIf(THOROUGH)(`memory after ${MODELS} models is that after ${BEFORE}`, async () => {
  const script = new URL("./many-models.test.helper.js", import.meta.url);
  // How large V8 lets its young generation grow is no matter of ours; held small, the figures show what is held.
  const flags = ["--expose-gc", "--max-semi-space-size=1"];
  const { stdout } = await promisify(execFile)(process.execPath, [...flags, fileURLToPath(script), String(BEFORE), String(MODELS)]);
  const figures = JSON.parse(stdout) as Readonly<Record<string, number>>;
  expect(figures[MODELS]! - figures[BEFORE]!, `resident MiB after so many models: ${stdout.trim()}`).toBeLessThan(32);
});
