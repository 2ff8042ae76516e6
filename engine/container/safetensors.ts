import { writeAtomic } from "#host/files.js";
import { BitnetError } from "../errors.js";
import type { ByteSource } from "../host/files.js";
import { JsonReader } from "./json.js";
import { firstDuplicate, isPlainName } from "./names.js";
import { quote } from "./quote.js";
import type { NewTensor, TensorInfo } from "./tensor.js";

/** Bits of one element of each dtype, as the reference implementation has them. */
const DTYPE_BITS: ReadonlyMap<string, number> = new Map([
  ["BOOL", 8],
  ["F4", 4],
  ["F6_E2M3", 6],
  ["F6_E3M2", 6],
  ["U8", 8],
  ["I8", 8],
  ["F8_E5M2", 8],
  ["F8_E4M3", 8],
  ["F8_E8M0", 8],
  ["F8_E4M3FNUZ", 8],
  ["F8_E5M2FNUZ", 8],
  ["I16", 16],
  ["U16", 16],
  ["F16", 16],
  ["BF16", 16],
  ["I32", 32],
  ["U32", 32],
  ["F32", 32],
  ["C64", 64],
  ["F64", 64],
  ["I64", 64],
  ["U64", 64],
]);

/** The reference implementation's own limit for the header. */
const MAX_HEADER_BYTES = 100_000_000;

/** More than any tensor has, few enough that a hostile shape takes no memory. */
const MAX_DIMS = 16;

/** An index of a trillion-parameter model has 20 MB. */
const MAX_INDEX_BYTES = 100_000_000;

/** All shards are open at once, and systems allow a process some 1,000 files. */
const MAX_SHARDS = 512;

/** The header's length, before the header. */
const LENGTH_BYTES = 8;

/** What one file says: its tensors, each checked against the file. */
export interface SafetensorsFile {
  /** In the order of the header. */
  readonly tensors: readonly TensorInfo[];
  /** The `__metadata__` strings; undefined where there is no such key. */
  readonly metadata: ReadonlyMap<string, string> | undefined;
}

/** Bytes of a tensor, or why it can't be. */
function span(
  shape: readonly number[],
  dtype: string,
): { readonly bytes: number } | { readonly fault: string; readonly code: "file" | "unsupported" } {
  const bits = DTYPE_BITS.get(dtype);
  if (bits === undefined) return { fault: `has the unknown dtype ${quote(dtype)}`, code: "unsupported" };
  const size = shape.reduce((product, extent) => product * extent, bits);
  // A product that passed 2^53 on the way to a zero is no overflow for us: nothing is read.
  if (!Number.isSafeInteger(size) || !shape.every((extent) => Number.isSafeInteger(extent) && extent >= 0))
    return { fault: `has an impossible shape [${shape.join(", ")}]`, code: "file" };
  if (size % 8 !== 0) return { fault: "doesn't end at a whole byte", code: "file" };
  return { bytes: size / 8 };
}

/** Reads one tensor's entry; offsets in it count from `dataOffset`. */
function readTensor(json: JsonReader, name: string, path: string, dataOffset: number, dataBytes: number): TensorInfo {
  const what = `the tensor ${quote(name)}`;
  let dtype: string | undefined;
  let shape: number[] | undefined;
  let offsets: number[] | undefined;
  const fail = (message: string, code: "file" | "unsupported" = "file"): never => {
    throw new BitnetError(code, `${path}: ${what} ${message}`, { file: path, tensor: name });
  };
  const counts = (field: string, limit: number): number[] => {
    const list: number[] = [];
    json.array(`the ${field} of ${what}`, () => {
      if (list.length === limit) fail(`has a ${field} of more than ${limit} numbers`);
      list.push(json.count(`the ${field} of ${what}`));
    });
    return list;
  };
  json.object(what, (key) => {
    if (key === "dtype") dtype = json.string(`the dtype of ${what}`);
    else if (key === "shape") shape = counts("shape", MAX_DIMS);
    else if (key === "data_offsets") offsets = counts("data_offsets", 2);
    else json.skip(what);
  });
  const [begin, end] = offsets ?? [];
  if (dtype === undefined || shape === undefined || begin === undefined || end === undefined)
    return fail("has no dtype, no shape, or not two data_offsets");
  if (begin > end) fail(`ends at byte ${end} of the data, before it begins at ${begin}`);
  if (end > dataBytes)
    fail(`would end at byte ${dataOffset + end}, but the file ends at byte ${dataOffset + dataBytes}: it is truncated or damaged`);
  const size = span(shape, dtype);
  if ("fault" in size) return fail(size.fault, size.code);
  if (end - begin !== size.bytes) fail(`has ${end - begin} bytes, but ${dtype} [${shape.join(", ")}] requires ${size.bytes}`);
  return { name, shape, type: dtype, file: path, offset: dataOffset + begin, byteLength: size.bytes };
}

