import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openSource } from "#host/files.js";
import type { Kernels } from "../../engine/compute/kernels.js";
import { openCheckpoint } from "../../engine/container/checkpoint.js";
import { readGguf } from "../../engine/container/gguf.js";
import { writeGguf } from "../../engine/container/gguf-writer.js";
import { attentionOf } from "../../engine/model/attention.test.helper.js";
import { readConfig } from "../../engine/model/config.js";
import { allLinears } from "../../engine/model/layers.js";
import { readWeights } from "../../engine/model/weights.js";
import type { LayerPlan } from "../../engine/network/blocks.js";
import type { NetworkPlan } from "../../engine/network/plan.js";
import { openPacking } from "../../engine/packing/open.js";
import { logNll } from "../../engine/sampling/sampler.js";
import { median } from "../statistics/summary.js";
import { I2S, temporaryDirectory } from "./derive.test.helper.js";
import { golden, Oracle } from "./golden.test.helper.js";
import { type Changes, logitsInProcess } from "./in-process.test.helper.js";

/** Windows of the three kinds of text. */
const WINDOWS = ["tiny00", "book00", "wiki00"];
/** The golden gate of a window, and what breaking it by a wide margin means. */
const NLL_GATE = 0.006;
const TAU_GATE = 0.965;
const WIDE = 5;

interface Verdict {
  /** Largest |ΔNLL| of a window. */
  readonly nll: number;
  /** Median τ-b. */
  readonly tau: number;
}

async function verdict(path: string, changes: Changes = {}): Promise<Verdict> {
  const oracle = new Oracle("hf-online");
  const taus: number[] = [];
  let worst = 0;
  for (const id of WINDOWS) {
    const request = golden.requests.find((candidate) => candidate.id === id)!;
    const logits = await logitsInProcess(path, request.ids, changes);
    // A broken network may give anything, numbers that are none too: those rank and predict nothing.
    const finite = logits.every((row) => row.every((value) => Number.isFinite(value)));
    if (!finite) return { nll: Number.POSITIVE_INFINITY, tau: 0 };
    const nll = request.ids.slice(1).map((target, t) => logNll(logits[t]!, target));
    const comparison = oracle.compare(request, nll, logits);
    worst = Math.max(worst, Math.abs(comparison.nll));
    taus.push(...comparison.taus);
  }
  return { nll: worst, tau: median(taus) };
}

const f32 = (memory: WebAssembly.Memory, at: number, n: number): Float32Array => new Float32Array(memory.buffer, at, n);

/** Changes the addresses of the named parts in every layer. */
const parts = (plan: NetworkPlan, part: (layer: LayerPlan) => number): Set<number> => new Set(plan.layers.map(part));

describe("negative controls: each wrong network breaks the golden gate by a wide margin", () => {
  const directory = temporaryDirectory();
  const layout64 = join(directory.path, "layout-64.gguf");
  beforeAll(() => writeLayout64(layout64));
  afterAll(directory.remove);

  it("the right one passes", async () => {
    const { nll, tau } = await verdict(I2S);
    expect(nll).toBeLessThan(NLL_GATE);
    expect(tau).toBeGreaterThan(TAU_GATE);
  });

  const wrong: readonly (readonly [name: string, changes: Changes, path: string | undefined])[] = [
    [
      "SiLU instead of ReLU²",
      {
        kernels: (_, __, memory) => ({
          reluSquaredMul: (out, gate, up, n) => {
            const [o, g, u] = [f32(memory, out, n), f32(memory, gate, n), f32(memory, up, n)];
            for (let i = 0; i < n; i++) o[i] = (g[i]! / (1 + Math.exp(-g[i]!))) * u[i]!;
          },
        }),
      },
      undefined,
    ],
    [
      "no attention sub-norm",
      {
        kernels: (kernels, plan, memory) =>
          withoutNorm(
            kernels,
            memory,
            parts(plan, (layer) => attentionOf(layer).attnSubNorm!),
          ),
      },
      undefined,
    ],
    [
      "no feed-forward sub-norm",
      {
        kernels: (kernels, plan, memory) =>
          withoutNorm(
            kernels,
            memory,
            parts(plan, (layer) => layer.feedForward.ffnSubNorm!),
          ),
      },
      undefined,
    ],
    [
      "an inverted scale",
      {
        memory: (memory, plan) => {
          const scale = f32(memory, attentionOf(plan.layers[1]!).o.scales, 1);
          scale[0] = 1 / scale[0]!;
        },
      },
      undefined,
    ],
    [
      "NORM rope instead of NEOX",
      {
        kernels: (_, __, memory) => ({
          rope: (out, x, heads, headDim, angles) => {
            const [o, v, a] = [f32(memory, out, heads * headDim), f32(memory, x, heads * headDim), f32(memory, angles, headDim)];
            for (let i = 0; i < v.length; i += 2) {
              const pair = (i % headDim) / 2;
              const [c, s] = [a[pair]!, a[headDim / 2 + pair]!];
              [o[i], o[i + 1]] = [v[i]! * c - v[i + 1]! * s, v[i + 1]! * c + v[i]! * s];
            }
          },
        }),
      },
      undefined,
    ],
    ["the 64-element I2_S layout", {}, layout64],
  ];

  it.each(wrong)("%s", async (_, changes, path) => {
    const { nll, tau } = await verdict(path ?? I2S, changes);
    expect(nll).toBeGreaterThan(WIDE * NLL_GATE);
    expect(1 - tau).toBeGreaterThan(WIDE * (1 - TAU_GATE));
  });
});

/** The norms with these weights pass their input on. */
function withoutNorm(kernels: Kernels, memory: WebAssembly.Memory, weights: ReadonlySet<number>): Partial<Kernels> {
  return {
    rmsNorm: (out, x, weight, n, eps) => {
      if (weights.has(weight)) f32(memory, out, n).set(f32(memory, x, n));
      else kernels.rmsNorm(out, x, weight, n, eps);
    },
  };
}

/** The I2_S fixture with its codes in ARM's blocks: 64 elements in 16 bytes, element 16·g + p in byte p, bits 6 − 2g. */
async function writeLayout64(path: string): Promise<void> {
  const checkpoint = await openCheckpoint(I2S);
  const sources = readWeights(checkpoint, await readConfig(checkpoint));
  const linears = new Map(allLinears(sources.layers).map((linear) => [linear.tensor.name, linear]));
  const source = await openSource(I2S);
  const file = await readGguf(source);
  const tensors = [];
  for (const tensor of file.tensors) {
    const data = await source.read(tensor.offset, tensor.byteLength);
    const linear = linears.get(tensor.name);
    if (linear) {
      const packing = openPacking(linear);
      const codes = new Uint8Array(linear.rows * linear.columns);
      expect(packing.pieces).toBe(1);
      packing.decode(0, data, codes, linear.columns, undefined);
      data.fill(0, 0, codes.length / 4);
      for (const [i, code] of codes.entries()) data[Math.floor(i / 64) * 16 + (i % 16)]! |= code << (6 - 2 * Math.floor((i % 64) / 16));
    }
    tensors.push({ name: tensor.name, shape: tensor.shape, type: tensor.type, data });
  }
  await Promise.all([source.close(), checkpoint.close()]);
  await writeGguf(path, { metadata: file.entries, tensors });
}
