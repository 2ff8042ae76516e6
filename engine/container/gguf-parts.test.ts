import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, renameSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openSource } from "#host/files.js";
import { BitnetError } from "../errors.js";
import { type Checkpoint, openCheckpoint, type TensorInfo } from "./checkpoint.js";
import { type GgufEntry, readGguf } from "./gguf.js";
import { writeGguf } from "./gguf-writer.js";

const WHOLE = "models/bitnet-stories-4m/ggml-model-i2_s.gguf";

let directory = "";
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "bitnet-parts-"));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const nameOf = (part: number, count: number) => `m-${String(part).padStart(5, "0")}-of-${String(count).padStart(5, "0")}.gguf`;

/** What a test changes of a part. */
interface Part {
  entries: GgufEntry[];
  tensors: TensorInfo[];
}

/** The embedded model as gguf-split writes it: all metadata in the first part, `of` tells which tensors are in which. */
async function split(count: number, of: (index: number) => number, change: (parts: Part[]) => void = () => {}): Promise<string> {
  const path = mkdtempSync(join(directory, "d-"));
  const source = await openSource(WHOLE);
  const { entries, tensors } = await readGguf(source);
  const parts = Array.from({ length: count }, (_, part): Part => {
    const own: GgufEntry[] = [
      { key: "split.no", type: "uint16", value: part },
      { key: "split.count", type: "uint16", value: count },
      { key: "split.tensors.count", type: "int32", value: tensors.length },
    ];
    return { entries: part === 0 ? [...entries, ...own] : own, tensors: tensors.filter((_, i) => of(i) === part) };
  });
  change(parts);
  for (const [i, part] of parts.entries()) {
    const data = [];
    for (const tensor of part.tensors) data.push({ ...tensor, data: await source.read(tensor.offset, tensor.byteLength) });
    await writeGguf(join(path, nameOf(i + 1, count)), { metadata: part.entries, tensors: data });
  }
  await source.close();
  return path;
}

async function use<T>(path: string, run: (checkpoint: Checkpoint) => T | Promise<T>): Promise<T> {
  const checkpoint = await openCheckpoint(path);
  try {
    return await run(checkpoint);
  } finally {
    await checkpoint.close();
  }
}

async function failure(path: string): Promise<BitnetError> {
  const error: unknown = await use(path, () => undefined).catch((reason: unknown) => reason);
  if (!(error instanceof BitnetError)) throw new Error(`${path}: ${String(error)}`);
  return error;
}

test("a part of this very moment is given time to show another write, as a file alone is", async () => {
  const path = await split(2, (index) => index % 2);
  const now = Date.now() / 1000;
  utimesSync(join(path, nameOf(2, 2)), now, now);
  const { mtimeMs } = statSync(join(path, nameOf(2, 2))); // as the file system rounds it
  await use(join(path, nameOf(1, 2)), () => expect(Date.now()).toBeGreaterThanOrEqual(Math.floor(mtimeMs) + 10));
});

const bytesOf = ({ file, offset, byteLength }: TensorInfo) => readFileSync(file).subarray(offset, offset + byteLength);

