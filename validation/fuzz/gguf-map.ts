/** A number in a GGUF header. */
export interface Field {
  readonly kind: "version" | "count" | "length" | "valueType" | "tensorType" | "dimensions" | "extent" | "offset" | "number";
  readonly at: number;
  readonly bytes: 1 | 2 | 4 | 8;
}

/** Where something stands in the file: [from, to). */
export interface Range {
  readonly name: string;
  readonly from: number;
  readonly to: number;
}

/** What is where in a sound GGUF file. */
export interface GgufMap {
  readonly fields: readonly Field[];
  /** Pairs of metadata, key and value. */
  readonly entries: readonly Range[];
  /** Tensor infos in the header. */
  readonly infos: readonly Range[];
  readonly dataOffset: number;
  readonly alignment: number;
}

const VALUE_BYTES = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8] as const;
const STRING = 8;
const ARRAY = 9;

/** Walks through the header of a sound file; the engine's own reader is what is tested, and takes no part in it. */
export function mapGguf(bytes: Uint8Array): GgufMap {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const fields: Field[] = [];
  let at = 4;
  const u32 = (kind: Field["kind"]): number => {
    fields.push({ kind, at, bytes: 4 });
    at += 4;
    return view.getUint32(at - 4, true);
  };
  const u64 = (kind: Field["kind"]): number => {
    fields.push({ kind, at, bytes: 8 });
    at += 8;
    return Number(view.getBigUint64(at - 8, true));
  };
  const string = (): string => {
    const length = u64("length");
    at += length;
    return new TextDecoder().decode(bytes.subarray(at - length, at));
  };
  const value = (type: number): void => {
    const size = VALUE_BYTES[type]!;
    if (type === STRING) string();
    else if (type === ARRAY) {
      const element = u32("valueType");
      const count = u64("length");
      // Of long lists the first elements' lengths stand for all.
      const seen = fields.length;
      for (let i = 0; i < count; i++) {
        value(element);
        if (i >= 8) fields.length = Math.min(fields.length, seen + 8);
      }
    } else {
      fields.push({ kind: "number", at, bytes: size as Field["bytes"] });
      at += size;
    }
  };

  u32("version");
  const tensorCount = u64("count");
  const entryCount = u64("count");
  const entries: Range[] = [];
  let alignment = 32;
  for (let i = 0; i < entryCount; i++) {
    const from = at;
    const name = string();
    const type = u32("valueType");
    if (name === "general.alignment") alignment = view.getUint32(at, true);
    value(type);
    entries.push({ name, from, to: at });
  }
  const infos: Range[] = [];
  for (let i = 0; i < tensorCount; i++) {
    const from = at;
    const name = string();
    const dims = u32("dimensions");
    for (let d = 0; d < dims; d++) u64("extent");
    u32("tensorType");
    u64("offset");
    infos.push({ name, from, to: at });
  }
  return { fields, entries, infos, dataOffset: Math.ceil(at / alignment) * alignment, alignment };
}

/** The file with another header: these pairs and tensor infos, and the counts that belong to them. */
export function rebuildGguf(bytes: Uint8Array, map: GgufMap, entries: readonly Uint8Array[], infos: readonly Uint8Array[]): Uint8Array {
  const counts = Buffer.alloc(16);
  counts.writeBigUInt64LE(BigInt(infos.length), 0);
  counts.writeBigUInt64LE(BigInt(entries.length), 8);
  const header = Buffer.concat([bytes.subarray(0, 8), counts, ...entries, ...infos]);
  const padding = Math.ceil(header.length / map.alignment) * map.alignment - header.length;
  return Buffer.concat([header, Buffer.alloc(padding), bytes.subarray(map.dataOffset)]);
}
