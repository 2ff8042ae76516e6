import { appendFile, mkdtemp, open, readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { GGMLQuantizationType, gguf as oracle } from "@huggingface/gguf";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openSource, openSourceSync } from "#host/files.js";
import { BitnetError } from "../errors.js";
import { THOROUGH } from "../thorough.test.helper.js";
import { openCheckpoint } from "./checkpoint.js";
import { GGML_TYPES, GGML_TYPES_BY_NAME, ggmlSpan } from "./ggml-types.js";
import { GGUF_VALUE_TYPES, type GgufEntry, type GgufFile, readGguf } from "./gguf.js";
import { writeGguf } from "./gguf-writer.js";
import { readPieces } from "./source.js";
import { StringList } from "./string-list.js";

const FIXTURES = [
  "models/bitnet-stories-4m/ggml-model-i2_s.gguf",
  "validation/fixtures/gguf/ggml-model-i2_s.gguf",
  "validation/fixtures/gguf/ggml-model-i2_s-arch-bitnet-25.gguf",
];

let directory = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "bitnet-gguf-"));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

async function read(path: string): Promise<GgufFile> {
  const source = await openSource(path);
  try {
    return await readGguf(source);
  } finally {
    await source.close();
  }
}

/** Lists of whatever kind as plain arrays. */
function plain(value: unknown): unknown {
  if (value instanceof StringList) return [...value];
  return ArrayBuffer.isView(value) ? Array.from(value as Uint8Array) : value;
}
const plainEntries = ({ entries }: GgufFile) => entries.map((entry) => ({ ...entry, value: plain(entry.value) }));

/** The error that opening gives, or the value of one of the keys; its form is checked here for all tests. */
async function failure(path: string): Promise<BitnetError> {
  try {
    const { metadata, close } = await openCheckpoint(path);
    await close();
    for (const key of metadata.keys()) metadata.get(key);
  } catch (error) {
    if (!(error instanceof BitnetError)) throw error;
    expect(error.message).toContain(path);
    expect(error.message).not.toMatch(/[\n\r]/);
    return error;
  }
  throw new Error(`${path} opened, but should not have`);
}

type Part = number | bigint | string | Uint8Array;

/** Little-endian bytes: numbers are u32, bigints u64, strings as GGUF has them (u64 length, UTF-8). */
function bytes(...parts: Part[]): Uint8Array {
  return Buffer.concat(
    parts.map((part) => {
      if (part instanceof Uint8Array) return part;
      if (typeof part === "string") return Buffer.concat([bytes(BigInt(Buffer.byteLength(part))), Buffer.from(part)]);
      const number = Buffer.alloc(typeof part === "number" ? 4 : 8);
      if (typeof part === "number") number.writeUInt32LE(part);
      else number.writeBigUInt64LE(part);
      return number;
    }),
  );
}

const MAGIC = Buffer.from("GGUF");

/** Writes crafted bytes and opens them. */
async function hostile(...parts: Part[]): Promise<BitnetError> {
  const path = join(directory, "hostile.gguf");
  await writeFile(path, bytes(...parts));
  return failure(path);
}

describe("reader against @huggingface/gguf", () => {
  test.each(FIXTURES)("%s: same metadata and tensors", async (path) => {
    const ours = await read(path);
    const theirs = await oracle(path, { allowLocalFile: true, typedMetadata: true });
    const typed: Record<string, { value: unknown; type: number; subType?: number } | undefined> = theirs.typedMetadata;
    expect(ours.version).toBe(theirs.metadata.version);
    expect(ours.entries.map(({ key }) => key)).toEqual(
      Object.keys(typed).filter((key) => !["version", "tensor_count", "kv_count"].includes(key)),
    );
    for (const { key, type, elementType, value } of plainEntries(ours)) {
      expect({ key, type, elementType, value }).toEqual({
        key,
        type: GGUF_VALUE_TYPES[typed[key]?.type ?? -1],
        elementType: typed[key]?.subType === undefined ? undefined : GGUF_VALUE_TYPES[typed[key].subType],
        value: typed[key]?.value,
      });
    }
    expect(ours.dataOffset).toBe(Number(theirs.tensorDataOffset));
    expect(ours.tensors.length).toBe(theirs.tensorInfos.length);
    for (const [i, { name, shape, dtype, offset }] of theirs.tensorInfos.entries()) {
      const tensor = ours.tensors[i]!;
      expect(tensor.name).toBe(name);
      expect([...tensor.shape].reverse()).toEqual(shape.map(Number));
      expect(GGML_TYPES_BY_NAME.get(tensor.type)?.id).toBe(dtype);
      expect(tensor.offset).toBe(ours.dataOffset + Number(offset));
    }
  });

  test("type names and ids are the oracle's; I2_S and the fork's types are ours alone", () => {
    const theirs = Object.entries(GGMLQuantizationType).filter(([, id]) => typeof id === "number");
    expect(theirs.length).toBeGreaterThan(30);
    const ours = GGML_TYPES.filter(({ name }) => !["I2_S", "Q2_0_128", "PQ2_0", "PTQ1_0"].includes(name)).map(({ name, id }) => [name, id]);
    expect(ours).toEqual(theirs.sort((a, b) => Number(a[1]) - Number(b[1])));
  });

  test("the spans are those between neighbours in real files", async () => {
    const { tensors, alignment } = await read(FIXTURES[0]!);
    expect(new Set(tensors.map(({ type }) => type))).toEqual(new Set(["F32", "F16", "I2_S"]));
    for (const [i, tensor] of tensors.slice(1).entries()) {
      const before = tensors[i]!;
      expect(tensor.offset).toBe(Math.ceil((before.offset + before.byteLength) / alignment) * alignment);
    }
    expect(ggmlSpan([768, 256], GGML_TYPES_BY_NAME.get("I2_S")!)).toEqual({ bytes: (768 * 256) / 4 + 32 });
    expect(tensors.find(({ name }) => name === "blk.0.ffn_up.weight")?.shape).toEqual([768, 256]);
  });
});

