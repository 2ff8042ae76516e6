/**
 * The families' network a second time, in f64 and from the numbers themselves: written after the papers and Hugging Face's classes, with
 * nothing of the engine in it. llama.cpp's logits confirm it where llama.cpp can say something; where it can't (activations in 8 bits as the
 * models define them), this is what the engine is checked against.
 */
import { dequantized, type FamilyModel, type Layer, LINEARS, type Linear, type LinearName, type YarnScaling } from "./model.js";
import { ropeFactors } from "./write-gguf.js";

interface Weights {
  readonly rows: number;
  readonly columns: number;
  /** [rows, columns] */
  readonly values: Float64Array;
}

/** x · factor · weight with factor = 1 / √(mean x² + ε), for each stretch of the weight's length. */
export function rmsNorm(x: Float64Array, weight: Float32Array, eps: number): Float64Array {
  const n = weight.length;
  const out = new Float64Array(x.length);
  for (let from = 0; from < x.length; from += n) {
    let sum = 0;
    for (let i = 0; i < n; i++) sum += x[from + i]! ** 2;
    const factor = 1 / Math.sqrt(sum / n + eps);
    for (let i = 0; i < n; i++) out[from + i] = x[from + i]! * factor * weight[i]!;
  }
  return out;
}

/** BitNet's quantisation of a layer's input to 8 bits, and back: s = 127 / max |x|, clamp(round half to even(x·s), −128, 127) / s. */
function quantized(x: Float64Array): Float64Array {
  const s = 127 / x.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-5);
  return x.map((value) => {
    const up = Math.round(value * s);
    const even = up - value * s === 0.5 && up % 2 !== 0 ? up - 1 : up;
    return Math.max(-128, Math.min(127, even)) / s;
  });
}

/** A matrix times a vector. */
export function multiply({ rows, columns, values }: Weights, x: Float64Array): Float64Array {
  const out = new Float64Array(rows);
  for (let row = 0, at = 0; row < rows; row++) {
    // Two sums, since a processor adds twice while it waits for a sum; columns are even.
    let even = 0;
    let odd = 0;
    for (let i = 0; i < columns; i += 2, at += 2) {
      even += values[at]! * x[i]!;
      odd += values[at + 1]! * x[i + 1]!;
    }
    out[row] = even + odd;
  }
  return out;
}

/** YaRN (Peng et al. 2023): pairs that turn less than once in the original context are slowed by the factor, those of 32 turns and more are not. */
function stretched(frequencies: readonly number[], theta: number, { factor, originalContext }: YarnScaling): number[] {
  /** The pair, as a fraction, that turns so often: turns = context · theta^(−pair/pairs) / 2π. */
  const pairOf = (turns: number): number => frequencies.length * (Math.log(originalContext / (2 * Math.PI * turns)) / Math.log(theta));
  const first = Math.max(Math.floor(pairOf(32)), 0);
  const last = Math.min(Math.ceil(pairOf(1)), 2 * frequencies.length - 1);
  return frequencies.map((frequency, pair) => {
    const share = Math.min(Math.max((pair - first) / (last - first), 0), 1);
    return (1 - share) * frequency + (share * frequency) / factor;
  });
}

export class FamilyNetwork {
  readonly #model: FamilyModel;
  readonly #int8: boolean;
  readonly #layers: readonly Readonly<Record<LinearName, Weights>>[];
  readonly #head: Weights;
  /** Radians a position, [headDim / 2]. */
  readonly #frequencies: readonly number[];
  /** What cosines and sines are multiplied by. */
  readonly #magnitude: number;

