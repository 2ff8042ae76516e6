import { createHash } from "node:crypto";
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openSource } from "#host/files.js";
import { BitnetError } from "../errors.js";
import { type Checkpoint, openCheckpoint, type TensorInfo } from "./checkpoint.js";
import { readSafetensors, writeSafetensors } from "./safetensors.js";
import { readPieces } from "./source.js";

const GGUF = "models/bitnet-stories-4m/ggml-model-i2_s.gguf";
const PACKED = "models/bitnet-stories-4m/packed";

let directory = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "bitnet-checkpoint-"));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

/** A new directory with these files in it. */
async function folder(files: Readonly<Record<string, string | Uint8Array>>): Promise<string> {
  const path = await mkdtemp(join(directory, "d-"));
  for (const [name, content] of Object.entries(files)) await writeFile(join(path, name), content);
  return path;
}

async function failure(path: string): Promise<BitnetError> {
  try {
    await (await openCheckpoint(path)).close();
  } catch (error) {
    if (!(error instanceof BitnetError)) throw error;
    expect(error.message).not.toMatch(/[\n\r]/);
    return error;
  }
  throw new Error(`${path} opened, but should not have`);
}

async function use<T>(path: string, run: (checkpoint: Checkpoint) => Promise<T>): Promise<T> {
  const checkpoint = await openCheckpoint(path);
  try {
    return await run(checkpoint);
  } finally {
    await checkpoint.close();
  }
}

async function bytesOf({ file, offset, byteLength }: TensorInfo): Promise<Uint8Array> {
  return (await readFile(file)).subarray(offset, offset + byteLength);
}

const sha = (data: string | Uint8Array) => createHash("sha256").update(data).digest("hex");

describe("what opens", () => {
  test("a GGUF file: tensors, metadata, bytes, hash, no sidecars", async () => {
    const bytes = await readFile(GGUF);
    await use(GGUF, async (checkpoint) => {
      expect(checkpoint.format).toBe("gguf");
      expect(checkpoint.files).toEqual([GGUF]);
      expect(checkpoint.metadata.get("general.architecture")).toBe("bitnet-b1.58");
      expect(checkpoint.tensors.size).toBe(46);
      const tensor = checkpoint.tensors.get("output_norm.weight")!;
      expect(tensor).toMatchObject({ shape: [256], type: "F32", byteLength: 1024 });
      expect(await checkpoint.sidecar("config.json")).toBeUndefined();
      expect(await checkpoint.sha256()).toBe(sha(bytes));
    });
  });

  test.each([PACKED, `${PACKED}/model.safetensors`])("%s: with its sidecars", async (path) => {
    await use(path, async (checkpoint) => {
      expect(checkpoint.format).toBe("safetensors");
      expect(checkpoint.files).toEqual([join(PACKED, "model.safetensors")]);
      expect(checkpoint.metadata.size).toBe(0);
      expect(checkpoint.tensors.get("model.layers.0.mlp.down_proj.weight")).toMatchObject({ shape: [64, 768], type: "U8" });
      expect(await checkpoint.sidecar("config.json")).toBe(await readFile(`${PACKED}/config.json`, "utf8"));
      expect(await checkpoint.sidecar("chat_template.jinja")).toBeUndefined();
      for (const name of ["../packed/config.json", "/etc/passwd", "..", ""]) {
        await expect(checkpoint.sidecar(name)).rejects.toMatchObject({ code: "usage" });
      }
      expect(await checkpoint.sha256()).toBe(sha(await readFile(`${PACKED}/model.safetensors`)));
    });
  });

  test("the bytes decide, not the name", async () => {
    const path = await folder({ "a.safetensors": await readFile(GGUF), "b.bin": await readFile(`${PACKED}/model.safetensors`) });
    expect(await use(join(path, "a.safetensors"), async ({ format }) => format)).toBe("gguf");
    expect(await use(join(path, "b.bin"), async ({ format }) => format)).toBe("safetensors");
  });

  test("the only model in a directory", async () => {
    const path = await folder({ "weights.gguf": await readFile(GGUF), "README.md": "x" });
    expect(await use(path, async ({ path: named, files }) => [named, files])).toEqual([path, [join(path, "weights.gguf")]]);
  });
});

