import type { Automaton, Expression } from "./expression.js";
import { characters, choice, never, nothing, optional, repeat, sequence, text } from "./expression.js";

/**
 * Digits of a number: any decimal of 15 is another double than any other, so that comparing the digits is comparing the numbers (2^53 has 16).
 * It is also where a number of a model that finds no end stops.
 */
export const MOST_DIGITS = 15;
/** Digits behind the point of a number with bounds, where the bounds have no more. */
const USUAL_FRACTION = 6;

/** Numbers from `least` to `most`, both included or excluded. */
export interface Bounds {
  readonly least: number;
  readonly isLeastExcluded: boolean;
  readonly most: number;
  readonly isMostExcluded: boolean;
}

const digit = (first: number, last: number): Expression => characters([[0x30 + first, 0x30 + last]]);
const anyDigit = digit(0, 9);
const minus = text("-");
const point = text(".");

/** Whole numbers of at most 15 digits, without an exponent; there is no −0. */
export const anyInteger: Expression = choice(text("0"), sequence(optional(minus), digit(1, 9), repeat(anyDigit, 0, MOST_DIGITS - 1)));

/** Numbers of at most 15 digits before the point and after it, and two of an exponent: none is infinite as a double. */
export const anyNumber: Expression = sequence(
  optional(minus),
  choice(text("0"), sequence(digit(1, 9), repeat(anyDigit, 0, MOST_DIGITS - 1))),
  optional(sequence(point, repeat(anyDigit, 1, MOST_DIGITS))),
  optional(
    sequence(
      characters([
        [0x45, 0x45],
        [0x65, 0x65],
      ]),
      optional(
        characters([
          [0x2b, 0x2b],
          [0x2d, 0x2d],
        ]),
      ),
      repeat(anyDigit, 1, 2),
    ),
  ),
);

/** Whole numbers in bounds. */
export function integersIn(bounds: Bounds): Expression {
  return fixedPoint(lowerUnits(bounds, 0), upperUnits(bounds, 0), 0);
}

/** Numbers in bounds, written without an exponent. */
export function numbersIn(bounds: Bounds): Expression {
  const ends = [bounds.least, bounds.most].filter(Number.isFinite);
  const whole = Math.max(...ends.map((end) => String(Math.trunc(Math.abs(end))).length), ends.length < 2 ? 9 : 1);
  const wanted = Math.max(USUAL_FRACTION, ...ends.map(fractionDigits));
  const inDigits = (fraction: number): Expression => fixedPoint(lowerUnits(bounds, fraction), upperUnits(bounds, fraction), fraction);
  const fraction = Math.max(0, Math.min(wanted, MOST_DIGITS - whole));
  // Bounds with many digits leave few for fractions; smaller numbers may have more.
  return fraction < USUAL_FRACTION ? choice(inDigits(fraction), inDigits(USUAL_FRACTION)) : inDigits(fraction);
}

/** A finite double as ±digits · 10^exponent, the shortest that is read as it. */
function decimal(value: number): { readonly digits: bigint; readonly exponent: number } {
  const [mantissa = "", exponent = "0"] = String(value).split("e");
  const [whole = "", fraction = ""] = mantissa.split(".");
  return { digits: BigInt(whole + fraction), exponent: Number(exponent) - fraction.length };
}

function fractionDigits(value: number): number {
  return Math.min(MOST_DIGITS, Math.max(0, -decimal(value).exponent));
}

/** The largest whole number of units of 10^-fraction that is at most a value; and whether it is the value. Beyond all that are written: as far as they go. */
function floorUnits(value: number, fraction: number): { readonly units: bigint; readonly isExact: boolean } {
  const limit = power(MOST_DIGITS);
  if (Math.abs(value) >= 1e15) return { units: value < 0 ? -limit : limit, isExact: false };
  const { digits, exponent } = decimal(value);
  const shift = exponent + fraction;
  if (shift >= 0) return { units: digits * power(shift), isExact: true };
  // Beyond so many digits a double has none but zeros in front.
  const divisor = power(Math.min(-shift, 400));
  const quotient = digits / divisor;
  const isExact = quotient * divisor === digits;
  return { units: digits < 0n && !isExact ? quotient - 1n : quotient, isExact };
}

function lowerUnits({ least, isLeastExcluded }: Bounds, fraction: number): bigint {
  if (least <= -1e15) return 1n - power(MOST_DIGITS);
  const { units, isExact } = floorUnits(least, fraction);
  return isExact && !isLeastExcluded ? units : units + 1n;
}

function upperUnits({ most, isMostExcluded }: Bounds, fraction: number): bigint {
  if (most >= 1e15) return power(MOST_DIGITS) - 1n;
  const { units, isExact } = floorUnits(most, fraction);
  return isExact && isMostExcluded ? units - 1n : units;
}

const power = (exponent: number): bigint => BigInt(`1${"0".repeat(exponent)}`);

/** Decimals from `low` to `high`, in units of 10^-fraction; zeros behind the point may be left out. */
function fixedPoint(low: bigint, high: bigint, fraction: number): Expression {
  const limit = power(MOST_DIGITS) - 1n;
  const [from, to] = [low < -limit ? -limit : low, high > limit ? limit : high];
  if (from > to) return never;
  const options: Expression[] = [];
  if (from < 0n) options.push(sequence(minus, magnitudes(to < 0n ? -to : 1n, -from, fraction)));
  if (to >= 0n) options.push(magnitudes(from > 0n ? from : 0n, to, fraction));
  return choice(...options);
}

