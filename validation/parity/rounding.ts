import { readFloats } from "../../engine/packing/dense.js";
import { encodeFloats } from "../../engine/packing/float-encode.js";

/** What rounding to the nearest of a plain float type changes at most, relative to the number: 2⁻ᵖ of a type with p significant bits. */
export const UNIT: Readonly<Record<string, number>> = { F32: 2 ** -24, F16: 2 ** -11, BF16: 2 ** -8 };
/** The least number of f16 that has all its digits. */
const LEAST_HALF = 2 ** -14;

/** What a block type's numbers may be off by. */
interface BlockRounding {
  /** How many numbers share a scale, and how many share the scale of these scales. */
  readonly block: number;
  readonly group: number;
  /** Parts of the largest magnitude in the block, and in the group. */
  readonly own: number;
  readonly shared: number;
  /** The largest code: f16 rounds small scales by 2⁻²⁵, which it multiplies. */
  readonly code: number;
}

/** How far a number of a block type may lie from the one it was made from: a step of the codes and the rounding of the scales to f16 and to 6 or 8 bits. */
const BLOCKS: Readonly<Record<string, BlockRounding>> = {
  // The largest is 127 steps: half a step, and the scale's rounding.
  Q8_0: { block: 32, own: 1 / 254 + 2 ** -11, group: 32, shared: 0, code: 127 },
  // The largest is some 32 steps; an optimiser of scales clips it by up to 2. The scale of 16 is one of 127 parts of the largest scale of 256.
  Q6_K: { block: 16, own: 2 / 32 + 2 ** -11, group: 256, shared: 1 / 254, code: 127 * 32 },
  // The largest is 8 steps; the opposite end is clipped by one.
  Q4_0: { block: 32, own: 1 / 8 + 2 ** -11, group: 32, shared: 0, code: 8 },
  // 15 steps from the least to the largest, one of them allowed; scale and minimum have 6 bits.
  Q4_K: { block: 32, own: 1 / 6, group: 256, shared: 1 / 32, code: 63 * 15 + 63 },
};

/** Types of codes with an f16 scale. Only the scale is rounded. */
const CODED = ["Q2_0", "Q2_0_128", "TQ1_0", "TQ2_0", "PQ2_0", "PTQ1_0", "Q1_0"];

/** The plain float type that a type's numbers are rounded to; undefined: blocks of codes. */
export function plainType(type: string): string | undefined {
  return CODED.includes(type) ? "F16" : UNIT[type] === undefined ? undefined : type;
}

/** A number that differs between the forms. Rows and columns count from 0. */
export interface Difference {
  readonly row: number;
  readonly column: number;
  readonly a: number;
  readonly b: number;
}

/** How two forms of a tensor differ. */
export interface Relation {
  /** Numbers. */
  readonly count: number;
  readonly changed: number;
  readonly first: Difference | undefined;
  /** Largest |b − a|. */
  readonly largest: number;
  /** What was allowed, or what is wrong. */
  readonly finding: string;
  readonly passed: boolean;
}

/** A rounding may be looked at as a whole only where so many numbers were rounded. */
const ENOUGH = 12;

/**
 * Compares the numbers of two forms of a tensor, a stretch at a time. Forms of one type must be equal. Where the types differ, one form is made
 * from the other, or both from a third: then each number is the nearest of its type, most numbers change where the narrower type can't hold
 * them, and the changes look like rounding: they are as large as the type makes them, and no common factor.
 */
export class Comparison {
  private count = 0;
  private changed = 0;
  /** Numbers that the narrower type could hold with all its digits: equal, and changed. */
  private equalNormals = 0;
  private changedNormals = 0;
  private least = Number.POSITIVE_INFINITY; // of b/a − 1
  private most = Number.NEGATIVE_INFINITY;
  private largest = 0;
  private first: Difference | undefined;
  /** The first number where a reading fails: b is a rounded; a is b rounded; both are roundings of a third. */
  private readonly misses: (Difference | undefined)[] = [undefined, undefined, undefined];
  private readonly plain: readonly [string | undefined, string | undefined];

  /** @param types of the two forms' numbers */
  constructor(
    private readonly types: readonly [string, string],
    /** Columns of a row. */
    private readonly columns: number,
  ) {
    this.plain = [plainType(types[0]), plainType(types[1])];
  }

  /** @param row the first row that is in the stretch, which holds whole rows */
  add(a: Float32Array, b: Float32Array, row: number): void {
    this.count += a.length;
    const [typeA, typeB] = this.plain;
    const same = (x: Float32Array) => new Uint8Array(x.buffer, x.byteOffset, x.byteLength);
    if (Buffer.compare(same(a), same(b)) === 0) {
      for (let i = 0; i < a.length; i++) if (Math.abs(a[i]!) >= LEAST_HALF) this.equalNormals++;
      return;
    }
    const [ofB, ofA] = [typeA && nearest(typeA, b), typeB && nearest(typeB, a)];
    const allowed = this.allowance(a, b);
    for (let i = 0; i < a.length; i++) {
      const [x, y] = [a[i]!, b[i]!];
      const isNormal = Math.abs(x) >= LEAST_HALF;
      if (x === y) {
        if (isNormal) this.equalNormals++;
        continue;
      }
      this.changed++;
      const difference = Math.abs(y - x);
      if (difference > this.largest) this.largest = difference;
      const missed = [ofA ? ofA[i] !== y : true, ofB ? ofB[i] !== x : true, !(difference <= allowed[i]!)];
      if (!this.first || missed.some((is, reading) => is && !this.misses[reading])) {
        const place = { row: row + Math.floor(i / this.columns), column: i % this.columns, a: x, b: y };
        this.first ??= place;
        for (const [reading, is] of missed.entries()) if (is) this.misses[reading] ??= place;
      }
      if (!isNormal) continue;
      this.changedNormals++;
      const part = y / x - 1;
      if (part < this.least) this.least = part;
      if (part > this.most) this.most = part;
    }
  }