describe("shards", () => {
  /** The packed model in two files and an index. */
  async function shards(): Promise<string> {
    const path = await mkdtemp(join(directory, "shards-"));
    const source = await openSource(`${PACKED}/model.safetensors`);
    const { tensors, metadata } = await readSafetensors(source);
    const weightMap: Record<string, string> = {};
    for (const [i, name] of ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"].entries()) {
      const part = tensors.filter((_, index) => index % 2 === i);
      for (const tensor of part) weightMap[tensor.name] = name;
      const data = part.map((tensor) => ({ ...tensor, data: readPieces(source, tensor.offset, tensor.byteLength) }));
      await writeSafetensors(join(path, name), { tensors: data, metadata });
    }
    await source.close();
    await writeFile(join(path, "model.safetensors.index.json"), JSON.stringify({ metadata: { total_size: 1 }, weight_map: weightMap }));
    await cp(`${PACKED}/config.json`, join(path, "config.json"));
    return path;
  }

  test("are one checkpoint with the tensors of the whole file", async () => {
    const path = await shards();
    for (const named of [path, join(path, "model.safetensors.index.json"), join(path, "model-00002-of-00002.safetensors")]) {
      await use(named, async (checkpoint) => {
        expect(checkpoint.format).toBe("safetensors");
        expect(checkpoint.files.length).toBe(2);
        expect(await checkpoint.sidecar("config.json")).toContain("BitNetForCausalLM");
        await use(PACKED, async (whole) => {
          expect([...checkpoint.tensors.keys()].sort()).toEqual([...whole.tensors.keys()].sort());
          for (const tensor of whole.tensors.values()) {
            expect(Buffer.compare(await bytesOf(checkpoint.tensors.get(tensor.name)!), await bytesOf(tensor))).toBe(0);
          }
        });
        const names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
        const lines = await Promise.all(names.map(async (name) => `${sha(await readFile(join(path, name)))}  ${name}\n`));
        expect(await checkpoint.sha256()).toBe(sha(lines.join("")));
      });
    }
  });

  test("without their index, or only some of them: the error names what is missing", async () => {
    const path = await shards();
    const index = join(path, "model.safetensors.index.json");
    await rm(index);
    const both =
      /contains the parts of a model, "model-00001-.*", "model-00002-.*", but their index, "model.safetensors.index.json", is missing/;
    expect(await failure(path)).toMatchObject({ code: "usage", message: expect.stringMatching(both) });
    await rm(join(path, "model-00002-of-00002.safetensors"));
    const one = /part 1 of 2 of a model; the other parts and their index, "model.safetensors.index.json", are missing/;
    expect(await failure(path)).toMatchObject({ code: "usage", message: expect.stringMatching(one) });
    const part = join(path, "model-00001-of-00002.safetensors");
    expect(await failure(part)).toMatchObject({ code: "usage", message: expect.stringMatching(one) });
    await cp(part, join(path, "model-00001-of-00003.safetensors"));
    expect(await failure(path)).toMatchObject({
      code: "usage",
      message: expect.stringMatching(/more than one model|give the path of one file/),
    });
  });

  test("one part of one is a whole model; an index of another name is found", async () => {
    const whole = await folder({ "model-00001-of-00001.safetensors": await readFile(`${PACKED}/model.safetensors`) });
    expect(await use(whole, async ({ tensors }) => tensors.size)).toBeGreaterThan(40);
    const path = await shards();
    const renamed = await folder({});
    const index = JSON.parse(await readFile(join(path, "model.safetensors.index.json"), "utf8"));
    const to = (name: string) => name.replace("model-", "weights.fp16-");
    for (const name of new Set<string>(Object.values(index.weight_map))) await cp(join(path, name), join(renamed, to(name)));
    const weightMap = Object.fromEntries(Object.entries<string>(index.weight_map).map(([tensor, file]) => [tensor, to(file)]));
    await writeFile(join(renamed, "weights.fp16.safetensors.index.json"), JSON.stringify({ weight_map: weightMap }));
    expect(await use(renamed, async ({ files }) => files.length)).toBe(2);
  });

  test("an index of PyTorch files", async () => {
    const index = JSON.stringify({ weight_map: { a: "pytorch_model-00001-of-00001.bin" } });
    const path = await folder({ "pytorch_model.bin.index.json": index });
    expect((await failure(join(path, "pytorch_model.bin.index.json"))).message).toMatch(
      /is an index of PyTorch files, .*SafeTensors first/,
    );
  });

  test.each([
    ["version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", /00002-of-00002.*is a git-lfs pointer/],
    ["<html>403</html>", /00002-of-00002.*is a web page/],
    ["GGUF\x03\0\0\0", /00002-of-00002.*is a GGUF file, but .*index\.json lists it/],
  ])("a shard that is %j", async (content, message) => {
    const path = await shards();
    await writeFile(join(path, "model-00002-of-00002.safetensors"), content);
    expect(await failure(path)).toMatchObject({ code: "file", message: expect.stringMatching(message) });
  });

  test("a missing shard, a shard of another model, a tensor that no shard has", async () => {
    const path = await shards();
    const second = join(path, "model-00002-of-00002.safetensors");
    await cp(`${PACKED}/model.safetensors`, second);
    expect(await failure(path)).toMatchObject({ code: "file", file: second, message: expect.stringContaining("don't belong together") });
    await rm(second);
    expect(await failure(path)).toMatchObject({ code: "file", file: second, message: expect.stringContaining("is missing") });
    await writeSafetensors(second, { tensors: [] });
    expect(await failure(path)).toMatchObject({
      code: "file",
      file: second,
      message: expect.stringContaining("does not contain the tensor"),
    });
  });
});