/** The same, of numbers that are not negative. */
function magnitudes(low: bigint, high: bigint, fraction: number): Expression {
  const unit = power(fraction);
  const [lowWhole, highWhole] = [low / unit, high / unit];
  if (fraction === 0) return wholes(low, high);
  const padded = (units: bigint): string => (units % unit).toString().padStart(fraction, "0");
  const [lowRest, highRest] = [padded(low), padded(high)];
  if (lowWhole === highWhole) return sequence(text(`${lowWhole}`), fractions(lowRest, highRest));
  return choice(
    sequence(text(`${lowWhole}`), fractions(lowRest, "9".repeat(fraction))),
    sequence(wholes(lowWhole + 1n, highWhole - 1n), fractions("0".repeat(fraction), "9".repeat(fraction))),
    sequence(text(`${highWhole}`), fractions("0".repeat(fraction), highRest)),
  );
}

/** A point and digits from `low` to `high`, which have the same number of digits, those left out being zeros; without a point where `low` is zero. */
function fractions(low: string, high: string): Expression {
  const withPoint = sequence(point, tails(low, high, true));
  return /^0*$/.test(low) ? choice(nothing, withPoint) : withPoint;
}

/** Digits from `low` to `high`. @param isFirst at least one must be there */
function tails(low: string, high: string, isFirst: boolean): Expression {
  if (low === "") return nothing;
  const [lowest, highest] = [Number(low[0]), Number(high[0])];
  const [nines, zeros] = ["9".repeat(low.length - 1), "0".repeat(low.length - 1)];
  const options: Expression[] = [];
  if (!isFirst && /^0*$/.test(low)) options.push(nothing);
  if (/^0*$/.test(low) && /^9*$/.test(high)) {
    options.push(repeat(anyDigit, 1, low.length));
  } else if (lowest === highest) {
    options.push(sequence(digit(lowest, lowest), tails(low.slice(1), high.slice(1), false)));
  } else {
    options.push(sequence(digit(lowest, lowest), tails(low.slice(1), nines, false)));
    if (lowest + 1 < highest) options.push(sequence(digit(lowest + 1, highest - 1), tails(zeros, nines, false)));
    options.push(sequence(digit(highest, highest), tails(zeros, high.slice(1), false)));
  }
  return choice(...options);
}

/** Whole numbers from `low` to `high`, without zeros in front. */
function wholes(low: bigint, high: bigint): Expression {
  const options: Expression[] = [];
  for (let from = low; from <= high; ) {
    const length = `${from}`.length;
    let to = power(length) - 1n;
    if (from === power(length - 1) && to <= high) {
      // All numbers of some lengths: in one, since each length on its own would take states of its own for each remainder of multipleOf.
      let longest = length;
      while (power(longest + 1) - 1n <= high) longest++;
      options.push(sequence(digit(1, 9), repeat(anyDigit, length - 1, longest - 1)));
      to = power(longest) - 1n;
    } else {
      if (to > high) to = high;
      options.push(sameLength(`${from}`, `${to}`));
    }
    from = to + 1n;
  }
  return choice(...options);
}

/** Digits from `low` to `high`, as many as they have. */
function sameLength(low: string, high: string): Expression {
  if (low === "") return nothing;
  const [lowest, highest] = [Number(low[0]), Number(high[0])];
  if (/^0*$/.test(low) && /^9*$/.test(high)) return repeat(anyDigit, low.length, low.length);
  if (lowest === highest) return sequence(digit(lowest, lowest), sameLength(low.slice(1), high.slice(1)));
  const [nines, zeros] = ["9".repeat(low.length - 1), "0".repeat(low.length - 1)];
  const options = [
    sequence(digit(lowest, lowest), sameLength(low.slice(1), nines)),
    sequence(digit(highest, highest), sameLength(zeros, high.slice(1))),
  ];
  if (lowest + 1 < highest) options.push(sequence(digit(lowest + 1, highest - 1), sameLength(zeros, nines)));
  return choice(...options);
}

/** Digits of whole multiples of a number, a minus before them or not: a state for each remainder, and one before the first digit. */
export function multiplesOf(divisor: number): Expression {
  const classes = new Uint8Array(256); // 10: no digit, 11: the minus
  classes.fill(10);
  for (let i = 0; i < 10; i++) classes[0x30 + i] = i;
  classes[0x2d] = 11;
  const classCount = 12;
  const [first, signed] = [0, 1];
  const next = new Int32Array((divisor + 2) * classCount).fill(-1);
  const accepting = new Uint8Array(divisor + 2);
  const stateOf = (remainder: number): number => remainder + 2;
  for (let i = 0; i < 10; i++) {
    next[first * classCount + i] = stateOf(i % divisor);
    next[signed * classCount + i] = stateOf(i % divisor);
    for (let remainder = 0; remainder < divisor; remainder++) {
      next[stateOf(remainder) * classCount + i] = stateOf((10 * remainder + i) % divisor);
    }
  }
  next[first * classCount + 11] = signed;
  accepting[stateOf(0)] = 1;
  const automaton: Automaton = { states: divisor + 2, classes, classCount, next, accepting };
  return { kind: "automaton", automaton };
}
