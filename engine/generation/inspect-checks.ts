import type { ModelConfig } from "../model/config.js";
import type { TensorInspection } from "./inspection.js";

/** One rule that a sound model fulfils. */
export interface InspectionCheck {
  readonly rule: "readable" | "norms" | "tables" | "scales" | "zeros" | "signs" | "multiplied scales" | "frequencies";
  readonly passed: boolean;
  /** What was found, a sentence. */
  readonly finding: string;
}

// Far outside of what trained models have, on both sides; damage and wrong conversions are further out still.
/** RMS of a norm's weights. Trained ones: 0.01 in first layers to 30 in last ones. */
const NORM_RMS = [1e-3, 100] as const;
/** RMS of an embedding or output head. Trained ones: 0.01 to 2. */
const TABLE_RMS = [1e-4, 16] as const;
/** Scale of a linear layer. Trained ones: 0.005 (small models) to 3 (2B4T: 1 to 2). */
const SCALE = [1e-6, 16] as const;
/** Share of zeros in a linear layer. Rounding at half the mean leaves 25 % of even, 31 % of normal and 39 % of Laplacian weights. */
const ZEROS = [0.1, 0.75] as const;
/** Difference of the counts of 1 and −1, over their sum: weights have no sign to prefer. */
const SKEW = [-0.2, 0.2] as const;
/** Written-out ternary weights of this magnitude are no model's. */
const MOST_MAGNITUDE = 8;

/** Judges what was found. */
export function checksOf(tensors: readonly TensorInspection[], config: ModelConfig): readonly InspectionCheck[] {
  const faults = tensors.filter(({ fault }) => fault !== undefined);
  const linears = tensors.filter(({ role }) => role === "linear");
  const of = (...roles: readonly string[]): Measured[] =>
    tensors.filter(({ role }) => roles.includes(role)).flatMap(({ name, rms }) => (rms === undefined ? [] : [{ name, values: [rms] }]));
  const scales = linears.flatMap(({ name, scale }) => (scale ? [{ name, values: [scale.least, scale.most] }] : []));
  const counts = linears.flatMap(({ name, codes }) => (codes ? [{ name, codes }] : []));
  const zeros = counts.map(({ name, codes: [minus, zero, plus] }) => ({ name, values: [zero / (minus + zero + plus)] }));
  const skews = counts.map(({ name, codes: [minus, , plus] }) => ({ name, values: [(plus - minus) / Math.max(1, plus + minus)] }));
  const percent = (value: number): string => `${(100 * value).toFixed(1)} %`;
  return [
    {
      rule: "readable",
      passed: faults.length === 0,
      finding:
        faults.length === 0
          ? `all ${tensors.length} tensors can be read`
          : `${faults.length} of ${tensors.length} tensors can't be read; the first: ${faults[0]!.fault}`,
    },
    within("norms", "RMS of the norms", of("norm"), NORM_RMS, short),
    within("tables", "RMS of embedding and head", of("embedding", "head"), TABLE_RMS, short),
    within("scales", "scales of the linear layers", scales, SCALE, short),
    within("zeros", "zeros in the linear layers", zeros, ZEROS, percent),
    within("signs", "excess of 1 over −1 in the linear layers", skews, SKEW, percent),
    dividedScales(linears, config),
    ...frequencies(tensors, config),
  ];
}

interface Measured {
  readonly name: string;
  readonly values: readonly number[];
}

/** Whether all values lie in an interval. */
function within(
  rule: InspectionCheck["rule"],
  what: string,
  measured: readonly Measured[],
  [least, most]: readonly [number, number],
  show: (value: number) => string,
): InspectionCheck {
  const outside = measured.filter(({ values }) => !values.every((value) => value >= least && value <= most));
  const allowed = `allowed: ${show(least)} to ${show(most)}`;
  if (measured.length === 0) return { rule, passed: true, finding: `${what}: none` };
  if (outside.length > 0) {
    const named = outside.slice(0, 3).map(({ name, values }) => `${name} has ${[...new Set(values.map(show))].join(" to ")}`);
    const more = outside.length > 3 ? `, and ${outside.length - 3} more` : "";
    return { rule, passed: false, finding: `${what}: ${named.join(", ")}${more}; ${allowed}` };
  }
  const values = measured.flatMap((tensor) => tensor.values);
  return { rule, passed: true, finding: `${what}: ${show(smallest(values))} to ${show(largest(values))}; ${allowed}` };
}

const smallest = (values: readonly number[]): number => values.reduce((least, value) => Math.min(least, value));
const largest = (values: readonly number[]): number => values.reduce((most, value) => Math.max(most, value));
const short = (value: number): string => String(Number(value.toPrecision(4)));

/** Only for files that have such tensors. */
function frequencies(tensors: readonly TensorInspection[], { ropeTheta }: ModelConfig): InspectionCheck[] {
  const stored = tensors.filter(({ role }) => role === "frequencies");
  if (stored.length === 0) return [];
  const odd = stored.find(({ agrees }) => agrees === false);
  const count = stored.length === 1 ? "1 tensor contains" : `${stored.length} tensors contain`;
  const found = `${count} RoPE frequencies, which are ignored: they follow from theta ${ropeTheta}`;
  const finding = odd ? `${found}, but those of ${odd.name} differ` : found;
  return [{ rule: "frequencies", passed: odd === undefined, finding }];
}

/** How far from a product of exactly 1 a float type's rounding of 1/b may take it. */
const ROUNDING: Readonly<Record<string, number>> = { F32: 2 ** -22, F16: 2 ** -11 };

/**
 * The official converter makes F32 and F16 files of packed checkpoints by dividing by `weight_scale`, which in BitNet's own family is to be
 * multiplied by. Such files can be recognised: every magnitude is 1/b of some bf16 number b, and not itself bf16. In families whose checkpoints
 * store the inverse, dividing is right, and only an impossible magnitude tells.
 */
function dividedScales(linears: readonly TensorInspection[], config: ModelConfig): InspectionCheck {
  const rule = "multiplied scales";
  const written = linears.filter(({ floats, scale }) => floats === "ternary" && scale !== undefined);
  if (written.length === 0) return { rule, passed: true, finding: "no linear layer has ternary weights stored as floats" };
  const magnitudes = written.map(({ scale }) => scale!.most);
  const median = [...magnitudes].sort((a, b) => a - b)[Math.floor(magnitudes.length / 2)]!;
  const inverses =
    written.every(({ type }, i) => Math.abs(magnitudes[i]! * bf16(1 / magnitudes[i]!) - 1) <= (ROUNDING[type] ?? -1)) &&
    magnitudes.some((magnitude) => bf16(magnitude) !== magnitude);
  const bad = median > MOST_MAGNITUDE || (inverses && config.subNorms);
  const found = `${written.length} linear layers have ternary weights stored as floats, with magnitudes around ${short(median)}`;
  if (!bad) return { rule, passed: true, finding: found };
  const why = inverses ? "each the inverse of a bf16 number" : "larger than in any model";
  return {
    rule,
    passed: false,
    finding:
      `${found}, ${why}: the official converter writes such files from packed checkpoints, because it divides by weight_scale where the model multiplies; ` +
      `1/${short(median)} = ${short(1 / median)} is probably right: convert the original checkpoint again (bitnet convert), or use its I2_S file; --probe tells for certain`,
  };
}

/** The nearest bf16 number. */
function bf16(value: number): number {
  const words = new Int32Array(Float32Array.of(value).buffer);
  words[0] = (words[0]! + 0x8000) & 0xffff0000;
  return new Float32Array(words.buffer)[0]!;
}
