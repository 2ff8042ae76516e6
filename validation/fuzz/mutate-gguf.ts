import { type Field, type GgufMap, mapGguf, type Range, rebuildGguf } from "./gguf-map.js";
import { cutAndPaste, oddFloats, oddNumber, scribble, truncate } from "./mutate-bytes.js";
import type { Random } from "./random.js";
import { hostileTemplate } from "./templates.js";

const TYPES = { u8: 0, i8: 1, u16: 2, i32: 5, u32: 4, f32: 6, bool: 7, string: 8, array: 9, u64: 10, f64: 12 } as const;

const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return bytes;
};
const u64 = (value: bigint): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt.asUintN(64, value));
  return bytes;
};
const string = (text: string | Uint8Array): Buffer => {
  const bytes = Buffer.from(text as string);
  return Buffer.concat([u64(BigInt(bytes.length)), bytes]);
};
const f32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes;
};

/** A key with a value of any type. */
function pair(key: string, type: number, value: Uint8Array): Uint8Array {
  return Buffer.concat([string(key), u32(type), value]);
}

/** What may stand as the value of any key. */
function oddPair(random: Random, key: string): Uint8Array {
  const odd = oddNumber(random, BigInt(random.below(4096)));
  return random.pick<() => Uint8Array>([
    () => pair(key, TYPES.u32, u32(Number(odd & 0xffffffffn))),
    () => pair(key, TYPES.u64, u64(odd)),
    () => pair(key, TYPES.i32, u32(random.pick([-1, -(2 ** 31), 0]))),
    () => pair(key, TYPES.f32, f32(random.pick([0, -1, Number.NaN, Infinity, 1e38, 1e-45, 0.5, 1]))),
    () => pair(key, TYPES.f64, new Uint8Array(new Float64Array([random.pick([1e308, -0, Number.NaN, 2.5, 5e-324])]).buffer)),
    () => pair(key, TYPES.bool, Uint8Array.of(random.below(3))),
    () =>
      pair(
        key,
        TYPES.string,
        string(random.pick(["", "x", "llama", "bitnet", "gpt2", "llama-bpe", "silu", "\u0000", "x".repeat(100_000)])),
      ),
    () => pair(key, TYPES.array, Buffer.concat([u32(TYPES.string), u64(2n), string("a"), string("b")])),
    () => pair(key, TYPES.array, Buffer.concat([u32(TYPES.u32), u64(0n)])),
    () => pair(key, TYPES.array, Buffer.concat([u32(TYPES.f32), u64(2n), f32(Number.NaN), f32(-1)])),
    () => pair(key, TYPES.array, Buffer.concat([u32(TYPES.u64), u64(1n), u64(odd)])),
    () => pair(key, TYPES.array, Buffer.concat([u32(random.below(14)), u64(odd)])),
  ])();
}

function cut(bytes: Uint8Array, { from, to }: Range): Uint8Array {
  return bytes.subarray(from, to);
}

/** Absurd numbers in the header's own fields. */
function fields(random: Random, bytes: Uint8Array, map: GgufMap): Uint8Array {
  const copy = bytes.slice();
  const view = new DataView(copy.buffer);
  const kinds = [...new Set(map.fields.map(({ kind }) => kind))];
  for (let left = 1 + random.below(3); left > 0; left--) {
    const kind = random.pick(kinds);
    put(random, view, random.pick(map.fields.filter((field) => field.kind === kind)));
  }
  return copy;
}

function put(random: Random, view: DataView, { kind, at, bytes }: Field): void {
  if (bytes === 8) view.setBigUint64(at, oddNumber(random, view.getBigUint64(at, true)), true);
  else if (bytes === 4) {
    const old = view.getUint32(at, true);
    const small = kind === "tensorType" ? random.below(48) : kind === "valueType" ? random.below(15) : random.below(6);
    view.setUint32(at, random.once(2) ? small : Number(oddNumber(random, BigInt(old)) & 0xffffffffn), true);
  } else if (bytes === 2) view.setUint16(at, random.next() & 0xffff, true);
  else view.setUint8(at, random.next() & 0xff);
}

