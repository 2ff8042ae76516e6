/** Paths that are not what they seem: links, FIFOs, devices, directories, names that lead elsewhere. Each ends in an error, and none blocks. */
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { BitnetError } from "../errors.js";
import { openCheckpoint } from "./checkpoint.js";
import { show } from "./quote.js";
import { readJsonSidecar } from "./sidecar.js";

const GGUF = resolve("models/bitnet-stories-4m/ggml-model-i2_s.gguf");
const PACKED = resolve("models/bitnet-stories-4m/packed");

let directory = "";
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "bitnet-links-"));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const folder = (): string => mkdtempSync(join(directory, "d-"));

async function opens(path: string): Promise<number> {
  const checkpoint = await openCheckpoint(path);
  try {
    await checkpoint.sidecar("config.json");
    return checkpoint.tensors.size;
  } finally {
    await checkpoint.close();
  }
}

async function failure(path: string): Promise<BitnetError> {
  const error: unknown = await opens(path).catch((reason: unknown) => reason);
  if (!(error instanceof BitnetError)) throw new Error(`${path}: ${String(error)}`);
  expect(error.message).not.toMatch(/[\r\n]/);
  return error;
}

describe("links", () => {
  test("to a model are followed, as in a download cache", async () => {
    const path = folder();
    mkdirSync(join(path, "blobs"));
    mkdirSync(join(path, "snapshot"));
    for (const name of ["model.safetensors", "config.json"]) {
      cpSync(join(PACKED, name), join(path, "blobs", `${name.length}`));
      symlinkSync(join("..", "blobs", `${name.length}`), join(path, "snapshot", name));
    }
    expect(await opens(join(path, "snapshot"))).toBe(await opens(PACKED));
    symlinkSync(GGUF, join(path, "link"));
    expect(await opens(join(path, "link"))).toBe(46);
  });

  test.each<readonly [string, (path: string) => void, RegExp]>([
    ["to itself", (path) => symlinkSync("model.safetensors", path), /lead in a circle/],
    ["to nothing", (path) => symlinkSync("gone", path), /symbolic link to a file that does not exist/],
    ["to a directory", (path) => symlinkSync(".", path), /is a directory, but a file is needed/],
    ["to a device", (path) => symlinkSync("/dev/zero", path), /not a regular file/],
    ["that is a FIFO", (path) => spawnSync("mkfifo", [path]), /not a regular file/],
    ["that is a directory", (path) => mkdirSync(path), /is a directory, but a file is needed/],
  ])("%s: weights, shard, index and sidecar", async (_, make, message) => {
    const at = folder();
    make(join(at, "model.safetensors"));
    expect(await failure(at)).toMatchObject({ code: "io", message: expect.stringMatching(message) });
    const index = folder();
    writeFileSync(join(index, "model.safetensors.index.json"), JSON.stringify({ weight_map: { a: "model.safetensors" } }));
    make(join(index, "model.safetensors"));
    expect(await failure(join(index, "model.safetensors.index.json"))).toMatchObject({
      code: "io",
      message: expect.stringMatching(message),
    });
    const beside = folder();
    cpSync(join(PACKED, "model.safetensors"), join(beside, "model.safetensors"));
    make(join(beside, "config.json"));
    if (message.source !== "lead in a circle") expect((await failure(beside)).message).toMatch(message);
  });
});

describe("names in an index", () => {
  test.each(["../model.safetensors", "..", ".", "", "/etc/passwd", "a/b", "a\\b", "C:x", "a\0b", "a\nb", "x".repeat(256)])(
    "%j is no plain name",
    async (name) => {
      const path = folder();
      writeFileSync(join(path, "model.safetensors.index.json"), JSON.stringify({ weight_map: { a: name } }));
      expect(await failure(path)).toMatchObject({ code: "file", message: expect.stringContaining("not a plain file name") });
    },
  );

  test("an index that names itself, or another index, is no shard", async () => {
    const path = folder();
    for (const [index, names] of [
      ["a.index.json", "a.index.json"],
      ["b.index.json", "a.index.json"],
    ] as const) {
      writeFileSync(join(path, index), JSON.stringify({ weight_map: { t: names } }));
      expect(await failure(join(path, index))).toMatchObject({ code: "file", file: join(path, "a.index.json") });
    }
  });
});

describe("sizes", () => {
  test("JSON of millions of values, or of millions of levels", async () => {
    const path = folder();
    cpSync(join(PACKED, "model.safetensors"), join(path, "model.safetensors"));
    const checkpoint = await openCheckpoint(path);
    const read = async (text: string) => {
      writeFileSync(join(path, "config.json"), text);
      return readJsonSidecar(checkpoint, "config.json", "file");
    };
    await expect(read(`{"a":[${"{},".repeat(2 ** 21)}0]}`)).rejects.toMatchObject({
      code: "file",
      message: expect.stringContaining("values"),
    });
    expect(await read(`{"a":"${" ".repeat(2 ** 22)}"}`)).toBeDefined();
    const deep = await read(`{"a":${"[".repeat(1e5)}${"]".repeat(1e5)}}`);
    await checkpoint.close();
    expect(show(deep)).toBe('{"a":[[[[…]]]]}');
    expect(show({ a: [1, "b", null, true, undefined], c: { d: 2n } })).toBe('{"a":[1,"b",null,true,undefined],"c":{"d":2}}');
    expect(show(Int32Array.of(1, -2))).toBe("[1,-2]");
    expect(show(new Array(1e6).fill(7)).length).toBeLessThan(200);

    const members = JSON.stringify({ weight_map: Object.fromEntries(Array.from({ length: 2 ** 18 + 1 }, (_, i) => [`t${i}`, "a"])) });
    writeFileSync(join(path, "m.index.json"), members);
    expect((await failure(join(path, "m.index.json"))).message).toMatch(/more than 262144 members/);

    // The same in a header, where such values would be skipped one by one.
    const header = Buffer.from(`{"a":{"x":[${"1,".repeat(2 ** 21)}1]}}`);
    const length = Buffer.alloc(8);
    length.writeUInt32LE(header.length);
    writeFileSync(join(path, "model.safetensors"), Buffer.concat([length, header]));
    expect(await failure(path)).toMatchObject({ code: "file", message: expect.stringContaining("exceeds the limit of 2097152 values") });
  });

  test("sidecars, indexes and headers that are huge are not read", async () => {
    const path = folder();
    cpSync(join(PACKED, "model.safetensors"), join(path, "model.safetensors"));
    writeFileSync(join(path, "config.json"), "{");
    truncateSync(join(path, "config.json"), 10 * 2 ** 30); // sparse
    expect(await failure(path)).toMatchObject({
      code: "file",
      message: expect.stringMatching(/but the limit for such a file is \d+/),
    });
    writeFileSync(join(path, "m.safetensors.index.json"), '{"weight_map": {}}');
    truncateSync(join(path, "m.safetensors.index.json"), 10 * 2 ** 30);
    expect(await failure(join(path, "m.safetensors.index.json"))).toMatchObject({
      code: "file",
      message: expect.stringContaining("the limit"),
    });
    writeFileSync(join(path, "h.safetensors"), Buffer.concat([Buffer.from([0, 0, 0, 0, 2, 0, 0, 0]), Buffer.from("{")])); // 8 GiB
    truncateSync(join(path, "h.safetensors"), 10 * 2 ** 30);
    expect(await failure(join(path, "h.safetensors"))).toMatchObject({ code: "file", message: expect.stringContaining("the limit") });
  });
});
