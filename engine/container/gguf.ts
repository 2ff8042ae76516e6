import { isUtf8 } from "#host/files.js";
import { BitnetError } from "../errors.js";
import type { ByteSource } from "../host/files.js";
import { GGML_TYPES, unknownType } from "./ggml-types.js";
import { alignUp, placeTensors, type UnplacedTensor } from "./gguf-spans.js";
import { firstDuplicate } from "./names.js";
import { quote, show } from "./quote.js";
import { StringList } from "./string-list.js";
import type { ListValue, MetadataValue, TensorInfo } from "./tensor.js";

/** GGUF's types of metadata values; the index is the number in the file. */
export const GGUF_VALUE_TYPES = [
  "uint8",
  "int8",
  "uint16",
  "int16",
  "uint32",
  "int32",
  "float32",
  "bool",
  "string",
  "array",
  "uint64",
  "int64",
  "float64",
] as const;

export type GgufValueType = (typeof GGUF_VALUE_TYPES)[number];

/** Bytes of a value of each type; of a string, its length field; arrays are measured elsewhere. */
export const GGUF_VALUE_BYTES: Readonly<Record<Exclude<GgufValueType, "array">, number>> = {
  uint8: 1,
  int8: 1,
  uint16: 2,
  int16: 2,
  uint32: 4,
  int32: 4,
  float32: 4,
  bool: 1,
  string: 8,
  uint64: 8,
  int64: 8,
  float64: 8,
};

/** One key-value pair, with all that is needed to write it back byte for byte. */
export interface GgufEntry {
  readonly key: string;
  readonly type: GgufValueType;
  /** Type of an array's elements; only for arrays. */
  readonly elementType?: Exclude<GgufValueType, "array">;
  /** 64-bit integers are numbers where a double holds them exactly, else bigint (in an array: all or none). */
  readonly value: MetadataValue;
  /** Why the value is invalid: an error only where it is used. `value` is then a text for people, or empty. */
  readonly fault?: BitnetError;
  /** With `fault`: the value's bytes, all behind its type. */
  readonly raw?: Uint8Array;
}

/** The header of a GGUF file, every count and span in it checked against the file. */
export interface GgufFile {
  readonly version: 2 | 3;
  /** Tensors start at multiples of it, counted from `dataOffset`. */
  readonly alignment: number;
  /** In the order of the file. */
  readonly entries: readonly GgufEntry[];
  /** In the order of the file. */
  readonly tensors: readonly TensorInfo[];
  /** First byte of the data section. */
  readonly dataOffset: number;
}

/** The first four bytes of every GGUF file. */
export const GGUF_MAGIC = "GGUF";

/** ggml's default for `general.alignment`. */
const GGUF_DEFAULT_ALIGNMENT = 32;

/** Alignments serve memory mapping; the largest pages in use are 64 KiB. */
const GGUF_MAX_ALIGNMENT = 65536;

/** ggml's GGML_MAX_DIMS. */
export const GGUF_MAX_DIMS = 4;

/** Levels of arrays in arrays that are passed over. No key that is read has any, and every level makes the reader recurse. */
const MAX_ARRAY_DEPTH = 8;

/** Headers with the largest vocabularies (260k tokens, 500k merges) take 20 MB; much more than that is damage or an attack. */
const MAX_HEADER_BYTES = 64 * 2 ** 20;

/** Ten times the longest list of merges there is. */
const MAX_ARRAY_LENGTH = 2 ** 23;

/**
 * How much of the file is read at first, and in all each further time: small models' headers fit in the first, LLaMA-3's 7.8 MB in the second.
 * An array cut off by the end of what was read is parsed again, so few times are better.
 */
const READ_BYTES = [2 ** 18, 2 ** 23, 2 ** 25, MAX_HEADER_BYTES];

