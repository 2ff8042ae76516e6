import { fail, TemplateFault } from "./fault.js";
import type { Meter } from "./meter.js";
import { trimmed } from "./text.js";
import { isInteger, isNumber, type Value } from "./values.js";

/** Digits of the largest integer: Python, too, writes none with more than 4300. */
const maxDigits = 4300;
const maxBits = Math.floor(maxDigits * Math.log2(10));
const largest = 2n ** BigInt(maxBits);

function tooLarge(): never {
  throw new TemplateFault("limit", `it has an integer of more than ${maxDigits} digits`);
}

/** An integer of a size that can be worked with. */
export function integer(value: bigint): bigint {
  return value > largest || value < -largest ? tooLarge() : value;
}

/** Counts what it costs to work with a number: nothing within 64 bits, beyond them as multiplying and dividing does. */
export function weigh(value: Value, meter: Meter): void {
  if (typeof value !== "bigint" || BigInt.asIntN(64, value) === value) return;
  const words = value.toString(16).length / 16;
  meter.step(Math.ceil(words ** 2 / 64));
}

export function toBig(value: bigint | boolean): bigint {
  return typeof value === "boolean" ? BigInt(value) : value;
}

/** Python's float(). */
export function toFloat(value: bigint | boolean | number): number {
  const float = Number(value);
  if (typeof value === "bigint" && !Number.isFinite(float)) fail("int too large to convert to float");
  return float;
}

/** An integer that counts or indexes: clamped to where numbers are exact. */
export function toIndex(value: Value, what = "an index"): number {
  if (!isInteger(value)) fail(`${what} must be an integer`);
  const big = toBig(value);
  const most = 2n ** 53n - 1n;
  return Number(big > most ? most : big < -most ? -most : big);
}

export type NumberOperator = "+" | "-" | "*" | "/" | "//" | "%" | "**";

/** Python's arithmetic of two numbers. */
export function arithmetic(
  operator: NumberOperator,
  a: bigint | boolean | number,
  b: bigint | boolean | number,
  meter: Meter,
): bigint | number {
  weigh(a, meter);
  weigh(b, meter);
  if (isInteger(a) && isInteger(b)) {
    const result = ofIntegers(operator, toBig(a), toBig(b));
    weigh(result, meter);
    return result;
  }
  return ofFloats(operator, toFloat(a), toFloat(b));
}

function ofIntegers(operator: NumberOperator, a: bigint, b: bigint): bigint | number {
  switch (operator) {
    case "+":
      return integer(a + b);
    case "-":
      return integer(a - b);
    case "*":
      return integer(a * b);
    case "**":
      return power(a, b);
  }
  if (b === 0n) fail(operator === "/" ? "division by zero" : "integer division or modulo by zero");
  if (operator === "/") return divide(a, b);
  const rest = a % b;
  const isBelow = rest !== 0n && rest < 0n !== b < 0n; // JavaScript rounds towards 0, Python down
  if (operator === "%") return isBelow ? rest + b : rest;
  return isBelow ? a / b - 1n : a / b;
}

/** a / b rounded once, also where a and b are beyond what a float holds. */
function divide(a: bigint, b: bigint): number {
  const exact = 2n ** 53n;
  if (a <= exact && a >= -exact && b <= exact && b >= -exact) return Number(a) / Number(b);
  const isNegative = a < 0n !== b < 0n;
  const [top, bottom] = [a < 0n ? -a : a, b < 0n ? -b : b];
  // 64 bits of the quotient and one more for what is left: Number() then rounds as if all bits were there.
  const shift = top.toString(2).length - bottom.toString(2).length - 64;
  const [up, down] = shift > 0 ? [top, bottom << BigInt(shift)] : [top << BigInt(-shift), bottom];
  const quotient = ((up / down) << 1n) | (up % down === 0n ? 0n : 1n);
  const result = Number(quotient) * 2 ** (shift - 1);
  if (!Number.isFinite(result)) fail("integer division result too large for a float");
  return isNegative ? -result : result;
}

function power(a: bigint, b: bigint): bigint | number {
  if (b < 0n) return a === 0n ? fail("0.0 cannot be raised to a negative power") : ofFloats("**", toFloat(a), toFloat(b));
  const bits = (a < 0n ? -a : a).toString(2).length;
  if (a > 1n || a < -1n) if (BigInt(bits - 1) * b > BigInt(maxBits)) tooLarge();
  return a === -1n ? (b % 2n === 0n ? 1n : -1n) : a === 0n || a === 1n ? (b === 0n ? 1n : a) : integer(a ** b);
}

function ofFloats(operator: NumberOperator, a: number, b: number): number {
  switch (operator) {
    case "+":
      return a + b;
    case "-":
      return a - b;
    case "*":
      return a * b;
    case "**": {
      if (a === 0 && b < 0) fail("0.0 cannot be raised to a negative power");
      if (a < 0 && Number.isFinite(b) && !Number.isInteger(b)) fail("complex numbers are not supported");
      if (a === 1 || b === 0) return 1;
      const result = a ** b;
      if (!Number.isFinite(result) && Number.isFinite(a) && Number.isFinite(b)) fail("(34, 'Numerical result out of range')");
      return result;
    }
  }
  if (b === 0) fail(operator === "/" ? "float division by zero" : "float modulo");
  if (operator === "/") return a / b;
  // As CPython's float_divmod.
  let rest = a % b;
  let quotient = (a - rest) / b;
  if (rest !== 0) {
    if (b < 0 !== rest < 0) {
      rest += b;
      quotient -= 1;
    }
  } else rest = b < 0 ? -0 : 0;
  if (operator === "%") return rest;
  if (quotient === 0) return a / b < 0 || Object.is(a / b, -0) ? -0 : 0;
  const floor = Math.floor(quotient);
  return quotient - floor > 0.5 ? floor + 1 : floor;
}

