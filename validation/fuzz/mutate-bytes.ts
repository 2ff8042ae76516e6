import type { Random } from "./random.js";

/** Numbers that stand where lengths, counts, offsets and extents do. */
const ODD: readonly bigint[] = [
  0n,
  1n,
  2n,
  3n,
  7n,
  31n,
  32n,
  33n,
  255n,
  256n,
  65535n,
  65536n,
  2n ** 24n,
  2n ** 31n - 1n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 32n,
  10n * 2n ** 30n,
  2n ** 40n,
  2n ** 53n - 1n,
  2n ** 53n,
  2n ** 62n,
  2n ** 63n - 1n,
  2n ** 63n,
  2n ** 64n - 32n,
  2n ** 64n - 1n,
];

/** An absurd number, or one near `old`. */
export function oddNumber(random: Random, old: bigint): bigint {
  const near = [old + 1n, old - 1n, old * 2n, old / 2n, old + 32n, old - 32n, old + 256n, old * 3n, old ^ (1n << BigInt(random.below(40)))];
  return BigInt.asUintN(64, random.once(2) ? random.pick(near) : random.pick(ODD));
}

/** The first part, in whole per cents or thereabouts. */
export function truncate(random: Random, bytes: Uint8Array): Uint8Array {
  const length = Math.floor((bytes.length * random.below(100)) / 100) + (random.once(2) ? random.below(64) - 32 : 0);
  return bytes.subarray(0, Math.max(0, length));
}

/** Some bytes become others, or some bits turn, most often in the first `head` bytes. */
export function scribble(random: Random, bytes: Uint8Array, head: number): Uint8Array {
  const copy = bytes.slice();
  const bits = random.once(2);
  const whole = random.once(3);
  for (let left = 1 + random.below(random.pick([1, 4, 64])); left > 0; left--) {
    const at = random.below(whole ? copy.length : Math.min(head, copy.length));
    copy[at] = bits ? copy[at]! ^ (1 << random.below(8)) : random.pick([0, 255, 128, random.below(256)]);
  }
  return copy;
}

/** A stretch of bytes is lost, doubled, zeroed, moved or new. */
export function cutAndPaste(random: Random, bytes: Uint8Array, head: number): Uint8Array {
  const within = random.once(2) ? bytes.length : Math.min(head, bytes.length);
  const from = random.below(within);
  const length = Math.min(bytes.length - from, 1 + random.below(random.pick([8, 64, 4096])));
  const part = bytes.subarray(from, from + length);
  const [before, after] = [bytes.subarray(0, from), bytes.subarray(from + length)];
  const other = random.below(within);
  switch (random.below(5)) {
    case 0:
      return Buffer.concat([before, after]);
    case 1:
      return Buffer.concat([before, part, part, after]);
    case 2:
      return Buffer.concat([before, Buffer.alloc(length), after]);
    case 3:
      return Buffer.concat([before, bytes.subarray(other, other + length), after]);
    default:
      return Buffer.concat([before, Uint8Array.from({ length }, () => random.below(256)), after]);
  }
}

/** Bit patterns that no weight or scale should have: NaN, infinities, the largest, the smallest, −0, negative. */
const ODD_F32 = [0x7fc00000, 0x7f800000, 0xff800000, 0x7f7fffff, 0x00000001, 0x80000000, 0xbf800000, 0, 0x7fffffff, 0x3f800000];
const ODD_16 = [0x7e00, 0x7c00, 0xfc00, 0x7bff, 0x0001, 0x8000, 0xbc00, 0, 0x7fc0, 0x7f80, 0xff80, 0x7f7f, 0x3c00];

/** Odd floats in the weights, of which [from, to) is the range: at the end, at the begin or between, one or all over it. */
export function oddFloats(random: Random, bytes: Uint8Array, from: number, to: number): Uint8Array {
  const copy = bytes.slice();
  const view = new DataView(copy.buffer);
  const wide = random.once(2);
  const unit = wide ? 4 : 2;
  const value = random.pick(wide ? ODD_F32 : ODD_16);
  const put = (at: number): void => {
    if (at < from || at + unit > to) return;
    if (wide) view.setUint32(at, value, true);
    else view.setUint16(at, value, true);
  };
  const stride = random.pick([unit, 32, 34, 54, 66, 18, 210]);
  switch (random.below(5)) {
    case 0:
      put(to - 32); // the scale of I2_S
      break;
    case 1:
      put(from);
      break;
    case 2:
      put(from + unit * random.below((to - from) / unit));
      break;
    case 3:
      put(to - unit);
      break;
    default:
      for (let at = from + random.below(stride); at < to; at += stride) put(at);
  }
  return copy;
}