/** What an array's elements of each type are read as; all are little-endian, as WebAssembly is. */
const LISTS = {
  uint8: Uint8Array,
  int8: Int8Array,
  uint16: Uint16Array,
  int16: Int16Array,
  uint32: Uint32Array,
  int32: Int32Array,
  float32: Float32Array,
  float64: Float64Array,
  uint64: BigUint64Array,
  int64: BigInt64Array,
} as const;

/** Elements of lists of truth values and of 64-bit integers, all together: they become JavaScript values of 8 to 32 bytes. Known files have some dozens. */
const MAX_BOXED = 2 ** 20;
const BOXED: readonly GgufValueType[] = ["bool", "uint64", "int64"];

/** Models have some 40 pairs of metadata, and at most some thousand tensors; each costs far more memory than its bytes in the file. */
const MAX_ENTRIES = 2 ** 16;
const MAX_TENSORS = 2 ** 16;

/** Smallest key-value pair: a length, a type, one byte of value. */
const MIN_ENTRY_BYTES = 8 + 4 + 1;

/** Smallest tensor info: a name's length, the count of dims, one dim, type, offset. */
const MIN_TENSOR_BYTES = 8 + 4 + 8 + 4 + 8;

/** Thrown inside the reader, never out of it: parsing needs the file up to `end`, and more is there. */
class NeedBytes {
  constructor(readonly end: number) {}
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const lenientUtf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/** The part of a file that has been read so far, and a position in it. */
class HeaderReader {
  private bytes = new Uint8Array(0);
  private view = new DataView(this.bytes.buffer);
  private pos = 0;

  constructor(private readonly source: ByteSource) {}

  get position(): number {
    return this.pos;
  }

  get remaining(): number {
    return this.source.size - this.pos;
  }

  fail(message: string, offset = this.pos, code: "file" | "unsupported" = "file"): never {
    const { path } = this.source;
    throw new BitnetError(code, `${path}: ${message} (at byte ${offset})`, { file: path, offset });
  }

  /** Runs a parser that has no effect but its result, again from the same place whenever it needed bytes that weren't read yet. */
  async parse<T>(parser: () => T): Promise<T> {
    const start = this.pos;
    for (;;) {
      try {
        return parser();
      } catch (error) {
        if (!(error instanceof NeedBytes)) throw error;
        this.pos = start;
        await this.readUpTo(error.end);
      }
    }
  }

  private async readUpTo(end: number): Promise<void> {
    const wanted = READ_BYTES.find((length) => length >= end) ?? MAX_HEADER_BYTES;
    // From the start again: cheaper than to keep two copies while one grows.
    const bytes = await this.source.read(0, Math.min(wanted, this.source.size));
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer);
  }

  /** Moves on by `length` bytes that are in memory; returns where they start. */
  private take(length: number, what: string): number {
    const start = this.pos;
    const end = start + length;
    if (end > this.source.size)
      this.fail(`the file ends inside ${what}, with ${end - this.source.size} bytes missing: it is truncated or damaged`, start);
    if (end > MAX_HEADER_BYTES) this.fail(`the file has a header of more than ${MAX_HEADER_BYTES} bytes: it is damaged`, start);
    if (end > this.bytes.length) throw new NeedBytes(end);
    this.pos = end;
    return start;
  }

  u32(what: string): number {
    return this.view.getUint32(this.take(4, what), true);
  }

  /** A count, length or offset. Over 2^53 it is rounded: it then is larger than anything it is compared with. */
  u64(what: string): number {
    const at = this.take(8, what);
    return this.view.getUint32(at, true) + this.view.getUint32(at + 4, true) * 2 ** 32;
  }

  string(what: string): string {
    const at = this.pos;
    const bytes = this.stringBytes(what);
    try {
      return utf8.decode(bytes);
    } catch {
      return this.fail(`${what} is not valid UTF-8`, at);
    }
  }

  /** A string for people: what is not UTF-8 in it becomes U+FFFD. */
  label(what: string): string {
    return lenientUtf8.decode(this.stringBytes(what));
  }

