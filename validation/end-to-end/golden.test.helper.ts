/** Reads validation/golden/model and compares logits with it. */
import { readFileSync } from "node:fs";
import { kendallTauB } from "../statistics/kendall.js";
import { median } from "../statistics/summary.js";

const ROOT = "validation/golden/model/open";
const VOCAB = 4096;
const TOP = 50;

export type Variant = "hf-online" | "hf-packed" | "hf-f32ref" | "bitnetcpp-f32" | "bitnetcpp-i2_s";

export interface GoldenRequest {
  readonly id: string;
  readonly kind: string;
  readonly ids: readonly number[];
  readonly row: number;
  readonly tok_offset: number;
  readonly nll_offset: number;
}

interface GoldenFile {
  readonly requests: readonly GoldenRequest[];
  readonly results: Readonly<Record<Variant, Readonly<Record<string, { readonly greedy: readonly number[] | null }>>>>;
}

export const golden: GoldenFile = JSON.parse(readFileSync(`${ROOT}/golden.json`, "utf8"));

/** Of one request: how far our logits are from the stored ones. */
export interface Comparison {
  readonly id: string;
  readonly kind: string;
  readonly tokens: number;
  /** Largest difference among all stored logits: the last position's, and the top 50 of each. */
  readonly logit: number;
  /** Our mean NLL minus the stored one. */
  readonly nll: number;
  /** τ-b over the reference's own top 50, each position; empty if they aren't stored. */
  readonly taus: readonly number[];
}

/** One variant's stored outputs. */
export class Oracle {
  readonly #last: Float32Array;
  readonly #nll: Float32Array;
  readonly #topIds: Uint16Array | undefined;
  readonly #topLogits: Float32Array | undefined;

  constructor(readonly variant: Variant) {
    this.#last = new Float32Array(bytes(variant, "last_logits.f32"));
    this.#nll = new Float32Array(bytes(variant, "nll.f32"));
    if (variant !== "bitnetcpp-f32") {
      this.#topIds = new Uint16Array(bytes(variant, "top50_ids.u16"));
      this.#topLogits = new Float32Array(bytes(variant, "top50_logits.f32"));
    }
  }

  /** The 64 tokens that the reference chose greedily after the request; null for some. */
  greedy(id: string): readonly number[] | null {
    return golden.results[this.variant][id]!.greedy;
  }

  /** @param nll ours, [tokens − 1] @param logits ours of each position, in order */
  compare(request: GoldenRequest, nll: readonly number[], logits: readonly Float32Array[]): Comparison {
    const taus: number[] = [];
    let worst = 0;
    const last = logits.at(-1)!;
    for (let id = 0; id < VOCAB; id++) worst = Math.max(worst, Math.abs(last[id]! - this.#last[request.row * VOCAB + id]!));
    if (this.#topIds && this.#topLogits) {
      for (const [t, ours] of logits.entries()) {
        const at = (request.tok_offset + t) * TOP;
        const theirs = this.#topLogits.subarray(at, at + TOP);
        const mine = Array.from(this.#topIds.subarray(at, at + TOP), (id) => ours[id]!);
        for (const [i, value] of mine.entries()) worst = Math.max(worst, Math.abs(value - theirs[i]!));
        const tau = kendallTauB(mine, theirs);
        if (tau !== undefined) taus.push(tau);
      }
    }
    const sum = nll.reduce((total, value, t) => total + value - this.#nll[request.nll_offset + t]!, 0);
    return { id: request.id, kind: request.kind, tokens: request.ids.length, logit: worst, nll: sum / nll.length, taus };
  }
}

function bytes(variant: Variant, file: string): ArrayBuffer {
  const buffer = readFileSync(`${ROOT}/${variant}/${file}`);
  return buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.byteLength) as ArrayBuffer;
}

/** What the gates look at. */
export interface Summary {
  /** Windows of 256 tokens. */
  readonly windowMax: number;
  readonly windowMean: number;
  /** All prompts of a few tokens, their likelihoods pooled. */
  readonly prompts: number;
  /** The request of 1,900 tokens; undefined if it wasn't run. */
  readonly long: number | undefined;
  /** Median over all positions. */
  readonly tau: number;
}

/** |ΔNLL| by kind of request, and τ-b. */
export function summarise(all: readonly Comparison[]): Summary {
  const windows = all.filter(({ tokens }) => tokens === 256).map(({ nll }) => Math.abs(nll));
  const prompts = all.filter(({ kind }) => kind === "prompt");
  const predicted = prompts.reduce((sum, { tokens }) => sum + tokens - 1, 0);
  const long = all.find(({ tokens }) => tokens > 256);
  return {
    windowMax: Math.max(...windows),
    windowMean: windows.reduce((sum, value) => sum + value, 0) / windows.length,
    prompts: Math.abs(prompts.reduce((sum, { nll, tokens }) => sum + nll * (tokens - 1), 0)) / predicted,
    long: long && Math.abs(long.nll),
    tau: median(all.flatMap(({ taus }) => taus)),
  };
}