  /** @param int8 inputs of the ternary layers in 8 bits, as BitNet models define it */
  constructor(model: FamilyModel, int8: boolean) {
    const { shape, head } = model;
    this.#model = model;
    this.#int8 = int8;
    const wide = (linear: Linear): Weights => ({ ...linear, values: new Float64Array(dequantized(linear)) });
    this.#layers = model.layers.map(
      ({ linears }) => Object.fromEntries(LINEARS.map((name) => [name, wide(linears[name])])) as Record<LinearName, Weights>,
    );
    this.#head = { rows: shape.vocab, columns: shape.hidden, values: new Float64Array(head.values) };
    const factors = shape.scaling && ropeFactors(shape.theta, shape.headDim, shape.scaling);
    const plain = Array.from({ length: shape.headDim / 2 }, (_, i) => shape.theta ** ((-2 * i) / shape.headDim) / (factors?.[i] ?? 1));
    this.#frequencies = shape.yarn ? stretched(plain, shape.theta, shape.yarn) : plain;
    this.#magnitude = shape.yarn ? 0.1 * Math.log(shape.yarn.factor) + 1 : 1;
  }

  /** Logits of every position, [ids] of [vocab]. */
  logits(ids: readonly number[]): Float64Array[] {
    const { logits = 1 } = this.#model.shape.factors ?? {};
    return this.states(ids).map((state) =>
      multiply(
        this.#head,
        state.map((value) => value / logits),
      ),
    );
  }

  /** What logits are made of, [ids] of [hidden]. */
  states(ids: readonly number[]): Float64Array[] {
    const { shape, embedding, outputNorm } = this.#model;
    const residual = shape.factors?.residual ?? 1;
    const cache = this.#model.layers.map((): { keys: Float64Array[]; values: Float64Array[] } => ({ keys: [], values: [] }));
    return ids.map((id, position) => {
      let x: Float64Array = Float64Array.from(embedding.values.subarray(id * shape.hidden, (id + 1) * shape.hidden)).map(
        (value) => value * this.embeddingFactor(),
      );
      for (const [index, layer] of this.#model.layers.entries()) {
        const weights = this.#layers[index]!;
        const afterAttention = this.#attention(layer, weights, x, position, cache[index]!);
        x = this.added(x, afterAttention, residual, layer.norms.attnPostNorm);
        const afterFeedForward = this.#feedForward(layer, weights, x);
        x = this.added(x, afterFeedForward, residual, layer.norms.ffnPostNorm);
      }
      return rmsNorm(x, outputNorm, shape.eps);
    });
  }

  /** @param norm of this layer's own input, if it has one */
  #linear(weights: Weights, input: Float64Array, norm?: Float32Array): Float64Array {
    const x = norm ? rmsNorm(input, norm, this.#model.shape.eps) : input;
    return multiply(weights, this.#int8 ? quantized(x) : x);
  }

  #attention(
    { norms }: Layer,
    weights: Readonly<Record<LinearName, Weights>>,
    residual: Float64Array,
    position: number,
    { keys, values }: { readonly keys: Float64Array[]; readonly values: Float64Array[] },
  ): Float64Array {
    const { heads, kvHeads, headDim, eps } = this.#model.shape;
    const x = rmsNorm(residual, norms.attnNorm!, eps);
    const q = this.placed(this.#linear(weights.q, x, norms.qInputNorm), norms.qNorm, position);
    keys.push(this.placed(this.#linear(weights.k, x, norms.kInputNorm), norms.kNorm, position));
    values.push(this.#linear(weights.v, x, norms.vInputNorm));
    const out = new Float64Array(heads * headDim);
    for (let head = 0; head < heads; head++) {
      const from = head * headDim;
      const kvFrom = Math.floor(head / (heads / kvHeads)) * headDim;
      const scores = keys.map((key) => {
        let sum = 0;
        for (let i = 0; i < headDim; i++) sum += q[from + i]! * key[kvFrom + i]!;
        return sum / Math.sqrt(headDim);
      });
      const most = Math.max(...scores);
      const weighted = scores.map((score) => Math.exp(score - most));
      const sum = weighted.reduce((total, weight) => total + weight, 0);
      for (const [t, value] of values.entries())
        for (let i = 0; i < headDim; i++) out[from + i]! += (weighted[t]! / sum) * value[kvFrom + i]!;
    }
    return this.#linear(weights.o, out, norms.attnSubNorm);
  }

  /** What rows of the embedding are multiplied by: MiniCPM's factor, or Gemma's root of the hidden size. */
  protected embeddingFactor(): number {
    const { factors, family, hidden } = this.#model.shape;
    return family === "gemma3" ? Math.sqrt(hidden) : (factors?.embedding ?? 1);
  }

  /** The residual stream behind a block, whose result Gemma norms. */
  protected added(x: Float64Array, delta: Float64Array, factor: number, norm?: Float32Array): Float64Array {
    const normed = norm ? rmsNorm(delta, norm, this.#model.shape.eps) : delta;
    return x.map((value, i) => value + factor * normed[i]!);
  }

  /** SiLU; of Gemma, PyTorch's GELU with approximate="tanh". */
  protected activation(x: number): number {
    return this.#model.shape.family === "gemma3" ? this.gelu(x) : x / (1 + Math.exp(-x));
  }

  protected gelu(x: number): number {
    return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
  }

  /** Queries or keys, [heads, headDim]: normed head by head where the family does, then turned to their position. */
  protected placed(x: Float64Array, norm: Float32Array | undefined, position: number): Float64Array {
    return this.rotated(norm ? rmsNorm(x, norm, this.#model.shape.eps) : x, position);
  }

  /** `rotate_half`: dimensions i and i + d/2 of each head turn by position · frequency. */
  protected rotated(x: Float64Array, position: number): Float64Array {
    const { headDim } = this.#model.shape;
    const half = headDim / 2;
    const out = new Float64Array(x.length);
    for (let from = 0; from < x.length; from += headDim) {
      for (let i = 0; i < half; i++) {
        const angle = position * this.#frequencies[i]!;
        const [cos, sin] = [Math.cos(angle) * this.#magnitude, Math.sin(angle) * this.#magnitude];
        const [a, b] = [x[from + i]!, x[from + half + i]!];
        out[from + i] = a * cos - b * sin;
        out[from + half + i] = b * cos + a * sin;
      }
    }
    return out;
  }

  #feedForward({ norms }: Layer, weights: Readonly<Record<LinearName, Weights>>, residual: Float64Array): Float64Array {
    const { eps } = this.#model.shape;
    const x = rmsNorm(residual, norms.ffnNorm!, eps);
    const up = this.#linear(weights.up, x, norms.upInputNorm);
    const gated = this.#linear(weights.gate, x, norms.gateInputNorm).map((gate, i) => this.activation(gate) * up[i]!);
    return this.#linear(weights.down, gated, norms.ffnSubNorm);
  }
}

/** The nearest f16, subnormal ones included. */
function toF16(x: number): number {
  const step = 2 ** (Math.max(Math.floor(Math.log2(Math.abs(x))), -14) - 10);
  return x === 0 ? 0 : Math.round(x / step) * step;
}

/** GELU as ggml's CPU code has it: from a table whose arguments and values are f16. (ggml, ggml_vec_gelu_f32.) */
export class TableGelu extends FamilyNetwork {
  protected override activation(x: number): number {
    return Math.abs(x) < 10 ? toF16(super.activation(toF16(x))) : Math.max(x, 0);
  }
}