  private stringBytes(what: string): Uint8Array {
    const length = this.u64(what);
    const start = this.take(length, what);
    return this.bytes.subarray(start, start + length);
  }

  /** Goes back to `start`, and from there over a value that has a fault. Throws the fault if the value doesn't end. @returns its bytes */
  passOver(start: number, type: GgufValueType, what: string, fault: BitnetError): Uint8Array {
    this.pos = start;
    try {
      this.skip(type, what, 0);
    } catch (error) {
      throw error instanceof BitnetError ? fault : error;
    }
    return this.bytes.subarray(start, this.pos);
  }

  private skip(type: GgufValueType, what: string, depth: number): void {
    if (type === "string") this.stringBytes(what);
    else if (type !== "array") this.take(GGUF_VALUE_BYTES[type], what);
    else {
      if (depth > MAX_ARRAY_DEPTH) this.fail(`${what} has arrays nested more than ${MAX_ARRAY_DEPTH} levels deep`, this.pos, "unsupported");
      const elementType = this.valueType(`an element of ${what}`);
      const count = this.u64(`the length of ${what}`);
      if (elementType !== "string" && elementType !== "array") this.take(count * GGUF_VALUE_BYTES[elementType], what);
      else for (let i = 0; i < count; i++) this.skip(elementType, what, depth + 1); // each takes bytes, and those end
    }
  }

  /** A version as it would be on a machine of the other byte order is told apart by its low half. */
  version(): 2 | 3 {
    const at = this.take(4, "the version");
    const version = this.view.getUint32(at, true);
    if (version === 2 || version === 3) return version;
    if (version !== 0 && version % 65536 === 0) this.fail("the file is big-endian GGUF; convert it to little-endian", at, "unsupported");
    return this.fail(
      `the file is GGUF version ${version}, but only versions 2 and 3 are supported; convert the model again`,
      at,
      "unsupported",
    );
  }

  magic(): void {
    const at = this.take(4, "the magic number");
    if (String.fromCharCode(...this.bytes.subarray(at, at + 4)) !== GGUF_MAGIC)
      this.fail('not a GGUF file: it doesn\'t start with "GGUF"', at);
  }

  valueType(what: string): GgufValueType {
    const at = this.pos;
    const id = this.u32(what);
    return GGUF_VALUE_TYPES[id] ?? this.fail(`${what} has the type ${id}, which GGUF doesn't have`, at);
  }

  /** One value that isn't an array. */
  scalar(type: Exclude<GgufValueType, "array">, what: string): number | bigint | boolean | string {
    if (type === "string") return this.string(what);
    const start = this.pos;
    const [value] = this.array(type, 1, what);
    return value ?? this.fail(`${what} has no value`, start);
  }

  array(type: Exclude<GgufValueType, "array">, count: number, what: string): ListValue {
    if (type === "string") return this.strings(count, what);
    const start = this.take(count * GGUF_VALUE_BYTES[type], what);
    const bytes = this.bytes.slice(start, this.pos);
    if (type === "bool") {
      return Array.from(bytes, (byte, i) => {
        if (byte > 1) this.fail(`${what} has a boolean with the value ${byte}`, start + i);
        return byte === 1;
      });
    }
    const values = new LISTS[type](bytes.buffer);
    if (!(values instanceof BigInt64Array || values instanceof BigUint64Array)) return values;
    const numbers = Array.from(values, Number);
    return numbers.every(Number.isSafeInteger) ? numbers : Array.from<bigint>(values);
  }