  /** Most |b − a| of each number if both are roundings of a third. */
  private allowance(a: Float32Array, b: Float32Array): Float32Array {
    const allowed = new Float32Array(a.length);
    for (const [side, values] of [a, b].entries()) {
      const unit = this.plain[side] === undefined ? undefined : UNIT[this.plain[side]]!;
      const tiny = this.plain[side] === "F16" ? 2 ** -25 : 0; // f16 rounds small numbers by this much
      const blocks = BLOCKS[this.types[side]!];
      if (unit !== undefined) for (let i = 0; i < a.length; i++) allowed[i]! += unit * Math.abs(values[i]!) * (1 + 2 ** -10) + tiny;
      else if (blocks) {
        for (let i = 0; i < a.length; i++) allowed[i]! += blocks.code * 2 ** -25;
        // Of both sides: a block may have lost its largest.
        const shares = [
          [blocks.block, blocks.own],
          [blocks.group, blocks.shared],
        ] as const;
        for (const [width, share] of shares) {
          for (let from = 0; share > 0 && from < a.length; from += width) {
            let most = 0;
            const to = Math.min(a.length, from + width);
            for (let i = from; i < to; i++) most = Math.max(most, Math.abs(a[i]!), Math.abs(b[i]!));
            for (let i = from; i < to; i++) allowed[i]! += share * most;
          }
        }
      }
    }
    return allowed;
  }

  /** Judges all that was added. */
  result(): Relation {
    const { count, changed, first, largest, types, plain, misses } = this;
    const verdict = (passed: boolean, finding: string, at = first): Relation => ({ count, changed, first: at, largest, finding, passed });
    if (changed === 0) return verdict(true, "equal");
    if (types[0] === types[1]) return verdict(false, `both forms are ${types[0]}, so they must be equal`);
    const known = (type: string, side: number): boolean => plain[side] !== undefined || BLOCKS[type] !== undefined;
    if (!types.every(known)) return verdict(false, `the rounding is unknown for ${types.join(" and ")}`);
    // Of two plain types one may hold all numbers of the other: then only that one can be the original.
    const [a, b] = plain;
    const isThird = a === undefined || b === undefined || (a !== b && a !== "F32" && b !== "F32");
    const readings = [
      [b !== undefined && !misses[0], `b is a rounded to ${b}`],
      [a !== undefined && !misses[1], `a is b rounded to ${a}`],
      [isThird && !misses[2], `both within the rounding of ${types.join(" and ")}`],
    ] as const;
    const reading = readings.find(([fits]) => fits)?.[1];
    const narrow = a === "F32" ? 0 : b === "F32" ? 1 : 2;
    if (reading === undefined) {
      const where = isThird ? misses[2] : misses[narrow];
      return verdict(false, `the difference is larger than the rounding of ${types.join(" and ")}`, where);
    }
    if (a === undefined || b === undefined) return verdict(true, reading);
    const doubt = implausible(this, Math.max(UNIT[a]!, UNIT[b]!));
    return doubt === undefined ? verdict(true, reading) : verdict(false, doubt);
  }

  /** What `implausible` looks at. */
  get statistics(): Changes {
    const { equalNormals, changedNormals, least, most } = this;
    return { equalNormals, changedNormals, least, most };
  }
}

/** How numbers changed from one form to the other. */
export interface Changes {
  readonly equalNormals: number;
  readonly changedNormals: number;
  /** Of b/a − 1. */
  readonly least: number;
  readonly most: number;
}

/**
 * Why small changes can't come from rounding to the nearest of a type, if they can't. Its errors are spread evenly over at least ± half of its
 * unit: so few numbers stay equal, of a dozen not all errors are below an eighth of the unit (1 in 10⁷), nor are all alike.
 * @param unit of the narrower type
 */
export function implausible(of: Changes | Comparison, unit: number): string | undefined {
  const { equalNormals, changedNormals, least, most } = of instanceof Comparison ? of.statistics : of;
  if (changedNormals === 0) return undefined; // f16 can't hold small numbers
  if (equalNormals > changedNormals)
    return "most numbers are the same to the bit, so one form was made from the other, and the differences do not come from rounding";
  if (changedNormals < ENOUGH) return undefined;
  const part = (x: number): string => x.toPrecision(3);
  if (most - least < unit / 64)
    return `all numbers differ by one factor, 1 + ${part((most + least) / 2)}, which does not come from rounding`;
  if (Math.max(Math.abs(least), Math.abs(most)) < unit / 8)
    return `no number differs by more than ${part(Math.max(-least, most))} of its value, which is too small for rounding`;
  return undefined;
}

/** Numbers rounded to a plain float type, as f32. */
export function nearest(type: string, values: Float32Array): Float32Array {
  if (type === "F32") return values;
  const out = new Float32Array(values.length);
  readFloats(type, encodeFloats(type, values), out, values.length);
  return out;
}