describe("writer", () => {
  test.each(FIXTURES)("%s: rewritten byte for byte", async (path) => {
    const source = await openSource(path);
    const { entries, tensors } = await readGguf(source);
    const copy = join(directory, "copy.gguf");
    await writeGguf(copy, {
      metadata: entries,
      tensors: tensors.map((tensor) => ({ ...tensor, data: readPieces(source, tensor.offset, tensor.byteLength) })),
    });
    await source.close();
    expect(Buffer.compare(await readFile(copy), await readFile(path))).toBe(0);
  });

  const element = {
    uint8: fc.integer({ min: 0, max: 255 }),
    int8: fc.integer({ min: -128, max: 127 }),
    uint16: fc.integer({ min: 0, max: 65535 }),
    int16: fc.integer({ min: -32768, max: 32767 }),
    uint32: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
    int32: fc.integer(),
    float32: fc.float({ noNaN: true }),
    bool: fc.boolean(),
    string: fc.oneof(fc.string({ unit: "grapheme" }), fc.string({ unit: "binary" })).filter((text) => !/\p{Surrogate}/u.test(text)),
    uint64: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    int64: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    float64: fc.double({ noNaN: true }),
  };
  type Scalar = keyof typeof element;
  const scalarTypes = GGUF_VALUE_TYPES.filter((type): type is Scalar => type !== "array");
  /** As the reader gives 64-bit integers. */
  const normal = (list: readonly unknown[]): unknown[] =>
    list.every((x) => typeof x === "bigint" && Number.isSafeInteger(Number(x))) ? list.map(Number) : [...list];
  const entry = fc
    .tuple(fc.string({ unit: "grapheme" }), fc.constantFrom(...scalarTypes), fc.boolean())
    .chain(([key, type, array]) =>
      array
        ? fc
            .array<unknown>(element[type], { maxLength: 20 })
            .map((list) => ({ key, type: "array", elementType: type, value: normal(list) }) as GgufEntry)
        : fc.tuple<[unknown]>(element[type]).map((one) => ({ key, type, value: normal(one)[0] }) as GgufEntry),
    );
  const tensor = fc
    .tuple(
      fc.string({ unit: "grapheme" }),
      fc.constantFrom(...GGML_TYPES.filter(({ name }) => !name.startsWith("Q2_0"))), // two have one id, and small ones take the same room
      fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 4 }),
    )
    .chain(([name, type, extents]) => {
      const shape = extents.map((extent, i) => (i === extents.length - 1 ? extent * type.blockElements : extent));
      const span = ggmlSpan(shape, type);
      const length = "bytes" in span ? span.bytes : -1;
      return fc.uint8Array({ minLength: length, maxLength: length }).map((data) => ({ name, shape, type: type.name, data }));
    });

  test("what is written is read again", async () => {
    const path = join(directory, "random.gguf");
    const property = fc.asyncProperty(
      fc.uniqueArray(entry, { selector: ({ key }) => key, maxLength: 12 }),
      fc.uniqueArray(tensor, { selector: ({ name }) => name, maxLength: 8 }),
      fc.constantFrom(undefined, 1, 8, 64, 4096),
      async (entries, tensors, alignment) => {
        const metadata: GgufEntry[] = entries.filter(({ key }) => key !== "general.alignment");
        if (alignment !== undefined) metadata.push({ key: "general.alignment", type: "uint32", value: alignment });
        await writeGguf(path, { metadata, tensors });
        const source = await openSource(path);
        const back = await readGguf(source);
        expect(back.alignment).toBe(alignment ?? 32);
        expect(plainEntries(back)).toEqual(metadata);
        expect(back.tensors.map(({ name, shape, type }) => ({ name, shape, type }))).toEqual(
          tensors.map(({ name, shape, type }) => ({ name, shape, type })),
        );
        for (const [i, { offset, byteLength }] of back.tensors.entries()) {
          expect(offset % back.alignment).toBe(0);
          expect(Buffer.compare(await source.read(offset, byteLength), tensors[i]!.data)).toBe(0);
        }
        await source.close();
      },
    );
    await fc.assert(property, { numRuns: THOROUGH ? 80 : 40 });
  });

  test("a vocabulary longer than the first read comes back whole", async () => {
    const path = join(directory, "vocabulary.gguf");
    const value = Array.from(
      { length: 150_000 },
      (_, i) => ["Ġthe ", "plain", "", "日本", "🦙", "\ufeffx", "\0"][i % 7] + String(i * 7919),
    );
    await writeGguf(path, { metadata: [{ key: "tokens", type: "array", elementType: "string", value }], tensors: [] });
    expect((await stat(path)).size).toBeGreaterThan(2 ** 21);
    expect(plainEntries(await read(path))[0]?.value).toEqual(value);
  });

  /** The strings of crafted bytes the plain way: one by one, in order; undefined if they don't fit or are not UTF-8. */
  const eager = (file: Uint8Array, at: number, count: number): string[] | undefined => {
    const strings: string[] = [];
    const view = new DataView(file.buffer, file.byteOffset, file.length);
    for (let i = 0; i < count; i++) {
      if (at + 8 > file.length) return undefined;
      const length = view.getBigUint64(at, true);
      at += 8;
      if (length > BigInt(file.length - at)) return undefined;
      try {
        strings.push(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(file.subarray(at, at + Number(length))));
      } catch {
        return undefined;
      }
      at += Number(length);
    }
    return strings;
  };
  // Parts of characters too, and lengths around 128, from which on a length's own bytes are no longer UTF-8.
  const content = fc.oneof(
    { weight: 6, arbitrary: fc.string({ unit: "binary", maxLength: 8 }).map((text) => new Uint8Array(Buffer.from(text))) },
    { weight: 2, arbitrary: fc.integer({ min: 100, max: 300 }).map((length) => new Uint8Array(length).fill(0x61)) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 2 }) },
  );

  const seldom = <T>(arbitrary: fc.Arbitrary<T>) => fc.oneof({ weight: 3, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary });

  test("a list of strings is what decoding one by one gives, whatever its bytes; else it is refused", async () => {
    const path = join(directory, "list.gguf");
    const seen = { read: 0, refused: 0 };
    const property = fc.asyncProperty(
      fc.array(content, { minLength: 1, maxLength: 8 }),
      seldom(fc.tuple(fc.nat(), fc.constantFrom(-1n, 1n, 20n, 127n, 128n, 2n ** 31n, 2n ** 32n, 2n ** 63n))),
      seldom(fc.nat({ max: 40 })),
      async (contents, lie, cut) => {
        const liar = lie ? lie[0] % contents.length : -1;
        const parts = contents.flatMap((part, i) => [BigInt.asUintN(64, BigInt(part.length) + (i === liar ? lie![1] : 0n)), part]);
        const head = bytes(MAGIC, 3, 0n, 1n, "k", 9, 8, BigInt(contents.length));
        const whole = bytes(head, ...parts);
        const file = whole.subarray(0, Math.max(head.length, whole.length - (cut ?? 0)));
        await writeFile(path, file);
        const expected = eager(file, head.length, contents.length);
        if (expected === undefined) {
          seen.refused++;
          const error = await failure(path);
          expect(error.code).toBe("file");
          expect(error.message).toMatch(/truncated|not valid UTF-8|more than the rest/);
          return;
        }
        seen.read++;
        const { value } = (await read(path)).entries[0]!;
        if (!(value instanceof StringList)) throw new Error("not a list of strings");
        expect([...value]).toEqual(expected);
        expect([value.length, value.at(value.length - 1), value.at(value.length), value.at(-1)]).toEqual([
          expected.length,
          expected.at(-1),
          undefined,
          undefined,
        ]);
        expect(StringList.from(expected)).toMatchObject({ bytes: value.bytes, starts: value.starts });
      },
    );
    await fc.assert(property, { numRuns: THOROUGH ? 300 : 100 });
    expect(Math.min(seen.read, seen.refused)).toBeGreaterThan(10);
  });

  test("64-bit integers: numbers where exact, else bigint", async () => {
    const path = join(directory, "wide.gguf");
    const metadata: GgufEntry[] = [
      { key: "a", type: "uint64", value: 2 ** 53 - 1 },
      { key: "b", type: "uint64", value: 2n ** 53n },
      { key: "c", type: "int64", value: -(2n ** 63n) },
      { key: "d", type: "array", elementType: "int64", value: [-1n, 2n ** 60n] },
      { key: "e", type: "array", elementType: "int64", value: [-1, 1 - 2 ** 53] },
    ];
    await writeGguf(path, { metadata, tensors: [] });
    expect(plainEntries(await read(path))).toEqual(metadata);
  });

  test("what GGUF can't hold is refused, and nothing is left behind", async () => {
    const path = join(directory, "never.gguf");
    const f32 = { name: "t", shape: [2], type: "F32", data: new Uint8Array(8) };
    const refused: Parameters<typeof writeGguf>[1][] = [
      { metadata: [{ key: "x", type: "uint8", value: 256 }], tensors: [] },
      { metadata: [{ key: "x", type: "int32", value: 0.5 }], tensors: [] },
      { metadata: [{ key: "x", type: "string", value: 1 }], tensors: [] },
      { metadata: [{ key: "x", type: "bool", value: 1 }], tensors: [] },
      { metadata: [{ key: "general.alignment", type: "uint32", value: 24 }], tensors: [] },
      { metadata: [], tensors: [f32, f32] },
      { metadata: [], tensors: [{ ...f32, data: new Uint8Array(7) }] },
      { metadata: [], tensors: [{ ...f32, type: "Q4_0" }] },
      { metadata: [], tensors: [{ ...f32, type: "NONE" }] },
      { metadata: [], tensors: [{ ...f32, shape: [0] }] },
    ];
    for (const content of refused) {
      await expect(writeGguf(path, content)).rejects.toMatchObject({ name: "BitnetError", code: "internal" });
    }
    expect((await readdir(directory)).filter((name) => name.includes("never"))).toEqual([]);
  });
});

