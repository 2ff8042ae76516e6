import { appendFile, chmod, mkdir, mkdtemp, open, readdir, readFile, rename, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readPieces, readText, sha256 } from "../../container/source.js";
import { openSource, openSourceSync, writeAtomic } from "./files.js";

let directory = "";
let path = "";
const content = Uint8Array.from({ length: 3 * 2 ** 20 + 5 }, (_, i) => (i * 31) % 251);
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "bitnet-source-"));
  path = join(directory, "bytes");
  await writeFile(path, content);
});
afterAll(() => rm(directory, { recursive: true, force: true }));

describe("sources", () => {
  test("read exactly what is asked for, up to the last byte", async () => {
    const source = await openSource(path);
    const sync = openSourceSync(path);
    expect([source.size, sync.size]).toEqual([content.length, content.length]);
    for (const [offset, length] of [
      [0, 0],
      [0, 7],
      [12345, 2 ** 20],
      [content.length - 1, 1],
      [content.length, 0],
    ] as const) {
      const expected = content.subarray(offset, offset + length);
      const got = await source.read(offset, length);
      expect(got.buffer.byteLength).toBe(length);
      expect(Buffer.compare(got, expected)).toBe(0);
      const shared = new Uint8Array(new SharedArrayBuffer(length + 16)).fill(0xee);
      sync.readInto(shared.subarray(8, 8 + length), offset);
      expect(Buffer.compare(shared.slice(8, 8 + length), expected)).toBe(0);
      expect([...shared.slice(0, 8), ...shared.slice(8 + length)]).toEqual(new Array(16).fill(0xee));
    }
    await source.close();
    sync.close();
  });

  test("refuse ranges the file doesn't have", async () => {
    const source = await openSource(path);
    const sync = openSourceSync(path);
    for (const [offset, length] of [
      [content.length, 1],
      [content.length + 1, 0],
      [-1, 1],
      [0, 2 ** 53],
      [0, -1],
      [0.5, 1],
      [Number.NaN, 1],
    ] as const) {
      await expect(source.read(offset, length)).rejects.toMatchObject({ code: "file", file: path });
      if (length === 1)
        expect(() => sync.readInto(new Uint8Array(1), offset)).toThrow(expect.objectContaining({ code: "file", file: path }));
    }
    await source.close();
    await source.close();
    sync.close();
    sync.close();
    await expect(source.read(0, 1)).rejects.toMatchObject({ code: "closed" });
    expect(() => sync.readInto(new Uint8Array(1), 0)).toThrow(expect.objectContaining({ code: "closed" }));
  });

  test("say when the file became shorter", async () => {
    const shrinking = join(directory, "shrinking");
    await writeFile(shrinking, content.subarray(0, 100));
    const source = await openSource(shrinking);
    const sync = openSourceSync(shrinking);
    await truncate(shrinking, 50);
    const error = expect.objectContaining({ code: "file", offset: 50, message: expect.stringContaining("now ends at byte 50") });
    await expect(source.read(0, 100)).rejects.toEqual(error);
    expect(() => sync.readInto(new Uint8Array(100), 0)).toThrow(error);
    await source.close();
    sync.close();
  });

  test("say when the file was changed, and not when it only lost its name", async () => {
    const other = (place: string) => writeFile(place, content.subarray(1, 101));
    const kinds: readonly [what: string, act: (place: string) => Promise<unknown>, seen: boolean][] = [
      ["written over", other, true],
      ["grown", (place) => appendFile(place, "x"), true],
      ["one byte written", (place) => open(place, "r+").then((file) => file.write("x", 7).then(() => file.close())), true],
      ["removed", (place) => rm(place), false],
      ["replaced", (place) => other(`${place}.new`).then(() => rename(`${place}.new`, place)), false],
      ["given another mode", (place) => chmod(place, 0o600), false],
    ];
    for (const [what, act, seen] of kinds) {
      const place = join(directory, what);
      await writeFile(place, content.subarray(0, 100));
      const source = await openSource(place, true);
      const sync = openSourceSync(place, source.stamp);
      expect((await source.read(0, 100)).length).toBe(100);
      sync.check();
      await act(place);
      const changed = { code: "file", file: place, message: expect.stringContaining(`${place} was changed while it was in use`) };
      if (seen) {
        await expect(source.read(0, 10), what).rejects.toMatchObject(changed);
        expect(() => sync.check(), what).toThrow(expect.objectContaining(changed));
      } else {
        expect(Buffer.compare(await source.read(0, 100), content.subarray(0, 100)), what).toBe(0);
        sync.check();
      }
      // Whoever opens it by its name now would read something else.
      if (what !== "given another mode") expect(() => openSourceSync(place, source.stamp), what).toThrow(expect.objectContaining(changed));
      await source.close();
      sync.close();
    }
  });

  test("two writes in one tick of the clock", async () => {
    for (let i = 0; i < 20; i++) {
      const place = join(directory, "young");
      await writeFile(place, content.subarray(0, 100));
      const source = await openSource(place, true);
      await source.read(0, 100);
      await writeFile(place, content.subarray(1, 101)); // of the same size
      await expect(source.read(0, 100)).rejects.toMatchObject({ code: "file" });
      await source.close();
    }
  });

  test("what can't be opened", async () => {
    for (const [bad, code] of [
      [join(directory, "none"), "usage"],
      [join(path, "below"), "usage"],
      ["", "usage"],
      ["a\0b", "usage"],
      [directory, "io"],
    ] as const) {
      await expect(openSource(bad)).rejects.toMatchObject({ name: "BitnetError", code, file: bad });
      expect(() => openSourceSync(bad)).toThrow(expect.objectContaining({ name: "BitnetError", code, file: bad }));
    }
  });

  test("pieces and hash", async () => {
    const source = await openSource(path);
    const pieces: Uint8Array[] = [];
    for await (const piece of readPieces(source, 3, content.length - 10)) pieces.push(piece);
    expect(pieces.length).toBeGreaterThan(2);
    expect(Buffer.compare(Buffer.concat(pieces), content.subarray(3, content.length - 7))).toBe(0);
    await source.close();
    await writeFile(join(directory, "abc"), "abc");
    const abc = await openSource(join(directory, "abc"));
    // FIPS 180-4's example
    const digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    expect(await sha256(abc)).toBe(digest);
    expect(await sha256("abc")).toBe(digest);
    await abc.close();
  });
});

