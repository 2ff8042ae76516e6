import { writeAtomic } from "#host/files.js";
import { BitnetError } from "../errors.js";
import type { NewTensor } from "./checkpoint.js";
import { GGML_TYPES_BY_NAME, ggmlSpan } from "./ggml-types.js";
import {
  GGUF_MAGIC,
  GGUF_MAX_DIMS,
  GGUF_VALUE_BYTES,
  GGUF_VALUE_TYPES,
  type GgufEntry,
  type GgufValueType,
  ggufAlignment,
} from "./gguf.js";
import { alignUp } from "./gguf-spans.js";
import { firstDuplicate } from "./names.js";
import { quote } from "./quote.js";

/** What integer types hold. */
const INTEGER_RANGES: Readonly<Partial<Record<GgufValueType, readonly [min: number | bigint, max: number | bigint]>>> = {
  uint8: [0, 255],
  int8: [-128, 127],
  uint16: [0, 65535],
  int16: [-32768, 32767],
  uint32: [0, 2 ** 32 - 1],
  int32: [-(2 ** 31), 2 ** 31 - 1],
  uint64: [0n, 2n ** 64n - 1n],
  int64: [-(2n ** 63n), 2n ** 63n - 1n],
};

/** Bytes under construction. */
class HeaderWriter {
  private bytes = new Uint8Array(4096);
  private view = new DataView(this.bytes.buffer);
  length = 0;

  /** Makes room; returns where. Call it before touching `view`, which it may replace. */
  private grow(by: number): number {
    const start = this.length;
    this.length += by;
    if (this.length > this.bytes.length) {
      const bytes = new Uint8Array(2 * this.length);
      bytes.set(this.bytes.subarray(0, start));
      this.bytes = bytes;
      this.view = new DataView(bytes.buffer);
    }
    return start;
  }

  u32(value: number): void {
    const at = this.grow(4);
    this.view.setUint32(at, value, true);
  }

  u64(value: number): void {
    const at = this.grow(8);
    this.view.setBigUint64(at, BigInt(value), true);
  }

  raw(bytes: Uint8Array): void {
    const at = this.grow(bytes.length);
    this.bytes.set(bytes, at);
  }

  string(value: string): void {
    const bytes = new TextEncoder().encode(value);
    this.u64(bytes.length);
    this.raw(bytes);
  }

  value(type: Exclude<GgufValueType, "array">, value: unknown, fail: (message: string) => never): void {
    if (type === "string") {
      if (typeof value !== "string") fail(`must be a string, not ${typeof value}`);
      this.string(value);
      return;
    }
    const range = INTEGER_RANGES[type];
    if (type === "bool" ? typeof value !== "boolean" : typeof value !== "number" && !(range && typeof value === "bigint")) {
      fail(`must be ${type}, not ${typeof value}`);
    }
    const number = typeof value === "bigint" ? value : Number(value);
    const whole = typeof number === "bigint" || Number.isInteger(number);
    if (range && !(whole && number >= range[0] && number <= range[1])) fail(`is ${number}, which ${type} can't hold`);
    const at = this.grow(GGUF_VALUE_BYTES[type]);
    const { view } = this;
    if (type === "uint64") view.setBigUint64(at, BigInt(number), true);
    else if (type === "int64") view.setBigInt64(at, BigInt(number), true);
    else if (type === "float32") view.setFloat32(at, Number(number), true);
    else if (type === "float64") view.setFloat64(at, Number(number), true);
    else if (type === "uint32" || type === "int32") view.setUint32(at, Number(number), true);
    else if (type === "uint16" || type === "int16") view.setUint16(at, Number(number), true);
    else view.setUint8(at, Number(number));
  }

  done(): Uint8Array {
    return this.bytes.subarray(0, this.length);
  }
}

/**
 * Writes a GGUF file, version 3, little-endian: metadata and tensors in the order given, each tensor at the next multiple of the alignment
 * (the metadata's `general.alignment`, or 32), zeros between and at the end, as ggml's own writer does. All or nothing, see `writeAtomic`.
 * Throws `internal` for what GGUF can't hold (a value out of its type's range, a shape that doesn't fit the type, data of another length).
 */
export async function writeGguf(
  path: string,
  { metadata, tensors }: { readonly metadata: readonly GgufEntry[]; readonly tensors: readonly NewTensor[] },
): Promise<void> {
  const fail = (message: string, tensor?: string): never => {
    throw new BitnetError("internal", `${path} can't be written as GGUF: ${message}`, { file: path, tensor });
  };
  const twice = firstDuplicate(metadata.map(({ key }) => key)) ?? firstDuplicate(tensors.map(({ name }) => name));
  if (twice !== undefined) fail(`${quote(twice)} occurs twice`);
  const alignment = ggufAlignment(metadata, fail);

  const header = new HeaderWriter();
  header.raw(new TextEncoder().encode(GGUF_MAGIC));
  header.u32(3);
  header.u64(tensors.length);
  header.u64(metadata.length);
  for (const { key, type, elementType, value, raw } of metadata) {
    const failValue = (message: string): never => fail(`the metadata ${quote(key)} ${message}`);
    header.string(key);
    header.u32(GGUF_VALUE_TYPES.indexOf(type));
    if (raw !== undefined) {
      header.raw(raw);
      continue;
    }
    if (type !== "array") {
      header.value(type, value, failValue);
      continue;
    }
    if (elementType === undefined || typeof value !== "object") return failValue("must be an array with an element type");
    header.u32(GGUF_VALUE_TYPES.indexOf(elementType));
    header.u64(value.length);
    for (const element of value) header.value(elementType, element, failValue);
  }

  let offset = 0;
  const spans: number[] = []; // [tensors] bytes
  for (const { name, shape, type } of tensors) {
    const ggmlType =
      GGML_TYPES_BY_NAME.get(type) ?? fail(`the tensor ${quote(name)} has the type ${quote(type)}, which GGUF doesn't have`, name);
    if (shape.length < 1 || shape.length > GGUF_MAX_DIMS)
      fail(`the tensor ${quote(name)} has ${shape.length} dimensions; 1 to ${GGUF_MAX_DIMS} are allowed`, name);
    const span = ggmlSpan(shape, ggmlType);
    if ("fault" in span) return fail(`the tensor ${quote(name)} ${span.fault}`, name);
    header.string(name);
    header.u32(shape.length);
    for (const extent of shape.toReversed()) header.u64(extent);
    header.u32(ggmlType.id);
    header.u64(offset);
    offset = alignUp(offset + span.bytes, alignment);
    spans.push(span.bytes);
  }

  await writeAtomic(path, async (sink) => {
    const pad = (length: number) => sink.write(new Uint8Array(alignUp(length, alignment) - length));
    await sink.write(header.done());
    await pad(header.length);
    for (const [i, { name, data }] of tensors.entries()) {
      const span = spans[i]!;
      const written = await sink.write(data);
      if (written !== span) fail(`the tensor ${quote(name)} requires ${span} bytes, but ${written} were given`, name);
      await pad(span);
    }
  });
}
