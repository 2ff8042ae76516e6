/**
 * Qwen3.5's network in f64, from the numbers themselves and with nothing of the engine in it (llama.cpp's src/models/qwen35.cpp, transformers'
 * modeling_qwen3_5.py); and mistakes that are easily made, each of which its outputs must show.
 */
import type { Linear } from "./model.js";
import { multiply, rmsNorm } from "./network.js";
import { type Qwen35Layer, type Qwen35Model, ROTATION_MISTAKES, type RotationMistake, unfold, unfolded } from "./qwen35.js";

/** What is done wrong. */
export type Qwen35Mistake = (typeof QWEN35_MISTAKES)[number] | RotationMistake;
export const QWEN35_MISTAKES = [
  "value heads by key head in the order of grouped files",
  "query heads share keys by remainder",
  "q and gates in two halves",
  "SiLU in place of the gates' sigmoid",
  "gates normed and rotated with q",
  "gates behind the output projection",
  "no gates",
  "ε outside of the root",
  "the mean of squares in place of their sum",
  "decay behind the write",
  "k in place of q",
  "no 1/√n",
  "the convolution reversed",
  "the convolution's memory behind SiLU",
  "the state not reset",
  "decay rates taken for logarithms",
  "1 + w for norms",
  "1 + w for the norm of heads",
  "the feed-forward norm behind attention",
] as const;

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
const silu = (x: number): number => x * sigmoid(x);
const plus = (x: Float64Array, y: Float64Array): Float64Array => x.map((value, i) => value + y[i]!);

interface Weights {
  readonly rows: number;
  readonly columns: number;
  readonly values: Float64Array;
}

/** What a layer remembers. */
interface Memory {
  readonly keys: Float64Array[];
  readonly values: Float64Array[];
  /** The last three inputs of the convolution. */
  readonly before: Float64Array[];
  /** [valueHeads] of [stateSize, stateSize] */
  readonly states: Float64Array[];
}

export class Qwen35Network {
  readonly #model: Qwen35Model;
  readonly #mistake: Qwen35Mistake | undefined;
  readonly #layers: readonly ReadonlyMap<string, Weights>[];
  readonly #embedding: Float64Array;
  readonly #head: Weights;

