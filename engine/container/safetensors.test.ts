import { mkdtemp, open, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openSource } from "#host/files.js";
import { BitnetError } from "../errors.js";
import { readSafetensors, readSafetensorsIndex, type SafetensorsFile, writeSafetensors } from "./safetensors.js";
import { readPieces } from "./source.js";

const FIXTURES = ["models/bitnet-stories-4m/packed/model.safetensors", "validation/fixtures/safetensors-bf16/model.safetensors"];

let directory = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "bitnet-safetensors-"));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

async function read(path: string): Promise<SafetensorsFile> {
  const source = await openSource(path);
  try {
    return await readSafetensors(source);
  } finally {
    await source.close();
  }
}

/** The error of what is done with `path`; its form is checked here for all tests. */
async function failure(path: string, run: () => Promise<unknown>): Promise<BitnetError | undefined> {
  try {
    await run();
    return undefined;
  } catch (error) {
    if (!(error instanceof BitnetError)) throw error;
    expect(["file", "unsupported", "tensor"]).toContain(error.code);
    expect(error.message).toContain(path);
    expect(error.message).not.toMatch(/[\n\r]/);
    return error;
  }
}

/** A file of this header (text or bytes) and so many bytes of data. */
function file(header: string | Uint8Array, dataBytes: number, length?: bigint): Uint8Array {
  const text = Buffer.from(header);
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(length ?? BigInt(text.length));
  return Buffer.concat([prefix, text, Buffer.alloc(dataBytes)]);
}

