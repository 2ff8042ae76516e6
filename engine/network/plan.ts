import type { ArenaPlan } from "../compute/arena.js";

import type { ModelConfig } from "../model/config.js";
import { KV_BLOCK, KV_TYPES } from "../numerics.js";
import { type LayerPlan, planLayers } from "./blocks.js";
import { type HeadPlan, planHead } from "./head.js";
import { Layout, type PlanOptions, up } from "./layout.js";
import { planShared, type SharedPlan } from "./shared-plan.js";

/** Where everything lies in the linear memory, and how large a step can be. Plain data: it is posted to the workers. */
export interface NetworkPlan extends SharedPlan {
  readonly pages: number;
  readonly layers: readonly LayerPlan[];
  readonly head: HeadPlan;
  /** By which rows of the embedding are turned back, [hidden] 1 or −1 f32; 0: they aren't rotated. */
  readonly embeddingSigns: number;
  /** By width, where the signs of all rotations lie: [width] f32 each. */
  readonly signs: ReadonlyMap<number, number>;
  /** [threads]: what each thread reads of a file and its decoded codes */
  readonly staging: number;
  readonly stagingBytes: number;
  /** [statPieces][3] f64: what the scales of master weights are computed from */
  readonly pieceStats: number;
  /** Three u32 of the loader. */
  readonly loading: number;
}

/** Lays out the memory in an empty arena. @throws BitnetError memory: more than may be used; it says which cache or context length would fit */
export function planNetwork(arena: ArenaPlan, config: ModelConfig, options: PlanOptions): NetworkPlan {
  const plan = layOut(arena, config, options);
  const pages = arena.pages(() => whatFits(arena, config, options));
  return { ...plan, pages };
}

/** What to ask for instead of a plan that doesn't fit. */
function whatFits(arena: ArenaPlan, config: ModelConfig, options: PlanOptions): string {
  const fitting = mostTokens(arena, config, options);
  // A cache as large as one context is the least that there can be.
  if (options.cacheTokens !== undefined && fitting === 0) return whatFits(arena, config, { ...options, cacheTokens: undefined });
  const [part, names] = options.cacheTokens === undefined ? ["context", "contextLength, --ctx"] : ["cache", "cacheTokens, --cache-tokens"];
  const wanted = options.cacheTokens ?? options.contextLength;
  const smaller = KV_TYPES.slice(KV_TYPES.indexOf(options.kv) + 1).map((kv) => ({
    most: mostTokens(arena, config, { ...options, kv }),
    inBits: `with ${kv === "k16" ? "a 16" : "an 8"}-bit cache (kv: "${kv}", --kv ${kv})`,
  }));
  if (fitting > 0) {
    const enough = smaller.find(({ most }) => most >= wanted);
    const all = enough ? `, or ${enough.inBits} all ${wanted}` : "";
    return `a ${part} of ${fitting} tokens would fit (${names})${all}`;
  }
  const least = smaller.at(-1);
  if (least && least.most > 0) return `${least.inBits} a context of ${least.most} tokens would fit`;
  return "even a context of 32 tokens wouldn't fit, so the model is too large";
}

/** Tokens of the cache, if it has a size of its own, otherwise of the context, for which the plan fits: in whole blocks; 0 if none does. */
function mostTokens(limits: ArenaPlan, config: ModelConfig, options: PlanOptions): number {
  const { contextLength, cacheTokens } = options;
  const fits = (blocks: number): boolean => {
    const arena = limits.empty();
    const tokens = blocks * KV_BLOCK;
    layOut(arena, config, {
      ...options,
      ...(cacheTokens === undefined ? { contextLength: tokens } : { cacheTokens: Math.max(tokens, contextLength) }),
    });
    return arena.fits;
  };
  let least = 0;
  let most = Math.ceil((cacheTokens ?? contextLength) / KV_BLOCK) + 1; // one too many
  while (most - least > 1) {
    const middle = Math.floor((least + most) / 2);
    if (fits(middle)) least = middle;
    else most = middle;
  }
  return least * KV_BLOCK;
}

function layOut(arena: ArenaPlan, config: ModelConfig, options: PlanOptions): Omit<NetworkPlan, "pages"> {
  const layout = new Layout(arena, config, options);
  const layers = planLayers(layout);
  const head = planHead(layout);
  const embeddingSigns = config.rotation?.embedding ? layout.signs(config.hiddenSize) : 0;
  const stagingBytes = up(options.stagingBytes, 64);
  return {
    ...planShared(layout),
    layers,
    head,
    embeddingSigns,
    signs: layout.allSigns,
    staging: layout.take("scratch", options.threads * stagingBytes),
    stagingBytes,
    pieceStats: layout.take("scratch", 24 * options.statPieces),
    loading: layout.take("control", 12),
  };
}