  constructor(model: Qwen35Model, mistake?: Qwen35Mistake) {
    const ofRotation = ROTATION_MISTAKES.find((one) => one === mistake);
    const rows = (name: string, stored: Linear): Float64Array => unfolded(model, name, stored, ofRotation);
    this.#model = model;
    this.#mistake = mistake;
    this.#layers = model.layers.map(
      ({ linears }) => new Map(Object.entries(linears).map(([name, stored]) => [name, { ...stored, values: rows(name, stored) }] as const)),
    );
    this.#embedding = rows("token_embd", model.embedding.linear!);
    const { shape } = model;
    this.#head = { rows: shape.vocab, columns: shape.hidden, values: rows("output", model.head.linear!) };
  }

  #is(mistake: Qwen35Mistake): boolean {
    return this.#mistake === mistake;
  }

  /** Logits of every position of each window, [windows] of [ids] of [vocab]. */
  logits(windows: readonly (readonly number[])[]): Float64Array[][] {
    const { hidden, valueHeads, stateSize, eps } = this.#model.shape;
    let memory: Memory[] = [];
    return windows.map((ids, window) => {
      const fresh = this.#model.layers.map(
        (): Memory => ({
          ...{ keys: [], values: [], before: [] },
          states: Array.from({ length: valueHeads }, () => new Float64Array(stateSize * stateSize)),
        }),
      );
      memory = window > 0 && this.#is("the state not reset") ? fresh.map((own, i) => ({ ...own, states: memory[i]!.states })) : fresh;
      return ids.map((id, position) => {
        let x: Float64Array = this.#embedding.slice(id * hidden, (id + 1) * hidden);
        for (const [index, layer] of this.#model.layers.entries()) {
          const { floats, recurrent } = layer;
          const norms = [floats["attn_norm.weight"]!.values, floats["post_attention_norm.weight"]!.values] as const;
          const h = this.#norm(x, norms[0]);
          const mixed = recurrent
            ? this.#delta(index, layer, h, memory[index]!)
            : this.#attention(index, layer, h, position, memory[index]!);
          if (this.#is("the feed-forward norm behind attention")) {
            x = plus(x, rmsNorm(mixed, norms[1], eps));
            x = plus(x, this.#feedForward(index, x));
          } else {
            x = plus(x, mixed);
            x = plus(x, this.#feedForward(index, this.#norm(x, norms[1])));
          }
        }
        return multiply(this.#head, this.#norm(x, this.#model.outputNorm));
      });
    });
  }

  #norm(x: Float64Array, weight: Float32Array): Float64Array {
    return rmsNorm(x, this.#is("1 + w for norms") ? weight.map((w) => 1 + w) : weight, this.#model.shape.eps);
  }

  #linear(layer: number, name: string, x: Float64Array): Float64Array {
    return multiply(this.#layers[layer]!.get(name)!, x);
  }

  #feedForward(layer: number, h: Float64Array): Float64Array {
    const up = this.#linear(layer, "ffn_up", h);
    return this.#linear(
      layer,
      "ffn_down",
      this.#linear(layer, "ffn_gate", h).map((gate, i) => silu(gate) * up[i]!),
    );
  }

  #attention(layer: number, { floats }: Qwen35Layer, h: Float64Array, position: number, { keys, values }: Memory): Float64Array {
    const { heads, kvHeads, headDim } = this.#model.shape;
    const both = this.#linear(layer, "attn_q", h);
    const half = (which: 0 | 1): Float64Array =>
      Float64Array.from({ length: heads * headDim }, (_, i) => {
        const [head, d] = [Math.floor(i / headDim), i % headDim];
        return both[this.#is("q and gates in two halves") ? which * heads * headDim + i : head * 2 * headDim + which * headDim + d]!;
      });
    const placed = (x: Float64Array, weight: string): Float64Array => this.#rotated(this.#norm(x, floats[weight]!.values), position);
    const q = placed(half(0), "attn_q_norm.weight");
    const plain = half(1);
    const gates = this.#is("gates normed and rotated with q") ? placed(plain, "attn_q_norm.weight") : plain;
    keys.push(placed(this.#linear(layer, "attn_k", h), "attn_k_norm.weight"));
    values.push(this.#linear(layer, "attn_v", h));
    const out = new Float64Array(heads * headDim);
    for (let head = 0; head < heads; head++) {
      const kv = (this.#is("query heads share keys by remainder") ? head % kvHeads : Math.floor(head / (heads / kvHeads))) * headDim;
      const scores = keys.map((key) => {
        let sum = 0;
        for (let i = 0; i < headDim; i++) sum += q[head * headDim + i]! * key[kv + i]!;
        return sum / Math.sqrt(headDim);
      });
      const most = Math.max(...scores);
      const weights = scores.map((score) => Math.exp(score - most));
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      for (const [t, value] of values.entries())
        for (let i = 0; i < headDim; i++) out[head * headDim + i]! += (weights[t]! / total) * value[kv + i]!;
    }
    const open = (gate: number): number => (this.#is("SiLU in place of the gates' sigmoid") ? silu(gate) : sigmoid(gate));
    if (this.#is("no gates")) return this.#linear(layer, "attn_output", out);
    if (this.#is("gates behind the output projection"))
      return this.#linear(layer, "attn_output", out).map((value, i) => value * open(gates[i % gates.length]!));
    return this.#linear(
      layer,
      "attn_output",
      out.map((value, i) => value * open(gates[i]!)),
    );
  }

  /** The first `ropeSize` dimensions of each head turn, i with i + ropeSize/2. */
  #rotated(x: Float64Array, position: number): Float64Array {
    const { headDim, ropeSize, theta } = this.#model.shape;
    const out = x.slice();
    for (let from = 0; from < x.length; from += headDim) {
      for (let i = 0; i < ropeSize / 2; i++) {
        const angle = position * theta ** ((-2 * i) / ropeSize);
        const [a, b] = [x[from + i]!, x[from + ropeSize / 2 + i]!];
        out[from + i] = a * Math.cos(angle) - b * Math.sin(angle);
        out[from + ropeSize / 2 + i] = b * Math.cos(angle) + a * Math.sin(angle);
      }
    }
    return out;
  }

  #delta(layer: number, { floats }: Qwen35Layer, h: Float64Array, { before, states }: Memory): Float64Array {
    const { keyHeads, valueHeads, stateSize: n, hidden, eps } = this.#model.shape;
    const float = (name: string): Float32Array => floats[name]!.values;
    const dense = (name: string): Float64Array => {
      const plain = new Float64Array(float(name));
      const values = this.#is("gates of the states rotated, too") ? unfold(this.#model, name, plain, hidden) : plain;
      return multiply({ rows: valueHeads, columns: hidden, values }, h);
    };
    const m = this.#linear(layer, "attn_qkv", h);
    const z = this.#linear(layer, "attn_gate", h);
    const [beta, alpha] = [dense("ssm_beta.weight"), dense("ssm_alpha.weight")];
    const taps = float("ssm_conv1d.weight");
    const u = m.map((now, c) => {
      const inputs = [...[3, 2, 1].map((back) => before[before.length - back]?.[c] ?? 0), now];
      if (this.#is("the convolution reversed")) inputs.reverse();
      return silu(inputs.reduce((sum, x, j) => sum + taps[4 * c + j]! * x, 0));
    });
    before.push(this.#is("the convolution's memory behind SiLU") ? u : m);
    const unit = (x: Float64Array): Float64Array => {
      const sum = x.reduce((total, value) => total + value * value, 0);
      if (this.#is("the mean of squares in place of their sum")) return x.map((value) => value / Math.sqrt(sum / n + eps));
      const length = this.#is("ε outside of the root") ? Math.max(Math.sqrt(sum), eps) : Math.sqrt(sum + eps);
      return x.map((value) => value / length);
    };
    const out = new Float64Array(valueHeads * n);
    for (let head = 0; head < valueHeads; head++) {
      const isGrouped = this.#is("value heads by key head in the order of grouped files");
      const key = isGrouped ? Math.floor(head / (valueHeads / keyHeads)) : head % keyHeads;
      const at = (first: number): Float64Array => u.subarray(first * n, (first + 1) * n);
      const [q, k, v] = [unit(at(key)), unit(at(keyHeads + key)), at(2 * keyHeads + head)];
      const rate = float("ssm_a")[head]!;
      const softplus = Math.log1p(Math.exp(alpha[head]! + float("ssm_dt.bias")[head]!));
      const decay = Math.exp((this.#is("decay rates taken for logarithms") ? -Math.exp(rate) : rate) * softplus);
      const state = states[head]!;
      const read = this.#is("k in place of q") ? k : q;
      const late = this.#is("decay behind the write");
      const o = new Float64Array(n);
      for (let row = 0; row < n; row++) {
        const s = state.subarray(row * n, (row + 1) * n);
        let seen = 0;
        for (let i = 0; i < n; i++) {
          if (!late) s[i]! *= decay;
          seen += s[i]! * k[i]!;
        }
        const d = sigmoid(beta[head]!) * (v[row]! - seen);
        for (let i = 0; i < n; i++) {
          s[i]! += d * k[i]!;
          if (late) s[i]! *= decay;
          o[row]! += s[i]! * read[i]!;
        }
        if (!this.#is("no 1/√n")) o[row]! /= Math.sqrt(n);
      }
      const weight = float("ssm_norm.weight");
      const normed = rmsNorm(o, this.#is("1 + w for the norm of heads") ? weight.map((w) => 1 + w) : weight, eps);
      out.set(
        normed.map((value, i) => value * silu(z[head * n + i]!)),
        head * n,
      );
    }
    return this.#linear(layer, "ssm_out", out);
  }
}
