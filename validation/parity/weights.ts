import { createHash } from "node:crypto";
import { type Checkpoint, openCheckpoint, type TensorInfo } from "../../engine/container/checkpoint.js";
import { lookAt, readCodes } from "../../engine/conversion/layer.js";
import { BitnetError } from "../../engine/errors.js";
import type { FileOptions } from "../../engine/index.js";
import { type ModelConfig, readConfig } from "../../engine/model/config.js";
import { asMultipliers, type FloatRole, layerFloats, layerLinears } from "../../engine/model/layers.js";
import { type LinearSource, type NetworkSources, readWeights } from "../../engine/model/weights.js";
import { floatBytes, readFloats } from "../../engine/packing/dense.js";
import { finite } from "./figures.js";
import { Comparison, type Difference, implausible, nearest, plainType, type Relation, UNIT } from "./rounding.js";
import { givenOptions } from "./sides.js";
import type { SideRecord, TensorReport, WeightsReport } from "./types.js";

/** What to compare, and how. */
export interface WeightsOptions {
  readonly models: readonly [a: string, b: string];
  readonly files?: FileOptions | undefined;
  /** Of b, where they are others. */
  readonly filesB?: FileOptions | undefined;
  /** Every number must be equal; rounding is not allowed. */
  readonly exact?: boolean | undefined;
  /** A share of the bytes of both forms. */
  readonly onProgress?: ((share: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** One form, open. */
interface Form {
  readonly checkpoint: Checkpoint;
  readonly config: ModelConfig;
  readonly sources: NetworkSources;
  read(tensor: TensorInfo, start: number, length: number): Promise<Uint8Array>;
}

/** What determines the tensors and their shapes. */
const SIZES = [
  ...(["layers", "hiddenSize", "attentionSize", "headDim", "kvHeads", "ffnSize", "vocabSize"] as const),
  ...(["subNorms", "innerNorms", "postNorms", "qkNorms"] as const),
];

/** Sums over master weights may be in another order: their scale may differ by this part. */
const SUM_ORDER = 2 ** -18;

/** Numbers of a table in work at a time, about. */
const STRETCH = 2 ** 20;

/**
 * Compares two forms of a model tensor by tensor: ternary codes exactly, other numbers exactly or within the rounding of their types (see
 * `Comparison`). Nothing is computed with them; a tensor of each form is in memory at a time, tables in stretches.
 * @throws BitnetError: a file is bad; usage: the two are not forms of one model
 */
export async function compareWeights({ models, files = {}, filesB = files, ...options }: WeightsOptions): Promise<WeightsReport> {
  const { exact = false, onProgress, signal } = options;
  const open = [await openCheckpoint(models[0])];
  try {
    open.push(await openCheckpoint(models[1]));
    const total = open.reduce((sum, { byteLength }) => sum + byteLength, 0);
    let done = 0;
    const form = async (checkpoint: Checkpoint, given: FileOptions): Promise<Form> => {
      const config = await readConfig(checkpoint, given);
      const read: Form["read"] = async (tensor, start, length) => {
        signal?.throwIfAborted();
        done += length;
        onProgress?.(Math.min(1, done / total));
        return checkpoint.read(tensor, start, length);
      };
      return { checkpoint, config, sources: readWeights(checkpoint, config, given), read };
    };
    const forms = [await form(open[0]!, files), await form(open[1]!, filesB)] as const;
    requireAlike(forms);
    const tensors = await new Pair(forms, exact).compare();
    const record = async ({ checkpoint }: Form, given: FileOptions): Promise<SideRecord> => {
      const { path, format } = checkpoint;
      return { path, format, sha256: await checkpoint.sha256(), kernels: "none", ...givenOptions(given) };
    };
    return {
      sides: { a: await record(forms[0], files), b: await record(forms[1], filesB) },
      exact,
      compared: tensors.length,
      equal: tensors.filter(({ changed, verdict }) => changed === 0 && verdict === "PASS").length,
      numbers: tensors.reduce((sum, { count }) => sum + count, 0),
      changed: tensors.filter(({ changed, verdict }) => changed > 0 || verdict === "FAIL"),
      verdict: tensors.every(({ verdict }) => verdict === "PASS") ? "PASS" : "FAIL",
    };
  } finally {
    for (const checkpoint of open) await checkpoint.close();
  }
}

/** @throws BitnetError usage */
function requireAlike([a, b]: readonly [Form, Form]): void {
  for (const key of SIZES) {
    const [x, y] = [a.config[key], b.config[key]];
    if (x === y) continue;
    throw new BitnetError(
      "usage",
      `${a.checkpoint.path} has ${key} ${x} and ${b.checkpoint.path} ${y}: parity compares two forms of one model`,
    );
  }
}

/** How a file stores a scale. */
interface ScaleType {
  /** "masters": it is computed from master weights. */
  readonly type: string;
  readonly inverse: boolean;
}

/** The one scale of a ternary layer in both forms. */
interface ScalePair {
  readonly names: readonly [string, string];
  readonly types: readonly [ScaleType, ScaleType];
  readonly values: readonly [number, number];
}

type Part = TensorReport["part"];

/** Two forms that are compared. */
class Pair {
  private readonly reports: TensorReport[] = [];
  private readonly scales: ScalePair[] = [];

  constructor(
    private readonly forms: readonly [Form, Form],
    private readonly exact: boolean,
  ) {}

  /** Everything, in the order of the network. Scales come last, because they are judged together. */
  async compare(): Promise<TensorReport[]> {
    const [a, b] = this.forms.map(({ sources }) => sources) as [NetworkSources, NetworkSources];
    await this.table(a.embedding, b.embedding, "embedding");
    for (const [index, layer] of a.layers.entries()) {
      const other = b.layers[index]!;
      const norms = new Map(layerFloats(other));
      for (const [role, norm] of layerFloats(layer)) await this.table(norm, norms.get(role)!, "norm", role);
      const linears = new Map(layerLinears(other));
      for (const [role, linear] of layerLinears(layer)) await this.linear(linear, linears.get(role)!);
    }
    await this.table(a.outputNorm, b.outputNorm, "norm", "outputNorm");
    // A form without a head uses its embedding.
    if (a.head || b.head) await this.table(a.head ?? a.embedding, b.head ?? b.embedding, "head");
    this.factors();
    this.judgeScales();
    return this.reports;
  }

  private report(part: Part, names: readonly [string, string], types: readonly [string, string], relation: Relation, moved?: Moved): void {
    const { count, changed, first, largest, passed } = relation;
    const allowed = passed && !(this.exact && changed > 0);
    const finding = passed && !allowed ? `${relation.finding}, but these two files must be equal` : relation.finding;
    this.reports.push({
      ...{ part, a: names[0], b: names[1], types, count, changed },
      first: first ? { row: first.row, column: first.column, a: finite(first.a), b: finite(first.b) } : null,
      largest: changed > 0 ? finite(largest) : null,
      moved: moved ?? null,
      finding,
      verdict: allowed ? "PASS" : "FAIL",
    });
  }

  /** A table [rows, columns] or a norm [size], which is one row. @param role of a norm: forms may store it otherwise */
  private async table(a: TensorInfo, b: TensorInfo, part: Part, role?: FloatRole | "outputNorm"): Promise<void> {
    const [rows, columns] = a.shape.length === 2 ? [a.shape[0]!, a.shape[1]!] : [1, a.shape.reduce((x, y) => x * y, 1)];
    const types = [a.type, b.type] as const;
    const sameForm = role === undefined || this.forms[0].config.normsFromOne === this.forms[1].config.normsFromOne;
    /** What is multiplied by, of a norm. */
    const meant = (side: 0 | 1, values: Float32Array): Float32Array => {
      if (role !== undefined) asMultipliers(values, role, this.forms[side].config);
      return values;
    };
    // A sum with 1 is f32.
    const precision = (side: 0 | 1): string => (role !== undefined && this.forms[side].config.normsFromOne ? "F32" : types[side]);
    const comparison = new Comparison([precision(0), precision(1)], columns);
    const most = Math.max(1, Math.floor(STRETCH / columns));
    let count = 0; // of numbers whose bytes are the same
    for (let row = 0; row < rows; row += most) {
      const held = Math.min(most, rows - row);
      const bytes = [await this.rows(0, a, row, held, columns), await this.rows(1, b, row, held, columns)] as const;
      if (sameForm && a.type === b.type && Buffer.compare(...bytes) === 0) count += held * columns;
      else comparison.add(meant(0, floats(a.type, bytes[0], held * columns)), meant(1, floats(b.type, bytes[1], held * columns)), row);
    }
    const found = comparison.result();
    const relation = { ...found, count: found.count + count };
    const moved = relation.passed || rows === 1 ? undefined : await this.movedRows(a, b, rows, columns);
    this.report(part, [a.name, b.name], types, relation, moved);
  }

  private rows(side: 0 | 1, tensor: TensorInfo, row: number, rows: number, columns: number): Promise<Uint8Array> {
    const [start, length] = [floatBytes(tensor.type, row * columns), floatBytes(tensor.type, rows * columns)];
    return this.forms[side].read(tensor, start, length);
  }

  /** Rows of a table that are in another place in the other form. They are recognised by their numbers in bf16, so that rounding hides few of them. */
  private async movedRows(a: TensorInfo, b: TensorInfo, rows: number, columns: number): Promise<Moved | undefined> {
    const keys = async (side: 0 | 1, tensor: TensorInfo): Promise<string[]> => {
      const found: string[] = [];
      const most = Math.max(1, Math.floor(STRETCH / columns));
      for (let row = 0; row < rows; row += most) {
        const held = Math.min(most, rows - row);
        const values = nearest("BF16", floats(tensor.type, await this.rows(side, tensor, row, held, columns), held * columns));
        for (let at = 0; at < values.length; at += columns) found.push(keyOf(values.subarray(at, at + columns)));
      }
      return found;
    };
    return movedOf(await keys(0, a), await keys(1, b));
  }

  /** A ternary layer: its codes, and its scale or its groups' scales. */
  private async linear(a: LinearSource, b: LinearSource): Promise<void> {
    const { rows, columns } = a;
    const names = [a.tensor.name, b.tensor.name] as const;
    const layers = [await lookAt(a, this.forms[0].read), await lookAt(b, this.forms[1].read)] as const;
    const read = [await readCodes(layers[0], this.forms[0].read), await readCodes(layers[1], this.forms[1].read)] as const;
    const [x, y] = [read[0].codes, read[1].codes];
    let changed = 0;
    let first: Difference | undefined;
    if (Buffer.compare(x, y) !== 0) {
      for (let i = 0; i < x.length; i++) {
        if (x[i] === y[i]) continue;
        changed++;
        first ??= { row: Math.floor(i / columns), column: i % columns, a: x[i]! - 1, b: y[i]! - 1 };
      }
    }
    const keys = (codes: Uint8Array): string[] =>
      Array.from({ length: rows }, (_, row) => keyOf(codes.subarray(row * columns, (row + 1) * columns)));
    const moved = changed > 0 ? movedOf(keys(x), keys(y)) : undefined;
    const finding = changed > 0 ? "codes of ternary weights must be equal" : "equal";
    const types = [a.tensor.type, b.tensor.type] as const;
    const largest = changed > 0 ? 1 : 0; // of codes; they count as numbers without their scale
    this.report("codes", names, types, { count: x.length, changed, first, largest, finding, passed: changed === 0 }, moved);

    const scaleNames = [a.scale?.name ?? a.tensor.name, b.scale?.name ?? b.tensor.name] as const;
    const kinds = [await this.scaleType(0, a, layers[0].how?.scale), await this.scaleType(1, b, layers[1].how?.scale)] as const;
    if (layers[0].scale !== undefined && layers[1].scale !== undefined) {
      this.scales.push({ names: scaleNames, types: kinds, values: [layers[0].scale, layers[1].scale] });
      return;
    }
    // Scales of groups: those of the form with the smaller groups, where they have weights other than 0 to scale.
    const width = Math.min(layers[0].scaleBlock, layers[1].scaleBlock);
    const groups = Math.ceil(columns / width);
    const used = new Uint8Array(rows * groups);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const i = row * columns + column;
        if (x[i] !== 1 && y[i] !== 1) used[row * groups + Math.floor(column / width)] = 1;
      }
    }
    const spread = (side: 0 | 1): Float32Array => {
      const { scaleBlock } = layers[side];
      const own = Math.ceil(columns / scaleBlock);
      const { scales } = read[side];
      return Float32Array.from(used, (is, i) =>
        is === 0 ? 0 : scales[Math.floor(i / groups) * own + Math.floor(((i % groups) * width) / scaleBlock)]!,
      );
    };
    const comparison = new Comparison([kinds[0].type, kinds[1].type], groups);
    comparison.add(spread(0), spread(1), 0);
    const relation = comparison.result();
    const at = relation.first && { ...relation.first, column: relation.first.column * width };
    this.report("scale", scaleNames, [kinds[0].type, kinds[1].type], { ...relation, first: at });
  }

  /** How a form stores a layer's scale. @param computed from weights that are masters, or dequantised: only reading them shows which */
  private async scaleType(side: 0 | 1, { tensor, scale, columns, inverseScale }: LinearSource, computed?: number): Promise<ScaleType> {
    if (scale) return { type: scale.type, inverse: inverseScale };
    if (tensor.type === "I2_S") return { type: "F32", inverse: false };
    const type = plainType(tensor.type)!;
    if (computed === undefined) return { type, inverse: false };
    const row = floats(tensor.type, await this.rows(side, tensor, 0, 1, columns), columns);
    return { type: row.every((w) => w === 0 || Math.abs(w) === computed) ? type : "masters", inverse: false };
  }

  /** RoPE's factors, which a GGUF holds in a tensor and a config.json in a list. */
  private factors(): void {
    const [x, y] = this.forms.map(({ config }) => Float32Array.from(config.ropeFactors ?? [])) as [Float32Array, Float32Array];
    if (x.length === 0 && y.length === 0) return;
    const names = ["rope_freqs", "rope_freqs"] as const;
    if (x.length !== y.length) {
      const finding = `a has ${x.length} RoPE factors and b has ${y.length}`;
      const count = Math.max(x.length, y.length);
      const relation = { count, changed: count, first: undefined, largest: Number.NaN, finding, passed: false };
      this.report("rope", names, ["F32", "F32"], relation);
      return;
    }
    const comparison = new Comparison(["F32", "F32"], x.length);
    comparison.add(x, y, 0);
    this.report("rope", names, ["F32", "F32"], comparison.result());
  }

  /** Judges the scales of all layers with the same types together: together they show what one alone can't. */
  private judgeScales(): void {
    const families = new Map<string, ScalePair[]>();
    for (const pair of this.scales) {
      const key = JSON.stringify(pair.types);
      families.set(key, [...(families.get(key) ?? []), pair]);
    }
    for (const family of families.values()) {
      const [a, b] = family[0]!.types;
      const parts = family.map(({ values: [x, y] }) => y / x - 1);
      const off = parts.filter((part) => Math.abs(part) > orderOf(a, b));
      const isWithin = ({ values }: ScalePair): boolean => Math.abs(values[1] / values[0] - 1) <= mostOff(a, b, values);
      const within = family.filter((pair, i) => Math.abs(parts[i]!) > orderOf(a, b) && isWithin(pair));
      const equal = parts.length - off.length;
      // Of f32 numbers that are rounded to 16 bits one in 2¹³ stays what it is, so two can't be equal by chance.
      const doubt =
        within.length === 0
          ? undefined
          : equal >= 2
            ? `the scales of ${equal} other layers are the same to the bit, so one form was made from the other, and the differences do not come from rounding`
            : implausible(
                { equalNormals: 0, changedNormals: off.length, least: Math.min(...off), most: Math.max(...off) },
                Math.max(UNIT[a.type] ?? 0, UNIT[b.type] ?? 0),
              );
      const rounded = [a, b].filter(({ type }) => UNIT[type]! > UNIT.F32!).map(({ type }) => type);
      for (const [i, pair] of family.entries()) {
        const { names, values, types } = pair;
        const [x, y] = values;
        const label = types.map(({ type, inverse }) => (inverse ? `1/${type}` : type)) as [string, string];
        const isOff = Math.abs(parts[i]!) > orderOf(a, b);
        const difference = { row: 0, column: 0, a: x, b: y };
        const relation = { count: 1, changed: x === y ? 0 : 1, first: x === y ? undefined : difference, largest: Math.abs(y - x) };
        const [passed, finding] = !isOff
          ? [true, x === y ? "equal" : "equal except for the order of a sum"]
          : !isWithin(pair)
            ? [
                false,
                a.type === b.type || rounded.length === 0
                  ? `scales of type ${label.join(" and ")} must be equal`
                  : `the scales differ by more than the rounding of ${rounded.join(" and ")}`,
              ]
            : doubt !== undefined
              ? [false, doubt]
              : [true, `within the rounding of ${rounded.join(" and ")}`];
        this.report("scale", names, label, { ...relation, passed, finding });
      }
    }
  }
}

/** Most |b/a − 1| of two scales: what the rounding of either changes, half a unit in its last place. 0: they must be equal. */
function mostOff(a: ScaleType, b: ScaleType, values: readonly [number, number]): number {
  if (a.type === b.type && a.inverse === b.inverse) return 0;
  const units = [a, b].map(({ type, inverse }, side) => {
    const unit = UNIT[type] ?? 0;
    if (unit <= UNIT.F32!) return 0;
    const stored = inverse ? 1 / values[side]! : values[side]!;
    return (unit * 2 ** Math.floor(Math.log2(stored))) / stored;
  });
  const arithmetic = a.inverse || b.inverse ? 2 ** -22 : 0; // two divisions in f32
  return units[0]! + units[1]! + arithmetic + orderOf(a, b);
}

/** What two scales may differ by and still be the same number. */
function orderOf(a: ScaleType, b: ScaleType): number {
  return a.type === "masters" || b.type === "masters" ? SUM_ORDER : 0;
}

function floats(type: string, bytes: Uint8Array, count: number): Float32Array {
  const values = new Float32Array(count);
  readFloats(type, bytes, values, count);
  return values;
}

/** Rows that are in another place in b. */
type Moved = NonNullable<TensorReport["moved"]>;

function keyOf(row: Uint8Array | Float32Array): string {
  return createHash("sha1")
    .update(new Uint8Array(row.buffer, row.byteOffset, row.byteLength))
    .digest("base64");
}

/** Finds rows of a that are in another place in b. */
function movedOf(a: readonly string[], b: readonly string[]): Moved | undefined {
  const places = new Map<string, number>();
  for (const [row, key] of b.entries()) if (a[row] !== key && !places.has(key)) places.set(key, row);
  let rows = 0;
  let from: number | undefined;
  for (const [row, key] of a.entries()) {
    if (b[row] === key || !places.has(key)) continue;
    rows++;
    from ??= row;
  }
  return from === undefined ? undefined : { rows, from, to: places.get(a[from]!)! };
}