describe("a hub's cache of a model", () => {
  /** models--x--y with these snapshots, each with a model by a link, and refs/main. */
  async function cache(snapshots: readonly string[], main?: string): Promise<string> {
    const path = join(await mkdtemp(join(directory, "hub-")), "models--x--y");
    for (const name of ["blobs", "refs", "snapshots"]) await mkdir(join(path, name), { recursive: true });
    await cp(GGUF, join(path, "blobs", "m"));
    for (const name of snapshots) {
      await mkdir(join(path, "snapshots", name));
      await symlink("../../blobs/m", join(path, "snapshots", name, "model.gguf"));
    }
    if (main !== undefined) await writeFile(join(path, "refs", "main"), main);
    return path;
  }
  const opened = (path: string) => use(path, async ({ files }) => files);

  test("the snapshot that refs/main names, or the only one", async () => {
    for (const [snapshots, main] of [
      [["a", "b"], "b"],
      [["a", "b"], "b\n"],
      [["b"], undefined],
      [["b"], "gone"],
      [["b"], "../../../etc"],
    ] as const) {
      const path = await cache(snapshots, main);
      for (const named of [path, `${path}/`]) expect(await opened(named)).toEqual([join(path, "snapshots", "b", "model.gguf")]);
    }
  });

  test("several without a word, none, and a cache of several models", async () => {
    const several = await failure(await cache(["a", "b"]));
    expect(several).toMatchObject({
      code: "usage",
      message: expect.stringMatching(/several snapshots, .*give the path of one: "snapshots\/a", "snapshots\/b"/),
    });
    expect((await failure(await cache(["a", "b"], "c"))).message).toMatch(/several snapshots/);
    expect((await failure(await cache([]))).message).toMatch(/without a snapshot; the download is incomplete/);
    expect((await failure(join(await cache(["a"]), ".."))).message).toMatch(/a download cache of several models; .*"models--x--y"/);
  });

  test("parts of a cache that people name", async () => {
    const one = await cache(["a"]);
    expect(await opened(join(one, "snapshots"))).toEqual([join(one, "snapshots", "a", "model.gguf")]);
    expect((await failure(join(await cache(["a", "b"]), "snapshots"))).message).toMatch(/several snapshots, .*give the path of one/);
    await rm(join(one, "snapshots"), { recursive: true });
    expect((await failure(one)).message).toBe(`${one} is a download cache without a snapshot; the download is incomplete`);
    const home = await mkdtemp(join(directory, "home-"));
    await cp(join(await cache(["a"]), ".."), join(home, "hub"), { recursive: true, verbatimSymlinks: true });
    expect((await failure(home)).message).toMatch(/a download cache of several models; .*"hub\/models--x--y"/);
  });

  test("a snapshot that leads back to its cache ends", async () => {
    const path = await cache([]);
    await symlink("..", join(path, "snapshots", "a"));
    expect((await failure(path)).code).toBe("usage");
  });
});