  /** Lengths are checked one by one; UTF-8 in runs of strings, as a call costs more than a token's bytes. */
  private strings(count: number, what: string): StringList {
    const { bytes, view, pos: start } = this;
    this.take(count * 8, what);
    const starts = new Int32Array(count + 1);
    let isText = true;
    let run = start; // the first byte that isn't known to be UTF-8 or not
    let at = start;
    for (let i = 0; i < count; i++) {
      const length = at + 8 > bytes.length || view.getInt32(at + 4, true) !== 0 ? -1 : view.getInt32(at, true);
      if (length < 0 || length > bytes.length - at - 8) {
        this.pos = at;
        this.take(this.u64(what), what); // throws
      }
      // A length under 128 is itself valid UTF-8, of whole characters: a run goes on over it.
      if (length >= 128) {
        isText &&= isUtf8(bytes.subarray(run, at));
        run = at + 8;
      }
      at += 8;
      starts[i] = at - start;
      at += length;
    }
    starts[count] = at + 8 - start;
    this.pos = at;
    const list = new StringList(bytes.subarray(start, at), starts);
    if (!isText || !isUtf8(bytes.subarray(run, at))) {
      const bad = starts.findIndex((from, i) => i < count && !isUtf8(list.bytes.subarray(from, list.endOf(i))));
      this.fail(`${what} has a string that is not valid UTF-8`, start + starts[bad]!);
    }
    return list;
  }
}

/**
 * One pair of metadata. A value that breaks a rule, but whose end is known, has a `fault`: most keys are of no use to the engine, and no reason
 * to refuse a model.
 * @param boxed truth values and 64-bit integers in the lists before it
 */
function readEntry(reader: HeaderReader, index: number, boxed: number): GgufEntry {
  const key = reader.label(`the key of metadata entry ${index}`);
  const what = `the metadata ${quote(key)}`;
  const type = reader.valueType(what);
  const start = reader.position;
  try {
    return { key, type, ...(type === "array" ? readList(reader, what, boxed) : { value: reader.scalar(type, what) }) };
  } catch (fault) {
    if (!(fault instanceof BitnetError)) throw fault;
    const raw = reader.passOver(start, type, what, fault);
    return { key, type, value: type === "string" ? lenientUtf8.decode(raw.subarray(GGUF_VALUE_BYTES.string)) : "", fault, raw };
  }
}

function readList(reader: HeaderReader, what: string, boxed: number): Pick<GgufEntry, "elementType" | "value"> {
  const at = reader.position;
  const elementType = reader.valueType(`an element of ${what}`);
  if (elementType === "array") return reader.fail(`${what} has nested arrays, which no supported key has`, at, "unsupported");
  const count = reader.u64(`the length of ${what}`);
  if (count * GGUF_VALUE_BYTES[elementType] > reader.remaining) {
    reader.fail(`${what} announces ${count} elements, more than the rest of the file could hold: the file is truncated or damaged`, at + 4);
  }
  if (count > MAX_ARRAY_LENGTH) reader.fail(`${what} has ${count} elements; the limit is ${MAX_ARRAY_LENGTH}`, at + 4, "unsupported");
  if (BOXED.includes(elementType) && boxed + count > MAX_BOXED) {
    reader.fail(
      `${what} has ${count} booleans or 64-bit integers, and arrays before it ${boxed}; the limit is ${MAX_BOXED}`,
      at + 4,
      "unsupported",
    );
  }
  return { elementType, value: reader.array(elementType, count, what) };
}

/** A tensor info as it stands in the file. */
function readTensor(reader: HeaderReader, index: number, path: string): UnplacedTensor {
  const at = reader.position;
  const name = reader.string(`the name of tensor ${index}`);
  const what = `the tensor ${quote(name)}`;
  const fail = (code: "file" | "unsupported", message: string): never => {
    throw new BitnetError(code, `${path}: ${what} ${message} (at byte ${at})`, { file: path, tensor: name, offset: at });
  };
  const dims = reader.u32(`the dimensions of ${what}`);
  if (dims < 1 || dims > GGUF_MAX_DIMS) fail("file", `has ${dims} dimensions, but only 1 to ${GGUF_MAX_DIMS} are allowed`);
  const shape = Array.from({ length: dims }, () => reader.u64(`the dimensions of ${what}`)).reverse();
  const typeId = reader.u32(`the type of ${what}`);
  const offset = reader.u64(`the offset of ${what}`);
  if (!GGML_TYPES.some(({ id }) => id === typeId)) fail("unsupported", unknownType(typeId));
  return { name, shape, typeId, offset };
}