/** Pairs and tensor infos dropped, doubled, renamed, swapped or replaced, with counts that fit. */
function structure(random: Random, bytes: Uint8Array, map: GgufMap): Uint8Array {
  const entries = map.entries.map((range) => ({ name: range.name, bytes: cut(bytes, range) }));
  const infos = map.infos.map((range) => ({ name: range.name, bytes: cut(bytes, range) }));
  for (let left = 1 + random.below(2); left > 0; left--) {
    const list = random.once(2) || infos.length === 0 ? entries : infos;
    if (list.length === 0) break;
    const i = random.below(list.length);
    const [one, other] = [list[i]!, random.pick(list)];
    const rest = one.bytes.subarray(8 + Buffer.byteLength(one.name));
    const theirs = other.bytes.subarray(8 + Buffer.byteLength(other.name));
    switch (random.below(6)) {
      case 0:
        list.splice(i, 1);
        break;
      case 1:
        list.push(one);
        break;
      case 2:
        list[i] = { name: other.name, bytes: Buffer.concat([string(other.name), rest]) };
        break;
      case 3:
        list[i] = { name: one.name, bytes: Buffer.concat([string(one.name), theirs]) };
        break;
      case 4: {
        const name = random.pick([
          `${one.name}x`,
          "",
          "x",
          "blk.4294967296.attn_q.weight",
          "blk.-1.x",
          "\u0000",
          "a\nb",
          "x".repeat(70_000),
          "__proto__",
        ]);
        list[i] = { name, bytes: Buffer.concat([string(name), rest]) };
        break;
      }
      default:
        if (list === entries) list[i] = { name: one.name, bytes: oddPair(random, one.name) };
        else list.reverse();
    }
  }
  return rebuildGguf(
    bytes,
    map,
    entries.map((entry) => entry.bytes),
    infos.map((info) => info.bytes),
  );
}

/** One key gets another value, or a key that the engine knows is added. */
function values(random: Random, bytes: Uint8Array, map: GgufMap): Uint8Array {
  const architecture = map.entries.map(({ name }) => /^(.*)\.block_count$/.exec(name)?.[1]).find((name) => name !== undefined) ?? "llama";
  const more = [
    "rope.scaling.type",
    "rope.scaling.factor",
    "attention.key_length",
    "hidden_activation",
    "attention.head_count_kv",
    "vocab_size",
    "rope.dimension_count",
  ];
  const key = random.once(4)
    ? random.pick([
        ...more.map((name) => `${architecture}.${name}`),
        "general.alignment",
        "split.count",
        "split.no",
        "tokenizer.ggml.add_bos_token",
      ])
    : random.pick(map.entries).name;
  const entries = map.entries.filter(({ name }) => name !== key).map((range) => cut(bytes, range));
  entries.splice(random.below(entries.length + 1), 0, oddPair(random, key));
  return rebuildGguf(
    bytes,
    map,
    entries,
    map.infos.map((range) => cut(bytes, range)),
  );
}

function template(random: Random, bytes: Uint8Array, map: GgufMap): Uint8Array {
  const key = "tokenizer.chat_template";
  const kept = map.entries.filter(({ name }) => name !== key).map((range) => cut(bytes, range));
  const old = map.entries.find(({ name }) => name === key);
  const source = old ? new TextDecoder().decode(cut(bytes, old).subarray(8 + key.length + 4 + 8)) : "";
  kept.push(pair(key, TYPES.string, string(hostileTemplate(random, source))));
  return rebuildGguf(
    bytes,
    map,
    kept,
    map.infos.map((range) => cut(bytes, range)),
  );
}

/** What can be done to a GGUF file. */
export const GGUF_MUTATORS: Readonly<Record<string, (random: Random, bytes: Uint8Array) => Uint8Array>> = {
  truncate,
  scribble: (random, bytes) => scribble(random, bytes, mapGguf(bytes).dataOffset),
  "cut and paste": (random, bytes) => cutAndPaste(random, bytes, mapGguf(bytes).dataOffset),
  fields: (random, bytes) => fields(random, bytes, mapGguf(bytes)),
  structure: (random, bytes) => structure(random, bytes, mapGguf(bytes)),
  values: (random, bytes) => values(random, bytes, mapGguf(bytes)),
  "odd floats": (random, bytes) => {
    const map = mapGguf(bytes);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const starts = map.infos.map(({ to }) => map.dataOffset + Number(view.getBigUint64(to - 8, true)));
    if (starts.length === 0) return scribble(random, bytes, map.dataOffset);
    const from = random.pick(starts);
    const to = Math.min(bytes.length, ...starts.filter((start) => start > from));
    return oddFloats(random, bytes, from, to);
  },
  template: (random, bytes) => template(random, bytes, mapGguf(bytes)),
};