/** The format asks that tensors cover the data section without overlap or hole: otherwise a file could hide bytes, or be cut unseen. */
function requireCoverage(tensors: readonly TensorInfo[], source: ByteSource, dataOffset: number): void {
  const { path, size } = source;
  let covered = dataOffset;
  for (const { name, offset, byteLength } of tensors.toSorted((a, b) => a.offset - b.offset || a.byteLength - b.byteLength)) {
    if (offset !== covered) {
      const fault = offset < covered ? "overlaps another" : `has a gap of ${offset - covered} bytes before it`;
      throw new BitnetError("file", `${path}: the tensor ${quote(name)} ${fault} (at byte ${offset})`, {
        file: path,
        tensor: name,
        offset,
      });
    }
    covered += byteLength;
  }
  if (covered !== size) {
    throw new BitnetError(
      "file",
      `${path} has ${size - covered} extra bytes after its last tensor (at byte ${covered}), which SafeTensors does not allow; download the file again`,
      { file: path, offset: covered },
    );
  }
}

/**
 * Reads the header of one .safetensors file (spec: the README of huggingface/safetensors), as strict as the reference implementation.
 * Throws `file` for a truncated or damaged file, `unsupported` for an unknown dtype.
 */
export async function readSafetensors(source: ByteSource): Promise<SafetensorsFile> {
  const { path, size } = source;
  const fail = (message: string, offset: number): never => {
    throw new BitnetError("file", `${path}: ${message} (at byte ${offset})`, { file: path, offset });
  };
  if (size < LENGTH_BYTES) fail(`the file has ${size} bytes, too few for SafeTensors: it is truncated`, 0);
  const view = new DataView((await source.read(0, LENGTH_BYTES)).buffer);
  const length = view.getUint32(0, true) + view.getUint32(4, true) * 2 ** 32;
  if (length > MAX_HEADER_BYTES)
    fail(
      `the file announces a header of ${length} bytes, but the limit is ${MAX_HEADER_BYTES}: it is damaged or not a SafeTensors file`,
      0,
    );
  const dataOffset = LENGTH_BYTES + length;
  if (dataOffset > size) fail(`the file ends inside its header, with ${dataOffset - size} bytes missing: it is truncated or damaged`, 0);
  const header = await source.read(LENGTH_BYTES, length);
  if (header[0] !== 0x7b) fail('the header should start with "{"', LENGTH_BYTES);

  const json = new JsonReader(header, (message, at) => fail(message, LENGTH_BYTES + at));
  const tensors: TensorInfo[] = [];
  let metadata: Map<string, string> | undefined;
  json.object("the header", (key) => {
    if (key === "__metadata__") {
      const strings = new Map<string, string>();
      json.object("__metadata__", (name) => strings.set(name, json.string("a value of __metadata__")));
      metadata = strings;
    } else tensors.push(readTensor(json, key, path, dataOffset, size - dataOffset));
  });
  json.end("the header");
  requireCoverage(tensors, source, dataOffset);
  return { tensors, metadata };
}

/** Which shard holds each tensor. */
export interface SafetensorsIndex {
  /** Tensor name → file name, a plain one. */
  readonly weightMap: ReadonlyMap<string, string>;
  /** File names, sorted. */
  readonly shards: readonly string[];
}

