import {
  closeSync,
  copyFileSync,
  mkdtempSync,
  openSync,
  renameSync,
  rmSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { openCheckpoint } from "../container/checkpoint.js";
import { type LoadOptions, loadModel } from "../index.js";
import { readConfig } from "../model/config.js";
import { readWeights } from "../model/weights.js";
import { startRunner } from "./runner.js";
import { EMBEDDED, failure } from "./watch.test.helper.js";

const directory = mkdtempSync(join(tmpdir(), "bitnet-changed-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

let copies = 0;
/** A model file of its own. */
function copy(): string {
  const path = join(directory, `model-${copies++}.gguf`);
  copyFileSync(EMBEDDED, path);
  return path;
}

/** The embedding lies behind the header, which is as long as the metadata. */
async function overwriteEmbedding(path: string, byte: number): Promise<void> {
  const checkpoint = await openCheckpoint(path);
  const { offset, byteLength } = checkpoint.tensors.get("token_embd.weight")!;
  await checkpoint.close();
  const fd = openSync(path, "r+");
  writeSync(fd, Buffer.alloc(byteLength, byte), 0, byteLength, offset);
  closeSync(fd);
}

const changed = (path: string) => ({
  code: "file",
  file: path,
  message: expect.stringMatching(/ was changed while it was in use[^;]*; load it again when nothing writes to it$/),
});

describe("a model file in use", () => {
  test.each<[what: string, act: (path: string) => void | Promise<void>, options: LoadOptions]>([
    ["truncated", (path) => truncateSync(path, 1000), { threads: 1 }],
    ["written over with numbers", (path) => overwriteEmbedding(path, 0x3c), { threads: 2, crowded: true }],
    ["written over with NaN", (path) => overwriteEmbedding(path, 0xff), { threads: 2, crowded: true }],
    ["written over, and its head read from it", (path) => overwriteEmbedding(path, 0x3c), { threads: 1, head: "two-stage" }],
  ])("%s: the answer ends with an error, and so does every other", async (_, act, options) => {
    const path = copy();
    const model = await loadModel(path, options);
    try {
      let tokens = 0;
      const read = async (): Promise<void> => {
        for await (const _piece of model.generate("Once", { maxTokens: 200, ignoreEos: true, temperature: 0 }))
          if (++tokens === 3) await act(path);
      };
      expect(await failure(read())).toMatchObject(changed(path));
      expect(await failure(model.generate("The").result())).toMatchObject(changed(path));
      expect(await failure(model.describe())).toMatchObject(changed(path)); // its hash is another's
    } finally {
      await model.close();
    }
  });

  test("removed, replaced by another or renamed: nothing changes", async () => {
    const path = copy();
    const model = await loadModel(path, { threads: 1 });
    try {
      const say = async () => (await model.generate("Once upon a time", { maxTokens: 5, temperature: 0 }).result()).text;
      const before = await say();
      const other = copy();
      truncateSync(other, 1000);
      renameSync(other, path);
      expect(await say()).toBe(before);
      unlinkSync(path);
      expect(await say()).toBe(before);
    } finally {
      await model.close();
    }
  });
});

describe("a model file that changes between its header and its weights", () => {
  test.each<[what: string, act: (path: string) => void, options: LoadOptions]>([
    ["written over", (path) => utimesSync(path, 1, 1), { threads: 1 }],
    ["replaced", (path) => renameSync(copy(), path), { threads: 2, crowded: true }],
    ["removed", (path) => unlinkSync(path), { threads: 1 }],
    ["replaced, on the reference path", (path) => renameSync(copy(), path), { reference: true }],
  ])("%s", async (_, act, options) => {
    const path = copy();
    const checkpoint = await openCheckpoint(path);
    try {
      const config = await readConfig(checkpoint);
      const header = Promise.resolve({ config, sources: readWeights(checkpoint, config), stamps: checkpoint.stamps });
      act(path);
      expect(await failure(startRunner(header, options))).toMatchObject(changed(path));
    } finally {
      await checkpoint.close();
    }
  });
});