export function negate(value: Value): bigint | number {
  if (typeof value === "number") return -value;
  return isInteger(value) ? -toBig(value) : fail("bad operand type for unary -");
}

/** A number and no text that looks like one. */
export function number(value: Value, what: string): bigint | number {
  if (!isNumber(value)) fail(`${what} must be a number`);
  return typeof value === "number" ? value : toBig(value);
}

/** Steps that a float costs which is rounded or written by its exact value. */
export const exactSteps = 64;

/** Numerator and denominator of a finite float, exactly. */
function ratio(value: number): [bigint, bigint] {
  let shift = 0;
  let whole = value;
  while (!Number.isInteger(whole)) {
    whole *= 2;
    shift++;
  }
  return [BigInt(whole), 1n << BigInt(shift)];
}

/** n/d rounded to an integer, halves to the even one; d > 0. */
function roundRatio(n: bigint, d: bigint): bigint {
  const down = n >= 0n ? n / d : -((-n + d - 1n) / d);
  const twice = 2n * (n - down * d);
  return twice > d || (twice === d && down % 2n !== 0n) ? down + 1n : down;
}

/** The most decimals that a float is written with. */
const maxDecimals = 1100;

/** A finite float times 10^decimals, rounded as Python's formatting rounds: to the nearest by its exact value, halves to even. */
export function scaled(value: number, decimals: number): bigint {
  if (decimals > maxDecimals) throw new TemplateFault("limit", `it writes a number with more than ${maxDecimals} decimals`);
  const [n, d] = ratio(value);
  return decimals >= 0 ? roundRatio(n * 10n ** BigInt(decimals), d) : roundRatio(n, d * 10n ** BigInt(-decimals));
}

/** C's %.{decimals}f of a finite float. */
export function fixed(value: number, decimals: number): string {
  const whole = scaled(Math.abs(value), decimals);
  const digits = String(whole).padStart(decimals + 1, "0");
  const sign = value < 0 || Object.is(value, -0) ? "-" : "";
  return sign + (decimals === 0 ? digits : `${digits.slice(0, -decimals)}.${digits.slice(-decimals)}`);
}

/** Python's round(value, digits). */
export function round(value: bigint | number, digits: number): bigint | number {
  if (typeof value === "bigint") {
    if (digits >= 0) return value;
    if (digits < -maxDigits) return 0n;
    const unit = 10n ** BigInt(-digits);
    return roundRatio(value, unit) * unit;
  }
  if (!Number.isFinite(value) || digits > 323) return value;
  if (digits < -308) return value < 0 || Object.is(value, -0) ? -0 : 0;
  const result = digits >= 0 ? Number(fixed(value, digits)) : Number(scaled(value, digits)) * 10 ** -digits;
  return result === 0 && (value < 0 || Object.is(value, -0)) ? -0 : result;
}

/** Python's int(text, base); undefined for what is no integer. */
export function parseInteger(text: string, base: number): bigint | undefined {
  if (base !== 0 && (base < 2 || base > 36)) fail("int() base must be >= 2 and <= 36, or 0");
  const match = /^([+-]?)(0[xX]|0[oO]|0[bB])?_?([0-9a-zA-Z_]+)$/.exec(trimmed(text));
  if (!match || text.length > maxDigits) return undefined;
  const [, sign, prefix, rest] = match as unknown as [string, string, string | undefined, string];
  const bases: Readonly<Record<string, number>> = { x: 16, o: 8, b: 2 };
  const prefixBase = prefix === undefined ? undefined : bases[prefix[1]!.toLowerCase()];
  let digits = rest;
  let radix = base === 0 ? 10 : base;
  if (prefixBase !== undefined) {
    if (base === 0 || base === prefixBase) radix = prefixBase;
    else digits = prefix + rest; // 0b1 is a number of base 16
  } else if (base === 0 && /^0+[1-9]/.test(digits.replaceAll("_", ""))) return undefined;
  if (/__|^_|_$/.test(digits)) return undefined;
  const plain = digits.replaceAll("_", "").toLowerCase();
  for (const digit of plain) if (Number.parseInt(digit, 36) >= radix) return undefined;
  let value = 0n;
  const size = 10; // 36^10 is an exact number
  for (let at = 0; at < plain.length; at += size) {
    const part = plain.slice(at, at + size);
    value = value * BigInt(radix) ** BigInt(part.length) + BigInt(Number.parseInt(part, radix));
  }
  return sign === "-" ? -value : value;
}

/** Python's float(text); undefined for what is no float. */
export function parseReal(text: string): number | undefined {
  const word = trimmed(text);
  const named = /^([+-]?)(inf|infinity|nan)$/i.exec(word);
  if (named) return named[2]!.toLowerCase() === "nan" ? Number.NaN : named[1] === "-" ? -Infinity : Infinity;
  if (!/^[+-]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9][0-9_]*)?$/.test(word)) return undefined;
  if (/__|_[^0-9]|[^0-9]_|_$/.test(word)) return undefined;
  return Number(word.replaceAll("_", ""));
}
