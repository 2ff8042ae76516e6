import { cutAndPaste, oddFloats, oddNumber, scribble, truncate } from "./mutate-bytes.js";
import { mutateJson } from "./mutate-json.js";
import type { Random } from "./random.js";

const LENGTH = 8;

/** Header text and data of a sound file. */
function parts(bytes: Uint8Array): { header: string; data: Uint8Array } {
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  return { header: new TextDecoder().decode(bytes.subarray(LENGTH, LENGTH + length)), data: bytes.subarray(LENGTH + length) };
}

function join(header: string, data: Uint8Array): Uint8Array {
  const text = Buffer.from(header);
  const length = Buffer.alloc(LENGTH);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, data]);
}

interface Entry {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

/** Entries that name each other's bytes, dtypes and shapes, absurd extents and offsets. */
function entries(random: Random, bytes: Uint8Array): Uint8Array {
  const { header, data } = parts(bytes);
  const json = JSON.parse(header) as Record<string, Entry>;
  const names = Object.keys(json).filter((name) => name !== "__metadata__");
  if (names.length === 0) return scribble(random, bytes, bytes.length);
  for (let left = 1 + random.below(3); left > 0; left--) {
    const [one, other] = [json[random.pick(names)]!, json[random.pick(names)]!];
    const odd = (old: number): number => Number(oddNumber(random, BigInt(Number.isFinite(old) ? Math.trunc(Math.abs(old)) : 0)));
    switch (random.below(6)) {
      case 0:
        one.data_offsets = other.data_offsets;
        break;
      case 1:
        one.dtype = random.pick(["F32", "F16", "BF16", "U8", "I8", "I64", "F8_E4M3", "F4", "BOOL", "", "f32", other.dtype]);
        break;
      case 2:
        one.shape = random.pick([other.shape, [], [0], [...one.shape, 1], one.shape.toReversed(), new Array<number>(20).fill(1)]);
        break;
      case 3:
        one.shape = one.shape.map((extent) => (random.once(2) ? odd(extent) : extent));
        break;
      case 4:
        one.data_offsets = [odd(one.data_offsets[0]), one.data_offsets[1]];
        break;
      default:
        one.data_offsets = [one.data_offsets[0], odd(one.data_offsets[1])];
    }
  }
  return join(JSON.stringify(json), data);
}

/** What can be done to a SafeTensors file. */
export const SAFETENSORS_MUTATORS: Readonly<Record<string, (random: Random, bytes: Uint8Array) => Uint8Array>> = {
  truncate,
  scribble: (random, bytes) => scribble(random, bytes, LENGTH + parts(bytes).header.length),
  "cut and paste": (random, bytes) => cutAndPaste(random, bytes, LENGTH + parts(bytes).header.length),
  fields: (random, bytes) => {
    const copy = bytes.slice();
    const view = new DataView(copy.buffer);
    view.setBigUint64(0, oddNumber(random, view.getBigUint64(0, true)), true);
    return copy;
  },
  structure: (random, bytes) => {
    const { header, data } = parts(bytes);
    return join(mutateJson(random, header), data);
  },
  entries,
  "odd floats": (random, bytes) => {
    const { header, data } = parts(bytes);
    const json = JSON.parse(header) as Record<string, Entry>;
    const { data_offsets } = random.pick(Object.entries(json).filter(([name]) => name !== "__metadata__"))[1];
    const start = bytes.length - data.length;
    return oddFloats(random, bytes, start + data_offsets[0], start + data_offsets[1]);
  },
};