describe("a split GGUF", () => {
  test.each<readonly [string, number, (index: number) => number]>([
    ["tensors in all parts", 3, (index) => index % 3],
    ["metadata alone in the first", 2, () => 1],
  ])("%s: any part and the directory open it whole", async (_, count, of) => {
    const path = await split(count, of);
    const names = Array.from({ length: count }, (_, i) => nameOf(i + 1, count));
    for (const named of [path, ...names.map((name) => join(path, name))]) {
      await use(named, async (checkpoint) => {
        expect(checkpoint.format).toBe("gguf");
        expect(checkpoint.files).toEqual(names.map((name) => join(path, name)));
        expect(checkpoint.byteLength).toBe(names.reduce((sum, name) => sum + readFileSync(join(path, name)).length, 0));
        await use(WHOLE, (whole) => {
          expect([...checkpoint.tensors.keys()].sort()).toEqual([...whole.tensors.keys()].sort());
          for (const tensor of whole.tensors.values()) {
            expect(Buffer.compare(bytesOf(checkpoint.tensors.get(tensor.name)!), bytesOf(tensor))).toBe(0);
          }
          for (const key of whole.metadata.keys()) expect(checkpoint.metadata.has(key)).toBe(true);
        });
        expect(checkpoint.metadata.get("split.no")).toBe(0);
        const sha = (data: string | Uint8Array) => createHash("sha256").update(data).digest("hex");
        expect(await checkpoint.sha256()).toBe(sha(names.map((name) => `${sha(readFileSync(join(path, name)))}  ${name}\n`).join("")));
      });
    }
  });

  test("links to the parts are parts", async () => {
    const path = await split(2, (index) => index % 2);
    const links = mkdtempSync(join(directory, "l-"));
    for (const part of [1, 2]) symlinkSync(join(path, nameOf(part, 2)), join(links, nameOf(part, 2)));
    expect(await use(links, ({ tensors }) => tensors.size)).toBe(46);
  });

  test("joined again it is whole: gguf-split leaves a count of 0", async () => {
    const path = await split(
      1,
      () => 0,
      ([part]) => {
        part!.entries = part!.entries.map((entry) => (entry.key === "split.count" ? { ...entry, value: 0 } : entry));
      },
    );
    renameSync(join(path, nameOf(1, 1)), join(path, "joined.gguf"));
    expect(await use(path, ({ tensors, files }) => [tensors.size, files.length])).toEqual([46, 1]);
  });

  const entry = (part: Part, key: string, value: number | undefined): void => {
    part.entries = part.entries.flatMap((old) => (old.key !== key ? [old] : value === undefined ? [] : [{ ...old, value }]));
  };
  const odd = (index: number) => index % 2;
  test.each<readonly [string, (parts: Part[]) => void, number, RegExp]>([
    ["split.no of another part", ([, second]) => entry(second!, "split.no", 0), 2, /split\.no is 0, but the file's name says 1/],
    ["no split.no", ([, second]) => entry(second!, "split.no", undefined), 2, /split\.no is missing/],
    ["split.count of another model", ([, second]) => entry(second!, "split.count", 3), 2, /split\.count is 3, .* don't belong together/],
    ["a part that is whole", ([, second]) => entry(second!, "split.count", 1), 2, /split\.count is missing, .* don't belong together/],
    [
      "a total that isn't",
      ([first]) => entry(first!, "split.tensors.count", 47),
      1,
      /split\.tensors\.count is 47, but the 2 parts contain 46/,
    ],
    ["no total", ([first]) => entry(first!, "split.tensors.count", undefined), 1, /split\.tensors\.count is missing/],
    [
      "a tensor twice",
      ([first, second]) => second!.tensors.push(first!.tensors[0]!),
      2,
      /contains the tensor ".*", which is also in .*00001-of-00002/,
    ],
  ])("%s", async (_, change, part, message) => {
    const path = await split(2, odd, change);
    expect(await failure(join(path, nameOf(1, 2)))).toMatchObject({
      code: "file",
      file: join(path, nameOf(part, 2)),
      message: expect.stringMatching(message),
    });
  });

  test("a part is missing, another model lies beside, a name is lost", async () => {
    const path = await split(3, (index) => index % 3);
    const second = join(path, nameOf(2, 3));
    renameSync(second, join(path, "elsewhere"));
    const missing = { code: "file", file: second, message: expect.stringContaining("is missing") };
    expect(await failure(path)).toMatchObject(missing);
    expect(await failure(join(path, nameOf(3, 3)))).toMatchObject(missing);
    writeFileSync(second, "version https://git-lfs.github.com/spec/v1\n");
    expect(await failure(path)).toMatchObject({ code: "file", message: expect.stringMatching(/00002-of-00003.*git-lfs pointer/) });
    rmSync(second);
    renameSync(join(path, "elsewhere"), join(path, "other.gguf"));
    expect(await failure(path)).toMatchObject({ code: "usage", message: expect.stringContaining("give the path of one file") });
    expect(await failure(join(path, "other.gguf"))).toMatchObject({
      code: "file",
      message: expect.stringContaining("its name does not have the form"),
    });
  });
});
