/** The scalar path without activation quantisation over all golden requests, with the greedy continuation of each. */
import { openCheckpoint } from "../../engine/container/checkpoint.js";
import { readConfig } from "../../engine/model/config.js";
import { readWeights } from "../../engine/model/weights.js";
import { floatProducts } from "../../engine/network/float-products.js";
import { Reference, ReferenceCache } from "../../engine/network/reference.js";
import { loadReference } from "../../engine/network/reference-load.js";
import { logNll, sampleToken } from "../../engine/sampling/sampler.js";
import { type Comparison, type GoldenRequest, golden, Oracle, type Variant } from "./golden.test.helper.js";

const GREEDY = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 };
const NONE = new Int32Array(0);

/** One request against each oracle, and where the greedy texts part. */
export interface FloatResult {
  readonly request: GoldenRequest;
  readonly comparisons: readonly Comparison[];
  /** How much better our choice is than the reference's at the first token that differs; undefined if none does. */
  readonly greedyGap: number | undefined;
}

/** The scalar path takes about a minute for all requests: `npm test` runs these, BITNET_GOLDEN=all (as .ci/run sets it) every one. */
export function requests(some: RegExp): RegExp {
  return process.env.BITNET_GOLDEN === "all" ? /./ : some;
}

/** Runs a model against stored outputs, the greedy text against the first of them. @param which the requests' names */
export async function runFloat(path: string, variants: readonly Variant[], which: RegExp): Promise<FloatResult[]> {
  const checkpoint = await openCheckpoint(path);
  const config = await readConfig(checkpoint);
  const reference = new Reference(config, loadReference(readWeights(checkpoint, config), config), false, floatProducts());
  await checkpoint.close();
  const oracles = variants.map((variant) => new Oracle(variant));
  return golden.requests
    .filter(({ id }) => which.test(id))
    .map((request) => {
      const { ids } = request;
      const expected = oracles[0]!.greedy(request.id) ?? [];
      const cache = new ReferenceCache(config, ids.length + expected.length);
      const after = (tokens: readonly number[], first: number): Float32Array[] =>
        reference.logits(reference.outputNorm(reference.forward(tokens.map((token, i) => ({ token, position: first + i, cache })))));
      const logits = after(ids, 0);
      const nll = ids.slice(1).map((id, t) => logNll(logits[t]!, id));
      let next = logits.at(-1)!;
      let greedyGap: number | undefined;
      for (const [i, id] of expected.entries()) {
        const ours = sampleToken(next, GREEDY, 0, NONE);
        if (ours !== id) {
          greedyGap = next[ours]! - next[id]!;
          break;
        }
        next = after([id], ids.length + i)[0]!;
      }
      return { request, comparisons: oracles.map((oracle) => oracle.compare(request, nll, logits)), greedyGap };
    });
}

/** What all requests may take on a slow machine, ms. */
export const MINUTES = 15 * 60_000;

/** The two best logits of the reference may be this near where the texts part. */
export const GREEDY_TIE = 0.02;