describe("what doesn't open", () => {
  test.each<readonly [string, string | Uint8Array, RegExp]>([
    ["an empty file", "", /is empty/],
    ["a text file", "Once upon a time there was a model.\n", /is a text file/],
    ["a web page", "\n<!DOCTYPE html><html><body>404</body></html>", /web page/],
    ["an XML error", '<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', /web page/],
    ["a git-lfs pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3041888\n", /git-lfs pointer/],
    ["one byte", "G", /is a text file/],
    ["a download's error", '{"error":"Repository not found"}', /error message in JSON/],
    ["a configuration", '{ "architectures": ["LlamaForCausalLM"] }', /is a JSON file, .*give the path of the model's directory/],
    ["a zip archive", "PK\x03\x04\x14", /is a ZIP archive/],
    ["PyTorch's archive", "PK\x03\x04\0\0\x08\x08archive/data.pkl", /is a PyTorch file/],
    ["NumPy's archive", "PK\x03\x04\0\0\x08\x08a.npy", /NumPy archive/],
    ["an old PyTorch file", Buffer.from("80028a0a6cfc9c46f9206aa850192e", "hex"), /Python pickle/],
    ["ONNX", "\x08\x07\x12\x07pytorch\x1a\x05", /ONNX/],
    ["a gzip archive", Buffer.from("1f8b0800", "hex"), /compressed file or archive/],
    ["a tar archive", `${"a".repeat(100)}${"\0".repeat(157)}ustar\x0000`, /tar archive/],
    ["GGML", "lmgg\0\0", /GGML file/],
    ["GGJT", "tjgg\x03\0", /GGML file/],
    ["a big-endian GGUF", "FUGG\0\0\0\x03", /big-endian/],
    [
      "a picture",
      Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 0x0d),
      /neither a GGUF nor|is damaged or not a SafeTensors file/,
    ],
  ])("%s, under any name", async (_, content, message) => {
    const path = await folder({ "m.gguf": content, "m.safetensors": content, m: content });
    for (const name of ["m.gguf", "m.safetensors", "m"]) {
      const error = await failure(join(path, name));
      expect(error.code).toBe("file");
      expect(error.message).toContain(join(path, name));
      expect(error.message).toMatch(message);
    }
  });

  test("no length of a SafeTensors header is mistaken for a magic number", async () => {
    for (const length of [0x0280, 0x8b1f]) {
      const head = "{}".padEnd(length);
      const bytes = Buffer.concat([Buffer.from(BigUint64Array.of(BigInt(length)).buffer), Buffer.from(head)]);
      const path = await folder({ "a.safetensors": bytes });
      expect(await use(path, async ({ format }) => format)).toBe("safetensors");
    }
  });

  test.each([
    ["pytorch_model.bin", "PK\x03\x04", /is in PyTorch format, which is not supported; save the model as SafeTensors/],
    ["model.onnx", "\x08\x01", /is in ONNX format/],
    ["weights.npz", "PK\x03\x04", /is in NumPy format/],
  ])("%s, and a directory that has nothing else", async (name, content, message) => {
    const path = await folder({ [name]: content, "config.json": "{}" });
    expect(await failure(join(path, name))).toMatchObject({ code: "file", message: expect.stringMatching(message) });
    const found = new RegExp(`contains no supported model, only "${name}" in .* format`);
    expect(await failure(path)).toMatchObject({ code: "usage", message: expect.stringMatching(found) });
  });

  test("a path that isn't there, a directory without a model, one with two", async () => {
    expect(await failure(join(directory, "no", "such"))).toMatchObject({
      code: "usage",
      message: expect.stringContaining(join(directory, "no", "such")),
    });
    expect(await failure(await folder({}))).toMatchObject({ code: "usage", message: expect.stringMatching(/found nothing/) });
    expect(await failure(await folder({ "a.txt": "", "b\nc": "" }))).toMatchObject({
      code: "usage",
      message: expect.stringMatching(/found only "a.txt", "b\\nc"/),
    });
    expect(await failure(await folder({ "a.gguf": "", "b.gguf": "" }))).toMatchObject({
      code: "usage",
      message: expect.stringMatching(/"a.gguf", "b.gguf"; give the path of one file/),
    });
  });

  test.each(["model.safetensors.part", "model.gguf.crdownload", "model.gguf.aria2", "2f8e.incomplete", "model.safetensors.ab12.tmp"])(
    "an incomplete download: %s",
    async (name) => {
      const error = await failure(await folder({ [name]: "GGUF", "config.json": "{}" }));
      expect(error).toMatchObject({ code: "usage", message: expect.stringContaining(`the download of "${name}" is incomplete`) });
    },
  );

  test("a sidecar that is a directory or not text", async () => {
    const path = await folder({
      "model.safetensors": await readFile(`${PACKED}/model.safetensors`),
      "tokenizer.json": Uint8Array.of(0xff, 0xfe),
    });
    await mkdir(join(path, "config.json"));
    await use(path, async (checkpoint) => {
      await expect(checkpoint.sidecar("config.json")).rejects.toMatchObject({ code: "io" });
      await expect(checkpoint.sidecar("tokenizer.json")).rejects.toMatchObject({ code: "file" });
    });
  });
});