/** Of a duplicate key the first value stays, but it need not be the right one. */
function twice(entry: GgufEntry, path: string, offset: number): GgufEntry {
  const message = `${path}: the file has the metadata key ${quote(entry.key)} twice (at byte ${offset})`;
  return { ...entry, fault: entry.fault ?? new BitnetError("file", message, { file: path, offset }) };
}

/** `general.alignment`, or the default. */
export function ggufAlignment(entries: readonly GgufEntry[], fail: (message: string) => never): number {
  const entry = entries.find(({ key }) => key === "general.alignment");
  if (entry === undefined) return GGUF_DEFAULT_ALIGNMENT;
  if (entry.fault) throw entry.fault;
  const { type, value } = entry;
  if (typeof value !== "number" || !Number.isInteger(value) || value < 1 || value > GGUF_MAX_ALIGNMENT || (value & (value - 1)) !== 0) {
    return fail(`general.alignment must be an integer that is a power of two up to ${GGUF_MAX_ALIGNMENT}, not ${type} ${show(value)}`);
  }
  return value;
}

/**
 * Reads the header of a GGUF file, version 2 or 3, little-endian (spec: ggml/docs/gguf.md), in growing pieces.
 * Throws `file` for a truncated or damaged file, `unsupported` for an unknown tensor type, version or byte order; messages name the byte.
 */
export async function readGguf(source: ByteSource): Promise<GgufFile> {
  const reader = new HeaderReader(source);
  const head = await reader.parse(() => {
    reader.magic();
    return {
      version: reader.version(),
      tensorCount: reader.u64("the number of tensors"),
      entryCount: reader.u64("the number of metadata entries"),
    };
  });
  const { version, tensorCount, entryCount } = head;
  if (entryCount * MIN_ENTRY_BYTES + tensorCount * MIN_TENSOR_BYTES > reader.remaining) {
    reader.fail(
      `the header announces ${entryCount} metadata entries and ${tensorCount} tensors, more than the file could hold: it is truncated or damaged`,
      8,
    );
  }
  if (entryCount > MAX_ENTRIES) reader.fail(`the file has ${entryCount} metadata entries; the limit is ${MAX_ENTRIES}`, 16, "unsupported");
  if (tensorCount > MAX_TENSORS) reader.fail(`the file has ${tensorCount} tensors; the limit is ${MAX_TENSORS}`, 8, "unsupported");

  const entries: GgufEntry[] = [];
  const places = new Map<string, number>(); // key → index in entries
  let boxed = 0;
  for (let i = 0; i < entryCount; i++) {
    const at = reader.position;
    const entry = await reader.parse(() => readEntry(reader, i, boxed));
    if (Array.isArray(entry.value)) boxed += entry.value.length;
    const first = places.get(entry.key);
    if (first === undefined) places.set(entry.key, entries.push(entry) - 1);
    else entries[first] = twice(entries[first]!, source.path, at);
  }
  const alignment = ggufAlignment(entries, (message) => reader.fail(message));

  const tensors: UnplacedTensor[] = [];
  for (let i = 0; i < tensorCount; i++) tensors.push(await reader.parse(() => readTensor(reader, i, source.path)));
  const twiceName = firstDuplicate(tensors.map(({ name }) => name));
  if (twiceName !== undefined) reader.fail(`the file has the tensor ${quote(twiceName)} twice`);

  const dataOffset = alignUp(reader.position, alignment);
  return { version, alignment, entries, tensors: placeTensors(tensors, dataOffset, alignment, source), dataOffset };
}