describe("reader", () => {
  test.each(FIXTURES)("%s: names, dtypes, shapes and places as JSON.parse sees them", async (path) => {
    const { tensors, metadata } = await read(path);
    const bytes = await readFile(path);
    const length = Number(bytes.readBigUInt64LE());
    const { __metadata__, ...header } = JSON.parse(bytes.toString("utf8", 8, 8 + length));
    expect(metadata).toEqual(new Map(Object.entries(__metadata__)));
    expect(tensors.map(({ name }) => name)).toEqual(Object.keys(header));
    for (const { name, type, shape, offset, byteLength } of tensors) {
      expect({ dtype: type, shape, data_offsets: [offset - 8 - length, offset + byteLength - 8 - length] }).toEqual(header[name]);
    }
  });

  test("unusual, but right", async () => {
    const path = join(directory, "unusual.safetensors");
    const header = `{"b" : {"data_offsets":[4,6],"shape":[ ],"dtype":"BF16","more":[{"x":[1.5e-3,null,true]},"\\u00e9"]},
      "__proto__":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]},"constructor":{"dtype":"I64","shape":[3,0],"data_offsets":[4,4]},
      "\\u0061\\n\ud83e\udd99":{"dtype":"F4","shape":[2,2],"data_offsets":[6,8]}}  `;
    await writeFile(path, file(header, 8));
    const { tensors, metadata } = await read(path);
    expect(metadata).toBeUndefined();
    expect(tensors.map(({ name, type, shape, byteLength }) => [name, type, shape, byteLength])).toEqual([
      ["b", "BF16", [], 2],
      ["__proto__", "F32", [1, 1], 4],
      ["constructor", "I64", [3, 0], 0],
      ["a\n🦙", "F4", [2, 2], 2],
    ]);
  });

  const t = (dtype: string, shape: string, offsets: string) => `{"dtype":"${dtype}","shape":${shape},"data_offsets":${offsets}}`;
  const good = t("F32", "[2]", "[0,8]");
  test.each<readonly [string, Uint8Array, string, RegExp]>([
    ["nothing", new Uint8Array(0), "file", /truncated/],
    ["seven bytes", new Uint8Array(7), "file", /truncated/],
    ["header length 2^64 - 1", file("{}", 0, 2n ** 64n - 1n), "file", /limit is 100000000/],
    ["header length over the limit", file("{}", 0, 100_000_001n), "file", /limit is 100000000/],
    ["header length past the end", file("{}", 0, 3n), "file", /ends inside its header/],
    ["header length 0", file("", 8), "file", /should start with "{"/],
    ["space first", file(" {}", 0), "file", /should start with "{"/],
    ["not JSON", file("{oops", 0), "file", /is an incomplete string|should have/],
    ["no end", file(`{"a":${good}`, 8), "file", /should have "}"/],
    ["text after the end", file(`{"a":${good}}x`, 8), "file", /continues after its end/],
    ["not UTF-8", file(Uint8Array.of(0x7b, 0x22, 0xc3, 0x28, 0x22, 0x3a, 0x7b, 0x7d, 0x7d), 0), "file", /not a valid string/],
    ["half a surrogate pair", file(`{"\\ud83e":${good}}`, 8), "file", /not a valid string/],
    ["twice the name", file(`{"a":${good},"a":${good}}`, 8), "file", /"a" twice/],
    ["twice the name, escaped", file(`{"a":${good},"\\u0061":${good}}`, 8), "file", /"a" twice/],
    ["twice the dtype", file(`{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 8), "file", /"dtype" twice/],
    ["no dtype", file(`{"a":{"shape":[2],"data_offsets":[0,8]}}`, 8), "file", /has no dtype, no shape/],
    ["one offset", file(`{"a":${t("F32", "[2]", "[0]")}}`, 8), "file", /has no dtype, no shape/],
    ["three offsets", file(`{"a":${t("F32", "[2]", "[0,8,8]")}}`, 8), "file", /more than 2/],
    ["entry that is no object", file(`{"a":[]}`, 8), "file", /should have "{"/],
    ["unknown dtype", file(`{"a":${t("Q4", "[2]", "[0,8]")}}`, 8), "unsupported", /"a" has the unknown dtype "Q4"/],
    ["negative extent", file(`{"a":${t("F32", "[-2]", "[0,8]")}}`, 8), "file", /whole number/],
    ["fraction", file(`{"a":${t("F32", "[2.0]", "[0,8]")}}`, 8), "file", /whole number/],
    ["exponent", file(`{"a":${t("F32", "[2e0]", "[0,8]")}}`, 8), "file", /whole number/],
    ["leading zero", file(`{"a":${t("F32", "[02]", "[0,8]")}}`, 8), "file", /whole number/],
    ["extent over 2^53", file(`{"a":${t("F32", "[9007199254740993]", "[0,8]")}}`, 8), "file", /too large/],
    ["product that overflows", file(`{"a":${t("F32", "[4294967296,4294967296,4294967296]", "[0,8]")}}`, 8), "file", /impossible shape/],
    ["a thousand dimensions", file(`{"a":${t("F32", `[${"1,".repeat(999)}1]`, "[0,8]")}}`, 8), "file", /more than 16/],
    ["end before begin", file(`{"a":${t("F32", "[2]", "[8,0]")}}`, 8), "file", /before it begins/],
    ["past the end", file(`{"a":${t("F32", "[4]", "[0,16]")}}`, 8), "file", /would end at byte/],
    ["size that isn't the shape's", file(`{"a":${t("F32", "[3]", "[0,8]")}}`, 8), "file", /requires 12/],
    ["half a byte", file(`{"a":${t("F4", "[3]", "[0,1]")}}`, 1), "file", /whole byte/],
    ["overlap", file(`{"a":${good},"b":${t("F32", "[2]", "[4,12]")}}`, 12), "file", /"b" overlaps/],
    ["hole", file(`{"a":${good},"b":${t("F32", "[1]", "[12,16]")}}`, 16), "file", /gap of 4 bytes/],
    ["hole at the start", file(`{"a":${t("F32", "[2]", "[4,12]")}}`, 12), "file", /gap of 4 bytes/],
    ["bytes after the last", file(`{"a":${good}}`, 9), "file", /1 extra bytes after/],
    ["metadata that is no string", file(`{"__metadata__":{"x":1},"a":${good}}`, 8), "file", /__metadata__/],
    ["deep nesting", file(`{"a":{"x":${"[".repeat(100_000)}`, 8), "file", /nested deeper than 32/],
    ["a name of many lines", file(`{"a\\nb":${t("Q4", "[2]", "[0,8]")}}`, 8), "unsupported", /"a\\nb"/],
  ])("%s", async (_, bytes, code, message) => {
    const path = join(directory, "hostile.safetensors");
    await writeFile(path, bytes);
    const error = await failure(path, () => read(path));
    expect(error?.code).toBe(code);
    expect(error?.message).toMatch(message);
  });

  test("cut anywhere, or with any byte of the header changed: refused in one line, or harmless", async () => {
    const path = join(directory, "damaged.safetensors");
    const good = await readFile(FIXTURES[0]!);
    const header = 8 + Number(good.readBigUInt64LE());
    const cut = fc.asyncProperty(
      fc.oneof(fc.integer({ min: 0, max: header }), fc.integer({ min: 0, max: good.length - 1 })),
      async (end) => {
        await writeFile(path, good.subarray(0, end));
        expect(await failure(path, () => read(path))).toBeDefined();
      },
    );
    await fc.assert(cut, { numRuns: 80 });
    await writeFile(path, good);
    const handle = await open(path, "r+");
    let refused = 0;
    const flip = fc.asyncProperty(fc.integer({ min: 0, max: header - 1 }), fc.integer({ min: 1, max: 255 }), async (at, change) => {
      await handle.write(Uint8Array.of(good[at]! ^ change), 0, 1, at);
      if (await failure(path, () => read(path))) refused++;
      await handle.write(Uint8Array.of(good[at]!), 0, 1, at);
    });
    await fc.assert(flip, { numRuns: 250 });
    await handle.close();
    expect(refused).toBeGreaterThan(60);
    expect(await failure(path, () => read(path))).toBeUndefined();
  });
});

describe("writer", () => {
  test.each(FIXTURES)("%s: rewritten byte for byte", async (path) => {
    const source = await openSource(path);
    const { tensors, metadata } = await readSafetensors(source);
    const copy = join(directory, "copy.safetensors");
    await writeSafetensors(copy, {
      metadata,
      tensors: tensors.map((tensor) => ({ ...tensor, data: readPieces(source, tensor.offset, tensor.byteLength) })),
    });
    await source.close();
    expect(Buffer.compare(await readFile(copy), await readFile(path))).toBe(0);
  });

  const text = fc.oneof(fc.string({ unit: "grapheme" }), fc.string({ unit: "binary" })).filter((value) => !/\p{Surrogate}/u.test(value));
  const tensor = fc
    .tuple(
      text,
      fc.constantFrom<readonly [string, number]>(["F64", 8], ["F32", 4], ["BF16", 2], ["U8", 1], ["BOOL", 1]),
      fc.array(fc.nat(3), { maxLength: 4 }),
    )
    .chain(([name, [type, size], shape]) => {
      const length = shape.reduce((product, extent) => product * extent, size);
      return fc.uint8Array({ minLength: length, maxLength: length }).map((data) => ({ name, shape, type, data }));
    });

  test("what is written is read again", async () => {
    const path = join(directory, "random.safetensors");
    const property = fc.asyncProperty(
      fc.uniqueArray(tensor, { selector: ({ name }) => name, maxLength: 8 }),
      fc.option(fc.uniqueArray(fc.tuple(text, text), { selector: ([key]) => key, maxLength: 4 }), { nil: undefined }),
      async (tensors, pairs) => {
        const metadata = pairs && new Map(pairs);
        await writeSafetensors(path, { tensors, metadata });
        const source = await openSource(path);
        const back = await readSafetensors(source);
        expect(back.metadata).toEqual(metadata);
        expect(back.tensors.map(({ name, shape, type }) => ({ name, shape, type }))).toEqual(
          tensors.map(({ name, shape, type }) => ({ name, shape, type })),
        );
        for (const [i, { offset, byteLength }] of back.tensors.entries()) {
          expect(Buffer.compare(await source.read(offset, byteLength), tensors[i]!.data)).toBe(0);
        }
        await source.close();
      },
    );
    await fc.assert(property, { numRuns: 80 });
  });

  test("what SafeTensors can't hold is refused, and nothing is left behind", async () => {
    const path = join(directory, "never.safetensors");
    const f32 = { name: "t", shape: [2], type: "F32", data: new Uint8Array(8) };
    const refused = [
      [f32, f32],
      [{ ...f32, data: new Uint8Array(9) }],
      [{ ...f32, type: "I2_S" }],
      [{ ...f32, name: "__metadata__" }],
      [{ ...f32, shape: [-2] }],
    ];
    for (const tensors of refused) {
      await expect(writeSafetensors(path, { tensors })).rejects.toMatchObject({ name: "BitnetError", code: "internal" });
    }
    expect((await readdir(directory)).filter((name) => name.includes("never"))).toEqual([]);
  });
});

describe("index of shards", () => {
  test.each<readonly [string, string, RegExp]>([
    ["../x", `{"weight_map":{"a":"../x"}}`, /"a" should be in "..\/x", which is not a plain file name/],
    ["an absolute path", `{"weight_map":{"a":"/etc/passwd"}}`, /not a plain file name/],
    ["backslash", `{"weight_map":{"a":"..\\\\x"}}`, /not a plain file name/],
    ["..", `{"weight_map":{"a":".."}}`, /not a plain file name/],
    ["a drive", `{"weight_map":{"a":"c:x"}}`, /not a plain file name/],
    ["a line break", `{"weight_map":{"a":"x\\ny"}}`, /not a plain file name/],
    ["an empty name", `{"weight_map":{"a":""}}`, /not a plain file name/],
    ["no weight_map", `{"metadata":{"total_size":1}}`, /no weight_map/],
    ["an empty weight_map", `{"weight_map":{}}`, /no weight_map/],
    ["a number", `{"weight_map":{"a":1}}`, /should have/],
    ["twice the tensor", `{"weight_map":{"a":"x","a":"y"}}`, /"a" twice/],
    ["no JSON", "hello", /should have/],
    ["too many files", `{"weight_map":{${Array.from({ length: 600 }, (_, i) => `"${i}":"${i}"`).join(",")}}}`, /limit is 512/],
  ])("%s", async (_, json, message) => {
    const path = join(directory, "model.safetensors.index.json");
    await writeFile(path, json);
    const error = await failure(path, async () => {
      const source = await openSource(path);
      await readSafetensorsIndex(source).finally(() => source.close());
    });
    expect(error?.code).toBe("file");
    expect(error?.message).toMatch(message);
  });
});