/** Reads a `model.safetensors.index.json`. Throws `file` if it is none, or if a shard's name could lead out of its directory. */
export async function readSafetensorsIndex(source: ByteSource): Promise<SafetensorsIndex> {
  const { path, size } = source;
  const fail = (message: string, offset: number): never => {
    throw new BitnetError("file", `${path}: ${message} (at byte ${offset})`, { file: path, offset });
  };
  if (size > MAX_INDEX_BYTES) fail(`the file has ${size} bytes, but the limit for an index is ${MAX_INDEX_BYTES}`, 0);
  const json = new JsonReader(await source.read(0, size), fail);
  const weightMap = new Map<string, string>();
  let found = false;
  json.object("the index", (key) => {
    if (key !== "weight_map") return json.skip("the index");
    found = true;
    json.object("weight_map", (name) => {
      const shard = json.string("a file name in weight_map");
      if (!isPlainName(shard)) {
        throw new BitnetError("file", `${path}: the tensor ${quote(name)} should be in ${quote(shard)}, which is not a plain file name`, {
          file: path,
          tensor: name,
        });
      }
      weightMap.set(name, shard);
    });
  });
  json.end("the index");
  if (!found || weightMap.size === 0) fail("the file has no weight_map with tensors, so it is not an index of SafeTensors shards", 0);
  const shards = [...new Set(weightMap.values())].sort();
  if (shards.length > MAX_SHARDS) fail(`the index lists ${shards.length} files, but the limit is ${MAX_SHARDS}`, 0);
  return { weightMap, shards };
}

/**
 * Writes one .safetensors file: header entries and data in the order given, metadata (if any) first, no space but the padding of the header to a
 * multiple of 8 bytes, as the reference implementation writes. (It sorts by descending dtype, then name; give that order to get its very bytes.)
 * All or nothing, see `writeAtomic`. Throws `internal` for an unknown dtype, a name that comes twice, or data of another length.
 */
export async function writeSafetensors(
  path: string,
  { tensors, metadata }: { readonly tensors: readonly NewTensor[]; readonly metadata?: ReadonlyMap<string, string> | undefined },
): Promise<void> {
  const fail = (message: string, tensor?: string): never => {
    throw new BitnetError("internal", `${path} can't be written as SafeTensors: ${message}`, { file: path, tensor });
  };
  const twice = firstDuplicate(["__metadata__", ...tensors.map(({ name }) => name)]);
  if (twice !== undefined) fail(`${quote(twice)} occurs twice`);

  const members: string[] = [];
  if (metadata !== undefined) {
    const pairs = Array.from(metadata, ([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`);
    members.push(`"__metadata__":{${pairs.join(",")}}`);
  }
  let offset = 0;
  const spans: number[] = []; // [tensors] bytes
  for (const { name, shape, type } of tensors) {
    const size = span(shape, type);
    if ("fault" in size) return fail(`the tensor ${quote(name)} ${size.fault}`, name);
    const fields = { dtype: type, shape, data_offsets: [offset, offset + size.bytes] };
    members.push(`${JSON.stringify(name)}:${JSON.stringify(fields)}`);
    offset += size.bytes;
    spans.push(size.bytes);
  }
  const text = new TextEncoder().encode(`{${members.join(",")}}`);
  const header = new Uint8Array(Math.ceil(text.length / 8) * 8).fill(0x20);
  header.set(text);
  if (header.length > MAX_HEADER_BYTES) fail(`its header would have ${header.length} bytes, but the limit is ${MAX_HEADER_BYTES}`);

  await writeAtomic(path, async (sink) => {
    const length = new Uint8Array(LENGTH_BYTES);
    new DataView(length.buffer).setUint32(0, header.length, true);
    await sink.write(length);
    await sink.write(header);
    for (const [i, { name, data }] of tensors.entries()) {
      const written = await sink.write(data);
      if (written !== spans[i]) fail(`the tensor ${quote(name)} requires ${spans[i]} bytes, but ${written} were given`, name);
    }
  });
}