describe("files of more than 4 GiB", () => {
  test("the last tensor lies beyond 4 GiB", async () => {
    const path = join(directory, "large.gguf");
    const far = 5 * 2 ** 30;
    const header = bytes(MAGIC, 3, 2n, 0n, "near", 1, BigInt(far), 24, 0n, "far", 1, 4n, 24, BigInt(far));
    const dataOffset = Math.ceil(header.length / 32) * 32;
    await writeFile(path, header);
    await truncate(path, dataOffset + far); // sparse: takes no room on the disk
    await appendFile(path, Uint8Array.of(1, 2, 3, 4));
    const checkpoint = await openCheckpoint(path);
    const tensor = checkpoint.tensors.get("far")!;
    expect(tensor.offset).toBe(dataOffset + far);
    await checkpoint.close();
    const source = await openSource(path);
    expect(await source.read(tensor.offset + 1, 3)).toEqual(Uint8Array.of(2, 3, 4));
    await source.close();
    const sync = openSourceSync(path);
    const shared = new Uint8Array(new SharedArrayBuffer(8), 2, 4);
    sync.readInto(shared, tensor.offset);
    sync.close();
    expect([...shared]).toEqual([1, 2, 3, 4]);
    await rm(path);
  });
});

describe("hostile headers", () => {
  const tensor = (name: string, dims: readonly bigint[], type: number, offset: bigint) => bytes(name, dims.length, ...dims, type, offset);
  const one = (...parts: Part[]) => hostile(MAGIC, 3, 1n, 0n, ...parts, new Uint8Array(256));
  const entry = (...parts: Part[]) => hostile(MAGIC, 3, 0n, 1n, ...parts);
  const huge = 2n ** 64n - 1n;

  test.each<readonly [string, () => Promise<BitnetError>, string, RegExp]>([
    ["big-endian version 1", () => hostile(MAGIC, 0x01000000, 0n, 0n), "unsupported", /big-endian/],
    ["big-endian version 2", () => hostile(MAGIC, 0x02000000, 0n, 0n), "unsupported", /big-endian/],
    ["version 1", () => hostile(MAGIC, 1, 0n, 0n), "unsupported", /version 1/],
    ["version 4", () => hostile(MAGIC, 4, 0n, 0n), "unsupported", /version 4/],
    ["big-endian", () => hostile(MAGIC, 0x03000000, 0n, 0n), "unsupported", /big-endian/],
    ["four bytes", () => hostile(MAGIC), "file", /truncated/],
    ["tensor count", () => hostile(MAGIC, 3, huge, 0n), "file", /more than the file could hold/],
    ["entry count", () => hostile(MAGIC, 3, 0n, huge, new Uint8Array(1000)), "file", /more than the file could hold/],
    ["entry count by one", () => hostile(MAGIC, 3, 0n, 2n, "k", 7, Uint8Array.of(1)), "file", /more than the file could hold/],
    [
      "too many entries",
      () => hostile(MAGIC, 3, 0n, 2n ** 17n, new Uint8Array(2 ** 21)),
      "unsupported",
      /131072 metadata entries; the limit is 65536/,
    ],
    [
      "too many tensors",
      () => hostile(MAGIC, 3, 2n ** 17n, 0n, new Uint8Array(2 ** 23)),
      "unsupported",
      /131072 tensors; the limit is 65536/,
    ],
    [
      "too many truth values",
      () => entry("k", 9, 7, 2n ** 21n, new Uint8Array(2 ** 21)),
      "unsupported",
      /"k" has 2097152 booleans .*; the limit is 1048576/,
    ],
    [
      "too many truth values in all",
      () => hostile(MAGIC, 3, 0n, 2n, ...["a", "b"].flatMap((key) => [key, 9, 7, 2n ** 20n, new Uint8Array(2 ** 20)])),
      "unsupported",
      /"b" has 1048576 booleans .*, and arrays before it 1048576; the limit is 1048576/,
    ],
    ["key length", () => entry(huge, new Uint8Array(16)), "file", /truncated/],
    ["string not UTF-8", () => entry("k", 8, 2n, Uint8Array.of(0xc3, 0x28)), "file", /"k" is not valid UTF-8/],
    ["general.architecture not UTF-8", () => entry("general.architecture", 8, 1n, Uint8Array.of(0xff)), "file", /not valid UTF-8/],
    ["tensor's name not UTF-8", () => one(1n, Uint8Array.of(0xff), 1, 4n, 0, 0n), "file", /not valid UTF-8/],
    ["value type", () => entry("k", 13, 0n), "file", /type 13/],
    ["truth value", () => entry("k", 7, Uint8Array.of(2)), "file", /boolean with the value 2/],
    ["string length", () => entry("k", 8, huge), "file", /truncated/],
    ["array length", () => entry("k", 9, 0, huge), "file", /more than the rest/],
    ["array length × size", () => entry("k", 9, 10, 2n ** 61n), "file", /more than the rest/],
    ["array of strings that ends early", () => entry("k", 9, 8, 2n, "a", 9n), "file", /truncated/],
    [
      "array of strings cut inside a character",
      () => entry("k", 9, 8, 2n, 1n, Uint8Array.of(0xc3), 1n, Uint8Array.of(0xa9)),
      "file",
      /not valid UTF-8/,
    ],
    ["array element type", () => entry("k", 9, 99, 0n), "file", /type 99/],
    ["array of arrays", () => entry("k", 9, 9, 1n, 9, 1n, 9, 0n), "unsupported", /has nested arrays/],
    ["twice the key", () => hostile(MAGIC, 3, 0n, 2n, "k", 4, 1, "k", 4, 1), "file", /"k" twice/],
    ["alignment 0", () => entry("general.alignment", 4, 0), "file", /power of two/],
    ["alignment 24", () => entry("general.alignment", 4, 24), "file", /power of two/],
    ["alignment 2^31", () => entry("general.alignment", 4, 2 ** 31), "file", /power of two/],
    ["alignment as string", () => entry("general.alignment", 8, "32"), "file", /integer that is a power of two/],
    [
      "twice the alignment",
      () => hostile(MAGIC, 3, 0n, 2n, ..."ab".split("").flatMap(() => ["general.alignment", 4, 32])),
      "file",
      /twice/,
    ],
    ["no dimensions", () => one(tensor("t", [], 0, 0n)), "file", /0 dimensions/],
    ["2^32 - 1 dimensions", () => one("t", 2 ** 32 - 1), "file", /dimensions/],
    ["extent 0", () => one(tensor("t", [4n, 0n], 0, 0n)), "file", /impossible shape/],
    ["extent 2^64 - 1", () => one(tensor("t", [huge], 0, 0n)), "file", /impossible shape/],
    ["product over 2^64", () => one(tensor("t", [2n ** 32n, 2n ** 32n, 4n], 0, 0n)), "file", /impossible shape/],
    ["bytes over 2^53", () => one(tensor("t", [2n ** 53n - 1n], 0, 0n)), "file", /impossible shape/],
    ["row of half a block", () => one(tensor("t", [16n, 2n], 2, 0n)), "file", /multiple of 32/],
    ["unknown type", () => one(tensor("t", [4n], 77, 0n)), "unsupported", /tensor "t" has the unknown type id 77/],
    [
      "ik_llama.cpp's type",
      () => one(tensor("t", [4n], 135, 0n)),
      "unsupported",
      /135, ik_llama.cpp's IQ2_BN, which is not supported; get/,
    ],
    ["ik_llama.cpp's last type in a row", () => one(tensor("t", [4n], 154, 0n)), "unsupported", /154, ik_llama.cpp's IQ3_KT,/],
    ["ik_llama.cpp's interleaved type", () => one(tensor("t", [4n], 230, 0n)), "unsupported", /230, an ik_llama.cpp type with/],
    ["bitnet.cpp's TL1", () => one(tensor("t", [4n], 38, 0n)), "unsupported", /38, bitnet.cpp's TL1,/],
    ["offset not aligned", () => one(tensor("t", [4n], 0, 8n)), "file", /not a multiple of 32/],
    ["offset 2^64 - 32", () => one(tensor("t", [4n], 0, 2n ** 64n - 32n)), "file", /would end at byte/],
    ["past the end", () => one(tensor("t", [1024n], 0, 0n)), "file", /would end at byte \d+, but the file ends at byte \d+/],
    [
      "twice the name",
      () => hostile(MAGIC, 3, 2n, 0n, tensor("t", [4n], 0, 0n), tensor("t", [4n], 0, 32n), new Uint8Array(99)),
      "file",
      /"t" twice/,
    ],
    [
      "overlap",
      () => hostile(MAGIC, 3, 2n, 0n, tensor("a", [16n], 0, 0n), tensor("b", [4n], 0, 32n), new Uint8Array(128)),
      "file",
      /"a" of type F32 \(id 0\) and shape \[16\] takes 64 bytes, but up to "b" there are 32/,
    ],
    ["a name of many lines", () => one(tensor("a\n\u001b[31m\u2028b", [4n], 77, 0n)), "unsupported", /"a\\n\\u001b\[31m\\u\{2028\}b"/],
  ])("%s", async (_, run, code, message) => {
    const error = await run();
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
  });

  test("the same header without a fault opens", async () => {
    const path = join(directory, "good.gguf");
    await writeFile(path, bytes(MAGIC, 2, 1n, 1n, "k", 9, 8, 1n, "é", "t", 2, 4n, 2n, 0, 0n, new Uint8Array(60)));
    const file = await read(path);
    const { version, tensors } = file;
    expect(version).toBe(2);
    expect(plainEntries(file)).toEqual([{ key: "k", type: "array", elementType: "string", value: ["é"] }]);
    expect(tensors).toMatchObject([{ name: "t", shape: [2, 4], type: "F32", byteLength: 32 }]);
  });
});

describe("a type and the bytes that are there", () => {
  /** A file of tensors of one type id in a row, each padded to 32 bytes, the last as `tail` says. */
  async function row(id: number, shape: readonly bigint[], spans: readonly number[], tail: number): Promise<string> {
    const path = join(directory, "row.gguf");
    const parts: Part[] = [MAGIC, 3, BigInt(spans.length), 0n];
    let offset = 0;
    for (const [i, span] of spans.entries()) {
      parts.push(`t${i}`, shape.length, ...shape, id, BigInt(offset));
      offset += i === spans.length - 1 ? span + tail : Math.ceil(span / 32) * 32;
    }
    const header = bytes(...parts);
    await writeFile(path, bytes(header, new Uint8Array(Math.ceil(header.length / 32) * 32 - header.length + offset)));
    return path;
  }

  test.each(["Q2_0", "Q2_0_128"])("%s is told from the other type with its id by the span", async (name) => {
    const { id, blockElements, blockBytes } = GGML_TYPES_BY_NAME.get(name)!;
    const span = (elements: number) => (elements / blockElements) * blockBytes;
    for (const tail of [0, 7]) {
      const { tensors } = await read(await row(id, [384n, 7n], [span(2688), span(2688)], tail));
      expect(tensors.map(({ type, byteLength }) => [type, byteLength])).toEqual([
        [name, span(2688)],
        [name, span(2688)],
      ]);
    }
    // [128] alone takes 64 bytes either way; beside a larger one there is no doubt.
    const path = join(directory, "small.gguf");
    const info = (t: string, n: number, offset: number) => bytes(t, 1, BigInt(n), id, BigInt(offset));
    const header = bytes(MAGIC, 3, 2n, 0n, info("a", 128, 0), info("b", 4096, 64));
    const padding = Math.ceil(header.length / 32) * 32 - header.length;
    await writeFile(path, bytes(header, new Uint8Array(padding + 64 + span(4096))));
    expect((await read(path)).tensors.map(({ type }) => type)).toEqual([name, name]);
  });

  test.each([
    ["PQ2_0", 142, 714],
    ["PTQ1_0", 143, 588],
  ])("a fork's %s", async (name, id, span) => {
    const { tensors } = await read(await row(id, [384n, 7n], [span, span], 0));
    expect(tensors.map(({ type, byteLength }) => [type, byteLength])).toEqual([
      [name, span],
      [name, span],
    ]);
    expect(GGML_TYPES_BY_NAME.get(name)?.id).toBe(id);
  });

  test("neither: the error says what is there, what it would take, and what would fit", async () => {
    const error = await failure(await row(42, [1024n], [1056, 288], 0));
    expect(error).toMatchObject({ code: "file", tensor: "t0" });
    expect(error.message).toMatch(
      /"t0" of type Q2_0 \(id 42\) and shape \[1024\] takes 288 bytes, but up to "t1" there are 1056, so some belong to no tensor \(at byte 96\)/,
    );
    const tq = await failure(await row(42, [1024n], [264], 0));
    expect(tq.message).toMatch(/takes 288 bytes, but up to the end of the file there are 264, as many as IQ2_XXS, TQ2_0 would take/);
  });

  test.each([
    ["F32 as I2_S", 36, [128n], 512, /takes 64 bytes, .* as many as F32, .*would take/],
    ["I2_S without its tail", 36, [256n, 4n], 256, /takes 288 bytes, but up to "t1" there are 256/],
    ["F16 as BF16's neighbour F64", 28, [64n], 128, /as many as F16, .*BF16.* would take/],
  ] as const)("%s is refused", async (_, id, shape, span, message) => {
    expect((await failure(await row(id, shape, [span, span], 0))).message).toMatch(message);
  });

  test("a last tensor that takes more than there is", async () => {
    expect((await failure(await row(36, [256n, 4n], [256], 0))).message).toMatch(/would end at byte/);
  });

  test("the other meaning of an id, where the bytes don't fit", async () => {
    expect((await failure(await row(39, [256n], [64, 64], 0))).message).toMatch(/MXFP4 .*, so it may be bitnet.cpp's TL2,/);
    expect((await failure(await row(142, [1024n, 4n], [1040, 1040], 0))).message).toMatch(
      /PQ2_0 \(id 142\) .*, so it may be ik_llama.cpp's IQ2_TN,/,
    );
  });

  test("a hole between tensors is refused; bytes after the last are ignored, however many", async () => {
    const f32 = (spans: readonly number[], tail: number) => row(0, [8n], spans, tail);
    expect((await failure(await f32([64, 32], 0))).message).toMatch(/"t0" .* takes 32 bytes, but up to "t1" there are 64/);
    for (const tail of [0, 1, 31, 32, 4096]) {
      const path = await f32([32, 32], tail);
      await appendFile(path, Uint8Array.of(7)); // zeros or not
      expect((await read(path)).tensors.map(({ byteLength }) => byteLength)).toEqual([32, 32]);
    }
  });

  test("bytes behind the last tensor leave a type that shares its id known, or are refused", async () => {
    const { id } = GGML_TYPES_BY_NAME.get("Q2_0_128")!;
    const types = async (spans: readonly number[], tail: number) =>
      (await read(await row(id, [4096n], spans, tail))).tensors.map(({ type }) => type);
    expect(await types([1088, 1088], 4096)).toEqual(["Q2_0_128", "Q2_0_128"]);
    expect(await types([1152, 1152], 4096)).toEqual(["Q2_0", "Q2_0"]);
    // 18 bytes for 64 columns and 34 for 128 both come to 32, padded.
    expect((await read(await row(id, [64n], [32, 32], 0))).tensors.map(({ type }) => type)).toEqual(["Q2_0", "Q2_0"]); // no whole 128
    expect((await failure(await row(id, [128n], [64, 64], 0))).message).toMatch(
      /could have any of the types Q2_0 and Q2_0_128, which share the id 42: with such wide padding between tensors, they can't be told apart/,
    );
    expect((await failure(await row(id, [4096n], [1152], 4096))).message).toMatch(
      /could have any of the types Q2_0 and Q2_0_128, which share the id 42/,
    );
  });
});

describe("metadata that the engine does not use", () => {
  /** Opens crafted metadata entries, one after the other. */
  async function opened(count: number, ...parts: Part[]): Promise<ReadonlyMap<string, unknown>> {
    const path = join(directory, "useless.gguf");
    await writeFile(path, bytes(MAGIC, 3, 0n, BigInt(count), ...parts));
    const { metadata, close } = await openCheckpoint(path);
    await close();
    return metadata;
  }
  const latin1 = Uint8Array.of(0x46, 0xfc, 0x72); // "Für"

  test.each<readonly [string, readonly Part[]]>([
    ["a string that is not UTF-8", [8, 3n, latin1]],
    ["a list with a string that is not UTF-8", [9, 8, 2n, "a", 3n, latin1]],
    ["a list of strings cut inside a character", [9, 8, 2n, 1n, Uint8Array.of(0xc3), 1n, Uint8Array.of(0xa9)]],
    ["a truth value of 2", [7, Uint8Array.of(2)]],
    ["a list with a truth value of 2", [9, 7, 2n, Uint8Array.of(1, 2)]],
    ["arrays in arrays", [9, 9, 2n, 8, 1n, "a", 9, 1n, 4, 2n, 7, 8]],
    ["an empty array of arrays", [9, 9, 0n]],
    ["too many truth values", [9, 7, 2n ** 20n + 1n, new Uint8Array(2 ** 20 + 1)]],
    ["too many elements", [9, 0, 2n ** 23n + 1n, new Uint8Array(2 ** 23 + 1)]],
  ])("%s: an error only if it is used", async (_, value) => {
    const metadata = await opened(3, "before", 4, 1, "k", ...value, "behind", 4, 2);
    expect([metadata.get("before"), metadata.get("behind")]).toEqual([1, 2]);
    expect(() => metadata.get("k")).toThrow(/the metadata "k" /);
  });

  test("a key that comes twice, or is not UTF-8", async () => {
    const metadata = await opened(4, "k", 4, 1, "k", 4, 1, 3n, latin1, 4, 2, "behind", 4, 3);
    expect(metadata.get("behind")).toBe(3);
    expect(metadata.get("F\ufffdr")).toBe(2);
    expect(() => metadata.get("k")).toThrow(/the file has the metadata key "k" twice/);
  });

  test("empty arrays and numbers that are none", async () => {
    const nan = new Uint8Array(Float32Array.of(Number.NaN).buffer);
    const metadata = await opened(3, "general.a", 9, 4, 0n, "general.b", 9, 8, 0n, "general.c", 6, nan);
    expect(metadata.get("general.c")).toBeNaN();
    expect([...metadata.keys()].map((key) => plain(metadata.get(key)))).toEqual([[], [], Number.NaN]);
  });

  test("what general.* says for people is shown as well as it can be", async () => {
    const metadata = await opened(2, "general.name", 8, 3n, latin1, "general.tags", 9, 8, 1n, 3n, latin1);
    expect(metadata.get("general.name")).toBe("F\ufffdr");
    expect(() => metadata.get("general.tags")).not.toThrow();
  });

  test("is written again byte for byte", async () => {
    const path = join(directory, "again.gguf");
    const copy = join(directory, "copied.gguf");
    const parts = ["a", 8, 3n, latin1, "b", 9, 9, 2n, 8, 1n, "a", 9, 1n, 4, 2n, 7, 8, "c", 7, Uint8Array.of(9), "d", 9, 8, 1n, 3n, latin1];
    const header = bytes(MAGIC, 3, 0n, 4n, ...parts);
    const file = bytes(header, new Uint8Array(Math.ceil(header.length / 32) * 32 - header.length));
    await writeFile(path, file);
    await writeGguf(copy, { metadata: (await read(path)).entries, tensors: [] });
    expect(Buffer.compare(await readFile(copy), file)).toBe(0);
  });

  test("but the end of a value must be known", async () => {
    for (const parts of [
      ["k", 13, 0n],
      ["k", 9, 99, 0n],
      ["k", 9, 9, 1n, 99, 1n],
      ["k", 8, 99n],
      ["k", 9, 9, 2n ** 60n],
    ] as Part[][]) {
      expect((await hostile(MAGIC, 3, 0n, 1n, ...parts, new Uint8Array(20))).code).toMatch(/file|unsupported/);
      await expect(opened(1, ...parts)).rejects.toBeInstanceOf(BitnetError);
    }
    const nested = Array.from({ length: 50 }, () => [9, 1n]).flat();
    await expect(opened(1, "k", 9, ...nested, 0, 0n)).rejects.toThrow(/has nested arrays/);
  });
});

describe("damage", () => {
  /** Opens, or fails as it should. */
  async function survive(path: string): Promise<boolean> {
    try {
      await (await openCheckpoint(path)).close();
      return true;
    } catch (error) {
      expect(error).toBeInstanceOf(BitnetError);
      if (error instanceof BitnetError) {
        expect(["file", "unsupported", "tensor"]).toContain(error.code);
        expect(error.message).toContain(path);
        expect(error.message).not.toMatch(/[\n\r]/);
      }
      return false;
    }
  }

  test("a file cut anywhere is refused", async () => {
    const path = join(directory, "cut.gguf");
    const good = await readFile(FIXTURES[0]!);
    const { tensors, dataOffset } = await read(FIXTURES[0]!);
    const needed = Math.max(...tensors.map(({ offset, byteLength }) => offset + byteLength));
    const length = fc.oneof(
      fc.integer({ min: 0, max: 300 }),
      fc.integer({ min: 0, max: dataOffset }),
      fc.integer({ min: 0, max: needed - 1 }),
    );
    const property = fc.asyncProperty(length, async (end) => {
      await writeFile(path, good.subarray(0, end));
      expect(await survive(path)).toBe(false);
    });
    await fc.assert(property, { numRuns: THOROUGH ? 100 : 40 });
    await writeFile(path, good.subarray(0, needed));
    expect(await survive(path)).toBe(true);
  });

  test("any byte of the header changed: opens or is refused in one line", async () => {
    const path = join(directory, "flipped.gguf");
    await writeFile(path, await readFile(FIXTURES[0]!));
    const { entries, dataOffset } = await read(FIXTURES[0]!);
    expect(entries.length).toBeGreaterThan(10);
    const place = fc.oneof(
      fc.integer({ min: 0, max: 1500 }),
      fc.integer({ min: dataOffset - 3000, max: dataOffset - 1 }),
      fc.integer({ min: 0, max: dataOffset - 1 }),
    );
    const file = await open(path, "r+");
    let refused = 0;
    const property = fc.asyncProperty(place, fc.integer({ min: 1, max: 255 }), async (at, change) => {
      const byte = Buffer.alloc(1);
      await file.read(byte, 0, 1, at);
      const before = byte[0]!;
      await file.write(Uint8Array.of(before ^ change), 0, 1, at);
      if (!(await survive(path))) refused++;
      await file.write(Uint8Array.of(before), 0, 1, at);
    });
    await fc.assert(property, { numRuns: THOROUGH ? 250 : 80 });
    await file.close();
    expect(refused).toBeGreaterThan(8);
    expect(await survive(path)).toBe(true);
  });
});

test("blocks are as large as the structs of ggml-common.h, field by field", () => {
  const half = 2;
  const structs: Readonly<Record<string, readonly [elements: number, bytes: number]>> = {
    ...{ F32: [1, 4], F16: [1, 2], BF16: [1, 2], F64: [1, 8], I8: [1, 1], I16: [1, 2], I32: [1, 4], I64: [1, 8] },
    ...{ Q4_0: [32, half + 16], Q4_1: [32, 2 * half + 16], Q5_0: [32, half + 4 + 16], Q5_1: [32, 2 * half + 4 + 16] },
    ...{ Q8_0: [32, half + 32], Q8_1: [32, 2 * half + 32], Q1_0: [128, half + 16], Q2_0: [64, half + 16] },
    ...{ Q2_K: [256, 16 + 64 + 2 * half], Q3_K: [256, 32 + 64 + 12 + half], Q4_K: [256, 2 * half + 12 + 128] },
    ...{ Q5_K: [256, 2 * half + 12 + 32 + 128], Q6_K: [256, 128 + 64 + 16 + half], Q8_K: [256, 4 + 256 + 16 * 2] },
    ...{ IQ2_XXS: [256, half + 32 * 2], IQ2_XS: [256, half + 32 * 2 + 8], IQ2_S: [256, half + 64 + 8 + 8] },
    ...{ IQ3_XXS: [256, half + 3 * 32], IQ3_S: [256, half + 64 + 8 + 32 + 4], IQ1_S: [256, half + 32 + 8 * 2], IQ1_M: [256, 32 + 16 + 8] },
    ...{ IQ4_NL: [32, half + 16], IQ4_XS: [256, half + 2 + 4 + 128], TQ1_0: [256, 48 + 4 + half], TQ2_0: [256, 64 + half] },
    ...{ MXFP4: [32, 1 + 16], NVFP4: [64, 4 + 32] },
  };
  for (const [name, [elements, size]] of Object.entries(structs))
    expect(GGML_TYPES_BY_NAME.get(name), name).toMatchObject({ blockElements: elements, blockBytes: size });
  // The others are forks' own.
  expect(GGML_TYPES.map(({ name }) => name).filter((name) => !(name in structs))).toEqual(["I2_S", "Q2_0_128", "PQ2_0", "PTQ1_0"]);
});

test("a small header takes one small piece of a file", async () => {
  const source = await openSource(FIXTURES[0]!);
  try {
    const lengths: number[] = [];
    const read = (at: number, length: number): Promise<Uint8Array> => {
      lengths.push(length);
      return source.read(at, length);
    };
    const counted = { path: source.path, size: source.size, read };
    await readGguf(counted as unknown as typeof source);
    expect(lengths).toEqual([2 ** 18]);
  } finally {
    await source.close();
  }
});