test("text: absent, too large, with a byte-order mark", async () => {
  const text = join(directory, "text");
  expect(await readText(text, 10)).toBeUndefined();
  await writeFile(text, "\ufeffhé");
  expect(await readText(text, 10)).toBe("hé");
  await expect(readText(text, 5)).rejects.toMatchObject({ code: "file" });
});

describe("writeAtomic", () => {
  test("replaces a file only when all is written", async () => {
    const place = join(await mkdtemp(join(directory, "w-")), "out");
    await writeFile(place, "old");
    const failing = writeAtomic(place, async (sink) => {
      await sink.write(new Uint8Array(1000));
      expect(await readFile(place, "utf8")).toBe("old");
      throw new Error("stop");
    });
    await expect(failing).rejects.toThrow("stop");
    expect(await readdir(join(place, ".."))).toEqual(["out"]);
    expect(await readFile(place, "utf8")).toBe("old");
    await writeAtomic(place, async (sink) => {
      expect(await sink.write(Buffer.from("new"))).toBe(3);
      const more = (async function* () {
        yield Buffer.from("er");
        yield new Uint8Array(0);
        yield Buffer.from("est");
      })();
      expect(await sink.write(more)).toBe(5);
    });
    expect(await readdir(join(place, ".."))).toEqual(["out"]);
    expect(await readFile(place, "utf8")).toBe("newerest");
  });

  test("a directory that isn't there, a directory in the way", async () => {
    await expect(writeAtomic(join(directory, "none", "out"), async () => {})).rejects.toMatchObject({ code: "usage" });
    const inTheWay = join(await mkdtemp(join(directory, "w-")), "taken");
    await mkdir(inTheWay);
    await expect(writeAtomic(inTheWay, async () => {})).rejects.toMatchObject({ code: "io" });
    expect(await readdir(join(inTheWay, ".."))).toEqual(["taken"]);
  });
});
